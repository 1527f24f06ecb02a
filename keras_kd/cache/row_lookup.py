"""The rows of a cache for the batches of one joined data set."""

import numpy as np

from keras_kd.cache.reader import Reader

#: After all samples were checked once, one batch in this many is checked again.
_CHECK_INTERVAL = 16


class RowLookup:
    """Looks up the rows of one joined data set, batch by batch.

    The digest of an input is compared when its sample first comes and in one batch of sixteen
    later, because it takes as long as the rest of the lookup. Batches come from several threads,
    which may at worst compare a digest once more.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._checked = np.zeros(len(reader.digests), bool)
        self._batches = 0

    def take(self, keys: np.ndarray, views: np.ndarray) -> list[np.ndarray]:
        """Return a batch's rows in the order of `Reader.values`, and whether to check its inputs.

        Args:
            keys: (batch,), the samples' keys.
            views: (batch,), the index of each sample's view.
        """
        rows = self._reader.locate(keys, views)
        self._batches += 1
        check = self._batches % _CHECK_INTERVAL == 0 or not self._checked[rows].all()
        return [*(values.take(rows, axis=0) for values in self._reader.values.values()), check]

    def check(self, keys: np.ndarray, views: np.ndarray, digests: np.ndarray) -> bool:
        """Raise a `CacheError` if the inputs of a batch are not those of the build."""
        self._reader.check_inputs(keys, views, digests)
        self._checked[self._reader.locate(keys, views)] = True
        return True
