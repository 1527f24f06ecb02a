"""Run the notebooks and store their outputs: `python docs/run_notebooks.py [NAME ...]`."""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent / "notebooks"


def main(names: list[str]) -> None:
    """Run notebooks, all without names, each in a kernel and a folder of its own."""
    # TensorFlow reads it when the kernel imports it.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for path in [FOLDER / f"{name}.ipynb" for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            resources = {"metadata": {"path": folder}}
            NotebookClient(
                notebook, resources=resources, record_timing=False, coalesce_streams=True
            ).execute()
        for cell in notebook.cells:
            # Warnings and logs of libraries differ between machines.
            kept = [one for one in cell.get("outputs", ()) if one.get("name") != "stderr"]
            cell.update({"outputs": kept} if cell.cell_type == "code" else {})
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
