"""Stages and their stored results."""

import numpy as np
import pytest

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.compression.stage import VERSION, Stage, StageFolder, save_student
from tests import toy

PLANS = LayerPlans([LayerPlan("head", "Dense", "pruned", "kernel")])


def test_an_unknown_technique_is_rejected():
    with pytest.raises(ValueError, match=r"`technique` must be one of .*technique='squeeze'"):
        Stage("squeeze")


def write(model):
    def run(path):
        save_student(model, path)
        return Result(model, {"loss": [1.0]}, PLANS)

    return run


def test_a_finished_stage_is_loaded(tmp_path):
    about = {"version": VERSION, "arguments": {"epochs": 2}}
    folder = StageFolder(tmp_path / "runs" / "01-prune", about)
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
    def folder(**about):
        return StageFolder(tmp_path / "01-prune", {"version": VERSION, **about})

    folder(a=1, b=2, arguments={"d": 1, "e": 2}).run(write(toy.mlp("student")))
    with pytest.raises(ValueError, match=r"it differs in \['b', 'c', 'd'\]. Pass another dir"):
        _ = folder(a=1, c=2, arguments={"d": 3, "e": 2}).done


def test_a_stage_of_another_version_is_rejected(tmp_path):
    about = {"technique": "prune", "arguments": {}, "student": [[5, 8]], "before": {}}
    StageFolder(tmp_path / "01-prune", about).run(write(toy.mlp("student")))
    with pytest.raises(ValueError, match="01-prune' contains a stage that another version of"):
        _ = StageFolder(tmp_path / "01-prune", {**about, "version": VERSION}).done
    assert (tmp_path / "01-prune" / "student.keras").exists()
