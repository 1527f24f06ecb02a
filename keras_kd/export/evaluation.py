"""Evaluate a .tflite file on a data set and compare it with its Keras model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_kd.export.conversion import FLOATS
from keras_kd.export.metadata import Description, describe_content
from keras_kd.export.output_scores import OutputScores
from keras_kd.export.output_tasks import file_tasks, ignored_classes
from keras_kd.export.scores import Evaluation
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.litert import signature as signatures
from keras_kd.litert.interpreter import LiteRT, read_tflite
from keras_kd.models.graph import require_built
from keras_kd.models.inputs import predict_batch
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.models.user_warnings import warn_user
from keras_kd.training.batches import as_batches, unpack_x_y


@dataclass(frozen=True)
class ScoreOptions:
    """How to score the outputs of a file; see `evaluate`.

    Attributes:
        outputs: What the outputs are, as the user declares it.
        threshold: Decision threshold of yes-or-no outputs; `None` for that of their kind.
        ignore_class: A label that is not counted.
        lenient: Whether labels that do not fit an output are not counted, with a warning.
    """

    outputs: str | Mapping[str, str] = "auto"
    threshold: float | None = None
    ignore_class: int | None = None
    lenient: bool = False


def evaluate(
    tflite: TFLiteModel | str | Path,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    *,
    threshold: float | None = None,
    signature: str | None = None,
    outputs: str | Mapping[str, str] = "auto",
    ignore_class: int | None = None,
) -> Evaluation:
    """Evaluate a .tflite file on a data set, with LiteRT in a child process.

    The scores are those of each output's task: accuracy of classes, of a yes-or-no question (with
    the AUC) or of independent labels (with the exact match); mean absolute error, root mean squared
    error and R² of numbers. The task follows from `outputs`, the loss that `model` is compiled
    with, a final softmax or sigmoid, and then the labels. A file that takes raw inputs receives the
    denormalized samples of the data set. A file that returns class indices is compared by these.

    Args:
        tflite: The file: what `to_tflite` returned, or a path.
        dataset: Batches of `x`, `(x, y)` or `(x, y, weights)`, as the Keras model takes them: a
            `tf.data.Dataset`, another iterable, or arrays. Labels are integers (with or without a
            last axis of 1; -1 for unlabeled) or one-hot for classes, and have the shape of the
            output otherwise; NaN is a missing label. For several outputs they are a dictionary by
            name, in which some may be missing, or a tuple in the Keras model's order. Weights are
            ignored.
        model: The Keras model to compare with. Defaults to `None`.
        threshold: Decision threshold of an output of one unit or of independent labels. Defaults to
            `None`: 0.5 for probabilities, 0 for logits.
        signature: The signature to run. Defaults to the first.
        outputs: What the outputs are, if it cannot be detected or is something else: `"logits"`,
            `"probabilities"` or `"values"` as for `kd.Teacher`, or a task, `"classes"`, `"binary"`
            or `"labels"`; for several outputs a dictionary by name. Defaults to `"auto"`.
        ignore_class: A label that is not counted, such as 255 for void pixels. Defaults to `None`,
            that of the loss that `model` is compiled with.

    Returns:
        The `Evaluation`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a .tflite model, the data set is empty, its samples or labels
            do not match the model, or `outputs` contradicts the model.
        RuntimeError: If LiteRT cannot run the file.

    Example:
        >>> result = evaluate("model.tflite", test, model=student)
        >>> result.accuracy, result.agreement
        (0.973, 0.998)
    """
    if model is not None:
        require_built(model, "The model to compare with")
    path = tflite.path if isinstance(tflite, TFLiteModel) else tflite
    content = read_tflite(path)
    description = describe_content(content)
    inputs = description.inputs or None
    if inputs is None and model is not None:
        inputs = signatures.infer_signature(model).names
    options = ScoreOptions(outputs, threshold, ignore_class)
    with LiteRT(content, f"'{path}'", inputs=inputs, signature=signature) as runner:
        return evaluate_runner(runner, content, description, dataset, model, options)


def evaluate_runner(
    runner: LiteRT,
    content: bytes,
    description: Description,
    dataset: Iterable[Any],
    model: keras.Model | None = None,
    options: ScoreOptions = ScoreOptions(),
) -> Evaluation:
    """Evaluate an open file. See `evaluate`."""
    ordered = description.outputs.get(runner.signature)
    scores = _make_scores(runner, content, description, model, options)
    samples, unknown = 0, None
    for batch in as_batches(dataset, "evaluate", inputs=len(runner.inputs)):
        x, y = unpack_x_y(batch)
        x = tree.map_structure(np.asarray, x)
        given = signatures.by_name(x, list(runner.inputs))
        outputs = runner.run(description.processing.to_file_inputs(given))
        labels = {}
        if y is not None:
            try:
                labels = _labels_by_output(y, ordered, runner.outputs)
                _check_names(labels, runner.outputs)
            except ValueError as error:
                if not options.lenient:
                    raise
                unknown = str(error)
        expected = {}
        if model is not None:
            expected = _expected_outputs(model, x, description, runner, list(scores))
        for name, one in scores.items():
            one.add(outputs[name], labels.get(name), expected.get(name))
        samples += len(tree.flatten(x)[0])
    if not samples:
        raise ValueError(
            "Expected a data set of at least one sample. Received: no samples. Check that it is "
            "not empty or exhausted."
        )
    found = Evaluation(samples, {name: one.score() for name, one in scores.items()})
    _warn_about_unused([unknown, *(one.unused for one in scores.values())])
    return found


def _make_scores(
    runner: LiteRT,
    content: bytes,
    description: Description,
    model: keras.Model | None,
    options: ScoreOptions,
) -> dict[str, OutputScores]:
    tasks = file_tasks(runner, content, description, model, options.outputs)
    ignored = ignored_classes(model, list(tasks), options.ignore_class)
    return {
        name: OutputScores(
            task,
            options.threshold,
            description.answers.get(name) == "argmax",
            ignored[name],
            options.lenient,
            runner.signature in description.taps,
            description.quantization in FLOATS,
        )
        for name, task in tasks.items()
    }


def _warn_about_unused(reasons: Sequence[str | None]) -> None:
    """Warn of labels that were given and could not be used."""
    for reason in dict.fromkeys(filter(None, reasons)):
        warn_user(f"The labels do not count, so accuracy and max_drop are not checked. {reason}")


def _expected_outputs(
    model: keras.Model, x: Any, description: Description, runner: LiteRT, outputs: list[str]
) -> dict[str, np.ndarray]:
    """Return the values to compare each output of the file with.

    Raises:
        ValueError: If the outputs of model and file do not correspond.
    """
    if runner.signature in description.taps:
        tap = Tap(description.taps[runner.signature])
        value = TappedModel(model, [tap], own_layout=True)(x)[1][tap]
        return {outputs[0]: keras.ops.convert_to_numpy(value)}
    samples = len(tree.flatten(x)[0])
    # A model created under tf.distribute returns the outputs of every replica.
    found = tree.map_structure(lambda value: value[:samples], predict_batch(model, x))
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
    y: Any, ordered: tuple[str, ...] | None, outputs: tuple[str, ...]
) -> dict[str, Any]:
    """Return the labels of each output that has some.

    Raises:
        ValueError: If it is not known which output they belong to.
    """
    y = tree.map_structure(np.asarray, y)
    if ordered is None and len(outputs) > 1 and not isinstance(y, dict):
        raise ValueError(
            f"Expected labels by name: the file does not record the order of {list(outputs)}. "
            f"Received: labels of type {type(y).__name__}. Make them a dictionary."
        )
    return signatures.by_name(y, ordered or outputs)


def _check_names(labels: Mapping[str, Any], outputs: tuple[str, ...]) -> None:
    """Reject labels of outputs that the file does not have.

    Raises:
        ValueError: If there are some.
    """
    unknown = sorted(set(labels) - set(outputs))
    if unknown:
        raise ValueError(
            f"Expected labels of the outputs {list(outputs)}. Received: labels of {unknown}. "
            "Rename or remove these."
        )
