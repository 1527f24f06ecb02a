import keras
import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.losses import GaussianTargets
from tests import golden_numbers, toy
from tests.golden_numbers import value_and_gradient

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 30, 6))


def divergence(teacher, student):
    """The divergence by the variances, and its gradients for the student's two parts."""
    (mean, log_variance), (own_mean, own_log_variance) = (
        np.split(x, 2, -1) for x in (teacher, student)
    )
    variance, own = np.exp(log_variance), np.exp(own_log_variance)
    squares = variance + (mean - own_mean) ** 2
    values = np.log(own / variance) / 2 + squares / (2 * own) - 0.5
    return values, (own_mean - mean) / own, 0.5 - squares / (2 * own)


def check(values, gradient, expected, slope, dtype):
    near = golden_numbers.NEAR[dtype]
    np.testing.assert_allclose(values, expected.mean(-1), rtol=near)
    slope = slope / 3 / len(slope)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=near * np.abs(slope).max())


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
def test_a_student_of_log_variances_gets_the_numbers_of_the_formula(dtype):
    taps = (x.astype(dtype) for x in (TEACHER, STUDENT))
    expected, *slopes = divergence(TEACHER, STUDENT)
    check(*value_and_gradient(GaussianTargets(), *taps), expected, np.hstack(slopes), dtype)


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
def test_a_student_of_means_takes_the_variances_of_the_teacher(dtype):
    taps = (x.astype(dtype) for x in (TEACHER, STUDENT[:, :3]))
    same = np.hstack([STUDENT[:, :3], TEACHER[:, 3:]])
    expected, slope, _ = divergence(TEACHER, same)
    check(*value_and_gradient(GaussianTargets(), *taps), expected, slope, dtype)


def test_an_equal_student_has_the_minimum():
    values, gradient = value_and_gradient(GaussianTargets(), TEACHER, TEACHER)
    np.testing.assert_allclose(values, 0, atol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("student", [STUDENT[:6], STUDENT[:6, :3]])
def test_it_is_a_conforming_loss(student):
    labels = np.zeros((6, 3))
    kd.testing.check_loss(GaussianTargets(), TEACHER[:6], student, labels)


@pytest.mark.parametrize(("teacher", "student"), [(3, 3), (4, 1), (2, 4), (1, 1)])
def test_shapes_that_do_not_match_are_rejected(teacher, student):
    shapes = rf"teacher of shape \(None, {teacher}\), a student of shape \(None, {student}\)"
    models = toy.mlp("student", classes=student), toy.mlp("teacher", classes=teacher, seed=1)
    with pytest.raises(ValueError, match=f"an even number .*{shapes}"):
        kd.Distiller(*models, GaussianTargets())
    with pytest.raises(ValueError, match="even number"):
        GaussianTargets()(np.zeros((2, teacher)), np.zeros((2, student)))


def likelihood(y, outputs):
    mean, log_variance = ops.split(outputs, 2, axis=-1)
    return ops.mean(log_variance + ops.square(y - mean) * ops.exp(-log_variance), axis=-1) / 2


@pytest.mark.parametrize(("units", "loss"), [(1, "mse"), (2, likelihood)])
def test_it_trains_means_and_log_variances(units, loss):
    models = toy.mlp("student", classes=units), toy.mlp("teacher", classes=2, seed=1)
    model = kd.Distiller(*models, GaussianTargets())
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    x, _ = toy.vectors(16)
    logs = model.fit(x, x[:, :1], epochs=3, verbose=0).history["gaussian_targets"]
    assert logs[-1] < logs[0]


def test_the_errors_of_means_and_log_variances_cannot_be_measured():
    models = toy.mlp("student", classes=2), toy.mlp("teacher", classes=2, seed=1)
    model = kd.Distiller(*models, kd.losses.LabelsFirst(GaussianTargets()))
    model.compile("sgd", likelihood, run_eagerly=True)
    x, _ = toy.vectors(16)
    with pytest.raises(ValueError, match=r"needs labels of the shape of the outputs, \(16, 2\)"):
        model.fit(x, x[:, :1], epochs=3, verbose=0)


def test_classes_are_refused():
    models = toy.mlp("student", classes=4), toy.mlp("teacher", classes=4, seed=1)
    with pytest.raises(ValueError, match=r"declared as 'values'.*exclusive classes"):
        kd.Distiller(*models, GaussianTargets()).compile("sgd", toy.sparse_loss())


def test_outputs_after_an_activation_are_refused():
    student, teacher = toy.mlp("student", classes=2), toy.mlp("teacher", activation="softmax")
    with pytest.raises(ValueError, match=r"needs a teacher of means.*activation='softmax'"):
        kd.Distiller(student, teacher, GaussianTargets())
    declared = kd.Teacher(teacher, outputs="values")
    kd.Distiller(student, declared, GaussianTargets()).compile("sgd", "mse")
    student = toy.mlp("student", classes=2, activation="sigmoid")
    with pytest.raises(ValueError, match="ends in a softmax or sigmoid"):
        kd.Distiller(student, declared, GaussianTargets()).compile("sgd", "mse")
