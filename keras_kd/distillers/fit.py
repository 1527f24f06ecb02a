"""Run `fit`: one object owns its step, counts, skips bad batches and resumes.

Optimizer and metrics get their variables before the first step. Keras would create them within it,
so TensorFlow would trace the step twice.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_kd.callbacks.resume import ResumableRun, Resume
from keras_kd.distillers.input_checks import batch_specs
from keras_kd.models.taps import TappedModel
from keras_kd.training import backend
from keras_kd.training.keywords import reject_unknown
from keras_kd.training.text import readable_text_errors
from keras_kd.training.tf_data import dense_spec, disable_autotune, has_ragged_parts, is_dataset

_FIT = inspect.signature(keras.Model.fit)


def fit_arguments(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a `fit` by name, whether passed by position or by name."""
    reject_unknown("fit()", kwargs, _FIT.parameters)
    given = _FIT.bind(None, *args, **kwargs).arguments
    return {name: value for name, value in given.items() if name != "self"}


def list_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a `fit`, passed as a list, as one, or as `None`."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


class FitRun(keras.callbacks.Callback):
    """Owner of the step during one `fit`.

    It is the first callback, so it knows the position of each execution, and it runs the steps
    themselves after the hooks of all callbacks. Its order is fixed: find the place of an
    interrupted run, write a checkpoint, run the steps, skip a bad batch.

    Args:
        trained: The model.
        skips: Whether to skip bad batches; then the history has `skipped_batches`.
        drawn: Variables that a step changes before it knows whether the batch is bad: they are
            reset when it is.
        resumable: The state of a run with `Resume`. Defaults to `None`.
    """

    def __init__(
        self,
        trained: backend.StepModel,
        skips: bool = False,
        drawn: list[keras.Variable] | None = None,
        resumable: ResumableRun | None = None,
    ) -> None:
        super().__init__()
        # On JAX, reading `self.model` takes the state out of the loop of Keras.
        self._owned = trained
        self._skips = skips
        self._drawn = drawn or []
        self._resumable = resumable
        self._epoch = self._batch = self._done = self._skipped = 0
        self._last_batch = 0
        self._started = self._trained = False
        #: The history up to the end of the data, if they ended before the last epoch.
        self.ended_early: dict[str, list] | None = None
        self._logs: dict[str, Any] = {}

    def position(self) -> str:
        """Return the current position in words, counted from 1 as in the progress bar."""
        first, last = self._batch + 1, self._last_batch + 1
        batches = f"batch {first}" if first == last else f"one of the batches {first} to {last}"
        return f"in {batches} of epoch {self._epoch + 1}"

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Restore an interrupted run in its first epoch; reset the counts."""
        if self._resumable is not None and not self._started:
            self._resumable.restore()
        self._started = True
        self._epoch, self._batch, self._done, self._skipped = epoch, 0, 0, 0
        self._last_batch, self._logs = 0, {}

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Note the first step of the next execution."""
        self._batch, self._last_batch = batch, batch + self._execution_steps(batch) - 1

    def execute(self, compiled: Callable[[Any], Any], iterator: Any) -> Any:
        """Run the steps of one execution and return the logs of the last one."""
        whole, resumable = self._owned.steps_per_execution, self._resumable
        steps = self._last_batch - self._batch + 1
        if resumable is not None:
            done = resumable.steps_done(self._epoch, self._batch, steps)
            if done == steps:
                self._done += steps
                return resumable.start_logs
            resumable.before_steps(iterator, self._epoch, self._batch)
            steps -= done
        if steps == whole:
            logs = self._run(compiled, iterator)
        else:
            for _ in range(steps):
                logs = self._run(self._owned.single_step, iterator)
        self._done += steps
        if resumable is not None:
            resumable.after_steps(steps, logs)
        return logs

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the number of skipped batches into the history, and end without more data.

        An epoch of skipped batches is rejected, and so is a first epoch without any. Later, a
        generator may be exhausted: Keras has warned, and would log a loss of 0.
        """
        backend.raise_failed_assertions(self._owned)
        logs = {} if logs is None else logs
        if self._done == self._skipped:
            if self._skipped or not self._trained:
                found = (
                    f"all {self._skipped} batches were bad" if self._skipped else "no batch came"
                )
                raise ValueError(
                    f"There was nothing to learn from in epoch {epoch + 1}: {found}. The student's "
                    "weights are those from before it."
                )
            self.ended_early = {name: [*v] for name, v in self.model.history.history.items()}
            self.model.stop_training = True
            logs.clear()
            return
        self._trained = True
        if self._skips:
            logs["skipped_batches"] = self._skipped
        if self._resumable is not None:
            self._resumable.after_epoch(logs)

    def _execution_steps(self, batch: int) -> int:
        """Return the number of steps of an execution; the last of an epoch may have fewer."""
        steps = self._owned.steps_per_execution
        # Keras would run past the end of the epoch, into the next one.
        return steps if self._resumable is None else min(steps, self._resumable.steps - batch)

    def _run(self, step: Callable[[Any], Any], iterator: Any) -> Any:
        if not self._skips:
            return step(iterator)
        snapshot = backend.VariableSnapshot(self._drawn)
        try:
            self._logs = step(iterator)
        except Exception as error:
            if not backend.is_bad_batch(error):
                raise
            snapshot.restore()
            self._skipped += 1
        return self._logs


def run_fit(
    model: backend.StepModel,
    fit: Callable[..., keras.callbacks.History],
    arguments: dict[str, Any],
    skips: bool = False,
    drawn: list[keras.Variable] | None = None,
) -> keras.callbacks.History:
    """Run the `fit` of Keras with a `FitRun`.

    Raises:
        ValueError: If a batch is bad, or there was none; see also `kd.callbacks.Resume`.
        RuntimeError: If the data set raised an error.
    """
    callbacks = list_callbacks(arguments.get("callbacks"))
    resume = next((callback for callback in callbacks if isinstance(callback, Resume)), None)
    if model.compiled:
        _build_optimizer(model)
    resumable = None
    if resume is not None:
        resumable = ResumableRun(resume, model, arguments)
        arguments = resumable.arguments
    run = FitRun(model, skips, drawn, resumable)
    arguments = {**arguments, "callbacks": [run, *callbacks]}
    check_ragged(arguments)
    # Otherwise the end of each epoch waits for a thread of `tf.data`.
    arguments = {
        name: disable_autotune(value) if is_dataset(value) else value
        for name, value in arguments.items()
    }
    model.step_owner = run
    try:
        with backend.readable_errors(run.position):
            history = _fit_some(fit, arguments)
            if run.ended_early is not None:
                history.epoch.pop()
                history.history = run.ended_early
            return history if resumable is None else resumable.finish(history)
    finally:
        model.step_owner = None


def _fit_some(fit: Callable[..., Any], arguments: dict[str, Any]) -> keras.callbacks.History:
    """Run `fit`; Keras on JAX and PyTorch looks at a first batch, and there may be none."""
    try:
        with readable_text_errors():
            return fit(**arguments)
    except StopIteration as error:
        raise ValueError("There was nothing to learn from in epoch 1: no batch came.") from error


def check_ragged(arguments: dict[str, Any]) -> None:
    """Reject ragged batches on a backend that has none: Keras would fill them up with zeros.

    Args:
        arguments: Arguments by name, some of which may be data sets.

    Raises:
        ValueError: If there are any.
    """
    for name, value in arguments.items():
        if is_dataset(value) and has_ragged_parts(value):
            backend.require_tensorflow("A ragged tensor is no array", f"ragged parts in `{name}`")


def build_metrics(compiled: Any, x: Any, y: Any, student: TappedModel) -> None:
    """Create the variables of the metrics of a student with one output, if y's shape is known."""
    found, names = batch_specs(x, y), student.output_names
    if compiled is None or compiled.built or found is None or len(names) != 1:
        return
    labels = dense_spec(found[1])
    if labels is not None:
        symbolic = keras.KerasTensor(labels.shape, labels.dtype)
        compiled.build(symbolic, keras.KerasTensor(student.own_shape(names[0])))


def _build_optimizer(model: keras.Model) -> None:
    if not model.optimizer.built:
        with backend.strategy_scope(model):
            model.optimizer.build(model.trainable_variables)
