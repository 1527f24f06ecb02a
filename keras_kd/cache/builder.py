"""A knowledge cache, built: the teachers run once over the data, each block written as it fills."""

import platform
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_kd.cache.manifest import NAME, Block, Manifest, read_json, write_json
from keras_kd.cache.reader import Reader
from keras_kd.cache.schema import INPUTS, KEYS, Content
from keras_kd.cache.teacher_pass import Interview
from keras_kd.cache.writer import RowWriter, forget_progress, locked, require_room
from keras_kd.teachers.knowledge import CacheError
from keras_kd.version import __version__

_BEGUN = "building.json"
_PROBE = 256  # samples
_BLOCK = 8 * 2**20  # bytes
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Plan:
    """What is to be built, and of what.

    Attributes:
        content: What the cache will be of.
        interview: The teachers.
        batches: What they are shown, a data set of `Batch`.
        verbose: 1 to show the progress, 0 for silence.
    """

    content: Content
    interview: Interview
    batches: tf.data.Dataset
    verbose: int


def build(plan: Plan, folder: Path) -> None:
    """Builds a cache, or goes on with one; a whole one of the same content is left as it is.

    Args:
        plan: What to build.
        folder: Where.

    Raises:
        CacheError: When the folder holds a cache of something else, or the data set gives other
            samples when it is read again.
        RuntimeError: When another process is building there.
        OSError: When the disk is full; what was written stays, and the next call goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe, batch_size = _Seen.of_first(plan.batches)
    # A whole one is only read, so by any number of processes at once.
    if _is_whole(folder, plan, probe):
        return
    with locked(folder):
        if _is_whole(folder, plan, probe):
            return  # Another process has built it meanwhile.
        _begin(folder, plan, batch_size)
        writer = RowWriter(folder, plan.content.columns, plan.content.block_rows)
        try:
            _fill(folder, writer, plan, probe)
            complete(folder, plan.content, writer, writer.finish())
        except OSError as error:
            raise OSError(
                error.errno,
                f"KnowledgeCache '{folder}': writing failed after {writer.rows:,} samples "
                f"({error.strerror}). Make room and build again: it goes on from there",
            ) from error
        finally:
            writer.close()


def block_rows(row_bytes: int) -> int:
    """Samples of a block: up to 8 MB."""
    return max(1, min(_BLOCK_ROWS, _BLOCK // row_bytes))


def made_with() -> dict[str, str]:
    """The versions that a manifest notes."""
    return {
        "python": platform.python_version(),
        "keras_kd": __version__,
        "keras": keras.__version__,
        # Not its metadata: it may be installed as tensorflow-cpu.
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }


class _Seen:
    """Digests of the inputs of some samples, by key."""

    def __init__(self, keys: np.ndarray, digests: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._digests = keys[order], digests[order]

    @classmethod
    def of_first(cls, batches: tf.data.Dataset) -> tuple["_Seen", int]:
        """Of the first samples of a data set; also the size of its first batch."""
        keys, digests = [], []
        for batch in batches:
            keys.append(batch.keys.numpy())
            digests.append(batch.digests.numpy())
            if sum(map(len, keys)) >= _PROBE:
                break
        if not keys:
            raise CacheError("KnowledgeCache: there is nothing to teach. Received: no samples")
        _require_unique(np.concatenate(keys))
        return cls(np.concatenate(keys), np.concatenate(digests)), len(keys[0])

    def require_in(self, reader: Reader) -> None:
        """Refuses a cache that holds other inputs for these keys."""
        for view in range(reader.manifest.content.views):
            digests = self._digests if self._digests.ndim == 1 else self._digests[:, view]
            reader.require_inputs(self._keys, np.full(len(self._keys), view), digests)

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which of some keys it knows."""
        if not len(self._keys):
            return np.zeros(len(keys), bool)
        return self._keys[self._places(keys)] == keys

    def contradicts(self, keys: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """Keys of samples whose inputs are others now."""
        known = self.has(keys)
        differ = self._digests[self._places(keys[known])] != digests[known]
        return keys[known][differ if differ.ndim == 1 else differ.any(axis=1)]

    def _places(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)


def _begin(folder: Path, plan: Plan, batch_size: int) -> None:
    """Notes what is being built, or checks that it is what was begun."""
    if (folder / _BEGUN).exists():
        begun = Content.from_json(read_json(folder / _BEGUN))
        if begun != plan.content:
            raise CacheError(
                f"KnowledgeCache '{folder}': a build was begun there with other "
                f"{begun.differences(plan.content)}. Go on with what it was begun with, choose "
                "another path, or delete the folder."
            )
        return
    forget_progress(folder, *plan.content.columns)
    require_room(folder, batch_size * plan.content.row_bytes * max(0, _count(plan.batches) or 0))
    write_json(folder / _BEGUN, plan.content.to_json())


def _fill(folder: Path, writer: RowWriter, plan: Plan, probe: _Seen) -> None:
    """Asks the teachers about all samples that have no row yet."""
    views = plan.content.views
    written = _Seen(writer.read(KEYS), writer.read(INPUTS))
    bar = keras.utils.Progbar(_count(plan.batches), verbose=plan.verbose, unit_name="batch")
    for batch in plan.batches:
        keys, digests = batch.keys.numpy(), batch.digests.numpy()
        _require_steady(folder, plan, probe.contradicts(keys, digests))
        _require_begun(folder, written.contradicts(keys, digests))
        fresh = ~written.has(keys)
        if fresh.any():
            answers = plan.interview(batch.x if fresh.all() else batch.only(fresh, views))
            if views > 1:
                answers = {f: v.reshape(-1, views, *v.shape[1:]) for f, v in answers.items()}
            writer.append({KEYS: keys[fresh], INPUTS: digests[fresh], **answers})
        bar.add(1)


def complete(folder: Path, content: Content, writer: RowWriter, blocks: tuple[Block, ...]) -> None:
    """Writes the manifest: from here on it is a cache.

    Args:
        folder: The cache's folder.
        content: What it is of.
        writer: The writer of its rows, finished.
        blocks: Its blocks.

    Raises:
        CacheError: When two samples have the same key.
    """
    keys = writer.read(KEYS)
    try:
        _require_unique(keys)
    except CacheError:
        forget_progress(folder, _BEGUN, *content.columns)
        raise
    indexed = np.array_equal(keys, np.arange(len(keys)))
    if indexed:
        blocks = tuple(block.without(KEYS) for block in blocks)
    Manifest(content, len(keys), indexed, blocks, made_with()).write(folder)
    forget_progress(folder, _BEGUN, *([KEYS] if indexed else []))


def _is_whole(folder: Path, plan: Plan, probe: _Seen) -> bool:
    """Whether there is a whole cache; one that is not the one that was asked for is refused."""
    if not (folder / NAME).exists():
        return False
    manifest = Manifest.read(folder)
    if manifest.content != plan.content:
        raise CacheError(
            f"KnowledgeCache '{folder}': there is a cache already, with other "
            f"{manifest.content.differences(plan.content)}. Choose another path, or delete the "
            "folder to build it anew."
        )
    probe.require_in(Reader(folder, manifest))
    return True


def _require_steady(folder: Path, plan: Plan, differ: np.ndarray) -> None:
    """Refuses samples that are others on a second look; what was written of them is of no use."""
    if len(differ):
        forget_progress(folder, _BEGUN, *plan.content.columns)
        raise CacheError(
            f"KnowledgeCache '{folder}': the sample with the key {differ[0]} has another input "
            "when the data set is read again: it is shuffled, or augmented at random, so the "
            "teachers' answers could not be found again. Build from samples in a fixed order "
            "(shuffle after `join`), or give them keys before `shuffle` with kd.keyed; for "
            "augmentation pass views=... and a stateless augment=..."
        )


def _require_begun(folder: Path, differ: np.ndarray) -> None:
    """Refuses to go on with other samples than a stopped build had."""
    if len(differ):
        raise CacheError(
            f"KnowledgeCache '{folder}': a build was begun there with another input for the sample "
            f"with the key {differ[0]}. Go on with the same data set, choose another path, or "
            "delete the folder."
        )


def _require_unique(keys: np.ndarray) -> None:
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise CacheError(
            "KnowledgeCache: each sample must have a key of its own. Received: the key "
            f"{twice[0]} twice"
        )


def _count(batches: tf.data.Dataset) -> int | None:
    count = int(batches.cardinality())
    return count if count >= 0 else None
