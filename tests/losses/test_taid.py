import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import TAID, SoftTargets
from tests import golden_numbers, gradients
from tests.golden_numbers import NEAR, value_and_gradient

NUMBERS = golden_numbers.load("golden_c")


def sequences(dtype):
    """Teacher, student and which tokens count."""
    taps = (NUMBERS[f"in/{model}_seq_logits"].astype(dtype) for model in ("teacher", "student"))
    return *taps, NUMBERS["in/seq_labels"] != -100


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("t", [0.4, 0.8])
def test_it_gives_the_divergence_and_the_gradient_of_the_reference(t, dtype):
    teacher, student, _ = golden_numbers.taps("golden_c", "logits", dtype)
    values, gradient = value_and_gradient(TAID(t), teacher, student)
    np.testing.assert_allclose(values.mean(), NUMBERS[f"out/taid_t{t}/kl"], rtol=NEAR[dtype])
    target = NUMBERS[f"out/taid_t{t}/target"]
    entropy = -np.sum(target * np.log(target), axis=-1)
    # The authors' code returns the cross-entropy.
    expected = NUMBERS[f"out/taid_t{t}/per_sample"]
    np.testing.assert_allclose(values + entropy, expected, rtol=NEAR[dtype])
    expected = NUMBERS[f"out/taid_t{t}/grad"]
    largest = np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=NEAR[dtype] * largest)


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("masked", ["", "_masked"])
def test_tokens_have_the_numbers_of_the_reference(masked, dtype):
    teacher, student, counted = sequences(dtype)
    weights = (counted if masked else np.ones_like(counted)).astype(dtype)
    values, gradient = gradients.value_and_gradient(
        lambda x: TAID(0.4)(teacher, x) * weights / weights.sum(), student
    )
    name = f"out/taid_t0.4_seq{masked}"
    np.testing.assert_allclose(values.sum(), NUMBERS[f"{name}/kl"], rtol=NEAR[dtype])
    expected = NUMBERS[f"{name}/grad"]
    np.testing.assert_allclose(
        gradient, expected, rtol=0, atol=NEAR[dtype] * np.abs(expected).max()
    )


def test_the_teacher_alone_is_the_divergence_and_the_student_alone_is_zero():
    teacher, student, _ = golden_numbers.taps("golden_c", "logits")
    found = value_and_gradient(TAID(1.0), teacher, student)
    expected = value_and_gradient(SoftTargets(temperature=1.0), teacher, student)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    for part in value_and_gradient(TAID(0.0), teacher, student):
        np.testing.assert_allclose(part, 0, atol=1e-12)


def test_it_keeps_the_mean_of_a_batch_in_training_only():
    teacher, student, _ = golden_numbers.taps("golden_c", "logits")
    loss = TAID()
    loss.updates_state = False
    loss.compare(None, teacher, student)
    assert float(keras.ops.convert_to_numpy(loss.last_value)) == -1
    loss.updates_state = True
    values = loss.compare(None, teacher, student)
    np.testing.assert_allclose(loss.last_value, np.mean(values), rtol=1e-6)


def test_t_is_a_share():
    with pytest.raises(ValueError, match="`t` must be a finite number at least 0 and at most 1"):
        kd.losses.TAID(1.5)
