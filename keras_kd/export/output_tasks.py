"""What the outputs of a Keras model or a .tflite file are, from all that is known of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_kd.export.metadata import Description
from keras_kd.export.pre_post_processing import model_heads, require_classes_last
from keras_kd.litert import signature as signatures
from keras_kd.litert.flatbuffer import main_signature
from keras_kd.litert.interpreter import LiteRT
from keras_kd.litert.output_ops import final_op
from keras_kd.models.declaration import OUTPUTS
from keras_kd.models.output_evidence import (
    OutputTask,
    compiled_losses,
    decide_output,
    declared_outputs,
)
from keras_kd.models.task import Evidence
from keras_kd.training.labels import ignored_class


def file_tasks(
    runner: LiteRT,
    content: bytes,
    description: Description,
    model: keras.Model | None = None,
    outputs: str | Mapping[str, str] = "auto",
) -> dict[str, OutputTask]:
    """Return what each output of a file is.

    Args:
        runner: The open file.
        content: Its bytes.
        description: Its description.
        model: The Keras model that it was made from, if it is known. Defaults to `None`.
        outputs: What the user declares. Defaults to `"auto"`.

    Raises:
        ValueError: If the declaration is invalid, or contradicts something.
    """
    names = list(description.outputs.get(runner.signature) or runner.outputs)
    losses: dict[str, Any] = {}
    heads = dict.fromkeys(names, "unknown") | _file_heads(runner, content, names)
    if model is not None and runner.signature not in description.taps:
        losses = compiled_losses(model, names, signatures.identifier)
        visible = _heads_by_name(model, names)
        heads |= {name: kind for name, kind in visible.items() if kind != "unknown"}
    answers = {name: op for name, op in description.answers.items() if name in heads}
    declared = declared_outputs(outputs, heads)
    # A declaration is of the output before the op that the file applies to it.
    declared |= {name: "auto" for name in answers if declared[name] in OUTPUTS}
    heads |= {name: op for name, op in answers.items() if op != "argmax"}
    units = {name: _units(runner.output_shapes[name]) for name in names}
    # Class numbers have no axis of classes.
    units |= {name: 0 for name, op in answers.items() if op == "argmax"}
    return _decide(units, heads, losses, declared)


def model_tasks(
    model: keras.Model, shapes: Mapping[str, Sequence[int | None]], outputs: Any = "auto"
) -> dict[str, OutputTask]:
    """Return what each output of a Keras model is.

    Args:
        model: The model.
        shapes: Shapes of its outputs by name, in order.
        outputs: What the user declares. Defaults to `"auto"`.

    Raises:
        ValueError: If the declaration is invalid, or contradicts something.
    """
    losses = compiled_losses(model, list(shapes), signatures.identifier)
    heads = dict.fromkeys(shapes, "unknown") | _heads_by_name(model, list(shapes))
    units = {name: _units(shape) for name, shape in shapes.items()}
    return _decide(units, heads, losses, declared_outputs(outputs, heads))


def ignored_classes(
    model: keras.Model | None, names: Sequence[str], ignore_class: int | None
) -> dict[str, int | None]:
    """Return the label that is not counted for each output: as given, or of the compiled loss."""
    losses = {} if model is None else compiled_losses(model, names, signatures.identifier)
    return {
        name: ignored_class(losses.get(name)) if ignore_class is None else ignore_class
        for name in names
    }


def _decide(
    units: Mapping[str, int],
    heads: Mapping[str, str],
    losses: Mapping[str, Any],
    declared: Mapping[str, str],
) -> dict[str, OutputTask]:
    return {
        name: decide_output(
            Evidence(name, units[name], declared[name], losses.get(name), [heads[name]])
        )
        for name in heads
    }


def _heads_by_name(model: keras.Model, names: Sequence[str]) -> dict[str, str]:
    require_classes_last(model)
    heads = model_heads(model)
    # A re-created model may have other names; then the order decides.
    return heads if set(heads) == set(names) else dict(zip(names, heads.values(), strict=False))


def _file_heads(runner: LiteRT, content: bytes, names: Sequence[str]) -> dict[str, str]:
    """Return the kinds of the outputs of the main graph; those of others are not known."""
    if main_signature(content) not in (None, runner.signature):
        return {}
    return {name: final_op(content, runner.output_tensors[name]).kind for name in names}


def _units(shape: Sequence[int | None]) -> int | None:
    """Return the size of the last axis; an output of one number per sample may have none."""
    return shape[-1] if len(shape) > 1 else 1
