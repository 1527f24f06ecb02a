"""The scope of a step on JAX: the values of its variables, and the assertions made in it."""

import collections
import threading
from collections.abc import Iterable
from typing import Any

import keras


class Scope(keras.StatelessScope):
    """A scope that knows its variables, and the checks that are made in it.

    Args:
        values: The variables and their values.
    """

    def __init__(self, values: Iterable[tuple[keras.Variable, Any]]) -> None:
        values = list(values)
        super().__init__(values, collect_losses=True)
        self.variables = {id(variable): variable for variable, _ in values}
        self._initial = dict(self.state_mapping)
        #: By message, whether all is well.
        self.checks: dict[str, Any] = collections.OrderedDict()

    def __enter__(self) -> "Scope":
        self._outer = current.scope
        current.scope = self
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        current.scope = self._outer

    def values(self, variables: Iterable[keras.Variable]) -> list[Any]:
        """Return the current values of variables."""
        return [self.get_current_value(variable) for variable in variables]

    def changed(self, variables: Iterable[keras.Variable]) -> dict[int, Any]:
        """Return, by position, the new values of the variables that were assigned to."""
        initial, current = self._initial, self.state_mapping
        keys = enumerate(map(id, variables))
        return {i: current[key] for i, key in keys if current[key] is not initial[key]}

    def require_unchanged(self, variables: Iterable[keras.Variable] = ()) -> None:
        """Reject a step that changed a variable whose new value would be lost.

        Args:
            variables: Variables of the scope to which this applies, beside all others.

        Raises:
            ValueError: If it did.
        """
        if self.changed(variables) or len(self.state_mapping) > len(self.variables):
            raise ValueError(
                "The step changes a variable that does not belong to the distiller, so the JAX "
                "backend cannot keep its new value. It may be a random generator in `augment` or "
                "in a loss: use a Keras layer, which owns its generator. Or a teacher that changes "
                "its own state."
            )


class _Current(threading.local):
    """The scope of the step that this thread runs."""

    scope: Scope | None = None


#: The scope of the step that this thread traces.
current = _Current()
