"""What a teacher has at one layer: the knowledge that a class of students shares."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.cache.cached_teacher import locate_teacher_outputs
from keras_kd.models.graph import Call, built_inputs, open_graph, with_activation
from keras_kd.models.hooks import Recorder, Watch
from keras_kd.models.logits import ACTIVATED
from keras_kd.models.split import locate_layer, model_after, require_single_path
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.teachers.batch_knowledge import unpack_batch
from keras_kd.teachers.teacher import Teacher

MIMIC = ("output", "preactivation")
# Layers that are an activation and have no weights.
_ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


class Representation:
    """A teacher up to one of its layers, and from there on; see `representation_of`.

    It is no Keras object, so that whoever holds it does not track the teacher.

    Args:
        teacher: The teacher.
        layer: The layer, `outer/inner` inside a nested model.
        mimic: `"output"`: what the layer gives; `"preactivation"`: what it gives before its
            activation. Defaults to `"output"`.

    Raises:
        ValueError: When the layer does not exist, is neither vector nor map, has no activation to
            take away, or is not all that the teacher's output depends on.
    """

    def __init__(self, teacher: Teacher, layer: str, mimic: str = "output") -> None:
        self.teacher, self.layer, self.mimic = teacher, layer, mimic
        model = teacher.model
        graph = open_graph(model, inside=[layer])
        tensor = locate_layer(model, graph, layer)
        self.shape = checked_shape(tuple(tensor.shape), model.name, layer)
        require_single_path(model, graph, tensor, layer)
        call = graph.maker(tensor)
        function = _activation(call)
        if mimic == "preactivation":
            if function is None:
                raise ValueError(
                    f"TeacherClass: layer '{layer}' of '{model.name}' has no activation that could "
                    "be taken away. Pass mimic='output'. Received: mimic='preactivation'"
                )
        elif function is not None and not _changes_nothing_twice(function):
            function = None
        self._activation = function
        self._tapped = TappedModel(model, [Tap(layer)])
        self._watch = _before(call.layer) if mimic == "preactivation" else None

    @property
    def units(self) -> int:
        """How many units, or channels, the layer has."""
        return self.shape[-1]

    def __call__(self, x: Any) -> Any:
        """What the students are to mimic for a batch.

        Args:
            x: Inputs, for which the teacher runs once, without gradients; or a `Lesson`, in which
                a cache has brought along what it said.

        Returns:
            A tensor (batch, ..., units).

        Raises:
            ValueError: When the cache is of another teacher or does not have what is mimicked.
        """
        x, teacher_outputs = unpack_batch(x)
        if teacher_outputs is not None:
            return self._recalled(x, teacher_outputs)
        if self.teacher.preprocessing is not None:
            x = self.teacher.preprocessing(x)
        return ops.stop_gradient(self._said(x))

    def require_lesson(self, lesson: Any) -> None:
        """Refuses data of which this cannot be learned, before training.

        Args:
            lesson: The specification of the data's `Lesson`s, or `None` where there are none.

        Raises:
            ValueError: As in `__call__`.
        """
        if lesson is not None:
            self._found(lesson.x, lesson.teacher_outputs)

    def _recalled(self, x: Any, teacher_outputs: Any) -> Any:
        with tf.init_scope():  # The weights of a live teacher are looked at here, once.
            teacher, tap = self._found(x, teacher_outputs)
        return teacher_outputs[teacher][tap]

    def _found(self, x: Any, teacher_outputs: Any) -> tuple[str, str]:
        self._require_output()
        tap = Tap(self.layer)
        return locate_teacher_outputs([self.teacher], [[tap]], teacher_outputs, x)[0][tap]

    def _require_output(self) -> None:
        if self.mimic == "preactivation":
            raise ValueError(
                f"TeacherClass: a cache holds what the layer '{self.layer}' gives, not what it has "
                "before its activation. Pass mimic='output', or fit on data without a cache. "
                "Received: mimic='preactivation'"
            )

    def _said(self, x: Any) -> Any:
        if self._watch is None:
            return next(iter(self._tapped(x)[1].values()))
        with Recorder([self._watch]) as recorder:
            self.teacher.model(x, training=False)
        return recorder.value(self._watch)

    def activation(self) -> keras.layers.Layer | None:
        """A new layer of what is applied to the students' outputs, side by side, or `None`."""
        if self._activation is None:
            return None
        if isinstance(self._activation, keras.layers.Layer):
            config = {**self._activation.get_config(), "name": "activation"}
            return type(self._activation).from_config(config)
        return keras.layers.Activation(self._activation, name="activation")

    def head(self) -> keras.Model:
        """A copy of what the teacher has after the layer, trainable, checked to answer as it does.

        Raises:
            ValueError: When the copy does not answer as the teacher.
        """
        head = model_after(self.teacher.model, self.layer, "teacher_head")
        head.trainable = True
        x = _probe(self.teacher.model)
        if x is not None:
            teacher_outputs = self._said(x)
            teacher_outputs = (
                teacher_outputs if self._activation is None else self._activation(teacher_outputs)
            )
            whole = tree.flatten(self.teacher.model(x, training=False))
            for one, other in zip(
                whole, tree.flatten(head(teacher_outputs, training=False)), strict=True
            ):
                self._require_equal(
                    *(ops.convert_to_numpy(v).astype("float64") for v in (one, other))
                )
        return head

    def _require_equal(self, whole: np.ndarray, parts: np.ndarray) -> None:
        if not np.allclose(whole, parts, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(whole).max())):
            raise ValueError(
                f"TeacherClass: teacher '{self.teacher.name}' up to its layer '{self.layer}' and a "
                "copy of what follows it must answer as the teacher does. Received: a difference "
                f"of {np.abs(whole - parts).max():.1e}. A layer with a state that is no weight of "
                "it may be the cause: pass a head of your own to `assemble`."
            )

    def mean(self, data: Any) -> np.ndarray:
        """The mean of each unit over some data, (units,)."""
        return self._moments(data, products=False)[0]

    def correlation(self, data: Any) -> np.ndarray:
        """The correlation of the units over some data, (units, units); 0 for a constant one."""
        mean, product = self._moments(data, products=True)
        covariance = product - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0))
        # A unit whose spread is rounding is as good as constant.
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
        deviation[constant] = 1
        covariance[constant] = covariance[:, constant] = 0
        return covariance / np.outer(deviation, deviation)

    def _moments(self, data: Any, products: bool) -> tuple[np.ndarray, Any]:
        count, total, product = 0, np.zeros(self.units), np.zeros(())
        for x in _batches(data):
            teacher_outputs = ops.convert_to_numpy(ops.cast(self(x), "float32"))
            teacher_outputs = teacher_outputs.reshape(-1, self.units).astype("float64")
            count += len(teacher_outputs)
            total = total + teacher_outputs.sum(axis=0)
            product = product + (teacher_outputs.T @ teacher_outputs if products else 0)
        if not count:
            raise ValueError("TeacherClass: `data` must hold samples. Received: none")
        return total / count, product / count


