import numpy as np
import pytest

from keras_kd.losses import DecoupledKD, SoftTargets
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
@pytest.mark.parametrize(
    ("name", "beta", "temperature"), [("dkd_a1_b8_T4", 8.0, 4.0), ("dkd_a1_b2_T1", 2.0, 1.0)]
)
def test_it_gives_the_numbers_of_the_reference(name, beta, temperature, file, dtype):
    loss = DecoupledKD(beta=beta, temperature=temperature)
    golden_numbers.assert_golden(loss, name, "logits", file, dtype)


def test_it_equals_soft_targets_with_beta_of_one_minus_the_teachers_probability():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    p = np.exp(teacher / 4) / np.exp(teacher / 4).sum(-1, keepdims=True)
    soft, _ = value_and_gradient(SoftTargets(4.0), teacher, student)
    for i, label in enumerate(labels):
        loss = DecoupledKD(beta=1 - p[i, label], temperature=4.0)
        value, _ = value_and_gradient(loss, teacher[[i]], student[[i]], labels[[i]])
        np.testing.assert_allclose(value, soft[[i]], rtol=1e-9)


def test_labels_may_have_any_form():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    forms = [labels, labels.astype("float32"), labels[:, None], np.eye(10)[labels]]
    values = [value_and_gradient(DecoupledKD(), teacher, student, form)[0] for form in forms]
    for other in values[1:]:
        np.testing.assert_array_equal(values[0], other)


@pytest.mark.parametrize("none", [-1, 255])
def test_a_sample_without_a_label_uses_the_teachers_class(none):
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    labels = labels.copy()
    labels[3] = none
    values, gradient = value_and_gradient(DecoupledKD(), teacher, student, labels)
    labels[3] = teacher[3].argmax()
    expected, slope = value_and_gradient(DecoupledKD(), teacher, student, labels)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(gradient, slope)


def test_maps_are_averaged_over_their_pixels_with_labels_of_any_form():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 2, 3, 4, 5))
    labels = rng.integers(-1, 5, (2, 3, 4))
    flat, _ = value_and_gradient(
        DecoupledKD(), teacher.reshape(-1, 5), student.reshape(-1, 5), labels.reshape(-1)
    )
    for form in (labels, labels[..., None]):
        values, _ = value_and_gradient(DecoupledKD(), teacher, student, form)
        np.testing.assert_allclose(values, flat.reshape(2, -1).mean(-1), rtol=1e-10)


def test_large_logits_near_each_other_keep_their_difference():
    near = np.array([[1e4, 1e4 - 1, 0.0]], "float32")
    other = np.array([[1e4 - 2, 1e4, 0.0]], "float32")
    loss, labels = DecoupledKD(temperature=1.0), np.array([0])
    exact, _ = value_and_gradient(loss, near.astype("float64"), other.astype("float64"), labels)
    np.testing.assert_allclose(value_and_gradient(loss, near, other, labels)[0], exact, rtol=1e-5)
