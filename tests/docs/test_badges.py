"""The badges of the README."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def badges():
    spec = importlib.util.spec_from_file_location("badges", ROOT / "docs" / "badges.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_badges_show_what_setup_cfg_requires(badges):
    values = badges.read_values()
    assert values["license"][0] == "Apache-2.0"
    assert values["python"][0].startswith("3.11")
    for name, (value, color) in values.items():
        assert (badges.FOLDER / f"{name}.svg").read_text() == badges.draw(name, value, color)
        assert f"docs/images/badges/{name}.svg" in (ROOT / "README.md").read_text()


def test_a_badge_is_valid_and_as_wide_as_its_texts(badges):
    short, long = (
        ElementTree.fromstring(badges.draw("name", value, "#000")) for value in ("a", "a long one")
    )
    assert int(long.get("width")) > int(short.get("width"))
