"""Batches with NaN or infinite values, and data sets that fail: named, and nothing is lost."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from tests import toy

MARK = 50.0


def arrays():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 5)).astype("float32"), rng.integers(0, 4, 32)
    return x, y, np.ones(32, "float32")


def batches(*parts):
    return tf.data.Dataset.from_tensor_slices(parts or arrays()).batch(8)


def distiller(on_bad_batch="raise"):
    """Its teacher gives NaN for a sample that begins with MARK."""
    keras.utils.set_random_seed(0)
    hidden, norm = keras.layers.Dense(6), keras.layers.BatchNormalization()
    student = keras.Sequential([keras.Input((5,)), hidden, norm, keras.layers.Dense(4)])
    spoilt = lambda x: ops.where(x == MARK, float("nan"), x)  # noqa: E731
    # Without ReLU: on some processors TensorFlow's fused kernels make 0 of a NaN before it.
    linear = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)], name="teacher")
    teacher = kd.Teacher(linear, preprocessing=spoilt)
    model = kd.Distiller(student, teacher, on_bad_batch=on_bad_batch)
    model.compile(keras.optimizers.Adam(0.01), toy.sparse_loss(), metrics=["accuracy"])
    return model


def with_bad(part, value):
    """The arrays with one bad value, in the third batch of four, and an unlabelled sample."""
    x, y, weights = arrays()
    y = y.astype("float32")
    y[30] = np.nan
    {"x": x[:, 0], "y": y, "weights": weights}[part][17] = value
    return x, y, weights


BAD = {
    "inputs": ("x", np.nan, "The batch has NaN or infinite values in its inputs"),
    "weights": ("weights", np.inf, "The batch has NaN or infinite values in its sample weights"),
    "teacher": ("x", MARK, "Teacher 'teacher' gave NaN or infinite values"),
}


@pytest.fixture(scope="module")
def after_two_batches():
    model = distiller()
    model.fit(batches().take(2), verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_batch_is_named_and_the_student_is_as_it_was_before_it(what, after_two_batches):
    part, value, sentence = BAD[what]
    model = distiller()
    with pytest.raises(ValueError, match=rf"^{sentence}\. This was in batch 3 of epoch 1\.$"):
        model.fit(batches(*with_bad(part, value)), epochs=2, verbose=0)
    pairs = list(zip(model.student.weights, model.get_weights(), strict=False))
    assert all(np.isfinite(weight).all() for weight, _ in pairs)
    if what != "teacher":  # Its words are looked at when the student has seen the batch.
        for one, other in zip(model.get_weights(), after_two_batches, strict=True):
            np.testing.assert_array_equal(one, other)


def test_skipped_batches_leave_no_trace_but_their_number():
    data = batches(*with_bad("x", np.nan)).concatenate(batches(*with_bad("x", MARK)))
    model = distiller("skip")
    history = model.fit(data, epochs=2, verbose=0).history
    assert history["skipped_batches"] == [2, 2]
    sound = batches(*with_bad("x", 0.0))
    sound = sound.take(2).concatenate(sound.skip(3))
    expected = distiller()
    wanted = expected.fit(sound.repeat(2), epochs=2, verbose=0).history
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in wanted.items():
        assert history[name] == values


def test_an_epoch_of_bad_batches_ends_the_training():
    x, y, weights = arrays()
    model = distiller("skip")
    before = model.get_weights()
    with pytest.raises(ValueError, match="epoch 1: all 4 batches were bad"):
        model.fit(batches(x * np.nan, y, weights), verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="nothing to learn from in epoch 1: no batch came"):
        distiller().fit(batches().take(0), verbose=0)


def generated(third):
    """A data set from a generator that gives two batches and then something else."""
    x, y, weights = arrays()

    def generate():
        yield from [(x[:8], y[:8], weights[:8]), (x[8:16], y[8:16], weights[8:16])]
        yield third()

    spec = tuple(tf.TensorSpec((8, *a.shape[1:]), a.dtype) for a in (x, y, weights))
    return tf.data.Dataset.from_generator(generate, output_signature=spec)


@pytest.mark.parametrize(
    ("third", "cause"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: (np.zeros((8, 5)), np.zeros(8)), "TypeError: .*did not match"),
    ],
    ids=["raises", "another structure"],
)
def test_a_data_set_that_fails_is_told_of_and_the_steps_before_it_stay(
    third, cause, after_two_batches
):
    model = distiller()
    with pytest.raises(RuntimeError, match=f"The data set failed in batch 3 of epoch 1: {cause}"):
        model.fit(generated(third), verbose=0)
    for one, other in zip(model.get_weights(), after_two_batches, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_class_of_students_names_the_bad_batch():
    students = [toy.mlp(f"student_{i}", classes=4) for i in range(2)]
    model = kd.TeacherClass(toy.mlp("teacher"), "hidden", students)
    model.compile("adam")
    with pytest.raises(ValueError, match=r"in its inputs\. This was in batch 3 of epoch 1\.$"):
        model.fit(batches(*with_bad("x", np.nan)), verbose=0)


def test_what_skipping_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"`on_bad_batch` must be one of"):
        distiller("ignore")
    with pytest.raises(ValueError, match="`steps_per_execution` must be 1"):
        distiller("skip").compile("adam", steps_per_execution=2)
    assert not distiller("skip").jit_compile


class NanForLargeInputs(keras.layers.Layer):
    def call(self, x):
        return ops.where(ops.abs(x) > MARK, float("nan"), x)


def failing_teacher():
    layers = [keras.Input((5,)), NanForLargeInputs(), keras.layers.Dense(4)]
    return kd.Teacher(keras.Sequential(layers, name="teacher"), outputs="logits")


def noisy(model):
    noise = kd.noise.LogitNoise(1.0, seed=1)
    return kd.Distiller(model, failing_teacher(), noise=noise, on_bad_batch="skip")


def augmented(model):
    augment = keras.layers.GaussianNoise(0.1, seed=1)
    options = {"augment": augment, "same_view": True}
    return kd.Distiller(model, failing_teacher(), **options, on_bad_batch="skip")


def averaged(model):
    return kd.SelfDistiller(model, decay=0.9, on_bad_batch="skip")


@pytest.mark.parametrize("make", [noisy, augmented, averaged])
@pytest.mark.parametrize("eager", [True, False])
def test_a_skipped_batch_changes_no_variable_and_draws_no_random_number(make, eager):
    x, y, _ = arrays()
    good = np.r_[0:8, 16:32]
    bad = x.copy()
    bad[8:16] = np.nan if make is averaged else 2 * MARK
    models = []
    for inputs, labels in ((bad, y), (x[good], y[good])):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((5,)), keras.layers.Dropout(0.5, seed=3), keras.layers.Dense(4)]
        model = make(keras.Sequential(layers))
        model.compile(keras.optimizers.Adam(0.01), toy.sparse_loss(), run_eagerly=eager)
        data = batches(inputs, labels)
        skipped = model.fit(data, epochs=2, verbose=0).history["skipped_batches"]
        assert skipped == ([1, 1] if inputs is bad else [0, 0])
        models.append(model)
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
