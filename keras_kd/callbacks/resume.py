"""A run that is killed at any moment and started again ends as the run that was not killed."""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_ABOUT, _WEIGHTS = "about.json", "state.weights.h5"
_UNFINISHED = ".unfinished-"
_LARGEST_ABOUT = 2**28  # bytes; the history of a long run is a small part of it
#: A checkpoint and the one before it, to go back to.
_KEPT = 2


@dataclass(frozen=True)
class Position:
    """Where a run is.

    Attributes:
        epoch: The epoch, from 0.
        batch: How many steps of it are done.
        begun: Whether callbacks have seen the epoch begin.
        stopped: Whether a callback has ended the run before its last epoch.
        logs: The numbers of the last step.
        history: The numbers of the epochs before it.
        first_batch: Digest of the first batch of the data, to tell them from others.
    """

    epoch: int
    batch: int
    begun: bool
    stopped: bool
    logs: dict[str, float]
    history: list[dict[str, float]]
    first_batch: str


class Resume(keras.callbacks.Callback):
    """Keeps the state of a run on disk, so that a run that is killed goes on as if it had not been.

    Start the same script again: `fit` goes on at the step of the last checkpoint and ends with the
    weights of the run that was never stopped, bit for bit on a CPU. Kept are the student, what else
    is trained, the optimizer, hyperparameters, the states of noise and dropout, and the place in
    the data. `keras.callbacks.BackupAndRestore` keeps all but the place, so after a kill within an
    epoch it repeats batches.

    A checkpoint is written under another name and then renamed, so a kill while it is written
    leaves the one before. Each is held against a checksum; one that is damaged is told of in a
    warning and the one before it used. A run that is finished is not trained again: `fit` loads
    what it ended with. Under `MultiWorkerMirroredStrategy` each worker has a folder of its own in
    `folder`, and all go on from the last step that all have.

    The data set must give the same batches in the same order in each run (the order is another than
    without this callback): give `shuffle` a seed (or call `keras.utils.set_random_seed`), and take
    random augmentations from Keras layers, from `Distiller(augment=...)`, or from stateless
    functions. Its first batch is checked. To find its place it reads what was read before, and
    trains on none of it: that takes as long as your pipeline takes to read. The history
    has all epochs; in the one that was interrupted the numbers are means from the resume on. What
    other callbacks count themselves, such as the patience of `EarlyStopping`, begins anew.

    Args:
        folder: A folder of this run alone, made if need be.
        every: Steps between two checkpoints, or `"epoch"`. Defaults to `"epoch"`.

    Raises:
        ValueError: When `every` is neither; at the start of `fit`, when the data are no
            `tf.data.Dataset`, have no known number of batches or are not those of the run that was
            stopped, when the folder holds another run, or when no checkpoint in it is whole.

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
        self._data: tf.data.Dataset | None = None
        self._step: Callable | None = None

    def prepare(self, model: keras.Model, given: dict[str, Any]) -> dict[str, Any]:
        """What `fit` is to be given to go on where the run was; `fit` itself calls it.

        Args:
            model: The model that will be trained.
            given: The arguments of `fit`, by name.

        Returns:
            The arguments, with the data set repeated and the epoch to begin with.

        Raises:
            ValueError: As in the class.
        """
        data, self._steps = _data_of(given)
        self._data = data
        self._own = self.folder / _worker(model.distribute_strategy)
        self._own.mkdir(parents=True, exist_ok=True)
        for path in self._own.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(path)
        self._found = _newest(self._own, model.distribute_strategy)
        at = Position(0, 0, False, False, {}, [], "") if self._found is None else _read(self._found)
        self._at, self._seen = at, ""
        self._history = list(at.history)
        self._done = at.batch
        if data.cardinality() != tf.data.INFINITE_CARDINALITY:
            data = data.repeat()
        data = data.enumerate().map(self._noted)
        # Nobody knows how often an epoch draws from its shuffles, so they are read once more. The
        # last batch that was learned comes too: with it the first one is known.
        data = data.skip(max(at.epoch * self._steps + at.batch - 1, 0))
        epoch = max(at.epoch, given.get("epochs", 1)) if at.stopped else at.epoch
        where = {"x": data, "steps_per_epoch": self._steps, "initial_epoch": epoch}
        return {**given, **where}

    def completed(self, history: keras.callbacks.History) -> keras.callbacks.History:
        """The history of the whole run; `fit` itself calls it."""
        earlier = self._at.history
        history.epoch = list(range(len(earlier))) + history.epoch
        for logs in reversed(earlier):
            for name, value in logs.items():
                history.history.setdefault(name, []).insert(0, value)
        return history

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Puts the state back."""
        if self._data is None:
            raise ValueError(
                f"Resume: '{self.model.name}' is a plain keras.Model, whose `fit` does not tell "
                "callbacks what it learns from. Use it with kd.Distiller and the like, and here "
                "keras.callbacks.BackupAndRestore."
            )
        self._since, self._logs = 0, None
        self._waits = self._found is not None
        self._restore()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Lets the first step find the place in the data."""
        self._epoch = epoch
        if self._waits:
            self._step, self.model.train_function = self.model.train_function, self._going_on
            self._waits = False

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Writes a checkpoint where one is due."""
        again = _epoch_and_batch(self._at) >= (self._epoch, batch)
        due = batch == 0 and self._epoch > 0 if self.every == "epoch" else self._since >= self.every
        if due and not again:
            self._write(self._epoch, batch, begun=True)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the steps."""
        self._since += 1
        self._logs = logs

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Remembers the numbers of the epoch, to which other callbacks may add."""
        self._history.append({} if logs is None else logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Writes what the run ended with."""
        if len(self._history) > self._at.epoch:
            self._write(len(self._history), 0, begun=False)

    def step_aside(self) -> None:
        """Gives the model its own step back, however the training ended."""
        if self._step is not None and self.model.train_function == self._going_on:
            self.model.train_function = self._step

    def _going_on(self, iterator: Any) -> Any:
        """The first steps of an epoch that was interrupted, which were done already."""
        if self._done:
            self._done -= 1
            return self._at.logs
        next(iterator)
        if self._seen != self._at.first_batch:
            raise ValueError(
                "Resume: the data set does not give the batches that it gave to the run that was "
                f"stopped, so the run cannot go on. Give `shuffle` a seed, or delete "
                f"'{self.folder}' to begin anew."
            )
        if self._at.begun:
            # Once more: other callbacks have seen the epoch begin, which they had done before.
            self._restore()
        self.model.train_function = self._step
        return self._step(iterator)

    def _noted(self, number: Any, batch: Any) -> Any:
        """The batch as it is; of the first one a digest is taken."""
        parts = tf.nest.flatten(batch, expand_composites=True)
        noted = tf.cond(
            number == 0,
            lambda: tf.numpy_function(self._note, parts, tf.bool),
            lambda: tf.constant(False),
        )
        with tf.control_dependencies([noted]):
            return tf.nest.map_structure(tf.identity, batch, expand_composites=True)

    def _note(self, *parts: np.ndarray) -> np.bool_:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(repr((part.shape, part.dtype)).encode())
            digest.update(repr(part.tolist()).encode() if part.dtype == object else part.tobytes())
        self._seen = digest.hexdigest()
        return np.bool_(True)

    def _restore(self) -> None:
        if self._found is None:
            return
        with self.model.distribute_strategy.scope():
            try:
                self.model.load_weights(self._found / _WEIGHTS)
            except ValueError as error:
                raise ValueError(
                    f"Resume: '{self.folder}' holds a run of another model or optimizer. Give each "
                    f"run a folder of its own. The cause: {error}"
                ) from error

    def _write(self, epoch: int, batch: int, begun: bool) -> None:
        numbers = [{k: float(v) for k, v in logs.items()} for logs in self._history]
        logs = {name: float(value) for name, value in (self._logs or {}).items()}
        stopped = not begun and self.model.stop_training
        first = self._at.first_batch or self._seen
        position = Position(epoch, batch, begun, stopped, logs, numbers, first)
        name = f"{epoch * self._steps + batch:012}-{int(begun)}"
        temporary = self._own / f"{_UNFINISHED}{uuid.uuid4().hex}"
        temporary.mkdir()
        self.model.save_weights(temporary / _WEIGHTS)
        content = {**asdict(position), "weights": _digest(temporary / _WEIGHTS)}
        about = {"content": content, "digest": _digest_of_json(content)}
        (temporary / _ABOUT).write_text(json.dumps(about))
        for path in (temporary / _WEIGHTS, temporary / _ABOUT, temporary):
            _to_disk(path)
        # One of that name is damaged, or other workers have it not.
        shutil.rmtree(self._own / name, ignore_errors=True)
        os.replace(temporary, self._own / name)
        _to_disk(self._own)
        self._since = 0
        for path in _checkpoints(self._own)[:-_KEPT]:
            shutil.rmtree(path)


def _epoch_and_batch(position: Position) -> tuple[int, int]:
    return position.epoch, position.batch if position.begun else -1


def _data_of(given: dict[str, Any]) -> tuple[tf.data.Dataset, int]:
    """The data set, and how many steps an epoch has."""
    data = given.get("x")
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(
            "Resume finds its place again in a tf.data.Dataset only: tf.data.Dataset."
            "from_tensor_slices((x, y)).shuffle(len(x), seed=1).batch(128). "
            f"Received: x of type {type(data).__name__}"
        )
    steps = given.get("steps_per_epoch") or int(data.cardinality())
    if steps < 1:
        raise ValueError(
            "Resume must know how many batches an epoch has, and this data set does not say. Pass "
            "`steps_per_epoch` to `fit`, or call `.apply(tf.data.experimental.assert_cardinality("
            "n))` on the data set. Received: steps_per_epoch=None"
        )
    if given.get("initial_epoch"):
        raise ValueError(
            "Resume sets the epoch to begin with itself. "
            f"Received: initial_epoch={given['initial_epoch']}"
        )
    return data, steps


def _worker(strategy: tf.distribute.Strategy) -> str:
    """The folder of this worker in that of the run; of a single process the same."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return ""
    return f"worker-{strategy.cluster_resolver.task_id or 0}"


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[:12].isdecimal())


