"""Teachers ranked on a validation set."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy


def validation(samples=20):
    x, y = toy.data(samples)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8), x, y


@pytest.fixture(scope="module")
def models():
    return [
        toy.cnn(f"teacher_{i}", seed=i + 1, activation="softmax" if i else None) for i in range(3)
    ]


def expected(models, x, y):
    loss = toy.sparse_loss()
    return [float(loss(y, np.log(m(x)) if i else m(x))) for i, m in enumerate(models)]


def test_teachers_are_ranked_by_cross_entropy_and_reported(models):
    dataset, x, y = validation()
    lines = []
    report = kd.screen_teachers(models, dataset, keep=2, print_fn=lines.append)
    losses = expected(models, x, y)
    order = np.argsort(losses)
    assert [row.teacher.model for row in report.ranking] == [models[i] for i in order]
    np.testing.assert_allclose(
        [row.cross_entropy for row in report.ranking], np.sort(losses), rtol=1e-5
    )
    accuracies = [np.mean(np.argmax(models[i](x), -1) == y) for i in order]
    np.testing.assert_allclose([row.accuracy for row in report.ranking], accuracies, rtol=1e-6)
    assert [row.kept for row in report.ranking] == [True, True, False]
    assert lines == [str(report)]
    assert lines[0].splitlines()[-1].endswith("dropped")
    assert [t.model for t in report.teachers] == [models[i] for i in order[:2]]


def test_a_threshold_keeps_teachers_close_to_the_best(models):
    dataset, x, y = validation()
    losses = np.sort(expected(models, x, y))
    threshold = (losses[0] + losses[1]) / 2 - losses[0]
    report = kd.screen_teachers(models, dataset, threshold=threshold, print_fn=None)
    assert len(report.teachers) == 1


def test_unlabeled_samples_are_ignored(models):
    _, x, y = validation()
    some = np.where(np.arange(20) % 2, y, kd.UNLABELED)
    half = tf.data.Dataset.from_tensor_slices((x, some)).batch(8)
    report = kd.screen_teachers(models, half, keep=1, print_fn=None)
    assert report.samples == 10
    losses = expected(models, x[1::2], y[1::2])
    np.testing.assert_allclose(report.ranking[0].cross_entropy, min(losses), rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "either `keep` or `threshold`"),
        ({"keep": 4}, "from 1 to 3"),
        ({"keep": 1, "threshold": 1.0}, "either `keep` or `threshold`"),
    ],
)
def test_invalid_arguments(kwargs, message, models):
    with pytest.raises(ValueError, match=message):
        kd.screen_teachers(models, validation()[0], **kwargs)


def test_teachers_with_more_classes_are_ranked_on_those_of_the_labels(models):
    dataset, x, y = validation()
    more, columns = toy.cnn("more", classes=6, seed=9), [4, 0, 1, 5]
    teacher = kd.Teacher(more, classes=[1, 2, None, None, 0, 3])
    report = kd.screen_teachers([*models, teacher], dataset, keep=1, print_fn=None)
    found = {row.teacher.name: row.cross_entropy for row in report.ranking}
    own = float(toy.sparse_loss()(y, np.asarray(more(x))[:, columns]))
    np.testing.assert_allclose(found["more"], own, rtol=1e-5)
    np.testing.assert_allclose(
        [found[model.name] for model in models], expected(models, x, y), rtol=1e-5
    )
    for classes, message in (
        ([1, 2, None, None, 0, 4], "indices from 0 to 3"),
        (list("abcdef"), "screen_teachers: the classes of the labels have no names"),
        ([0, 1, 2, None, None, None], "must have outputs of the same size"),
    ):
        given = [*models, kd.Teacher(more, classes=classes)]
        with pytest.raises(ValueError, match=message):
            kd.screen_teachers(given, dataset, keep=1, print_fn=None)


def test_a_data_set_without_labels_is_an_error(models):
    _, x, y = validation()
    unlabeled = tf.data.Dataset.from_tensors((x, np.full_like(y, kd.UNLABELED)))
    with pytest.raises(ValueError, match="no sample of the data set has a label"):
        kd.screen_teachers(models, unlabeled, keep=1, print_fn=None)


def test_arrays_are_ranked_like_their_batches():
    x, y = toy.vectors(40)
    teachers = [toy.mlp("a", seed=1), toy.mlp("b", seed=2)]
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    right, *others = (
        kd.screen_teachers(teachers, data, keep=1, print_fn=None)
        for data in (batches, (x, y), [(x[:30], y[:30]), (x[30:], y[30:])])
    )
    for report in others:
        assert report.teachers[0].name == right.teachers[0].name
        for one, other in zip(report.ranking, right.ranking, strict=True):
            np.testing.assert_allclose(one.cross_entropy, other.cross_entropy, rtol=1e-5)
    with pytest.raises(
        ValueError, match="screen_teachers: expected labels of one output. Received: labels in 0"
    ):
        kd.screen_teachers(teachers, x, keep=1)


X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")


def fixed(name, kernel, bias=0.0, activation=None, loss=None):
    """A linear teacher of known worth."""
    units = kernel.shape[1]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation)], name=name)
    model.set_weights([kernel.astype("float32"), np.full(units, bias, "float32")])
    model.compile(loss=loss)
    return model


def screen(teachers, labels, **arguments):
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(16)
    report = kd.screen_teachers(teachers, data, print_fn=None, **{"keep": 1, **arguments})
    return report, {row.teacher.name: row for row in report.ranking}


def binary_cross_entropy(logits, labels):
    return np.logaddexp(0, logits) - logits * labels


@pytest.mark.parametrize("activation", [None, "sigmoid"])
@pytest.mark.parametrize("form", ["flat", "column", "missing"])
def test_yes_or_no_teachers_are_ranked_by_binary_cross_entropy(activation, form):
    good = fixed("good", 4 * np.eye(4, 1), 0, activation)
    half = fixed("half", 4 * np.eye(4, 1), 9, activation)
    labels, known = (X[:, 0] > 0).astype("float32"), np.ones(40, bool)
    if form == "missing":
        known = np.arange(40) % 3 > 0
        labels = np.where(known, labels, np.nan)
    report, rows = screen([half, good], labels[:, None] if form == "column" else labels)
    assert (report.task, report.samples) == ("binary", known.sum())
    assert [teacher.name for teacher in report.teachers] == ["good"]
    for name, bias in (("good", 0), ("half", 9)):
        logits = 4 * X[known, 0] + bias
        expected = binary_cross_entropy(logits, labels[known]).mean()
        assert rows[name].cross_entropy == pytest.approx(expected, rel=1e-4)
        assert rows[name].accuracy == pytest.approx(((logits > 0) == (labels[known] > 0)).mean())


def test_teachers_of_independent_labels_are_ranked_by_all_of_them():
    good, bad = np.eye(4, 3) * [2, 6, 20], np.eye(4, 3) * [20, 6, -2]
    labels = (X[:, :3] > 0).astype("float32")
    labels[::2, 1] = np.nan
    report, rows = screen(
        [fixed("bad", bad, activation="sigmoid"), fixed("good", good, activation="sigmoid")], labels
    )
    assert (report.task, [teacher.name for teacher in report.teachers]) == ("labels", ["good"])
    assert rows["good"].accuracy == 1
    # The mean over samples of the mean over the known labels of each.
    loss = np.nanmean(binary_cross_entropy(X @ bad, labels), 1).mean()
    hits = np.where(np.isnan(labels), np.nan, (X @ bad > 0) == (labels > 0))
    assert rows["bad"].cross_entropy == pytest.approx(loss, rel=1e-4)
    assert rows["bad"].accuracy == pytest.approx(np.nanmean(hits, 1).mean())


@pytest.mark.parametrize("told", ["labels", "loss"])
def test_teachers_of_numbers_are_ranked_by_squared_error(told):
    loss = "mse" if told == "loss" else None
    near, far = fixed("near", np.eye(4, 3), 0.1, loss=loss), fixed("far", 9 * np.eye(4, 3), 5)
    targets = np.round(X[:, :3]) if told == "loss" else X[:, :3]
    report, rows = screen([far, near], targets)
    assert (report.task, [teacher.name for teacher in report.teachers]) == ("values", ["near"])
    expected = ((X[:, :3] + 0.1 - targets) ** 2).mean()
    assert rows["near"].mean_squared_error == pytest.approx(expected, rel=1e-4)
    assert (rows["near"].cross_entropy, rows["near"].accuracy) == (None, None)
    assert str(report).splitlines()[1].split("  ")[-2:] == ["mean squared error", "decision"]
    assert "accuracy" not in str(report)
    only_best, _ = screen([far, near], targets, keep=None, threshold=1.0)
    assert len(only_best.teachers) == 1


@pytest.mark.parametrize(
    ("activations", "labels", "message"),
    [
        (["softmax", "sigmoid"], X[:, :4] > 0, "the same task"),
        (["sigmoid", "sigmoid"], X[:, :4], "independent labels: expected 0 or 1"),
        (["softmax", "softmax"], X[:, :4], "mutually exclusive classes: expected class numbers"),
        ([None, None], np.array(["a"] * 40), "neither the teachers nor labels.*outputs="),
    ],
)
def test_contradictory_tasks_are_refused(activations, labels, message):
    teachers = [fixed(f"t{i}", np.eye(4), 0, one) for i, one in enumerate(activations)]
    with pytest.raises(ValueError, match=message):
        screen(teachers, labels)
