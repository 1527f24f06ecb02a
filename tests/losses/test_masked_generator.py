import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import MaskedGeneration
from keras_kd.losses.masked_generator import MaskedGenerator
from tests import toy

X = np.ones((64, 6, 5, 8), "float32")


def generator(mask="positions", seed=3, ratio=0.65):
    layer = MaskedGenerator(None, 8, ratio, mask, seed, "generator")
    layer.build(X.shape)
    return layer


@pytest.mark.parametrize(
    ("mask", "ratio", "shape"),
    [("positions", 0.65, (64, 6, 5, 1)), ("channels", 0.15, (64, 1, 1, 8)), ("channels", 0, None)],
)
def test_the_ratio_of_positions_or_channels_is_dropped(mask, ratio, shape):
    kept = np.asarray(generator(mask, ratio=ratio).draw(X, training=True))
    assert shape is None or kept.shape == shape
    assert set(np.unique(kept)) <= {0.0, 1.0}
    assert abs(kept.mean() - (1 - ratio)) < 0.04


def test_each_step_draws_anew_and_an_evaluation_changes_nothing():
    one, other = generator(), generator()
    first = [np.asarray(one.draw(X, training=True)) for _ in range(2)]
    fixed = [np.asarray(other.draw(X, training=False)) for _ in range(2)]
    second = [np.asarray(other.draw(X, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(*fixed)
    assert (first[0] != first[1]).any()


def distiller():
    loss = MaskedGeneration("conv", "conv", mask="channels", ratio=0.5, seed=1)
    keras.utils.set_random_seed(0)
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", filters=6, seed=1), loss)
    model.compile(keras.optimizers.SGD(0.01), toy.sparse_loss(), run_eagerly=True)
    return model


@pytest.mark.slow
def test_a_saved_distiller_continues_with_the_next_mask(tmp_path):
    model, data = distiller(), {"batch_size": 8, "shuffle": False, "verbose": 0}
    model.fit(*toy.data(16), **data)
    model.save(tmp_path / "distiller.keras")
    expected = model.fit(*toy.data(16), **data).history["masked_generation"]
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    again.set_teachers(toy.cnn("teacher", filters=6, seed=1))
    (layer,) = again.projectors.values()
    assert layer.align is not None
    found = again.fit(*toy.data(16), **data).history["masked_generation"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
