"""Teachers ranked on a validation set."""

import numpy as np
import pytest
import tensorflow as tf

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
    with pytest.raises(ValueError, match="screen_teachers: the data set must have labels"):
        kd.screen_teachers(teachers, x, keep=1)
