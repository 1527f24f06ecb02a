"""Noise on teacher outputs: a regularizer, and many teachers for the cost of one."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.models.tap_names import tap_names
from keras_kd.training.hyperparameters import Hyperparameter
from keras_kd.training.replica_seeds import ReplicaSeeds

KINDS = ("multiplicative", "additive")


@keras.saving.register_keras_serializable(package="keras_kd")
class LogitNoise(keras.layers.Layer):
    """Gaussian noise on the teacher's logits, drawn anew in each training step.

    With z the logits of a sample and ξ ~ N(0, stddev²):

        multiplicative: z' = (1 + ξ) · z, one ξ per sample
        additive:       z' = z + ξ, one ξ per logit

    Multiplicative noise changes the teacher's confidence and keeps the order of the classes
    (reversed if ξ < −1).

    Each sample is perturbed with the given probability, independently for each step, teacher and
    replica. The weights of the teachers are computed before the noise. `evaluate` runs no teacher
    and has no noise. Checkpoints contain the generator's state, so a resumed run draws the same
    noise as an uninterrupted one.

    Args:
        stddev: Standard deviation of ξ, a hyperparameter: relative to the logit if multiplicative,
            in logits if additive.
        probability: Probability that a sample is perturbed, a hyperparameter. Defaults to 1.
        kind: `"multiplicative"` or `"additive"`. Defaults to `"multiplicative"`.
        taps: Names of hidden taps of the teacher to perturb as well. Defaults to none.
        seed: Random seed. Defaults to `None`, taken from `keras.utils.set_random_seed`.

    Raises:
        ValueError: If `stddev` is negative, `probability` is not in [0, 1] or `kind` is unknown.

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
        self.taps = tap_names(taps, "taps", "LogitNoise", required=True)
        self.seed = seed
        self.seeds = ReplicaSeeds(seed)
        # Keras saves a generator's state only if it is a variable of the layer.
        self.seed_state = self.seeds.state
        self.built = True

    def call(self, values: Any, replica: Any = 0) -> Any:
        """Return the perturbed outputs of one teacher, in the same shape and dtype.

        Args:
            values: Logits (batch, ..., classes), or the values of a hidden tap (batch, ...).
            replica: Index of the replica under `tf.distribute`. Defaults to 0.
        """
        self.seeds.replica = replica
        shape = ops.shape(values)
        # float32 also for half precision, which would lose the tails of the distribution.
        per_sample = (shape[0], *[1] * (len(shape) - 1))
        noise_shape = per_sample if self.kind == "multiplicative" else shape
        noise = keras.random.normal(noise_shape, dtype="float32", seed=self.seeds)
        draws = keras.random.uniform(per_sample, dtype="float32", seed=self.seeds)
        perturbed = ops.cast(draws < ops.cast(self.probability, "float32"), "float32")
        noise = noise * perturbed * ops.cast(self.stddev, "float32")
        noise = ops.cast(noise, values.dtype)
        return values * (1 + noise) if self.kind == "multiplicative" else values + noise

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "stddev": float(self.stddev),
            "probability": float(self.probability),
            "kind": self.kind,
            "taps": list(self.taps),
            "seed": self.seed,
            "name": self.name,
        }
