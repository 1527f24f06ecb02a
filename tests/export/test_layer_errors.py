"""Errors layer by layer: the layer that loses most is found."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import layer_errors, to_tflite
from tests.export import models


def test_the_layer_that_is_off_is_found(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.Conv2D(8, 3, name="off"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, name="last"),
        ]
    )
    tflite = to_tflite(model, tmp_path / "m.tflite", "int8", models.IMAGES)
    kernel, bias = model.get_layer("off").get_weights()
    model.get_layer("off").set_weights([kernel[::-1], bias])  # The file has it the other way round.
    steps = layer_errors(tflite, model, models.IMAGES)
    assert [step.layer for step in steps] == ["first", "off", "pool", "last"]
    assert [step.op for step in steps] == ["CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert steps[1].shape == (1, 4, 4, 8)
    assert max(steps, key=lambda step: step.added).layer == "off"
    assert steps[0].error < 0.05 < 10 * 0.05 < steps[1].error


def test_a_file_of_others_is_refused(tmp_path):
    path = to_tflite(models.cnn(), tmp_path / "m.tflite").path
    path.write_bytes(path.read_bytes().replace(b"keras_kd", b"anothers"))
    with pytest.raises(ValueError, match="a file that `to_tflite` wrote"):
        layer_errors(path, models.cnn(), models.IMAGES)


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_errors_are_those_of_the_numbers(tmp_path, quantization):
    model = models.cnn()
    kwargs = {"normalization": (1, 2), "raw_inputs": True, "answer": "softmax"}
    tflite = to_tflite(model, tmp_path / "m.tflite", quantization, models.IMAGES, **kwargs)
    steps = layer_errors(tflite.path, model, (models.IMAGES, np.zeros(40)), samples=40)
    assert steps[-1].op == "SOFTMAX"
    expected = tflite.verification.relative_difference
    assert steps[-1].error == pytest.approx(expected, rel=0.05, abs=1e-5)


def test_recurrent_layers_are_compared_step_by_step(tmp_path):
    model = models.recurrent(layers.LSTM(4, name="lstm"))
    tflite = to_tflite(model, tmp_path / "m.tflite", "int8", models.SERIES)
    steps = layer_errors(tflite, model, models.SERIES, samples=3)
    assert sum(step.layer == "lstm/lstm_cell" and step.op == "TANH" for step in steps) == 12
    split = [step.added for step in steps if step.op in ("SPLIT", "LOGISTIC")]
    assert max(split) < 0.05  # What a split gives is known to the steps behind it.
