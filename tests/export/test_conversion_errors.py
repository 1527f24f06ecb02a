"""Models that cannot be converted: the layer is named, and what to pass instead."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.export import to_tflite
from keras_kd.export.conversion import ConversionError
from keras_kd.export.conversion_errors import conversion_error
from keras_kd.export.options import Options
from keras_kd.litert.signature import infer_signature
from tests.export import models

RNG = np.random.default_rng(0)


def embedded(x, found):
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(found))
    return keras.Model(x, layers.Dense(2)(hidden), name="words")


@pytest.mark.parametrize("layer", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_lookup_is_named(layer, tmp_path):
    if layer == "IntegerLookup":
        x = keras.Input((4,), dtype="int64")
        found = layers.IntegerLookup(vocabulary=[1, 2, 3], name="find")(x)
    elif layer == "StringLookup":
        x = keras.Input((4,), dtype="string")
        found = layers.StringLookup(vocabulary=["a", "b"], name="find")(x)
    else:
        x = keras.Input((), dtype="string")
        found = layers.TextVectorization(
            vocabulary=["a", "b"], output_sequence_length=4, name="find"
        )(x)
    with pytest.raises(ValueError, match=f"with {layer} 'find', which looks values up in a table"):
        to_tflite(embedded(x, found), tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_a_lookup_in_a_custom_layer_is_named(tmp_path):
    class Find(layers.Layer):
        def __init__(self):
            super().__init__(name="own")
            keys, values = tf.constant([1, 2], "int64"), tf.constant([3, 4], "int64")
            pairs = tf.lookup.KeyValueTensorInitializer(keys, values)
            self.table = tf.lookup.StaticHashTable(pairs, 0)

        def call(self, x):
            return self.table.lookup(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    x = keras.Input((4,), dtype="int64")
    with pytest.raises(ValueError, match="with Find 'own', which looks"):
        to_tflite(embedded(x, Find()(x)), tmp_path / "m.tflite")


def test_a_size_that_is_free_is_fixed_by_the_input_signature(tmp_path):
    x = keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(9, 8)(x)
    hidden = layers.MultiHeadAttention(2, 4, name="attend")(hidden, hidden, use_causal_mask=True)
    model = keras.Model(x, layers.Dense(2)(hidden), name="causal")
    data = RNG.integers(0, 9, (4, 6)).astype("int32")
    message = (
        r"StridedSlice \(in .*attend.*input_signature=tf.TensorSpec\(\(None, LENGTH\), 'int32'"
    )
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "m.tflite", verification=data)
    signature = tf.TensorSpec((None, 6), "int32")
    file = to_tflite(model, tmp_path / "m.tflite", verification=data, input_signature=signature)
    np.testing.assert_allclose(file.predict(data), model.predict_on_batch(data), atol=1e-5)


def test_recurrent_layers_of_free_length_take_that_of_the_calibration(tmp_path):
    model = keras.Sequential([layers.Input((None, 4)), layers.LSTM(3), layers.Dense(2)])
    signature = tf.TensorSpec((None, 6, 4), "float32")
    files = [
        to_tflite(model, tmp_path / "m.tflite", "int8", models.SERIES, input_signature=given)
        for given in (None, signature)
    ]
    assert files[0].verification == files[1].verification
    assert files[0].verification.relative_difference < 0.2


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 3)])
def test_convolutions_of_free_size_run(tmp_path, shape):
    convolve = layers.Conv1D(4, 3) if len(shape) == 2 else layers.Conv2D(4, 3)
    pool = layers.GlobalAveragePooling1D if len(shape) == 2 else layers.GlobalAveragePooling2D
    model = keras.Sequential([layers.Input(shape), convolve, pool(), layers.Dense(2)])
    data = RNG.random((5, *[7] * (len(shape) - 1), 3)).astype("float32")
    file = to_tflite(model, tmp_path / "m.tflite", verification=data)
    for size in (7, 5):
        x = data[:, :size] if len(shape) == 2 else data[:, :size, :size]
        np.testing.assert_allclose(file.predict(x), model.predict_on_batch(x), atol=1e-5)


def series_transformer():
    """A model that the converter fails on for a batch of 1, and converts for a free batch."""
    x = keras.Input((20, 1))
    attended = layers.LayerNormalization()(layers.MultiHeadAttention(2, 8)(x, x)) + x
    hidden = layers.Conv1D(1, 1)(layers.Conv1D(4, 1, activation="relu")(attended))
    hidden = layers.LayerNormalization()(hidden) + attended
    pooled = layers.GlobalAveragePooling1D(data_format="channels_first")(hidden)
    return keras.Model(x, layers.Dense(2)(pooled), name="series")


def test_a_batch_size_that_the_converter_fails_on_becomes_free(tmp_path):
    keras.utils.set_random_seed(0)
    model, data = series_transformer(), RNG.random((3, 20, 1)).astype("float32")
    file = to_tflite(model, tmp_path / "m.tflite", verification=data)
    np.testing.assert_allclose(file.predict(data), model.predict_on_batch(data), atol=1e-4)


def test_a_subclassed_model_of_integers_names_the_input_signature(tmp_path):
    class Words(keras.Model):
        def __init__(self):
            super().__init__(name="words")
            self.head = layers.Dense(2)

        def call(self, x):
            return self.head(tf.gather(np.eye(9, dtype="float32"), x)[:, 0])

    model, data = Words(), np.array([[1, 2], [3, 4]], "int32")
    model(data)
    message = r"'words' can be called with.*float32 \(1, 2\).*input_signature=.*'int32'.*indices"
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "m.tflite")
    signature = tf.TensorSpec((None, 2), "int32")
    file = to_tflite(model, tmp_path / "m.tflite", verification=data, input_signature=signature)
    np.testing.assert_allclose(file.predict(data), model(data), atol=1e-6)


class Traced:
    """The layers of a graph."""

    def layers_with(self, *ops):
        return ["conv"]

    def layer_of(self, node):
        return node.split("/")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '<unknown>:0: error: loc(callsite(fused["BiasAdd:", "m/conv/BiasAdd@f"] at callsite('
            "\"g\"))): 'tf.Transpose' op x should be of the same rank with y\n<unknown>:0: note: x",
            "fails in conv at the op Transpose: x should be of the same rank with y. Otherwise",
        ),
        ("\n<unknown>:0: error: something else\nmore", "fails: something else. Otherwise"),
        ("the converter was killed by SIGSEGV", "fails: the converter was killed by SIGSEGV. "),
    ],
)
def test_other_errors_of_the_converter_are_one_line(text, message):
    signature = infer_signature(models.cnn())
    error = conversion_error(ConversionError(text), "m", Traced(), Options(), signature)
    assert isinstance(error, RuntimeError)
    assert message in str(error)
    assert "\n" not in str(error)


class Drawing(layers.Layer):
    """Adds random numbers, the same in each call if `seed` is fixed."""

    def __init__(self, fixed):
        super().__init__(name="drawing")
        self.seed = 7 if fixed else keras.random.SeedGenerator(7)

    def call(self, x):
        return x + keras.random.normal((4,), seed=self.seed)


class MonteCarloDropout(layers.Dropout):
    """Dropout that is active in inference."""

    def call(self, x):
        return super().call(x, training=True)


def with_layer(call):
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(call(layers.Dense(4)(x))), name="noisy")


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (MonteCarloDropout(0.5, name="drop"), "MonteCarloDropout 'drop'"),
        (Drawing(fixed=False), "Drawing 'drawing'"),
    ],
)
def test_a_layer_that_draws_random_numbers_in_inference_is_named(call, found, tmp_path):
    model = with_layer(call)
    states = [variable.numpy() for variable in model.variables]
    with pytest.raises(ValueError, match=f"'noisy', whose outputs vary from call.*{found} draws"):
        to_tflite(model, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())
    after = [variable.numpy() for variable in model.variables]
    assert all(np.array_equal(*pair) for pair in zip(states, after, strict=True))


def test_dropout_that_is_inactive_in_inference_is_converted(tmp_path):
    file = to_tflite(with_layer(layers.Dropout(0.5)), tmp_path / "m.tflite")
    assert file.size


def masked_tokens(attend):
    """A model of tokens, of which 0 is padding."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    hidden = layers.GlobalAveragePooling1D()(attend(x, keras.ops.not_equal(tokens, 0)))
    model = keras.Model(tokens, layers.Dense(3)(hidden), name="words")
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.get_weights()])
    return model


