"""How good a .tflite file is on a data set, and how close to the Keras model it came from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.metadata import Description, describe_content
from keras_kd.export.scores import Evaluation, Tally
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert import signature as signatures
from keras_kd.litert.interpreter import LiteRT, read
from keras_kd.models.taps import Tap, TappedModel


def evaluate(
    tflite: TFLiteModel | str | Path,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    *,
    threshold: float = 0.5,
    signature: str | None = None,
) -> Evaluation:
    """Runs a data set through a .tflite file with LiteRT, in a process of its own.

    An output's last axis holds its classes: (batch, classes), or (batch, height, width, classes)
    for one answer in each place. Where that axis is 1, the answer is whether the value is above
    `threshold`. A file of `to_tflite` that takes raw values is given the data set's as they were
    before they were normalised; one that gives class numbers is compared in these.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        dataset: Batches of `x`, `(x, y)` or `(x, y, weights)`, as the Keras model takes them: a
            `tf.data.Dataset` or another iterable. Labels are integers (without or with a last axis
            of 1; -1 where there is none) or one-hot. Of several outputs they are a dictionary by
            name, in which some may be missing, or a tuple in the Keras model's order. Weights are
            not used.
        model: The Keras model to compare with. Defaults to `None`.
        threshold: Where "yes" begins for an output of one unit: 0.5 for probabilities, 0 for
            logits. Defaults to `0.5`.
        signature: Which of the file's signatures to run. Defaults to the first.

    Returns:
        The `Evaluation`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, the data set is empty, or its samples or
            labels do not fit the model.
        RuntimeError: If LiteRT cannot run the file.

    Example:
        >>> result = evaluate("model.tflite", test, model=student)
        >>> result.accuracy, result.agreement
        (0.973, 0.998)
    """
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read(path)
    about = describe_content(content)
    inputs = about.inputs or (signatures.of_inputs(model).names if model is not None else None)
    with LiteRT(content, f"'{path}'", inputs=inputs, signature=signature) as runner:
        return score(runner, about, dataset, model, threshold)


def score(
    runner: LiteRT,
    about: Description,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    threshold: float = 0.5,
    doubtful: bool = False,
) -> Evaluation:
    """Runs a data set through an opened file. See `evaluate`.

    Args:
        runner: The file.
        about: What the file says of itself.
        dataset: Batches.
        model: The Keras model to compare with. Defaults to `None`.
        threshold: Where "yes" begins for an output of one unit. Defaults to `0.5`.
        doubtful: Whether labels that are none of an output's classes are left out, not refused.
    """
    ordered = about.outputs.get(runner.signature)
    tallies = {
        name: Tally(name, threshold, about.answers.get(name) == "argmax", doubtful)
        for name in ordered or runner.outputs
    }
    samples = 0
    for batch in dataset:
        x, y = signatures.unpack(batch)
        x = tree.map_structure(np.asarray, x)
        given = signatures.by_name(x, list(runner.inputs))
        answers = runner.run(about.ends.raw(given))
        labels = {} if y is None else _labels(y, ordered, runner.outputs, doubtful)
        expected = {} if model is None else _expected(model, x, about, runner, list(tallies))
        for name, tally in tallies.items():
            tally.add(answers[name], labels.get(name), expected.get(name))
        samples += len(tree.flatten(x)[0])
    if not samples:
        raise ValueError(
            "Expected a data set of at least one sample. Received: no sample at all. Check that it "
            "is not empty or used up."
        )
    return Evaluation(samples, {name: tally.score() for name, tally in tallies.items()})


def _expected(
    model: keras.Model, x: Any, about: Description, runner: LiteRT, outputs: list[str]
) -> dict[str, np.ndarray]:
    """Returns what the model gives in place of each output of the file.

    Raises:
        ValueError: If it cannot be told which of the model's outputs is which of the file's.
    """
    if runner.signature in about.taps:
        place = Tap(about.taps[runner.signature])
        return {outputs[0]: keras.ops.convert_to_numpy(TappedModel(model, [place])(x)[1][place])}
    samples = len(tree.flatten(x)[0])
    # A model made under tf.distribute runs the batch on every replica and gives all the answers.
    found = tree.map_structure(lambda value: value[:samples], model.predict_on_batch(x))
    names, values = signatures.of_outputs(model, found), tree.flatten(found)
    # The same model, made again, may have other names; their order is known or there is but one.
    if (
        set(names) != set(outputs)
        and len(names) == len(outputs)
        and (about.outputs or not names[1:])
    ):
        names = outputs
    if set(names) != set(outputs):
        raise ValueError(
            f"Expected a model with the file's outputs {outputs}. Received: '{model.name}' with "
            f"{list(names)}. Give the model that the file was made of."
        )
    return about.ends.expected(dict(zip(names, values, strict=True)))


def _labels(
    y: Any, ordered: tuple[str, ...] | None, outputs: tuple[str, ...], doubtful: bool
) -> dict[str, Any]:
    """Returns the labels by the names of their outputs."""
    y = tree.map_structure(np.asarray, y)
    if doubtful:
        try:
            labels = signatures.by_name(y, ordered or outputs)
        except ValueError:
            return {}
        return {name: label for name, label in labels.items() if name in outputs}
    if ordered is None and len(outputs) > 1 and not isinstance(y, dict):
        raise ValueError(
            f"Expected labels by name: the file does not tell the order of {list(outputs)}. "
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
