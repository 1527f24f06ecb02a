"""What a file does beside the model: to the raw values before it, to its outputs after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_kd.export.calibration import made_up
from keras_kd.litert import signature
from keras_kd.models.graph import OpaqueModelError, open_graph
from keras_kd.models.logits import inspect_output

#: What can be made of an output in the file.
ANSWERS = ("softmax", "sigmoid", "argmax")


@dataclass(frozen=True)
class Normalization:
    """How raw values became what a model takes: `(raw - mean) / std`.

    Attributes:
        mean: One number, or one for each channel (the last axis).
        std: Likewise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, raw: Any) -> Any:
        """Returns what the model takes."""
        return (raw - np.float32(self.mean)) / np.float32(self.std)

    def undo(self, x: np.ndarray) -> np.ndarray:
        """Returns the raw values, in float32."""
        return np.asarray(x * np.float32(self.std) + np.float32(self.mean), "float32")


@dataclass(frozen=True)
class Ends:
    """What stands in the file before and behind the model.

    Attributes:
        normalization: By input: how its raw values were normalised.
        raw_inputs: Whether the file takes raw values and normalises them itself.
        answers: By output: which of `ANSWERS` the file gives in its place.
    """

    normalization: Mapping[str, Normalization] = field(default_factory=dict)
    raw_inputs: bool = False
    answers: Mapping[str, str] = field(default_factory=dict)

    def enter(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns, in the graph, what the model takes of what the file is given."""
        if not self.raw_inputs:
            return dict(raw)
        return {
            name: self.normalization[name].apply(tensor) if name in self.normalization else tensor
            for name, tensor in raw.items()
        }

    def leave(self, outputs: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Returns what the file gives for what the model gives."""
        return {name: _answer(self.answers.get(name), value) for name, value in outputs.items()}

    def expected(self, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns what is compared with the file: the model's outputs, with its probabilities.

        Where the file gives class numbers they are the outputs as they are.
        """
        shown = {name: answer for name, answer in self.answers.items() if answer != "argmax"}
        return {
            name: _answer(shown[name], value).numpy() if name in shown else value
            for name, value in outputs.items()
        }

    def raw(self, x: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns what the file takes for what the model takes."""
        if not self.raw_inputs:
            return dict(x)
        return {
            name: self.normalization[name].undo(array) if name in self.normalization else array
            for name, array in x.items()
        }


def normalizations(
    given: Any, inputs: Mapping[str, tf.TensorSpec], raw_inputs: bool
) -> dict[str, Normalization]:
    """Reads what a user says of the normalisation.

    Args:
        given: `(mean, std)`, or a dictionary of such pairs by input, or `None`.
        inputs: The model's inputs by name.
        raw_inputs: Whether the file shall do it.

    Raises:
        ValueError: If it is no such thing, or does not fit an input.
    """
    if given is None:
        if raw_inputs:
            raise ValueError(
                "Expected `normalization` with raw_inputs=True: how raw values become what the "
                "model takes. Received: normalization=None. Pass (mean, std), for example (0, 255)."
            )
        return {}
    pairs = given if isinstance(given, Mapping) else dict.fromkeys(inputs, given)
    if len(inputs) > 1 and not isinstance(given, Mapping):
        raise ValueError(
            f"Expected `normalization` by the names of the inputs {list(inputs)}, since there are "
            f"several. Received: {given!r}. Make it a dictionary."
        )
    unknown = sorted(set(pairs) - set(inputs))
    if unknown:
        raise ValueError(
            f"Expected `normalization` of the inputs {list(inputs)}. Received: one of {unknown}. "
            "Rename or remove these."
        )
    return {name: _normalization(name, pair, inputs[name]) for name, pair in pairs.items()}


def answers(given: Any, outputs: Mapping[str, Sequence[int | None]]) -> dict[str, str]:
    """Reads what a user wants made of the outputs.

    Args:
        given: One of `ANSWERS` for the only output, or a dictionary of them by output, or `None`.
        outputs: The shapes of the model's outputs by name.

    Raises:
        ValueError: If it is no such thing, or does not fit an output.
    """
    chosen = by_output(given, outputs, "answer") if given is not None else {}
    for name, answer in chosen.items():
        if answer not in ANSWERS:
            raise ValueError(
                f"Expected an `answer` of {ANSWERS}. Received: {answer!r} for output '{name}'. "
                "Choose one."
            )
        if answer != "sigmoid" and outputs[name][-1] == 1:
            raise ValueError(
                f"Expected an output of several classes for answer={answer!r}. Received: output "
                f"'{name}' of shape {tuple(outputs[name])}. Use answer='sigmoid' for one unit."
            )
    return chosen


def labels(given: Any, outputs: Mapping[str, Sequence[int | None]]) -> dict[str, tuple[str, ...]]:
    """Reads what a user says the classes are called.

    Args:
        given: The names for the only output, or a dictionary of them by output, or `None`.
        outputs: The shapes of the model's outputs by name.

    Raises:
        ValueError: If there are more or fewer names than classes.
    """
    named = by_output(given, outputs, "labels") if given is not None else {}
    for name, names in named.items():
        count = max(outputs[name][-1], 2)
        if isinstance(names, str) or len(names) != count:
            raise ValueError(
                f"Expected {count} labels for output '{name}' of shape {tuple(outputs[name])}. "
                f"Received: {names!r}. Name each class, in order."
            )
    return {name: tuple(map(str, names)) for name, names in named.items()}


def require_logits(
    model: keras.Model, chosen: Mapping[str, str], inputs: signature.Signature
) -> None:
    """Refuses to make probabilities of what are probabilities already.

    Args:
        model: The model.
        chosen: The answers by output.
        inputs: What the model is called with.

    Raises:
        ValueError: If an output is.
    """
    wanted = [name for name, answer in chosen.items() if answer != "argmax"]
    if not wanted:
        return
    outputs = model.predict_on_batch(inputs.pack(made_up(inputs)))
    names = signature.of_outputs(model, outputs)
    values = dict(zip(names, keras.tree.flatten(outputs), strict=True))
    kinds = _kinds(model)
    for name in wanted:
        of_one = np.allclose(values[name].sum(-1), 1, atol=1e-3) and (values[name] >= 0).all()
        if kinds.get(name) in ("softmax", "sigmoid") or (of_one and name not in kinds):
            raise ValueError(
                f"Expected an output of logits for answer={chosen[name]!r}. Received: output "
                f"'{name}' of '{model.name}', which is probabilities already. Leave `answer` away."
            )


def _kinds(model: keras.Model) -> dict[str, str]:
    """Returns what each output holds, by its name in the file, where that can be told."""
    try:
        graph = open_graph(model)
    except OpaqueModelError:
        return {}
    names = signature.of_outputs(model, graph.outputs)
    verdicts = {
        name: inspect_output(graph, tensor).kind
        for name, tensor in zip(names, keras.tree.flatten(graph.outputs), strict=True)
    }
    return {name: kind for name, kind in verdicts.items() if kind != "unknown"}


def by_output(given: Any, outputs: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Returns what was given for the only output, or for several by their names.

    Raises:
        ValueError: If there are several outputs and no names, or names of none of them.
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


def _normalization(name: str, pair: Any, spec: tf.TensorSpec) -> Normalization:
    try:
        mean, std = (tuple(np.atleast_1d(np.float32(part)).tolist()) for part in pair)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected `normalization` as (mean, std), each a number or one for each channel. "
            f"Received: {pair!r} for input '{name}'. Use (0, 255) for pixels that became [0, 1]."
        ) from error
    channels = spec.shape[-1] if spec.shape.rank else None
    fits = all(len(part) in (1, channels) and np.isfinite(part).all() for part in (mean, std))
    if not fits or not np.all(np.array(std) > 0) or not spec.dtype.is_floating:
        raise ValueError(
            f"Expected a mean and a positive std, of one number or {channels}, for an input of "
            f"floats. Received: mean={mean}, std={std} for input '{name}' of {spec.dtype.name} and "
            f"shape {tuple(spec.shape)}. Give the values that the training data was normalised "
            "with."
        )
    return Normalization(mean, std)


def _answer(answer: str | None, value: Any) -> tf.Tensor:
    if answer == "softmax":
        return tf.nn.softmax(value)
    if answer == "sigmoid":
        return tf.nn.sigmoid(value)
    if answer == "argmax":
        return tf.argmax(value, -1, output_type=tf.int32)
    return tf.convert_to_tensor(value)
