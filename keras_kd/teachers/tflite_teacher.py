"""A teacher in a .tflite file."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.litert.cost import cost
from keras_kd.litert.flatbuffer import recorded_inputs
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.litert.output_ops import FinalOp, final_op
from keras_kd.litert.signature import select_named
from keras_kd.models.declaration import (
    DECLARE,
    Declaration,
    check_declared_names,
    declared_kind,
    resolve_kind,
)
from keras_kd.models.inputs import ModelInputs
from keras_kd.models.logits import log_odds, log_probabilities
from keras_kd.models.output_evidence import declared_outputs
from keras_kd.models.taps import Tap
from keras_kd.models.task import Evidence
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import (
    Fingerprint,
    bytes_digest,
    digest_of,
    preprocessing_digest,
)


class TFLiteTeacher(BaseTeacher):
    """A teacher in a .tflite file; see `Teacher.from_tflite` for the arguments."""

    supports_jit = False

    def __init__(
        self,
        path: str | os.PathLike,
        classes: Sequence[int | str | None] | None,
        outputs: Declaration,
        preprocessing: Callable[[Any], Any] | None,
        threads: int | None,
        name: str | None,
    ) -> None:
        content = read_tflite(path)
        super().__init__(name or Path(path).stem, classes, outputs, preprocessing)
        if threads is not None and threads < 1:
            raise ValueError(
                f"Teacher '{self.name}': `threads` must be at least 1, or None for all cores. "
                f"Received: threads={threads!r}"
            )
        self._content = content
        #: Names of the inputs in the order of a list of them, if it is known.
        self._order = recorded_inputs(self._content)
        threads = threads or os.cpu_count() or 1
        self._file = LiteRT(self._content, f"'{os.fspath(path)}'", threads, self._order)
        # The replicas of tf.distribute run in threads and share the interpreter.
        self._lock = threading.Lock()

    @property
    def parameters(self) -> int:
        """Number of its weights, counted as scalars."""
        return cost(self._content).parameters

    @property
    def inputs(self) -> ModelInputs:
        """Its inputs by name; the batch size is free."""
        specs = {
            name: keras.KerasTensor((None, *shape[1:]), np.dtype(dtype).name)
            for name, (shape, dtype) in self._file.inputs.items()
        }
        # The names are cleaned from those of the batch, so `run` matches them.
        return ModelInputs(specs, declared=False)

    @property
    def output_names(self) -> list[str]:
        """Names of its outputs, in order."""
        return list(self._file.outputs)

    @property
    def output_shapes(self) -> dict[str, tuple]:
        """Shapes of its outputs by name; the batch size is free."""
        return {name: (None, *shape[1:]) for name, shape in self._file.output_shapes.items()}

    def evidence(self) -> dict[str, Evidence]:
        """Return what is known of each of its outputs: declaration and last operator."""
        heads = {name: self.final_op(name).kind for name in self.output_names}
        declared = declared_outputs(self.outputs, heads)
        return {
            name: Evidence(name, shape[-1], declared[name], heads=[heads[name]])
            for name, shape in self.output_shapes.items()
        }

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Return the digests of the file and the preprocessing."""
        return Fingerprint(
            bytes_digest(self._content),
            digest_of(["tflite", self.outputs]),
            preprocessing_digest(self.preprocessing, inputs),
        )

    def watch(self, taps: Sequence[Tap]) -> "WatchedTFLiteTeacher":
        """Return a callable that maps a batch to a dict from tap to tensor.

        Raises:
            ValueError: If a tap is not an output, or its logits cannot be determined.
        """
        return WatchedTFLiteTeacher(self, taps)

    def run(self, x: Any) -> dict[str, Any]:
        """Return the outputs of a preprocessed batch by name, also inside a compiled graph."""
        flat = tree.flatten(x)
        names = list(self._file.inputs)
        if len(names) > 1 and self._order is None and not isinstance(x, dict):
            raise ValueError(
                f"Teacher '{self.name}' is a file that does not record the order of its inputs "
                f"{names}. Pass dict batches with these keys."
            )
        given = select_named(x, names, f"inputs of teacher '{self.name}':")
        inputs = list(given.values())
        outputs = tf.numpy_function(self._run, inputs, [tf.float32] * len(self._file.outputs))
        # `numpy_function` returns a list of one tensor as the tensor.
        named = dict(zip(self._file.outputs, tree.flatten(outputs), strict=True))
        for name, value in named.items():
            value.set_shape((flat[0].shape[0], *self._file.output_shapes[name][1:]))
        return named

    def final_op(self, name: str) -> FinalOp:
        """Return the operator that computes an output."""
        return final_op(self._content, self._file.output_tensors[name])

    def _run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        with self._lock:
            outputs = self._file.run(dict(zip(self._file.inputs, arrays, strict=True)))
        return [np.asarray(outputs[name], "float32") for name in self._file.outputs]


