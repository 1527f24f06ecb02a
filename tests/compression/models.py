"""One small model for each kind of layer that the bridge carries over, and for each it refuses."""

import keras
import numpy as np
from keras import layers, ops

from keras_kd.compression.tfmot.layers import ACTIVATIONS

MERGES = "Add Subtract Multiply Average Maximum Minimum Concatenate"
VECTOR, SERIES, MAP, VOLUME = (6,), (8, 4), (8, 8, 4), (4, 4, 4, 2)


def randomized(model, seed=0):
    """The model with weights that are not the initial ones, positive where they must be."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.uniform(0.2, 1.2, weight.shape) * rng.choice([-1, 1], weight.shape))
        if "variance" in weight.path:
            weight.assign(np.abs(weight.numpy()))
    return model


def of(layer, shape, dtype="float32", inputs=1):
    tensors = [keras.Input(shape, dtype=dtype, name=f"in_{i}") for i in range(inputs)]
    outputs = layer(tensors[0] if inputs == 1 else tensors)
    return randomized(keras.Model(tensors[0] if inputs == 1 else tensors, outputs))


def adapted(**kwargs):
    layer = layers.Normalization(**kwargs)
    if "mean" not in kwargs:
        layer.adapt(np.random.default_rng(0).normal(2, 3, (50, *MAP)).astype("float32"))
    return layer


def tokens(*rest, mask_zero=True):
    steps = [layers.Embedding(9, 4, mask_zero=mask_zero, name="embedding"), *rest]
    return randomized(keras.Sequential([keras.Input((7,), dtype="int32"), *steps]))


def attention(layer, **kwargs):
    query, value = keras.Input((5, 4), name="query"), keras.Input((7, 4), name="value")
    if isinstance(layer, layers.MultiHeadAttention):
        outputs = layer(query, value, **kwargs)
    else:
        outputs = layer([query, value], **kwargs)
    return randomized(keras.Model([query, value], outputs))


def masked_attention():
    query, mask = keras.Input((5, 4), name="query"), keras.Input((5, 5), dtype="bool", name="mask")
    outputs = layers.MultiHeadAttention(2, 3)(query, query, attention_mask=mask)
    return randomized(keras.Model([query, mask], outputs))


def with_initial_state():
    x, state = keras.Input(SERIES, name="x"), keras.Input((3,), name="state")
    outputs = layers.GRU(3)(x, initial_state=state)
    return randomized(keras.Model([x, state], outputs))


def with_states():
    x = keras.Input(SERIES)
    return randomized(keras.Model(x, layers.LSTM(3, return_state=True, return_sequences=True)(x)))


def shared():
    one, other = keras.Input(VECTOR, name="one"), keras.Input(VECTOR, name="other")
    dense = layers.Dense(3, activation="relu")
    return randomized(keras.Model([one, other], layers.Subtract()([dense(one), dense(other)])))


def shared_branch():
    """A nested model that runs twice."""
    inner = keras.Sequential([keras.Input(VECTOR), layers.Dense(3), layers.ReLU()], name="branch")
    one, other = keras.Input(VECTOR, name="one"), keras.Input(VECTOR, name="other")
    return randomized(keras.Model([one, other], layers.Add()([inner(one), inner(other)])))


def nested():
    """A Functional in a Sequential in a Functional model; layers of the same name in two."""
    deepest = keras.Input(VECTOR)
    deepest = keras.Model(deepest, layers.Dense(5, name="dense")(deepest), name="deepest")
    middle = keras.Sequential([keras.Input(VECTOR), deepest, layers.ReLU()], name="middle")
    x = keras.Input(VECTOR)
    return randomized(keras.Model(x, layers.Dense(2, name="dense")(middle(x))))


def several_outputs():
    b, a = keras.Input((4,), name="b"), keras.Input((3,), name="a")
    hidden = layers.Dense(8, activation="tanh")(layers.Concatenate()([b, a]))
    outputs = {"second": layers.Dense(2)(hidden), "first": layers.Dense(5)(hidden)}
    return randomized(keras.Model({"right": b, "left": a}, outputs))


def operations():
    x = keras.Input(MAP)
    y = ops.mean(ops.concatenate([ops.relu(1.0 - x), ops.sqrt(ops.abs(x) + 1)], axis=-1), axis=[1])
    first, second = ops.split(y, 2, axis=-1)
    return randomized(keras.Model(x, layers.Dense(3)(first * second)))


def same_operation_twice():
    """A weightless layer without a counterpart, called twice."""
    pool = layers.AdaptiveAveragePooling2D(2)
    one, other = keras.Input(MAP, name="one"), keras.Input(MAP, name="other")
    return keras.Model([one, other], [pool(one), pool(other)])


def conv_norm_relu(norm=True, relu=None, **kwargs):
    x = inputs = keras.Input(MAP)
    x = layers.Conv2D(5, 3, name="conv", **kwargs)(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = (relu or layers.ReLU(name="act"))(x)
    return randomized(keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten()(x))))


def mixed_precision():
    with_policy = {"dtype": "mixed_float16"}
    x = inputs = keras.Input(VECTOR)
    x = layers.Dense(8, activation="relu", **with_policy)(x)
    return keras.Model(inputs, layers.Dense(3, dtype="float32")(x))


REGULARIZERS = {
    "kernel_regularizer": keras.regularizers.L1L2(0.01, 0.02),
    "bias_regularizer": "l2",
    "kernel_constraint": keras.constraints.MaxNorm(2.0),
}
CONV = {"activation": "relu", "padding": "same"}

#: Name: what makes the model.
CARRIED = {
    "Dense": lambda: of(layers.Dense(3, activation="gelu"), VECTOR),
    "Dense on a map": lambda: of(layers.Dense(3), MAP),
    "Dense, regularized": lambda: of(layers.Dense(3, **REGULARIZERS), VECTOR),
    "Dense, hard_sigmoid": lambda: of(layers.Dense(3, activation="hard_sigmoid"), VECTOR),
    "Dense, relu6": lambda: of(layers.Dense(3, activation="relu6"), VECTOR),
    "EinsumDense": lambda: of(layers.EinsumDense("abc,cd->abd", (8, 3), bias_axes="d"), SERIES),
    "Embedding": lambda: tokens(layers.Flatten(), mask_zero=False),
    "Conv1D": lambda: of(layers.Conv1D(3, 3, dilation_rate=2, padding="causal"), SERIES),
    "Conv2D": lambda: of(layers.Conv2D(4, (3, 2), strides=(1, 2), groups=2, **CONV), MAP),
    "Conv3D": lambda: of(layers.Conv3D(3, 2, use_bias=False), VOLUME),
    "Conv1DTranspose": lambda: of(layers.Conv1DTranspose(3, 3, strides=2), SERIES),
    "Conv2DTranspose": lambda: of(layers.Conv2DTranspose(3, 3, strides=2, **CONV), MAP),
    "Conv3DTranspose": lambda: of(layers.Conv3DTranspose(3, 2, strides=2), VOLUME),
    "DepthwiseConv1D": lambda: of(layers.DepthwiseConv1D(3, depth_multiplier=2), SERIES),
    "DepthwiseConv2D": lambda: of(layers.DepthwiseConv2D(3, strides=2, **CONV), MAP),
    "SeparableConv1D": lambda: of(layers.SeparableConv1D(3, 3), SERIES),
    "SeparableConv2D": lambda: of(layers.SeparableConv2D(3, 3, depth_multiplier=2), MAP),
    "BatchNormalization": lambda: of(layers.BatchNormalization(epsilon=0.01), MAP),
    "BatchNormalization, bare": lambda: of(
        layers.BatchNormalization(center=False, scale=False), VECTOR
    ),
    "LayerNormalization": lambda: of(layers.LayerNormalization(axis=[1, 2]), MAP),
    "GroupNormalization": lambda: of(layers.GroupNormalization(2), MAP),
    "UnitNormalization": lambda: of(layers.UnitNormalization(), SERIES),
    "Normalization": lambda: of(adapted(), MAP),
    "Normalization, all axes": lambda: of(adapted(axis=None), MAP),
    "Normalization, given": lambda: of(adapted(mean=1.5, variance=4.0, invert=True), MAP),
    "Rescaling": lambda: of(layers.Rescaling(1 / 127.5, offset=-1.0), MAP),
    "Rescaling bytes": lambda: of(layers.Rescaling(1 / 255), MAP, dtype="uint8"),
    "Resizing": lambda: of(layers.Resizing(5, 6, interpolation="nearest"), MAP),
    "CenterCrop": lambda: of(layers.CenterCrop(4, 5), MAP),
    "LSTM": lambda: of(layers.LSTM(3, recurrent_dropout=0.1, dropout=0.1), SERIES),
    "LSTM, backwards": lambda: of(layers.LSTM(3, go_backwards=True, unroll=True), SERIES),
    "LSTM with states": with_states,
    "GRU": lambda: of(layers.GRU(3, return_sequences=True), SERIES),
    "GRU, reset before": lambda: of(layers.GRU(3, reset_after=False), SERIES),
    "GRU with initial state": with_initial_state,
    "SimpleRNN": lambda: of(layers.SimpleRNN(3, use_bias=False), SERIES),
    "RNN of cells": lambda: of(
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(4)]), SERIES
    ),
    "ConvLSTM1D": lambda: of(layers.ConvLSTM1D(2, 3), (5, 6, 2)),
    "ConvLSTM2D": lambda: of(layers.ConvLSTM2D(2, 3, return_sequences=True), (3, 6, 6, 2)),
    "ConvLSTM3D": lambda: of(layers.ConvLSTM3D(2, 2), (2, 4, 4, 4, 1)),
    "Bidirectional": lambda: of(
        layers.Bidirectional(layers.LSTM(3), backward_layer=layers.GRU(3, go_backwards=True)),
        SERIES,
    ),
    "Bidirectional, summed": lambda: of(
        layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"), SERIES
    ),
    "TimeDistributed": lambda: of(layers.TimeDistributed(layers.Conv1D(3, 2)), (3, 8, 4)),
    "TimeDistributed norm": lambda: of(layers.TimeDistributed(layers.BatchNormalization()), SERIES),
    "TimeDistributed model": lambda: of(layers.TimeDistributed(nested()), (3, *VECTOR)),
    "MultiHeadAttention": lambda: attention(layers.MultiHeadAttention(2, 3, value_dim=4)),
    "MultiHeadAttention, causal": lambda: attention(
        layers.MultiHeadAttention(2, 3, output_shape=5), use_causal_mask=True
    ),
    "MultiHeadAttention, masked": masked_attention,
    "Attention": lambda: attention(layers.Attention(use_scale=True)),
    "AdditiveAttention": lambda: attention(layers.AdditiveAttention()),
    "ReLU": lambda: of(layers.ReLU(6.0, negative_slope=0.1, threshold=0.2), MAP),
    "LeakyReLU": lambda: of(layers.LeakyReLU(negative_slope=0.2), MAP),
    "PReLU": lambda: of(layers.PReLU(shared_axes=[1, 2]), MAP),
    "ELU": lambda: of(layers.ELU(0.7), VECTOR),
    "Softmax": lambda: of(layers.Softmax(axis=1), SERIES),
    **{
        f"Activation {name}": lambda name=name: of(layers.Activation(name), VECTOR)
        for name in sorted(ACTIVATIONS | {"hard_sigmoid", "hard_silu", "relu6", "log_softmax"})
    },
    **{
        name: lambda name=name: of(getattr(layers, name)(), SERIES, inputs=2)
        for name in MERGES.split()
    },
    "Dot": lambda: of(layers.Dot(axes=1, normalize=True), SERIES, inputs=2),
    **{
        f"{kind}Pooling{n}D": lambda kind=kind, n=n: of(
            getattr(layers, f"{kind}Pooling{n}D")(2, padding="same"), [SERIES, MAP, VOLUME][n - 1]
        )
        for kind in ("Max", "Average")
        for n in (1, 2, 3)
    },
    **{
        f"Global{kind}Pooling{n}D": lambda kind=kind, n=n: of(
            getattr(layers, f"Global{kind}Pooling{n}D")(keepdims=n == 2),
            [SERIES, MAP, VOLUME][n - 1],
        )
        for kind in ("Max", "Average")
        for n in (1, 2, 3)
    },
    **{
        f"{kind}{n}D": lambda kind=kind, n=n: of(
            getattr(layers, f"{kind}{n}D")(), [SERIES, MAP, VOLUME][n - 1]
        )
        for kind in ("ZeroPadding", "Cropping", "UpSampling")
        for n in (1, 2, 3)
    },
    "UpSampling2D, bilinear": lambda: of(layers.UpSampling2D(2, interpolation="bilinear"), MAP),
    "Flatten": lambda: of(layers.Flatten(), MAP),
    "Reshape": lambda: of(layers.Reshape((4, -1)), MAP),
    "Permute": lambda: of(layers.Permute((2, 1)), SERIES),
    "RepeatVector": lambda: of(layers.RepeatVector(3), VECTOR),
    "Identity": lambda: of(layers.Identity(), VECTOR),
    "Lambda": lambda: of(layers.Lambda(lambda x: ops.sin(x) * 2), VECTOR),
    **{
        name: lambda name=name, shape=shape: of(getattr(layers, name)(0.3), shape)
        for name, shape in {
            "Dropout": VECTOR,
            "SpatialDropout1D": SERIES,
            "SpatialDropout2D": MAP,
            "SpatialDropout3D": VOLUME,
            "AlphaDropout": VECTOR,
            "GaussianDropout": VECTOR,
            "GaussianNoise": VECTOR,
        }.items()
    },
    "ActivityRegularization": lambda: of(layers.ActivityRegularization(0.1, 0.2), VECTOR),
    "RandomFlip": lambda: of(layers.RandomFlip("horizontal"), MAP),
    "RandomRotation": lambda: of(layers.RandomRotation(0.1), MAP),
    "RandomZoom": lambda: of(layers.RandomZoom(0.1), MAP),
    "RandomTranslation": lambda: of(layers.RandomTranslation(0.1, 0.2), MAP),
    "RandomBrightness": lambda: of(layers.RandomBrightness(0.1), (8, 8, 3)),
    "RandomContrast": lambda: of(layers.RandomContrast(0.1), (8, 8, 3)),
    "AdaptiveAveragePooling2D": lambda: of(layers.AdaptiveAveragePooling2D(3), MAP),
    "CategoryEncoding": lambda: of(layers.CategoryEncoding(9), (4,), dtype="int32"),
    "Masking": lambda: randomized(
        keras.Sequential([keras.Input(SERIES), layers.Masking(0.0), layers.LSTM(3)])
    ),
    "masked LSTM": lambda: tokens(layers.LSTM(3)),
    "masked, through layers": lambda: tokens(
        layers.Dense(3, activation="relu"),
        layers.Dropout(0.1),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
    ),
    "masked, zeros put out": lambda: tokens(
        layers.LSTM(3, return_sequences=True, zero_output_for_mask=True)
    ),
    "masked as it is": lambda: tokens(layers.Activation("hard_silu"), layers.LSTM(3)),
    "shared layer": shared,
    "shared nested model": shared_branch,
    "nested models": nested,
    "dicts in and out": several_outputs,
    "operations": operations,
    "same operation twice": same_operation_twice,
    "Conv2D, norm, ReLU": conv_norm_relu,
    "Conv2D, ReLU": lambda: conv_norm_relu(norm=False),
    "mixed precision": mixed_precision,
}


class Scale(layers.Layer):
    """A custom layer with a weight."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


