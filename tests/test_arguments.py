"""Arguments and data sets of all kinds: taken, or refused in our own words before training."""

import re

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_kd as kd
from tests import toy
from tests.fuzzing.fuzz_readers import refusal


def cases(count):
    """So many cases, the same each time; models are small, but not as fast as numbers."""
    slow = [HealthCheck.too_slow]
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=slow)


NUMBERS = [-1, 0, 0.5, 2, float("nan"), float("inf"), "0.5", None, [1.0], 10**400]
THINGS = [None, 3, -1.5, "nonsense", [], {}, object(), b"x", (), [None], lambda: 1]


@pytest.fixture(scope="module")
def models():
    unbuilt = keras.Sequential([keras.layers.Dense(4)])
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)], name="three")
    return {
        "student": toy.mlp("student"),
        "teacher": toy.mlp("teacher", seed=1),
        "unbuilt": unbuilt,
        "three": other,
    }


def bad(*others):
    return st.sampled_from([*THINGS, *others])


def drawn(models):
    """By argument of `Distiller`, what it is given where it is not left alone."""
    one, two, three = models["student"], models["teacher"], models["three"]
    losses, weighting = kd.losses, kd.weighting
    return {
        "student": bad(one, models["unbuilt"], three, [one], type(one), "student.keras"),
        "teachers": bad(two, [two, two], three, [two, three], models["unbuilt"], "no.keras", [one]),
        "losses": bad(
            *("soft_targets", "hint", losses.SoftTargets, losses.Hint("nothing", "hidden")),
            *([losses.SoftTargets(), "soft_targets"], keras.losses.MeanSquaredError(), ["x"]),
        ),
        "student_loss_weight": st.sampled_from(NUMBERS),
        "weighting": bad(
            *("uniform", weighting.CrossEntropy(), weighting.CrossEntropy),
            *(weighting.Fixed([0.5, 0.5]), weighting.Screening(keep=5)),
        ),
        "noise": bad(kd.noise.LogitNoise(1.0), kd.noise.LogitNoise),
        "combine": bad("losses", "probabilities", "logits"),
        "class_names": bad(["a", "b", "c", "d"], ["a"], "abcd", [1, 2, 3, 4], ["a"] * 4),
        "student_outputs": bad("auto", "logits", "probabilities"),
        "augment": bad(keras.layers.GaussianNoise(0.1), [keras.layers.Dropout(0.1)], "flip"),
        "same_view": st.sampled_from([True, False]),
        "on_bad_batch": bad("raise", "skip"),
        "name": st.sampled_from([None, "a", "b/c"]),
    }


def constructor(models):
    return st.fixed_dictionaries({}, optional=drawn(models)).filter(lambda a: 0 < len(a) <= 3)


@cases(300)
@given(data=st.data())
def test_a_constructor_takes_its_arguments_or_names_the_one_it_does_not(models, data):
    arguments = data.draw(constructor(models))
    full = {"student": models["student"], "teachers": models["teacher"], **arguments}
    _, teacher_outputs = refusal(lambda: kd.Distiller(**full), (ValueError, TypeError))
    assert not teacher_outputs or names_one(teacher_outputs, arguments), teacher_outputs


def names_one(sentence, arguments):
    """Whether a sentence names an argument, the class of its value, or what the value asks for."""
    teacher_outputs = sentence.lower().replace("`", "")
    words = [re.sub(r"(es|s)$", "", name).replace("student_output", "output") for name in arguments]
    words += [f"{type(value).__name__}:" for value in arguments.values()]
    words += [
        f"'{value.teacher_tap}'" for value in arguments.values() if hasattr(value, "teacher_tap")
    ]
    return any(
        word.lower() in teacher_outputs or word.replace("_", " ") in teacher_outputs
        for word in words
    )


@cases(100)
@given(data=st.data())
def test_compile_takes_its_arguments_or_names_the_one_it_does_not(models, data):
    arguments = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "optimizer": st.sampled_from(
                    ["adam", keras.optimizers.SGD, 3, "nonsense", object()]
                ),
                "loss": bad("mse", toy.sparse_loss(), ["mse"], {"nothing": "mse"}),
                "metrics": bad("accuracy", ["accuracy"], [["accuracy"]], {"nothing": "mse"}),
                "loss_weights": bad(1.0, [1.0], [1.0, 2.0]),
                "steps_per_execution": st.sampled_from([1, 2, 0, -1, "x", None]),
            },
        )
    )
    model = kd.Distiller(models["student"], models["teacher"])
    _, teacher_outputs = refusal(lambda: model.compile(**arguments), (ValueError, TypeError))
    assert not teacher_outputs or names_one(teacher_outputs, arguments), teacher_outputs


def arrays(count):
    """x, y and sample weights of many shapes and types, most of them wrong for the models."""
    rng = np.random.default_rng(0)
    shapes = [(count, 5), (count, 4), (count,), (count, 5, 1), (0, 5)]
    x = st.sampled_from([rng.normal(size=shape).astype("float32") for shape in shapes])
    labels = rng.integers(0, 4, count)
    y = st.sampled_from(
        [
            *(labels, labels[:, None], labels.astype("float32"), labels.astype("uint8")),
            *(labels + 9, labels - 5, np.eye(4, dtype="float32")[labels], labels.astype(str)),
            *(np.zeros((count, 3), "float32"), labels[:-1], np.zeros((count, 2, 2)), None),
            np.full(count, kd.UNLABELED),
        ]
    )
    ones = np.ones(count, "float32")
    weights = st.sampled_from([None, ones, ones[:, None], ones[:-1], np.ones((count, 3)), -ones])
    return st.tuples(x, y, weights)


#: Our own sentences, and Keras's on arrays of differing lengths.
OURS = (
    r"takes inputs of shape .* Received: `x` of shape",
    r"there must be labels: fit\(x, y\).* Received: y=None",
    r"Labels must be numbers.* Received: `y` of strings",
    r"Labels out of range.* Received labels from",
    r"takes indices of classes, labels of shape.* Received: labels of shape",
    r"`sample_weight` must have one number for each sample.* Received: shape",
    r"Make sure all arrays contain the same number of samples",
)


@cases(120)
@given(parts=arrays(6), batch=st.sampled_from([1, 4, 6]), eager=st.booleans(), loss=st.booleans())
def test_data_of_any_shape_are_learned_from_or_refused_in_words(models, parts, batch, eager, loss):
    x, y, weights = parts
    model = kd.Distiller(models["student"], models["teacher"])
    compiled = toy.sparse_loss() if loss else None
    model.compile("sgd", compiled, run_eagerly=eager)
    fit = {"batch_size": batch, "sample_weight": weights, "verbose": 0}
    before = model.get_weights()
    _, teacher_outputs = refusal(lambda: model.fit(x, y, **fit), (ValueError, TypeError))
    assert not teacher_outputs or any(
        re.search(sentence, teacher_outputs, re.DOTALL) for sentence in OURS
    ), teacher_outputs
    for one, other in zip(before, model.get_weights() if teacher_outputs else before, strict=True):
        np.testing.assert_array_equal(one, other)
