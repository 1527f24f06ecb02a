"""The environment that all pages and tables share."""

import jinja2
import pytest

from keras_kd.display.templates import make_environment


@pytest.mark.parametrize("folder", ["budget", "display", "report"])
def test_every_folder_with_pages_has_templates(folder):
    assert make_environment(folder).list_templates(extensions=["jinja"])


def test_texts_are_escaped_and_a_missing_value_is_an_error():
    template = make_environment("report").from_string("{{ text }}")
    assert template.render(text="a<b>") == "a&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError, match="text"):
        template.render()
