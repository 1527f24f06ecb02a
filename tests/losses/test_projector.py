import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.losses.projector import PairProjectors, auto_projector, resolve_projector


@pytest.mark.parametrize(
    ("teacher_shape", "student_shape", "kinds"),
    [
        ((None, 5), (None, 3), [layers.Dense]),
        ((None, 6, 5), (None, 6, 3), [layers.Dense]),
        ((None, 4, 5), (None, 8, 3), [layers.AveragePooling1D, layers.Dense]),
        ((None, 8, 5), (None, 4, 5), [layers.UpSampling1D]),
        ((None, 4, 4, 5), (None, 4, 4, 3), [layers.Dense]),
        ((None, 4, 4, 5), (None, 8, 4, 3), [layers.AveragePooling2D, layers.Dense]),
        ((None, 4, 4, 5), (None, 6, 3, 5), [layers.Resizing]),
        ((None, 2, 4, 4, 5), (None, 2, 4, 4, 3), [layers.Dense]),
        ((None, 2, 4, 4, 5), (None, 4, 4, 4, 3), [layers.AveragePooling3D, layers.Dense]),
        ((None, 6, 4, 4, 5), (None, 3, 2, 4, 5), [layers.UpSampling3D]),
        (
            (None, 6, 2, 4, 5),
            (None, 3, 4, 4, 3),
            [layers.AveragePooling3D, layers.Dense, layers.UpSampling3D],
        ),
    ],
)
def test_the_smallest_projector_gives_the_teachers_shape(teacher_shape, student_shape, kinds):
    projector = auto_projector(teacher_shape, student_shape, "projector")
    found = projector.layers if isinstance(projector, keras.Sequential) else [projector]
    assert [type(layer) for layer in found] == kinds
    x = np.zeros((2, *student_shape[1:]), "float32")
    assert tuple(projector(x).shape) == (2, *teacher_shape[1:])


def test_equal_shapes_need_no_projector():
    assert auto_projector((None, None, 5), (None, 7, 5), "projector") is None
    assert resolve_projector(None, (None, 5), (8, 5), "projector") is None


@pytest.mark.parametrize(
    ("teacher_shape", "student_shape", "message"),
    [
        ((None, 5), (None, 4, 5), "to the same rank"),
        ((None, 5), (None, None), "the last axis of both taps must be known"),
        ((None, 4, 5), (None, 6, 5), "one sequence length must be a multiple of the other"),
        ((None, 4, 4, 4, 5), (None, 6, 4, 4, 5), "one size must be a multiple of the other"),
        ((None, 2, 4, 4, 4, 5), (None, 2, 4, 4, 4, 3), "to the same rank"),
        ((None, 4, 4, 5), (None, None, 8, 5), "heights and widths of both taps must be known"),
    ],
)
def test_shapes_without_a_projector_are_rejected(teacher_shape, student_shape, message):
    with pytest.raises(ValueError, match=message):
        auto_projector(teacher_shape, student_shape, "projector")


def test_volumes_are_pooled_projected_and_repeated():
    projector = auto_projector((None, 4, 2, 1, 2), (None, 2, 4, 1, 3), "projector")
    x = np.random.default_rng(0).normal(size=(2, 2, 4, 1, 3)).astype("float32")
    found = projector(x)
    kernel, bias = map(np.asarray, projector.layers[1].weights)
    pooled = x.reshape(2, 2, 2, 2, 1, 3).mean(3)
    np.testing.assert_allclose(found, np.repeat(pooled @ kernel + bias, 2, axis=1), rtol=1e-5)


def test_a_custom_layer_must_return_the_teachers_shape():
    own = layers.Dense(5, name="own")
    assert resolve_projector(own, (None, 5), (None, 3), "projector").name == "own"
    with pytest.raises(ValueError, match=r"the projector 'own' returns \(None, 5\)"):
        resolve_projector(own, (None, 4), (None, 3), "projector")
    with pytest.raises(ValueError, match="without a projector they must be equal"):
        resolve_projector(None, (None, 4), (None, 3), "projector")


def test_pairs_without_a_projector_pass_through():
    dense = layers.Dense(5)
    pairs = PairProjectors([None, dense], name="projectors")
    pairs.build([(None, 4), (None, 3)])
    x, y = np.ones((2, 4), "float32"), np.ones((2, 3), "float32")
    passed, projected = pairs([x, y])
    np.testing.assert_array_equal(passed, x)
    np.testing.assert_array_equal(projected, dense(y))
