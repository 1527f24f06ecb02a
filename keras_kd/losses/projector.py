"""The trainable map from a student's tap to the teacher's shape; it is never shipped."""

import keras

from keras_kd.losses.distillation_loss import shapes_agree


def fitting_projector(
    teacher_shape: tuple[int | None, ...], student_shape: tuple[int | None, ...], name: str
) -> keras.layers.Layer | None:
    """Makes the smallest linear map that takes the student's tap to the teacher's shape.

    Vectors and sequences get a dense layer, maps a 1×1 convolution, and maps of another height or
    width are resized: averaged where the student's are a whole number of times as large, else
    bilinear.

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
        if not shapes_agree(teacher_shape[:2], student_shape[:2]):
            raise ValueError("sequences must be equally long")
        return keras.layers.Dense(channels, name=name)
    return _map_projector(teacher_shape, student_shape, name)


def _map_projector(teacher_shape: tuple, student_shape: tuple, name: str) -> keras.layers.Layer:
    steps = []
    if teacher_shape[-1] != student_shape[-1]:
        steps.append(keras.layers.Conv2D(teacher_shape[-1], 1, name=f"{name}_convolution"))
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
