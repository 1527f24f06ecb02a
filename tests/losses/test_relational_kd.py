import numpy as np
import pytest

from keras_kd.losses import RelationalKD
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    loss = RelationalKD(angle_neighbours=None if dtype == "float64" else 16)
    golden_numbers.assert_golden(loss, "rkd_d25_a50", "embeddings", file, dtype)


def test_the_angles_are_between_the_directions_to_the_other_samples():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 6, 4)) + 5

    def cosines(x):
        u = x[None] - x[:, None]
        u = u / np.maximum(np.linalg.norm(u, axis=-1, keepdims=True), 1e-12)
        return np.einsum("ijd,ikd->ijk", u, u)

    difference = np.abs(cosines(teacher) - cosines(student))
    smooth = np.where(difference < 1, difference**2 / 2, difference - 0.5)
    loss = RelationalKD(distance_weight=0.0, angle_weight=1.0)
    values, _ = value_and_gradient(loss, teacher, student)
    np.testing.assert_allclose(values, smooth.mean((1, 2)), rtol=1e-9)


def test_some_neighbors_estimate_the_mean_over_all():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 96, 8))
    every, _ = value_and_gradient(RelationalKD(angle_neighbours=None), teacher, student)
    some = []
    for _ in range(8):
        order = rng.permutation(96)
        some.append(value_and_gradient(RelationalKD(), teacher[order], student[order])[0].mean())
    spread = np.std(some) / np.sqrt(len(some))
    assert abs(np.mean(some) - every.mean()) < 3 * spread
    assert spread < 0.01 * every.mean()


def test_translation_rotation_and_scale_of_the_student_do_not_matter():
    teacher, student, _ = golden_numbers.taps("golden_a", "embeddings")
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))
    one, _ = value_and_gradient(RelationalKD(), teacher, student)
    other, _ = value_and_gradient(RelationalKD(), teacher, 3 * student @ rotation + 7)
    np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_samples_have_finite_gradients(dtype):
    teacher, student, _ = golden_numbers.taps("golden_a", "embeddings", dtype)
    student[:4] = student[0]
    values, gradient = value_and_gradient(RelationalKD(), teacher, student)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    _, gradient = value_and_gradient(RelationalKD(), teacher, 0 * student + 1)
    np.testing.assert_array_equal(gradient, 0)


def test_fewer_than_two_neighbors_are_rejected():
    with pytest.raises(ValueError, match="`angle_neighbours` must be 2 or more"):
        RelationalKD(angle_neighbours=1)
