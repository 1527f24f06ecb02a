import numpy as np

from keras_kd.losses import SimilarityPreserving
from tests import golden_numbers
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(SimilarityPreserving(), "sp", "features", file, dtype)


def test_rotation_of_the_students_features_does_not_matter():
    teacher, student, _ = golden_numbers.taps("golden_a", "embeddings")
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))
    one, _ = value_and_gradient(SimilarityPreserving(), teacher, student)
    other, _ = value_and_gradient(SimilarityPreserving(), teacher, student @ rotation)
    np.testing.assert_allclose(one, other, rtol=1e-9)
