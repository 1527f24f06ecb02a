"""The page of a report in Chromium: its numbers, in any light, on any width, without a net."""

import json

import numpy as np
import pytest

from keras_kd.report.charts import Point, bars, lines, scatter
from keras_kd.report.columns import COLUMNS
from keras_kd.report.report import Entry, Report, Sample
from tests.docs.browser import chromium

READ = """
[...document.querySelectorAll('table.models tbody tr')].map(row => [row.dataset.model,
  Object.fromEntries([...row.cells].slice(1).map(cell => [cell.dataset.metric, cell.innerText]))])
"""


def entry(name, accuracy, **kwargs):
    defaults = {
        "kind": "int8 file",
        "interval": (accuracy - 0.01, accuracy + 0.01),
        "per_class": (accuracy, 1 - accuracy, None),
        "calibration_error": 0.0123,
        "agreement": 0.9,
        "divergence": 0.05678,
        "parameters": 25_000,
        "macs": 1_580_864,
        "size": 27_248,
        "gzip_size": 21_000,
        "latency_us": 18.31,
        "p95_us": 1_234.5,
        "noise": 0.03,
        "memory": 100_000,
    }
    return Entry(name, accuracy=accuracy, **{**defaults, **kwargs})


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    samples = tuple(
        Sample(i, label, 0, 1, 0.6, 0.7, image)
        for i, (label, image) in enumerate(
            [(0, rng.random((28, 28, 1))), (None, rng.random((600, 400, 3))), (2, None)]
        )
    )
    entries = (
        entry("teacher", 0.95, size=9_800_000, latency_us=612.0),
        entry('<b>bold</b> & "quoted"', 0.9432, calibration_error=None, divergence=None),
        entry("no file", 0.5, size=None, gzip_size=None, latency_us=None, note="Sinh <x>"),
        entry("int8", 0.9467),
    )
    return Report(
        title="A title with <tags> </script>",
        entries=entries,
        teacher="teacher",
        student="int8",
        class_names=("cat", "a class of a very long name indeed", "</td>"),
        samples=1000,
        disagreements=samples,
        disagreeing=57,
        history={
            "teacher": {"accuracy": (0.1, 0.9), "val_accuracy": (0.2, 0.8), "loss": (2.0, 0.5)},
            "int8": {"loss": (3.0, float("nan"), 1.0), "val_loss": (2.5, 1.5, 1.25)},
        },
        about={"machine": "a toaster"},
    )


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("page") / "report.html")


def test_a_browser_reads_the_numbers_back_and_finds_no_error(report, page, tmp_path):
    with chromium(tmp_path) as browser:
        visit = browser.visit(page.as_uri())
        rows = dict(browser.evaluate(READ))
        data = json.loads(browser.evaluate("document.getElementById('report').textContent"))
        heading = browser.evaluate("document.querySelector('h1').innerText")
        cards = browser.evaluate("[...document.querySelectorAll('.card b')].map(b => b.innerText)")
        pictures = browser.evaluate(
            "[...document.images].map(image => [image.naturalWidth, image.naturalHeight])"
        )
    assert not visit.errors
    assert [url for url in visit.requests if not url.startswith("data:")] == [page.as_uri()]
    assert list(rows) == [e.name for e in report.entries]
    for e in report.entries:
        assert rows[e.name] == {column.key: column.cell(e, report) for column in COLUMNS}
    int8 = rows["int8"]
    assert int8["accuracy"] == "94.67 % ± 1.00"
    assert int8["difference"] == "−0.33"
    assert int8["divergence"] == "0.0568"
    assert (int8["size"], int8["latency_us"], int8["p95_us"]) == ("27.2 kB", "18.3 µs", "1234 µs")
    assert (int8["parameters"], int8["macs"]) == ("25.0 k", "1.6 M")
    assert rows["teacher"]["size"] == "9.80 MB"
    assert data == json.loads(json.dumps(report.as_dict()))
    assert heading == report.title
    assert cards == ["94.67 %", "360× smaller", "33× faster"]
    assert pictures == [[28, 28], [100, 150]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_any_width_in_any_light(page, tmp_path, width, scheme):
    with chromium(tmp_path) as browser:
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.send("Emulation.setDeviceMetricsOverride", **screen)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.send("Emulation.setEmulatedMedia", features=wanted)
        browser.visit(page.as_uri())
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        paper, ink = browser.evaluate(
            "(s => [s.backgroundColor, s.color].map(c => c.match(/[0-9]+/g).map(Number)))"
            "(getComputedStyle(document.body))"
        )
        assert (sum(paper) > sum(ink)) == (scheme == "light")
        assert abs(sum(paper) - sum(ink)) > 450
        letters = browser.evaluate(
            "Math.min(...[...document.querySelectorAll('svg text')].map("
            "t => parseFloat(getComputedStyle(t).fontSize)"
            " * t.ownerSVGElement.getBoundingClientRect().width / 460))"
        )
        assert letters > 9


def test_a_page_without_history_or_disagreements_says_less(report, tmp_path):
    import dataclasses

    plain = dataclasses.replace(report, history={}, disagreements=(), disagreeing=0)
    text = plain.save(tmp_path / "r.html").read_text()
    assert "How they learned" not in text
    assert "give the same answer to every sample" in text


def test_charts_are_whole_for_odd_numbers():
    for chart in (
        scatter([Point(0, "one", 5.0, 90.0), Point(1, "same", 5.0, 90.0)], "x", "y"),
        scatter([Point(0, "a", 1e-3, 0.0), Point(9, "b", 1e9, 100.0)], "x", "y"),
        lines([(0, "one", [0.5], False)], "y"),
        lines([(0, "nothing", [float("nan")], True)], "y"),
        bars([("class", [(0, "model", None), (1, "other", 0.0)])], "x"),
    ):
        assert chart.startswith("<svg")
        assert "nan" not in chart
        assert "inf" not in chart
