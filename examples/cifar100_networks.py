"""Networks of the CIFAR-100 comparisons: VGG13 and VGG8, ResNet32x4 and ResNet8x4.

The same as in RepDistiller and mdistiller, which most papers on CIFAR-100 compare with, including
initial weights, padding and batch normalization. Weight decay is an L2 term on every weight, as in
PyTorch's SGD; Keras's own `weight_decay` bypasses the momentum.
"""

import keras
from keras import layers

DECAY = 5e-4
#: Filters of each block's convolutions; max pooling follows the first three blocks.
VGG = {
    "vgg13": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "vgg8": ((64,), (128,), (256,), (512,), (512,)),
}
#: Residual blocks in each of three stages; filters of the stem and the stages.
RESNET = {"resnet32x4": (5, (32, 64, 128, 256)), "resnet8x4": (1, (32, 64, 128, 256))}


def build_network(name, classes=100, shape=(32, 32, 3), width=1.0):
    """Return a network by name, with a share of its filters to test a program quickly.

    Taps: `block1`, `block2`, ..., `features`, `logits`.
    """
    x = inputs = keras.Input(shape)
    if name in VGG:
        x = _vgg(x, [[round(width * n) for n in block] for block in VGG[name]])
    else:
        blocks, filters = RESNET[name]
        x = _resnet(x, blocks, [round(width * n) for n in filters])
    x = layers.GlobalAveragePooling2D(name="features")(x)
    classifier = layers.Dense(
        classes,
        kernel_initializer=_linear_initializer(name),
        kernel_regularizer=_decay(),
        bias_regularizer=_decay(),
        dtype="float32",  # Also in mixed precision: losses need the digits.
        name="logits",
    )
    return keras.Model(inputs, classifier(x), name=name)


def _vgg(x, blocks):
    for number, widths in enumerate(blocks, 1):
        for i, width in enumerate(widths, 1):
            last = i == len(widths)
            x = _convolution(x, width, use_bias=True, bias_regularizer=_decay())
            x = _normalize(x)
            x = layers.ReLU(name=f"block{number}" if last else None)(x)
        if number <= 3:
            x = layers.MaxPooling2D()(x)
    return x


def _resnet(x, blocks, filters):
    x = layers.ReLU()(_normalize(_convolution(x, filters[0])))
    for stage, width in enumerate(filters[1:], 1):
        for i in range(1, blocks + 1):
            stride = 2 if stage > 1 and i == 1 else 1
            x = _residual(x, width, stride, f"block{stage}" if i == blocks else None)
    return x


def _residual(x, width, stride, name):
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = _normalize(_convolution(x, width, size=1, stride=stride))
    x = layers.ReLU()(_normalize(_convolution(x, width, stride=stride)))
    x = _normalize(_convolution(x, width))
    return layers.ReLU(name=name)(layers.Add()([x, shortcut]))


def _convolution(x, width, size=3, stride=1, use_bias=False, **kwargs):
    # With a stride, Keras's "same" pads one side only; these networks pad both sides.
    pad = stride > 1 and size > 1
    convolution = layers.Conv2D(
        width,
        size,
        stride,
        padding="valid" if pad else "same",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        kernel_regularizer=_decay(),
        **kwargs,
    )
    return convolution(layers.ZeroPadding2D(1)(x) if pad else x)


def _normalize(x):
    return layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_regularizer=_decay(), beta_regularizer=_decay()
    )(x)


def _linear_initializer(name):
    if name in VGG:
        return keras.initializers.RandomNormal(stddev=0.01)
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def _decay():
    return keras.regularizers.L2(DECAY / 2)
