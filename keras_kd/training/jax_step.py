"""The parts of a training step that are written for JAX.

A step is a function of a state, the values of all variables that it changes, and of the values of
the variables that it only reads: the teachers' weights and the hyperparameters. The loop of Keras
takes the former out of the variables for an epoch; the latter stay there, and each execution reads
them, so they are not constants of the compiled program.
"""

import collections
import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import keras
from keras import tree

from keras_kd.models.keras_compat import JaxCompatModel, get_mask, set_mask

__all__ = [
    "FLOAT64",
    "StepModel",
    "after",
    "assertion",
    "check_if_not_finite",
    "check_on_bad_batch",
    "finite_assertions",
    "floating_parts",
    "gradient_step",
    "is_bad_batch",
    "outside_graph",
    "raise_failed_assertions",
    "readable_errors",
    "require_before",
    "update_variables",
]

#: The dtype of hyperparameters.
FLOAT64 = "float64" if jax.config.jax_enable_x64 else "float32"


class _Scope(keras.StatelessScope):
    """A scope that knows its variables, and the checks that are made in it.

    Args:
        values: The variables and their values.
    """

    def __init__(self, values: Iterable[tuple[keras.Variable, Any]]) -> None:
        values = list(values)
        super().__init__(values, collect_losses=True)
        self.variables = {id(variable): variable for variable, _ in values}
        #: By message, whether all is well.
        self.checks: dict[str, Any] = collections.OrderedDict()

    def __enter__(self) -> "_Scope":
        self._outer = _current.scope
        _current.scope = self
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        _current.scope = self._outer

    def values(self, variables: Iterable[keras.Variable]) -> list[Any]:
        """Return the current values of variables."""
        return [self.get_current_value(variable) for variable in variables]

    def require_known(self) -> None:
        """Reject a step that changed a variable whose new value would be lost.

        Raises:
            ValueError: If it did.
        """
        if len(self.state_mapping) > len(self.variables):
            raise ValueError(
                "The step changes a variable that does not belong to the distiller, so the JAX "
                "backend cannot keep its new value. It may be a random generator in `augment` or "
                "in a loss: use a Keras layer, which owns its generator. Or a teacher that changes "
                "its own state."
            )


class _Current(threading.local):
    """The scope of the step that this thread runs."""

    scope: _Scope | None = None


_current = _Current()


class StepModel(JaxCompatModel):
    """A Keras model whose step is a pure function of its state.

    `train_step(state, data)` returns the logs and the new state, as in Keras. The list of
    non-trainable values in a state may go on with those of `read_only_variables`; if it does not,
    the values of these variables are used.
    """

    step_owner: Any = None

    def training_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the training on a batch and return the logs."""
        raise NotImplementedError

    def evaluation_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the evaluation on a batch and return the logs."""
        raise NotImplementedError

    @property
    def read_only_variables(self) -> list[keras.Variable]:
        """The variables that a step reads and does not change."""
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
        with _Scope(pairs) as scope:
            logs = body(data)
        scope.require_known()
        # Past Keras: it would track the values.
        self.__dict__["_checks"] = scope.checks
        return logs, _unchanged_if_failed(state, map(scope.values, groups), scope.checks)

    def _compile(self, function: Callable[[tuple, Any], tuple], training: bool) -> "_Execution":
        read_only, own = self.read_only_variables, len(self.non_trainable_variables)

        def step(state: tuple, values: list[Any], data: Any) -> tuple:
            whole = (state[0], [*state[1], *values], *state[2:])
            logs, new = function(whole, data)
            return logs, (new[0], new[1][:own], *new[2:]), self.__dict__.pop("_checks")

        if self.jit_compile and not self.run_eagerly:
            shardings = self.state_shardings(training)
            shardings = None if shardings is None else (None, shardings, None)
            step = jax.jit(step, donate_argnums=0, out_shardings=shardings)
        return _Execution(self, step, read_only)


class _Execution:
    """The function that the loop of Keras calls: it runs a compiled step on a state and on data.

    Failed checks are reported when their values have arrived, a few steps later: to wait for those
    of each step would leave the device idle.

    Args:
        model: The model.
        step: The compiled step.
        read_only: The variables whose values are passed to it beside the state.
    """

    def __init__(
        self, model: StepModel, step: Callable[..., tuple], read_only: Sequence[keras.Variable]
    ) -> None:
        self._model = model
        self._step = step
        self._read_only = read_only
        self._execute = model.in_executions(self.step)
        self._pending: collections.deque[tuple[str, dict[str, Any]]] = collections.deque()
        self._state: tuple = ()

    def __call__(self, state: tuple, iterator: Any) -> tuple[dict[str, Any], tuple]:
        """Run the steps of one execution and return the logs and the state after the last one."""
        self._state, owner = state, self._model.step_owner
        self._model.keep_state(state)
        if owner is None:
            logs = self.run(iterator)
            self.raise_failed()
        else:
            logs = owner.execute(self.run, iterator)
        state, self._state = self._state, ()
        return logs, state

    def run(
        self, iterator: Any, steps: Callable[[tuple, Any], tuple] | None = None
    ) -> dict[str, Any]:
        """Run the steps of one execution and return the logs of the last one."""
        logs, self._state = (steps or self._execute)(self._state, iterator)
        return logs

    def run_one(self, iterator: Any) -> dict[str, Any]:
        """Run one step and return its logs."""
        return self.run(iterator, lambda state, data: self.step(state, next(data)))

    def step(self, state: tuple, data: Any) -> tuple[dict[str, Any], tuple]:
        """Run one step; return its logs and the new state."""
        self.raise_failed(wait=False)
        values = [variable.value for variable in self._read_only]
        logs, state, checks = self._step(state, values, data)
        self._model.keep_state(state)
        if checks:
            owner = self._model.step_owner
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


