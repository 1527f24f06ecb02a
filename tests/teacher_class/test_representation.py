"""The representation: the output of a layer or its preactivation, live and from a cache."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.teacher_class.representation import (
    CachedRepresentation,
    Representation,
    make_representation,
)
from tests import toy
from tests.teacher_class.models import dense_teacher, samples, stateful_student, values_at

ACTIVATIONS = {
    "relu": layers.ReLU(max_value=1.5, name="features"),
    "leaky": layers.LeakyReLU(negative_slope=0.2, name="features"),
    "elu": layers.ELU(name="features"),
}
CACHES = {"dtype": "float32", "verbose": 0, "batch_size": 8}


def teacher_with(activation):
    """A teacher whose activation is a layer, after a normalization."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = layers.BatchNormalization(name="norm")(layers.Dense(8, name="before")(inputs))
    activation = type(activation).from_config(activation.get_config())
    return keras.Model(inputs, layers.Dense(3)(activation(x)), name="teacher")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_preactivation_of_an_activation_layer_is_its_input(name):
    teacher, x = teacher_with(ACTIVATIONS[name]), samples()
    representation = make_representation(teacher, "features", "preactivation")
    np.testing.assert_allclose(representation(x), values_at(teacher, "norm", x), rtol=1e-5)
    outputs = representation.activation()(representation(x))
    np.testing.assert_allclose(outputs, values_at(teacher, "features", x), rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_preactivation_of_a_dense_layer_is_its_linear_part(activation):
    teacher, x = dense_teacher(activation), samples()
    kernel, bias = teacher.get_layer("features").get_weights()
    representation = make_representation(teacher, "features", "preactivation")
    np.testing.assert_allclose(representation(x), x @ kernel + bias, rtol=1e-4, atol=1e-6)
    assert representation.activation().activation.__name__ == activation


@pytest.mark.parametrize(("name", "kept"), [("relu", True), ("leaky", False), ("elu", False)])
def test_only_an_idempotent_activation_is_applied_to_outputs(name, kept):
    teacher = teacher_with(ACTIVATIONS[name])
    representation = make_representation(teacher, "features", "output")
    assert (representation.activation() is not None) == kept
    x = samples()
    np.testing.assert_array_equal(representation(x), values_at(teacher, "features", x))


def test_preprocessing_runs_before_the_teacher():
    model, x = dense_teacher(), samples()
    teacher = kd.Teacher(model, preprocessing=lambda x: 2 * x)
    representation = make_representation(teacher, "features", "output")
    np.testing.assert_array_equal(representation(x), values_at(model, "features", 2 * x))


def test_mean_and_correlation_of_units():
    teacher, x = dense_teacher(None), samples(300)
    kernel = np.random.default_rng(1).normal(size=(6, 8))
    kernel[:, 5] = 0  # A constant unit correlates with nothing.
    teacher.get_layer("features").set_weights([kernel, np.arange(8.0)])
    representation = make_representation(teacher, "features", "output")
    values = values_at(teacher, "features", x)
    data = tf.data.Dataset.from_tensor_slices((x, np.zeros(300))).batch(64)
    for given in (x, data):
        np.testing.assert_allclose(representation.mean(given), values.mean(axis=0), rtol=1e-4)
        correlation, varying = representation.correlation(given), np.delete(np.arange(8), 5)
        expected = np.corrcoef(values[:, varying].T)
        np.testing.assert_allclose(correlation[np.ix_(varying, varying)], expected, atol=1e-5)
        np.testing.assert_array_equal(correlation[5], np.zeros(8))


def skipping():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="features")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([x, inputs])), name="teacher")


def linear_teacher():
    return dense_teacher(None)


