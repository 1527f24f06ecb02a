"""Callbacks for `Distiller.fit`: one file per callback."""

from keras_kd.callbacks.adaptive_noise import AdaptiveNoise as AdaptiveNoise
from keras_kd.callbacks.hyperparameter_scheduler import (
    HyperparameterScheduler as HyperparameterScheduler,
)
from keras_kd.callbacks.loss_weight_scheduler import LossWeightScheduler as LossWeightScheduler
from keras_kd.callbacks.noise_scheduler import NoiseScheduler as NoiseScheduler
from keras_kd.callbacks.resume import Resume as Resume
from keras_kd.callbacks.taid_scheduler import TAIDScheduler as TAIDScheduler
from keras_kd.callbacks.temperature_scheduler import TemperatureScheduler as TemperatureScheduler