def _unchanged_if_failed(old: tuple, new: Iterable[list[Any]], checks: dict[str, Any]) -> tuple:
    """Return the new state, or the old one if a check failed."""
    if not checks:
        return tuple(new)
    fine = functools.reduce(jax.numpy.logical_and, checks.values())
    return tuple(
        [jax.numpy.where(fine, value, before) for before, value in zip(*groups, strict=True)]
        for groups in zip(old, new, strict=True)
    )


def gradient_step(
    model: keras.Model,
    inputs: Any,
    forward: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Run one forward pass, one backward pass and one update of the optimizer."""
    return update_variables(model, lambda: forward(inputs, lambda outputs: outputs), require)


def update_variables(
    model: Any,
    compute: Callable[[], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Compute a loss and its gradients, and update the variables."""
    scope, optimizer, trainable = _current.scope, model.optimizer, model.trainable_variables
    trained = {id(variable) for variable in trainable}
    others = [variable for key, variable in scope.variables.items() if key not in trained]

    def scaled_loss(values: list[Any]) -> tuple[Any, tuple]:
        pairs = [
            *zip(others, scope.values(others), strict=True),
            *zip(trainable, values, strict=True),
        ]
        with _Scope(pairs) as inner:
            outputs, loss = compute()
            scaled = optimizer.scale_loss(loss)
        inner.require_known()
        masks = [get_mask(part) for part in tree.flatten(outputs)]
        return scaled, (outputs, loss, masks, inner.values(others), inner.checks)

    differentiate = jax.grad(scaled_loss, has_aux=True)
    gradients, (outputs, loss, masks, updates, checks) = differentiate(scope.values(trainable))
    for part, mask in zip(tree.flatten(outputs), masks, strict=True):
        if mask is not None:
            set_mask(part, mask)
    for variable, value in zip(others, updates, strict=True):
        variable.assign(value)
    scope.checks.update(checks)
    require(loss)
    values = scope.values(trainable), scope.values(optimizer.variables)
    weights, state = optimizer.stateless_apply(values[1], gradients, values[0])
    for variable, value in zip((*trainable, *optimizer.variables), (*weights, *state), strict=True):
        variable.assign(value)
    return outputs, loss


def after(assertions: Sequence[Any]) -> AbstractContextManager:
    """Run a block; JAX reports failed assertions after the step."""
    return contextlib.nullcontext()


def require_before(assertions: Sequence[Any], values: Any) -> Any:
    """Return values; JAX reports failed assertions after the step."""
    return values


def outside_graph() -> AbstractContextManager:
    """Run a block when the step is traced."""
    return contextlib.nullcontext()


def raise_failed_assertions(model: StepModel) -> None:
    """Report the steps so far of a `fit` in which an assertion failed.

    Raises:
        ValueError: If one did.
    """
    model.train_function.raise_failed()


def check_on_bad_batch(owner: str, on_bad_batch: str) -> None:
    """Reject `"skip"`.

    Raises:
        ValueError: If bad batches are to be skipped.
    """
    if on_bad_batch == "skip":
        raise ValueError(
            f"{owner}: on the JAX backend a compiled step cannot be undone, so bad batches cannot "
            "be skipped. Remove them from the data, or set KERAS_BACKEND=tensorflow. "
            "Received: on_bad_batch='skip'"
        )


def assertion(condition: Any, message: str, kind: str = "error") -> list[Any]:
    """Note a condition that must hold; the returned list is empty."""
    if _current.scope is not None:
        checks = _current.scope.checks
        checks[message] = condition & checks[message] if message in checks else condition
    return []


def finite_assertions(named: dict[str, Any], together: bool = False) -> list[Any]:
    """Note that values must be finite; the returned list is empty."""
    for message, structure in named.items():
        if values := floating_parts(structure):
            assertion(_all_finite(values), message)
    return []


def check_if_not_finite(loss: Any, named: Callable[[], dict[str, Any]]) -> list[Any]:
    """Note that values must be finite if the loss is not; the returned list is empty."""
    for message, structure in named().items():
        if values := floating_parts(structure):
            # No `cond`: on a GPU it would wait for the loss.
            assertion(jax.numpy.isfinite(loss) | _all_finite(values), message)
    return []


def is_bad_batch(error: Exception) -> bool:
    """Whether an error says that a batch is bad: no step of JAX raises one."""
    return False


@contextlib.contextmanager
def readable_errors(position: Callable[[], str] | None = None) -> Iterator[None]:
    """Run a block whose errors need no translation."""
    yield


def floating_parts(structure: Any) -> list[Any]:
    """Return the arrays of floats in a structure."""
    found = [part for part in tree.flatten(structure) if isinstance(part, jax.Array)]
    return [part for part in found if jax.numpy.issubdtype(part.dtype, jax.numpy.floating)]


def _all_finite(values: Sequence[Any]) -> Any:
    finite = [jax.numpy.isfinite(part).all() for part in values]
    return functools.reduce(jax.numpy.logical_and, finite)
