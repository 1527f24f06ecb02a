import numpy as np
import pytest

from keras_kd.losses import NeuronSelectivity
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(NeuronSelectivity("a", "b"), "nst", "features", file, dtype)


@pytest.mark.parametrize("shape", [(2, 2, 2), (6, 6, 2)], ids=["few positions", "few channels"])
def test_both_orders_of_products_give_the_mean_kernels(shape):
    height, width, channels = shape
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(3, height, width, 2 * channels))
    student = rng.normal(size=(3, height, width, channels))

    def points(x):
        x = x.reshape(3, -1, x.shape[-1])
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def mean_kernel(x, y):
        return (np.einsum("bpc,bpd->bcd", x, y) ** 2).mean((1, 2))

    t, s = points(teacher), points(student)
    expected = mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(t, s)
    values, gradient = value_and_gradient(NeuronSelectivity("a", "b"), teacher, student)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    # The gradient, by a small step along it.
    step = 1e-6 * gradient
    less, _ = value_and_gradient(NeuronSelectivity("a", "b"), teacher, student - step)
    np.testing.assert_allclose(values.mean() - less.mean(), np.sum(gradient * step), rtol=1e-3)


def test_the_order_of_the_students_channels_does_not_matter():
    teacher, student, _ = golden_numbers.taps("golden_a", "features")
    loss = NeuronSelectivity("a", "b")
    one, _ = value_and_gradient(loss, teacher, student)
    other, _ = value_and_gradient(loss, teacher, student[..., ::-1].copy())
    np.testing.assert_allclose(one, other)


def test_volumes_are_compared_by_position():
    teacher, student = np.random.default_rng(0).normal(size=(2, 3, 2, 4, 4, 5))
    loss = NeuronSelectivity("a", "b")
    flat = loss(teacher.reshape(3, 32, 5), student.reshape(3, 32, 5))
    np.testing.assert_allclose(loss(teacher, student), flat, rtol=1e-6)
    pooled = teacher.reshape(3, 2, 2, 2, 4, 5).mean(3)
    small = student[:, :, :2]
    np.testing.assert_allclose(loss(teacher, small), loss(pooled, small), rtol=1e-5)
