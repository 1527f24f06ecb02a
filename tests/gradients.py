"""Gradients on the current Keras backend."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.config.backend()


def value_and_gradient(function, x):
    """Return the value of a function of one tensor, and the gradient of its sum, as arrays."""
    x = ops.convert_to_tensor(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
            total = ops.sum(value)
        gradient = tf.convert_to_tensor(tape.gradient(total, x))
    elif BACKEND == "jax":
        import jax

        def summed(x):
            value = function(x)
            return ops.sum(value), value

        gradient, value = jax.grad(summed, has_aux=True)(x)
    else:
        import torch

        x = x.detach().requires_grad_()
        value = function(x)
        (gradient,) = torch.autograd.grad(ops.sum(value), x)
    return as_array(value), as_array(gradient)


def compiled_value_and_gradient(function, x):
    """Return the same from a program that XLA compiled; on PyTorch nothing is compiled."""
    if BACKEND == "torch":
        return value_and_gradient(function, x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def compiled(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            return value, tape.gradient(value, x)

        value, gradient = compiled(tf.constant(x))
    else:
        import jax

        def pulled_back(x):
            value, pull_back = jax.vjp(function, x)
            return value, pull_back(ops.ones_like(value))[0]

        value, gradient = jax.jit(pulled_back)(x)
    return as_array(value), as_array(gradient)


def as_array(tensor):
    """Return the values of a tensor; of bfloat16, which NumPy does not have, as float32."""
    half = keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32") if half else tensor))


def has_float64():
    """Whether Keras computes in float64: on other backends its means are in float32."""
    return BACKEND == "tensorflow"
