"""Shards of a cache from several machines, and their merge."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_kd.cache.builder import write_manifest
from keras_kd.cache.manifest import MANIFEST, Manifest
from keras_kd.cache.reader import check_blocks
from keras_kd.cache.schema import KEYS, CacheSchema
from keras_kd.cache.writer import RowWriter, check_disk_space, lock_folder, open_column
from keras_kd.teachers.knowledge import CacheError
from keras_kd.training import backend

_SHARD = re.compile(r"part-(\d+)-of-(\d+)")


def shard_folder(path: Path, i: int, n: int) -> Path:
    """Return the folder of a shard."""
    return path / f"part-{i:05}-of-{n:05}"


def resolve_shard(shard: Sequence[int] | None) -> tuple[int, int] | None:
    """Return the checked shard of this machine; by default that of a multi-worker strategy.

    Raises:
        ValueError: If it is not (i, n) with i from 0 to n - 1.
    """
    if shard is None:
        return backend.worker_shard()
    i, n = (int(number) for number in shard)
    if not 0 <= i < n:
        raise ValueError(
            "KnowledgeCache.build: `shard` must be (i, n) with i from 0 to n - 1. "
            f"Received: shard={tuple(shard)}"
        )
    return (i, n)


def merge_shards(path: Path) -> None:
    """Write one cache from the shards in a folder; see `KnowledgeCache.merge`."""
    shards = _list_shards(path)
    manifests = [Manifest.read(shard) for shard in shards]
    schema = _common_schema(path, shards, manifests)
    for shard, manifest in zip(shards, manifests, strict=True):
        check_blocks(shard, manifest)
    with lock_folder(path):
        if (path / MANIFEST).exists():
            return
        check_disk_space(path, schema.row_bytes * sum(manifest.rows for manifest in manifests))
        writer = RowWriter(path, schema.columns, schema.block_rows)
        try:
            _copy_rows(writer, shards, manifests)
            write_manifest(path, schema, writer, writer.finish())
        finally:
            writer.close()


def _copy_rows(writer: RowWriter, shards: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Append the rows of all shards, in the order of their keys if these are indices."""
    columns = {
        file: [
            open_column(shard, file, *column, manifest.rows)
            for shard, manifest in zip(shards, manifests, strict=True)
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
                own = owner == number
                block[file][own] = values.take(rows[own] - firsts[number], axis=0)
        writer.append(block)


def _list_shards(path: Path) -> list[Path]:
    found = {}
    for folder in sorted(path.iterdir()) if path.is_dir() else ():
        name = _SHARD.fullmatch(folder.name)
        if name:
            found[int(name[1]), int(name[2])] = folder
    if not found:
        raise FileNotFoundError(
            f"KnowledgeCache '{path}': there are no shards to merge. Write them with "
            "KnowledgeCache.build(..., shard=(i, n))."
        )
    counts = {n for _, n in found}
    missing = sorted({(i, n) for n in counts for i in range(n)} - set(found))
    unfinished = [folder.name for folder in found.values() if not (folder / MANIFEST).is_file()]
    if len(counts) > 1 or missing or unfinished:
        raise CacheError(
            f"KnowledgeCache '{path}': all n shards (i, n) of one n must be there and finished. "
            f"Received: {[folder.name for folder in found.values()]}; unfinished: {unfinished}; "
            f"missing: {missing}"
        )
    return list(found.values())


def _common_schema(
    path: Path, shards: Sequence[Path], manifests: Sequence[Manifest]
) -> CacheSchema:
    """Return the schema of the merged cache; reject shards with different ones."""
    schema = replace(manifests[0].schema, shard=None)
    for shard, manifest in zip(shards, manifests, strict=True):
        other = replace(manifest.schema, shard=None)
        if other != schema or other.columns != schema.columns:
            raise CacheError(
                f"KnowledgeCache '{path}': the shards do not match: '{shard.name}' has other "
                f"{schema.differences(other)} than '{shards[0].name}'. Build it again."
            )
    if (path / MANIFEST).exists() and Manifest.read(path).schema != schema:
        raise CacheError(
            f"KnowledgeCache '{path}': the path has a cache that does not match the shards. Delete "
            "its files, or move the shards to another folder."
        )
    return schema
