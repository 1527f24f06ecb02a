"""The comparison of a teacher and the file of a student."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.report import compare
from tests.export import models

NAMES = [f"<class {i}>" for i in range(10)]
HISTORY = {"teacher": {"accuracy": [0.2, 0.6], "val_accuracy": [0.1, 0.5], "loss": [2, 1]}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A teacher and a student's file, on labels that the teacher mostly predicts."""
    folder = tmp_path_factory.mktemp("files")
    teacher, student = models.cnn(), models.cnn()
    rng = np.random.default_rng(0)
    student.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in student.get_weights()])
    images = models.IMAGES
    labels = teacher.predict_on_batch(images).argmax(-1)
    labels[::5] = (labels[::5] + 1) % 10
    file = kd.export.to_tflite(student, folder / "int8.tflite", "int8", images)
    data = [(images[:25], labels[:25]), (images[25:], labels[25:])]
    return {"teacher": teacher, "int8 & co": file}, data


@pytest.fixture(scope="module")
def report(compared, tmp_path_factory):
    entries, data = compared
    path = tmp_path_factory.mktemp("report") / "report.md"
    settings = {"class_names": NAMES, "history": HISTORY}
    report = compare(entries, data, path, runs=5, samples=3, **settings)
    assert path.read_text().startswith(
        "# Comparison\n\nint8 & co, compared with teacher on 40 samples: "
    )
    return report


@pytest.mark.slow
def test_the_numbers_are_those_of_the_models(compared, report):
    models_by_name, data = compared
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    logits = [models_by_name["teacher"].predict_on_batch(x), models_by_name["int8 & co"].predict(x)]
    for entry, values in zip(report.entries, logits, strict=True):
        assert entry.accuracy == pytest.approx((values.argmax(-1) == y).mean())
        low, high = entry.interval
        assert low < entry.accuracy < high
    assert report["teacher"].accuracy == 0.8
    assert (report["teacher"].agreement, report["teacher"].divergence) == (1, 0)
    teacher, student = (keras.ops.log_softmax(values).numpy() for values in logits)
    divergence = (np.exp(teacher) * (teacher - student)).sum(-1).mean()
    assert report["int8 & co"].divergence == pytest.approx(divergence, rel=1e-4)
    same = (teacher.argmax(-1) == student.argmax(-1)).mean()
    assert report["int8 & co"].agreement == pytest.approx(same)
    assert report.samples == 40
    correct = [(values.argmax(-1) == y) for values in logits]
    assert sum(change.gained for change in report.changes) == (correct[1] & ~correct[0]).sum()
    assert sum(change.lost for change in report.changes) == (correct[0] & ~correct[1]).sum()
    assert sum(found.student for found in report.confusions) == 40
    assert sum(bin_[0] for bin_ in report["int8 & co"].calibration) == 40
    assert (report.teacher, report.student) == ("teacher", "int8 & co")
    assert report.class_names == tuple(NAMES)
    assert report.history["teacher"]["loss"] == (2.0, 1.0)


def test_costs_are_those_of_the_files(compared, report):
    entry = report["int8 & co"]
    assert (entry.kind, entry.size) == ("int8 file", compared[0]["int8 & co"].size)
    assert report["teacher"].kind == "Keras (as float32 file)"
    assert entry.macs == report["teacher"].macs == 36 * 8 * 9 + 288 * 10


def test_disagreements_are_shown_largest_differences_first(compared, report):
    entries, data = compared
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    teacher = entries["teacher"].predict_on_batch(x)
    student = entries["int8 & co"].predict(x)
    rows = np.flatnonzero(teacher.argmax(-1) != student.argmax(-1))
    difference = keras.ops.softmax(teacher).numpy() - keras.ops.softmax(student).numpy()
    expected = sorted(rows, key=lambda i: -np.abs(difference[i]).sum())
    assert report.disagreeing == len(rows) > 3
    assert [sample.position for sample in report.disagreements] == expected[:3]
    first = report.disagreements[0]
    assert (first.label, first.teacher) == (y[expected[0]], teacher[expected[0]].argmax())
    np.testing.assert_array_equal(first.image, x[expected[0]])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": [1, 2]}, TypeError, "Expected `models` by their names .*type list"),
        ({"models": {"one": None}}, ValueError, "at least two models"),
        ({"teacher": "x"}, ValueError, "Expected teacher=... to be one of"),
        ({"teacher": ""}, ValueError, "Expected teacher=... to be one of"),
        ({"history": {"x": HISTORY["teacher"]}}, ValueError, "Expected `history` by the names"),
        ({"student": "x"}, ValueError, "Expected student=... to be one of"),
        ({"class_names": ["a"]}, ValueError, "Expected 10 `class_names`"),
        # Before any data is read.
        ({"path": "report.pdf", "dataset": None}, ValueError, "ends in one of"),
        ({"history": {"teacher": [0.5]}, "dataset": None}, TypeError, "Expected the history of"),
        ({"models": {"a": 3, "b": 4}, "dataset": None}, TypeError, "Expected Keras models and"),
    ],
)
def test_invalid_arguments_are_rejected_before_anything_is_measured(
    compared, change, error, message
):
    entries, data = compared
    with pytest.raises(error, match=message):
        compare(**{"models": entries, "dataset": data, "runs": 1, **change})