def _newest(folder: Path, strategy: tf.distribute.Strategy) -> Path | None:
    """The newest whole checkpoint; of several workers, the newest that all have."""
    present = _checkpoints(folder)
    whole = [path for path in present if _is_whole(path)]
    for path in present:
        if path not in whole:
            warnings.warn(f"Resume: the checkpoint '{path}' is damaged and left out.", stacklevel=4)
    if present and not whole:
        raise ValueError(
            f"Resume: no checkpoint in '{folder}' is whole. Delete the folder to begin anew."
        )
    newest = whole[-1].name if whole else ""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        newest = _least(strategy, newest)
    if not newest:
        return None
    if folder / newest not in whole:
        raise ValueError(
            f"Resume: other workers go on from the checkpoint '{newest}', which is not in "
            f"'{folder}', or is damaged. Delete the folders of all workers to begin anew."
        )
    return folder / newest


def _least(strategy: tf.distribute.Strategy, name: str) -> str:
    """The least of the workers' names, which sort as the steps do."""
    names = strategy.gather(strategy.run(lambda: tf.constant([_as_number(name)])), axis=0)
    least = int(tf.reduce_min(names))
    return "" if least < 0 else f"{least // 2:012}-{least % 2}"


def _as_number(name: str) -> int:
    return 2 * int(name[:12]) + int(name[-1]) if name else -1


def _is_whole(path: Path) -> bool:
    try:
        if (path / _ABOUT).stat().st_size > _LARGEST_ABOUT:
            return False
        about = json.loads((path / _ABOUT).read_text())
        content = about["content"]
        return about["digest"] == _digest_of_json(content) and content["weights"] == _digest(
            path / _WEIGHTS
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _read(path: Path) -> Position:
    content = json.loads((path / _ABOUT).read_text())["content"]
    return Position(**{name: value for name, value in content.items() if name != "weights"})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_json(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
