"""A frozen source of knowledge."""

import difflib
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.models.graph import input_shapes, require_built
from keras_kd.models.logits import OUTPUTS
from keras_kd.models.lower_precision import cast_model
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.fingerprint import (
    Fingerprint,
    config_digest,
    preprocessing_digest,
    weights_digest,
)


class Teacher:
    """A trained model that teaches: run without gradients, in inference mode, never changed.

    The user's model stays as it was: its weights, its `trainable` flag, its compilation. It is not
    a Keras object, so no checkpoint of a student ever holds it.

    Args:
        model: A built `keras.Model`, trained.
        classes: Which of the student's classes this teacher's outputs are, in its own order: their
            indices, or their names where the distiller is given `class_names`. `None` means that
            teacher and student have the same classes. Defaults to `None`.
        outputs: What the model's outputs are: `"logits"`, `"probabilities"`, or `"auto"`, which
            recognises a softmax or sigmoid at the end and recovers the logits before it. Where
            this cannot be told, using the teacher raises an error. A model declared to give
            probabilities whose softmax cannot be reached is used through their logarithm.
            Defaults to `"auto"`.
        preprocessing: A callable on `x` for this teacher alone, e.g. to resize or normalise. It
            runs inside the compiled step. Defaults to `None`.
        name: Name in messages and in `summary()`. Defaults to the model's name.
        dtype: `"bfloat16"`, `"float16"` or `"float32"`: the teacher runs as a copy in this type,
            the last layer in float32, so that logits are. Defaults to `None`: as it is.

    Raises:
        TypeError: When `model` is not a `keras.Model` or `preprocessing` not a callable.
        ValueError: When the model is not built, `outputs` or `dtype` is unknown, or a model that is
            not of the functional API is wanted in another type.

    Example:
        >>> preprocess = keras.applications.mobilenet_v2.preprocess_input
        >>> teacher = kd.Teacher(model, preprocessing=preprocess)
        >>> kd.Distiller(student, teacher)
    """

    #: Whether there is only what it said once, and no model to ask.
    recorded = False
    #: Whether XLA can compile it.
    compiles = True

    def __init__(
        self,
        model: keras.Model,
        classes: Sequence[int] | Sequence[str] | None = None,
        outputs: str = "auto",
        preprocessing: Callable[[Any], Any] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        require_built(model, "A teacher")
        check_teacher(model.name, classes, outputs, preprocessing)
        self.model: keras.Model | None = model if dtype is None else cast_model(model, dtype)
        self.classes = None if classes is None else list(classes)
        self.outputs = outputs
        self.preprocessing = preprocessing
        self.name = name or model.name

    @classmethod
    def from_tflite(
        cls,
        path: str | os.PathLike,
        classes: Sequence[int] | Sequence[str] | None = None,
        outputs: str = "auto",
        preprocessing: Callable[[Any], Any] | None = None,
        threads: int | None = None,
        name: str | None = None,
    ) -> "Teacher":
        """A teacher in a .tflite file, run by LiteRT on the processor.

        An int8 file takes a fraction of the time of the Keras model; its logits are near the
        model's, not equal. It shows its outputs and no hidden taps. Export it with the batch size
        of the training, `to_tflite(..., batch_size=128)`: a file for single samples runs them one
        by one. It runs outside the compiled step, so there is no XLA.

        Args:
            path: The file, such as `kd.export.to_tflite` writes.
            classes: As in the constructor.
            outputs: As in the constructor. `"auto"` looks at the op that makes the output; a
                quantized file must end in logits.
            preprocessing: As in the constructor.
            threads: Number of threads. Defaults to `None`: all cores.
            name: Its name. Defaults to the file's.

        Returns:
            A `kd.Teacher`.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When it is no .tflite file; where the teacher is used, when its logits
                cannot be told.

        Example:
            >>> kd.export.to_tflite(model, "teacher.tflite", "int8", images, batch_size=128)
            >>> teacher = kd.Teacher.from_tflite("teacher.tflite")
        """
        from keras_kd.teachers.tflite_teacher import LiteRTTeacher

        threads = threads or os.cpu_count() or 1
        return LiteRTTeacher(path, classes, outputs, preprocessing, threads, name)

    @property
    def parameters(self) -> int:
        """How many numbers its weights hold."""
        return sum(math.prod(weight.shape) for weight in self.model.weights)

    @property
    def output_names(self) -> list[str]:
        """Names of its outputs, in order."""
        return TappedModel(self.model, []).output_names

    @property
    def input_shapes(self) -> list[tuple] | None:
        """Shapes that its model takes, flat, batch first; `None` where they are not known."""
        return input_shapes(self.model)

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """What tells it from other teachers.

        Args:
            inputs: What a batch for it is like: things with a shape and a dtype.

        Returns:
            The `Fingerprint`.
        """
        return Fingerprint(
            weights_digest(self.model),
            config_digest(self.model, self.outputs),
            preprocessing_digest(self.preprocessing, inputs),
        )

    def watch(self, taps: Sequence[Tap]) -> "WatchedTeacher":
        """The teacher made ready to show some taps.

        Args:
            taps: The places to show.

        Returns:
            A callable on a batch that gives a dict from tap to tensor, with `shapes` and
            `activations` by tap.

        Raises:
            ValueError: When a tap does not exist or its logits cannot be told.
        """
        return WatchedTeacher(self, taps)


class WatchedTeacher:
    """A teacher with the taps that are wanted of it; made by `Teacher.watch`."""

    def __init__(self, teacher: Teacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        self._tapped = TappedModel(teacher.model, taps, outputs=teacher.outputs)
        self.shapes = self._tapped.shapes
        self.activations = self._tapped.activations

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Runs the teacher once on a batch, without gradients."""
        if self.teacher.preprocessing is not None:
            x = self.teacher.preprocessing(x)
        _, seen = self._tapped(x)
        return {tap: ops.stop_gradient(value) for tap, value in seen.items()}


def check_teacher(name: str, classes: Any, outputs: Any, preprocessing: Any) -> None:
    """Refuses arguments of the wrong kind.

    Raises:
        TypeError: When `classes` is no list, or `preprocessing` no callable.
        ValueError: When `outputs` is unknown.
    """
    if outputs not in OUTPUTS:
        raise ValueError(
            f"Teacher '{name}': `outputs` must be one of {OUTPUTS}. Received: outputs={outputs!r}"
        )
    if preprocessing is not None and not callable(preprocessing):
        raise TypeError(
            f"Teacher '{name}': `preprocessing` must be a callable on x or None. "
            f"Received: preprocessing={preprocessing!r}"
        )
    if isinstance(classes, str) or not isinstance(classes, (Sequence, np.ndarray, type(None))):
        raise TypeError(
            f"Teacher '{name}': `classes` must be a list of the student's classes, by "
            f"index or by name. Received: classes={classes!r}"
        )


def class_columns(
    teacher: Teacher, classes: int, class_names: Sequence[str] | None
) -> list[int] | None:
    """Which of the student's columns a teacher's outputs are.

    Args:
        teacher: The teacher.
        classes: How many classes the student has.
        class_names: Their names, if they have any.

    Returns:
        An index for each of the teacher's outputs, or `None` where it has the student's classes.

    Raises:
        ValueError: When a class is unknown or comes twice.
    """
    if teacher.classes is None:
        return None
    found = [_column(teacher, entry, class_names) for entry in teacher.classes]
    if len(set(found)) < len(found):
        raise ValueError(
            f"Teacher '{teacher.name}': each class may come once. "
            f"Received: classes={teacher.classes}"
        )
    if not all(0 <= index < classes for index in found):
        raise ValueError(
            f"Teacher '{teacher.name}': the student has {classes} classes, so `classes` must be "
            f"indices from 0 to {classes - 1}. Received: classes={teacher.classes}"
        )
    return found


def _column(teacher: Teacher, entry: int | str, class_names: Sequence[str] | None) -> int:
    if not isinstance(entry, str):
        if entry != int(entry):
            raise ValueError(
                f"Teacher '{teacher.name}': `classes` must be whole numbers or names. "
                f"Received: classes={teacher.classes}"
            )
        return int(entry)
    if class_names is None:
        raise ValueError(
            f"Teacher '{teacher.name}' names its classes, so the student's must have names too: "
            f"pass `class_names` to the distiller. Received: classes={teacher.classes}"
        )
    if entry not in class_names:
        near = difflib.get_close_matches(entry, class_names, n=3) or list(class_names)[:5]
        raise ValueError(
            f"Teacher '{teacher.name}': the student has no class '{entry}'. The nearest: "
            f"{', '.join(repr(name) for name in near)}."
        )
    return list(class_names).index(entry)


def as_teachers(teachers: Any) -> list[Teacher]:
    """A model, a `Teacher` or a list of either as a list of teachers.

    Raises:
        TypeError: When one is neither.
    """
    several = teachers if isinstance(teachers, (list, tuple)) else [teachers]
    return [t if isinstance(t, Teacher) else Teacher(t) for t in several]
