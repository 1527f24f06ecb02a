import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_kd.models.keras_compat import get_mask
from keras_kd.models.taps import Tap, TappedModel
from tests import toy


def run(model, names, x, training=False):
    outputs, values = TappedModel(model, [Tap(name) for name in names], training=training)(x)
    return outputs, [values[Tap(name)] for name in names]


def test_a_layer_of_a_functional_model():
    model, (x, _) = toy.cnn("m"), toy.data()
    outputs, (features,) = run(model, ["features"], x)
    expected = keras.Model(model.inputs, model.get_layer("features").output)(x)
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(outputs, model(x))


def test_a_layer_of_a_sequential_model():
    model, x = toy.mlp("m"), np.ones((3, 5), "float32")
    _, (hidden,) = run(model, ["hidden"], x)
    np.testing.assert_array_equal(hidden, model.get_layer("hidden")(x))


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_inside_nested_models(training):
    inner, (x, _) = toy.cnn("backbone"), toy.data()
    middle = keras.Sequential([keras.Input((6, 6, 1)), inner], name="middle")
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Rescaling(2.0)(middle(inputs)), name="outer")
    start = model.get_weights()
    outputs, (conv, pool) = run(
        model, ["middle/backbone/conv", "middle/backbone/pool"], x, training
    )
    model.set_weights(start)
    np.testing.assert_allclose(outputs, model(x, training=training), rtol=1e-6)
    np.testing.assert_allclose(conv, inner.get_layer("conv")(x), rtol=1e-6)
    assert pool.shape == (32, 4)


def test_a_layer_of_a_subclassed_model_and_inside_a_custom_layer():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.conv = layers.Conv2D(3, 3, name="conv")

        def build(self, shape):
            self.conv.build(shape)

        def call(self, x):
            return ops.relu(self.conv(x))

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.block = Block()
            self.drop = layers.Dropout(0.5, name="drop")
            self.head = layers.Dense(4, name="head")

        def call(self, x, training=None):
            x = ops.mean(self.block(x), axis=(1, 2))
            if training:
                x = self.drop(x, training=training)
            return self.head(x)

    model, (x, _) = Net(), toy.data()
    expected = model(x)
    outputs, (conv,) = run(model, ["block/conv"], x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6)
    np.testing.assert_allclose(conv, model.block.conv(x), rtol=1e-6)
    _, (dropped,) = run(model, ["drop"], x, training=True)
    assert np.mean(dropped.numpy() == 0) > 0.2


def test_a_mask_reaches_the_following_layers():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(inputs)
    model = keras.Model(inputs, layers.LSTM(3, name="lstm")(x), name="m")
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    outputs, _ = run(model, ["embedding"], tokens)
    np.testing.assert_array_equal(outputs, model(tokens))
    assert not np.allclose(outputs[0], model(np.array([[1, 2, 3, 9, 9]]))[0])


@pytest.mark.parametrize("explicit", [False, True])
def test_a_tap_inside_a_nested_model_that_is_called_with_a_mask(explicit):
    x = keras.Input((5, 4))
    hidden = layers.LSTM(3, return_sequences=True, name="steps")(x)
    inner = keras.Model(x, layers.LSTM(3, name="last")(hidden), name="inner")
    ids = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(10, 4, mask_zero=not explicit, name="embedding")
    given = {"mask": ops.not_equal(ids, 0)} if explicit else {}
    model = keras.Model(ids, layers.Dense(2)(inner(embedding(ids), **given)), name="m")
    tokens = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    outputs, (steps,) = run(model, ["inner/steps"], tokens)
    np.testing.assert_allclose(outputs, model(tokens), rtol=1e-6)
    embedded = keras.ops.take(embedding.embeddings, tokens, axis=0)
    expected = inner.get_layer("steps")(embedded, mask=tokens != 0)
    np.testing.assert_allclose(steps, expected, rtol=1e-5)
    np.testing.assert_array_equal(get_mask(steps), tokens != 0)


def test_several_inputs_and_outputs_as_dicts():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate(name="joined")([a, b])
    outputs = {"one": layers.Dense(2)(joined), "two": layers.Dense(3)(joined)}
    model = keras.Model({"a": a, "b": b}, outputs, name="m")
    x = {"a": np.ones((4, 3), "float32"), "b": np.ones((4, 2), "float32")}
    tapped = TappedModel(model, [Tap("joined"), Tap("two", logits=True)])
    outputs, values = tapped(x)
    np.testing.assert_array_equal(values[Tap("two", logits=True)], model(x)["two"])
    assert values[Tap("joined")].shape == (4, 5)
    assert set(outputs) == {"one", "two"}
    assert tapped.output_shapes == {"one": (None, 2), "two": (None, 3)}


def test_the_model_is_not_changed():
    model, (x, _) = toy.cnn("m", activation="softmax"), toy.data()
    config, weights = model.to_json(), model.get_weights()
    output = model.get_layer("conv").output
    TappedModel(model, [Tap("conv"), Tap(None, logits=True)])(x)
    assert model.to_json() == config
    assert model.get_layer("conv").output is output
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert model.get_layer("logits").activation is keras.activations.softmax


def test_an_unknown_tap_raises_with_the_most_similar_names():
    with pytest.raises(ValueError, match=r"no layer or output 'featuers'.*'features'"):
        TappedModel(toy.cnn("m"), [Tap("featuers")])


