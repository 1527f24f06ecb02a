"""Pages have the same parts: purpose, when to use it, an example, limits, next pages."""

import re
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
#: Parts of the site and what their pages contain beside a purpose and "See also".
HOW_TO, METHODS = "How to", "Methods and results"
#: Pages without a method, which compare or list.
LISTS = {"compatibility.md", "benchmarks.md"}


class Loader(yaml.SafeLoader):
    """A loader of mkdocs.yml, whose tags are not needed."""


Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def pages(part):
    """The pages of a part of the navigation."""
    nav = yaml.load((DOCS.parent / "mkdocs.yml").read_text(), Loader)["nav"]
    return [page for one in nav if part in one for entry in one[part] for page in entry.values()]


@pytest.mark.parametrize("page", [*pages(HOW_TO), *pages(METHODS)])
def test_a_page_begins_with_its_purpose_and_ends_with_the_next_pages(page):
    text = (DOCS / page).read_text()
    title, purpose = text.split("\n\n")[:2]
    assert re.fullmatch(r"# [A-Z].*", title)
    assert re.match(r"[A-Z`].*[.:]$", purpose, re.DOTALL), purpose
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert headings[-1] == "See also"


@pytest.mark.parametrize("page", [*pages(HOW_TO), *sorted({*pages(METHODS)} - LISTS)])
def test_a_page_tells_early_when_its_method_helps_and_when_it_does_not(page):
    head = (DOCS / page).read_text().split("\n## ")[0]
    assert "**When it helps.**" in head
    assert re.search(r"\*\*When it\s+does\s+not\.\*\*", head)


@pytest.mark.parametrize("page", pages(HOW_TO))
def test_an_example_comes_before_the_first_table_and_the_limits_at_the_end(page):
    text = (DOCS / page).read_text()
    assert 0 < text.find("\n```") < (text + "\n|").find("\n|")
    limits = ("Limits", "What a backend cannot do")
    assert any(f"\n## {heading}\n" in text for heading in limits)
