"""Where TensorFlow is not installed: everything for training works, the rest says what it needs."""

import importlib.util
import sys

import numpy as np
import pytest

import keras_kd as kd
from tests import toy

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)


@pytest.mark.parametrize(
    "name", ["export", "compression", "datasets", "report", "pseudo_label", "keyed"]
)
def test_what_needs_tensorflow_says_so(name):
    with pytest.raises(ImportError, match=rf"keras_kd\.{name} needs TensorFlow.*pip install tens"):
        getattr(kd, name)


@pytest.mark.parametrize("form", ["arrays", "PyDataset", "generator"])
def test_all_forms_of_data_give_the_same_weights(form):
    (x, y), weights = toy.vectors(), []
    forms = {
        "arrays": {"x": x, "y": y, "batch_size": 8},
        "PyDataset": {"x": toy.batches(x, y)},
        "generator": {"x": ((x[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8))},
    }
    for given in (forms["arrays"], forms[form]):
        model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1))
        model.compile("sgd", toy.sparse_loss(), metrics=["accuracy"])
        model.fit(**given, shuffle=False, verbose=0)
        model.evaluate(x, y, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "tensorflow" not in sys.modules


def test_two_teachers_with_every_option():
    x, y = toy.vectors()
    teachers = [toy.mlp("one", units=6, seed=1), toy.mlp("two", units=6, seed=2)]
    model = kd.Distiller(
        toy.mlp("student"),
        teachers,
        [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")],
        weighting=kd.weighting.Screening(keep=1),
        noise=kd.noise.LogitNoise(0.3, seed=1),
        augment=lambda x: 2 * x,
    )
    model.compile("sgd", toy.sparse_loss(), weighted_metrics=["accuracy"])
    schedule = [kd.callbacks.TemperatureScheduler(lambda epoch: 2.0 + epoch)]
    history = model.fit(x, y, epochs=2, verbose=0, validation_split=0.25, callbacks=schedule)
    assert history.history["soft_targets.temperature"] == [2.0, 3.0]
    assert all(np.isfinite(values).all() for values in history.history.values())
