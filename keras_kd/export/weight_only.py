"""Weight-only quantization by ai-edge-quantizer (the extra `keras_kd[quantizer]`)."""

import contextlib
import io
from typing import Any

#: Formats with float32 activations.
WEIGHT_ONLY = ("weight_only_int8", "int4")


def quantize_weights(content: bytes, quantization: str) -> bytes:
    """Quantize the weights of a float32 model, with one scale per channel.

    Raises:
        ModuleNotFoundError: If ai-edge-quantizer is not installed.
    """
    require_quantizer(quantization)
    from ai_edge_quantizer import quantizer, recipe

    settings = {
        "weight_only_int8": recipe.weight_only_wi8_afp32,
        "int4": lambda: recipe.weight_only_wi4_afp32(recipe.AlgorithmName.OCTAV),
    }[quantization]()
    with contextlib.redirect_stderr(io.StringIO()):  # Some progress bars cannot be disabled.
        result = quantizer.Quantizer(bytearray(content), settings).quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
    return bytes(result.quantized_model)


def require_quantizer(quantization: str) -> Any:
    """Check that ai-edge-quantizer is installed.

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
