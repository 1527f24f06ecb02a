"""A warning points at the line of the user, so that Python shows it and can filter it there."""

import functools
import warnings

import keras
import pytest

import keras_kd as kd
from keras_kd.models.user_warnings import warn_user
from tests import toy


def in_the_package(call, depth):
    """Call a function from frames that seem to be in the package."""
    code = "def run(call, depth):\n    return run(call, depth - 1) if depth else call()\n"
    names = {}
    exec(compile(code, kd.__file__, "exec"), names)
    return names["run"](call, depth)


@pytest.mark.parametrize("depth", [0, 3])
def test_frames_of_the_package_are_passed_over(depth):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_the_package(functools.partial(warn_user, "message"), depth)
    (warning,) = caught
    assert str(warning.message) == "message"
    assert warning.filename == __file__


def test_the_warning_of_a_decorated_method_points_here():
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distiller.compile(keras.optimizers.SGD(), "sparse_categorical_crossentropy")
    found = [warning for warning in caught if warning.category is UserWarning]  # Not NumPy's.
    assert {warning.filename for warning in found} == {__file__}
