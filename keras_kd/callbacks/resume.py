"""Resume a run that was killed, with the weights of the uninterrupted run."""

import hashlib
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.teachers.fingerprint import weights_digest
from keras_kd.training import backend
from keras_kd.training.checkpoints import Checkpoints, Position
from keras_kd.training.tf_data import call_with_first_batch, is_dataset, repeats_forever


class Resume(keras.callbacks.Callback):
    """Keep the state of a run on disk, so that a run that was killed can continue.

    Start the same script again: `fit` continues at the step of the last checkpoint and ends with
    the weights of the uninterrupted run, bit for bit on a CPU, for any `steps_per_execution` and
    any place in the list of callbacks. A checkpoint holds the student and everything else that is
    trained, the optimizer, the hyperparameters, the states of noise and dropout, and the position
    in the data. `keras.callbacks.BackupAndRestore` keeps all but the position, so it repeats
    batches after a kill within an epoch.

    A checkpoint is written to a temporary folder and renamed, so a kill during the write leaves the
    previous one. A checkpoint whose checksum is wrong is ignored with a warning, and the previous
    one is used. A finished run is not trained again: `fit` loads its final state. Under
    `MultiWorkerMirroredStrategy` each worker has a folder of its own in `folder`, and all continue
    from the last step that all of them have.

    The data set must give the same batches in the same order in each run (not the order of a `fit`
    without this callback): give `shuffle` a seed (or call `keras.utils.set_random_seed`), and use
    Keras layers, `Distiller(augment=...)` or stateless functions for random augmentation. The first
    batch is checked. To find its position, `fit` reads the batches of the earlier steps again
    without training on them. The history has all epochs; the metrics of the interrupted one are
    means since the restart. Counters inside other callbacks, such as the patience of
    `EarlyStopping`, start again.

    Args:
        folder: A folder for this run alone; created if it does not exist.
        every: Number of steps between two checkpoints, or `"epoch"`. With `steps_per_execution`, a
            checkpoint is written before the next execution. Defaults to `"epoch"`.

    Raises:
        ValueError: If `every` is neither; at the start of `fit`, if the data are not a
            `tf.data.Dataset`, have no known number of batches or differ from those of the
            interrupted run, if the folder holds another run or one with other teachers, or if all
            its checkpoints are damaged.

    Example:
        >>> train = samples.shuffle(10_000, seed=1).batch(128)
        >>> distiller.fit(train, epochs=60, callbacks=[kd.callbacks.Resume("run", every=500)])
    """

    def __init__(self, folder: str | os.PathLike, every: int | str = "epoch") -> None:
        super().__init__()
        if every != "epoch" and (not isinstance(every, int) or every < 1):
            raise ValueError(
                "Resume: `every` must be a number of steps, at least 1, or 'epoch'. "
                f"Received: every={every!r}"
            )
        self.folder = Path(folder)
        self.every = every

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Reject a model whose `fit` does not know this callback."""
        if not isinstance(self.model, backend.StepModel):
            raise ValueError(
                f"Resume: '{self.model.name}' is a plain keras.Model, whose `fit` cannot be "
                "resumed within an epoch. Use this callback with kd.Distiller and the like, and "
                "keras.callbacks.BackupAndRestore here."
            )


class ResumableRun:
    """The state of one `fit` with `Resume`: where it is, where it continues, when it is written.

    Args:
        resume: The callback.
        model: The model that will be trained.
        arguments: The arguments of `fit`, by name.

    Raises:
        ValueError: As for `Resume`.
    """

    def __init__(self, resume: Resume, model: keras.Model, arguments: dict[str, Any]) -> None:
        self._every = resume.every
        self._folder = resume.folder
        self._model = model
        data, self.steps = _dataset_and_steps(arguments)
        self._checkpoints = Checkpoints(resume.folder, backend.get_strategy(model))
        self._start = self._checkpoints.position
        targets = [target for target in model.target_models() if target is not None]
        self._teachers = [weights_digest(target) for target in targets]
        self._check_teachers()
        self._history = list(self._start.history)
        self._restoring = self._checkpoints.found
        self._first_batch = ""
        self._logs = None
        self._since = 0
        #: The arguments of `fit`, with the data at the position of the checkpoint.
        self.arguments = {**arguments, **self._place(data, arguments.get("epochs", 1))}

    @property
    def start_logs(self) -> dict[str, float]:
        """The logs of the last step before the checkpoint."""
        return self._start.logs

    def restore(self) -> None:
        """Load the checkpoint, once all callbacks have seen the training begin."""
        with backend.variables_in_place(self._model):
            self._checkpoints.restore(self._model)

    def steps_done(self, epoch: int, batch: int, steps: int) -> int:
        """Return how many of the next `steps` steps the interrupted run has done."""
        if not self._restoring or epoch != self._start.epoch:
            return 0
        return min(max(self._start.batch - batch, 0), steps)

    def before_steps(self, iterator: Any, epoch: int, batch: int) -> None:
        """Find the position in the data before the first step; write a checkpoint if one is due.

        Called after the hooks of all callbacks, so their order makes no difference.

        Raises:
            ValueError: If the data differ from those of the interrupted run.
        """
        if self._restoring:
            self._restoring = False
            self._check_first_batch(iterator)
            if self._start.begun:
                # The hooks of this epoch have run a second time.
                self.restore()
        by_epoch = self._every == "epoch"
        due = batch == 0 and epoch > 0 if by_epoch else self._since >= self._every
        if due and self._start.order < (epoch, batch):
            self._write(epoch, batch, begun=True)

    def after_steps(self, steps: int, logs: dict[str, Any]) -> None:
        """Count steps."""
        self._since += steps
        self._logs = logs

    def after_epoch(self, logs: dict[str, Any]) -> None:
        """Keep the logs of an epoch, to which the other callbacks may add."""
        self._history.append(logs)

    def finish(self, history: keras.callbacks.History) -> keras.callbacks.History:
        """Write the final state, or load it if the run was finished; return the whole history."""
        if len(self._history) > self._start.epoch:
            self._write(len(self._history), 0, begun=False)
        elif self._restoring:
            self.restore()
        earlier = self._start.history
        history.epoch = list(range(len(earlier))) + history.epoch
        for logs in reversed(earlier):
            for name, value in logs.items():
                history.history.setdefault(name, []).insert(0, value)
        return history

    def _place(self, data: Any, epochs: int) -> dict[str, Any]:
        start = self._start
        if not repeats_forever(data):
            data = data.repeat()
        data = call_with_first_batch(data, self._note)
        # Shuffles draw an unknown number of times per epoch, so the batches are read again. The
        # last one that was trained on comes too: by then the first one has been read.
        data = data.skip(max(start.epoch * self.steps + start.batch - 1, 0))
        epoch = max(start.epoch, epochs) if start.stopped else start.epoch
        return {"x": data, "steps_per_epoch": self.steps, "initial_epoch": epoch}

    def _note(self, *parts: np.ndarray) -> np.bool_:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(repr((part.shape, part.dtype)).encode())
            digest.update(repr(part.tolist()).encode() if part.dtype == object else part.tobytes())
        self._first_batch = digest.hexdigest()
        return np.bool_(True)

    def _check_teachers(self) -> None:
        if self._start.teachers not in (None, self._teachers):
            raise ValueError(
                f"Resume: '{self._folder}' holds a run with other teachers. Give each run a folder "
                "of its own, or delete the folder to start again."
            )

    def _check_first_batch(self, iterator: Any) -> None:
        next(iterator)  # The last batch before the checkpoint.
        if self._first_batch != self._start.first_batch:
            raise ValueError(
                "Resume: the first batch of the data differs from that of the interrupted run, so "
                "the run cannot continue. Give `shuffle` a seed; if it has one, make the data set "
                "again, since the same object shuffles differently each time it is iterated. Or "
                f"delete '{self._folder}' to start again."
            )

    def _write(self, epoch: int, batch: int, begun: bool) -> None:
        position = Position(
            epoch,
            batch,
            begun,
            stopped=not begun and self._model.stop_training,
            logs={name: float(value) for name, value in (self._logs or {}).items()},
            history=[{k: float(v) for k, v in logs.items()} for logs in self._history],
            first_batch=self._start.first_batch or self._first_batch,
            teachers=self._teachers,
        )
        with backend.variables_in_place(self._model):
            self._checkpoints.write(self._model, position, epoch * self.steps + batch)
        self._since = 0


def _dataset_and_steps(arguments: dict[str, Any]) -> tuple[Any, int]:
    """Return the data set, and how many steps an epoch has."""
    data = arguments.get("x")
    if not is_dataset(data):
        raise ValueError(
            "Resume can find its position in a tf.data.Dataset only: tf.data.Dataset."
            "from_tensor_slices((x, y)).shuffle(len(x), seed=1).batch(128). "
            f"Received: x of type {type(data).__name__}"
        )
    steps = arguments.get("steps_per_epoch")
    if steps is not None and steps < 1:
        raise ValueError(
            f"Resume: `steps_per_epoch` must be at least 1. Received: steps_per_epoch={steps}"
        )
    steps = int(data.cardinality()) if steps is None else steps
    if steps < 1:
        raise ValueError(
            "Resume needs the number of batches of an epoch, which is unknown for this data set. "
            "Pass `steps_per_epoch` to `fit`, or call "
            "`.apply(tf.data.experimental.assert_cardinality(n))` on the data set. "
            "Received: steps_per_epoch=None"
        )
    if arguments.get("initial_epoch"):
        raise ValueError(
            "Resume sets the epoch to begin with itself. "
            f"Received: initial_epoch={arguments['initial_epoch']}"
        )
    return data, steps