def test_a_layer_called_twice_is_ambiguous():
    shared = layers.Dense(5, name="shared")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.ReLU()(shared(shared(inputs))))
    with pytest.raises(ValueError, match="called 2 times"):
        TappedModel(model, [Tap("shared")])


def test_several_outputs_need_a_name():
    inputs = keras.Input((5,))
    model = keras.Model(
        inputs, [layers.Dense(2, name="a")(inputs), layers.Dense(2, name="b")(inputs)]
    )
    with pytest.raises(ValueError, match=r"several outputs.*\['a', 'b'\]"):
        TappedModel(model, [Tap()])


def test_only_the_outputs_of_a_call_on_tensorflow_operations_can_be_tapped():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.head = layers.Dense(4)

        def call(self, x):
            return self.head(tf.nn.relu(x))

    model = Net()
    x = np.ones((2, 5), "float32")
    expected = model(x)
    with pytest.raises(ValueError, match=r'`outputs="logits"`, `outputs="probabilities"` or'):
        TappedModel(model, [Tap(None, logits=True)])
    _, values = TappedModel(model, [Tap(None, logits=True)], outputs="logits")(x)
    np.testing.assert_array_equal(values[Tap(None, logits=True)], expected)
    with pytest.raises(ValueError, match="does not run on symbolic tensors"):
        TappedModel(model, [Tap("dense")], outputs="logits")


class Scaled(keras.Model):
    """Uses a weight and `keras.ops` that no graph of layers contains."""

    def __init__(self, name="scaled"):
        super().__init__(name=name)
        self.hidden = layers.Dense(8, activation="relu", name="hidden")
        self.norm = layers.BatchNormalization(name="norm")
        self.head = layers.Dense(4, activation="softmax", name="head")
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x, training=None):
        x = self.norm(self.hidden(x) * ops.exp(self.scale), training=training)
        return self.head(x)


class Gate(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(8, activation="relu", name="inner")
        self.activity_regularizer = keras.regularizers.L2(0.1)

    def build(self, x_shape, context_shape=None):
        self.inner.build(x_shape)

    def call(self, x, context=None):
        return self.inner(x) * ops.sigmoid(context)


class Doubled(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask) * 2


def subclassed():
    model = Scaled()
    model(np.ones((1, 5), "float32"))
    return model, "hidden"


def gated():
    inputs = keras.Input((5,))
    x = Gate(name="gate")(inputs, context=layers.Dense(8, name="context")(inputs))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x)), "gate/inner"


def overridden():
    inputs = keras.Input((5,))
    x = layers.Dense(8, activation="relu", name="hidden")(inputs)
    return Doubled(inputs, layers.Dense(4)(x)), "hidden"


def regularized():
    inputs = keras.Input((5,))
    x = layers.Dense(8, activation="relu", name="hidden")(inputs)
    head = layers.Dense(4, activation="softmax", activity_regularizer="l2", name="head")
    return keras.Model(inputs, head(x)), "hidden"


def same_names():
    inputs = keras.Input((5,))
    one, two = (
        keras.Sequential([keras.Input((5,)), layers.Dense(8, name="d")], name=n) for n in "ab"
    )
    x = layers.Concatenate()([one(inputs), two(inputs)])
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x)), "b/d"


def steps():
    inputs = keras.Input((5,))
    x = layers.Reshape((5, 1))(layers.Dense(5, name="hidden")(inputs))
    x = layers.TimeDistributed(layers.Dense(4, activation="softmax"))(x)
    return keras.Model(inputs, layers.Reshape((1, 5, 4))(x)), "hidden"


KINDS = [subclassed, gated, overridden, regularized, same_names, steps]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_tapped_model_trains_as_the_model_itself(kind):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
    weights, totals = [], []
    for tapped in (False, True):
        keras.utils.set_random_seed(0)
        model, tap = kind()
        optimizer = keras.optimizers.SGD(0.5)
        tapped_model = TappedModel(
            model, [Tap(tap), Tap(None, logits=kind is not overridden)], training=True
        )
        for _ in range(3):
            with tf.GradientTape() as tape:
                outputs = tapped_model(x)[0] if tapped else model(x, training=True)
                total = ops.sum(ops.square(outputs)) + ops.sum(ops.stack([0.0, *model.losses]))
            totals.append(float(total))
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        weights.append(model.get_weights())
    assert totals[:3] == totals[3:]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k is not overridden], ids=lambda k: k.__name__
)
def test_the_softmax_of_the_logits_is_the_output_of_the_model(kind):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
    model, _ = kind()
    logits = TappedModel(model, [Tap(None, logits=True)])(x)[1][Tap(None, logits=True)]
    split = (-1, 5, 4) if kind is steps else (-1, 4)
    expected = ops.reshape(model(x), split)
    np.testing.assert_allclose(ops.softmax(ops.reshape(logits, split)), expected, rtol=1e-5)
    assert not np.allclose(np.sum(logits, axis=-1), 1)


def test_a_layer_that_runs_twice_only_in_training_is_rejected():
    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(5, name="hidden")

        def call(self, x, training=None):
            x = self.hidden(self.hidden(x)) if training else self.hidden(x)
            return ops.relu(x)

    model = Twice()
    model(np.ones((1, 5), "float32"))
    tapped = TappedModel(model, [Tap("hidden")])
    tapped.training = True
    with pytest.raises(ValueError, match="'hidden' ran 2 times in one call"):
        tapped(np.ones((2, 5), "float32"))
