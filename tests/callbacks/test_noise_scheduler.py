import keras
import numpy as np
import pytest

import keras_kd as kd
from tests.callbacks.fit import distiller, fit


def test_a_schedule_over_steps_is_called_at_each_step():
    values = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            values.append(float(self.model.hyperparameters["noise.stddev"]))

    steps = keras.optimizers.schedules.PolynomialDecay(1.0, 4, end_learning_rate=0.0)
    model = distiller(noise=kd.noise.LogitNoise(1.0))
    fit(model, kd.callbacks.NoiseScheduler(steps), Record(), epochs=2)
    np.testing.assert_allclose(values, [1 - step / 4 for step in range(4)], rtol=1e-6)


def test_a_distiller_without_noise_is_rejected():
    with pytest.raises(ValueError, match="no hyperparameter 'noise.stddev'"):
        fit(distiller(), kd.callbacks.NoiseScheduler(lambda epoch: 1.0))
