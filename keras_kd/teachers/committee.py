"""All the teachers at work on one batch: asked once, weighed, perturbed, perhaps blended."""

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Uniform, Weighting

#: How several teachers become one lesson.
COMBINE = ("losses", "probabilities", "logits")


class Committee:
    """Several teachers that are asked together.

    Args:
        teachers: The teachers.
        taps: The places that each of them is asked about.
        weighting: How much each counts for each sample. Defaults to `Uniform()`.
        noise: What perturbs their words, or `None`.
        combine: `"losses"` leaves them apart; `"probabilities"` and `"logits"` blend what they say
            at the taps of logits. Defaults to `"losses"`.

    Raises:
        ValueError: When a teacher does not have one of the taps, the weighting does not fit, or
            `combine` is unknown.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        taps: Sequence[Tap],
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
    ) -> None:
        if combine not in COMBINE:
            raise ValueError(f"`combine` must be one of {COMBINE}. Received: combine={combine!r}")
        self.teachers = tuple(teachers)
        self.weighting = weighting or Uniform()
        self.noise = noise
        self.combine = combine
        #: Where the weights are computed: at the first tap of logits, else at the outputs.
        self.weighed_at = next((tap for tap in taps if tap.logits), Tap(None, logits=True))
        self._weighs = len(self.teachers) > 1 and not isinstance(self.weighting, Uniform)
        asked = [*taps, self.weighed_at] if self._weighs else list(taps)
        self.members = tuple(teacher.watch(asked) for teacher in teachers) if asked else ()
        self._check()

    def __call__(self, x: Any, labels: Any = None, replica: Any = 0) -> Knowledge:
        """Runs each teacher once.

        Args:
            x: A batch, as the student gets it.
            labels: The labels of the output that the teachers are weighed at, or `None`.
            replica: Number of the replica, for the noise. Defaults to 0.

        Returns:
            The `Knowledge` of this batch.
        """
        said = [member(x) for member in self.members]
        weights = self._weights(said, labels)
        if self.noise is not None:
            said = [self._perturbed(outputs, replica) for outputs in said]
        return Knowledge(tuple(said), weights, self._blended(said, weights))

    def _weights(self, said: Sequence[dict[Tap, Any]], labels: Any) -> Any:
        if len(said) < 2:
            return None
        if not self._weighs:
            first = next(iter(said[0].values()))
            return ops.full((len(said), ops.shape(first)[0]), 1 / len(said), dtype="float32")
        return self.weighting(ops.stack([outputs[self.weighed_at] for outputs in said]), labels)

    def _perturbed(self, outputs: dict[Tap, Any], replica: Any) -> dict[Tap, Any]:
        return {
            tap: self.noise(value, replica=replica)
            if tap.logits or tap.name in self.noise.taps
            else value
            for tap, value in outputs.items()
        }

    def _blended(self, said: Sequence[dict[Tap, Any]], weights: Any) -> dict[Tap, Any]:
        if self.combine == "losses" or weights is None:
            return {}
        return {
            tap: _blend(ops.stack([outputs[tap] for outputs in said]), weights, self.combine)
            for tap in said[0]
            if tap.logits
        }

    def _check(self) -> None:
        self.weighting.check(len(self.teachers))
        shapes = (
            {member.shapes[tap] for member in self.members for tap in [self.weighed_at]}
            if self._weighs
            else set()
        )
        if len(shapes) > 1:
            raise ValueError(
                f"{type(self.weighting).__name__} weighs teachers by what they say of the same "
                f"classes. Received: outputs of the shapes {sorted(map(str, shapes))}"
            )


def _blend(logits: Any, weights: Any, combine: str) -> Any:
    """The weighted mean of the teachers' logits, or the logarithm of that of their softmax."""
    logits = ops.cast(logits, weights.dtype)
    extra = len(logits.shape) - len(weights.shape)
    weights = ops.reshape(weights, (*ops.shape(weights), *[1] * extra))
    if combine == "logits":
        return ops.sum(weights * logits, axis=0)
    # log Σ w·p without leaving log space; a teacher that was screened out has log w = -inf.
    log_weights = ops.where(weights > 0, ops.log(ops.where(weights > 0, weights, 1)), -math.inf)
    return ops.logsumexp(log_weights + ops.log_softmax(logits, axis=-1), axis=0)
