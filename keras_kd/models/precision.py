"""A model in mixed precision, made to compute in float32."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def compute_in_float32(model: keras.Model) -> Iterator[None]:
    """Lets the layers of a model in mixed precision compute in float32 for a while.

    LiteRT has few kernels for half floats, and tf_keras gets no policies of Keras 3.

    Args:
        model: The model.

    Raises:
        ValueError: If the weights themselves are not float32.
    """
    # Keras has no public way to layers within layers.
    layers = [(layer, layer.dtype_policy) for layer in model._flatten_layers()]
    dtypes = {v.dtype for v in model.weights if "float" in v.dtype} - {"float32"}
    others = {policy.name for _, policy in layers if not _is_plain(policy)}
    if dtypes or others:
        raise ValueError(
            f"Expected a model of float32 weights (mixed precision is fine). Received: model "
            f"'{model.name}' of {sorted(dtypes | others)}. Load its weights into the same model "
            "made in float32, and use that."
        )
    mixed = [(layer, policy) for layer, policy in layers if layer.compute_dtype != "float32"]
    try:
        for layer, _ in mixed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in mixed:
            layer.dtype_policy = policy


def _is_plain(policy: keras.DTypePolicy) -> bool:
    """Whether a policy is one of dtypes only: not quantized, and not a map shared by layers."""
    shared = isinstance(policy, keras.dtype_policies.DTypePolicyMap)
    return not shared and policy.quantization_mode is None
