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


def test_a_single_sample_that_a_preprocessing_takes_for_a_batch_is_a_single_sample():
    flatten = kd.Teacher(toy.mlp("t", 36), preprocessing=lambda x: ops.reshape(x, (-1, 36)))
    assert not takes_batches([flatten], spec(6, 6))  # As a batch it would be of one sample.
    assert takes_batches([flatten], spec(4, 6, 6))

    whole = kd.Teacher(toy.mlp("t", 36), preprocessing=lambda x: ops.reshape(x["map"], (-1, 36)))
    assert not takes_batches([whole], {"map": spec(6, 6), "size": spec(1)})
    assert takes_batches([whole], {"map": spec(None, 6, 6), "size": spec(None, 1)})


def test_an_error_says_what_the_preprocessing_makes_of_a_batch():
    crop = kd.Teacher(toy.mlp("t", 5), preprocessing=lambda x: x["row"][:, :3])
    with pytest.raises(CacheError, match=r"row: float32 \(9,\), which .* float32 \(None, 3\)"):
        takes_batches([crop], {"row": spec(9)})


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (lambda x: x / 255.0, r"raises TypeError .*lambda x: layer\(x\['row'\]\).*Cause: unsupp"),
        (lambda x: x.shape, "raises AttributeError .*has no attribute 'shape'"),
        (lambda x: x["image"], "raises KeyError .*Cause: 'image'"),
    ],
)
def test_a_preprocessing_that_fails_for_a_dict_is_named(preprocessing, message):
    teacher = kd.Teacher(toy.mlp("t"), preprocessing=preprocessing)
    for shape in ((5,), (None, 5)):
        with pytest.raises(CacheError, match=message):
            takes_batches([teacher], {"row": spec(*shape)})


def test_a_model_of_unknown_shapes_takes_a_free_first_axis():
    model = keras.Model()
    model.built = True  # As a model does whose layers are built in its constructor.
    teacher = kd.Teacher(model)
    assert teacher.inputs is None
    assert takes_batches([teacher], spec(None, 3))
    assert not takes_batches([teacher], spec(3))
