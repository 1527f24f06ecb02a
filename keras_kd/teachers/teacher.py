"""Trained Keras models, and files, as teachers."""

import copy
import math
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_kd.models.copy import copy_model
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.models.inputs import ModelInputs, model_inputs, select_inputs
from keras_kd.models.keras_compat import detach
from keras_kd.models.output_evidence import compiled_losses, declared_outputs
from keras_kd.models.precision import cast_model
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.models.task import Evidence
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import (
    Fingerprint,
    config_digest,
    preprocessing_digest,
    weights_digest,
)
from keras_kd.teachers.output_teachers import OutputTeachers
from keras_kd.teachers.precomputed_teacher import PrecomputedTeacher
from keras_kd.training import backend


class Teacher(BaseTeacher):
    """A trained model that runs in inference mode, without gradients.

    The model's weights, `trainable` flag and compilation stay unchanged. A teacher is not a Keras
    object, so checkpoints of a student never contain it.

    Args:
        model: A built and trained `keras.Model`.
        classes: The student's class of each of the teacher's outputs: indices, or names if the
            distiller has `class_names`; `None` for a class that the student does not have, such as
            `[None, "dog", None, "bus"]`. The student learns the teacher's distribution among the
            classes that both have. Defaults to `None`, the same classes as the student.
        outputs: `"logits"`, `"probabilities"`, `"values"` (numbers, which are read unchanged) or
            `"auto"`, which detects a final softmax or sigmoid and recovers the logits before it; or
            a dict from output to one of these, such as `{"expr": "logits", "va": "values"}`. If
            detection fails, using the teacher raises an error. A single value for several outputs
            applies to those whose activation is not visible. If the outputs are declared as
            probabilities and their activation is not visible, the logits are computed from the
            probabilities: log p, or log(p / (1 − p)) if a loss reads them as a sigmoid. Defaults
            to `"auto"`.
        preprocessing: A callable on `x` for this teacher only, for example to resize or normalize.
            It runs inside the compiled step. Defaults to `None`.
        name: Name in messages and in `summary()`. Defaults to the model's name.
        dtype: `"bfloat16"`, `"float16"` or `"float32"`: run a copy of the model in this precision;
            its last layer stays in float32, and so do the logits. Defaults to `None`, the model's
            own precision.

    Raises:
        TypeError: If `model` is not a `keras.Model`, or `preprocessing` is not a callable.
        ValueError: If the model is not built, `outputs` or `dtype` is unknown, or `dtype` is given
            for a model that is not a functional one.

    Example:
        >>> preprocess = keras.applications.mobilenet_v2.preprocess_input
        >>> teacher = kd.Teacher(model, preprocessing=preprocess)
        >>> kd.Distiller(student, teacher)
    """

    def __init__(
        self,
        model: keras.Model,
        classes: Sequence[int | str | None] | None = None,
        outputs: Declaration = "auto",
        preprocessing: Callable[[Any], Any] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        require_built(model, "A teacher")
        super().__init__(name or model.name, classes, outputs, preprocessing)
        self.model = model if dtype is None else cast_model(model, dtype)
        self._original = weakref.ref(model)

    @property
    def original(self) -> keras.Model | None:
        """The model that was passed, of which `model` may be a copy; `None` if it is gone."""
        return self._original()

    @classmethod
    def from_tflite(
        cls,
        path: str | os.PathLike,
        classes: Sequence[int | str | None] | None = None,
        outputs: Declaration = "auto",
        preprocessing: Callable[[Any], Any] | None = None,
        threads: int | None = None,
        name: str | None = None,
    ) -> BaseTeacher:
        """Return a teacher that runs a .tflite file with LiteRT on the CPU.

        An int8 file takes a fraction of the time of the Keras model; its logits are close to the
        model's, not equal. Only its outputs can be tapped, no hidden layers. Export it with the
        batch size of the training, `to_tflite(..., batch_size=128)`: a file exported for single
        samples runs them one by one. It runs outside the compiled graph, so XLA is not available.

        Args:
            path: The file, for example one written by `kd.export.to_tflite`.
            classes: As in the constructor.
            outputs: As in the constructor. `"auto"` inspects the operator that computes the output.
                A quantized file must end in logits.
            preprocessing: As in the constructor.
            threads: Number of threads. Defaults to `None`, all cores.
            name: Name in messages. Defaults to the file's name.

        Returns:
            A `kd.Teacher`.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is not a .tflite file, or the Keras backend is not TensorFlow. Using
                the teacher raises an error if its logits cannot be determined.

        Example:
            >>> kd.export.to_tflite(model, "teacher.tflite", "int8", images, batch_size=128)
            >>> teacher = kd.Teacher.from_tflite("teacher.tflite")
        """
        backend.require_tensorflow(
            "Teacher.from_tflite runs a file in the middle of a compiled step", f"path={path!r}"
        )
        from keras_kd.teachers.tflite_teacher import TFLiteTeacher  # It needs TensorFlow.

        # A user may check `isinstance(teacher, kd.Teacher)`.
        Teacher.register(TFLiteTeacher)
        return TFLiteTeacher(path, classes, outputs, preprocessing, threads, name)

    @classmethod
    def from_outputs(
        cls,
        shapes: Mapping[str, Sequence[int | None]],
        outputs: Declaration = "logits",
        classes: Sequence[int | str | None] | None = None,
        name: str | None = None,
    ) -> BaseTeacher:
        """Return a teacher whose outputs are precomputed and part of the data.

        Batches of `x` are dicts that hold the outputs beside the student's inputs, which have
        names; no model runs. Only the outputs can be tapped, by their keys. `evaluate`, `predict`
        and the exported student need the student's inputs only. The outputs belong to the
        unchanged inputs, so `same_view=True` is rejected.

        Args:
            shapes: Shape of each output without the batch, by its key in the batch; the classes
                are on the last axis.
            outputs: As in the constructor, but not `"auto"`. Defaults to `"logits"`.
            classes: As in the constructor.
            name: Name in messages. Defaults to the keys.

        Returns:
            A `kd.Teacher`.

        Raises:
            ValueError: If `shapes` is not a dict of shapes, or `outputs` does not declare each.

        Example:
            >>> logits = large_model.predict(images)
            >>> teacher = kd.Teacher.from_outputs({"teacher_logits": logits.shape[1:]})
            >>> distiller = kd.Distiller(student, teacher)  # with keras.Input(..., name="image")
            >>> distiller.fit({"image": images, "teacher_logits": logits}, labels)
        """
        return PrecomputedTeacher(shapes, outputs, classes, name)

    @property
    def parameters(self) -> int:
        """Number of its weights, counted as scalars."""
        return sum(math.prod(weight.shape) for weight in self.model.weights)

    @property
    def output_names(self) -> list[str]:
        """Names of its outputs, in order."""
        return TappedModel(self.model, []).output_names

    @property
    def inputs(self) -> ModelInputs | None:
        """Its inputs; `None` if they are unknown."""
        return model_inputs(self.model)

    def evidence(self) -> dict[str, Evidence]:
        """Return what is known of each of its outputs: declaration, compiled loss and head."""
        tapped = TappedModel(self.model, [])
        names = tapped.output_names
        losses = compiled_losses(self.model, names)
        declared = declared_outputs(self.outputs, tapped.heads)
        return {
            name: Evidence(name, shape[-1], declared[name], losses.get(name), [tapped.heads[name]])
            for name, shape in tapped.output_shapes.items()
        }

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Return the digests of weights, configuration and preprocessing.

        Args:
            inputs: Specification of a batch: a structure of objects with a shape and a dtype.
        """
        return Fingerprint(
            weights_digest(self.model),
            config_digest(self.model, self.outputs),
            preprocessing_digest(None if self.preprocessing is None else self.prepare, inputs),
        )

    def prepare(self, x: Any) -> Any:
        """Return the model's part of a preprocessed batch."""
        return select_inputs(self.model, self.preprocess(x))

    def watch(self, taps: Sequence[Tap]) -> "WatchedTeacher":
        """Return a callable that maps a batch to a dict from tap to tensor.

        The callable has `shapes`, `activations` and `kinds` by tap.

        Raises:
            ValueError: If a tap does not exist or its logits cannot be determined.
        """
        return WatchedTeacher(self, taps)


# A user may check `isinstance(teacher, kd.Teacher)` for the result of `from_outputs`.
Teacher.register(PrecomputedTeacher)
Teacher.register(OutputTeachers)


class WatchedTeacher:
    """A teacher and the taps to return; made by `Teacher.watch`."""

    def __init__(self, teacher: Teacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        self._tapped = TappedModel(teacher.model, taps, outputs=teacher.outputs)
        self.shapes = self._tapped.shapes
        self.activations = self._tapped.activations
        self.kinds = self._tapped.kinds

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Run the teacher once on a batch, without gradients."""
        with backend.without_gradients():
            _, outputs = self._tapped(self.teacher.preprocess(x))
        return {tap: detach(value) for tap, value in outputs.items()}


def as_teachers(teachers: Any) -> list[BaseTeacher]:
    """Return a list of teachers from a model, a teacher, or a list of either.

    A dictionary of models or teachers by output counts as one teacher; see `OutputTeachers`.

    Raises:
        TypeError: If an element is none of these.
        ValueError: If a dictionary is empty, or has teachers that cannot run.
    """
    several = teachers if isinstance(teachers, (list, tuple)) else [teachers]
    return [_as_teacher(one) for one in several]


def _as_teacher(teacher: Any) -> BaseTeacher:
    if isinstance(teacher, Mapping):
        return OutputTeachers({name: _as_teacher(one) for name, one in teacher.items()})
    return teacher if isinstance(teacher, BaseTeacher) else Teacher(teacher)


def replicate_teacher(teacher: BaseTeacher) -> BaseTeacher:
    """Return the teacher with its weights on every replica of `tf.distribute`.

    A model built outside `strategy.scope()` has its weights on one device, and each step would copy
    them to the others. Such a model is copied into the scope; the original stays unchanged.

    Raises:
        ValueError: If the model cannot be copied.
    """
    if isinstance(teacher, OutputTeachers):
        parts = {name: replicate_teacher(one) for name, one in teacher.teachers.items()}
        return OutputTeachers(parts)
    if teacher.model is None or backend.is_built_in_scope(teacher.model.variables):
        return teacher
    replicated = copy.copy(teacher)
    try:
        replicated.model = copy_model(teacher.model)
    except ValueError as error:
        raise ValueError(
            f"Teacher '{teacher.name}' was built outside `strategy.scope()` and cannot be copied "
            f"into it. Build or load it inside the scope. Cause: {error}"
        ) from error
    return replicated
