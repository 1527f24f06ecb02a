"""Which layer of a quantized file loses how much, held against the same file in float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.export import calibration
from keras_kd.export.conversion import CALIBRATED
from keras_kd.export.metadata import Description, describe_content
from keras_kd.export.options import MAIN, Options
from keras_kd.export.saved_model import layer_of
from keras_kd.export.tflite import converted
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert import signature
from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.litert.interpreter import LiteRT, read


@dataclass(frozen=True)
class LayerError:
    """How far one step of a quantized file is off.

    Attributes:
        layer: The layer's path; several where the converter made one step of them.
        op: LiteRT's name of the step.
        shape: The shape of what it gives.
        error: Root of the mean squared difference from float32, over the standard deviation of the
            values in float32: what has been lost up to here.
        added: How much more that is than at the worst of its inputs: what is lost here.
    """

    layer: str
    op: str
    shape: tuple[int, ...]
    error: float
    added: float


def layer_errors(
    tflite: TFLiteModel | str | Path, model: keras.Model, data: Any, *, samples: int = 20
) -> tuple[LayerError, ...]:
    """Runs samples through a quantized file and through the same model in float32, step by step.

    Args:
        tflite: The quantized file: what `to_tflite` returned, or its path.
        model: The Keras model that it was made of.
        data: Samples such as the model takes: a `tf.data.Dataset` of batches, or arrays.
        samples: How many of them to run. Defaults to 20.

    Returns:
        A `LayerError` for each step, in the order in which they run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .tflite file of `to_tflite`, or the samples do not fit.
        RuntimeError: If LiteRT cannot run it.

    Example:
    >>> worst = max(layer_errors("model.tflite", model, test), key=lambda step: step.added)
    >>> worst.layer, worst.added
    ('depthwise', 0.31)
    """
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read(path)
    about = describe_content(content)
    if about.quantization is None:
        raise ValueError(
            f"Expected a file that `to_tflite` wrote. Received: '{path}', which does not say how "
            "it was made. Export the model again."
        )
    inputs = signature.of_inputs(model)
    with LiteRT(content, f"'{path}'", inputs=about.inputs, keep_tensors=True) as quantized:
        batch = next(iter(quantized.inputs.values()))[0][0]
        plain = _in_float32(model, inputs, about, batch)
        x = about.ends.raw(calibration.samples(data, inputs, samples))
        with LiteRT(plain, "float32", inputs=about.inputs, keep_tensors=True) as exact:
            errors = _errors(plain, exact, quantized, x, batch or 1)
    names = frozenset(layer.name for layer in model._flatten_layers(include_self=False))
    return _steps(plain, errors, names)


def _in_float32(
    model: keras.Model, inputs: signature.Signature, about: Description, batch: int | None
) -> bytes:
    """Returns the same file in float32: with the same ends, and loops where it has them."""
    taps = {key: about.taps.get(key) for key in about.outputs or (MAIN,)}
    pairs = {name: (value.mean, value.std) for name, value in about.normalization.items()}
    options = Options(
        "float32",
        batch,
        "float32",
        True,
        False,
        taps,
        pairs or None,
        about.raw_inputs,
        dict(about.answers) or None,
        None,
    )
    loops = about.quantization not in CALIBRATED
    return converted(model, inputs, options, None, loops)[0]


def _errors(
    content: bytes, exact: LiteRT, quantized: LiteRT, x: dict[str, np.ndarray], batch: int
) -> dict[str, float]:
    """Returns the relative error of each tensor that a step gives, by name."""
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
            # Where a name is taken already, the converter puts a 1 behind it.
            values.append(runner.tensors([*names, *(f"{name}1" for name in names)]))
        for name, total in sums.items():
            _add(total, values[0].get(name), values[1].get(name), values[1].get(f"{name}1"))
    return {
        name: float(np.sqrt(squares / max(of_squares - of_values**2 / size, 1e-30)))
        for name, (size, squares, of_values, of_squares) in sums.items()
        if size
    }


def _add(total: np.ndarray, exact: np.ndarray | None, *candidates: np.ndarray | None) -> None:
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


def _steps(
    content: bytes, errors: dict[str, float], layers: frozenset[str]
) -> tuple[LayerError, ...]:
    model = parse(content)
    graph = model.subgraphs[0]
    name_of = [tensor.name.decode() for tensor in graph.tensors]
    ends = {end.tensorIndex: end.name.decode() for end in model.signatureDefs[0].outputs}

    def worst(indices: Sequence[int]) -> float | None:
        found = [errors.get(name_of[index]) for index in indices if index >= 0]
        return max((error for error in found if error is not None), default=None)

    steps = []
    for op, operator in operators(model, graph):
        error, output = worst(operator.outputs), operator.outputs[0]
        if error is None:
            continue
        parts = name_of[output].split(";")
        places = dict.fromkeys(layer_of(part, layers) for part in parts)
        layer = ends.get(output) or " + ".join(places)
        shape = tuple(map(int, graph.tensors[output].shape))
        added = max(error - (worst(operator.inputs) or 0.0), 0.0)
        steps.append(LayerError(layer, op, shape, error, added))
    return tuple(steps)
