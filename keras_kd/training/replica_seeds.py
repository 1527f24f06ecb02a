"""Seeds of random draws under `tf.distribute`."""

from typing import Any

import keras
from keras import ops


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds that differ between replicas, which share the state of the generator.

    Set `replica` to the index of the replica before each draw.
    """

    replica: Any = 0

    def next(self, ordered: bool = True) -> Any:
        """Return the next seed of this replica."""
        seed = super().next(ordered)
        if isinstance(self.replica, int) and self.replica == 0:
            return seed
        # A large odd factor keeps the replicas' seeds apart from seeds that users choose.
        return seed + ops.stack(
            [ops.cast(self.replica, seed.dtype) * 2654435761, ops.cast(0, seed.dtype)]
        )
