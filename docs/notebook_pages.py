"""Hook of MkDocs: show each notebook as a page, with its stored outputs and a link to the file."""

import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from traitlets.config import Config

FOLDER = "notebooks"
#: Images stay in the page.
_OPTIONS = Config({"ExtractOutputPreprocessor": {"enabled": False}})


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add a page for each notebook."""
    for path in sorted((Path(config["docs_dir"]) / FOLDER).glob("*.ipynb")):
        name = f"{FOLDER}/{path.stem}.md"
        files.append(File.generated(config, name, content=make_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Link from other pages to the page of a notebook; in the repository they link to its file."""
    if page.file.generated_by:
        return markdown
    return re.sub(rf"(\]\((?:[\w./]*{FOLDER}/)?\w+)\.ipynb\)", r"\1.md)", markdown)


def make_page(path: Path) -> str:
    """Return a notebook as Markdown."""
    notebook = nbformat.read(path, as_version=4)
    text, _ = MarkdownExporter(config=_OPTIONS).from_notebook_node(notebook)
    title, _, rest = text.strip().partition("\n")
    return f"{title}\n\n[Download this notebook]({path.name})\n{rest}\n"
