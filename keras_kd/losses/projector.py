"""The trainable map from a student's tap to the teacher's shape; it is never shipped."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.losses.distillation_loss import shapes_agree


def fitting_projector(
    teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...], name: str
) -> keras.layers.Layer | None:
    """Makes the smallest linear map that takes the student's tap to the teacher's shape.

    Vectors and sequences get a dense layer, maps a 1×1 convolution, and maps of another height or
    width are resized: averaged where the student's are a whole number of times as large, else
    bilinear. Sequences of another length are averaged or repeated a whole number of times.

    Args:
        teacher_shape: (batch, features), (batch, time, features) or (batch, height, width,
            channels).
        student_shape: Shape of the student's tap, of the same rank.
        name: Name of the projector.

    Returns:
        A layer, or `None` when the shapes are equal already.

    Raises:
        ValueError: When no such map fits.
    """
    if len(teacher_shape) != len(student_shape) or len(teacher_shape) not in (2, 3, 4):
        raise ValueError(
            "a projector maps (batch, features), (batch, time, features) or (batch, height, width, "
            "channels) to the same rank"
        )
    if None in (teacher_shape[-1], student_shape[-1]):
        raise ValueError("the last axis of both taps must be known")
    if shapes_agree(teacher_shape, student_shape):
        return None
    channels = teacher_shape[-1]
    if len(teacher_shape) == 2:
        return keras.layers.Dense(channels, name=name)
    if len(teacher_shape) == 3:
        return _sequence_projector(teacher_shape, student_shape, name)
    return _map_projector(teacher_shape, student_shape, name)


def chosen_projector(
    choice: Any,
    teacher_shape: tuple[int | None, ...],
    student_shape: tuple[int | None, ...],
    name: str,
) -> keras.layers.Layer | None:
    """The projector that was asked for.

    Args:
        choice: `"auto"`, `None` for none, or the configuration of a layer.
        teacher_shape: Shape of the teacher's tap.
        student_shape: Shape of the student's tap.
        name: Name of a projector made here.

    Returns:
        A layer, or `None`.

    Raises:
        ValueError: When it does not give the teacher's shape, with the reason.
    """
    if choice == "auto":
        return fitting_projector(teacher_shape, student_shape, name)
    if choice is None:
        if not shapes_agree(teacher_shape, student_shape):
            raise ValueError("without a projector they must be equal")
        return None
    projector = keras.saving.deserialize_keras_object(choice)
    given = tuple(projector(keras.KerasTensor(student_shape)).shape)
    if given[1:] != tuple(teacher_shape[1:]):
        raise ValueError(f"the projector '{projector.name}' makes it {given}")
    return projector


class PairProjectors(keras.layers.Layer):
    """The projectors of a loss that compares several pairs of taps.

    Args:
        projectors: For each pair a layer, or `None` where none is needed.
        name: Name of the layer.
    """

    def __init__(self, projectors: Sequence[keras.layers.Layer | None], name: str) -> None:
        super().__init__(name=name)
        self.pairs = [projector is not None for projector in projectors]
        self.projectors = [projector for projector in projectors if projector is not None]

    def build(self, student_shapes: Sequence[tuple[int | None, ...]]) -> None:
        """Builds those that there are."""
        shapes = [shape for shape, has in zip(student_shapes, self.pairs, strict=True) if has]
        for projector, shape in zip(self.projectors, shapes, strict=True):
            projector.build(tuple(shape))
        self.built = True

    def call(self, taps: Sequence[Any]) -> list[Any]:
        """The taps, each through its projector."""
        projectors = iter(self.projectors)
        return [next(projectors)(x) if has else x for x, has in zip(taps, self.pairs, strict=True)]


def _sequence_projector(
    teacher_shape: tuple, student_shape: tuple, name: str
) -> keras.layers.Layer:
    dense = keras.layers.Dense(teacher_shape[-1], name=f"{name}_dense")
    steps = [dense] if teacher_shape[-1] != student_shape[-1] else []
    target, length = teacher_shape[1], student_shape[1]
    if not shapes_agree((None, target), (None, length)):
        if length % target == 0:
            steps.insert(0, keras.layers.AveragePooling1D(length // target, name=f"{name}_pooling"))
        elif target % length == 0:
            steps.append(keras.layers.UpSampling1D(target // length, name=f"{name}_repetition"))
        else:
            raise ValueError(
                "sequences must be equally long, or one a whole number of times as long"
            )
    return steps[0] if len(steps) == 1 else keras.Sequential(steps, name=name)


def _map_projector(teacher_shape: tuple, student_shape: tuple, name: str) -> keras.layers.Layer:
    steps = []
    if teacher_shape[-1] != student_shape[-1]:
        # A dense layer on the channels is a 1×1 convolution, and a fifth faster on a CPU.
        steps.append(keras.layers.Dense(teacher_shape[-1], name=f"{name}_convolution"))
    target, size = teacher_shape[1:3], student_shape[1:3]
    if not shapes_agree((None, *target), (None, *size)):
        if None in target or None in size:
            raise ValueError("the heights and widths of both taps must be known to be matched")
        shrinks = all(s % t == 0 for s, t in zip(size, target, strict=True))
        if shrinks:
            factors = tuple(s // t for s, t in zip(size, target, strict=True))
            # Averaging first makes the convolution cheaper; the two commute.
            steps.insert(0, keras.layers.AveragePooling2D(factors, name=f"{name}_pooling"))
        else:
            resizing = keras.layers.Resizing(
                *target, interpolation="bilinear", data_format="channels_last"
            )
            steps.append(resizing)
    return steps[0] if len(steps) == 1 else keras.Sequential(steps, name=name)
