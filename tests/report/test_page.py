"""The page of a report in Chromium: its numbers, light and dark, any width, without a network."""

import json

import pytest

from keras_kd.report.columns import columns_of
from keras_kd.report.page import _cards, _select_curves, render_page
from tests.docs.browser import chromium
from tests.report import reports

READ = """
[...document.querySelectorAll('table.models tbody tr')].map(row => [row.dataset.model,
  Object.fromEntries([...row.cells].slice(1).map(cell => [cell.dataset.metric, cell.innerText]))])
"""


@pytest.fixture(scope="module")
def report():
    return reports.report()


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_a_browser_reads_the_numbers_back_and_finds_no_error(report, page, browser):
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
        assert rows[e.name] == {column.key: column.cell(e, report) for column in columns_of(report)}
    assert rows["int8"]["accuracy"] == "94.67 % ± 1.00"
    assert data == json.loads(json.dumps(report.as_dict()))
    assert heading == report.title
    outcome = "document.querySelector('header p:last-child').innerText"
    assert browser.evaluate(outcome).startswith(
        "int8, compared with teacher on 1,000 samples: 0.33"
    )
    assert cards == ["94.67 %", "360× smaller", "33× faster"]
    assert pictures == [[28, 28], [100, 150]]


def test_names_are_escaped(page, browser):
    browser.visit(page.as_uri())
    text = browser.evaluate("document.body.innerText")
    for name in ('<b>bold</b> & "quoted"', "</td>", "Sinh <x>", "A title with <tags> </script>"):
        assert name in text
    # The only bold elements are those of the cards and of the predictions.
    assert browser.evaluate("document.querySelectorAll('b').length") == 3 + 2 * 3
    labels = browser.evaluate("[...document.querySelectorAll('svg title')].map(t => t.textContent)")
    assert any(label.startswith('<b>bold</b> & "quoted": ') for label in labels)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366])
def test_the_page_fits_any_width_in_light_and_dark_mode(page, browser, width, scheme):
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


def test_sections_without_content_are_omitted():
    text = render_page(reports.report(history={}, disagreements=(), disagreeing=0))
    assert "Learning curves" not in text
    assert "int8 and teacher predict the same class for every sample." in text
    assert "Learning curves" in render_page(reports.report())


def test_a_regression_shows_errors_and_no_accuracy():
    text = render_page(reports.numbers())
    body = text[text.index("<main>") : text.index("<script")]
    for absent in ("ccurac", "Classes", "Disagreements", "same class", "Confusion"):
        assert absent not in body
    assert "RMSE against size" in body
    assert _cards(reports.numbers())[0] == (
        "0.03457",
        "RMSE",
        "root mean squared error; teacher 0.02",
    )


def test_the_matrix_and_the_calibration_are_shown_if_they_are_known():
    text = render_page(reports.report())
    assert '<td class="miss" style="--share: 0.020" title="cat as a class' in text
    assert "Accuracy against confidence" in text
    entries = [reports.entry(name, 0.9, calibration=()) for name in ("teacher", "int8")]
    text = render_page(reports.report(entries=tuple(entries), changes=(), confusions=()))
    for absent in ("Confusion matrix", "Calibration", "Gained and lost"):
        assert absent not in text


def test_independent_labels_are_called_labels():
    text = render_page(reports.report(task="labels", changes=(), confusions=()))
    assert "<h2>Labels</h2>" in text
    assert "error rate of the label, %" in text
    assert "Disagreements" not in text


def test_only_the_classes_with_the_most_errors_are_drawn():
    accuracies = tuple(1 - i / 100 for i in range(30))
    entries = [reports.entry(name, 0.9, per_class=accuracies) for name in ("teacher", "int8")]
    names = tuple(f"class{i:02}" for i in range(30))
    given = {"class_names": names, "disagreements": (), "changes": (), "confusions": ()}
    text = render_page(reports.report(entries=tuple(entries), **given))
    assert "The chart shows the 20 classes with the highest error rate." in text
    assert ">class10</text>" in text
    assert ">class09</text>" not in text


def test_cards_compare_the_student_with_the_teacher():
    same = (reports.entry("teacher", 0.9), reports.entry("int8", 0.9, size=None))
    assert _cards(reports.report(entries=same)) == [
        ("90.00 %", "accuracy", "same as the teacher (90.00 %)"),
        ("1.0× faster", "than the teacher (18.3 µs)", "18.3 µs"),
    ]
    better = (reports.entry("teacher", 0.9), reports.entry("int8", 0.91))
    assert _cards(reports.report(entries=better))[0][2] == "1.00 points above the teacher (90.00 %)"


@pytest.mark.parametrize(
    ("history", "kind", "curves"),
    [
        (["loss", "val_loss"], "loss", [("val_loss", False)]),
        (["loss"], "loss", [("loss", False)]),
        (["acc", "val_acc", "loss"], "acc", [("acc", True), ("val_acc", False)]),
        (["loss"], "acc", []),
    ],
)
def test_validation_curves_are_drawn_with_thin_training_curves_except_of_losses(
    history, kind, curves
):
    assert _select_curves(dict.fromkeys(history, ()), kind) == curves
