"""Noise on what a teacher says: a regulariser, and many teachers for the price of one."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.training.hyperparameters import Hyperparameter

KINDS = ("multiplicative", "additive")


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitNoise(keras.layers.Layer):
    """Gaussian noise on the teacher's logits, for some of the samples, new in each step.

    With z the logits of a sample and ξ ~ N(0, stddev²):

        multiplicative: z' = (1 + ξ) · z, one ξ for each sample
        additive:       z' = z + ξ, one ξ for each logit

    The multiplicative noise leaves the order of the classes (reversed where ξ < −1) and makes the
    teacher surer or less sure; the same number added to all logits of a sample would do nothing.

    A sample is perturbed with the given probability; each step, each teacher and each replica draws
    anew. Weights of the teachers are computed before the noise. There is none in `evaluate`, for no
    teacher runs there. The state of the generator is part of a checkpoint, so a resumed run draws
    what the run would have drawn.

    Args:
        stddev: Standard deviation of ξ, a hyperparameter: relative to the logit if multiplicative,
            in logits if additive.
        probability: Probability that a sample is perturbed, a hyperparameter. Defaults to 1.
        kind: `"multiplicative"` or `"additive"`. Defaults to `"multiplicative"`.
        taps: Hidden taps of the teacher whose values are perturbed too, by name. Defaults to none.
        seed: Seed of the draws. Defaults to `None`: taken from `keras.utils.set_random_seed`.

    Raises:
        ValueError: When `stddev` is negative, `probability` is not in [0, 1] or `kind` is unknown.

    Example:
        >>> kd.Distiller(student, teacher, noise=kd.noise.LogitNoise(1.0, probability=0.5))

    Reference:
        Sau and Balasubramanian 2016, arXiv:1610.09650, section 3.
    """

    stddev = Hyperparameter()
    probability = Hyperparameter(maximum=1.0)

    def __init__(
        self,
        stddev: float,
        probability: float = 1.0,
        kind: str = "multiplicative",
        taps: Sequence[str] = (),
        seed: int | None = None,
        name: str = "logit_noise",
    ) -> None:
        super().__init__(name=name, autocast=False)
        if kind not in KINDS:
            raise ValueError(f"LogitNoise: `kind` must be one of {KINDS}. Received: kind={kind!r}")
        self.stddev = stddev
        self.probability = probability
        self.kind = kind
        self.taps = list(taps)
        self.seed = seed
        self.seeds = _ReplicaSeeds(seed)
        # Keras saves no generator's state of its own accord; as a variable of the layer it is kept.
        self.seed_state = self.seeds.state
        self.built = True

    def call(self, values: Any, replica: Any = 0) -> Any:
        """Perturbs what one teacher says.

        Args:
            values: Logits (batch, ..., classes), or a hidden tap (batch, ...).
            replica: Number of the replica under `tf.distribute`. Defaults to 0.

        Returns:
            A tensor of the same shape and dtype.
        """
        self.seeds.replica = replica
        shape = ops.shape(values)
        # In float32 also for half precision: the tails of the draw would be lost.
        drawn = (shape[0], *[1] * (len(shape) - 1))
        each = drawn if self.kind == "multiplicative" else shape
        noise = keras.random.normal(each, dtype="float32", seed=self.seeds)
        chosen = keras.random.uniform(drawn, dtype="float32", seed=self.seeds)
        chosen = ops.cast(chosen < ops.cast(self.probability, "float32"), "float32")
        noise = noise * chosen * ops.cast(self.stddev, "float32")
        noise = ops.cast(noise, values.dtype)
        return values * (1 + noise) if self.kind == "multiplicative" else values + noise

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "stddev": float(self.stddev),
            "probability": float(self.probability),
            "kind": self.kind,
            "taps": list(self.taps),
            "seed": self.seed,
            "name": self.name,
        }


class _ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds that differ from replica to replica; its own generator gives all of them the same."""

    replica: Any = 0

    def next(self, ordered: bool = True) -> Any:
        seed = super().next(ordered)
        # A large odd number keeps the replicas' seeds away from those that users choose.
        return seed + ops.stack(
            [ops.cast(self.replica, seed.dtype) * 2654435761, ops.cast(0, seed.dtype)]
        )
