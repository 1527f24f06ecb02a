"""SimKD: a student that reuses the teacher's classifier."""

from typing import Any

import keras

from keras_kd.losses.projector import resolve_projector
from keras_kd.models.graph import open_graph, require_built
from keras_kd.models.split import locate_layer, model_after
from keras_kd.models.tap_names import resolve_tap, tap_name
from keras_kd.models.taps import Tap, TappedModel

#: The tap of the assembled student that is compared with the teacher's features.
TEACHER_FEATURES = "teacher_features"


def with_teacher_head(
    student: keras.Model,
    teacher: keras.Model,
    student_tap: str,
    teacher_tap: str,
    name: str | None = None,
) -> keras.Model:
    """Assemble a student that ends in a frozen copy of the teacher's classifier.

    The result consists of the student's layers up to its tap (not copied), a projector to the shape
    of the teacher's tap, and a copy of the teacher's layers after its tap. All of it is deployed.
    Train it with a loss between the teacher's tap and the projector's output, the tap
    `"teacher_features"`; the hard-label loss is not needed. For maps, the projector is the paper's:
    1×1, 3×3 and 1×1 convolutions with batch normalization and half of the teacher's channels in
    between; the student's map is resized to the teacher's. For vectors and sequences, it is a dense
    layer.

    Args:
        student: A built `keras.Model` whose graph can be read.
        teacher: The teacher's model; it is not changed.
        student_tap: The layer of the student whose features are used, or its name.
        teacher_tap: The layer of the teacher before its classifier, or its name, such as the last
            map or the pooled features.
        name: Name of the model. Defaults to the student's name + `"_with_teacher_head"`.

    Returns:
        A Functional `keras.Model` whose last layer `"teacher_head"` is frozen.

    Raises:
        ValueError: If a tap does not exist, no projector maps one tap to the other, or the
            teacher's output depends on more than its tap.

    Example:
        >>> student = kd.with_teacher_head(body, teacher, "block4", "last_map")
        >>> hint = kd.losses.Hint("last_map", "teacher_features")
        >>> distiller = kd.Distiller(student, teacher, hint, student_loss_weight=0.0)

    Reference:
        Chen et al. 2022, arXiv:2203.14001, equation 3 and figure 2.
    """
    require_built(student, "The student")
    require_built(teacher, "The teacher")
    student_tap = _path(student_tap, student, "student_tap")
    teacher_tap = _path(teacher_tap, teacher, "teacher_tap")
    ends = (teacher, Tap(teacher_tap)), (student, Tap(student_tap))
    shapes, axes = zip(*(_channels_last(model, tap) for model, tap in ends), strict=True)
    body = open_graph(student, inside=[student_tap])
    body.require_runnable(student)
    features = _move_axis(locate_layer(student, body, student_tap), axes[1], -1)
    features = _projector(*shapes)(features)
    head = model_after(teacher, teacher_tap, "teacher_head")
    head.trainable = False
    return keras.Model(
        body.inputs,
        head(_move_axis(features, -1, axes[0])),
        name=name or f"{student.name}_with_teacher_head",
    )


def _path(tap: Any, model: keras.Model, argument: str) -> str:
    name = tap_name(tap, argument, "with_teacher_head", required=True)
    return resolve_tap(name, [model], argument, "with_teacher_head")


def _channels_last(model: keras.Model, tap: Tap) -> tuple[tuple, int]:
    """Return the shape of a tap with the channels last, and their axis in the model."""
    tapped = TappedModel(model, [tap])
    return tapped.shapes[tap], tapped.channel_axes[tap]


def _move_axis(x: keras.KerasTensor, source: int, destination: int) -> keras.KerasTensor:
    """Move an axis with a layer, if it is elsewhere."""
    axes = list(range(1, len(x.shape)))
    source, destination = source % len(x.shape), destination % len(x.shape)
    if source == destination:
        return x
    axes.insert(destination - 1, axes.pop(source - 1))
    return keras.layers.Permute(axes)(x)


def _projector(teacher_shape: tuple, student_shape: tuple) -> keras.layers.Layer:
    if len(teacher_shape) != 4:
        projector = resolve_projector("auto", teacher_shape, student_shape, TEACHER_FEATURES)
        return projector or keras.layers.Dense(teacher_shape[-1], name=TEACHER_FEATURES)
    channels = teacher_shape[-1]
    # The first of the paper's convolutions also resizes the student's map.
    inside = (*teacher_shape[:3], channels // 2)
    first = resolve_projector("auto", inside, student_shape, "fitted")
    last = {"data_format": "channels_last"}
    layers = [first] if first else [keras.layers.Conv2D(channels // 2, 1, **last)]
    for filters, kernel in ((channels // 2, 3), (channels, 1)):
        layers += [
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(filters, kernel, padding="same", use_bias=False, **last),
        ]
    layers += [keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return keras.Sequential(layers, name=TEACHER_FEATURES)