class Halve(layers.Layer):
    """A custom layer without one."""

    def call(self, x):
        return x / 2


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def subclassed():
    model = Subclassed(name="sub")
    model(np.zeros((1, 6), "float32"))
    return model


def masked_nested():
    inner = keras.Sequential([keras.Input((7, 4)), layers.LSTM(3)], name="inner")
    x = keras.Input((7,), dtype="int32")
    return keras.Model(x, inner(layers.Embedding(9, 4, mask_zero=True)(x)))


def grouped():
    x = keras.Input((5, 4))
    return keras.Model(x, layers.GroupQueryAttention(4, 4, 2)(x, x))


#: Name: what makes the model, and what the refusal says.
REFUSED = {
    "subclassed student": (subclassed, "'sub' (Subclassed), which is subclassed. Build it with"),
    "subclassed inside": (
        lambda: of(Subclassed(name="sub"), VECTOR),
        "'sub' (Subclassed) is a subclassed model",
    ),
    "nested with a mask": (masked_nested, "'inner' (Sequential) is a subclassed model or is given"),
    "custom layer": (lambda: of(Scale(name="own"), VECTOR), "'own' (Scale) is a custom layer. Say"),
    "custom weightless": (lambda: of(Halve(name="own"), VECTOR), "or 'as_is' if it has no weights"),
    "hard_sigmoid in a cell": (
        lambda: of(layers.LSTM(3, recurrent_activation="hard_sigmoid", name="lstm"), SERIES),
        "'lstm' (LSTM) has recurrent_activation='hard_sigmoid'",
    ),
    "unknown activation inside": (
        lambda: of(layers.TimeDistributed(layers.Dense(3, activation="celu", name="d")), SERIES),
        "'d' (Dense) has activation='celu'",
    ),
    "RandomCrop": (lambda: of(layers.RandomCrop(4, 4), MAP), "(RandomCrop) has no counterpart"),
    "RandomGrayscale": (lambda: of(layers.RandomGrayscale(), (8, 8, 3)), "has no counterpart"),
    "Resizing, antialiased": (
        lambda: of(layers.Resizing(4, 4, antialias=True, name="small"), MAP),
        "'small' (Resizing) has antialias=True, which tf_keras does not have. Make the layer "
        "without it, or pass custom={keras.layers.Resizing: 'as_is'}.",
    ),
    "RMSNormalization": (lambda: of(layers.RMSNormalization(), VECTOR), "has no counterpart in tf"),
    "SpectralNormalization": (
        lambda: of(layers.SpectralNormalization(layers.Dense(3)), VECTOR),
        "(SpectralNormalization) has no counterpart",
    ),
    "GroupedQueryAttention": (
        grouped,
        "(GroupedQueryAttention) has no counterpart",
    ),
    "own regularizer": (
        lambda: of(layers.Dense(3, kernel_regularizer=ops.sum, name="d"), VECTOR),
        "'d' (Dense) has kernel_regularizer=",
    ),
    "float16 weights": (
        lambda: of(layers.Dense(3, dtype="float16", name="half"), VECTOR),
        "'half' (Dense) has weights of ['float16']; compression takes float32",
    ),
}
