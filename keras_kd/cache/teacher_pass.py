"""One pass of the teachers over a data set: its batches, and the outputs to store."""

import platform
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.cache.keys import (
    Dataset,
    input_digests,
    key_numbers,
    keyed,
    number_batches,
    split_element,
    split_key,
)
from keras_kd.cache.rounding import RoundingCheck, rounding_moments
from keras_kd.cache.schema import StoredTap, StoredTeacher
from keras_kd.cache.top_k import check_top_k, compress_logits
from keras_kd.cache.views import Augment, make_all_views
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import CacheError, Keyed
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.tf_data import disable_autotune
from keras_kd.version import __version__


class TeacherBatch(NamedTuple):
    """A batch for the teachers.

    Attributes:
        x: The inputs. With V views per sample, the views of a sample are consecutive.
        keys: int64 (batch,), the samples' keys.
        digests: int64 (batch,), or (batch, V), digests of the inputs.
    """

    x: Any
    keys: Any
    digests: Any

    def select(self, chosen: Any, views: int) -> Any:
        """Return the inputs of the samples for which `chosen` is true."""
        chosen = chosen.repeat(views)
        return tree.map_structure(lambda part: tf.boolean_mask(part, chosen), self.x)


def teacher_batches(
    dataset: Dataset,
    batched: bool,
    batch_size: int,
    shard: tuple[int, int] | None = None,
    views: int = 1,
    augment: Augment | None = None,
    seed: int = 0,
) -> Dataset:
    """Return a data set of `TeacherBatch`."""
    has_key = split_key(split_element(dataset.element_spec)[0])[1] is not None
    if batched and shard is None and views == 1:
        batches = dataset if has_key else number_batches(dataset)
    else:
        samples = dataset.unbatch() if batched else dataset
        samples = samples if has_key else keyed(samples)
        if shard is not None:
            i, n = shard
            samples = samples.filter(
                lambda *sample: tf.math.floormod(key_numbers(split_element(sample)[0].key), n) == i
            )
        if views > 1:
            samples = samples.map(
                lambda *sample: (make_all_views(augment, seed, split_element(sample)[0], views),),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        batches = samples.batch(max(1, batch_size // views))
    return disable_autotune(
        batches.map(lambda *element: _teacher_batch(split_element(element)[0], views)).prefetch(2)
    )


def _teacher_batch(batch: Keyed, views: int) -> TeacherBatch:
    keys, x = key_numbers(batch.key), batch.x
    if views == 1:
        return TeacherBatch(x, keys, input_digests(x))
    x = tree.map_structure(lambda part: tf.reshape(part, (-1, *part.shape[2:])), x)
    return TeacherBatch(x, keys, tf.reshape(input_digests(x), (-1, views)))


class TeacherPass:
    """Runs teachers on batches and returns the values to store.

    Args:
        teachers: The teachers.
        taps: Names of the taps, `None` for the output.
        inputs: Specification of a batch of inputs.
        dtype: The dtype of the stored values.
        top_k: Number of logits of an output to keep, or `None`.

    Raises:
        ValueError: If a tap does not exist, has no fixed size, or does not fit `top_k`.
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
        self._choices = [[_choose_tap(teacher, name) for name in taps] for teacher in teachers]
        self._members = [
            teacher.watch([tap for tap, _, _ in choices])
            for teacher, choices in zip(teachers, self._choices, strict=True)
        ]
        self._run_teachers = tf.function(self._outputs, input_signature=[inputs])
        graph = self._run_teachers.get_concrete_function()
        files = _file_names(teachers, taps)
        self.stored = tuple(
            StoredTeacher(
                name=teacher.name,
                classes=None if teacher.classes is None else tuple(teacher.classes),
                parameters=teacher.parameters,
                fingerprint=str(teacher.fingerprint(inputs)),
                taps=tuple(
                    _stored_tap(teacher, *choice, value, files.pop(0), top_k)
                    for choice, value in zip(choices, outputs, strict=True)
                ),
            )
            for teacher, choices, outputs in zip(
                teachers, self._choices, graph.structured_outputs, strict=True
            )
        )
        self._run = tf.function(self._values, input_signature=[inputs])
        self._rounding = [
            RoundingCheck(teacher.name, tap, dtype)
            for teacher in self.stored
            for tap in teacher.taps
        ]

    def __call__(self, x: Any) -> dict[str, Any]:
        """Run each teacher once on a batch and return an array per file.

        Raises:
            CacheError: If a value is not finite or too large for the stored dtype, or rounding
                to that dtype matters.
        """
        values, finite, largest, moments = self._run(x)
        for teacher, flags, maxima in zip(self.stored, finite, largest, strict=True):
            for tap, flag, maximum in zip(teacher.taps, flags, maxima, strict=True):
                if not flag:
                    raise CacheError(self._not_finite_message(teacher.name, tap, float(maximum)))
        for rounding, batch in zip(self._rounding, moments, strict=True):
            rounding.add(*batch)
        return {file: value.numpy() for file, value in values.items()}

    def check_rounding(self) -> None:
        """Check the rounding of all values so far.

        Raises:
            CacheError: If it matters.
        """
        for rounding in self._rounding:
            rounding.check()
            rounding.warn()

    def _outputs(self, x: Any) -> list[list[Any]]:
        """Return the outputs of each teacher in the order of the taps."""
        outputs = [member(x) for member in self._members]
        return [
            [by_tap[tap] for tap, _, _ in choices]
            for by_tap, choices in zip(outputs, self._choices, strict=True)
        ]

    def _values(self, x: Any) -> tuple[dict[str, Any], list, list, list]:
        """Return the values to store by file.

        Also return by tap whether they are finite, their maximum, and the moments of the rounding.
        """
        values, finite, largest, moments = {}, [], [], []
        for teacher, outputs in zip(self.stored, self._run_teachers(x), strict=True):
            kept = [tf.cast(value, self._dtype) for value in outputs]
            finite.append([tf.reduce_all(tf.math.is_finite(value)) for value in kept])
            largest.append([tf.reduce_max(tf.abs(value)) for value in outputs])
            moments += map(rounding_moments, outputs, kept)
            for tap, value in zip(teacher.taps, kept, strict=True):
                parts = [value] if tap.top_k is None else compress_logits(value, tap.top_k)
                values.update(zip(tap.columns(self._dtype), parts, strict=True))
        return values, finite, largest, moments

    def _not_finite_message(self, name: str, tap: StoredTap, largest: float) -> str:
        where = str(Tap(tap.name))
        if largest < float("inf"):
            return (
                f"KnowledgeCache: teacher '{name}' returns {largest:g} at {where}, too large for "
                f"{self._dtype}. Pass dtype='float32'."
            )
        return (
            f"KnowledgeCache: teacher '{name}' returned NaN or infinite values at {where}. Check "
            "its preprocessing and the samples."
        )


def _choose_tap(teacher: Teacher, name: str | None) -> tuple[Tap, str, str | None]:
    """Return the tap to store, what its values can be used as, and the teacher's activation.

    The logits of an output are stored. A hidden tap is stored unchanged.
    """
    logits = Tap(name, logits=True)
    if name is None or name in teacher.output_names:
        kind = teacher.watch([logits]).kinds[logits]
        serves = "either" if kind in ("logits", "values") else "logits"
        return logits, serves, None if kind == "logits" else kind
    return Tap(name), "values", None


def _stored_tap(
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
            f"KnowledgeCache: teacher '{teacher.name}' has values of shape {tuple(value.shape)} at "
            f"{tap}, whose size may differ between samples. Resize all samples to one size first, "
            "or choose a tap of a fixed size."
        )
    top_k = top_k if tap.logits else None
    if top_k is not None:
        check_top_k(top_k, shape, activation, teacher.name)
        # Only classes have a rest, so the logits must not be read as those of sigmoids.
        activation = "softmax" if activation in (None, "probabilities") else activation
    return StoredTap(tap.name, serves, activation, shape, value.dtype.name, file, top_k)


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


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries, for the manifest."""
    return {
        "python": platform.python_version(),
        "keras_kd": __version__,
        "keras": keras.__version__,
        # Its metadata may be those of tensorflow-cpu.
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }
