"""All examples have the same structure, and the page of examples shows them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "examples").glob("*.py"))
EXAMPLES = [path for path in SOURCES if "__main__" in path.read_text()]
PAGE = (ROOT / "docs" / "examples.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_source_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert text.count("\n") < 120
    assert ast.get_docstring(ast.parse(text)).splitlines()[0].endswith(".")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_tells_its_time_and_can_be_run_quickly(path):
    tree = ast.parse(path.read_text())
    main = next(x for x in tree.body if isinstance(x, ast.FunctionDef))
    assert (main.name, [a.arg for a in main.args.args]) == ("main", ["arguments"])
    description = " ".join(ast.get_docstring(tree).split())
    assert re.search(r"--quick`? (# )?only checks that it runs", description)
    assert re.search(r"Takes|Needs a GPU", description)
    assert f"`{path.name}`" in PAGE


def test_every_stored_output_is_shown_and_belongs_to_an_example():
    stored = {path.stem for path in (ROOT / "docs" / "example_outputs").glob("*.txt")}
    shown = set(re.findall(r'--8<-- "example_outputs/(\w+)\.txt"', PAGE))
    assert stored == shown | {"readme"}
    assert shown <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_stored_output_of_the_first_example_is_shown_below_it(page):
    stored = (ROOT / "docs" / "example_outputs" / "readme.txt").read_text()
    assert f"```\n\n```\n{stored}```\n" in (ROOT / page).read_text()
