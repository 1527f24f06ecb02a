import numpy as np

from keras_kd.losses import NormalizedKD
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(NormalizedKD(), "nkd_T1_g1.5", "logits", file, dtype)


def test_the_temperature_applies_to_the_other_classes_only():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    alone = [
        value_and_gradient(NormalizedKD(0.0, temperature), teacher, student, labels)[0]
        for temperature in (1.0, 4.0)
    ]
    np.testing.assert_array_equal(*alone)


def test_a_sample_without_a_label_uses_the_teachers_class():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    guessed = np.where(np.arange(len(labels)) == 3, teacher.argmax(-1), labels)
    missing = np.where(np.arange(len(labels)) == 3, -1, labels)
    np.testing.assert_array_equal(
        value_and_gradient(NormalizedKD(), teacher, student, missing)[0],
        value_and_gradient(NormalizedKD(), teacher, student, guessed)[0],
    )
