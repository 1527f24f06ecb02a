"""Reports: the numbers of models and files, what is refused, and what is written."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.report import compare
from tests.export import models

NAMES = [f"<class {i}>" for i in range(10)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A teacher, a student and its files, on labels that the teacher mostly gives."""
    folder = tmp_path_factory.mktemp("files")
    teacher, student = models.cnn(), models.cnn()
    weights = student.get_weights()
    rng = np.random.default_rng(0)
    student.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in weights])
    labels = teacher.predict_on_batch(models.IMAGES).argmax(-1)
    labels[::5] = (labels[::5] + 1) % 10
    images = models.IMAGES
    compared = {
        "teacher": teacher,
        "student & co": student,
        "int8": kd.export.to_tflite(student, folder / "int8.tflite", "int8", images),
        "classes": kd.export.to_tflite(student, folder / "c.tflite", answer="argmax").path,
        "softmax": kd.export.to_tflite(student, folder / "s.tflite", answer="softmax"),
    }
    return compared, [(images[:25], labels[:25]), (images[25:], labels[25:])]


@pytest.fixture(scope="module")
def report(compared):
    entries, data = compared
    history = {"teacher": {"accuracy": [0.2, 0.6], "val_accuracy": [0.1, 0.5], "loss": [2, 1]}}
    return compare(
        entries, data, class_names=NAMES, history=history, student="int8", runs=10, samples=3
    )


def test_the_numbers_are_those_of_the_models(compared, report):
    entries, data = compared
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    logits = {n: entries[n].predict_on_batch(x) for n in ("teacher", "student & co")}
    for name, values in logits.items():
        assert report[name].accuracy == pytest.approx((values.argmax(-1) == y).mean())
        low, high = report[name].interval
        assert low < report[name].accuracy < high
    assert report["teacher"].accuracy == 0.8
    assert (report["teacher"].agreement, report["teacher"].divergence) == (1, 0)
    teacher, student = (keras.ops.log_softmax(v).numpy() for v in logits.values())
    divergence = (np.exp(teacher) * (teacher - student)).sum(-1).mean()
    assert report["student & co"].divergence == pytest.approx(divergence, rel=1e-4)
    same = (teacher.argmax(-1) == student.argmax(-1)).mean()
    assert report["student & co"].agreement == pytest.approx(same)
    evaluated = kd.export.evaluate(entries["int8"], data)
    assert report["int8"].accuracy == evaluated.accuracy
    assert report.samples == 40


def test_probabilities_count_as_such_and_class_numbers_as_answers(report):
    student, softmax = report["student & co"], report["softmax"]
    assert softmax.divergence == pytest.approx(student.divergence, rel=1e-3)
    assert softmax.calibration_error == pytest.approx(student.calibration_error, rel=1e-3)
    classes = report["classes"]
    assert (classes.accuracy, classes.agreement) == (student.accuracy, student.agreement)
    assert classes.divergence is None
    assert classes.calibration_error is None


def test_costs_are_those_of_the_files(compared, report):
    file = compared[0]["int8"]
    entry = report["int8"]
    assert entry.size == file.size
    assert entry.gzip_size < entry.size
    assert entry.kind == "int8 file"
    assert report["teacher"].kind == "Keras (as float32 file)"
    assert entry.macs == report["teacher"].macs == 36 * 8 * 9 + 288 * 10
    assert 0 < entry.latency_us <= entry.p95_us


def test_disagreements_are_shown_those_furthest_apart_first(compared, report):
    entries, data = compared
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    teacher = entries["teacher"].predict_on_batch(x)
    student = entries["int8"].predict(x)
    apart = np.flatnonzero(teacher.argmax(-1) != student.argmax(-1))
    distance = np.abs(keras.ops.softmax(teacher).numpy() - keras.ops.softmax(student).numpy()).sum(
        -1
    )
    expected = sorted(apart, key=lambda i: -distance[i])
    assert report.disagreeing == len(apart) > 3
    assert [sample.position for sample in report.disagreements] == expected[:3]
    first = report.disagreements[0]
    assert (first.label, first.teacher) == (y[expected[0]], teacher[expected[0]].argmax())
    np.testing.assert_array_equal(first.image, x[expected[0]])


