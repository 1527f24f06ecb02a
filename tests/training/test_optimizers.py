"""Copies of optimizers have the configuration and no state."""

import keras
import pytest

from keras_kd.training.optimizers import copy_optimizer


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(0.25, beta_1=0.5), "adam"])
def test_a_copy_has_the_same_configuration(optimizer):
    original = keras.optimizers.get(optimizer)
    copy = copy_optimizer(optimizer)
    assert type(copy) is type(original)
    assert {**copy.get_config(), "name": ""} == {**original.get_config(), "name": ""}


def test_a_copy_has_no_state():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build([keras.Variable([1.0])])
    optimizer.iterations.assign(5)
    copy = copy_optimizer(optimizer)
    assert not copy.built
    assert int(copy.iterations) == 0
    assert int(optimizer.iterations) == 5
