"""The teacher's representation: the output of one teacher layer, which the students mimic."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.cache.prepared import compare_preprocessing
from keras_kd.models.graph import Call, Graph, built_inputs, open_graph, with_activation
from keras_kd.models.hooks import Hook, Recorder
from keras_kd.models.inputs import call_model
from keras_kd.models.logits import ACTIVATED
from keras_kd.models.split import locate_layer, model_after, require_single_path
from keras_kd.models.tap_names import resolve_tap, tap_name
from keras_kd.models.tap_places import hook_at
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import (
    JoinedInputs,
    joined_spec,
    locate_teacher_outputs,
    unpack_batch,
)
from keras_kd.teachers.teacher import as_teachers, replicate_teacher
from keras_kd.training import backend
from keras_kd.training.batches import as_batches, unpack_x_y
from keras_kd.training.tf_data import is_dataset, repeats_forever

MIMIC = ("auto", "output", "preactivation")
# Layers that only apply an activation.
_ACTIVATION_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


class Representation:
    """The output of a live teacher's layer, and the part of the teacher after it.

    This is not a Keras object, so an owner does not track the teacher.

    Args:
        teacher: The teacher.
        layer: The layer, `outer/inner` inside a nested model.
        mimic: `"output"`, `"preactivation"` for the input of the layer's activation, or `"auto"`:
            the preactivation if there is an activation. Defaults to `"auto"`.

    Attributes:
        mimic: `"output"` or `"preactivation"`.
        has_activation: Whether the layer has an activation.

    Raises:
        ValueError: If the layer does not exist, returns neither a vector nor a map, has no
            activation to remove, or is not on every path to the teacher's output.
    """

    def __init__(self, teacher: BaseTeacher, layer: str, mimic: str = "auto") -> None:
        model = teacher.model
        graph = open_graph(model, inside=[layer])
        tensor = locate_layer(model, graph, layer)
        self.shape = require_shape(tuple(tensor.shape), model.name, layer)
        require_single_path(model, graph, tensor, layer)
        call = graph.maker(tensor)
        function = _activation(call)
        if mimic == "auto":
            mimic = "output" if function is None else "preactivation"
        self.teacher, self.layer, self.mimic = teacher, layer, mimic
        self.has_activation = function is not None
        if mimic == "preactivation":
            if function is None:
                raise ValueError(
                    f"TeacherClass: layer '{layer}' of '{model.name}' has no activation to remove. "
                    "Pass mimic='output'. Received: mimic='preactivation'"
                )
        elif function is not None and not _is_idempotent(function):
            function = None
        self._final_activation = function
        self._tapped = TappedModel(model, [Tap(layer)])
        _require_channels_last(self._tapped, layer)
        self._hook = _preactivation_hook(graph, call) if mimic == "preactivation" else None

    @property
    def applies_activation(self) -> bool:
        """Whether `activation` returns a layer."""
        return self._final_activation is not None

    @property
    def units(self) -> int:
        """Number of units, or channels, of the layer."""
        return self.shape[-1]

    def __call__(self, x: Any) -> Any:
        """Return the target of all students for a batch, without gradients.

        Returns:
            A tensor (batch, ..., units).

        Raises:
            ValueError: If the joined data are from another teacher or lack the layer.
        """
        x, teacher_outputs = unpack_batch(x)
        if teacher_outputs is not None:
            with backend.outside_graph():  # Fingerprints the weights of a live teacher, once.
                teacher, tap = self._locate(x, teacher_outputs)
            return teacher_outputs[teacher][tap]
        with backend.without_gradients():
            return ops.stop_gradient(self._run_teacher(self.teacher.preprocess(x)))

    def require_data(self, data: Any, validation: Any = None) -> None:
        """Reject data that lack the targets, before training.

        Args:
            data: As `x` for `fit`.
            validation: As `validation_data` for `fit`. Defaults to `None`.

        Raises:
            ValueError: If the joined data are from another teacher or lack the layer.
        """
        validation = validation[0] if type(validation) in (tuple, list) else validation
        for one in [data] if validation is None else [data, validation]:
            self._require_targets(joined_spec(one))
            compare_preprocessing([self.teacher], one)

    def _require_targets(self, spec: JoinedInputs | None) -> None:
        if spec is not None:
            self._locate(spec.x, spec.teacher_outputs)

    def _locate(self, x: Any, teacher_outputs: Any) -> tuple[str, str]:
        self._require_output()
        tap = Tap(self.layer)
        return locate_teacher_outputs([self.teacher], [[tap]], teacher_outputs, x)[0][tap]

    def _require_output(self) -> None:
        if self.mimic == "preactivation":
            raise ValueError(
                f"TeacherClass: a cache holds the output of layer '{self.layer}', not its values "
                "before the activation, which are the default target with a live teacher. "
                "Pass mimic='output', or fit on data without a cache. "
                "Received: mimic='preactivation'"
            )

    def _run_teacher(self, x: Any) -> Any:
        if self._hook is None:
            return next(iter(self._tapped(x)[1].values()))
        with Recorder([self._hook]) as recorder:
            call_model(self.teacher.model, x, training=False)
        return recorder.value(self._hook)

    def activation(self) -> keras.layers.Layer | None:
        """Return a new layer to apply to the joined student outputs, or `None`."""
        if self._final_activation is None:
            return None
        if isinstance(self._final_activation, keras.layers.Layer):
            config = {**self._final_activation.get_config(), "name": "activation"}
            return type(self._final_activation).from_config(config)
        return keras.layers.Activation(self._final_activation, name="activation")

    def head(self) -> keras.Model:
        """Return a trainable copy of the part of the teacher after the layer.

        Raises:
            ValueError: If the copy does not reproduce the teacher's outputs.
        """
        head = model_after(self.teacher.model, self.layer, "teacher_head")
        head.trainable = True
        x = _probe_inputs(self.teacher.model)
        if x is not None:
            values = self._run_teacher(x)
            if self._final_activation is not None:
                values = self._final_activation(values)
            expected = tree.flatten(self.teacher.model(x, training=False))
            for one, other in zip(
                expected, tree.flatten(head(values, training=False)), strict=True
            ):
                self._require_equal(
                    *(ops.convert_to_numpy(v).astype("float64") for v in (one, other))
                )
        return head

    def _require_equal(self, expected: np.ndarray, found: np.ndarray) -> None:
        if not np.allclose(
            expected, found, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(expected).max())
        ):
            raise ValueError(
                f"TeacherClass: the copy of teacher '{self.teacher.name}' after its layer "
                f"'{self.layer}' must reproduce the teacher's outputs. Received: a difference of "
                f"{np.abs(expected - found).max():.1e}. The cause may be a layer with state that "
                "is not a weight: pass your own head to `assemble`."
            )

    def mean(self, data: Any) -> np.ndarray:
        """Return the mean of each unit over some data, (units,)."""
        return self._moments(data, products=False)[0]

    def covariance(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (units,) and covariance (units, units) of the units over some data."""
        mean, product = self._moments(data, products=True)
        return mean, product - np.outer(mean, mean)

    def correlation(self, data: Any) -> np.ndarray:
        """Return the correlation of the units over some data, (units, units); 0 if constant."""
        mean, covariance = self.covariance(data)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
        # A deviation of the size of rounding errors counts as none.
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
        deviation[constant] = 1
        covariance[constant] = covariance[:, constant] = 0
        return covariance / np.outer(deviation, deviation)

    def batches(self, data: Any) -> Iterator[Any]:
        """Yield the x of each batch of some data; reject data without end."""
        return _batches(data, self.teacher.input_count)

    def _moments(self, data: Any, products: bool) -> tuple[np.ndarray, Any]:
        count, total, product = 0, np.zeros(self.units), np.zeros(())
        for x in self.batches(data):
            values = ops.convert_to_numpy(ops.cast(self(x), "float32"))
            values = values.reshape(-1, self.units).astype("float64")
            count += len(values)
            total = total + values.sum(axis=0)
            product = product + (values.T @ values if products else 0)
        if not count:
            raise ValueError("TeacherClass: `data` must hold samples. Received: none")
        return total / count, product / count


class CachedRepresentation(Representation):
    """The output of a layer that a `KnowledgeCache` stores; there is no model to run.

    Its activation is not known.

    Raises:
        ValueError: If the cache lacks the layer, or `mimic` is `"preactivation"`.
    """

    def __init__(self, teacher: BaseTeacher, layer: str, mimic: str = "auto") -> None:
        mimic, self.has_activation = "output" if mimic == "auto" else mimic, False
        self.teacher, self.layer, self.mimic = teacher, layer, mimic
        self._require_output()
        tap = Tap(layer)
        self.shape = require_shape(teacher.watch([tap]).shapes[tap], teacher.name, layer)

    def _require_targets(self, spec: JoinedInputs | None) -> None:
        if spec is None:
            raise ValueError(
                f"TeacherClass: teacher '{self.teacher.name}' exists only in a cache, so the "
                "students train on joined data. Pass `cache.join(dataset)`."
            )
        super()._require_targets(spec)

    def _run_teacher(self, x: Any) -> Any:
        self._require_targets(None)

    def activation(self) -> None:
        """Raise: it is unknown without the model."""
        self._require_model()

    def head(self) -> None:
        """Raise: it does not exist without the model."""
        self._require_model()

    def _require_model(self) -> None:
        raise ValueError(
            f"TeacherClass: teacher '{self.teacher.name}' exists only in a cache, without the "
            f"layers after '{self.layer}'. Call `set_teacher(model)` before `assemble`."
        )


def make_representation(teacher: Any, layer: str, mimic: str = "auto") -> Representation:
    """Return the representation of a live or a cached teacher.

    Raises:
        ValueError: As for `Representation` and `CachedRepresentation`.
    """
    if mimic not in MIMIC:
        raise ValueError(f"TeacherClass: `mimic` must be one of {MIMIC}. Received: {mimic!r}")
    teachers = as_teachers(teacher)
    if len(teachers) != 1:
        raise ValueError(
            "TeacherClass: there must be one teacher. "
            f"Received: teacher={[teacher.name for teacher in teachers]}"
        )
    name = tap_name(layer, "layer", "TeacherClass", required=True)
    layer = resolve_tap(name, [teachers[0].original], "layer", "TeacherClass")
    teacher = replicate_teacher(teachers[0])
    if teacher.model is None and not teacher.is_cached:
        raise ValueError(
            f"TeacherClass: teacher '{teacher.name}' is a .tflite file or has precomputed outputs, "
            f"so its layers cannot be read. Pass the Keras model. Received: layer={layer!r}"
        )
    kind = CachedRepresentation if teacher.is_cached else Representation
    return kind(teacher, layer, mimic)


def require_shape(shape: tuple, name: str, layer: str) -> tuple:
    """Reject a layer whose output is neither a vector nor a map.

    Raises:
        ValueError: If the output has another shape.
    """
    if not 2 <= len(shape) <= 4 or shape[-1] is None:
        raise ValueError(
            "TeacherClass: the teacher's layer must return a vector (batch, units) or a map "
            "(batch, ..., channels) with a known number of channels. Received: layer "
            f"'{layer}' of '{name}', of shape {shape}. Choose another: kd.taps(model) lists them."
        )
    return shape


def _require_channels_last(tapped: TappedModel, layer: str) -> None:
    """Reject a map with the channels elsewhere: students and head exchange maps unchanged."""
    if tapped.channel_axes[Tap(layer)] != len(tapped.shapes[Tap(layer)]) - 1:
        raise ValueError(
            f"TeacherClass: the layer '{layer}' of '{tapped.model.name}' returns maps with "
            "data_format='channels_first', and chunks are taken of the last axis. Choose a layer "
            "after pooling, or one after a keras.layers.Permute that moves the channels last. "
            f"Received: layer={layer!r} of shape {tapped.own_shape(Tap(layer))}"
        )


def _activation(call: Call | None) -> Any:
    """Return the function that a layer ends in, or `None`."""
    if call is None:
        return None
    layer = with_activation(call.layer)
    if isinstance(layer, _ACTIVATION_LAYERS):
        return layer
    if not isinstance(layer, ACTIVATED) or layer.activation is keras.activations.linear:
        return None
    return layer.activation


def _preactivation_hook(graph: Graph, call: Call) -> Hook:
    """Return the hook that captures the input of a layer's activation."""
    only = isinstance(call.layer, _ACTIVATION_LAYERS)
    return hook_at(graph, call, "input" if only else "preactivation")


def _is_idempotent(function: Any) -> bool:
    """Return whether applying a function twice equals applying it once: true for ReLU."""
    once = function(ops.expand_dims(ops.linspace(-12.0, 12.0, 97), 0))
    return np.allclose(function(once), once, atol=1e-6)


def _probe_inputs(model: keras.Model) -> Any:
    """Return two samples that any model with these inputs accepts, or `None` for unknown sizes."""
    inputs = built_inputs(model)
    if any(None in tensor.shape[1:] for tensor in tree.flatten(inputs)):
        return None
    rng = np.random.default_rng(0)

    def sample(tensor: keras.KerasTensor) -> Any:
        shape = (2, *tensor.shape[1:])
        floating = "float" in keras.backend.standardize_dtype(tensor.dtype)
        return ops.convert_to_tensor(
            rng.uniform(size=shape) if floating else np.zeros(shape), tensor.dtype
        )

    return tree.map_structure(sample, inputs)


def _batches(data: Any, inputs: int) -> Iterator[Any]:
    """Yield the x of each batch."""
    if is_dataset(data) and repeats_forever(data):
        raise ValueError(
            "TeacherClass: `data` repeats without end. Pass it without the `repeat`, or a part of "
            "it: data.take(10)."
        )
    for batch in as_batches(data, "TeacherClass", inputs=inputs):
        yield tree.map_structure(ops.convert_to_tensor, unpack_x_y(batch)[0])
