import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import BoundedRegression
from tests import golden_numbers, toy
from tests.golden_numbers import value_and_gradient

RNG = np.random.default_rng(0)
TEACHER, STUDENT, LABELS = RNG.normal(size=(3, 40, 3))


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_it_gives_the_numbers_of_the_formula(margin, dtype):
    taps = (x.astype(dtype) for x in (TEACHER, STUDENT))
    values, gradient = value_and_gradient(BoundedRegression(margin), *taps, LABELS)
    own, bound = (((x - LABELS) ** 2).mean(-1) for x in (STUDENT, TEACHER))
    counted = own + margin > bound
    assert 5 < counted.sum() < 40
    near = golden_numbers.NEAR[dtype]
    np.testing.assert_allclose(values, np.where(counted, own, 0), rtol=near)
    expected = np.where(counted[:, None], 2 * (STUDENT - LABELS) / 3 / 40, 0)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=near * np.abs(expected).max())


def test_without_a_label_the_target_is_the_teacher():
    labels = np.where(np.arange(40)[:, None] < 20, np.nan, LABELS)
    values, gradient = value_and_gradient(BoundedRegression(), TEACHER, STUDENT, labels)
    expected = ((TEACHER - STUDENT) ** 2).mean(-1)
    np.testing.assert_allclose(values[:20], expected[:20])
    assert np.isfinite(gradient).all()
    whole, _ = value_and_gradient(BoundedRegression(), TEACHER, STUDENT, LABELS)
    np.testing.assert_allclose(values[20:], whole[20:])


def test_it_is_a_conforming_loss():
    kd.testing.check_loss(BoundedRegression(), TEACHER[:6], STUDENT[:6], LABELS[:6])
    loss = BoundedRegression(0.5, 0.25, "a", "b", "mine")
    again = kd.losses.deserialize(kd.losses.serialize(loss))
    assert again.get_config() == loss.get_config()


def test_labels_of_one_number_may_have_no_axis_and_others_are_rejected():
    one = BoundedRegression()(TEACHER[:, :1], STUDENT[:, :1], LABELS[:, 0])
    np.testing.assert_array_equal(
        one, BoundedRegression()(TEACHER[:, :1], STUDENT[:, :1], LABELS[:, :1])
    )
    with pytest.raises(ValueError, match=r"labels of the shape of the outputs, \(40, 3\)"):
        BoundedRegression()(TEACHER, STUDENT, LABELS[:, 0])


def test_it_trains_a_regression_and_refuses_classes():
    def distiller():
        models = toy.mlp("student", classes=1), toy.mlp("teacher", classes=1, seed=1)
        return kd.Distiller(*models, BoundedRegression())

    x, _ = toy.vectors(16)
    model = distiller()
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    logs = model.fit(x, x[:, 0], epochs=2, verbose=0).history["bounded_regression"]
    assert np.isfinite(logs).all()
    with pytest.raises(ValueError, match="BoundedRegression .* is for numbers"):
        distiller().compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
