"""The tables in the documentation are those of the results."""

import pytest

from benchmarks.paths import DOCS, RESULTS, ROOT
from benchmarks.registry import ELSEWHERE, MODULES
from benchmarks.runner.reports import MARKERS, fill_page, write_reports
from benchmarks.runner.results import Done

PAGES = [
    page
    for page in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if MARKERS.search(page.read_text("utf-8"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_shows_results(page):
    text = page.read_text("utf-8")
    assert fill_page(text, RESULTS) == text, "run: python -m benchmarks report"


def test_pages_name_registered_benchmarks():
    names = {match[1] for page in PAGES for match in MARKERS.finditer(page.read_text("utf-8"))}
    assert names <= {*MODULES, *ELSEWHERE}


def test_missing_results_are_reported(tmp_path):
    page = "<!-- benchmark: scaling -->\nold\n<!-- end of benchmark -->"
    assert "run `python -m benchmarks run scaling`" in fill_page(page, tmp_path)


def test_report_writes_pages_and_charts(tmp_path):
    pytest.importorskip("matplotlib")
    page, results, images = tmp_path / "page.md", tmp_path / "results", tmp_path / "images"
    page.write_text("a\n<!-- benchmark: teacher_to_phone -->\n<!-- end of benchmark -->\nb\n")
    path = results / "export" / "teacher_to_phone.json"
    Done.load(RESULTS / "export" / path.name).save(path)
    write_reports(results, [page], images)
    lines = page.read_text("utf-8").splitlines()
    assert (lines[0], lines[-1]) == ("a", "b")
    assert any(line.startswith("| int8 file |") for line in lines)
    assert (images / "teacher_to_phone.svg").read_text().startswith("<svg")
