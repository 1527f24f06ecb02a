"""Teachers ranked on a validation set."""

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy


def validation(samples=20):
    x, y = toy.data(samples)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8), x, y


def teachers():
    return [
        toy.cnn(f"teacher_{i}", seed=i + 1, activation="softmax" if i else None) for i in range(3)
    ]


def expected(models, x, y):
    loss = toy.sparse_loss()
    return [float(loss(y, np.log(m(x)) if i else m(x))) for i, m in enumerate(models)]


def test_teachers_are_ranked_by_their_cross_entropy_and_reported():
    dataset, x, y = validation()
    models, lines = teachers(), []
    report = kd.screen_teachers(models, dataset, keep=2, print_fn=lines.append)
    losses = expected(models, x, y)
    order = np.argsort(losses)
    assert [row.teacher.model for row in report.ranking] == [models[i] for i in order]
    np.testing.assert_allclose(
        [row.cross_entropy for row in report.ranking], np.sort(losses), rtol=1e-5
    )
    hits = [np.mean(np.argmax(models[i](x), -1) == y) for i in order]
    np.testing.assert_allclose([row.accuracy for row in report.ranking], hits, rtol=1e-6)
    assert [row.kept for row in report.ranking] == [True, True, False]
    assert lines == [str(report)]
    assert lines[0].splitlines()[-1].endswith("dropped")
    kd.Distiller(toy.cnn("student"), report.teachers)


def test_a_threshold_keeps_those_that_are_near_the_best():
    dataset, x, y = validation()
    losses = np.sort(expected(teachers(), x, y))
    threshold = (losses[0] + losses[1]) / 2 - losses[0]
    report = kd.screen_teachers(teachers(), dataset, threshold=threshold, print_fn=None)
    assert len(report.teachers) == 1


def test_unlabelled_samples_are_left_out():
    _, x, y = validation()
    some = np.where(np.arange(20) % 2, y, kd.UNLABELED)
    half = tf.data.Dataset.from_tensor_slices((x, some)).batch(8)
    report = kd.screen_teachers(teachers(), half, keep=1, print_fn=None)
    assert report.samples == 10
    losses = expected(teachers(), x[1::2], y[1::2])
    np.testing.assert_allclose(report.ranking[0].cross_entropy, min(losses), rtol=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({}, "either `keep` or `threshold`"),
        ({"keep": 4}, "from 1 to 3"),
        ({"keep": 1, "threshold": 1.0}, "either `keep` or `threshold`"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.screen_teachers(teachers(), validation()[0], **kwargs)
