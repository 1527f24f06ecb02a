"""The model class whose training step has an owner during a `fit`."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import keras

from keras_kd.models.keras_compat import CompatModel
from keras_kd.training.weight_rule import WeightRule


class StepOwner(Protocol):
    """Runs the compiled steps of a model for the duration of one `fit`."""

    def position(self) -> str:
        """Return the position of the current execution, in words for a message."""

    def execute(self, compiled: Callable[[Any], Any], iterator: Any) -> Any:
        """Run the steps of one execution and return the logs of the last one."""


class StepModel(CompatModel):
    """A Keras model that hands each execution of its step to `step_owner`, if it has one.

    A `fit` sets the owner and removes it afterwards. Nothing else replaces `train_function`.
    """

    step_owner: StepOwner | None = None
    #: What some weights obey after each update.
    weight_rule: WeightRule | None = None
    #: The compiled steps, which Keras sets.
    train_function: Callable[..., Any] | None
    test_function: Callable[..., Any] | None
    _single_step: Callable[[Any], Any] | None = None

    @property
    def drops_assertions(self) -> bool:
        """Whether the compiled step does not check assertions: XLA drops them."""
        return self.jit_compile

    def training_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the training on a batch and return the logs."""
        raise NotImplementedError

    def evaluation_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the evaluation on a batch and return the logs."""
        raise NotImplementedError

    def train_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the training; Keras compiles it."""
        return self.training_step(data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the evaluation; Keras compiles it."""
        return self.evaluation_step(data)

    def make_train_function(self, force: bool = False) -> None:
        """Compile the step; see `keras.Model.make_train_function`."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force=True)
        compiled, self._single_step = self.train_function, None

        def train_function(iterator: Any) -> Any:
            owner = self.step_owner
            return compiled(iterator) if owner is None else owner.execute(compiled, iterator)

        self.train_function = train_function

    def single_step(self, iterator: Any) -> Any:
        """Run one step, whatever `steps_per_execution` is."""
        with _one_step_per_execution(self):
            if self._single_step is None:
                train_function = self.train_function
                super().make_train_function(force=True)
                self._single_step, self.train_function = self.train_function, train_function
            return self._single_step(iterator)


@contextlib.contextmanager
def _one_step_per_execution(model: keras.Model) -> Iterator[None]:
    steps, model.steps_per_execution = model.steps_per_execution, 1
    try:
        yield
    finally:
        model.steps_per_execution = steps
