"""The formats of a report, and paths that are rejected."""

import json

import pytest

from keras_kd.report.report import require_report_path
from tests.report import reports


@pytest.mark.parametrize(
    ("suffix", "start"), [(".html", "<!doctype html>"), (".md", "# A title"), (".json", "{\n")]
)
def test_the_ending_selects_the_format(tmp_path, suffix, start):
    path = reports.report().save(tmp_path / f"r{suffix}")
    assert path.read_text().startswith(start)


def test_json_contains_every_number(tmp_path):
    report = reports.report(history={})
    written = json.loads(report.save(tmp_path / "r.json").read_text())
    assert written == json.loads(json.dumps(report.as_dict()))


def test_other_endings_and_missing_folders_are_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"ends in one of \['.html', '.md', '.json'\]"):
        require_report_path(tmp_path / "r.pdf")
    with pytest.raises(NotADirectoryError, match="folder"):
        require_report_path(tmp_path / "none" / "r.html")
