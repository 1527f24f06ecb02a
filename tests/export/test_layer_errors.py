"""Quantization error per layer: the layer with the largest error is found."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import layer_errors, to_tflite
from tests.export import models


def test_the_layer_with_the_error_is_found(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.Conv2D(8, 3, name="wrong"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, name="last"),
        ]
    )
    file = to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES)
    kernel, bias = model.get_layer("wrong").get_weights()
    model.get_layer("wrong").set_weights([kernel[::-1], bias])  # The file has the old order.
    steps = layer_errors(file, model, models.IMAGES)
    assert [step.layer for step in steps] == ["first", "wrong", "pool", "last"]
    assert [step.op for step in steps] == ["CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert steps[1].shape == (1, 4, 4, 8)
    assert max(steps, key=lambda step: step.added).layer == "wrong"
    assert steps[0].error < 0.05 < 10 * 0.05 < steps[1].error


def test_a_file_of_another_program_is_rejected(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(models.content(models.cnn).replace(b"keras_kd", b"anothers"))
    with pytest.raises(ValueError, match="a file that `to_tflite` wrote"):
        layer_errors(path, models.cnn(), models.IMAGES)


def test_the_last_error_is_the_relative_difference(tmp_path):
    options = {"normalization": (1, 2), "raw_inputs": True, "answer": "softmax"}
    file = to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", models.IMAGES, **options)
    steps = layer_errors(file.path, models.cnn(), (models.IMAGES, np.zeros(40)), samples=40)
    assert steps[-1].op == "SOFTMAX"
    expected = file.verification.relative_difference
    assert steps[-1].error == pytest.approx(expected, rel=0.05)


def test_recurrent_layers_are_compared_step_by_step(tmp_path):
    model = models.recurrent(layers.LSTM(4, name="lstm"))
    file = to_tflite(model, tmp_path / "m.tflite", "int8", models.SERIES)
    steps = layer_errors(file, model, models.SERIES, samples=3)
    assert sum(step.layer == "lstm/lstm_cell" and step.op == "TANH" for step in steps) == 12
    split = [step.added for step in steps if step.op in ("SPLIT", "LOGISTIC")]
    assert max(split) < 0.05  # The error of a split is that of its input.
