"""Scalars in variables: checked where they enter, exact, tracked."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.training.hyperparameters import hyperparameters


def test_assigning_writes_into_the_same_variable():
    loss = kd.losses.SoftTargets(temperature=3.0)
    variable = loss.temperature
    loss.temperature = 0.1
    assert loss.temperature is variable
    assert float(variable) == 0.1  # float64: no digit is lost.


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "warm", None])
def test_a_value_out_of_range_is_refused_and_the_old_one_stays(value):
    loss = kd.losses.SoftTargets(temperature=3.0)
    with pytest.raises(ValueError, match="SoftTargets: `temperature` must be a finite number"):
        loss.temperature = value
    assert float(loss.temperature) == 3.0


def test_they_are_listed_and_saved_with_the_object_and_never_trained():
    loss = kd.losses.SoftTargets(temperature=3.0, weight=0.5)
    assert list(hyperparameters(loss)) == ["weight", "temperature"]
    assert loss.trainable_variables == []
    np.testing.assert_array_equal([float(v) for v in loss.variables], [0.5, 3.0])


def test_mixed_precision_does_not_round_them():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        loss = kd.losses.SoftTargets(temperature=1 / 3)
        values = loss(np.eye(3, dtype="float16") * 9, np.ones((3, 3), "float16"))
    finally:
        keras.config.set_dtype_policy("float32")
    expected = kd.losses.SoftTargets(temperature=1 / 3)(np.eye(3) * 9, np.ones((3, 3)))
    assert values.dtype == "float32"
    np.testing.assert_allclose(values, expected, rtol=1e-6)
