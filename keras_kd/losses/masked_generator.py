"""The trained part of masked generative distillation."""

from typing import Any

import keras
from keras import ops

from keras_kd.training import backend
from keras_kd.training.replica_seeds import ReplicaSeeds

#: What is set to zero: all channels of a position, or all positions of a channel.
MASKS = ("positions", "channels")
# An evaluation draws the same mask for every batch and leaves the state of the generator.
_EVALUATION_SEED = 0


class MaskedGenerator(keras.layers.Layer):
    """Mask the student's map and generate the teacher's from it with two 3×3 convolutions.

    Args:
        align: A layer that maps the student's map to the teacher's shape, or `None`.
        channels: Number of the teacher's channels.
        ratio: Share of the map that is set to zero.
        mask: One of `MASKS`.
        seed: Random seed, or `None`.
        name: Name of the layer.
    """

    def __init__(
        self,
        align: keras.layers.Layer | None,
        channels: int,
        ratio: float,
        mask: str,
        seed: int | None,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.align = align
        self.channels = channels
        self.ratio = ratio
        self.mask = mask
        convolution = {"padding": "same", "data_format": "channels_last"}
        self.inner = keras.layers.Conv2D(
            channels, 3, activation="relu", name="inner", **convolution
        )
        self.outer = keras.layers.Conv2D(channels, 3, name="outer", **convolution)
        self.seeds = ReplicaSeeds(seed)
        # Keras saves a generator's state only if it is a variable of the layer.
        self.seed_state = self.seeds.state

    def build(self, student_shape: tuple[int | None, ...]) -> None:
        """Build the convolutions."""
        if self.align is not None and not self.align.built:
            self.align.build(student_shape)
        shape = (*student_shape[:-1], self.channels)
        self.inner.build(shape)
        self.outer.build(shape)
        self.built = True

    def call(self, student: Any, training: bool = False) -> Any:
        """Align, mask and generate, (batch, height, width, channels)."""
        x = student if self.align is None else self.align(student)
        return self.generate(x, self.draw(x, training))

    def draw(self, x: Any, training: bool) -> Any:
        """Draw a mask that broadcasts to `x`: 1 where it is kept; anew for each training step."""
        batch, height, width, channels = ops.shape(x)
        by_position = self.mask == "positions"
        shape = (batch, height, width, 1) if by_position else (batch, 1, 1, channels)
        self.seeds.replica = backend.replica_id()
        seed = self.seeds if training else _EVALUATION_SEED
        # float32 also for half precision, which would change the ratio.
        drawn = keras.random.uniform(shape, dtype="float32", seed=seed)
        return ops.cast(drawn >= self.ratio, x.dtype)

    def generate(self, x: Any, kept: Any) -> Any:
        """Generate from the kept part of a map."""
        return self.outer(self.inner(x * kept))
