"""Teachers that are not here, only what they said: read from a cache in place of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_kd.cache.schema import CacheError, StoredTeacher
from keras_kd.models.taps import Tap
from keras_kd.teachers.batch_knowledge import (
    describe_taps,
    find_tap,
    tap_key,
    teacher_fingerprint,
    teacher_name,
)
from keras_kd.teachers.fingerprint import Fingerprint
from keras_kd.teachers.teacher import Teacher


class RecordedTeacher(Teacher):
    """A teacher of a `KnowledgeCache`, without its model; made by `KnowledgeCache.teachers`.

    It goes where a `kd.Teacher` goes, and whoever has it trains on what `KnowledgeCache.join`
    gives.

    Args:
        stored: What the cache knows of it.
        source: The cache, for messages.
    """

    recorded = True

    def __init__(self, stored: StoredTeacher, source: str) -> None:
        self.model = None
        self.preprocessing = None
        self.outputs = "logits"
        self.name = stored.name
        self.classes = None if stored.classes is None else list(stored.classes)
        self.stored = stored
        self.source = source

    @property
    def parameters(self) -> int:
        """How many numbers its weights hold."""
        return self.stored.parameters

    @property
    def input_shapes(self) -> None:
        """Not known, nor needed: the inputs are those that the cache was built with."""
        return

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """The fingerprint of the teacher that spoke."""
        return Fingerprint.parse(self.stored.fingerprint)

    def watch(self, taps: Sequence[Tap]) -> "WatchedRecord":
        """The record, with the taps that are wanted of it.

        Raises:
            ValueError: When one was not stored.
        """
        return WatchedRecord(self, taps)


class WatchedRecord:
    """A recorded teacher with the taps that are wanted of it."""

    def __init__(self, teacher: RecordedTeacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        stored = {tap_key(tap.name, tap.serves): tap for tap in teacher.stored.taps}
        found = {tap: stored[_require(stored, tap, teacher.name)] for tap in taps}
        self.shapes = {tap: (None, *one.shape) for tap, one in found.items()}
        self.activations = {tap: one.activation for tap, one in found.items() if tap.logits}

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Refuses: there is no model to run."""
        raise ValueError(
            f"Teacher '{self.teacher.name}' is only on disk, in '{self.teacher.source}'. Train on "
            "cache.join(dataset), or pass the live teacher."
        )


def locate_teacher_outputs(
    teachers: Sequence[Teacher],
    taps: Sequence[Sequence[Tap]],
    teacher_outputs: Mapping[str, Any],
    inputs: Any,
) -> list[dict[Tap, tuple[str, str]]]:
    """Where a lesson holds what some teachers said.

    Args:
        teachers: The teachers, live or recorded.
        taps: The taps that are wanted of each.
        teacher_outputs: `Lesson.said`, or its specification.
        inputs: What the inputs are like: things with a shape, batch first, and a dtype.

    Returns:
        For each teacher, by tap, the two keys of `said`.

    Raises:
        CacheError: When one has changed since, or has not been asked at one of the taps.
    """
    entries = [_entry(teacher, teacher_outputs, inputs) for teacher in teachers]
    return [
        {tap: (entry, _require(teacher_outputs[entry], tap, teacher.name)) for tap in wanted}
        for entry, teacher, wanted in zip(entries, teachers, taps, strict=True)
    ]


def _entry(teacher: Teacher, teacher_outputs: Mapping[str, Any], inputs: Any) -> str:
    own = teacher.fingerprint(inputs)
    for key in sorted(teacher_outputs):
        if teacher_fingerprint(key) == str(own):
            return key
    names = {teacher_name(key): key for key in teacher_outputs}
    if teacher.name not in names:
        raise CacheError(
            f"KnowledgeCache: the data set has the knowledge of {sorted(names)} and none of "
            f"teacher '{teacher.name}'. Pass cache.teachers of the cache that was joined, or build "
            "one with this teacher."
        )
    theirs = Fingerprint.parse(teacher_fingerprint(names[teacher.name]))
    raise CacheError(
        f"KnowledgeCache: teacher '{teacher.name}' is not the one that the cache was built with: "
        f"its {' and '.join(own.differences(theirs))} changed. Build the cache again, or pass "
        "cache.teachers to train on what was stored."
    )


def _require(stored: Mapping[str, Any], tap: Tap, name: str) -> str:
    key = find_tap(stored, tap)
    if key is None:
        raise CacheError(
            f"KnowledgeCache: of teacher '{name}' it holds {describe_taps(list(stored))}, and not "
            f"{'the logits of ' if tap.logits else ''}{tap}. Build it with `taps` that have it."
        )
    return key
