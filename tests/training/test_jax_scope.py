"""The scope of a step on JAX."""

import keras
import pytest

pytest.importorskip("jax")

from keras_kd.training.jax_scope import Scope, current


@pytest.fixture
def pair():
    return keras.Variable(1.0), keras.Variable(2.0)


def test_variables_have_the_values_of_the_scope_and_keep_their_own(pair):
    one, other = pair
    with Scope([(one, 5.0), (other, 6.0)]) as scope:
        assert current.scope is scope
        one.assign(one + 2.0)
        assert [float(value) for value in scope.values(pair)] == [7.0, 6.0]
    assert current.scope is None
    assert [float(variable.value) for variable in pair] == [1.0, 2.0]
    assert {i: float(value) for i, value in scope.changed(pair).items()} == {0: 7.0}


def test_scopes_are_nested(pair):
    with Scope([(pair[0], 5.0)]) as outer:
        with Scope([(pair[0], 6.0)]) as inner:
            assert current.scope is inner
            pair[0].assign(7.0)
        assert current.scope is outer
        assert float(pair[0].value) == 5.0
    assert outer.changed(pair[:1]) == {}


def test_values_that_would_be_lost_are_an_error(pair):
    one, other = pair
    with Scope([(one, 5.0)]) as scope:
        scope.require_unchanged([one])
        one.assign(6.0)
        scope.require_unchanged()
        with pytest.raises(ValueError, match="cannot keep its new value"):
            scope.require_unchanged([one])
        other.assign(3.0)
        with pytest.raises(ValueError, match="does not belong to the distiller"):
            scope.require_unchanged()