def test_json_holds_every_number_and_markdown_the_tables(report, tmp_path):
    written = json.loads(report.save(tmp_path / "r.json").read_text())
    assert written["entries"][2]["accuracy"] == report["int8"].accuracy
    assert written["disagreements"][0]["position"] == report.disagreements[0].position
    text = report.save(tmp_path / "r.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| int8 |"))
    assert f"{report['int8'].accuracy:.2%}".replace("%", " %") in row
    assert sum(line.startswith("| <class") for line in text.splitlines()) == 10


def test_one_unit_is_two_classes(tmp_path):
    x = layers.Input((1,))
    logit = keras.Model(x, layers.Rescaling(1.0)(x))
    probability = keras.Model(x, layers.Activation("sigmoid")(x))
    values = np.array([[-2.0], [-1.0], [1.0], [3.0]], "float32")
    found = compare(
        {"logit": logit, "probability": probability}, [(values, np.array([0, 1, 1, 1]))], runs=1
    )
    assert found["logit"].accuracy == found["probability"].accuracy == 0.75
    assert found["probability"].divergence == pytest.approx(0, abs=1e-5)
    assert found["logit"].per_class == (1, 2 / 3)


def test_dense_prediction_counts_every_place():
    x = layers.Input((2, 2, 3))
    model = keras.Model(x, layers.Rescaling(1.0)(x))
    values = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 2]]])]
    labels = np.array([[[0, 1], [2, -1]]])
    found = compare({"one": model, "other": model}, [(values, labels)], runs=1)
    assert found["one"].accuracy == 1
    assert found.disagreeing == 0


def test_a_model_without_a_file_is_compared_and_says_why(compared):
    import tensorflow as tf

    x = layers.Input((8, 8, 1))
    odd = keras.Model(x, layers.Dense(10)(layers.Flatten()(layers.Lambda(tf.sinh)(x))))
    found = compare({"teacher": compared[0]["teacher"], "odd": odd}, compared[1], runs=1)
    assert found["odd"].size is None
    assert "Sinh" in found["odd"].note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"one": None}}, "at least two models"),
        ({"teacher": "x"}, "Expected teacher=... to be one of"),
        ({"student": "x"}, "Expected student=... to be one of"),
        ({"dataset": []}, "Received: 0 samples, none with a label"),
        ({"dataset": [models.IMAGES]}, "batches without labels"),
        ({"dataset": [(models.IMAGES, np.full(40, 11))]}, "integer labels from 0 to 9"),
        ({"class_names": ["a"]}, "Expected 10 class_names"),
        # Before any data is read.
        ({"path": "report.pdf", "dataset": None}, "ends in one of"),
    ],
)
def test_what_cannot_be_compared_is_refused(compared, change, message):
    entries, data = compared
    few = {name: entries[name] for name in ("teacher", "softmax")}
    with pytest.raises(ValueError, match=message):
        compare(**{"models": few, "dataset": data, "runs": 1, **change})


def test_what_is_no_model_is_refused(compared):
    with pytest.raises(TypeError, match="Expected Keras models and .tflite files"):
        compare({"teacher": compared[0]["teacher"], "other": 3}, compared[1])
    with pytest.raises(TypeError, match="Expected the history of 'teacher'"):
        compare(
            {n: compared[0][n] for n in ("teacher", "softmax")},
            None,
            history={"teacher": [0.5]},
        )


def test_models_of_other_classes_are_refused(compared):
    x = layers.Input((8, 8, 1))
    other = keras.Model(x, layers.Dense(4)(layers.Flatten()(x)))
    with pytest.raises(ValueError, match="models of the same classes"):
        compare({"teacher": compared[0]["teacher"], "other": other}, compared[1])
