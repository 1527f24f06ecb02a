"""The owner of the step, and single steps."""

import keras
import pytest
import tensorflow as tf

from keras_kd.training.step import StepModel


class Steps(StepModel):
    """Counts its steps, in the compiled graph too."""

    def __init__(self):
        super().__init__()
        self.count = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="count")
        self.built = True

    def call(self, x):
        return x

    def train_step(self, data):
        self.count.assign_add(1)
        return {"loss": keras.ops.sum(data)}


class Owner:
    def __init__(self):
        self.executions = 0

    def execute(self, compiled, iterator):
        self.executions += 1
        return compiled(iterator)


def data(batches=8):
    return tf.data.Dataset.range(batches).batch(1)


@pytest.fixture
def model():
    made = Steps()
    made.compile(steps_per_execution=4)
    return made


def test_the_owner_gets_each_execution(model):
    model.step_owner = owner = Owner()
    model.fit(data(), verbose=0)
    assert owner.executions == 2
    assert int(model.count) == 8


def test_without_an_owner_the_model_trains_as_any_other(model):
    model.step_owner = owner = Owner()
    model.make_train_function()
    model.step_owner = None
    model.fit(data(), verbose=0)
    assert owner.executions == 0
    assert int(model.count) == 8


@pytest.mark.parametrize("eager", [False, True])
def test_a_single_step_runs_one_step_of_an_execution_of_four(eager):
    model = Steps()
    model.compile(steps_per_execution=4, run_eagerly=eager)
    model.make_train_function()
    compiled, iterator = model.train_function, iter(data())
    assert [float(model.single_step(iterator)["loss"]) for _ in range(3)] == [0, 1, 2]
    assert int(model.count) == 3
    assert model.steps_per_execution == 4
    assert model.train_function is compiled
    assert float(model.train_function(iterator)["loss"]) == 6
    assert int(model.count) == 7


def test_a_single_step_is_compiled_again_after_the_model_is(model):
    iterator = iter(data())
    model.make_train_function()
    model.single_step(iterator)
    single = model._single_step
    model.make_train_function()
    model.single_step(iterator)
    assert model._single_step is single
    model.make_train_function(force=True)
    model.single_step(iterator)
    assert model._single_step is not single


def test_an_error_in_a_single_step_keeps_the_steps_per_execution(model):
    model.make_train_function()
    with pytest.raises((tf.errors.OutOfRangeError, StopIteration)):
        model.single_step(iter(data(0)))
    assert model.steps_per_execution == 4