def five_dimensional():
    inputs = keras.Input((6,))
    x = layers.Reshape((1, 1, 1, 6), name="features")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize(
    ("teacher", "layer", "mimic", "sentence"),
    [
        (dense_teacher, "feature", "output", "no layer or output 'feature'.*'features'"),
        (five_dimensional, "features", "output", r"vector .* or a map .* Received.*'features'"),
        (skipping, "features", "output", "'teacher' depends on more than its tap"),
        (
            linear_teacher,
            "features",
            "preactivation",
            "no activation to remove. Pass mimic='output'",
        ),
        (dense_teacher, "features", "logits", "`mimic` must be one of"),
        (lambda: keras.Sequential([layers.Dense(8)]), "features", "output", "not built"),
    ],
)
def test_a_layer_without_a_representation_is_rejected(teacher, layer, mimic, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_representation(teacher(), layer, mimic)


def test_anything_but_a_teacher_is_rejected():
    with pytest.raises(TypeError, match="A teacher must be a keras.Model"):
        make_representation("teacher.keras", "features")


def test_data_without_end_or_without_samples_are_rejected():
    representation = make_representation(dense_teacher(), "features")
    data = tf.data.Dataset.from_tensor_slices(samples()).batch(8)
    with pytest.raises(ValueError, match="repeats without end"):
        representation.mean(data.repeat())
    with pytest.raises(ValueError, match="`data` must hold samples"):
        representation.mean(data.take(0))


def test_a_copy_of_the_head_reproduces_the_teacher():
    teacher, x = dense_teacher(), samples()
    head = make_representation(teacher, "features", "output").head()
    np.testing.assert_allclose(head(values_at(teacher, "features", x)), teacher(x), atol=1e-6)
    assert head.trainable
    assert not {id(w) for w in head.weights} & {id(w) for w in teacher.weights}


def test_a_head_with_state_that_is_no_weight_is_rejected():
    class Scale(layers.Layer):
        factor = 1.0

        def call(self, x):
            return x * self.factor

    inputs, scale = keras.Input((6,)), Scale()
    x = layers.Dense(8, name="features")(inputs)
    representation = make_representation(
        keras.Model(inputs, scale(layers.Dense(3)(x)), name="teacher"), "features"
    )
    assert representation.head().output_shape == (None, 3)
    scale.factor = 3.0
    with pytest.raises(ValueError, match="must reproduce the teacher's outputs.*a difference of"):
        representation.head()


# From a cache.


def data():
    return tf.data.Dataset.from_tensor_slices(
        (samples(16), np.zeros(16), np.linspace(0, 2, 16, dtype="float32"))
    )


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A teacher with a counter, and the cache of its layer `teacher/features`."""
    teacher, counter = toy.counted(dense_teacher())
    folder = tmp_path_factory.mktemp("cache") / "cache"
    cache = kd.KnowledgeCache.build(teacher, data(), folder, taps=["teacher/features"], **CACHES)
    counter.count.assign(0)  # The count is a weight, which the fingerprint includes.
    return teacher, counter, cache


def train(teacher, batches, layer="teacher/features", **kwargs):
    keras.utils.set_random_seed(3)
    model = kd.TeacherClass(teacher, layer, stateful_student, n=2, mimic="output", **kwargs)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    history = model.fit(batches, validation_data=batches, verbose=0)
    return model, history.history


@pytest.mark.slow
def test_a_cache_gives_the_weights_of_the_live_teacher_and_runs_no_teacher(cached):
    teacher, counter, cache = cached
    live, live_history = train(teacher, data().batch(8))
    assert int(counter.count) > 0
    counter.count.assign(0)
    for given in (teacher, cache.teachers[0]):
        model, history = train(given, cache.join(data().batch(8)))
        assert history == live_history
        for one, other in zip(model.get_weights(), live.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert int(counter.count) == 0


@pytest.mark.slow
def test_another_preprocessing_is_found_on_joined_data(tmp_path):
    def teacher(limit):
        clip = lambda x: keras.ops.clip(x, -limit, limit) / 1e5  # noqa: E731
        return kd.Teacher(dense_teacher(), preprocessing=clip)

    x = samples(16)
    x[5, 1] = 1e6  # Beyond made-up samples.
    batches = tf.data.Dataset.from_tensor_slices(x).batch(16)
    cache = kd.KnowledgeCache.build(teacher(2e6), batches, tmp_path, taps="features", **CACHES)
    joined = cache.join(batches)
    train(teacher(2e6), joined, "features")
    with pytest.raises(ValueError, match="preprocessing returns other values for 1 of the first"):
        train(teacher(5e5), joined, "features")
    other = make_representation(teacher(5e5), "features", "output")
    with pytest.raises(ValueError, match="preprocessing returns other values for 1 of the first"):
        other.require_data(batches, next(iter(joined)))


def test_a_cached_teacher_has_outputs_but_no_layers(cached):
    teacher, counter, cache = cached
    representation = make_representation(cache.teachers[0], "teacher/features")
    assert type(representation) is CachedRepresentation
    assert representation.mimic == "output"
    assert representation.shape == (None, 8)
    for part in (representation.head, representation.activation):
        with pytest.raises(ValueError, match=r"only in a cache.*`set_teacher\(model\)`"):
            part()
    joined = cache.join(data().batch(8))
    for run in (
        lambda: representation.require_data(samples()),
        lambda: representation.require_data(joined, (samples(),)),
        lambda: representation(samples()),
    ):
        with pytest.raises(ValueError, match=r"only in a cache.*Pass `cache.join\(dataset\)`"):
            run()
    live = make_representation(teacher, "teacher/features", "output")
    assert type(live) is Representation
    np.testing.assert_array_equal(representation.mean(joined), live.mean(data().batch(8)))
    np.testing.assert_array_equal(
        representation.correlation(joined), live.correlation(data().batch(8))
    )
    counter.count.assign(0)


def test_data_of_another_teacher_or_layer_are_rejected(cached):
    teacher, _, cache = cached
    joined = cache.join(data().batch(8))
    make_representation(teacher, "teacher/features", "output").require_data(joined)
    other, _ = toy.counted(dense_teacher("tanh"))
    with pytest.raises(ValueError, match="its config changed"):
        make_representation(other, "teacher/features", "output").require_data(joined)
    with pytest.raises(ValueError, match="holds 'teacher/features', and not 'teacher/head'"):
        make_representation(teacher, "teacher/head", "output").require_data(joined)
    with pytest.raises(ValueError, match="holds 'teacher/features', and not 'teacher/head'"):
        make_representation(cache.teachers[0], "teacher/head")
    with pytest.raises(ValueError, match="before the activation.*without a cache"):
        make_representation(teacher, "teacher/features").require_data(joined)
    with pytest.raises(ValueError, match="before the activation.*without a cache"):
        make_representation(cache.teachers[0], "teacher/features", "preactivation")
