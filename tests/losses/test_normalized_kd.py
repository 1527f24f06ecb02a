import numpy as np

from keras_kd.losses import NormalizedKD
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(NormalizedKD(), "nkd_T1_g1.5", "logits", file, dtype)


def test_its_least_value_is_where_student_and_teacher_agree():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    least, _ = value_and_gradient(NormalizedKD(temperature=2.0), teacher, teacher, labels)
    value, _ = value_and_gradient(NormalizedKD(temperature=2.0), teacher, student, labels)
    assert value[:, None].mean() > least.mean()
    assert (least > 0).all()


def test_a_sample_without_a_label_takes_the_teachers_class():
    teacher, student, labels = golden_numbers.taps("golden_a", "logits")
    guessed = np.where(np.arange(len(labels)) == 3, teacher.argmax(-1), labels)
    missing = np.where(np.arange(len(labels)) == 3, -1, labels)
    np.testing.assert_array_equal(
        value_and_gradient(NormalizedKD(), teacher, student, missing)[0],
        value_and_gradient(NormalizedKD(), teacher, student, guessed)[0],
    )
