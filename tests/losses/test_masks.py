"""Masked steps of sequences are ignored by every loss that supports masks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy

TOKENS = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [9, 1, 0, 0, 0]])
LABELS = np.array([[0, 1, 2, 0, 0], [1, 2, 0, 1, 2], [2, 0, 0, 0, 0]])
REAL = TOKENS > 0


def tagger(name, units, activation=None, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 6, mask_zero=True, name="embedding")(inputs)
    x = layers.LSTM(units, return_sequences=True, name="lstm")(x)
    spread = keras.initializers.RandomNormal(stddev=30.0)  # Steps must differ.
    head = layers.Dense(3, activation=activation, kernel_initializer=spread)
    return keras.Model(inputs, head(x), name=name)


LOSSES = [
    kd.losses.SoftTargets(),
    kd.losses.OutputsMSE(),
    kd.losses.DecoupledKD(),
    kd.losses.NormalizedKD(),
    kd.losses.WTTM(),
    kd.losses.TAID(),
    kd.losses.LogitStandardization(),
    kd.losses.LabelsFirst(),
    kd.losses.Hint("lstm", "lstm"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "eager"), [(None, True), ("softmax", False)])
def test_masked_steps_are_ignored(activation, eager):
    teacher = tagger("teacher", 4, seed=1)
    student = tagger("student", 4, activation, seed=2)
    twin = tagger("twin", 4, seed=2)
    model = kd.Distiller(student, teacher, LOSSES)
    hard = keras.losses.SparseCategoricalCrossentropy(activation is None)
    model.compile("sgd", loss=hard, run_eagerly=eager)
    logs = model.fit(TOKENS, LABELS, batch_size=3, verbose=0).history
    for loss in LOSSES:
        tap = -1 if loss.on_logits else 2
        outputs = [keras.Model(m.input, m.layers[tap].output)(TOKENS) for m in (teacher, twin)]
        expected = []
        for sample, real in enumerate(REAL):
            steps = np.flatnonzero(real)
            expected.append(
                np.mean(loss(*(np.asarray(x)[sample, steps] for x in (*outputs, LABELS))))
            )
        np.testing.assert_allclose(logs[loss.name][0], np.mean(expected), rtol=1e-4)


def test_a_loss_without_mask_support_rejects_masked_steps():
    model = kd.Distiller(tagger("student", 4), tagger("teacher", 4), kd.losses.DIST())
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    with pytest.raises(ValueError, match="DIST cannot skip the masked steps"):
        model.fit(TOKENS, LABELS, verbose=0)


@pytest.mark.parametrize("combine", ["losses", "probabilities"])
def test_weights_of_teachers_do_not_count_masked_steps(combine):
    teachers = [tagger("one", 4, seed=1), tagger("two", 4, "softmax", seed=2)]
    for teacher in teachers:  # Confident ones, so that their weights differ.
        teacher.layers[-1].kernel.assign(teacher.layers[-1].kernel * 100.0)
    student, weighting = tagger("student", 4, seed=3), kd.weighting.CrossEntropy()
    model = kd.Distiller(
        student, teachers, kd.losses.SoftTargets(), weighting=weighting, combine=combine
    )
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    one, two, own = (np.asarray(m(TOKENS)) for m in (*teachers, student))
    logits, expected = np.stack([one, np.log(two)]), []
    for i, real in enumerate(REAL):
        steps = np.flatnonzero(real)
        weights = np.asarray(weighting(logits[:, [i]][:, :, steps], LABELS[[i]][:, steps]))[:, 0]
        assert abs(weights[0] - 0.5) > 0.001
        values = [kd.losses.SoftTargets()(t[i, steps], own[i, steps]) for t in logits]
        if combine == "probabilities":
            mixed = np.log(
                sum(
                    w * np.exp(log_softmax(t[i, steps]))
                    for w, t in zip(weights, logits, strict=True)
                )
            )
            expected.append(np.mean(kd.losses.SoftTargets()(mixed, own[i, steps])))
        else:
            expected.append(np.dot(weights, np.mean(values, axis=-1)))
    logs = model.fit(TOKENS, LABELS, batch_size=3, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(expected), rtol=1e-4)


def log_softmax(logits):
    return np.asarray(keras.ops.log_softmax(logits))


@pytest.mark.slow
def test_weights_of_cached_sequences_are_rejected(tmp_path):
    """A cache stores no masks, so padding would count."""
    teachers = [tagger("one", 4, seed=1), tagger("two", 4, seed=2)]
    data = tf.data.Dataset.from_tensor_slices((TOKENS, LABELS)).batch(3)
    cache = kd.KnowledgeCache.build(teachers, data, tmp_path / "cache", verbose=0)
    for weighting, fine in ((kd.weighting.Entropy(), False), (kd.weighting.Uniform(), True)):
        student = tagger("student", 4, seed=3)
        model = kd.Distiller(student, cache.teachers, "soft_targets", weighting=weighting)
        model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
        if fine:
            model.fit(cache.join(data), verbose=0)
        else:
            with pytest.raises(ValueError, match=r"masked steps .*\['one', 'two'\] have no mask"):
                model.fit(cache.join(data), verbose=0)
