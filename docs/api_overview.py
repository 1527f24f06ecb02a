"""Hook of MkDocs: list all names of the API reference, with the first line of their docstrings."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

DOCS = Path(__file__).resolve().parent
PAGE, MARKER = "api/index.md", "<!-- overview -->"
#: A name of a reference page: a directive of mkdocstrings, or a heading with the text below.
_NAME = re.compile(r"^(?:::: |## )(keras_kd\.[\w.]+)(?: [^\n]*)?(?:\n+([A-Z`].*))?", re.MULTILINE)
_HEADING = re.compile(r"^## (?!keras_kd)(.*)$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Replace the marker of the overview page by the tables."""
    if page.file.src_uri != PAGE:
        return markdown
    return markdown.replace(MARKER, make_overview(reference_pages(config["nav"])))


def reference_pages(nav: list[Any]) -> list[str]:
    """Return the pages of the API reference in the order of the navigation."""
    (part,) = (entry["API reference"] for entry in nav if "API reference" in entry)
    pages = [page for entry in part for page in entry.values()]
    return [page for page in pages if page != PAGE]


def make_overview(pages: list[str]) -> str:
    """Return a table for each group of names, below a heading that links to its page."""
    package = load_package()
    parts = []
    for page in pages:
        text = (DOCS / page).read_text("utf-8")
        name = Path(page).name
        title = text.splitlines()[0].removeprefix("# ")
        parts.append(f"## [{title}]({name})\n")
        for heading, rows in groups(text, package):
            parts += [f"### {heading}\n"] if heading else []
            lines = [f"| [`{_short(full)}`]({name}#{full}) | {summary} |" for full, summary in rows]
            parts.append("\n".join(["| Name | Summary |", "|---|---|", *lines, ""]))
    return "\n".join(parts)


def groups(text: str, package: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the headings of a page with the names below, each with its summary."""
    _, *parts = _HEADING.split("## \n" + text)
    for heading, part in zip(parts[::2], parts[1::2], strict=True):
        found = [(match[1], match[2]) for match in _NAME.finditer(part)]
        rows = [(name, text or summarize(package, name)) for name, text in found]
        if rows:
            yield heading, rows


def load_package() -> Any:
    """Return the package as griffe reads it, without importing it."""
    extensions = griffe.load_extensions(str(DOCS / "griffe_examples.py"))
    return griffe.load("keras_kd", search_paths=[str(DOCS.parent)], extensions=extensions)


def summarize(package: Any, name: str) -> str:
    """Return the first paragraph of a docstring on one line.

    Raises:
        ValueError: If there is none.
    """
    docstring = package[name.removeprefix("keras_kd.")].docstring
    if docstring is None:
        raise ValueError(f"{name} has no docstring")
    return " ".join(docstring.value.split("\n\n")[0].split()).replace("|", "\\|")


def _short(name: str) -> str:
    """Return a name as it is written after `import keras_kd as kd`, without private modules."""
    return re.sub(r"^keras_kd\.(?:budget\.\w+\.)?", "", name)
