"""Readable errors for models that cannot be converted."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from keras import tree

from keras_kd.export.conversion import ConversionError, missing_ops
from keras_kd.export.options import Options
from keras_kd.export.saved_model import TracedModel
from keras_kd.litert.flatbuffer import operators, parse
from keras_kd.litert.signature import Signature, free_sizes_remedy
from keras_kd.models.random_state import seed_states

_NO_RANGE = "Max and min for dynamic tensors should be recorded during calibration"
_LOOKUPS = ("LookupTableFind", "LookupTableFindV2", "LookupTableSize", "LookupTableSizeV2")
#: Steps between the numbers of a softmax's input at which none of its logits is left: at a range
#: of the logits of 8,000 in 8 bits, which constants for masked positions have, such as -1e9.
_COARSE_STEP = 30.0
_QUANTIZED = (schema.TensorType.INT8, schema.TensorType.INT16)
#: Ops that draw random numbers.
_RANDOM = re.compile("Random|Multinomial|TruncatedNormal")


def reject_lookups(model: keras.Model, traced: TracedModel) -> None:
    """Reject a model with tables of words or codes, which LiteRT cannot hold.

    Raises:
        ValueError: If there are some.
    """
    paths = traced.layers_with(*_LOOKUPS)
    if not paths:
        return
    found = _name_layers(model, [path.split("/")[0] for path in paths])
    raise ValueError(
        f"Expected layers that LiteRT can run. Received: model '{model.name}' with {found}, which "
        "looks values up in a table. Apply this layer to the data, in the application too, and "
        "export the part of the model behind it: "
        "keras.Model(layer.output, model.output), built on its numbers as the input."
    )


def reject_random_outputs(model: keras.Model, inputs: Signature, traced: TracedModel) -> None:
    """Reject a model whose outputs vary from call to call, which no file can be compared with.

    Raises:
        ValueError: If it is one.
    """
    paths = traced.layers_with(*filter(_RANDOM.search, traced.ops))
    if not paths or not _varies(model, inputs.random_batch()):
        return
    raise ValueError(
        f"Expected a model that returns the same outputs for the same inputs. Received: model "
        f"'{model.name}', whose outputs vary from call to call: "
        f"{_name_layers(model, [path.split('/')[-1] for path in paths])} draws random numbers in "
        "inference too. Call the layer without `training=True`, so that it is inactive there, or "
        "pass the random numbers as an input."
    )


def _varies(model: keras.Model, x: Any) -> bool:
    """Return whether two calls of a model differ; its random state is kept."""
    states = seed_states([model])
    before = [state.numpy() for state in states]
    first, second = (tree.flatten(model(x, training=False)) for _ in range(2))
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    pairs = zip(first, second, strict=True)
    return any(not np.array_equal(one, other, equal_nan=True) for one, other in pairs)


def _name_layers(model: keras.Model, names: Sequence[str]) -> str:
    """Return the classes and names of layers, as far as the model has them."""
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    return ", ".join(
        f"{type(layers[name]).__name__} '{name}'" if name in layers else f"'{name}'"
        for name in dict.fromkeys(names)
    )


def reject_lost_numbers(name: str, content: bytes) -> None:
    """Reject a quantized file in which an op cannot represent its numbers.

    Args:
        name: Name of the model.
        content: The file.

    Raises:
        ValueError: If the logits of a softmax are all rounded to one number, because others have
            the value of a mask; or if a sum in 16 bits has the range of what it sums, as the
            converter sets it.
    """
    model = parse(content)
    for graph in model.subgraphs:
        for op, operator in operators(model, graph):
            if op not in ("SOFTMAX", "LOG_SOFTMAX", "SUM"):
                continue
            given, result = (graph.tensors[i[0]] for i in (operator.inputs, operator.outputs))
            step = given.quantization.scale[0] if given.type in _QUANTIZED else 0.0
            if op != "SUM" and step > _COARSE_STEP:
                raise ValueError(_coarse_message(name, given.name.decode(), step))
            in_16_bits = given.type == schema.TensorType.INT16
            if op == "SUM" and in_16_bits and step == result.quantization.scale[0]:
                raise ValueError(
                    f"Expected sums that int16x8 can hold. Received: model '{name}' with the sum "
                    f"at '{result.name.decode()}', to which the converter gives the range of its "
                    "summands. Means over padded steps contain such sums. Use quantization='int8', "
                    "or a mean without padding instead of a sum."
                )


def _coarse_message(name: str, logits: str, step: float) -> str:
    return (
        f"Expected logits of a softmax in one range. Received: model '{name}', whose logits at "
        f"'{logits}' have a range in which all differences below {step:.1g} are lost: it contains "
        "the constant of a mask. Pass the mask to the Keras layer (Softmax, MultiHeadAttention, "
        "Attention), whose constant is replaced, write -32 instead of a larger one, or use "
        "quantization='dynamic' or 'float16'."
    )


def conversion_error(
    error: ConversionError, name: str, traced: TracedModel, options: Options, inputs: Signature
) -> Exception:
    """Return a readable error for one of the converter.

    Returns:
        A `ValueError` that says what to change, or a `RuntimeError` if that is not known.
    """
    if "'tf.TensorListReserve' op requires element_shape to be static" in str(error):
        return ValueError(
            f"Expected a fixed batch size for a model with a loop over time steps (LSTM, GRU, "
            f"another RNN). Received: model '{name}' with batch_size=None. Use batch_size=1, or "
            "create these layers with `unroll=True`."
        )
    integers = [key for key, spec in inputs.specs.items() if not spec.dtype.is_floating]
    if options.quantization == "int16x8" and integers and _NO_RANGE in str(error):
        return ValueError(
            f"Expected inputs of real numbers for int16x8. Received: model '{name}' with the "
            f"inputs {integers} of integers, for which the converter has no range in 16 bits. Use "
            "quantization='int8', 'dynamic' or 'float16'."
        )
    missing = missing_ops(error)
    if not missing:
        return RuntimeError(
            f"Expected a model that TensorFlow's converter supports. Received: model '{name}', "
            f"for which it fails{_summarize(error, traced)}.{free_sizes_remedy(inputs)} "
            "Otherwise use other layers."
        )
    remedy = (
        "TensorFlow's Flex kernels do not have them either: use other layers."
        if options.allow_flex
        else "Use other layers, or pass allow_flex=True to keep them as TensorFlow ops, for an "
        "application that links the Flex delegate."
    )
    where = ", ".join(f"{op} (in {', '.join(traced.layers_with(op)) or '?'})" for op in missing)
    return ValueError(
        f"Expected ops that are built into LiteRT. Received: model '{name}' with {where}."
        f"{free_sizes_remedy(inputs)} {remedy}"
    )


def _summarize(error: ConversionError, traced: TracedModel) -> str:
    """Return the op and the layer at which the converter fails, and its reason, in one line."""
    text = str(error)
    location = re.search(r'fused\["\w+:", "([^"@]+)@', text)
    where = f" in {traced.layer_of(location[1])}" if location else ""
    op = re.search(r"'(?:tf|tfl)\.(\w+)' op ([^\n]*)", text)
    if op:
        return f"{where} at the op {op[1]}: {op[2].strip()}"
    line = next((line for line in text.splitlines() if line.strip()), "an unknown error")
    return f"{where}: {re.sub(r'^.*?error: ', '', line).strip()[:300]}"
