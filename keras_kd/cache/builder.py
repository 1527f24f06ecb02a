"""Building of a knowledge cache: one pass of the teachers, written block by block."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from keras_kd.cache.elements import TeacherBatch
from keras_kd.cache.manifest import MANIFEST, Block, Manifest, damage_as_cache_error, read_json
from keras_kd.cache.reader import Reader
from keras_kd.cache.schema import DIGESTS, KEYS, CacheSchema
from keras_kd.cache.teacher_pass import TeacherPass, library_versions
from keras_kd.cache.writer import RowWriter, check_disk_space, lock_folder, remove_build_files
from keras_kd.files import write_json
from keras_kd.teachers.knowledge import CacheError
from keras_kd.training.batches import count_batches

_BUILDING = "building.json"
_PROBE_SAMPLES = 256
_MAX_BLOCK_BYTES = 8 * 2**20
_MAX_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class BuildPlan:
    """What to build.

    Attributes:
        schema: The schema of the cache.
        teacher_pass: The teachers.
        batches: The batches, which are read twice.
        verbose: 1 to show the progress, 0 for silence.
    """

    schema: CacheSchema
    teacher_pass: TeacherPass
    batches: Iterable[TeacherBatch]
    verbose: int


def build(plan: BuildPlan, folder: Path) -> None:
    """Build a cache or resume a build; leave a complete cache with the same schema unchanged.

    Raises:
        CacheError: If the folder holds another cache, or the data set changes between passes.
        RuntimeError: If another process is building in the folder.
        OSError: If the disk is full; a second call resumes the build.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe, first = _probe_inputs(plan.batches)
    # A complete cache is only read, so it needs no lock.
    if _is_complete(folder, plan, probe, first):
        return
    with lock_folder(folder):
        if _is_complete(folder, plan, probe, first):
            return  # Another process has built it in the meantime.
        _start(folder, plan, len(first.keys))
        writer = RowWriter(folder, plan.schema.columns, plan.schema.block_rows)
        try:
            _write_rows(folder, writer, plan, probe, first)
            write_manifest(folder, plan.schema, writer, writer.finish())
        except OSError as error:
            raise OSError(
                error.errno,
                f"KnowledgeCache '{folder}': writing failed after {writer.rows:,} samples "
                f"({error.strerror}). Free some space and build again to resume",
            ) from error
        finally:
            writer.close()


