"""The primitives of a training step on the current Keras backend.

This is the only place that asks which backend it is. `tensorflow_step` defines the same names as
`jax_step` and `single_replica` together.
"""

import keras

BACKEND = keras.config.backend()

if BACKEND == "tensorflow":
    from keras_kd.training.tensorflow_step import *  # noqa: F403
elif BACKEND == "jax":
    from keras_kd.training.jax_step import *  # noqa: F403
    from keras_kd.training.single_replica import *  # noqa: F403
else:
    raise ImportError(
        "keras_kd trains on the Keras backends tensorflow and jax. Set KERAS_BACKEND to one of "
        f"them. Received: KERAS_BACKEND={BACKEND!r}"
    )
