"""A finished cache, read: rows by key, each input held against the one that was taught."""

from pathlib import Path

import numpy as np

from keras_kd.cache.manifest import Manifest
from keras_kd.cache.schema import INPUTS, KEYS
from keras_kd.cache.writer import damaged_file, open_column
from keras_kd.teachers.knowledge import CacheError


class Reader:
    """The rows of a cache, on disk.

    Args:
        folder: The cache's folder.
        manifest: Its manifest.

    Raises:
        CacheError: When a file is missing, cut short, or not what the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        opened = {
            file: open_column(folder, file, shape, dtype, manifest.rows)
            for file, (shape, dtype) in manifest.columns.items()
        }
        self._order = self._sorted = None
        if not manifest.indexed:
            keys = np.asarray(opened.pop(KEYS))
            self._order = np.argsort(keys, kind="stable")
            self._sorted = keys[self._order]
        views = manifest.content.views
        #: By file, the values with the views of all samples one after the other.
        self.values = {
            file: column if views == 1 else column.reshape(-1, *column.shape[2:])
            for file, column in opened.items()
        }
        self.inputs = self.values.pop(INPUTS)

    def verify(self) -> None:
        """Reads every block and holds it against its checksum.

        Raises:
            CacheError: When one differs; the message names file and rows.
        """
        for block in self.manifest.blocks:
            file = damaged_file(self.folder, self.manifest.columns, block)
            if file is not None:
                raise CacheError(
                    f"KnowledgeCache '{self.folder}': rows {block.first} to {block.last - 1} of "
                    f"'{file}' are not those that were written. The file was damaged: build the "
                    "cache again, or copy it again."
                )

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """The rows of some keys.

        Raises:
            CacheError: When there is none for one of them.
        """
        if self._sorted is None:
            unknown = (keys < 0) | (keys >= self.manifest.rows)
            places = keys
        else:
            at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
            unknown = self._sorted[at] != keys
            places = self._order[at]
        if unknown.any():
            raise CacheError(self._unknown(int(keys[unknown][0])))
        return places

    def places(self, keys: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Where the columns of `values` hold a view of each sample.

        Raises:
            CacheError: When there is none for one of the keys.
        """
        count = self.manifest.content.views
        return self.rows(keys) if count == 1 else self.rows(keys) * count + views

    def require_inputs(self, keys: np.ndarray, views: np.ndarray, digests: np.ndarray) -> None:
        """Refuses inputs that are not those that the teachers saw.

        Args:
            keys: (batch,), the samples' keys.
            views: (batch,), which view of each.
            digests: (batch,), digests of the inputs that the student is to see.

        Raises:
            CacheError: When one differs, or a key is unknown.
        """
        differ = self.inputs.take(self.places(keys, views)) != digests
        if differ.any():
            raise CacheError(self._changed(int(keys[differ][0])))

    def _unknown(self, key: int) -> str:
        shard = self.manifest.content.shard
        if shard is not None:
            which = f"It is part {shard[0]} of {shard[1]}: join what KnowledgeCache.merge makes."
        else:
            which = "This is another data set, or has other keys, than the cache was built with."
        return (
            f"KnowledgeCache '{self.folder}': of the sample with the key {key} it holds nothing "
            f"among its {self.manifest.rows:,} samples. {which}"
        )

    def _changed(self, key: int) -> str:
        views = self.manifest.content.views
        if views > 1:
            cure = "`augment` must be the function that the cache was built with."
        else:
            cure = (
                "Join the samples before anything random is done to them, in the order in which "
                "they were taught, or give them keys before `shuffle` with kd.keyed. Knowledge of "
                "augmented samples is built with `views` and `augment`."
            )
        return (
            f"KnowledgeCache '{self.folder}': the input of the sample with the key {key} is not "
            f"the one that the teachers saw: it was shuffled, augmented, or is of another data "
            f"set. {cure}"
        )
