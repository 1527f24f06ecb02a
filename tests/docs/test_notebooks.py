"""The notebooks run, and are stored with the outputs that their pages show."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.budget.conftest import make_fast

nbformat = pytest.importorskip("nbformat", reason="the extra [docs] is not installed")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: One epoch shows that the code runs.
QUICK = [
    (r"epochs=\d+", "epochs=1"),
    (r'"epochs": \d+', '"epochs": 1'),
    (r"trials=\d+", "trials=1"),
]


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch, few_digits):
    monkeypatch.chdir(tmp_path)
    make_fast(monkeypatch)  # The searches of a budget.
    namespace = {}
    for cell in read(path).cells:
        if cell.cell_type == "code":
            source = cell.source
            for old, new in QUICK:
                source = re.sub(old, new, source)
            exec(compile(source, path.name, "exec"), namespace)


def test_there_is_a_notebook_for_each_row_of_the_gallery():
    text = (ROOT / "docs" / "notebooks" / "index.md").read_text()
    assert len(NOTEBOOKS) == 5
    assert re.findall(r"^\| .*\((\w+\.ipynb)\)", text, re.MULTILINE) == sorted(
        (path.name for path in NOTEBOOKS), key=text.index
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_its_outputs_and_no_logs(path):
    cells = read(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert cells[0].source.startswith("# ")
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert len(outputs) >= 3
    assert {output.output_type for output in outputs} <= {"stream", "execute_result"}
    text = str(outputs)
    assert not re.search(r"stderr|INFO:|WARNING|/tmp|/home|keras.src", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_of_a_notebook_shows_code_and_outputs(path):
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "notebook_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.make_page(path)
    assert re.match(rf"# .*\n\n\[Download this notebook\]\({path.name}\)\n", text)
    codes = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    assert re.findall(r"```python\n(.*?)\n```", text, re.DOTALL) == codes
