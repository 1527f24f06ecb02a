"""A teacher in a .tflite file, run by LiteRT: int8 on the processor, a fraction of the time."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.litert.cost import cost
from keras_kd.litert.interpreter import LiteRT, read
from keras_kd.litert.output_ops import FinalOp, final_op
from keras_kd.models.taps import Tap
from keras_kd.teachers.fingerprint import (
    Fingerprint,
    bytes_digest,
    digest_of,
    preprocessing_digest,
)
from keras_kd.teachers.teacher import Teacher, check_teacher


class LiteRTTeacher(Teacher):
    """A teacher in a .tflite file; made by `Teacher.from_tflite`, which says what there is to say.

    Args:
        path: The file.
        classes: As for `Teacher`.
        outputs: As for `Teacher`.
        preprocessing: As for `Teacher`.
        threads: Number of threads of LiteRT.
        name: Its name.
    """

    compiles = False

    def __init__(
        self,
        path: str | os.PathLike,
        classes: Sequence[int] | Sequence[str] | None,
        outputs: str,
        preprocessing: Callable[[Any], Any] | None,
        threads: int,
        name: str | None,
    ) -> None:
        self.model = None
        self.name = name or Path(path).stem
        check_teacher(self.name, classes, outputs, preprocessing)
        self.classes = None if classes is None else list(classes)
        self.outputs = outputs
        self.preprocessing = preprocessing
        self._content = read(path)
        self._file = LiteRT(self._content, f"'{path}'", threads)
        # Replicas under tf.distribute run in threads, and the file is one.
        self._lock = threading.Lock()

    @property
    def parameters(self) -> int:
        """How many numbers its weights hold."""
        return cost(self._content).parameters

    @property
    def input_shapes(self) -> list[tuple] | None:
        """Shapes that the file takes, flat; it runs batches of any size."""
        return [(None, *shape[1:]) for shape, _ in self._file.inputs.values()]

    @property
    def output_names(self) -> list[str]:
        """Names of its outputs."""
        return list(self._file.outputs)

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """What tells it from other teachers: the bytes of the file."""
        return Fingerprint(
            bytes_digest(self._content),
            digest_of(["tflite", self.outputs]),
            preprocessing_digest(self.preprocessing, inputs),
        )

    def watch(self, taps: Sequence[Tap]) -> "WatchedFile":
        """The teacher made ready to show some of its outputs.

        Raises:
            ValueError: When a tap is no output, or its logits cannot be told or recovered.
        """
        return WatchedFile(self, taps)

    def run(self, x: Any) -> dict[str, Any]:
        """The outputs of a batch by name, in a compiled step too.

        Args:
            x: A batch, after the preprocessing.
        """
        names = list(self._file.inputs)
        flat = tree.flatten(x)
        given = [x[name] for name in names] if isinstance(x, dict) else flat
        outputs = tf.numpy_function(self._run, given, [tf.float32] * len(self._file.outputs))
        # A list of one comes back as a tensor.
        found = dict(zip(self._file.outputs, tree.flatten(outputs), strict=True))
        for name, value in found.items():
            value.set_shape((flat[0].shape[0], *self._file.output_shapes[name][1:]))
        return found

    def ending(self, name: str) -> FinalOp:
        """The op that makes an output."""
        return final_op(self._content, self._file.output_tensors[name])

    def _run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        with self._lock:
            outputs = self._file.run(dict(zip(self._file.inputs, arrays, strict=True)))
        return [np.asarray(outputs[name], "float32") for name in self._file.outputs]


class WatchedFile:
    """A file with the outputs that are wanted of it."""

    def __init__(self, teacher: LiteRTTeacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        self._outputs = {tap: _output(teacher, tap) for tap in taps}
        self._kinds = {tap: _kind(teacher, self._outputs[tap]) for tap in taps if tap.logits}
        shapes = teacher._file.output_shapes
        self.shapes = {tap: (None, *shapes[name][1:]) for tap, name in self._outputs.items()}
        self.activations = {
            tap: None if kind == "logits" else kind for tap, kind in self._kinds.items()
        }

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Runs the file once on a batch."""
        if self.teacher.preprocessing is not None:
            x = self.teacher.preprocessing(x)
        found = self.teacher.run(x)
        return {
            tap: _logits(found[name], self._kinds.get(tap, "logits"))
            for tap, name in self._outputs.items()
        }


def _output(teacher: LiteRTTeacher, tap: Tap) -> str:
    names = teacher.output_names
    if tap.name is None and len(names) == 1:
        return names[0]
    if tap.name not in names:
        raise ValueError(
            f"Teacher '{teacher.name}' is a .tflite file, which shows nothing but its outputs "
            f"{names}. Tap one of them, or use the Keras model. Received: tap={tap}"
        )
    return tap.name


def _kind(teacher: LiteRTTeacher, name: str) -> str:
    """Whether an output holds logits, or probabilities of which they can be recovered."""
    end = teacher.ending(name)
    declared = {"logits": "logits", "probabilities": "softmax"}.get(teacher.outputs)
    kind = end.kind if end.kind != "unknown" or declared is None else declared
    if kind == "unknown":
        raise ValueError(
            f"It cannot be told whether the output '{name}' of teacher '{teacher.name}', made by "
            f"{end.op or 'an input'}, is logits or probabilities. Say which it is: "
            "outputs='logits' or outputs='probabilities'."
        )
    if teacher.outputs != "auto" and (kind == "logits") != (teacher.outputs == "logits"):
        raise ValueError(
            f"Teacher '{teacher.name}' was said to give {teacher.outputs}, but its output '{name}' "
            f"is made by {end.op}. Received: outputs={teacher.outputs!r}"
        )
    if kind != "logits" and end.quantized:
        raise ValueError(
            f"Teacher '{teacher.name}' ends in a {kind} of 256 levels, from which no logits can be "
            f"recovered. Export the model without its {kind}, so that the file ends in logits."
        )
    return kind


def _logits(values: Any, kind: str) -> Any:
    if kind == "logits":
        return values
    log = ops.log(ops.maximum(values, 1.1754944e-38))
    if kind == "softmax":
        return log
    return log - ops.log(ops.maximum(1.0 - values, 1.1754944e-38))