TOKENS = np.where(np.arange(6) < RNG.integers(2, 7, (64, 1)), RNG.integers(1, 9, (64, 6)), 0)


def with_constant(constant):
    def attend(x, mask):
        scores = keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))
        scores = keras.ops.where(mask[:, None], scores, constant)
        return keras.ops.matmul(keras.ops.softmax(scores), x)

    return attend


@pytest.mark.parametrize("constant", [-1e9, -float("inf")])
def test_logits_that_share_the_range_of_a_mask_are_rejected(constant, tmp_path):
    message = "model 'words', whose logits at '.*' have a range .* write -32 instead"
    model = masked_tokens(with_constant(constant))
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "m.tflite", "int8", (TOKENS.astype("int32"),))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "attend",
    [
        lambda x, mask: layers.Attention()([x, x]),
        lambda x, mask: layers.AdditiveAttention()([x, x]),
        with_constant(-32.0),
    ],
)
def test_masked_attention_of_keras_and_small_constants_are_quantized(attend, tmp_path):
    """With the constant of Keras, the relative difference is 0.4 and more."""
    data = (TOKENS.astype("int32"),)
    file = to_tflite(masked_tokens(attend), tmp_path / "m.tflite", "int8", data)
    assert file.verification.relative_difference < 0.05


def test_integer_inputs_are_rejected_in_16_bits(tmp_path):
    message = r"real numbers for int16x8. Received: model 'words' with the inputs \['tokens'\]"
    with pytest.raises(ValueError, match=message):
        to_tflite(
            masked_tokens(lambda x, mask: x),
            tmp_path / "m.tflite",
            "int16x8",
            (TOKENS.astype("int32"),),
        )


def test_a_sum_in_16_bits_is_rejected(tmp_path):
    """The converter gives it the range of its summands, so the difference is 1.4 here."""
    x = keras.Input((6, 4), name="x")
    model = keras.Model(x, layers.Dense(2)(keras.ops.sum(x, axis=1)), name="total")
    data = (RNG.normal(size=(64, 6, 4)).astype("float32"),)
    with pytest.raises(ValueError, match="sums that int16x8 can hold. Received: model 'total'"):
        to_tflite(model, tmp_path / "m.tflite", "int16x8", data)
    to_tflite(model, tmp_path / "m.tflite", "int8", data)
