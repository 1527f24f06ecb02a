"""Quantization error of each layer of a file, compared with the same file in float32."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.export import calibration
from keras_kd.export.conversion import CALIBRATED, FLOATS
from keras_kd.export.metadata import Description, describe_content
from keras_kd.export.model_conversion import convert_model
from keras_kd.export.options import MAIN, Options
from keras_kd.export.output_scores import OutputScores
from keras_kd.export.output_tasks import file_tasks
from keras_kd.export.saved_model import layer_of
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.files import ShortRepr
from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.litert.signature import Signature, infer_signature
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.output_evidence import OutputTask


@dataclass(frozen=True, repr=False)
class LayerError(ShortRepr):
    """Error of one op of a quantized file.

    Attributes:
        layer: Path of the layer; several if the converter merged them into one op.
        op: LiteRT's name of the op.
        shape: Shape of its output.
        error: Root mean squared difference from float32, divided by the standard deviation of the
            float32 values: the accumulated error. For an output it is the error of its worst
            column, the `relative_difference` of its `Score`.
        added: Increase compared with the largest error of its inputs: the error of this op.
    """

    layer: str
    op: str
    shape: tuple[int, ...]
    error: float
    added: float


def layer_errors(
    tflite: TFLiteModel | str | Path,
    model: keras.Model,
    data: Any,
    *,
    samples: int = 20,
    outputs: str | Mapping[str, str] = "auto",
) -> tuple[LayerError, ...]:
    """Compare each op of a quantized file with the same model in float32.

    Args:
        tflite: The quantized file: what `to_tflite` returned, or its path.
        model: The Keras model that it was exported from.
        data: Samples as the model takes them: a `tf.data.Dataset` of batches, or arrays.
        samples: Number of samples to run. Defaults to 20.
        outputs: What the outputs are, as for `evaluate`. Defaults to `"auto"`.

    Returns:
        A `LayerError` per op, in the order of execution.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `to_tflite` did not write the file, or the samples do not match the model.
        RuntimeError: If LiteRT cannot run the file.

    Example:
        >>> worst = max(layer_errors("model.tflite", model, test), key=lambda step: step.added)
        >>> worst.layer, worst.added
        ('depthwise', 0.31)
    """
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read_tflite(path)
    description = describe_content(content)
    if description.quantization is None:
        raise ValueError(
            f"Expected a file that `to_tflite` wrote. Received: '{path}', which has no description "
            "in its metadata. Export the model again."
        )
    inputs = infer_signature(model)
    names = description.inputs
    with LiteRT(content, f"'{path}'", inputs=names, keep_tensors=True) as quantized:
        batch = quantized.batch_size
        reference = _convert_to_float32(model, inputs, description, batch)
        x = description.processing.to_file_inputs(calibration.take_samples(data, inputs, samples))
        with LiteRT(reference, "float32", inputs=names, keep_tensors=True) as exact:
            errors = _tensor_errors(reference, exact, quantized, x, batch or 1)
            tasks = file_tasks(quantized, content, description, model, outputs)
            floats = description.quantization in FLOATS
            worst = _output_errors(exact, quantized, x, tasks, floats)
    return _op_errors(reference, errors, worst, layer_names(model))


def _convert_to_float32(
    model: keras.Model, inputs: Signature, description: Description, batch: int | None
) -> bytes:
    """Return the same file in float32, with the same pre- and post-processing and loops."""
    taps = {key: description.taps.get(key) for key in description.outputs or (MAIN,)}
    pairs = {name: (pair.mean, pair.std) for name, pair in description.normalization.items()}
    options = Options(
        batch_size=batch,
        signatures=taps,
        normalization=pairs or None,
        raw_inputs=description.raw_inputs,
        answer=dict(description.answers) or None,
    )
    loops = description.quantization not in CALIBRATED
    return convert_model(model, inputs, options, None, loops)[0]


def _tensor_errors(
    content: bytes, exact: LiteRT, quantized: LiteRT, x: dict[str, np.ndarray], batch: int
) -> dict[str, float]:
    """Return the relative error of each op's outputs, by tensor name."""
    model = parse(content)
    graph = model.subgraphs[0]
    outputs = (index for _, operator in operators(model, graph) for index in operator.outputs)
    names = [graph.tensors[index].name.decode() for index in outputs]
    sums = {name: np.zeros(4) for name in names}
    count = len(next(iter(x.values())))
    for start in range(0, count, batch):
        rows = {name: array[start : start + batch] for name, array in x.items()}
        values = []
        for runner in (exact, quantized):
            runner.run(rows)
            # The converter appends a 1 to names that exist already.
            values.append(runner.tensors([*names, *(f"{name}1" for name in names)]))
        for name, total in sums.items():
            _accumulate(total, values[0].get(name), values[1].get(name), values[1].get(f"{name}1"))
    return {
        name: float(np.sqrt(squares / max(of_squares - of_values**2 / size, 1e-30)))
        for name, (size, squares, of_values, of_squares) in sums.items()
        if size
    }


