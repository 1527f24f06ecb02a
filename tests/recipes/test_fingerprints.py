"""Arguments have the same description again if they are the same, and another one if not."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.recipes.fingerprints import (
    RANDOM,
    Fingerprints,
    code_digest,
    describe_array,
    describe_data,
    has_content,
    has_preprocessed_samples,
    input_specs,
    read_samples,
)
from tests import toy

SAMPLES = np.linspace(-1, 1, 40, dtype="float32").reshape(8, 5)


def describe(value, data=SAMPLES):
    described = Fingerprints(data).describe(value)
    json.dumps(described)
    return described


class Other:
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 0.5)}, {"a": [1, 0.5]}),
        ([True, None, "x"], [True, None, "x"]),
        (np.mean, {"class": "mean"}),
        (Other, {"class": "Other"}),
        (Other(), {"class": "Other"}),
        (ops.mean, "keras.src.ops.numpy.mean"),
    ],
)
def test_arguments_are_described_as_json(value, expected):
    assert describe(value) == expected


def scaled(factor):
    return lambda x: x * factor


def normalized(mean):
    layer = layers.Normalization(mean=mean, variance=1.0)
    layer.build((None, 5))
    return layer


def trained(bias):
    layer = layers.Dense(2)
    layer.build((None, 5))
    layer.bias.assign([0, bias])
    return layer


PAIRS = {
    "model": (toy.mlp, ("student",), ("other",), {"seed": 1}),
    "units": (toy.mlp, ("student",), ("other",), {"units": 9}),
    "activation": (toy.mlp, ("student",), ("other",), {"activation": "softmax"}),
    "optimizer": (keras.optimizers.SGD, (0.5,), (0.5,), {"momentum": 0.5}),
    "schedule": (
        lambda rate=0.1: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(rate, 2, 3)
        ),
        (),
        (),
        {"rate": 0.2},
    ),
    "loss": (
        keras.losses.SparseCategoricalCrossentropy,
        (),
        (),
        {"from_logits": True},
    ),
    "distillation loss": (kd.losses.SoftTargets, (), (), {"temperature": 2.0}),
    "weighting": (lambda keep=1: kd.weighting.Screening(keep=keep), (), (), {"keep": 2}),
    "noise": (lambda stddev=1.0: kd.noise.LogitNoise(stddev, seed=0), (), (), {"stddev": 2.0}),
    "function": (lambda factor=1: scaled(factor), (), (), {"factor": 2}),
    "partial": (lambda factor=1: functools.partial(pow, factor), (), (), {"factor": 2}),
    "graph function": (lambda factor=1: tf.function(scaled(factor)), (), (), {"factor": 2}),
    "layer": (lambda mean=0.0: normalized(mean), (), (), {"mean": 1.0}),
    "trained layer": (lambda bias=0.0: trained(bias), (), (), {"bias": 1.0}),
    "array": (lambda last=0: np.array([0, 1, last]), (), (), {"last": 2}),
    "texts": (lambda last="": np.array(["a", last], object), (), (), {"last": "b"}),
    "tensor": (lambda last=0: tf.constant([0, 1, last]), (), (), {"last": 2}),
}


@pytest.mark.parametrize("case", PAIRS)
def test_equal_arguments_are_described_equally_and_others_differently(case):
    make, one, same, changed = PAIRS[case]
    keras.utils.set_random_seed(0)
    first = describe(make(*one))
    keras.utils.set_random_seed(0)
    assert describe(make(*same)) == first
    keras.utils.set_random_seed(0)
    assert describe(make(*one, **changed)) != first


def test_classes_with_the_same_configuration_differ():
    one, other = keras.losses.CategoricalCrossentropy, keras.losses.CategoricalHinge
    assert describe(one(name="x")) != describe(other(name="x"))


def test_functions_are_described_by_their_code():
    one, same, other = (lambda x: x + 1), (lambda x: x + 1), (lambda x: x + 2)
    assert describe(one)["code"] == describe(same)["code"] != describe(other)["code"]

    def recursive(x):
        return recursive(x - 1) if x else 0

    assert describe(recursive)["values"]["recursive"] == "function"


def test_teachers_are_described_by_their_fingerprint_and_classes():
    model = toy.mlp("teacher")
    teacher = describe(kd.Teacher(model))
    assert describe([kd.Teacher(model, name="other")]) == [teacher]
    assert describe(kd.Teacher(model, classes=[1, 0, 2, 3])) != teacher
    assert describe(kd.Teacher(model, preprocessing=ops.tanh)) != teacher


def clipped(limit):
    return kd.Teacher(toy.mlp("teacher"), preprocessing=lambda x: ops.clip(x, -limit, limit))


class RandomBatches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        return np.random.default_rng().normal(size=(4, 5)).astype("float32")


@pytest.mark.slow
def test_preprocessings_are_compared_on_samples_of_the_data_in_any_order():
    x = X.copy()
    x[:, 2] = 1e6
    batches = [dataset(x).batch(8), dataset(x).shuffle(700).batch(16)]
    for data in (x, (x, Y), Batches(x), *batches):
        one, other = clipped(2e6), clipped(5e5)
        assert one.fingerprint(input_specs(data)) == other.fingerprint(input_specs(data))
        first = describe(one, data)
        assert describe(clipped(2e6), data) == first != describe(other, data)
        assert has_preprocessed_samples([first])
    found = read_samples(batches[1])
    np.testing.assert_array_equal(found, read_samples(batches[1]))
    assert found.shape == (64, 5)


def test_preprocessings_of_random_samples_are_reported():
    numbers = tf.data.Dataset.random(rerandomize_each_iteration=True).take(50)
    random = numbers.map(lambda i: tf.random.stateless_normal((5,), [i, 0])).batch(10)
    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1.0], [2.0, 3.0]]))
    for data in (random, ragged, (_ for _ in ())):
        assert read_samples(data) is None
    described = describe([{"head": clipped(1.0)}], random)
    assert described[0]["head"]["preprocessed samples"] == RANDOM
    assert not has_preprocessed_samples(described)
    one, other = (describe(clipped(1.0), RandomBatches()) for _ in range(2))
    assert one == other
    assert not has_preprocessed_samples(one)


def test_the_order_of_a_set_does_not_count():
    code = (lambda x: x in {0, 8}).__code__  # In one process {8, 0}, in another {0, 8}.
    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert repr(one) != repr(other)
    constants = [(None, constant) for constant in (one, other)]
    digests = {code_digest(code.replace(co_consts=each)) for each in constants}
    assert len(digests) == 1


# Data.

X, Y = toy.vectors(700)


def dataset(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y))


def content(data):
    return describe_data(data)["content"]


def test_a_data_set_is_described_by_structure_length_and_first_samples():
    described = describe_data(dataset().batch(10))
    assert described["batches"] == 70
    assert "float32" in described["structure"]
    assert described == describe_data(dataset().batch(10))
    late = Y.copy()
    late[600] += 1
    assert content(dataset(y=late).batch(10)) == described["content"]
    late[400] += 1
    assert content(dataset(y=late).batch(10))[0] == described["content"][0]
    assert content(dataset(y=late).batch(10))[1] != described["content"][1]


@pytest.mark.parametrize("seed", [None, 1])
def test_the_order_does_not_count(seed):
    shuffled = content(dataset().shuffle(700, seed=seed).batch(10))
    assert shuffled == content(dataset().shuffle(700, seed=seed).batch(20))
    assert RANDOM not in shuffled
    last = Y.copy()
    last[699] += 1
    assert content(dataset(y=last).shuffle(700).batch(10))[1] != shuffled[1]


def test_augmented_inputs_are_not_compared_and_their_labels_are():
    random = dataset().shuffle(700).map(lambda x, y: (x + tf.random.normal((5,)), y)).batch(10)
    described = describe_data(random)
    assert described["content"] == [RANDOM, content(dataset().shuffle(700).batch(10))[1]]
    assert has_content(described)


def test_other_samples_each_time_are_known_by_their_structure_only():
    random = tf.data.Dataset.random(rerandomize_each_iteration=True).batch(8)
    described = describe_data(random)
    assert described["content"] == [RANDOM]
    assert not has_content(described)
    assert not has_content(describe(x for x in ()))


def test_ragged_and_empty_data_sets_are_described():
    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1], [2, 3]]))
    assert RANDOM not in content(ragged)
    assert content(dataset().take(0).batch(4)) == []


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.x[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]


def test_a_py_dataset_is_described_by_its_first_batch():
    described = describe(Batches(X))
    assert described == describe(Batches(X.copy()))
    assert described != describe(Batches(X + 1))
    assert described == {
        "batches": 4,
        "content": [describe_array(X[:8]), describe_array(Y[:8])],
    }


def test_arrays_are_known_completely():
    assert has_content(describe((X, Y)))
    assert has_content(None)


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        X,
        tf.constant(X),
        Batches(X),
        dataset().batch(8),
        dataset().map(lambda x, y: x).batch(8),
    ],
)
def test_the_inputs_of_data_are_found(data):
    spec = input_specs(data)
    dtype = keras.backend.standardize_dtype(spec.dtype)
    assert (tuple(spec.shape), dtype) == ((None, 5), "float32")


def test_inputs_of_other_kinds_are_found():
    assert input_specs(({"a": np.array(["b"])}, Y))["a"].dtype == "string"
    assert input_specs(x for x in ()) is None