class WatchedTFLiteTeacher:
    """A .tflite file and the outputs to return; made by `TFLiteTeacher.watch`."""

    def __init__(self, teacher: TFLiteTeacher, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        self._outputs = {tap: _output_name(teacher, tap) for tap in taps}
        #: As for `TappedModel`.
        self.kinds = {tap: _output_kind(teacher, self._outputs[tap]) for tap in taps if tap.logits}
        self.shapes = {tap: teacher.output_shapes[name] for tap, name in self._outputs.items()}
        self.activations = {
            tap: kind if kind in ("softmax", "sigmoid") else None
            for tap, kind in self.kinds.items()
        }

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Run the file once on a batch."""
        outputs = self.teacher.run(self.teacher.preprocess(x))
        return {
            tap: _to_logits(outputs[name], self.kinds.get(tap, "values"))
            for tap, name in self._outputs.items()
        }


def _output_name(teacher: TFLiteTeacher, tap: Tap) -> str:
    names = teacher.output_names
    if tap.name is None and len(names) == 1:
        return names[0]
    if tap.name not in names:
        raise ValueError(
            f"Teacher '{teacher.name}' is a .tflite file, of which only the outputs {names} can be "
            f"tapped. Choose one of them, or use the Keras model. Received: tap={tap}"
        )
    return tap.name


def _output_kind(teacher: TFLiteTeacher, name: str) -> str:
    """Return the kind of an output, as for `TappedModel.kinds`."""
    op, names = teacher.final_op(name), teacher.output_names
    check_declared_names(teacher.outputs, names, teacher.name)
    declared = declared_kind(teacher.outputs, name, names)
    kind = resolve_kind(declared, op.kind)
    if kind is None and (len(names) == 1 or not isinstance(teacher.outputs, str)):
        raise ValueError(
            f"Teacher '{teacher.name}' is declared to return {declared}, but its output '{name}' "
            f"is computed by {op.op}. Received: outputs={teacher.outputs!r}"
        )
    kind = kind or op.kind
    if kind == "unknown":
        raise ValueError(
            f"Teacher '{teacher.name}': the output '{name}', computed by {op.op or 'an input'}, "
            f"may be logits or probabilities. {DECLARE}"
        )
    probabilities = kind in ("softmax", "sigmoid", "probabilities")
    if probabilities and op.quantized:
        raise ValueError(
            f"Teacher '{teacher.name}' ends in a {kind} with 256 levels, from which logits cannot "
            f"be recovered. Export the model without its {kind}, so that the file ends in logits."
        )
    # A softmax of a single unit would be constant.
    single = kind == "probabilities" and teacher.output_shapes[name][-1] == 1
    return "sigmoid" if single else kind


def _to_logits(values: Any, kind: str) -> Any:
    if kind in ("logits", "values"):
        return values
    log_p = log_probabilities(values)
    return log_odds(log_p) if kind == "sigmoid" else log_p
