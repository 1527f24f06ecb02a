import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import AttentiveImitation
from tests import golden_numbers, toy
from tests.golden_numbers import value_and_gradient

RNG = np.random.default_rng(0)
TEACHER, STUDENT, LABELS = RNG.normal(size=(3, 40, 3))
ERRORS = ((TEACHER - LABELS) ** 2).mean(-1)
RANGE = np.ptp(ERRORS)


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("error_range", [RANGE, 2.0])
def test_it_gives_the_numbers_of_the_formula(error_range, dtype):
    taps = (x.astype(dtype) for x in (TEACHER, STUDENT))
    values, gradient = value_and_gradient(AttentiveImitation(error_range), *taps, LABELS)
    trust = np.maximum(0, 1 - ERRORS / error_range)
    assert 0 < (trust == 0).sum() < 30
    near = golden_numbers.NEAR[dtype]
    expected = trust * ((STUDENT - TEACHER) ** 2).mean(-1)
    np.testing.assert_allclose(values, expected, rtol=near, atol=near)
    slope = trust[:, None] * 2 * (STUDENT - TEACHER) / 3 / 40
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=near * np.abs(slope).max())


def test_missing_labels_do_not_count_in_the_teachers_error():
    labels = LABELS.copy()
    labels[:20], labels[20:, 1] = np.nan, np.nan
    values, gradient = value_and_gradient(AttentiveImitation(3.0), TEACHER, STUDENT, labels)
    assert np.isfinite(gradient).all()
    distance = ((STUDENT - TEACHER) ** 2).mean(-1)
    np.testing.assert_allclose(values[:20], distance[:20])
    errors = ((TEACHER - LABELS)[20:, [0, 2]] ** 2).mean(-1)
    np.testing.assert_allclose(values[20:], np.maximum(0, 1 - errors / 3) * distance[20:])


def test_it_is_a_conforming_loss():
    kd.testing.check_loss(AttentiveImitation(8.0), TEACHER[:6], STUDENT[:6], LABELS[:6])


def test_labels_of_one_number_may_have_no_axis_and_others_are_rejected():
    loss = AttentiveImitation(2.0)
    np.testing.assert_array_equal(
        loss(TEACHER[:, :1], STUDENT[:, :1], LABELS[:, 0]),
        loss(TEACHER[:, :1], STUDENT[:, :1], LABELS[:, :1]),
    )
    with pytest.raises(ValueError, match=r"AttentiveImitation needs labels .* outputs, \(40, 3\)"):
        loss(TEACHER, STUDENT, LABELS[:, 0])


def test_the_range_is_required_and_positive():
    with pytest.raises(ValueError, match=r"'attentive_imitation' has required arguments"):
        kd.losses.get("attentive_imitation")
    with pytest.raises(ValueError, match="`error_range` must be a finite number greater than 0"):
        AttentiveImitation(0.0)


def test_it_trains_a_regression_and_refuses_classes():
    def distiller():
        models = toy.mlp("student", classes=1), toy.mlp("teacher", classes=1, seed=1)
        return kd.Distiller(*models, AttentiveImitation(2.0))

    x, _ = toy.vectors(16)
    y = np.where(np.arange(16) < 4, np.nan, x[:, 0])
    model = distiller()
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    logs = model.fit(x, y, epochs=2, verbose=0).history["attentive_imitation"]
    assert np.isfinite(logs).all()
    with pytest.raises(ValueError, match="AttentiveImitation .* is for numbers"):
        distiller().compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