def _output_errors(
    exact: LiteRT,
    quantized: LiteRT,
    x: dict[str, np.ndarray],
    tasks: Mapping[str, OutputTask],
    floats: bool,
) -> dict[str, float]:
    """Return the relative difference of each output, by tensor name."""
    expected, values = exact.run(x), quantized.run(x)
    errors = {}
    for name, task in tasks.items():
        scores = OutputScores(task, floats=floats)
        scores.add(values[name], None, expected[name])
        errors[exact.output_tensors[name]] = scores.score().relative_difference
    return errors


def _accumulate(
    total: np.ndarray, exact: np.ndarray | None, *candidates: np.ndarray | None
) -> None:
    for value in candidates:
        if exact is not None and value is not None and value.shape == exact.shape:
            difference = value.astype("float64") - exact
            total += [
                exact.size,
                (difference**2).sum(),
                exact.sum(dtype="float64"),
                (exact.astype("float64") ** 2).sum(),
            ]
            return


def _op_errors(
    content: bytes, errors: dict[str, float], worst: dict[str, float], layers: frozenset[str]
) -> tuple[LayerError, ...]:
    def largest(names: Sequence[str]) -> float | None:
        found = [errors[name] for name in names if name in errors]
        return max(found, default=None)

    results = []
    for op in name_ops(content, layers):
        error, output = largest(op.outputs), op.outputs[0]
        if error is not None:
            added = max(error - (largest(op.inputs) or 0.0), 0.0)
            results.append(LayerError(op.layer, op.op, op.shape, worst.get(output, error), added))
    return tuple(results)


@dataclass(frozen=True)
class NamedOp:
    """An op of a file.

    Attributes:
        layer: Path of its layer; several if the converter merged them, or the name of an output.
        op: LiteRT's name of the op.
        shape: Shape of its output.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    layer: str
    op: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def name_ops(content: bytes, layers: frozenset[str]) -> list[NamedOp]:
    """Return the ops of a file with the layers that they come from.

    Args:
        content: The file, as the converter wrote it.
        layers: The names of the layers of its model.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    outputs = {entry.tensorIndex: entry.name.decode() for entry in model.signatureDefs[0].outputs}
    ops = []
    for op, operator in operators(model, graph):
        output = operator.outputs[0]
        paths = dict.fromkeys(layer_of(part, layers) for part in names[output].split(";"))
        ops.append(
            NamedOp(
                outputs.get(output) or " + ".join(paths),
                op,
                tuple(map(int, graph.tensors[output].shape)),
                tuple(names[index] for index in operator.inputs if index >= 0),
                tuple(names[index] for index in operator.outputs),
            )
        )
    return ops


def layer_names(model: keras.Model) -> frozenset[str]:
    """Return the names of all layers of a model, without its own."""
    return frozenset(layer.name for layer in nested_layers(model, include_self=False))
