import numpy as np
import pytest
from keras import ops

from keras_kd.losses.label_error import label_error
from keras_kd.models.keras_compat import set_mask

RNG = np.random.default_rng(0)


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@pytest.mark.parametrize("one_hot", [False, True])
def test_classes_have_the_cross_entropy_of_the_labeled_samples(one_hot):
    z, y = RNG.normal(size=(5, 3)), np.array([0, 2, -1, 1, 2])
    expected = np.where(y < 0, 0, -log_softmax(z)[np.arange(5), y])
    given = np.where(y[:, None] < 0, np.nan, np.eye(3)[y]) if one_hot else y
    values, known = label_error("classes", ops.convert_to_tensor(z), ops.convert_to_tensor(given))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_array_equal(known, y >= 0)


def test_labels_have_the_binary_cross_entropy_of_those_that_are_known():
    z, y = RNG.normal(size=(4, 3)), RNG.integers(0, 2, (4, 3)) * 1.0
    y[1], y[2, 0], y[3, 1] = np.nan, np.nan, -1
    counted = y >= 0
    each = np.where(counted, np.logaddexp(0, z) - y * z, 0)
    values, known = label_error("labels", ops.convert_to_tensor(z), ops.convert_to_tensor(y))
    np.testing.assert_allclose(values, each.sum(1) / np.maximum(counted.sum(1), 1), rtol=1e-6)
    np.testing.assert_array_equal(known, [True, False, True, True])


def test_a_yes_or_no_question_may_have_labels_without_the_last_axis():
    z, y = RNG.normal(size=(4, 1)), np.array([0, 1, 1, -1])
    values, known = label_error("binary", ops.convert_to_tensor(z), ops.convert_to_tensor(y))
    expected = np.where(y < 0, 0, np.logaddexp(0, z[:, 0]) - y * z[:, 0])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_array_equal(known, y >= 0)


def test_numbers_have_the_squared_error_and_may_be_negative():
    z, y = RNG.normal(size=(3, 2)), np.array([[-1.0, 2], [np.nan, 3], [np.nan, np.nan]])
    values, known = label_error("values", ops.convert_to_tensor(z), ops.convert_to_tensor(y))
    squares = (z - y) ** 2
    np.testing.assert_allclose(values, [squares[0].mean(), squares[1, 1], 0], rtol=1e-6)
    np.testing.assert_array_equal(known, [True, True, False])


@pytest.mark.parametrize("task", ["classes", "labels", "values"])
def test_masked_steps_do_not_count(task):
    z, kept = RNG.normal(size=(2, 3, 4)), np.array([[1, 1, 0], [1, 0, 0]], bool)
    y = np.array([[1, 3, 0], [2, 0, 0]]) if task == "classes" else RNG.integers(0, 2, (2, 3, 4))
    arrays = [ops.convert_to_tensor(a) for a in (z, y)]
    values, _ = label_error(task, set_mask(arrays[0], ops.convert_to_tensor(kept)), arrays[1])
    for i, steps in enumerate(kept.sum(1)):
        alone, _ = label_error(task, arrays[0][i : i + 1, :steps], arrays[1][i : i + 1, :steps])
        np.testing.assert_allclose(values[i], alone[0], rtol=1e-6)
