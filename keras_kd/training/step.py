"""The gradient step that all distillers share, and the model class whose step has an owner."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from keras_kd.models.keras_compat import CompatModel
from keras_kd.training.distribution import fill_empty_replica


class StepOwner(Protocol):
    """Runs the compiled steps of a model for the duration of one `fit`."""

    def execute(self, compiled: Callable[[Any], Any], iterator: Any) -> Any:
        """Run the steps of one execution and return the logs of the last one."""


class StepModel(CompatModel):
    """A Keras model that hands each execution of its step to `step_owner`, if it has one.

    A `fit` sets the owner and removes it afterwards. Nothing else replaces `train_function`.
    """

    step_owner: StepOwner | None = None
    _single_step: Callable[[Any], Any] | None = None

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


def gradient_step(
    model: keras.Model,
    inputs: Any,
    forward: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any]],
    require: Callable[[Any], Sequence[Any]] = lambda loss: (),
) -> tuple[Any, Any]:
    """Run one forward pass, one backward pass and one update of the optimizer.

    Args:
        model: The model whose `trainable_variables` its `optimizer` updates.
        inputs: The batch of this replica.
        forward: Maps the inputs and a function to `(outputs, loss)`. The inputs have one extra
            sample on a replica without any; the function removes it from outputs.
        require: Maps the loss to assertions that must hold before the update. Defaults to none.

    Returns:
        The outputs and the loss.
    """
    inputs, cut = fill_empty_replica(inputs)
    with tf.GradientTape() as tape:
        outputs, loss = forward(inputs, cut)
        scaled = model.optimizer.scale_loss(loss)
    variables = model.trainable_variables
    gradients = tape.gradient(scaled, variables)
    with tf.control_dependencies(require(loss)):
        gradients = [None if g is None else tf.identity(g) for g in gradients]
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return outputs, loss


@contextlib.contextmanager
def _one_step_per_execution(model: keras.Model) -> Iterator[None]:
    steps, model.steps_per_execution = model.steps_per_execution, 1
    try:
        yield
    finally:
        model.steps_per_execution = steps
