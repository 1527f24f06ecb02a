"""Whether inputs are single samples or batches."""

import keras
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.cache.input_specs import is_batched, sample_inputs, takes_batches
from keras_kd.teachers.knowledge import CacheError
from tests import toy


def spec(*shape, dtype="float32"):
    return tf.TensorSpec(shape, dtype)


def test_shapes_and_dtypes_of_one_sample():
    x = {"a": spec(None, 3), "b": spec(None, 2, 2, dtype="int32")}
    assert sample_inputs(x, batched=True) == (((3,), "float32"), ((2, 2), "int32"))
    assert sample_inputs(x["a"], batched=False) == (((None, 3), "float32"),)


def test_inputs_are_recognized_as_samples_or_batches():
    inputs = (((6, 6, 1), "float32"),)
    assert is_batched(spec(None, 6, 6, 1), inputs, "join")
    assert is_batched(spec(10, 6, None, 1), inputs, "join")
    assert not is_batched(spec(6, 6, 1), inputs, "join")
    for other in (spec(6, 5, 1), spec(6, 6, 1, dtype="uint8"), (spec(6, 6, 1), spec(3))):
        with pytest.raises(CacheError, match=r"join: .* must be float32 \(6, 6, 1\).*Received: "):
            is_batched(other, inputs, "join")


def test_scalars_are_single_samples():
    assert not is_batched(spec(), (((), "float32"),), "join")


def test_the_teacher_decides_what_a_batch_is(mlp):
    teachers = [kd.Teacher(mlp)]
    assert takes_batches(teachers, spec(None, 5))
    assert not takes_batches(teachers, spec(5))
    received = r"takes batches of shape \[\(None, 5\)\].*Received: x of float32 \(4,\)"
    with pytest.raises(CacheError, match=received):
        takes_batches(teachers, spec(4))


def test_preprocessing_comes_first():
    flatten = kd.Teacher(toy.mlp("t", 36), preprocessing=lambda x: ops.reshape(x, (-1, 36)))
    assert takes_batches([flatten], spec(None, 6, 6))

    def per_batch(x):
        return x[:, :, 0]  # An error for a single sample.

    teacher = kd.Teacher(toy.mlp("t"), preprocessing=per_batch)
    assert takes_batches([teacher], spec(None, 5, 2))
    assert not takes_batches([teacher], spec(5, 2))


def test_a_model_of_unknown_shapes_takes_a_free_first_axis():
    model = keras.Model()
    model.built = True  # As a model does whose layers are built in its constructor.
    teacher = kd.Teacher(model)
    assert teacher.inputs is None
    assert takes_batches([teacher], spec(None, 3))
    assert not takes_batches([teacher], spec(3))
