"""A student rebuilt from layers that LiteRT runs as one 8-bit op each, without nested models."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from keras_kd.compression.qat.decompose import copy_kernel, decomposition
from keras_kd.compression.qat.emitter import Emitter
from keras_kd.compression.qat.folding import find_folds
from keras_kd.compression.tfmot.convert import call_arguments, open_student, sort_calls
from keras_kd.compression.tfmot.parity import relative_difference
from keras_kd.models.graph import Call, Graph
from keras_kd.models.inputs import call_model
from keras_kd.models.logits import COMPUTE_AND_ACTIVATE
from keras_kd.models.precision import compute_in_float32

#: Largest accepted difference of outputs, relative to the largest one: float32 noise that a deep
#: network with random weights amplifies.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class PrimitiveModel:
    """A student rebuilt from primitive layers.

    Attributes:
        model: The rebuilt model, which computes the same.
        graph: The graph of the student.
        folds: The path of each folded normalization by the path of the layer before it.
        origins: The path of the student's layer by the name of each new layer.
    """

    model: keras.Model
    graph: Graph
    folds: dict[str, str]
    origins: dict[str, str]


def make_primitive(
    student: keras.Model,
    keep: Collection[str] = (),
    skip: Collection[str] = (),
    x: Any = None,
) -> PrimitiveModel:
    """Rebuild a student from primitive layers.

    Batch normalizations are folded into the layers before them, composite layers are decomposed,
    and layers of nested models get names of the form `outer_inner`.

    Args:
        student: A built Functional or Sequential model.
        keep: Paths of layers whose outputs are kept: nothing is folded into them. Defaults to none.
        skip: Paths of layers that are copied unchanged. Defaults to none.
        x: A batch of inputs on which the outputs are compared; `None` compares nothing. Defaults to
            `None`.

    Raises:
        ValueError: If the student cannot be rebuilt.
    """
    graph = open_student(student)
    folds = find_folds(graph, {*keep, *skip})
    norms = {path: graph.calls[norm][0].layer for path, norm in folds.items()}
    emit = Emitter(norms)
    tensors = {id(x): x for x in tree.flatten(graph.inputs)}
    for call in sort_calls(graph):
        args, kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), call_arguments(call))
        if call.path in folds.values():
            outputs = emit.layer(call.path, "", keras.layers.Identity)(*args)
        elif call.path in skip:
            outputs = emit.copy(call)(*args, **kwargs)
        else:
            outputs = _emit_call(emit, call, args, kwargs)
        tensors.update(zip(map(id, call.outputs), tree.flatten(outputs), strict=True))
    outputs = tree.map_structure(lambda x: tensors[id(x)], graph.outputs)
    model = keras.Model(graph.inputs, outputs, name=student.name)
    emit.set_weights()
    if x is not None:
        _check(student, model, x)
    return PrimitiveModel(model, graph, folds, emit.origins)


def _emit_call(emit: Emitter, call: Call, args: tuple, kwargs: dict) -> object:
    decompose = decomposition(call)
    if decompose is not None:
        return decompose(emit, call, *args, **kwargs)
    splits = isinstance(call.layer, COMPUTE_AND_ACTIVATE)
    if splits and not isinstance(call.layer, keras.layers.EinsumDense):
        return copy_kernel(emit, call, *args)
    return emit.copy(call)(*args, **kwargs)


def _check(student: keras.Model, model: keras.Model, x: Any) -> None:
    with compute_in_float32(student):
        difference = relative_difference(
            call_model(student, x, training=False), call_model(model, x, training=False)
        )
    if difference > TOLERANCE:
        raise ValueError(
            f"The layers of '{student.name}' cannot be rebuilt for quantization: the outputs "
            f"differ by {difference:.2g} of the largest one, and at most {TOLERANCE:g} "
            "is accepted. Pass the layers that compute something else than Keras's as `skip`."
        )
