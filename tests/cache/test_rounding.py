"""Rounding that matters against the spread of the values is refused before a build ends."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.cache.rounding import RoundingCheck, rounding_moments
from keras_kd.cache.schema import StoredTap
from tests.cache.caches import build, read_joined

X = np.random.default_rng(0).normal(size=(600, 5)).astype("float32")
DATA = tf.data.Dataset.from_tensor_slices(X)


def check(values, dtype="float16", activation=None, serves="either", batches=1):
    """Run the check on a part of the values at a time."""
    tap = StoredTap(None, serves, activation, values.shape[1:], values.dtype.name, "f.npy")
    rounding = RoundingCheck("t", tap, dtype)
    for part in np.array_split(values, batches):
        rounding.add(*rounding_moments(part, part.astype(dtype)))
    rounding.check()
    rounding.warn()
    return rounding


def column(mean, spread, samples=200, seed=1):
    return mean + spread * np.random.default_rng(seed).normal(size=(samples, 1))


def test_the_moments_are_those_of_numpy():
    values = np.random.default_rng(0).normal(40_000, 50, size=(7, 3, 2)).astype("float32")
    rows, mean, deviations, errors = rounding_moments(values, values.astype("float16"))
    flat = values.astype("float64").reshape(-1, 2)
    kept = values.astype("float16").astype("float64").reshape(-1, 2)
    assert int(rows) == 21
    np.testing.assert_allclose(mean, flat.mean(0))
    np.testing.assert_allclose(deviations, flat.var(0) * 21)
    np.testing.assert_allclose(errors, ((flat - kept) ** 2).sum(0))


@pytest.mark.parametrize("batches", [1, 2, 7])
def test_batches_add_up(batches):
    values = column(1e6, 3.0)
    rounding = check(values, "float32", batches=batches)
    np.testing.assert_allclose(rounding._mean, values.mean(0))
    np.testing.assert_allclose(rounding._deviations, values.var(0) * 200)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (column(40_000, 3.0), "float16"),
        (column(100.0, 1.0), "float16"),  # Multiples of 1/16.
        (column(1e-6, 1e-7), "float16"),  # Multiples of 2**-24.
        (column(1e-9, 1e-9), "float16"),  # All become 0.
        (column(1e9, 1.0), "float32"),  # Of a float64 teacher.
        (np.repeat(column(40_000, 3.0), 4, axis=1).reshape(50, 4, 4), "float16"),
    ],
)
@pytest.mark.parametrize("serves", ["either", "logits", "values"])
def test_rounding_that_matters_is_refused(values, dtype, serves):
    remedy = r"dtype='float32'" if dtype == "float16" else "differences from a constant"
    with pytest.raises(ValueError, match=rf"teacher 't' at the output .*{dtype} rounds.*{remedy}"):
        check(values, dtype, serves=serves)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (column(0.0, 1.0), "float16"),
        (column(10.0, 1.0), "float16"),
        (column(0.0, 1e-4), "float16"),
        (column(0.0, 10_000.0), "float16"),
        (column(40_000, 3.0), "float32"),
        (np.full((300, 2), 0.1), "float16"),  # A constant has no differences.
        (np.concatenate([np.full((300, 1), 0.1), column(0, 1e-3, 300)], axis=1), "float16"),
        (column(0.1, 1.0, samples=1), "float16"),
    ],
)
def test_rounding_that_does_not_matter_is_accepted(values, dtype):
    check(values, dtype)
    check(values, dtype, activation="values")


TWO = np.concatenate([column(20_000, 3.0), column(0, 10_000, seed=2)], axis=1)


def test_each_number_counts_for_itself():
    """A unit with a large spread does not hide one with a small spread."""
    with pytest.raises(ValueError, match=r"near 1.* that differ by .*\(unit 0\)"):
        check(TWO, activation="values")


def test_a_single_unit_of_logits_is_reported():
    with pytest.warns(UserWarning, match=r"\(unit 0\).*a class that never occurs"):
        check(TWO)
    check(TWO, serves="values")  # Features of a hidden layer count together.


def numbers(offset, units=1):
    """A teacher of numbers near an offset that differ by a few."""
    keras.utils.set_random_seed(0)
    bias = keras.initializers.Constant(offset)
    head = layers.Dense(units, name="head", bias_initializer=bias)
    return keras.Sequential([keras.Input((5,)), head], name="t")


@pytest.mark.parametrize("samples", [50, 600])
def test_a_build_stops_before_it_writes_rounded_numbers(samples, tmp_path):
    data = DATA.take(samples)
    with pytest.raises(ValueError, match="returns values near (39999|4000).* Pass dtype='float32'"):
        build(numbers(40_000), data, tmp_path / "c", batch_size=50)
    cache = build(numbers(40_000), data, tmp_path / "c", dtype="float32", batch_size=50)
    x, outputs = read_joined(cache.join(data.batch(50)))
    np.testing.assert_allclose(outputs, numbers(40_000)(x), rtol=1e-6)


@pytest.mark.parametrize("outputs", ["values", "auto"])
def test_each_of_several_declared_numbers_counts_for_itself(outputs, tmp_path):
    model = numbers([20_000, 0.0], units=2)
    model.layers[0].kernel.assign(model.layers[0].kernel * [1.0, 10_000.0])
    teacher = kd.Teacher(model, outputs=outputs)
    if outputs == "values":
        with pytest.raises(ValueError, match=r"returns values near .*\(unit 0\)"):
            build(teacher, DATA, tmp_path / "c")
    else:  # They may be logits.
        with pytest.warns(UserWarning, match=r"\(unit 0\).*if this unit is a number"):
            build(teacher, DATA, tmp_path / "c")


def test_the_hidden_layers_of_a_teacher_are_checked(tmp_path):
    inputs = keras.Input((5,))
    hidden = layers.Rescaling(1.0, 30_000.0, name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(hidden - 30_000.0), name="t")
    with pytest.raises(ValueError, match="teacher 't' at 'hidden' returns values near 29999"):
        build(model, DATA, tmp_path / "c", taps=[None, "hidden"])
    assert len(build(model, DATA, tmp_path / "c")) == 600


def test_an_unfinished_build_with_blocks_is_kept(tmp_path):
    """Rows on disk are not deleted because of a later batch."""
    large = X.copy()
    large[400:] += 1e8
    data = tf.data.Dataset.from_tensor_slices(large).batch(50)
    wide = keras.Sequential([keras.Input((5,)), layers.Dense(20_000)], name="t")  # 209 a block.
    with pytest.raises(ValueError, match="too large for float16"):
        build(wide, data, tmp_path / "c")
    assert (tmp_path / "c" / "building.json").exists()
    with pytest.raises(FileNotFoundError, match="its build did not finish"):
        kd.KnowledgeCache(tmp_path / "c")
