"""Models on JAX: pure steps, states that survive errors, variables that are read at each step."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.distillers.fit import FitRun
from tests import toy
from tests.distillers.bad_batches import MARK, arrays, distiller, with_bad
from tests.distillers.models import distiller as small_distiller

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.skipif(keras.config.backend() != "jax", reason="the step of JAX")


def batches(*parts):
    return toy.batches(*(parts or arrays()))


def fit(model, data=None, **arguments):
    return model.fit(batches() if data is None else data, shuffle=False, verbose=0, **arguments)


def state_of(model, read_only=False):
    others = [*model.non_trainable_variables, *(model.read_only_variables if read_only else [])]
    groups = [model.trainable_variables, others, model.optimizer.variables, model.metrics_variables]
    return tuple([variable.value for variable in group] for group in groups)


def built():
    """A distiller that is ready for its first step."""
    model = small_distiller(eager=False, metrics=None)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("read_only", [False, True])
def test_a_scan_over_pure_steps_gives_the_weights_of_fit(read_only):
    (x, y), model = toy.vectors(), built()
    state = state_of(model, read_only)
    step = jax.jit(lambda state, data: model.train_step(state, data)[::-1])
    found, _ = jax.lax.scan(step, state, (x.reshape(4, 8, 5), y.astype("int32").reshape(4, 8)))
    for before, after in zip(state[1], found[1], strict=True):
        np.testing.assert_array_equal(before, after)  # No teacher and no hyperparameter changes.
    fit(model, batches(x, y))
    for variable, value in zip(model.trainable_variables, found[0], strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-6)


def test_the_weights_of_the_teacher_are_arguments_of_the_compiled_step():
    marker = 0.7231501  # Occurs nowhere but in the teacher.
    model = built()
    kernel = model.teachers[0].model.weights[0]
    kernel.assign(np.full(kernel.shape, marker) + np.arange(kernel.shape[1]) / 100)
    x, y = (part[:8] for part in toy.vectors())
    data = x, y.astype("int32"), None

    def lowered(read_only):
        step = jax.jit(lambda state: model.train_step(state, data))
        return step.lower(state_of(model, read_only)).as_text()

    assert "0.723150" in lowered(read_only=False)
    assert "0.723150" not in lowered(read_only=True)
    fit(model)
    compiled = model.train_function
    values = [variable.value for variable in compiled.read_only]
    text = compiled.compiled_step.lower(state_of(model), values, data).as_text()
    assert "0.723150" not in text
    assert any(value is kernel.value for value in values)
    state, changed = compiled.compiled_step(state_of(model), values, data)[1:3]
    assert changed == {}  # They are not outputs either.
    assert len(state[1]) == len(model.non_trainable_variables)


def test_a_teacher_keeps_a_state_of_its_own():
    teacher, counter = toy.counted(toy.mlp("teacher", seed=1))
    model = small_distiller(teacher=teacher, eager=False)
    fit(model)
    assert int(counter.count) == 4
    step = jax.jit(lambda state: model.train_step(state, (*toy.vectors(8), None)))
    with pytest.raises(ValueError, match="a teacher that changes its own state"):
        step(state_of(model))
    _, new = step(state_of(model, read_only=True))
    assert 5 in [value.item() for value in new[1] if value.shape == ()]


def test_no_file_holds_the_teacher(tmp_path):
    model = built()
    teacher = {id(variable) for variable in model.teachers[0].model.variables}
    assert not teacher & {id(v) for v in (*model.weights, *model.variables)}
    assert not teacher & {id(v) for v in model.non_trainable_variables}
    model.save_weights(tmp_path / "d.weights.h5")
    assert len(model.get_weights()) == 4 + len(model.hyperparameters)


def test_a_callback_may_use_the_teacher_and_change_hyperparameters_within_an_epoch():
    (x, _), model = toy.vectors(), built()
    expected, found = model.teachers[0].model.predict(x, verbose=0), []

    class Change(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            found.append(model.teachers[0].model.predict(x, verbose=0))
            self.model.set_hyperparameter("student_loss_weight", float(batch == 0))
            self.model.set_hyperparameter("soft_targets.weight", 0.0)

    weights = []
    for steps in (1, 3):
        model.student.set_weights(toy.mlp("student").get_weights())
        fit(model, batches(*(part[: 8 * steps] for part in toy.vectors())), callbacks=[Change()])
        weights.append(model.student.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)  # After the first step, all weights are 0.
    for values in found:
        np.testing.assert_array_equal(values, expected)


def test_a_schedule_over_steps_sees_each_step():
    model, seen = built(), []
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1, 2], [0.1, 0.2, 0.3, 0.4])

    class Read(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(round(float(model.student_loss_weight), 6))

    scheduler = kd.callbacks.HyperparameterScheduler("student_loss_weight", schedule)
    fit(model, callbacks=[scheduler, Read()])
    assert seen == [0.1, 0.2, 0.3, 0.4]


# Errors.


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("x", np.nan, "The batch has NaN or infinite values in its inputs"),
        ("weights", np.inf, "The batch has NaN or infinite values in its sample weights"),
        ("x", MARK, "Teacher 'teacher' gave NaN or infinite values"),
    ],
)
def test_a_bad_batch_is_named_and_changes_nothing(part, value, sentence):
    parts = with_bad(part, value)
    found, expected = distiller(), distiller()
    with pytest.raises(ValueError, match=rf"^{sentence}\. This was in batch 3 of epoch 1\.$"):
        fit(found, batches(*parts))
    first, last = slice(0, 16), slice(24, 32)
    fit(expected, batches(*(np.concatenate([p[first], p[last]]) for p in parts)))
    # The error comes a few steps later: of four batches, the last one is trained on or not.
    shorter = distiller()
    fit(shorter, batches(*(p[first] for p in parts)))
    assert any(
        all(map(np.array_equal, found.get_weights(), other.get_weights()))
        for other in (expected, shorter)
    )


def test_a_bad_batch_is_named_in_the_last_step_and_in_train_on_batch():
    x, y = toy.vectors(8)
    for run in (
        lambda m: m.fit(x * np.nan, y, verbose=0),
        lambda m: m.train_on_batch(x * np.nan, y),
    ):
        model = small_distiller(eager=False)
        with pytest.raises(ValueError, match="The batch has NaN or infinite values in its inputs"):
            run(model)
        assert model.step_owner is None
        assert np.isfinite(model.train_on_batch(x, y)).all()


def test_an_error_in_the_first_step_leaves_the_weights():
    x, y = toy.vectors()
    model = small_distiller(eager=False)
    before = model.get_weights()

    def broken(x):
        raise ValueError("broken")

    model.augment = broken
    with pytest.raises(ValueError, match="broken"):
        model.fit(x, y, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_error_of_the_data_leaves_the_weights_of_the_step_before():
    x, y = toy.vectors()
    models = [small_distiller(eager=False) for _ in range(2)]

    def failing():
        for i in range(0, 16, 8):
            yield x[i : i + 8], y[i : i + 8]
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        models[0].fit(failing(), verbose=0)
    fit(models[1], batches(x[:16], y[:16]))
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_generator_outside_the_model_is_rejected():
    seeds = keras.random.SeedGenerator(1)
    model = kd.Distiller(
        toy.mlp("student"),
        toy.mlp("teacher"),
        augment=lambda x: x + keras.random.normal(keras.ops.shape(x), seed=seeds),
    )
    model.compile("sgd", toy.sparse_loss())
    with pytest.raises(
        ValueError, match="changes a variable that does not belong to the distiller"
    ):
        model.fit(*toy.vectors(), verbose=0)


def test_variables_may_hold_the_same_array():
    student, teacher = toy.mlp("student"), toy.mlp("teacher")
    for own, other in zip(student.weights, teacher.weights, strict=True):
        own.assign(other.value)
    student.weights[2].assign(student.weights[2].value)
    before = teacher.get_weights()
    model = small_distiller(student, teacher, eager=False)
    fit(model, epochs=2)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_error_of_the_validation_leaves_the_weights():
    x, y = toy.vectors()
    models = [small_distiller(eager=False) for _ in range(2)]

    def failing():
        yield x[:8], y[:8]
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fit(models[0], validation_data=failing())
    fit(models[1])
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


# Executions.


def test_an_evaluation_within_a_fit_is_no_step_of_it(monkeypatch):
    executions, execute = [], FitRun.execute

    def count(self, compiled, iterator):
        executions.append(self.position())
        return execute(self, compiled, iterator)

    monkeypatch.setattr(FitRun, "execute", count)
    fit(small_distiller(eager=False), validation_data=batches())
    assert executions == [f"in batch {i} of epoch 1" for i in (1, 2, 3, 4)]


def test_the_owner_gets_each_execution_and_can_run_single_steps():
    model, calls = small_distiller(eager=False), []

    class Owner(keras.callbacks.Callback):
        def position(self):
            return "here"

        def execute(self, compiled, iterator):
            calls.append(model.train_function.state[2][0].item())  # The number of steps so far.
            with model.state_in_variables():
                iterations = int(model.optimizer.iterations)
            assert iterations == calls[-1]
            return [model.single_step(iterator) for _ in range(2)][-1]

    x, y = toy.vectors()
    model.optimizer.build(model.trainable_variables)
    model.step_owner = Owner()
    keras.Model.fit(model, x, y, batch_size=8, verbose=0)
    assert calls[:2] == [0, 2]


def test_skipping_is_rejected():
    with pytest.raises(ValueError, match="JAX .* Received: on_bad_batch='skip'"):
        small_distiller(on_bad_batch="skip")
