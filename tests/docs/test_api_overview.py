"""The overview of the API has a line for each public name."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.docs.public_names import public_names

ROOT = Path(__file__).parents[2]

pytest.importorskip("griffe", reason="the extra [docs] is not installed")


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("overview", ROOT / "docs" / "api_overview.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def overview(hook):
    """The page as MkDocs gets it."""
    pages = sorted((ROOT / "docs" / "api").glob("*.md"))
    nav = [{"API reference": [{path.stem: f"api/{path.name}"} for path in pages]}]
    page = SimpleNamespace(file=SimpleNamespace(src_uri=hook.PAGE))
    text = (ROOT / "docs" / hook.PAGE).read_text()
    return hook.on_page_markdown(text, page=page, config={"nav": nav})


def test_every_public_name_has_one_line_with_its_summary(overview):
    rows = re.findall(
        r"^\| \[`([\w.]+)`\]\([\w-]+\.md#keras_kd\.([\w.]+)\) \| (.+) \|$", overview, re.M
    )
    assert sorted(name for _, name, _ in rows) == public_names()
    for shown, name, summary in rows:
        assert name.endswith(shown)
        assert re.fullmatch(r"[A-Z`].*\.", summary), (name, summary)


def test_other_pages_stay(hook):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert hook.on_page_markdown(hook.MARKER, page=page, config={}) == hook.MARKER


def test_a_name_without_a_docstring_is_an_error(hook):
    package = {"name": SimpleNamespace(docstring=None)}
    with pytest.raises(ValueError, match="keras_kd.name has no docstring"):
        hook.summarize(package, "keras_kd.name")
