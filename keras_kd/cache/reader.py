"""Reading of a complete cache: rows by key, and checks of the inputs."""

from pathlib import Path

import numpy as np

from keras_kd.cache.manifest import Manifest
from keras_kd.cache.schema import DIGESTS, KEYS
from keras_kd.cache.writer import find_damaged_file, open_column
from keras_kd.teachers.knowledge import CacheError


class Reader:
    """The rows of a cache, memory-mapped.

    Args:
        folder: The cache's folder.
        manifest: Its manifest.

    Raises:
        CacheError: If a file is missing, truncated, or does not match the manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        columns = {
            file: open_column(folder, file, shape, dtype, manifest.rows)
            for file, (shape, dtype) in manifest.columns.items()
        }
        self._order = self._sorted_keys = None
        if not manifest.indexed:
            keys = np.asarray(columns.pop(KEYS))
            self._order = np.argsort(keys, kind="stable")
            self._sorted_keys = keys[self._order]
        views = manifest.schema.views
        #: By file, one row per view: the views of a sample are consecutive.
        self.values = {
            file: column if views == 1 else column.reshape(-1, *column.shape[2:])
            for file, column in columns.items()
        }
        self.digests = self.values.pop(DIGESTS)

    def locate(self, keys: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return the rows of `values` of one view per sample.

        Args:
            keys: (batch,), the samples' keys.
            views: (batch,), the index of each sample's view.

        Raises:
            CacheError: If a key is not in the cache.
        """
        if self._sorted_keys is None:
            unknown = (keys < 0) | (keys >= self.manifest.rows)
            rows = keys
        else:
            at = np.searchsorted(self._sorted_keys, keys)
            at = np.minimum(at, len(self._sorted_keys) - 1)
            unknown = self._sorted_keys[at] != keys
            rows = self._order[at]
        if unknown.any():
            raise CacheError(self._unknown_key_message(int(keys[unknown][0])))
        count = self.manifest.schema.views
        return rows if count == 1 else rows * count + views

    def check_inputs(self, keys: np.ndarray, views: np.ndarray, digests: np.ndarray) -> None:
        """Check that the inputs are those of the build.

        Args:
            keys: (batch,), the samples' keys.
            views: (batch,), the index of each sample's view.
            digests: (batch,), the digests of the inputs.

        Raises:
            CacheError: If a digest differs, or a key is not in the cache.
        """
        differs = self.digests.take(self.locate(keys, views)) != digests
        if differs.any():
            raise CacheError(self._changed_input_message(int(keys[differs][0])))

    def _unknown_key_message(self, key: int) -> str:
        shard = self.manifest.schema.shard
        if shard is not None:
            hint = f"It is shard {shard[0]} of {shard[1]}: join the result of KnowledgeCache.merge."
        else:
            hint = "The cache was built with another data set or other keys."
        return (
            f"KnowledgeCache '{self.folder}': the key {key} is not among its "
            f"{self.manifest.rows:,} samples. {hint}"
        )

    def _changed_input_message(self, key: int) -> str:
        if self.manifest.schema.views > 1:
            hint = "`augment` must be the function that the cache was built with."
        else:
            hint = (
                "Join the samples before any random operation and in the order of the build, or "
                "give them keys before `shuffle` with kd.keyed. For augmented samples, build the "
                "cache with `views` and `augment`."
            )
        return (
            f"KnowledgeCache '{self.folder}': the input of the sample with key {key} differs from "
            f"the one that the teachers received: it was shuffled, augmented, or comes from "
            f"another data set. {hint}"
        )


def check_blocks(folder: Path, manifest: Manifest) -> None:
    """Compare every block on disk with its checksum.

    Raises:
        CacheError: If one does not match; the message names the file and the rows.
    """
    for block in manifest.blocks:
        file = find_damaged_file(folder, manifest.columns, block)
        if file is not None:
            raise CacheError(
                f"KnowledgeCache '{folder}': rows {block.first} to {block.last - 1} of '{file}' do "
                "not match their checksum. The file is damaged: build the cache again, or copy it "
                "again."
            )
