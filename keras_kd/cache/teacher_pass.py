"""The teachers asked for a cache: what is stored of each, and one compiled pass that says it."""

import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_kd.cache.schema import StoredTap, StoredTeacher
from keras_kd.cache.top_k import compressed, require_top_k
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import CacheError
from keras_kd.teachers.teacher import Teacher


class Interview:
    """Teachers that are asked at some taps, batch after batch.

    Args:
        teachers: The teachers.
        taps: The names of the taps, `None` for the output.
        inputs: Specification of a batch of inputs.
        dtype: In what the answers are stored.
        top_k: How many logits of an output are kept, or `None`.

    Raises:
        ValueError: When a tap does not exist, has no fixed size, or `top_k` does not fit it.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        taps: Sequence[str | None],
        inputs: Any,
        dtype: str,
        top_k: int | None,
    ) -> None:
        self._dtype = dtype
        self._wanted = [[_served(teacher, name) for name in taps] for teacher in teachers]
        self._members = [
            teacher.watch([tap for tap, _, _ in wanted])
            for teacher, wanted in zip(teachers, self._wanted, strict=True)
        ]
        self._say = tf.function(self._said, input_signature=[inputs])
        graph = self._say.get_concrete_function()
        files = _file_names(teachers, taps)
        self.stored = tuple(
            StoredTeacher(
                name=teacher.name,
                classes=None if teacher.classes is None else tuple(teacher.classes),
                parameters=teacher.parameters,
                fingerprint=str(teacher.fingerprint(inputs)),
                taps=tuple(
                    _stored(teacher, *one, value, files.pop(0), top_k)
                    for one, value in zip(wanted, teacher_outputs, strict=True)
                ),
            )
            for teacher, wanted, teacher_outputs in zip(
                teachers, self._wanted, graph.structured_outputs, strict=True
            )
        )
        self._ask = tf.function(self._answers, input_signature=[inputs])

    def __call__(self, x: Any) -> dict[str, Any]:
        """Runs each teacher once.

        Args:
            x: A batch.

        Returns:
            By file, an array of what is stored.

        Raises:
            CacheError: When an answer is not finite, or too large for the type it is stored in.
        """
        answers, fine, largest = self._ask(x)
        for teacher, teacher_outputs, bounds in zip(self.stored, fine, largest, strict=True):
            for tap, one, bound in zip(teacher.taps, teacher_outputs, bounds, strict=True):
                if not one:
                    raise CacheError(self._not_finite(teacher.name, tap, float(bound)))
        return {file: values.numpy() for file, values in answers.items()}

    def _said(self, x: Any) -> list[list[Any]]:
        """For each teacher, in order of the taps, what it says."""
        teacher_outputs = [member(x) for member in self._members]
        return [
            [outputs[tap] for tap, _, _ in wanted]
            for outputs, wanted in zip(teacher_outputs, self._wanted, strict=True)
        ]

    def _answers(self, x: Any) -> tuple[dict[str, Any], list, list]:
        answers, fine, largest = {}, [], []
        for teacher, teacher_outputs in zip(self.stored, self._say(x), strict=True):
            kept = [tf.cast(value, self._dtype) for value in teacher_outputs]
            fine.append([tf.reduce_all(tf.math.is_finite(value)) for value in kept])
            largest.append([tf.reduce_max(tf.abs(value)) for value in teacher_outputs])
            for tap, value in zip(teacher.taps, kept, strict=True):
                parts = [value] if tap.top_k is None else compressed(value, tap.top_k)
                answers.update(zip(tap.columns(self._dtype), parts, strict=True))
        return answers, fine, largest

    def _not_finite(self, name: str, tap: StoredTap, largest: float) -> str:
        where = "the output" if tap.name is None else f"'{tap.name}'"
        if largest < float("inf"):
            return (
                f"KnowledgeCache: teacher '{name}' says {largest:g} at {where}, too large for "
                f"{self._dtype}. Pass dtype='float32'."
            )
        return (
            f"KnowledgeCache: teacher '{name}' gave NaN or infinite values at {where}. Look at its "
            "preprocessing and at the samples it is shown."
        )


def _served(teacher: Teacher, name: str | None) -> tuple[Tap, str, str | None]:
    """The tap that is stored under a name, what it can be asked for as, and its activation.

    Of an output the logits are stored. A hidden tap is stored as it stands, which are logits too
    where it says so.
    """
    logits = Tap(name, logits=True)
    if name is None or name in teacher.output_names:
        activation = teacher.watch([logits]).activations[logits]
        plain = activation is None and teacher.outputs != "probabilities"
        return logits, "either" if plain else "logits", activation
    return Tap(name), "values", None


def _stored(
    teacher: Teacher,
    tap: Tap,
    serves: str,
    activation: str | None,
    value: Any,
    file: str,
    top_k: int | None,
) -> StoredTap:
    shape = tuple(value.shape)[1:]
    if None in shape:
        raise CacheError(
            f"KnowledgeCache: what teacher '{teacher.name}' has at {tap} has the shape "
            f"{tuple(value.shape)}, so its size differs from sample to sample and has no place in "
            "a table. Bring all samples to one size first, or choose a tap of a fixed size."
        )
    kept = None
    if top_k is not None and tap.logits:
        kept = require_top_k(top_k, shape, activation, teacher.name)
    return StoredTap(tap.name, serves, activation, shape, value.dtype.name, file, kept)


def _file_names(teachers: Sequence[Teacher], taps: Sequence[str | None]) -> list[str]:
    names: list[str] = []
    for number, teacher in enumerate(teachers):
        for tap in taps:
            stem = f"{number}.{_slug(teacher.name)}.{_slug(tap or 'output')}"
            again = sum(name.startswith(f"{stem}.") for name in names)
            names.append(f"{stem}.{again}.npy" if again else f"{stem}.npy")
    return names


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]
