import numpy as np
import pytest

from keras_kd.losses import SoftTargets
from tests import golden_numbers, gradients
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
@pytest.mark.parametrize(("name", "temperature"), [("kd_T1", 1.0), ("kd_T4", 4.0)])
def test_it_gives_the_numbers_of_the_reference(name, temperature, file, dtype):
    golden_numbers.assert_golden(SoftTargets(temperature), name, "logits", file, dtype)


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _kl(p, q):
    return np.sum(p * (np.log(p) - np.log(q)), -1)


@pytest.mark.parametrize("target", ["forward", "reverse", "jensen_shannon"])
def test_each_target_is_its_divergence(target):
    teacher, student, _ = golden_numbers.taps("golden_a", "logits")
    p, q = _softmax(teacher / 3), _softmax(student / 3)
    middle = (p + q) / 2
    expected = {
        "forward": _kl(p, q),
        "reverse": _kl(q, p),
        "jensen_shannon": (_kl(p, middle) + _kl(q, middle)) / 2,
    }[target]
    values, _ = value_and_gradient(SoftTargets(3.0, target=target), teacher, student)
    np.testing.assert_allclose(values, 9 * expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("beta", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("temperature", [1, 2])
def test_the_generalized_jensen_shannon_divergence_has_the_numbers_of_the_reference(
    temperature, beta, dtype
):
    numbers, near = golden_numbers.load("golden_c"), golden_numbers.NEAR[dtype]
    loss = SoftTargets(temperature, target="jensen_shannon", beta=beta)

    def check(name, teacher, student, weights):
        # The reference has no factor T².
        values, gradient = gradients.value_and_gradient(
            lambda x: loss(teacher, x) * weights / temperature**2, student
        )
        np.testing.assert_allclose(values.sum(), numbers[f"out/{name}/loss"], rtol=near)
        expected = numbers[f"out/{name}/grad"]
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=near * np.abs(expected).max())

    teacher, student, _ = golden_numbers.taps("golden_c", "logits", dtype)
    check(f"gjsd_2d_b{beta}_T{temperature}", teacher, student, np.full(8, 1 / 8, dtype))
    teacher, student = (numbers[f"in/{m}_seq_logits"].astype(dtype) for m in ("teacher", "student"))
    check(f"gjsd_b{beta}_T{temperature}", teacher, student, np.full((3, 6), 1 / 3, dtype))
    counted = (numbers["in/seq_labels"] != -100).astype(dtype)
    check(f"gjsd_b{beta}_T{temperature}_masked", teacher, student, counted / counted.sum())


def test_beta_is_a_share_and_for_jensen_shannon_only():
    with pytest.raises(ValueError, match=r"`beta` must be in \[0, 1\].*Received: beta=1.5"):
        SoftTargets(target="jensen_shannon", beta=1.5)
    with pytest.raises(ValueError, match=r"Received: beta=0.1, target='forward'"):
        SoftTargets(beta=0.1)


@pytest.mark.parametrize("target", ["forward", "reverse", "jensen_shannon"])
def test_a_binary_output_is_two_classes(target):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 6, 1))
    two = [np.concatenate([x, np.zeros_like(x)], -1) for x in (teacher, student)]
    one, _ = value_and_gradient(SoftTargets(2.0, target=target), teacher, student)
    other, _ = value_and_gradient(SoftTargets(2.0, "softmax", target=target), *two)
    np.testing.assert_allclose(one, other, rtol=1e-10)


def test_jensen_shannon_is_bounded_and_symmetric():
    confident = np.array([[1e4, 0.0], [0.0, 1e4]], "float32")
    loss = SoftTargets(1.0, target="jensen_shannon")
    values, gradient = value_and_gradient(loss, confident, confident[::-1].copy())
    np.testing.assert_allclose(values, np.log(2), rtol=1e-6)
    assert np.isfinite(gradient).all()
    teacher, student, _ = golden_numbers.taps("golden_b", "logits")
    np.testing.assert_allclose(
        value_and_gradient(loss, teacher, student)[0], value_and_gradient(loss, student, teacher)[0]
    )


def test_the_pixels_of_a_map_are_averaged():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 3, 4, 5, 6))
    values, _ = value_and_gradient(SoftTargets(2.0), teacher, student)
    pixels, _ = value_and_gradient(SoftTargets(2.0), teacher.reshape(-1, 6), student.reshape(-1, 6))
    np.testing.assert_allclose(values, pixels.reshape(3, -1).mean(-1))


def test_an_unknown_target_or_activation_is_rejected():
    with pytest.raises(ValueError, match=r"`target` must be one of .* target='backward'"):
        SoftTargets(target="backward")
    with pytest.raises(ValueError, match=r"`activation` must be .* activation='relu'"):
        SoftTargets(activation="relu")


def test_a_teacher_with_another_final_activation_is_rejected():
    loss = SoftTargets()
    loss.check_head("sigmoid", (None, 3))  # The task is not known yet.
    loss.set_task("labels")
    loss.check_head("sigmoid", (None, 3))
    loss.set_task("classes")
    with pytest.raises(ValueError, match=r"Pass SoftTargets\(activation='sigmoid'\)"):
        loss.check_head("sigmoid", (None, 3))
