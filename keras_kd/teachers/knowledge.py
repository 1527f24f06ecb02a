"""Teacher outputs for one batch, and batches that carry them in place of x.

`Keyed` and `JoinedInputs` are named tuples, so `tf.data`, `tf.distribute` and Keras flatten and
rebuild them like any other structure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from keras_kd.models.taps import Tap
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import Fingerprint

#: What a stored value can be used as: logits, the value of the tap itself, or both.
SERVES = ("logits", "values", "either")
#: The key of what `cache.prepared` stores of a preprocessing, among the outputs of one teacher.
PREPARED = "prepared:"


class CacheError(ValueError):
    """A cache is damaged or unfinished, or does not match the data or the teachers."""


@dataclass(frozen=True)
class Knowledge:
    """The outputs of every teacher at every tap, and the weights of the teachers.

    Attributes:
        outputs: For each teacher a dict from tap to tensor (batch, ...).
        weights: (teachers, batch), summing to 1 over the teachers; `None` for a single teacher.
        combined: By tap, the combined logits (batch, ..., classes) of all teachers. A loss at such
            a tap is computed once instead of once per teacher.
        unmasked: Names of the teachers whose outputs determine the weights and have no Keras mask.
    """

    outputs: tuple[dict[Tap, Any], ...] = ()
    weights: Any = None
    combined: dict[Tap, Any] = field(default_factory=dict)
    unmasked: tuple[str, ...] = ()


class Keyed(NamedTuple):
    """An input and the key of its sample, which stays with it through shuffle, map and batch.

    Attributes:
        x: The input, or a batch of inputs.
        key: A number or string that is unique to the sample, or a batch of them.
    """

    x: Any
    key: Any


class JoinedInputs(NamedTuple):
    """An input and the teacher outputs for it, which `KnowledgeCache.join` returns in place of x.

    Attributes:
        x: The input, or a batch of inputs.
        teacher_outputs: By teacher (`teacher_key`) a dict from tap (`tap_key`) to its value.
    """

    x: Any
    teacher_outputs: dict[str, dict[str, Any]]


def unpack_batch(x: Any) -> tuple[Any, dict[str, dict[str, Any]] | None]:
    """Return the student's inputs, and the joined teacher outputs or `None`."""
    return (x.x, x.teacher_outputs) if isinstance(x, JoinedInputs) else (x, None)


def joined_spec(dataset: Any) -> JoinedInputs | None:
    """Return the `JoinedInputs` of a data set's element specification, or `None`.

    Arrays with teacher outputs stand for their own specification.
    """
    if isinstance(dataset, JoinedInputs):
        return dataset
    spec = getattr(dataset, "element_spec", None)
    first = spec[0] if type(spec) is tuple and spec else spec
    return first if isinstance(first, JoinedInputs) else None


def teacher_key(number: int, name: str, fingerprint: str) -> str:
    """Return the key of a teacher in `JoinedInputs.teacher_outputs`."""
    return f"{number:03}:{name}:{fingerprint}"


def tap_key(name: str | None, serves: str) -> str:
    """Return the key of a tap among the outputs of one teacher."""
    return f"{serves}:{name or ''}"


def require_tap(stored: Mapping[str, Any], tap: Tap, teacher_name: str) -> str:
    """Return the key of a tap's value among the stored outputs of one teacher.

    Raises:
        CacheError: If the tap is not stored.
    """
    wanted = "logits" if tap.logits else "values"
    for key in (tap_key(tap.name, serves) for serves in (wanted, "either")):
        if key in stored:
            return key
    names = sorted(key.split(":", 1)[1] for key in stored if key != PREPARED)
    held = ", ".join(f"'{name}'" if name else "the output" for name in names)
    raise CacheError(
        f"KnowledgeCache: of teacher '{teacher_name}' it holds {held}, and not "
        f"{'the logits of ' if tap.logits else ''}{tap}. Build it with `taps` that include it."
    )


def locate_teacher_outputs(
    teachers: Sequence[BaseTeacher],
    taps: Sequence[Sequence[Tap]],
    teacher_outputs: Mapping[str, Any],
    inputs: Any,
) -> list[dict[Tap, tuple[str, str]]]:
    """Return the keys under which joined data holds the outputs of some teachers.

    Returns:
        For each teacher a dict from tap to the two keys in `teacher_outputs`.

    Raises:
        CacheError: If a teacher has changed since the cache was built, or a tap is not stored.
    """
    keys = [locate_teacher(teacher, teacher_outputs, inputs) for teacher in teachers]
    return [
        {tap: (key, require_tap(teacher_outputs[key], tap, teacher.name)) for tap in wanted}
        for key, teacher, wanted in zip(keys, teachers, taps, strict=True)
    ]


def locate_teacher(teacher: BaseTeacher, teacher_outputs: Mapping[str, Any], inputs: Any) -> str:
    """Return the key of a teacher in joined data; see `locate_teacher_outputs`."""
    own = teacher.fingerprint(inputs)
    names = {}
    for key in sorted(teacher_outputs):
        name, fingerprint = key.split(":", 1)[1].rsplit(":", 1)
        if fingerprint == str(own):
            return key
        names[name] = Fingerprint.parse(fingerprint)
    if teacher.name not in names:
        raise CacheError(
            f"KnowledgeCache: the data set has the outputs of {sorted(names)}, but not of teacher "
            f"'{teacher.name}'. Pass `cache.teachers` of the joined cache, or build one with this "
            "teacher."
        )
    raise CacheError(
        f"KnowledgeCache: teacher '{teacher.name}' is not the one that the cache was built with: "
        f"its {' and '.join(own.differences(names[teacher.name]))} changed. Build the cache again, "
        "or pass `cache.teachers` to train on the stored outputs."
    )
