"""A tf_keras model runs, trains, and is constrained inside a Keras 3 model."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.compression.tfmot.convert import convert_student
from keras_kd.compression.tfmot.wrapper import wrap
from tests import toy
from tests.compression import models, runs


def wrap_model(model, untrained=()):
    converted = convert_student(model, None)
    return wrap(model, converted, converted.flat, untrained)


def test_variables_are_shared():
    model = models.of(layers.Dense(3, name="dense"), (4,))
    wrapped = wrap_model(model)
    kernel, _ = wrapped.layer.adopted
    assert kernel.path == "dense_kernel"
    kernel.assign(kernel * 2)
    expected = model.get_layer("dense").kernel.numpy() * 2
    np.testing.assert_array_equal(wrapped.layer.tf_keras_model.get_weights()[0], expected)
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(wrapped.model(x), wrapped.layer.tf_keras_model(x))


def test_frozen_and_untrained_variables_are_not_trainable():
    model = toy.mlp("student")
    model.get_layer("head").trainable = False
    converted = convert_student(model, None)
    bias = converted.model.get_layer("hidden").bias
    wrapped = wrap(model, converted, converted.flat, [bias])
    assert [v.path for v in wrapped.model.trainable_variables] == ["hidden_kernel"]


def test_inputs_and_outputs_keep_their_names_and_structure():
    b, a = keras.Input((4,), name="b"), keras.Input((3,), name="a")
    hidden = layers.Dense(8, name="hidden")(layers.Concatenate()([b, a]))
    outputs = {
        "big": layers.Dense(5, name="big")(hidden),
        "few": layers.Dense(2, name="few")(hidden),
    }
    student = keras.Model({"b": b, "a": a}, outputs)
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(16, 3)), "b": rng.normal(size=(16, 4))}
    y = {"big": rng.integers(0, 5, 16), "few": rng.integers(0, 2, 16)}
    loss = {"big": toy.sparse_loss(), "few": toy.sparse_loss()}
    metrics = {"few": ["accuracy"]}
    result = runs.prune(student, 0.0, data=(x, y), loss=loss, metrics=metrics, epochs=1)
    assert "few_accuracy" in result.history
    assert set(result.model(x)) == {"big", "few"}


def test_constraints_are_applied():
    x = keras.Input((6, 6, 1))
    limit = keras.constraints.MaxNorm(0.5)
    dense = layers.Dense(4, kernel_constraint=limit, name="dense")
    student = keras.Model(x, dense(layers.Flatten()(x)))
    result = runs.prune(student, 0.0, epochs=1)
    assert np.linalg.norm(result.model.get_layer("dense").kernel, axis=0).max() < 0.5001


def test_regularization_losses_are_added():
    model = models.of(layers.Dense(3, kernel_regularizer="l2", name="dense"), (4,))
    wrapped = wrap_model(model)
    wrapped.model(np.ones((1, 4), "float32"))
    expected = 0.01 * np.sum(np.square(model.get_layer("dense").kernel))
    np.testing.assert_allclose(sum(wrapped.model.losses), expected, rtol=1e-6)


def test_a_wrapped_model_cannot_be_saved(tmp_path):
    with pytest.raises(NotImplementedError, match="'student_in_tf_keras' runs in tf_keras and can"):
        wrap_model(toy.mlp("student")).model.save(tmp_path / "x.keras")