def block_rows(row_bytes: int) -> int:
    """Return the number of samples per block: at most 8 MiB."""
    return max(1, min(_MAX_BLOCK_ROWS, _MAX_BLOCK_BYTES // row_bytes))


class _InputDigests:
    """Digests of the inputs of some samples by key.

    Args:
        keys: (samples,), int64.
        digests: (samples,) or (samples, views), int64.
    """

    def __init__(self, keys: np.ndarray, digests: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._digests = keys[order], digests[order]

    def check_cache(self, reader: Reader) -> None:
        """Raise a `CacheError` if a cache has other inputs for these keys."""
        for view in range(reader.manifest.schema.views):
            digests = self._digests if self._digests.ndim == 1 else self._digests[:, view]
            reader.check_inputs(self._keys, np.full(len(self._keys), view), digests)

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Return for each key whether it is known."""
        if not len(self._keys):
            return np.zeros(len(keys), bool)
        return self._keys[self._locate(keys)] == keys

    def changed(self, keys: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """Return the keys of known samples whose inputs differ."""
        known = self.contains(keys)
        differs = self._digests[self._locate(keys[known])] != digests[known]
        return keys[known][differs if differs.ndim == 1 else differs.any(axis=1)]

    def _locate(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)


def _probe_inputs(batches: Iterable[TeacherBatch]) -> tuple[_InputDigests, TeacherBatch]:
    """Return the digests of the first samples of a data set, and its first batch."""
    keys, digests, first = [], [], None
    for batch in batches:
        first = first or batch
        keys.append(np.asarray(batch.keys))
        digests.append(np.asarray(batch.digests))
        if sum(map(len, keys)) >= _PROBE_SAMPLES:
            break
    if not keys:
        raise CacheError("KnowledgeCache: the data set is empty. Received: no samples")
    _check_unique(np.concatenate(keys))
    return _InputDigests(np.concatenate(keys), np.concatenate(digests)), first


def _start(folder: Path, plan: BuildPlan, batch_size: int) -> None:
    """Record what is being built, or compare it with the record of an interrupted build."""
    if (folder / _BUILDING).exists():
        with damage_as_cache_error(folder / _BUILDING):
            started = CacheSchema.from_json(read_json(folder / _BUILDING))
        if started != plan.schema or started.columns != plan.schema.columns:
            raise CacheError(
                f"KnowledgeCache '{folder}': an unfinished build there has other "
                f"{started.differences(plan.schema)}. Resume it with its own arguments, choose "
                "another path, or delete the folder."
            )
        return
    remove_build_files(folder, *plan.schema.columns)
    samples = batch_size * (count_batches(plan.batches) or 0)
    check_disk_space(folder, samples * plan.schema.row_bytes)
    write_json(folder / _BUILDING, asdict(plan.schema))


def _write_rows(
    folder: Path, writer: RowWriter, plan: BuildPlan, probe: _InputDigests, first: TeacherBatch
) -> None:
    """Run the teachers on all samples that have no row yet."""
    views, count = plan.schema.views, count_batches(plan.batches)
    written = _InputDigests(writer.read(KEYS), writer.read(DIGESTS))
    _check_resumed(folder, written.changed(np.asarray(first.keys), np.asarray(first.digests)))
    _check_resumed_preprocessing(folder, writer, plan, first)
    bar = keras.utils.Progbar(count, verbose=plan.verbose, unit_name="batch")
    for batch in plan.batches:
        keys, digests = np.asarray(batch.keys), np.asarray(batch.digests)
        _check_repeatable(folder, plan, probe.changed(keys, digests))
        _check_resumed(folder, written.changed(keys, digests))
        new = ~written.contains(keys)
        if new.any():
            with _forget_if_nothing_is_written(folder, writer, plan):
                values = plan.teacher_pass(batch.x if new.all() else batch.select(new, views))
            if views > 1:
                values = {f: v.reshape(-1, views, *v.shape[1:]) for f, v in values.items()}
            writer.append({KEYS: keys[new], DIGESTS: digests[new], **values})
        bar.add(1)
    with _forget_if_nothing_is_written(folder, writer, plan):
        plan.teacher_pass.check_rounding()


@contextlib.contextmanager
def _forget_if_nothing_is_written(
    folder: Path, writer: RowWriter, plan: BuildPlan
) -> Iterator[None]:
    """Remove a build without a block that fails, so that one with other arguments can follow."""
    try:
        yield
    except CacheError:
        if not writer.rows:
            remove_build_files(folder, _BUILDING, *plan.schema.columns)
        raise


def write_manifest(
    folder: Path, schema: CacheSchema, writer: RowWriter, blocks: tuple[Block, ...]
) -> None:
    """Write the manifest, which completes the cache.

    Raises:
        CacheError: If two samples have the same key.
    """
    keys = writer.read(KEYS)
    try:
        _check_unique(keys)
    except CacheError:
        remove_build_files(folder, _BUILDING, *schema.columns)
        raise
    indexed = np.array_equal(keys, np.arange(len(keys)))
    if indexed:
        blocks = tuple(block.without(KEYS) for block in blocks)
    Manifest(schema, len(keys), indexed, blocks, library_versions()).write(folder)
    remove_build_files(folder, _BUILDING, *([KEYS] if indexed else []))


def _is_complete(folder: Path, plan: BuildPlan, probe: _InputDigests, first: TeacherBatch) -> bool:
    """Return whether the cache is complete; raise an error if it is another one."""
    if not (folder / MANIFEST).exists():
        return False
    manifest = Manifest.read(folder)
    if manifest.schema != plan.schema:
        raise CacheError(
            f"KnowledgeCache '{folder}': the path has a cache with other "
            f"{manifest.schema.differences(plan.schema)}. Choose another path, or delete the "
            "folder to build a new one."
        )
    reader = Reader(folder, manifest)
    probe.check_cache(reader)
    views = plan.schema.views
    keys = np.repeat(np.asarray(first.keys), views)
    rows = reader.locate(keys, np.arange(len(keys)) % views)
    plan.teacher_pass.check_preprocessing(
        manifest.schema.teachers,
        first.x,
        lambda file: reader.values[file].take(rows, axis=0),
        f"KnowledgeCache '{folder}'",
    )
    return True


def _check_repeatable(folder: Path, plan: BuildPlan, changed: np.ndarray) -> None:
    """Reject samples that change between passes, and remove the rows written so far."""
    if len(changed):
        remove_build_files(folder, _BUILDING, *plan.schema.columns)
        raise CacheError(
            f"KnowledgeCache '{folder}': the sample with key {changed[0]} has another input "
            "when the data set is read again: it is shuffled, or augmented at random, so `join` "
            "could not find the teacher outputs. Build from samples in a fixed order (shuffle "
            "after `join`), or give them keys before `shuffle` with kd.keyed; for augmentation "
            "pass views=... and a stateless augment=..."
        )


def _check_resumed(folder: Path, changed: np.ndarray) -> None:
    """Reject samples that differ from those of the interrupted build."""
    if len(changed):
        raise CacheError(
            f"KnowledgeCache '{folder}': an unfinished build there has another input for the "
            f"sample with key {changed[0]}. Resume it with the same data set, choose another path, "
            "or delete the folder."
        )


def _check_resumed_preprocessing(
    folder: Path, writer: RowWriter, plan: BuildPlan, first: TeacherBatch
) -> None:
    """Reject a preprocessing that returns other values than in the interrupted build."""
    views, written = plan.schema.views, writer.read(KEYS)
    order = np.argsort(written, kind="stable")
    keys = written[order]
    known = np.isin(first.keys, keys)
    if not known.any():
        return
    rows = order[np.searchsorted(keys, np.asarray(first.keys)[known])]

    def read(file: str) -> np.ndarray:
        values = writer.read(file)[rows]
        return values if views == 1 else values.reshape(-1, *values.shape[2:])

    plan.teacher_pass.check_preprocessing(
        plan.schema.teachers, first.select(known, views), read, f"KnowledgeCache '{folder}'"
    )


def _check_unique(keys: np.ndarray) -> None:
    ordered = np.sort(keys)
    duplicates = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(duplicates):
        raise CacheError(
            f"KnowledgeCache: keys must be unique. Received: the key {duplicates[0]} twice"
        )
