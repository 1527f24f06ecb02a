"""Quantization of weights alone, by ai-edge-quantizer (the extra `keras_kd[quantizer]`)."""

import contextlib
import io
from typing import Any

#: What it makes here: activations stay in float32.
WEIGHT_ONLY = ("weight_only_int8", "int4")


def quantize_weights(content: bytes, quantization: str) -> bytes:
    """Quantizes the weights of a float32 model, with a scale for each channel.

    Args:
        content: The content of a float32 .tflite file.
        quantization: `"weight_only_int8"`: 8 bits a weight, from its least to its greatest value;
            `"int4"`: 4 bits, clipped where the squared error is least (OCTAV, Sakr et al. 2022).

    Returns:
        The content of the quantized file.

    Raises:
        ModuleNotFoundError: If ai-edge-quantizer is not installed.
    """
    require_quantizer(quantization)
    from ai_edge_quantizer import quantizer, recipe

    chosen = {
        "weight_only_int8": recipe.weight_only_wi8_afp32,
        "int4": lambda: recipe.weight_only_wi4_afp32(recipe.AlgorithmName.OCTAV),
    }[quantization]()
    with contextlib.redirect_stderr(io.StringIO()):  # Its progress bars cannot all be turned off.
        result = quantizer.Quantizer(bytearray(content), chosen).quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(result.quantized_model)


def require_quantizer(quantization: str) -> Any:
    """Refuses a quantization for which ai-edge-quantizer is not there.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        import ai_edge_quantizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"quantization={quantization!r} needs ai-edge-quantizer, which is not installed. "
            "Install it: pip install 'keras_kd[quantizer]'."
        ) from error
