"""Models that train on JAX.

A step is a function of a state, the values of all variables that it changes, and of the values of
the variables that it only reads: the teachers' weights and the hyperparameters. The loop of Keras
takes the former out of the variables for an epoch; the latter stay there, and each step reads
them, so they are not constants of the compiled program.
"""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import keras

from keras_kd.models.keras_compat import JaxCompatModel
from keras_kd.training.jax_scope import Scope
from keras_kd.training.weight_rule import WeightRule


class StepModel(JaxCompatModel):
    """A Keras model whose step is a pure function of its state.

    `train_step(state, data)` returns the logs and the new state, as in Keras. The list of
    non-trainable values in a state may go on with those of `read_only_variables`; if it does not,
    the values of these variables are used.
    """

    step_owner: Any = None
    #: What some weights obey after each update.
    weight_rule: WeightRule | None = None
    #: The compiled steps, which Keras sets.
    train_function: Callable[..., Any] | None
    test_function: Callable[..., Any] | None
    #: Whether the compiled step does not check assertions.
    drops_assertions = False

    def training_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the training on a batch and return the logs."""
        raise NotImplementedError

    def evaluation_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the evaluation on a batch and return the logs."""
        raise NotImplementedError

    @property
    def read_only_variables(self) -> list[keras.Variable]:
        """The variables that a step reads; it changes only those of a teacher with a state."""
        return []

    @property
    def other_variables(self) -> list[keras.Variable]:
        """The variables that a step changes and that Keras does not list."""
        return []

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """The variables that a step changes other than by the gradients of its optimizer."""
        known = {id(v) for v in (*self.trainable_variables, *self.read_only_variables)}
        found = {id(v): v for v in (*self.variables, *self.other_variables)}
        return [variable for key, variable in found.items() if key not in known]

    def train_step(self, state: tuple, data: Any) -> tuple[dict[str, Any], tuple]:
        """Run one step of the training: from a state and a batch to logs and a state."""
        return self._run(self.training_step, self._groups(training=True), state, data)

    def test_step(self, state: tuple, data: Any) -> tuple[dict[str, Any], tuple]:
        """Run one step of the evaluation: from a state and a batch to logs and a state."""
        return self._run(self.evaluation_step, self._groups(training=False), state, data)

    def make_train_function(self, force: bool = False) -> None:
        """Compile the step; see `keras.Model.make_train_function`."""
        if self.train_function is None or force:
            self.train_function = self._compile(self.train_step, training=True)

    def make_test_function(self, force: bool = False) -> None:
        """Compile the evaluation step; see `keras.Model.make_test_function`."""
        if self.test_function is None or force:
            self.test_function = self._compile(self.test_step, training=False)

    @contextlib.contextmanager
    def state_in_variables(self) -> Iterator[None]:
        """Let the variables hold the state within an execution for a block, which may change it."""
        execution, groups = self.train_function, self._groups(training=True)
        inside = execution is not None and bool(execution.state)
        if inside:
            for group, values in zip(groups, execution.state, strict=True):
                for variable, value in zip(group, values, strict=True):
                    variable.assign(value)
        yield
        if inside:
            execution.state = tuple([variable.value for variable in group] for group in groups)

    def single_step(self, iterator: Any) -> Any:
        """Run one step of the current execution, whatever `steps_per_execution` is."""
        return self.train_function.run_one(iterator)

    def _groups(self, training: bool) -> list[list[keras.Variable]]:
        """Return the variables of a state, in the order of Keras."""
        groups = [self.trainable_variables, self.non_trainable_variables, self.metrics_variables]
        if training:
            groups.insert(2, self.optimizer.variables)
        return groups

    def _run(
        self,
        body: Callable[[Any], dict[str, Any]],
        groups: Sequence[Sequence[keras.Variable]],
        state: tuple,
        data: Any,
    ) -> tuple[dict[str, Any], tuple]:
        """Run a step on a state; return the logs and the new state."""
        others = [*groups[1], *self.read_only_variables]
        known = len(state[1])
        groups = [groups[0], others[:known], *groups[2:]]
        pairs = [(variable, variable.value) for variable in others[known:]]
        for group, values in zip(groups, state, strict=True):
            pairs += zip(group, values, strict=True)
        with Scope(pairs) as scope:
            logs = body(data)
        scope.require_unchanged(others[known:])
        # Past Keras: it would track the values.
        self.__dict__["_checks"] = scope.checks
        return logs, _unchanged_if_failed(state, map(scope.values, groups), scope.checks)

    def _compile(self, function: Callable[[tuple, Any], tuple], training: bool) -> "_Execution":
        read_only, own = self.read_only_variables, len(self.non_trainable_variables)

        def step(state: tuple, values: list[Any], data: Any) -> tuple:
            whole = (state[0], [*state[1], *values], *state[2:])
            logs, new = function(whole, data)
            pairs = enumerate(zip(values, new[1][own:], strict=True))
            changed = {i: after for i, (before, after) in pairs if after is not before}
            return logs, (new[0], new[1][:own], *new[2:]), changed, self.__dict__.pop("_checks")

        if self.jit_compile and not self.run_eagerly:
            shardings = self.state_shardings(training)
            shardings = None if shardings is None else (None, shardings, None, None)
            step = jax.jit(step, donate_argnums=0, out_shardings=shardings)
        return _Execution(self, step, read_only, training)


