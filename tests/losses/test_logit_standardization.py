import numpy as np
import pytest

from keras_kd import losses
from keras_kd.losses import DecoupledKD, LogitStandardization, SoftTargets
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    loss = LogitStandardization(SoftTargets(2.0))
    golden_numbers.assert_golden(loss, "kd_standardized_T2", "logits", file, dtype)


def test_scale_and_offset_of_the_logits_do_not_matter():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    loss = LogitStandardization(DecoupledKD())
    one, _ = value_and_gradient(loss, teacher, student, labels)
    other, _ = value_and_gradient(loss, teacher, 3 * student + 1, labels)
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_it_takes_taps_weight_and_needs_from_its_loss():
    loss = LogitStandardization(DecoupledKD(weight=0.3, teacher_tap="a", student_tap="b"))
    assert (float(loss.weight), loss.teacher_tap, loss.student_tap) == (0.3, "a", "b")
    assert loss.needs_labels
    with pytest.raises(ValueError, match="needs labels"):
        loss(np.zeros((2, 3)), np.zeros((2, 3)))
    assert losses.get("logit_standardization").loss.temperature == 4.0


def test_equal_logits_have_a_finite_gradient():
    teacher, student, _ = golden_numbers.taps("golden_a", "logits")
    values, gradient = value_and_gradient(LogitStandardization(), teacher, 0 * student)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
