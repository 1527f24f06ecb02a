import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.models.precision import cast_model, compute_in_float32
from tests import toy


def policies(model):
    return {layer.name: layer.dtype_policy.name for layer in model._flatten_layers()}


@pytest.fixture(scope="module")
def mixed():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return toy.mlp("mixed")
    finally:
        keras.config.set_dtype_policy("float32")


def test_layers_have_the_dtype_except_the_one_that_computes_the_logits():
    copy = cast_model(toy.cnn("teacher", 6), "bfloat16")
    found = policies(copy)
    assert found["conv"] == found["relu"] == found["features"] == "bfloat16"
    assert found["norm"] == "mixed_bfloat16"
    assert found["logits"] == "float32"
    assert copy(toy.data()[0]).dtype == "float32"
    assert copy.name == "teacher"


def test_an_activation_after_the_logits_is_float32():
    inputs = keras.Input((5,))
    x = layers.Dense(8, activation="relu", name="hidden")(inputs)
    x = layers.Activation("softmax", name="end")(layers.Dense(4, name="logits")(x))
    found = policies(cast_model(keras.Model(inputs, x), "bfloat16"))
    assert (found["hidden"], found["logits"], found["end"]) == ("bfloat16", "float32", "float32")


def test_the_outputs_differ_by_rounding_only():
    x, _ = toy.data()
    teacher = toy.cnn("teacher", 6, activation="softmax")
    before = teacher.get_weights()
    for dtype, tolerance in {"bfloat16": 2e-2, "float16": 2e-3, "float32": 1e-6}.items():
        copy = cast_model(teacher, dtype)
        np.testing.assert_allclose(copy(x), teacher(x, training=False), atol=tolerance)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(policies(teacher).values()) == {"float32"}


def test_layers_of_nested_models_are_cast():
    inner = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(3, 3, name="conv"), layers.Flatten(name="flat")],
        name="inner",
    )
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, layers.Dense(4, name="logits")(inner(inputs)))
    copy = cast_model(model, "bfloat16")
    found = policies(copy)
    assert (found["conv"], found["logits"]) == ("bfloat16", "float32")
    assert copy.get_layer("inner").get_layer("conv").kernel.dtype == "bfloat16"
    assert model.get_layer("inner").get_layer("conv").kernel.dtype == "float32"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "operation",
    [
        lambda z: z[:, :4],
        lambda z: z * 2.0,
        lambda z: ops.mean(z, axis=-1, keepdims=True),
        lambda z: ops.concatenate([z, ops.relu(z)], axis=-1),
        lambda z: ops.where(z > 0, z, np.full(8, 0.5, "float32")),
        lambda z: ops.cast(z, "float32") + np.arange(8, dtype="float32"),
        layers.Lambda(lambda z: ops.sin(z) * 2),
    ],
    ids=["slice", "scaled", "mean", "concatenate", "where", "cast", "lambda"],
)
def test_operations_between_layers_are_copied(operation, dtype):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,))
    hidden = operation(layers.Dense(8, name="hidden")(inputs))
    model = keras.Model(inputs, layers.Dense(5, name="logits")(hidden) / 0.5, name="m")
    x = np.random.default_rng(0).normal(size=(7, 6)).astype("float32")
    copy = cast_model(model, dtype)
    np.testing.assert_allclose(copy(x), model(x), atol=0.05)
    found = policies(copy)
    assert (found["hidden"], found["logits"], copy(x).dtype) == (dtype, "float32", "float32")


class Fixed(layers.Layer):
    """A layer whose constructor takes no dtype."""

    def __init__(self):
        super().__init__(name="fixed")

    def call(self, x):
        return x * 2


class Unsaved(layers.Layer):
    """A layer without a configuration."""

    def __init__(self, function):
        super().__init__(name="unsaved")
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.mark.parametrize("layer", [Fixed(), Unsaved(lambda x: x)], ids=["no dtype", "no config"])
def test_a_layer_that_cannot_be_copied_is_named(layer):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(4)(layer(layers.Dense(4)(inputs))))
    kind = type(layer).__name__
    with pytest.raises(
        ValueError, match=rf"needs layers.*'{layer.name}' \({kind}\).*dtype='bfloat16'"
    ):
        kd.Teacher(model, dtype="bfloat16")


def test_a_mixed_precision_model_can_be_cast_to_float32(mixed):
    assert set(policies(cast_model(mixed, "float32")).values()) == {"float32"}


def test_a_subclassed_model_and_an_unknown_dtype_are_rejected():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match="'own', a subclassed model.*mixed_bfloat16"):
        kd.Teacher(own, dtype="bfloat16")
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        kd.Teacher(toy.mlp("t"), dtype="int8")


def test_a_mixed_precision_model_computes_in_float32_for_a_while(mixed):
    x = np.ones((2, 5), "float32")
    before = policies(mixed)
    with compute_in_float32(mixed):
        assert mixed(x).dtype == "float32"
        assert set(policies(mixed).values()) == {"float32"}
    assert mixed(x).dtype == "float16"
    assert policies(mixed) == before


def test_weights_of_another_dtype_are_rejected():
    model = cast_model(toy.mlp("half"), "float16")
    with (
        pytest.raises(ValueError, match=r"Expected a model of float32 weights.*float16"),
        compute_in_float32(model),
    ):
        pass


def test_a_student_learns_from_a_cast_teacher_with_its_own_fingerprint():
    (x, y), model = toy.data(), toy.cnn("teacher", 6)
    teacher = kd.Teacher(model, dtype="bfloat16")
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("features", "features")]
    distiller = kd.Distiller(toy.cnn("student"), teacher, losses)
    distiller.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    history = distiller.fit(x, y, verbose=0).history
    plain = kd.Distiller(toy.cnn("student"), model, losses)
    plain.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    np.testing.assert_allclose(
        history["soft_targets"], plain.fit(x, y, verbose=0).history["soft_targets"], rtol=0.05
    )
    assert str(teacher.fingerprint(None)) != str(kd.Teacher(model).fingerprint(None))
