"""Pre- and post-processing inside a file: normalization of raw inputs, ops on the outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd.litert.signature import Signature, output_names
from keras_kd.models.graph import OpaqueModelError, open_graph
from keras_kd.models.inputs import predict_batch
from keras_kd.models.layouts import Layouts
from keras_kd.models.logits import inspect_output

#: Ops that a file can apply to an output of logits.
FINAL_OPS = ("softmax", "sigmoid", "argmax")


@dataclass(frozen=True)
class Normalization:
    """Normalization of raw inputs: `(raw - mean) / std`.

    Attributes:
        mean: One number, or one per channel (the last axis).
        std: The same.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, raw: Any) -> Any:
        """Return normalized inputs."""
        return (raw - np.float32(self.mean)) / np.float32(self.std)

    def undo(self, x: np.ndarray) -> np.ndarray:
        """Return the raw inputs, in float32."""
        return np.asarray(x * np.float32(self.std) + np.float32(self.mean), "float32")


@dataclass(frozen=True)
class Processing:
    """Operations in the file before and after the model.

    Attributes:
        normalization: Normalization of the inputs, by name.
        raw_inputs: Whether the file takes raw inputs and normalizes them itself.
        final_ops: One of `FINAL_OPS` for each output that the file applies it to, by name.
    """

    normalization: Mapping[str, Normalization] = field(default_factory=dict)
    raw_inputs: bool = False
    final_ops: Mapping[str, str] = field(default_factory=dict)

    def preprocess(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the model's inputs for the inputs of the file."""
        if not self.raw_inputs:
            return dict(inputs)
        return {
            name: self.normalization[name].apply(tensor) if name in self.normalization else tensor
            for name, tensor in inputs.items()
        }

    def postprocess(self, outputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Return the file's outputs for the outputs of the model."""
        return {name: _apply(self.final_ops.get(name), value) for name, value in outputs.items()}

    def expected_outputs(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the values to compare the file's outputs with.

        These are the model's outputs after softmax and sigmoid, but before argmax.
        """
        applied = {name: op for name, op in self.final_ops.items() if op != "argmax"}
        return {
            name: _apply(applied[name], value).numpy() if name in applied else value
            for name, value in outputs.items()
        }

    def to_file_inputs(self, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the file's inputs for inputs of the model."""
        if not self.raw_inputs:
            return dict(x)
        return {
            name: self.normalization[name].undo(array) if name in self.normalization else array
            for name, array in x.items()
        }


def parse_normalization(
    normalization: Any, inputs: Mapping[str, tf.TensorSpec], raw_inputs: bool
) -> dict[str, Normalization]:
    """Return the normalization of each input from the argument of `to_tflite`.

    Raises:
        ValueError: If it has another form, or does not match an input.
    """
    if normalization is None:
        if raw_inputs:
            raise ValueError(
                "Expected `normalization` with raw_inputs=True. Received: normalization=None. Pass "
                "the (mean, std) of the raw inputs, for example (0, 255)."
            )
        return {}
    by_name = isinstance(normalization, Mapping)
    pairs = normalization if by_name else dict.fromkeys(inputs, normalization)
    if len(inputs) > 1 and not by_name:
        raise ValueError(
            f"Expected `normalization` by the names of the inputs {list(inputs)}, since there are "
            f"several. Received: {normalization!r}. Make it a dictionary."
        )
    unknown = sorted(set(pairs) - set(inputs))
    if unknown:
        raise ValueError(
            f"Expected `normalization` of the inputs {list(inputs)}. Received: one of {unknown}. "
            "Rename or remove these."
        )
    return {name: _parse_pair(name, pair, inputs[name]) for name, pair in pairs.items()}


def parse_answer(answer: Any, outputs: Mapping[str, Sequence[int | None]]) -> dict[str, str]:
    """Return the final op of each output from the argument of `to_tflite`.

    Raises:
        ValueError: If it has another form, or does not match an output.
    """
    final_ops = _by_output(answer, outputs, "answer") if answer is not None else {}
    for name, op in final_ops.items():
        if op not in FINAL_OPS:
            raise ValueError(
                f"Expected an `answer` of {FINAL_OPS}. Received: {op!r} for output '{name}'. "
                "Choose one."
            )
        if op != "sigmoid" and outputs[name][-1] == 1:
            raise ValueError(
                f"Expected an output of several classes for answer={op!r}. Received: output "
                f"'{name}' of shape {tuple(outputs[name])}. Use answer='sigmoid' for one unit."
            )
    return final_ops


def parse_labels(
    labels: Any, outputs: Mapping[str, Sequence[int | None]]
) -> dict[str, tuple[str, ...]]:
    """Return the class names of each output from the argument of `to_tflite`.

    Raises:
        ValueError: If the number of names differs from the number of classes.
    """
    by_output = _by_output(labels, outputs, "labels") if labels is not None else {}
    for name, names in by_output.items():
        count = max(outputs[name][-1], 2)
        if isinstance(names, str) or len(names) != count:
            raise ValueError(
                f"Expected {count} labels for output '{name}' of shape {tuple(outputs[name])}. "
                f"Received: {names!r}. Name each class, in order."
            )
    return {name: tuple(map(str, names)) for name, names in by_output.items()}


def require_logits(model: keras.Model, final_ops: Mapping[str, str], inputs: Signature) -> None:
    """Check that the final ops are applied to the last axis of logits.

    Raises:
        ValueError: If an output holds probabilities already, or has its classes elsewhere.
    """
    if final_ops:
        require_classes_last(model)
    checked = [name for name, op in final_ops.items() if op != "argmax"]
    if not checked:
        return
    outputs = predict_batch(model, inputs.random_batch())
    names = output_names(model, outputs)
    values = dict(zip(names, keras.tree.flatten(outputs), strict=True))
    kinds = model_heads(model)
    for name in checked:
        normalized = np.allclose(values[name].sum(-1), 1, atol=1e-3) and (values[name] >= 0).all()
        kind = kinds.get(name, "unknown")
        if kind in ("softmax", "sigmoid") or (normalized and kind == "unknown"):
            raise ValueError(
                f"Expected an output of logits for answer={final_ops[name]!r}. Received: output "
                f"'{name}' of '{model.name}', which holds probabilities already. Omit `answer`."
            )


def model_heads(model: keras.Model) -> dict[str, str]:
    """Return the kind of each output as `inspect_output` does, by its name in the file.

    Returns:
        An empty dictionary for a model whose graph cannot be read.
    """
    try:
        graph = open_graph(model)
    except OpaqueModelError:
        return {}
    names = output_names(model, graph.outputs)
    tensors = keras.tree.flatten(graph.outputs)
    return {n: inspect_output(graph, one).kind for n, one in zip(names, tensors, strict=True)}


def require_classes_last(model: keras.Model) -> None:
    """Reject a model whose classes are elsewhere than on the last axis, where scores read them.

    Raises:
        ValueError: If an output of the model is a map with the channels first.
    """
    try:
        graph = open_graph(model)
    except OpaqueModelError:
        return
    layouts, tensors = Layouts(graph), keras.tree.flatten(graph.outputs)
    for name, tensor in zip(output_names(model, graph.outputs), tensors, strict=True):
        axis, rank = layouts.channel_axis(tensor), len(tensor.shape)
        if axis not in (None, rank - 1):
            axes = (*(i for i in range(1, rank) if i != axis), axis)
            raise ValueError(
                "Expected outputs with the classes (or channels) on the last axis. Received: "
                f"output '{name}' of '{model.name}', of shape {tuple(tensor.shape)}, with the "
                f"classes on axis {axis} (data_format='channels_first'). End the model in "
                f"keras.layers.Permute({axes})."
            )


def _by_output(given: Any, outputs: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return an argument by output: one value for the only output, or a dictionary.

    Raises:
        ValueError: If several outputs have no dictionary, or a name is unknown.
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(outputs))
        if not unknown:
            return dict(given)
        received = f"one of {unknown}"
    elif len(outputs) == 1:
        return {next(iter(outputs)): given}
    else:
        received = repr(given)
    raise ValueError(
        f"Expected `{argument}` by the names of the outputs {list(outputs)}. Received: {received}. "
        "Make it a dictionary of these."
    )


def _parse_pair(name: str, pair: Any, spec: tf.TensorSpec) -> Normalization:
    try:
        mean, std = (tuple(np.atleast_1d(np.float32(part)).tolist()) for part in pair)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected `normalization` as (mean, std), each a number or one per channel. Received: "
            f"{pair!r} for input '{name}'. Use (0, 255) for pixels scaled to [0, 1]."
        ) from error
    channels = spec.shape[-1] if spec.shape.rank else None
    matches = all(len(part) in (1, channels) and np.isfinite(part).all() for part in (mean, std))
    if not matches or not np.all(np.array(std) > 0) or not spec.dtype.is_floating:
        raise ValueError(
            f"Expected a mean and a positive std, of one number or {channels}, for an input of "
            f"floats. Received: mean={mean}, std={std} for input '{name}' of {spec.dtype.name} and "
            f"shape {tuple(spec.shape)}. Pass the values that the training data was normalized "
            "with."
        )
    return Normalization(mean, std)


def _apply(op: str | None, value: Any) -> tf.Tensor:
    if op == "softmax":
        return tf.nn.softmax(value)
    if op == "sigmoid":
        return tf.nn.sigmoid(value)
    if op == "argmax":
        return tf.argmax(value, -1, output_type=tf.int32)
    return tf.convert_to_tensor(value)
