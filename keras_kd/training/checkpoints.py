"""The checkpoints of a run on disk: a folder each, complete or absent, with a checksum."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from keras_kd.files import UNFINISHED, atomic_folder, read_json
from keras_kd.models.user_warnings import warn_user
from keras_kd.training import backend

_ABOUT, _WEIGHTS = "about.json", "state.weights.h5"
#: A checkpoint, and the one before it to fall back to.
_KEPT = 2


@dataclass(frozen=True)
class Position:
    """Where a run is.

    Attributes:
        epoch: The epoch, from 0.
        batch: Number of its steps that are done.
        begun: Whether callbacks have seen the epoch begin.
        stopped: Whether a callback has ended the run before its last epoch.
        logs: The logs of the last step.
        history: The logs of the epochs before it.
        first_batch: Digest of the first batch of the data.
        teachers: Digests of the teachers' weights; `None` in checkpoints of version 0.1.
    """

    epoch: int = 0
    batch: int = 0
    begun: bool = False
    stopped: bool = False
    logs: dict[str, float] | None = None
    history: list[dict[str, float]] | None = None
    first_batch: str = ""
    teachers: list[str] | None = None

    @property
    def order(self) -> tuple[int, int]:
        """A key that sorts positions in the order of the run."""
        return self.epoch, self.batch if self.begun else -1


class Checkpoints:
    """The checkpoints of one run in a folder.

    Args:
        folder: The folder of the run.
        strategy: The distribution strategy. Each worker of several has a folder of its own.

    Raises:
        ValueError: If there are checkpoints and all are damaged, or other workers continue from one
            that this worker does not have.
    """

    def __init__(self, folder: Path, strategy: Any) -> None:
        self.run_folder = folder
        worker = backend.worker_index(strategy)
        self.folder = folder if worker is None else folder / f"worker-{worker}"
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path)
        self._newest = _newest_complete(self.folder, strategy)
        self.found = self._newest is not None
        if not self.found:
            self.position = Position(logs={}, history=[])
        else:
            content = read_json(self._newest / _ABOUT)["content"]
            del content["weights"]
            self.position = Position(**content)

    def restore(self, model: keras.Model) -> None:
        """Load the newest checkpoint into a model, if there is one.

        Raises:
            ValueError: If it is the checkpoint of another model or optimizer.
        """
        if not self.found:
            return
        with backend.strategy_scope(model):
            try:
                model.load_weights(self._newest / _WEIGHTS)
            except ValueError as error:
                raise ValueError(
                    f"Resume: '{self.run_folder}' holds a run of another model or optimizer. Give "
                    f"each run a folder of its own. The cause: {error}"
                ) from error

    def write(self, model: keras.Model, position: Position, step: int) -> None:
        """Write a checkpoint and delete the oldest ones."""
        path = self.folder / f"{step:012}-{int(position.begun)}"
        # One of that name is damaged, or other workers do not have it.
        shutil.rmtree(path, ignore_errors=True)
        with atomic_folder(path) as temporary:
            model.save_weights(temporary / _WEIGHTS)
            content = {**asdict(position), "weights": _digest(temporary / _WEIGHTS)}
            about = {"content": content, "digest": _digest_of_json(content)}
            (temporary / _ABOUT).write_text(json.dumps(about))
        for old in _list(self.folder)[:-_KEPT]:
            shutil.rmtree(old)


def _list(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[:12].isdecimal())


def _newest_complete(folder: Path, strategy: Any) -> Path | None:
    """Return the newest complete checkpoint; of several workers, the newest that all have."""
    present = _list(folder)
    complete = [path for path in present if _is_complete(path)]
    for path in present:
        if path not in complete:
            warn_user(f"Resume: the checkpoint '{path}' is damaged and ignored.")
    if present and not complete:
        raise ValueError(
            f"Resume: all checkpoints in '{folder}' are damaged. Delete the folder to start again."
        )
    newest = complete[-1].name if complete else ""
    if backend.worker_index(strategy) is not None:
        newest = _oldest_of_workers(strategy, newest)
    if not newest:
        return None
    if folder / newest not in complete:
        raise ValueError(
            f"Resume: other workers continue from the checkpoint '{newest}', which is missing or "
            f"damaged in '{folder}'. Delete the folders of all workers to start again."
        )
    return folder / newest


def _oldest_of_workers(strategy: Any, name: str) -> str:
    """Return the smallest of the workers' names, which sort as the steps do."""
    number = 2 * int(name[:12]) + int(name[-1]) if name else -1
    least = backend.least_over_workers(strategy, number)
    return "" if least < 0 else f"{least // 2:012}-{least % 2}"


def _is_complete(path: Path) -> bool:
    try:
        about = read_json(path / _ABOUT)
        content = about["content"]
        return about["digest"] == _digest_of_json(content) and content["weights"] == _digest(
            path / _WEIGHTS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of_json(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
