"""Reject teachers that would change while the student trains."""

import keras

from keras_kd.models.keras_compat import nested_layers
from keras_kd.teachers.base import BaseTeacher


def check_shared_weights(teacher: BaseTeacher, student: keras.Model) -> None:
    """Reject a teacher that shares weights with the student that training changes.

    Shared layers that are frozen do not change. Statistics of a batch normalization do, unless it
    is frozen.

    Args:
        teacher: A teacher; without a Keras model of its own it shares nothing.
        student: The model to train.

    Raises:
        ValueError: If they share such weights.
    """
    if teacher.model is None:
        return
    own = {id(weight) for weight in teacher.model.weights}
    shared = [weight for weight in _changing_weights(student) if id(weight) in own]
    if not shared:
        return
    names = _shared_layers(teacher.model, student, {id(weight) for weight in shared})
    raise ValueError(
        f"The student '{student.name}' and teacher '{teacher.name}' share trainable layers, so "
        "training the student would change its teacher. Pass a copy of the teacher: "
        "copy = keras.models.clone_model(teacher); copy.set_weights(teacher.get_weights()). Or "
        "freeze the shared layers: layer.trainable = False. Received: shared layers "
        f"{names or sorted({weight.path for weight in shared})}"
    )


def _changing_weights(student: keras.Model) -> list[keras.Variable]:
    """Return the weights that training changes: by the optimizer, or in the forward pass."""
    changing = list(student.trainable_weights)
    for layer in nested_layers(student):
        if isinstance(layer, keras.layers.SpectralNormalization):
            changing += layer.weights  # It changes the kernel of its layer even if it is frozen.
        elif layer.trainable and not isinstance(layer, keras.layers.Normalization):
            inner = nested_layers(layer, include_self=False)
            others = {id(weight) for one in inner for weight in one.weights}
            changing += [w for w in layer.non_trainable_weights if id(w) not in others]
    return changing


def _shared_layers(teacher: keras.Model, student: keras.Model, weights: set[int]) -> list[str]:
    """Return the names of the layers of both models that hold some weights, without inner ones."""
    known = {id(layer) for layer in nested_layers(teacher)}
    shared = [
        layer
        for layer in nested_layers(student)
        if id(layer) in known and any(id(weight) in weights for weight in layer.weights)
    ]
    inner = {id(x) for layer in shared for x in nested_layers(layer, include_self=False)}
    return [layer.name for layer in shared if id(layer) not in inner]
