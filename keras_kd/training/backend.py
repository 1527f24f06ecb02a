"""The primitives of a training step on the current Keras backend.

This is the only place that asks which backend it is. `tensorflow_step` defines the same names as
`jax_step` (or `torch_step`) and `single_replica` together.
"""

import keras

BACKEND = keras.config.backend()


def require_tensorflow(what: str, received: str) -> None:
    """Reject what only the TensorFlow backend can do.

    Args:
        what: The thing and the reason, as the beginning of a sentence.
        received: The argument and its value.

    Raises:
        ValueError: If the backend is another one.
    """
    if BACKEND != "tensorflow":
        raise ValueError(
            f"{what}, so it needs the TensorFlow backend: set KERAS_BACKEND=tensorflow. "
            f"Received: {received} on the backend '{BACKEND}'"
        )


if BACKEND == "tensorflow":
    from keras_kd.training.tensorflow_step import *  # noqa: F403
elif BACKEND == "jax":
    from keras_kd.training.jax_step import *  # noqa: F403
    from keras_kd.training.single_replica import *  # noqa: F403
elif BACKEND == "torch":
    from keras_kd.training.single_replica import *  # noqa: F403
    from keras_kd.training.torch_step import *  # noqa: F403
else:
    raise ImportError(
        "keras_kd trains on the Keras backends tensorflow, jax and torch. Set KERAS_BACKEND to "
        f"one of them. Received: KERAS_BACKEND={BACKEND!r}"
    )