def checked_shape(shape: tuple, name: str, layer: str) -> tuple:
    """Refuses a layer that gives neither a vector nor a map.

    Args:
        shape: What it gives, batch first.
        name: The teacher's name.
        layer: The layer.

    Returns:
        The shape.

    Raises:
        ValueError: When it gives something else.
    """
    if not 2 <= len(shape) <= 4 or shape[-1] is None:
        raise ValueError(
            "TeacherClass: the teacher's layer must give a vector (batch, units) or a map (batch, "
            f"..., channels) of known channels. Received: layer '{layer}' of '{name}', of "
            f"shape {shape}. Choose another: kd.taps(model) lists them."
        )
    return shape


def _activation(call: Call | None) -> Any:
    """The function that a layer ends in, or `None`."""
    if call is None:
        return None
    layer = with_activation(call.layer)
    if isinstance(layer, _ACTIVATIONS):
        return layer
    if not isinstance(layer, ACTIVATED) or layer.activation is keras.activations.linear:
        return None
    return layer.activation


def _before(layer: Any) -> Watch:
    """Where to look for what the activation of a layer is applied to."""
    return Watch(layer, "input" if isinstance(layer, _ACTIVATIONS) else "preactivation")


def _changes_nothing_twice(function: Any) -> bool:
    """Whether a function leaves alone what it made itself: ReLU does, tanh does not."""
    once = function(ops.expand_dims(ops.linspace(-12.0, 12.0, 97), 0))
    return np.allclose(function(once), once, atol=1e-6)


def _probe(model: keras.Model) -> Any:
    """Two samples that any model of these inputs takes, or `None` where a size is not known."""
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


def _batches(data: Any) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "TeacherClass: `data` repeats without end. Pass it without the `repeat`, or some "
                "of it: data.take(10)."
            )
        for batch in data:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
        return
    size = len(tree.flatten(data)[0])
    for i in range(0, size, 256):
        yield tree.map_structure(lambda part, i=i: ops.convert_to_tensor(part[i : i + 256]), data)
