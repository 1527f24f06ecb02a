"""Write the reports of benchmarks into the pages of the documentation."""

import re

from benchmarks.registry import load, results_path
from benchmarks.runner.results import Done

MARKERS = re.compile(r"<!-- benchmark: (\w+) -->.*?<!-- end of benchmark -->", re.DOTALL)


def write_reports(results, pages, images):
    """Update the pages that have markers, and the charts of the benchmarks that they name."""
    names = set()
    for page in pages:
        text = page.read_text("utf-8")
        names |= {match[1] for match in MARKERS.finditer(text)}
        updated = fill_page(text, results)
        if updated != text:
            page.write_text(updated, "utf-8")
            print(f"wrote {page}")
    for name in sorted(names):
        chart, path = getattr(load(name), "chart", None), results_path(results, name)
        if chart and path.exists():
            images.mkdir(exist_ok=True)
            chart(Done.load(path), images / f"{name}.svg")


def fill_page(text, results):
    """Return a page with the report of each benchmark between its markers."""

    def fill(match):
        name = match[1]
        path = results_path(results, name)
        report = f"Not measured yet: run `python -m benchmarks run {name}`."
        if path.exists():
            report = load(name).report(Done.load(path)).strip()
        return f"<!-- benchmark: {name} -->\n{report}\n<!-- end of benchmark -->"

    return MARKERS.sub(fill, text)
