"""One pass of the teachers over a data set: the outputs to store."""

import platform
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.cache.prepared import check_rows, is_comparable, prepare_numbers
from keras_kd.cache.rounding import RoundingCheck, rounding_moments
from keras_kd.cache.schema import StoredTap, StoredTeacher
from keras_kd.cache.top_k import check_top_k, compress_logits
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import CacheError
from keras_kd.teachers.teacher import Teacher
from keras_kd.training import backend
from keras_kd.training.tf_data import DenseSpec
from keras_kd.version import __version__


class TeacherPass:
    """Runs teachers on batches and returns the values to store.

    Args:
        teachers: The teachers.
        taps: Names of the taps, `None` for the output.
        inputs: Specification of a batch of inputs.
        dtype: The dtype of the stored values.
        top_k: Number of logits of an output to keep, or `None`.
        example: Returns a batch, where only a run tells what the teachers return, or whether their
            preprocessing can be compared. Defaults to `None`.

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
        example: Callable[[], Any] | None = None,
    ) -> None:
        self._dtype, self._teachers = dtype, teachers
        self._choices = [[_choose_tap(teacher, name) for name in taps] for teacher in teachers]
        self._members = [
            teacher.watch([tap for tap, _, _ in choices])
            for teacher, choices in zip(teachers, self._choices, strict=True)
        ]
        self._run, specs = backend.compile_teachers(self._outputs, inputs, example)
        files = _file_names(teachers, taps)
        self.stored = tuple(
            StoredTeacher(
                name=teacher.name,
                classes=None if teacher.classes is None else tuple(teacher.classes),
                parameters=teacher.parameters,
                fingerprint=str(teacher.fingerprint(inputs)),
                taps=tuple(
                    _stored_tap(teacher, *choice, spec, files.pop(0), top_k)
                    for choice, spec in zip(choices, outputs, strict=True)
                ),
                prepared=_prepared_file(number, teacher, example),
            )
            for number, (teacher, choices, outputs) in enumerate(
                zip(teachers, self._choices, specs, strict=True)
            )
        )
        self._rounding = [
            RoundingCheck(teacher.name, tap, dtype)
            for teacher in self.stored
            for tap in teacher.taps
        ]

    def __call__(self, x: Any) -> dict[str, Any]:
        """Run each teacher once on a batch and return an array per file.

        Raises:
            CacheError: If a value is not finite or too large for the stored dtype, rounding to
                that dtype matters, or there is not one value per sample.
        """
        outputs = self._run(x)
        count = len(tree.flatten(x)[0])
        with np.errstate(over="ignore"):  # Values that are too large become infinite.
            kept = [[value.astype(self._dtype) for value in values] for values in outputs]
        for teacher, values, rounded in zip(self.stored, outputs, kept, strict=True):
            for tap, *pair in zip(teacher.taps, values, rounded, strict=True):
                self._check_values(teacher.name, tap, count, *pair)
        pairs = [
            pair for both in zip(outputs, kept, strict=True) for pair in zip(*both, strict=True)
        ]
        for rounding, pair in zip(self._rounding, pairs, strict=True):
            rounding.add(*rounding_moments(*pair))
        files = {}
        for teacher, values in zip(self.stored, kept, strict=True):
            for tap, value in zip(teacher.taps, values, strict=True):
                parts = [value] if tap.top_k is None else compress_logits(value, tap.top_k)
                files.update(zip(tap.columns(self._dtype), parts, strict=True))
        for teacher, stored in zip(self._teachers, self.stored, strict=True):
            if stored.prepared is not None:
                files[stored.prepared] = prepare_numbers(teacher, x).values
        return files

    def check_preprocessing(
        self,
        stored: Sequence[StoredTeacher],
        x: Any,
        read: Callable[[str], np.ndarray],
        owner: str,
    ) -> None:
        """Compare the preprocessing of the teachers with stored rows; see `check_rows`."""
        check_rows(self._teachers, stored, x, read, owner)

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

    def _check_values(self, name: str, tap: StoredTap, count: int, values: Any, kept: Any) -> None:
        """Raise an error if there are more or fewer values than samples, or values do not fit."""
        where = Tap(tap.name)
        if len(values) != count:
            raise CacheError(
                f"KnowledgeCache: teacher '{name}' must return one row per sample at {where}. "
                f"Received: {len(values)} rows for {count} samples. Check that its preprocessing "
                "keeps the number of samples."
            )
        if values.shape[1:] != tap.shape:
            raise CacheError(_size_message(name, where, values.shape))
        if np.isfinite(kept).all():
            return
        largest = float(np.abs(values).max())
        if largest < float("inf"):
            raise CacheError(
                f"KnowledgeCache: teacher '{name}' returns {largest:g} at {where}, too large for "
                f"{self._dtype}. Pass dtype='float32'."
            )
        raise CacheError(
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
    spec: DenseSpec,
    file: str,
    top_k: int | None,
) -> StoredTap:
    shape = spec.shape[1:]
    if None in shape:
        raise CacheError(_size_message(teacher.name, tap, spec.shape))
    top_k = top_k if tap.logits else None
    if top_k is not None:
        check_top_k(top_k, shape, activation, teacher.name)
        # Only classes have a rest, so the logits must not be read as those of sigmoids.
        activation = "softmax" if activation in (None, "probabilities") else activation
    return StoredTap(tap.name, serves, activation, shape, spec.dtype, file, top_k)


def _prepared_file(number: int, teacher: Teacher, example: Callable[[], Any] | None) -> str | None:
    """Return the file for the preprocessing of a teacher, `None` if it cannot be compared."""
    if not teacher.has_preprocessing or example is None or not is_comparable(teacher, example()):
        return None
    return f"{number}.{_slug(teacher.name)}.preprocessing.npy"


def _size_message(teacher: str, tap: Tap, shape: tuple) -> str:
    return (
        f"KnowledgeCache: teacher '{teacher}' has values of shape {tuple(shape)} at {tap}, whose "
        "size may differ between samples. Resize all samples to one size first, or choose a tap "
        "of a fixed size."
    )


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
        **backend.library_version(),
        "numpy": np.__version__,
    }
