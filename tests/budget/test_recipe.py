"""How a student is trained."""

import collections
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_kd.budget import recipe as recipes
from keras_kd.budget.recipe import ALONE, LOSSES, RATES, Recipe, make_configs
from keras_kd.budget.samples import Samples
from tests.budget.conftest import TRAIN
from tests.budget.fakes import config


@pytest.fixture(scope="module")
def recipe(problem, tmp_path_factory):
    return Recipe(problem, tmp_path_factory.mktemp("recipe"))


def student():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    return keras.Sequential([keras.Input((12,)), dense(8, "relu"), dense(3, "softmax")])


def test_the_steps_follow_the_data_within_bounds(recipe, monkeypatch):
    assert recipe.batch_size == 300 // 8
    monkeypatch.setattr(recipes, "LEAST_STEPS", 10)
    assert recipe.full_steps == round(20 * 300 / recipe.batch_size)
    assert recipe.steps(0.25) == round(0.25 * recipe.full_steps)
    monkeypatch.setattr(recipes, "MOST_STEPS", 30)
    assert recipe.full_steps == 30


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(("loss", "times"), [("DIST", 2), (ALONE, 1)])
def test_a_training_is_repeatable_and_learns(recipe, problem, loss, times):
    trained = [student() for _ in range(times)]
    before = problem.score(trained[0])
    for one in trained:
        recipe.train(one, config(loss=loss, rate=1e-2), 1.0, 3, None)
    for a, b in zip(trained[0].get_weights(), trained[-1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert problem.score(trained[0]) > before


@pytest.mark.usefixtures("fast")
def test_a_student_is_trained_with_rounding(recipe):
    model = recipe.quantize_aware(student(), config(loss="DIST"), 0)
    assert model.count_params() > student().count_params()


def test_the_teacher_runs_once(recipe, problem, monkeypatch):
    assert len(recipe.knowledge("none")) == len(TRAIN[0])
    monkeypatch.setattr(keras.Model, "__call__", None)
    assert len(Recipe(problem, recipe.folder).knowledge("none")) == len(TRAIN[0])


@pytest.mark.parametrize("task", LOSSES)
def test_the_losses_are_for_their_task(task):
    for make in LOSSES[task].values():
        for loss in make():
            loss.set_task(task)


def test_images_are_trained_on_in_stored_views(problem, tmp_path, monkeypatch):
    images = Samples(np.random.default_rng(0).random((24, 16, 16, 1), "float32"), np.arange(24) % 3)
    steps = [keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    teacher = keras.Sequential([keras.Input((16, 16, 1)), *steps])
    recipe = Recipe(replace(problem, teacher=teacher, train=images), tmp_path)
    monkeypatch.setattr(recipes, "LEAST_STEPS", 4)
    monkeypatch.setattr(recipes, "EPOCHS", 1)
    for loss in ("DIST", ALONE):
        student = keras.models.clone_model(teacher)
        recipe.train(student, config(loss=loss, augmentation="shifts and flips"), 1.0, 3, None)
    (path,) = tmp_path.glob("knowledge-*/")
    assert path.name == "knowledge-shifts-and-flips"
    assert "views=4" in repr(recipe.knowledge("shifts and flips"))


def test_configs_take_turns_with_losses_and_rates_equally_often(problem):
    families = {"a": {"macs": 1.0}, "b": {}, "c": {}}
    found = make_configs(families, problem, 12, seed=1)
    assert [one.family for one in found] == ["a", "b", "c"] * 4
    assert found[0].limits == {"macs": 1.0}
    for count in (
        collections.Counter(one.loss for one in found),
        collections.Counter(one.rate for one in found),
    ):
        assert set(count.values()) == {4}
    assert found == make_configs(families, problem, 12, seed=1)
    assert found != make_configs(families, problem, 12, seed=2)
    (first,) = make_configs({"a": {}}, problem, 1, seed=5)
    assert (first.loss, first.rate) == (next(iter(LOSSES["classes"])), RATES[0])
