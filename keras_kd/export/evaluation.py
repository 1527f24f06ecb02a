"""Evaluate a .tflite file on a data set and compare it with its Keras model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.metadata import Description, describe_content
from keras_kd.export.scores import Evaluation, ScoreCounter
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert import signature as signatures
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.models.inputs import select_inputs
from keras_kd.models.taps import Tap, TappedModel


def evaluate(
    tflite: TFLiteModel | str | Path,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    *,
    threshold: float = 0.5,
    signature: str | None = None,
) -> Evaluation:
    """Evaluate a .tflite file on a data set, with LiteRT in a child process.

    The last axis of an output holds its classes: (batch, classes), or (batch, height, width,
    classes) for dense predictions. If that axis is 1, the prediction is whether the value is above
    `threshold`. A file that takes raw inputs receives the denormalized samples of the data set. A
    file that returns class indices is compared by these.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        dataset: Batches of `x`, `(x, y)` or `(x, y, weights)`, as the Keras model takes them: a
            `tf.data.Dataset` or another iterable. Labels are integers (with or without a last axis
            of 1; -1 for unlabeled) or one-hot. For several outputs they are a dictionary by name,
            in which some may be missing, or a tuple in the Keras model's order. Weights are
            ignored.
        model: The Keras model to compare with. Defaults to `None`.
        threshold: Decision threshold of an output of one unit: 0.5 for probabilities, 0 for logits.
            Defaults to `0.5`.
        signature: The signature to run. Defaults to the first.

    Returns:
        The `Evaluation`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, the data set is empty, or its samples or
            labels do not match the model.
        RuntimeError: If LiteRT cannot run the file.

    Example:
        >>> result = evaluate("model.tflite", test, model=student)
        >>> result.accuracy, result.agreement
        (0.973, 0.998)
    """
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read_tflite(path)
    description = describe_content(content)
    inputs = description.inputs or None
    if inputs is None and model is not None:
        inputs = signatures.infer_signature(model).names
    with LiteRT(content, f"'{path}'", inputs=inputs, signature=signature) as runner:
        return evaluate_runner(runner, description, dataset, model, threshold)


def evaluate_runner(
    runner: LiteRT,
    description: Description,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    threshold: float = 0.5,
    ignore_invalid_labels: bool = False,
) -> Evaluation:
    """Evaluate an open file. See `evaluate`."""
    ordered = description.outputs.get(runner.signature)
    counters = {
        name: ScoreCounter(
            name, threshold, description.answers.get(name) == "argmax", ignore_invalid_labels
        )
        for name in ordered or runner.outputs
    }
    samples = 0
    for batch in dataset:
        x, y = signatures.unpack_x_y(batch)
        x = tree.map_structure(np.asarray, x)
        given = signatures.by_name(x, list(runner.inputs))
        outputs = runner.run(description.processing.to_file_inputs(given))
        labels = {}
        if y is not None:
            labels = _labels_by_output(y, ordered, runner.outputs, ignore_invalid_labels)
        expected = {}
        if model is not None:
            expected = _expected_outputs(model, x, description, runner, list(counters))
        for name, counter in counters.items():
            counter.add(outputs[name], labels.get(name), expected.get(name))
        samples += len(tree.flatten(x)[0])
    if not samples:
        raise ValueError(
            "Expected a data set of at least one sample. Received: no samples. Check that it is "
            "not empty or exhausted."
        )
    return Evaluation(samples, {name: counter.score() for name, counter in counters.items()})


def _expected_outputs(
    model: keras.Model, x: Any, description: Description, runner: LiteRT, outputs: list[str]
) -> dict[str, np.ndarray]:
    """Return the values to compare each output of the file with.

    Raises:
        ValueError: If the outputs of model and file do not correspond.
    """
    if runner.signature in description.taps:
        tap = Tap(description.taps[runner.signature])
        return {outputs[0]: keras.ops.convert_to_numpy(TappedModel(model, [tap])(x)[1][tap])}
    samples = len(tree.flatten(x)[0])
    # A model created under tf.distribute returns the outputs of every replica.
    found = tree.map_structure(
        lambda value: value[:samples], model.predict_on_batch(select_inputs(model, x))
    )
    names, values = signatures.output_names(model, found), tree.flatten(found)
    # A re-created model may have other names; then the order decides, if it is known.
    if (
        set(names) != set(outputs)
        and len(names) == len(outputs)
        and (description.outputs or not names[1:])
    ):
        names = outputs
    if set(names) != set(outputs):
        raise ValueError(
            f"Expected a model with the file's outputs {outputs}. Received: '{model.name}' with "
            f"{list(names)}. Pass the model that the file was exported from."
        )
    return description.processing.expected_outputs(dict(zip(names, values, strict=True)))


def _labels_by_output(
    y: Any, ordered: tuple[str, ...] | None, outputs: tuple[str, ...], ignore_invalid: bool
) -> dict[str, Any]:
    y = tree.map_structure(np.asarray, y)
    if ignore_invalid:
        try:
            labels = signatures.by_name(y, ordered or outputs)
        except ValueError:
            return {}
        return {name: label for name, label in labels.items() if name in outputs}
    if ordered is None and len(outputs) > 1 and not isinstance(y, dict):
        raise ValueError(
            f"Expected labels by name: the file does not record the order of {list(outputs)}. "
            f"Received: labels of type {type(y).__name__}. Make them a dictionary."
        )
    labels = signatures.by_name(y, ordered or outputs)
    unknown = sorted(set(labels) - set(outputs))
    if unknown:
        raise ValueError(
            f"Expected labels of the outputs {list(outputs)}. Received: labels of {unknown}. "
            "Rename or remove these."
        )
    return labels
