import numpy as np

from keras_kd.losses import ProbabilisticTransfer
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(ProbabilisticTransfer(), "pkt", "embeddings", file, dtype)


def test_the_length_of_a_samples_features_does_not_matter():
    teacher, student, _ = golden_numbers.taps("golden_a", "embeddings")
    lengths = np.linspace(1, 9, len(student))[:, None]
    one, _ = value_and_gradient(ProbabilisticTransfer(), teacher, student)
    other, _ = value_and_gradient(ProbabilisticTransfer(), teacher, lengths * student)
    np.testing.assert_allclose(one, other, rtol=1e-4)