class _Execution:
    """The function that the loop of Keras calls: it runs a compiled step on a state and on data.

    Failed checks are reported when their values have arrived, a few steps later: to wait for those
    of each step would leave the device idle.

    Args:
        model: The model.
        step: The compiled step.
        read_only: The variables whose values are passed to it beside the state.
        training: Whether it is a step of the training.
    """

    def __init__(
        self,
        model: StepModel,
        step: Callable[..., tuple],
        read_only: Sequence[keras.Variable],
        training: bool,
    ) -> None:
        self._training = training
        self._model = model
        self.compiled_step = step
        self.read_only = read_only
        self._execute = model.in_executions(self.step)
        self._pending: collections.deque[tuple[str, dict[str, Any]]] = collections.deque()
        #: The state between two steps of an execution.
        self.state: tuple = ()
        self._returned: tuple | None = None

    def __call__(self, state: tuple, iterator: Any) -> tuple[dict[str, Any], tuple]:
        """Run the steps of one execution and return the logs and the state after the last one."""
        if state is not self._returned:  # Keras has just taken it out of the variables.
            state = _without_shared_arrays(state, [variable.value for variable in self.read_only])
            self._model.keep_state(state)
        self.state, owner = state, self._owner()
        logs = self._run_alone(iterator) if owner is None else owner.execute(self.run, iterator)
        self._returned, self.state = self.state, ()
        return logs, self._returned

    def _owner(self) -> Any:
        """Return the owner of the steps: an evaluation within a `fit` has none."""
        return self._model.step_owner if self._training else None

    def _run_alone(self, iterator: Any) -> dict[str, Any]:
        try:
            logs = self.run(iterator)
            self.raise_failed()
        except BaseException:
            # `evaluate` and `train_on_batch` would leave the model without weights.
            self._model.jax_state_sync()
            raise
        return logs

    def run(
        self, iterator: Any, steps: Callable[[tuple, Any], tuple] | None = None
    ) -> dict[str, Any]:
        """Run the steps of one execution and return the logs of the last one."""
        logs, self.state = (steps or self._execute)(self.state, iterator)
        return logs

    def run_one(self, iterator: Any) -> dict[str, Any]:
        """Run one step and return its logs."""
        return self.run(iterator, lambda state, data: self.step(state, next(data)))

    def step(self, state: tuple, data: Any) -> tuple[dict[str, Any], tuple]:
        """Run one step; return its logs and the new state."""
        self.raise_failed(wait=False)
        values = [variable.value for variable in self.read_only]
        logs, state, changed, checks = self.compiled_step(state, values, data)
        for i, value in changed.items():  # Of a teacher with a state, such as a counter.
            self.read_only[i].assign(value)
        self._model.keep_state(state)
        if checks:
            owner = self._owner()
            self._pending.append(
                ("" if owner is None else f" This was {owner.position()}.", checks)
            )
        return logs, state

    def raise_failed(self, wait: bool = True) -> None:
        """Report the first failed check.

        Args:
            wait: Whether to wait for the values of all checks. Defaults to `True`.

        Raises:
            ValueError: If one failed.
        """
        while self._pending:
            where, checks = self._pending[0]
            if not wait and not all(value.is_ready() for value in checks.values()):
                return
            self._pending.popleft()
            for message, value in checks.items():
                if not value:
                    self._pending.clear()
                    raise ValueError(f"{message}{where}")


def _without_shared_arrays(state: tuple, others: Iterable[Any]) -> tuple:
    """Copy arrays that several variables hold: the compiled step overwrites those of its state."""
    known = {id(value) for value in others}

    def own(value: Any) -> Any:
        if id(value) in known:
            return jax.numpy.copy(value)
        known.add(id(value))
        return value

    return tuple([own(value) for value in group] for group in state)


def _unchanged_if_failed(old: tuple, new: Iterable[list[Any]], checks: dict[str, Any]) -> tuple:
    """Return the new state, or the old one if a check failed."""
    if not checks:
        return tuple(new)
    fine = functools.reduce(jax.numpy.logical_and, checks.values())
    return tuple(
        [
            value if value is before else jax.numpy.where(fine, value, before)
            for before, value in zip(*groups, strict=True)
        ]
        for groups in zip(old, new, strict=True)
    )
