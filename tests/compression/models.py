"""Small Keras 3 models with the layers that can be converted to tf_keras, and with others."""

import keras
import numpy as np
from keras import layers, ops

from keras_kd.compression.tfmot.layers import ACTIVATIONS

VECTOR, SERIES, MAP, VOLUME = (6,), (8, 4), (8, 8, 4), (4, 4, 4, 2)
IMAGE = (8, 8, 3)


def randomized(model, seed=0):
    """Give the model weights other than the initial ones, and positive variances."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.uniform(0.2, 1.2, weight.shape) * rng.choice([-1, 1], weight.shape))
        if "variance" in weight.path:
            weight.assign(np.abs(weight.numpy()))
    return model


def of(layer, shape, dtype="float32"):
    """A model of one layer."""
    x = keras.Input(shape, dtype=dtype, name="in_0")
    return randomized(keras.Model(x, layer(x)))


def each(shape, *steps, inputs=1):
    """A model that applies each layer to the same input, or to the same list of inputs."""
    x = [keras.Input(shape, name=f"in_{i}") for i in range(inputs)]
    given = x if inputs > 1 else x[0]
    return randomized(keras.Model(given, [step(given) for step in steps]))


def adapted(**kwargs):
    layer = layers.Normalization(**kwargs)
    if "mean" not in kwargs:
        layer.adapt(np.random.default_rng(0).normal(2, 3, (50, *MAP)).astype("float32"))
    return layer


def tokens(*rest, mask_zero=True):
    steps = [layers.Embedding(9, 4, mask_zero=mask_zero, name="embedding"), *rest]
    return randomized(keras.Sequential([keras.Input((7,), dtype="int32"), *steps]))


def attention():
    query, value = keras.Input((5, 4), name="query"), keras.Input((7, 4), name="value")
    mask = keras.Input((5, 7), dtype="bool", name="mask")
    multi_head = layers.MultiHeadAttention(2, 3, value_dim=4)
    outputs = [
        multi_head(query, value),
        layers.MultiHeadAttention(2, 3, output_shape=5)(query, value, use_causal_mask=True),
        layers.MultiHeadAttention(2, 3)(query, value, attention_mask=mask),
        layers.Attention(use_scale=True)([query, value]),
        layers.AdditiveAttention()([query, value]),
    ]
    return randomized(keras.Model([query, value, mask], outputs))


def recurrent():
    x, state = keras.Input(SERIES, name="x"), keras.Input((3,), name="state")
    cells = [layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(4)]
    outputs = [
        *layers.LSTM(3, dropout=0.1, return_state=True, return_sequences=True)(x),
        layers.LSTM(3, recurrent_dropout=0.1, go_backwards=True, unroll=True)(x),
        layers.GRU(3, return_sequences=True)(x, initial_state=state),
        layers.GRU(3, reset_after=False)(x),
        layers.SimpleRNN(3, use_bias=False)(x),
        layers.RNN(cells)(x),
    ]
    return randomized(keras.Model([x, state], outputs))


def shared():
    one, other = keras.Input(VECTOR, name="one"), keras.Input(VECTOR, name="other")
    dense = layers.Dense(3, activation="relu")
    return randomized(keras.Model([one, other], layers.Subtract()([dense(one), dense(other)])))


def shared_branch():
    """A nested model that is called twice."""
    inner = keras.Sequential([keras.Input(VECTOR), layers.Dense(3), layers.ReLU()], name="branch")
    one, other = keras.Input(VECTOR, name="one"), keras.Input(VECTOR, name="other")
    return randomized(keras.Model([one, other], layers.Add()([inner(one), inner(other)])))


def nested():
    """A Functional in a Sequential in a Functional model; two layers have the same name."""
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


def masked_nested():
    inner = keras.Sequential([keras.Input((7, 4)), layers.LSTM(3)], name="inner")
    x = keras.Input((7,), dtype="int32")
    return keras.Model(x, inner(layers.Embedding(9, 4, mask_zero=True)(x)))


REGULARIZERS = {
    "kernel_regularizer": keras.regularizers.L1L2(0.01, 0.02),
    "bias_regularizer": "l2",
    "kernel_constraint": keras.constraints.MaxNorm(2.0),
}
CONV = {"activation": "relu", "padding": "same"}
OTHER_ACTIVATIONS = {"hard_sigmoid", "hard_silu", "relu6", "log_softmax"}


def pooling(rank):
    """A model of the layers that move or combine the values of a feature map."""
    suffix = f"{rank}D"
    return each(
        [SERIES, MAP, VOLUME][rank - 1],
        *(getattr(layers, f"{k}Pooling{suffix}")(2, padding="same") for k in ("Max", "Average")),
        *(
            getattr(layers, f"Global{k}Pooling{suffix}")(keepdims=rank == 2)
            for k in ("Max", "Average")
        ),
        *(getattr(layers, f"{k}{suffix}")() for k in ("ZeroPadding", "Cropping", "UpSampling")),
        getattr(layers, f"SpatialDropout{suffix}")(0.3),
    )


#: By name: a function that builds the model.
CONVERTIBLE = {
    "dense": lambda: each(
        VECTOR,
        layers.Dense(3, activation="gelu"),
        layers.Dense(3, **REGULARIZERS),
        layers.Dense(3, activation="hard_sigmoid"),
        layers.Dense(3, activation="relu6"),
        layers.BatchNormalization(center=False, scale=False),
    ),
    "embedding": lambda: tokens(layers.Flatten(), mask_zero=False),
    "layers of series": lambda: each(
        SERIES,
        layers.EinsumDense("abc,cd->abd", (8, 3), bias_axes="d"),
        layers.Conv1D(3, 3, dilation_rate=2, padding="causal"),
        layers.Conv1DTranspose(3, 3, strides=2),
        layers.DepthwiseConv1D(3, depth_multiplier=2),
        layers.SeparableConv1D(3, 3),
        layers.TimeDistributed(layers.BatchNormalization()),
    ),
    "layers of maps": lambda: each(
        MAP,
        layers.Dense(3),
        layers.Conv2D(4, (3, 2), strides=(1, 2), groups=2, **CONV),
        layers.Conv2DTranspose(3, 3, strides=2, **CONV),
        layers.DepthwiseConv2D(3, strides=2, **CONV),
        layers.SeparableConv2D(3, 3, depth_multiplier=2),
        layers.BatchNormalization(epsilon=0.01),
        layers.LayerNormalization(axis=[1, 2]),
        layers.GroupNormalization(2),
        layers.PReLU(shared_axes=[1, 2]),
    ),
    "layers of volumes": lambda: each(
        VOLUME, layers.Conv3D(3, 2, use_bias=False), layers.Conv3DTranspose(3, 2, strides=2)
    ),
    "preprocessing": lambda: each(
        MAP,
        adapted(),
        adapted(axis=None),
        adapted(mean=1.5, variance=4.0, invert=True),
        layers.Rescaling(1 / 127.5, offset=-1.0),
        layers.Resizing(5, 6, interpolation="nearest"),
        layers.CenterCrop(4, 5),
    ),
    "Rescaling of bytes": lambda: of(layers.Rescaling(1 / 255), MAP, dtype="uint8"),
    "recurrent": recurrent,
    "ConvLSTM1D": lambda: of(layers.ConvLSTM1D(2, 3), (5, 6, 2)),
    "ConvLSTM2D": lambda: of(layers.ConvLSTM2D(2, 3, return_sequences=True), (3, 6, 6, 2)),
    "ConvLSTM3D": lambda: of(layers.ConvLSTM3D(2, 2), (2, 4, 4, 4, 1)),
    "Bidirectional": lambda: each(
        SERIES,
        layers.Bidirectional(layers.LSTM(3), backward_layer=layers.GRU(3, go_backwards=True)),
        layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"),
    ),
    "TimeDistributed": lambda: of(layers.TimeDistributed(layers.Conv1D(3, 2)), (3, 8, 4)),
    "TimeDistributed model": lambda: of(layers.TimeDistributed(nested()), (3, *VECTOR)),
    "attention": attention,
    "activation layers": lambda: each(
        SERIES,
        layers.ReLU(6.0, negative_slope=0.1, threshold=0.2),
        layers.LeakyReLU(negative_slope=0.2),
        layers.ELU(0.7),
        layers.Softmax(axis=1),
        layers.UnitNormalization(),
    ),
    "activations": lambda: each(
        VECTOR, *(layers.Activation(name) for name in sorted(ACTIVATIONS | OTHER_ACTIVATIONS))
    ),
    "merging": lambda: each(
        SERIES,
        *(layer() for layer in (layers.Add, layers.Subtract, layers.Multiply, layers.Average)),
        *(layer() for layer in (layers.Maximum, layers.Minimum, layers.Concatenate)),
        layers.Dot(axes=1, normalize=True),
        inputs=2,
    ),
    "pooling of series": lambda: pooling(1),
    "pooling of maps": lambda: pooling(2),
    "pooling of volumes": lambda: pooling(3),
    "UpSampling2D, bilinear": lambda: of(layers.UpSampling2D(2, interpolation="bilinear"), MAP),
    "reshaping": lambda: each(
        SERIES, layers.Flatten(), layers.Reshape((4, -1)), layers.Permute((2, 1))
    ),
    "without effect in inference": lambda: each(
        VECTOR,
        layers.RepeatVector(3),
        layers.Identity(),
        layers.Lambda(lambda x: ops.sin(x) * 2),
        layers.Dropout(0.3),
        layers.AlphaDropout(0.3),
        layers.GaussianDropout(0.3),
        layers.GaussianNoise(0.3),
        layers.ActivityRegularization(0.1, 0.2),
    ),
    "augmentation": lambda: each(
        IMAGE,
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomTranslation(0.1, 0.2),
        layers.RandomBrightness(0.1),
        layers.RandomContrast(0.1),
    ),
    "AdaptiveAveragePooling2D": lambda: of(layers.AdaptiveAveragePooling2D(3), MAP),
    "CategoryEncoding": lambda: of(layers.CategoryEncoding(9), (4,), dtype="int32"),
    "Masking": lambda: randomized(
        keras.Sequential(
            [keras.Input(SERIES), layers.Masking(0.0), layers.GlobalAveragePooling1D()]
        )
    ),
    "mask through layers": lambda: tokens(
        layers.Dense(3, activation="relu"),
        layers.Dropout(0.1),
        layers.Activation("hard_silu"),
        layers.LSTM(3, return_sequences=True, zero_output_for_mask=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.GlobalAveragePooling1D(),
    ),
    "shared layer": shared,
    "shared nested model": shared_branch,
    "nested models": nested,
    "dicts of inputs and outputs": several_outputs,
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
    """A custom layer without weights."""

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


def grouped():
    x = keras.Input((5, 4))
    return keras.Model(x, layers.GroupQueryAttention(4, 4, 2)(x, x))


#: By name: a function that builds the model, and a part of the error message.
REJECTED = {
    "subclassed student": (subclassed, "'sub' (Subclassed), which is subclassed. Build it with"),
    "subclassed inside": (
        lambda: of(Subclassed(name="sub"), VECTOR),
        "'sub' (Subclassed) is a subclassed model",
    ),
    "nested with a mask": (masked_nested, "'inner' (Sequential) receives a mask, so its layers"),
    "custom layer": (
        lambda: of(Scale(name="own"), VECTOR),
        "'own' (Scale) is a custom layer. Pass",
    ),
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
    "RandomGrayscale": (lambda: of(layers.RandomGrayscale(), IMAGE), "has no counterpart"),
    "Resizing, antialiased": (
        lambda: of(layers.Resizing(4, 4, antialias=True, name="small"), MAP),
        "'small' (Resizing) has antialias=True, which tf_keras does not have. Use the layer "
        "without it, or pass custom={keras.layers.Resizing: 'as_is'}.",
    ),
    "RMSNormalization": (lambda: of(layers.RMSNormalization(), VECTOR), "has no counterpart in tf"),
    "SpectralNormalization": (
        lambda: of(layers.SpectralNormalization(layers.Dense(3)), VECTOR),
        "(SpectralNormalization) has no counterpart",
    ),
    "GroupedQueryAttention": (grouped, "(GroupedQueryAttention) has no counterpart"),
    "own regularizer": (
        lambda: of(layers.Dense(3, kernel_regularizer=ops.sum, name="d"), VECTOR),
        "'d' (Dense) has kernel_regularizer=",
    ),
    "float16 weights": (
        lambda: of(layers.Dense(3, dtype="float16", name="half"), VECTOR),
        "'half' (Dense) has weights of ['float16']; compression requires float32",
    ),
}
