"""Weight-only quantization by ai-edge-quantizer."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export.options import Options
from keras_kd.export.weight_only import quantize_weights
from keras_kd.litert.cost import cost
from keras_kd.litert.interpreter import LiteRT
from tests.export import models


@pytest.mark.parametrize(("quantization", "bits"), [("weight_only_int8", 8), ("int4", 4)])
def test_only_the_weights_are_quantized(quantization, bits):
    file = models.export(models.cnn, quantization)
    weights = 8 * 9 + 288 * 10
    saved = models.export(models.cnn).size - file.size
    assert saved == pytest.approx(weights * (32 - bits) / 8, rel=0.2)
    assert file.verification.relative_difference < {8: 0.02, 4: 0.2}[bits]
    with LiteRT(file.path.read_bytes(), "test") as runner:
        assert [dtype for _, dtype in runner.inputs.values()] == [np.dtype("float32")]


def test_weights_of_larger_models_are_kept():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((600,)), layers.Dense(600), layers.Dense(3)])
    x = np.random.default_rng(0).random((20, 600), "float32")
    content = quantize_weights(models.convert(model)[0], "weight_only_int8")  # More than 256 kB.
    assert 360_000 < len(content) < 380_000
    assert cost(content).macs == 600 * 600 + 600 * 3
    with LiteRT(content, "test") as runner:
        (values,) = runner.run(x).values()
    np.testing.assert_allclose(values, model.predict_on_batch(x), atol=0.05)


def test_a_missing_quantizer_is_reported_before_the_conversion(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras_kd\[quantizer\]'"):
        Options("int4")
