"""Sequences with masked steps: left out, or refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

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
    wide = keras.initializers.RandomNormal(stddev=30.0)  # Else they would hardly differ.
    head = layers.Dense(3, activation=activation, kernel_initializer=wide)
    return keras.Model(inputs, head(x), name=name)


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(
    "loss",
    [
        kd.losses.SoftTargets(),
        kd.losses.LogitsMSE(),
        kd.losses.DecoupledKD(),
        kd.losses.NormalizedKD(),
        kd.losses.LogitStandardization(),
        kd.losses.Hint("lstm", "lstm"),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_masked_steps_do_not_count(loss, activation):
    teacher = tagger("teacher", 4, seed=1)
    student = tagger("student", 4, activation, seed=2)
    twin = tagger("twin", 4, seed=2)
    if loss.on_logits:
        teacher_outputs, answer = teacher(TOKENS), twin(TOKENS)
    else:
        teacher_outputs, answer = (
            keras.Model(m.inputs[0], m.get_layer("lstm").output)(TOKENS) for m in (teacher, twin)
        )
    expected = []
    for sample, real in enumerate(REAL):
        steps = np.flatnonzero(real)
        parts = (np.asarray(part)[sample, steps] for part in (teacher_outputs, answer, LABELS))
        expected.append(np.mean(loss(*parts)))
    model = kd.Distiller(student, teacher, loss)
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(activation is None))
    logs = model.fit(TOKENS, LABELS, batch_size=3, verbose=0).history
    np.testing.assert_allclose(logs[loss.name][0], np.mean(expected), rtol=1e-4)


def test_a_loss_that_cannot_leave_steps_out_refuses_them():
    model = kd.Distiller(tagger("student", 4), tagger("teacher", 4), kd.losses.DIST())
    model.compile("sgd", toy.sparse_loss())
    with pytest.raises(ValueError, match="DIST cannot leave out the masked steps"):
        model.fit(TOKENS, LABELS, verbose=0)


def test_a_sample_without_any_step_counts_nothing():
    values = kd.losses.distillation_loss.mean_per_sample(
        ops.ones((2, 3)), np.array([[True, False, False], [False, False, False]])
    )
    np.testing.assert_array_equal(values, [1.0, 0.0])
