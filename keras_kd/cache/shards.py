"""Parts of a cache, built on several machines, made one."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_kd.cache.builder import complete
from keras_kd.cache.manifest import NAME, Manifest
from keras_kd.cache.schema import KEYS
from keras_kd.cache.writer import RowWriter, damaged_file, locked, open_column, require_room
from keras_kd.teachers.knowledge import CacheError

_PART = re.compile(r"part-(\d+)-of-(\d+)")


def part_folder(path: Path, i: int, n: int) -> Path:
    """Where a part is written."""
    return path / f"part-{i:05}-of-{n:05}"


def checked_shard(shard: Sequence[int] | None) -> tuple[int, int] | None:
    """The shard of this machine; without one, that of a multi-worker strategy.

    Raises:
        ValueError: When it is no (i, n) with i from 0 to n - 1.
    """
    if shard is None:
        return _of_worker()
    i, n = (int(number) for number in shard)
    if not 0 <= i < n:
        raise ValueError(
            "KnowledgeCache.build: `shard` must be (i, n) with i from 0 to n - 1. "
            f"Received: shard={tuple(shard)}"
        )
    return (i, n)


def merge(path: Path) -> None:
    """Writes one cache from the parts in a folder; see `KnowledgeCache.merge`."""
    parts = _parts(path)
    manifests = [Manifest.read(part) for part in parts]
    _require_alike(path, parts, manifests)
    for part, manifest in zip(parts, manifests, strict=True):
        for block in manifest.blocks:
            file = damaged_file(part, manifest.columns, block)
            if file is not None:
                raise CacheError(
                    f"KnowledgeCache '{part}': rows {block.first} to {block.last - 1} of '{file}' "
                    "are not those that were written. Copy the part again, or build it again."
                )
    content = replace(manifests[0].content, shard=None)
    with locked(path):
        if (path / NAME).exists():
            return
        require_room(path, content.row_bytes * sum(manifest.rows for manifest in manifests))
        writer = RowWriter(path, content.columns, content.block_rows)
        try:
            _copy(writer, parts, manifests)
            complete(path, content, writer, writer.finish())
        finally:
            writer.close()


def _copy(writer: RowWriter, parts: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Appends the rows of all parts, in order of their keys where these are their numbers."""
    columns = {
        file: [
            open_column(part, file, *column, manifest.rows)
            for part, manifest in zip(parts, manifests, strict=True)
        ]
        for file, column in writer.columns.items()
    }
    keys = np.concatenate(columns[KEYS])
    order = np.argsort(keys, kind="stable")
    if not np.array_equal(keys[order], np.arange(len(keys))):
        order = np.arange(len(keys))
    firsts = np.cumsum([0, *(manifest.rows for manifest in manifests)])
    for first in range(writer.rows, len(order), writer.block_rows):
        rows = order[first : first + writer.block_rows]
        owner = np.searchsorted(firsts, rows, side="right") - 1
        block = {}
        for file, (shape, dtype) in writer.columns.items():
            block[file] = np.empty((len(rows), *shape), dtype)
            for number, values in enumerate(columns[file]):
                mine = owner == number
                block[file][mine] = values.take(rows[mine] - firsts[number], axis=0)
        writer.append(block)


def _parts(path: Path) -> list[Path]:
    found = {}
    for folder in sorted(path.iterdir()) if path.is_dir() else ():
        name = _PART.fullmatch(folder.name)
        if name:
            found[int(name[1]), int(name[2])] = folder
    if not found:
        raise FileNotFoundError(
            f"KnowledgeCache '{path}': there are no parts to merge. Write them with "
            "KnowledgeCache.build(..., shard=(i, n))."
        )
    counts = {n for _, n in found}
    missing = sorted({(i, n) for n in counts for i in range(n)} - set(found))
    unfinished = [folder.name for folder in found.values() if not (folder / NAME).is_file()]
    if len(counts) > 1 or missing or unfinished:
        raise CacheError(
            f"KnowledgeCache '{path}': all parts of one number must be there and finished. "
            f"Received: {[folder.name for folder in found.values()]}, of which unfinished: "
            f"{unfinished}; missing: {missing}"
        )
    return list(found.values())


def _require_alike(path: Path, parts: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    whole = replace(manifests[0].content, shard=None)
    for part, manifest in zip(parts, manifests, strict=True):
        other = replace(manifest.content, shard=None)
        if other != whole:
            raise CacheError(
                f"KnowledgeCache '{path}': the parts are not of the same: '{part.name}' has other "
                f"{whole.differences(other)} than '{parts[0].name}'. Build it again."
            )
    if (path / NAME).exists() and Manifest.read(path).content != whole:
        raise CacheError(
            f"KnowledgeCache '{path}': there is a cache already, of something else than the parts. "
            "Delete its files, or move the parts to a folder of their own."
        )


def _of_worker() -> tuple[int, int] | None:
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None:
        return None
    cluster = resolver.cluster_spec().as_dict()
    tasks = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, ())))]
    if len(tasks) < 2:
        return None
    return tasks.index((resolver.task_type, resolver.task_id)), len(tasks)
