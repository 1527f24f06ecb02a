"""The notebooks run, and are stored with the outputs that their pages show."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra [docs] is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra [docs] is not installed")
pytest.importorskip("ipykernel", reason="the extra [dev] is not installed")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: One epoch shows that the code runs, and TensorFlow starts once, in a kernel for all notebooks.
QUICK = [
    (r"epochs=\d+", "epochs=1"),
    (r'"epochs": \d+', '"epochs": 1'),
    (r"trials=\d+", "trials=1"),
]
#: Makes the search of a budget as short as in the tests of `kd.compress`.
FAST = """
import pytest
from tests.budget.conftest import make_fast
make_fast(pytest.MonkeyPatch())
"""


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def kernel():
    """Return a function that runs cells in one kernel."""
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=120)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    def run(sources):
        client.nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        for i, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, i)

    with client.setup_kernel(env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}):
        run([FAST])
        yield run


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, kernel, tmp_path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    for old, new in QUICK:
        cells = [re.sub(old, new, source) for source in cells]
    kernel([f"%reset -f\n%cd {tmp_path}", *cells])


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
