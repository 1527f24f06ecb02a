"""SimKD: a student's body, a projector, and the teacher's own classifier on top."""

import keras

from keras_kd.losses.projector import chosen_projector
from keras_kd.models.graph import Graph, open_graph
from keras_kd.models.split import model_after
from keras_kd.models.taps import Tap, TappedModel

#: The tap of the assembled student that is led to the teacher's features.
TEACHER_FEATURES = "teacher_features"


def with_teacher_head(
    student: keras.Model,
    teacher: keras.Model,
    student_tap: str,
    teacher_tap: str,
    name: str | None = None,
) -> keras.Model:
    """Assembles a student that ends in a frozen copy of the teacher's classifier.

    The student's layers up to its tap are used (not copied), a projector maps them to the shape of
    the teacher's tap, and a copy of what the teacher has after its tap makes the output. Train it
    by leading the projector's output, the tap `"teacher_features"`, to the teacher's tap; the hard
    loss is not needed. Everything in it is shipped. For maps the projector is the paper's: 1×1, 3×3
    and 1×1 convolutions with batch normalisation, half as wide as the teacher inside, the student's
    map resized to the teacher's. For vectors and sequences it is a dense layer.

    Args:
        student: A built `keras.Model` whose graph can be read.
        teacher: The teacher's model; it stays as it is.
        student_tap: The layer of the student whose features are used.
        teacher_tap: The layer of the teacher after which its classifier begins, such as the last
            map or the pooled features.
        name: Name of the model. Defaults to the student's name + `"_with_teacher_head"`.

    Returns:
        A Functional `keras.Model`, its last layer `"teacher_head"` frozen.

    Raises:
        ValueError: When a tap does not exist, the taps do not fit, or the teacher's output depends
            on more than its tap.

    Example:
        >>> student = kd.with_teacher_head(body, teacher, "block4", "last_map")
        >>> hint = kd.losses.Hint("last_map", "teacher_features")
        >>> distiller = kd.Distiller(student, teacher, hint, student_loss_weight=0.0)

    Reference:
        Chen et al. 2022, arXiv:2203.14001, equation 3 and figure 2.
    """
    teacher_shape = TappedModel(teacher, [Tap(teacher_tap)]).shapes[Tap(teacher_tap)]
    student_shape = TappedModel(student, [Tap(student_tap)]).shapes[Tap(student_tap)]
    body = open_graph(student, inside=[student_tap])
    body.require_runnable(student)
    features = _at(body, student_tap)
    projector = _projector(teacher_shape, student_shape)
    head = model_after(teacher, teacher_tap, "teacher_head")
    head.trainable = False
    return keras.Model(
        body.inputs,
        head(projector(features)),
        name=name or f"{student.name}_with_teacher_head",
    )


def _at(graph: Graph, tap: str) -> keras.KerasTensor:
    return graph.calls[tap][0].outputs[0]


def _projector(teacher_shape: tuple, student_shape: tuple) -> keras.layers.Layer:
    if len(teacher_shape) != 4:
        made = chosen_projector("auto", teacher_shape, student_shape, TEACHER_FEATURES)
        return made or keras.layers.Dense(teacher_shape[-1], name=TEACHER_FEATURES)
    wide = teacher_shape[-1]
    # The first of the paper's convolutions is the one that fits the student's map to the size.
    inside = (*teacher_shape[:3], wide // 2)
    first = chosen_projector("auto", inside, student_shape, "fitted")
    layers = [first] if first else [keras.layers.Conv2D(wide // 2, 1)]
    for width, kernel in ((wide // 2, 3), (wide, 1)):
        layers += [
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(width, kernel, padding="same", use_bias=False),
        ]
    layers += [keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return keras.Sequential(layers, name=TEACHER_FEATURES)
