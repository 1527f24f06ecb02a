"""Stages, their stored results, and the descriptions that identify their arguments."""

import json

import keras
import numpy as np
import pytest

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.compression.stage import Stage, StageFolder, describe, save_student
from tests import toy

PLANS = LayerPlans([LayerPlan("head", "Dense", "pruned", "kernel")])


def test_an_unknown_technique_is_rejected():
    with pytest.raises(ValueError, match=r"`technique` must be one of .*technique='shrink'"):
        Stage("shrink")


def write(model):
    def run(path):
        save_student(model, path)
        return Result(model, {"loss": [1.0]}, PLANS)

    return run


def test_a_finished_stage_is_loaded(tmp_path):
    folder = StageFolder(tmp_path / "runs" / "01-prune", {"arguments": {"epochs": 2}})
    assert not folder.done
    model = toy.mlp("student", seed=1)
    folder.run(write(model))
    assert folder.done
    loaded = folder.load(toy.mlp("student", seed=2))
    for one, other in zip(loaded.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.history == {"loss": [1.0]}
    assert loaded.layers == PLANS


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    def fail(path):
        (path / "file").write_text("x")
        raise RuntimeError("failed")

    folder = StageFolder(tmp_path / "01-prune", {})
    with pytest.raises(RuntimeError, match="failed"):
        folder.run(fail)
    assert not folder.done
    assert list(tmp_path.iterdir()) == []


def test_a_stage_with_another_configuration_is_rejected(tmp_path):
    StageFolder(tmp_path / "01-prune", {"a": 1, "b": 2}).run(write(toy.mlp("student")))
    with pytest.raises(ValueError, match=r"it differs in \['b', 'c'\]"):
        _ = StageFolder(tmp_path / "01-prune", {"a": 1, "c": 2}).done


class Other:
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 0.5)}, {"a": [1, 0.5]}),
        ([True, None, "x"], [True, None, "x"]),
        (np.zeros((2, 3), "float32"), "float32 (2, 3)"),
        (np.mean, "mean"),
        (Other(), "Other"),
    ],
)
def test_arguments_are_described_as_json(value, expected):
    assert describe(value) == expected
    json.dumps(describe(value))


def test_models_and_optimizers_are_described_by_their_configuration():
    assert describe(toy.mlp("student")) == "student, 84 parameters"
    first, second = keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.5)
    second.name = "sgd_1"
    assert describe(first) == describe(second)
    assert describe(first) != describe(keras.optimizers.SGD(0.25))
    assert describe(first)["learning_rate"] == 0.5
