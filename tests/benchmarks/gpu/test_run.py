"""The number of epochs that fits into the time."""

from types import SimpleNamespace

import pytest

pytest.importorskip("jax", reason="the GPU benchmark needs JAX")

from benchmarks.gpu.epochs import Recipe
from benchmarks.gpu.run import choose_epochs
from benchmarks.runner.results import Done

RECIPE = Recipe(samples=12500, chunk=5)


def pairs(**rates):
    """Return pairs of which all runs take 20 seconds and some seconds per epoch."""
    return {
        name: SimpleNamespace(recipe=RECIPE, seconds=lambda e, _, rate=rate: 20 + e * rate)
        for name, rate in rates.items()
    }


def choose(seconds, done=None, epochs=None, **rates):
    options = SimpleNamespace(epochs=epochs or {}, seeds=2)
    return choose_epochs(pairs(**rates), options, done or Done(), seconds)


def test_the_time_is_shared_between_the_pairs():
    assert choose(500, vgg=1.0, resnet=4.0) == {"vgg": 180, "resnet": 70}
    assert choose(200, vgg=1.0) == {"vgg": 180}


def test_never_more_than_published_and_never_none():
    assert choose(10_000, vgg=1.0) == {"vgg": 240}
    assert choose(1, vgg=1.0) == {"vgg": 5}


def test_given_epochs_come_first_then_those_of_earlier_runs():
    done = Done()
    done.add({"pair": "vgg", "method": "kd", "epochs": 120}, 0, {}, 1.0)
    assert choose(500, done, vgg=1.0) == {"vgg": 120}
    assert choose(500, done, {"vgg": 60}, vgg=1.0) == {"vgg": 60}
