"""The optimizer of the papers."""

import keras
import numpy as np

from benchmarks.gpu.optimizer import TorchSGD


def test_steps_are_those_of_pytorch():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 2)).astype("float32")
    gradients = rng.normal(size=(4, 3, 2)).astype("float32")
    variable = keras.Variable(weight)
    optimizer = TorchSGD(0.1, 0.9, decay=0.05)
    velocity = np.zeros_like(weight)
    for step, gradient in enumerate(gradients):
        if step == 2:
            optimizer.learning_rate = 0.01
        optimizer.apply([gradient], [variable])
        velocity = 0.9 * velocity + gradient + 0.05 * weight
        weight = weight - (0.1 if step < 2 else 0.01) * velocity
    np.testing.assert_allclose(np.asarray(variable), weight, rtol=1e-5)
