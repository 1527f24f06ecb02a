"""Charts: valid SVG for unusual numbers, escaped names, and marks where they belong."""

import re
from xml.etree import ElementTree

import pytest

from keras_kd.report.charts import (
    Bar,
    Curve,
    Point,
    bars,
    calibration,
    color_class,
    lines,
    scatter,
)

CHARTS = {
    "equal points": scatter([Point(0, "one", 5.0, 90.0), Point(1, "same", 5.0, 90.0)], "x", "y"),
    "large range": scatter([Point(0, "a", 1e-3, 0.0), Point(9, "b", 1e9, 100.0)], "x", "y"),
    "one epoch": lines([Curve(0, "one", [0.5], False)], "y"),
    "no finite value": lines([Curve(0, "nothing", [float("nan")], True)], "y"),
    "no value": bars([("class", [Bar(0, "model", None), Bar(1, "other", 0.0)])], "x"),
    "markup": bars([("</td>", [Bar(0, "<b> & co", 1.0)])], "<x>"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_valid_for_unusual_numbers_and_names(name):
    chart = CHARTS[name]
    assert ElementTree.fromstring(chart).tag == "svg"
    assert not re.search(r'"[^"]*\b(nan|inf)\b', chart)


def test_the_pareto_front_is_circled_and_connected():
    points = [Point(0, "a", 1.0, 50.0), Point(1, "b", 10.0, 60.0), Point(2, "c", 20.0, 40.0)]
    chart = scatter(points, "x", "y")
    assert chart.count('class="ring"') == 2
    (path,) = re.findall(r'class="front" points="([^"]*)"', chart)
    assert len(path.split()) == 2


def test_training_curves_are_thin():
    chart = lines([Curve(0, "m", [1, 2], True), Curve(0, "m", [1, 2], False)], "y")
    assert re.findall(r'polyline class="([^"]*)"', chart) == ["line faint m0", "line m0"]


def test_bars_are_as_long_as_their_values():
    chart = bars([("class", [Bar(0, "a", 10.0), Bar(1, "b", 5.0)])], "x")
    long, short = map(float, re.findall(r'width="([\d.]+)" height', chart))
    assert long == pytest.approx(2 * short, abs=0.2)


def test_colors_repeat_after_eight_models():
    assert [color_class(i) for i in (0, 7, 8)] == ["m0", "m7", "m0"]


@pytest.mark.parametrize("epochs", [2, 3, 5, 30, 400])
def test_epochs_have_whole_numbers(epochs):
    chart = lines([Curve(0, "m", [1.0] * epochs)], "y")
    ticks = re.findall(r'text-anchor="middle" x="[\d.]+" y="272">([^<]*)<', chart)
    assert 1 <= len(ticks) <= 8
    assert all(tick.isdigit() for tick in ticks)


def test_a_calibrated_model_lies_on_the_diagonal_and_larger_bins_have_larger_points():
    chart = calibration([Curve(0, "m", ((1, 0.5, 0.5), (3, 1.0, 1.0)))])
    line = re.search(r'x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"/><g', chart)
    (points,) = re.findall(r'points="([^"]*)"', chart)
    assert points.replace(",", " ").split() == list(line.groups())
    assert re.findall(r'r="([\d.]+)"', chart) == ["6.0", "8.9"]
    assert ElementTree.fromstring(chart).tag == "svg"
