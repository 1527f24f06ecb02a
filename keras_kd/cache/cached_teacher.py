"""A teacher whose outputs are read from a cache, without its model."""

from collections.abc import Sequence
from typing import Any

from keras_kd.cache.schema import StoredTeacher
from keras_kd.models.taps import Tap
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import Fingerprint
from keras_kd.teachers.knowledge import require_tap, tap_key
from keras_kd.teachers.teacher import Teacher


@Teacher.register
class CachedTeacher(BaseTeacher):
    """A teacher in a `KnowledgeCache`, without its model; made by `KnowledgeCache.teachers`.

    It can be passed wherever a `kd.Teacher` can, for training on the data set that
    `KnowledgeCache.join` returns.

    Args:
        stored: The cache's description of the teacher.
        source: The cache's path, for messages.
    """

    is_cached = True

    def __init__(self, stored: StoredTeacher, source: str) -> None:
        super().__init__(stored.name, stored.classes, "logits", None)
        self.stored = stored
        self.source = source

    @property
    def parameters(self) -> int:
        """Number of its weights, counted as scalars."""
        return self.stored.parameters

    @property
    def output_names(self) -> list[str]:
        """Names of the stored outputs; those of an only output have none."""
        return [tap.name for tap in self.stored.taps if tap.name and tap.serves != "values"]

    @property
    def inputs(self) -> None:
        """`None`: the inputs are those that the cache was built with."""
        return

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Return the fingerprint of the teacher that the cache was built with."""
        return Fingerprint.parse(self.stored.fingerprint)

    def watch(self, taps: Sequence[Tap]) -> "WatchedCachedTeacher":
        """Return the shapes and activations of some taps.

        Raises:
            CacheError: If a tap is not stored.
        """
        return WatchedCachedTeacher(self, taps)


class WatchedCachedTeacher:
    """A cached teacher and some of its taps; made by `CachedTeacher.watch`."""

    def __init__(self, teacher: CachedTeacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        stored = {tap_key(tap.name, tap.serves): tap for tap in teacher.stored.taps}
        found = {tap: stored[require_tap(stored, tap, teacher.name)] for tap in taps}
        self.shapes = {tap: (None, *one.shape) for tap, one in found.items()}
        #: As for `TappedModel`.
        self.kinds = {tap: one.activation or "logits" for tap, one in found.items() if tap.logits}
        self.activations = {
            tap: kind if kind in ("softmax", "sigmoid") else None
            for tap, kind in self.kinds.items()
        }

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Raise an error: there is no model to run."""
        raise ValueError(
            f"Teacher '{self.teacher.name}' has no model; its outputs are stored in "
            f"'{self.teacher.source}'. Train on cache.join(dataset), or pass the live teacher."
        )
