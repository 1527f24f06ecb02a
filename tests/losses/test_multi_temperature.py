import numpy as np
import pytest

from keras_kd.losses import MultiTemperature, SoftTargets
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient

TERMS = {"instance": (1, 0, 0), "batch": (0, 1, 0), "class": (0, 0, 1), "total": (1, 1, 1)}


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("term", TERMS)
def test_it_gives_the_numbers_of_the_reference(term, dtype):
    weights = dict(zip(("instance", "batch", "classes"), TERMS[term], strict=True))
    loss = MultiTemperature(**weights)
    golden_numbers.assert_golden(loss, f"mlkd_{term}", "logits", "golden_c", dtype)


def test_at_one_temperature_the_instances_have_soft_targets():
    teacher, student, _ = golden_numbers.taps("golden_c", "logits")
    found = value_and_gradient(MultiTemperature([3.0], batch=0, classes=0), teacher, student)
    expected = value_and_gradient(SoftTargets(3.0), teacher, student)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_maps_and_wrong_temperatures_are_rejected():
    with pytest.raises(ValueError, match=r"needs outputs of shape \(batch, classes\)"):
        MultiTemperature().make_projector((None, 4, 4, 3), (None, 4, 4, 3))
    with pytest.raises(ValueError, match=r"Received: outputs of shape \(2, 4, 3\)"):
        MultiTemperature()(np.ones((2, 4, 3)), np.ones((2, 4, 3)))
    for wrong in ([], [2.0, 0.0]):
        with pytest.raises(ValueError, match="`temperatures` must be finite numbers above 0"):
            MultiTemperature(wrong)
