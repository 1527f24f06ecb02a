"""How a batch carries what the teachers said of it: `Keyed` inputs, and a `Lesson` in place of x.

Both are tuples with names, so `tf.data`, `tf.distribute` and Keras take them apart and put them
together as any other structure. `opened` is the one place where a step unwraps a lesson.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras_kd.models.taps import Tap

#: What a stored value can be asked for as: logits, the values of the tap as it stands, or both.
SERVES = ("logits", "values", "either")


class Keyed(NamedTuple):
    """An input and the key of its sample, which travels with it through shuffle, map and batch.

    Attributes:
        x: The input, or a batch of inputs.
        key: Its sample's number or string, different for each sample, or a batch of them.
    """

    x: Any
    key: Any


class JoinedInputs(NamedTuple):
    """An input and what the teachers said of it: what `KnowledgeCache.join` gives in place of x.

    Attributes:
        x: The input, or a batch of inputs.
        teacher_outputs: By teacher (`teacher_key`) a dict by tap (`tap_key`) of what it said.
    """

    x: Any
    teacher_outputs: dict[str, dict[str, Any]]


def unpack_batch(x: Any) -> tuple[Any, dict[str, dict[str, Any]] | None]:
    """The inputs of a batch, and what the teachers said of it where it is a lesson.

    Args:
        x: The first part of a batch, as `fit` got it.

    Returns:
        The student's inputs, and `Lesson.said` or `None`.
    """
    return (x.x, x.teacher_outputs) if isinstance(x, JoinedInputs) else (x, None)


def joined_spec(dataset: Any) -> JoinedInputs | None:
    """The `Lesson` of a data set's element specification, or `None` where it has none."""
    spec = getattr(dataset, "element_spec", None)
    first = spec[0] if type(spec) is tuple and spec else spec
    return first if isinstance(first, JoinedInputs) else None


def teacher_key(number: int, name: str, fingerprint: str) -> str:
    """The key under which a lesson holds what a teacher said."""
    return f"{number:03}:{name}:{fingerprint}"


def teacher_name(key: str) -> str:
    """The teacher's name in a `teacher_key`."""
    return key.split(":", 1)[1].rsplit(":", 1)[0]


def teacher_fingerprint(key: str) -> str:
    """The teacher's fingerprint in a `teacher_key`."""
    return key.rsplit(":", 1)[1]


def tap_key(name: str | None, serves: str) -> str:
    """The key under which a lesson holds the value at a tap."""
    return f"{serves}:{name or ''}"


def find_tap(teacher_outputs: Mapping[str, Any], tap: Tap) -> str | None:
    """The key of a tap's value among those of one teacher, or `None`."""
    wanted = "logits" if tap.logits else "values"
    keys = (tap_key(tap.name, serves) for serves in (wanted, "either"))
    return next((key for key in keys if key in teacher_outputs), None)


def describe_taps(keys: Sequence[str]) -> str:
    """The taps of some `tap_key`s in words, for messages."""
    pairs = [key.split(":", 1) for key in keys]
    return ", ".join(f"'{name}'" if name else "the output" for _, name in sorted(pairs))
