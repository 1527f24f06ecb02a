"""Arguments and data of all kinds: accepted, or rejected before training with a readable error.

`GENERATED_CASES=250` trains as many cases of each task, in place of 30.
"""

import os
import re
import traceback
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_kd as kd
from keras_kd.models.task import TASKS
from tests import toy
from tests.fuzzing.fuzz_readers import call
from tests.fuzzing.task_cases import OUT_OF_RANGE, Training, case_strategy

NUMBERS = [-1, 0, 0.5, 2, float("nan"), float("inf"), "0.5", None, [1.0], 10**400]
OBJECTS = [None, 3, -1.5, "nonsense", [], {}, object(), b"x", (), [None], lambda: 1]
REJECTIONS = (ValueError, TypeError)


def cases(count):
    """The number of examples, which are the same in every run."""
    slow = [HealthCheck.too_slow]
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=slow)


class Make:
    """A value that is built anew for each example, because models change it."""

    def __init__(self, build):
        self.build = build


def values(*others):
    """Objects that are wrong almost everywhere, and others."""
    return st.sampled_from([*OBJECTS, *others])


@pytest.fixture(scope="module")
def models():
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)], name="three")
    return {
        "student": toy.mlp("student"),
        "teacher": toy.mlp("teacher", seed=1),
        "unbuilt": keras.Sequential([keras.layers.Dense(4)]),
        "three": other,
    }


@pytest.fixture(scope="module")
def distiller(models):
    return kd.Distiller(models["student"], models["teacher"])


@pytest.fixture(scope="module")
def arguments(models):
    """One to three arguments of `Distiller`, by name."""
    one, two, three = models["student"], models["teacher"], models["three"]
    losses, weighting = kd.losses, kd.weighting
    by_name = {
        "student": values(one, models["unbuilt"], three, [one], type(one), "student.keras"),
        "teachers": values(
            *(two, [two, two], three, [two, three], models["unbuilt"], "no.keras", [one])
        ),
        "losses": values(
            *("soft_targets", "hint", losses.SoftTargets, keras.losses.MeanSquaredError(), ["x"]),
            *(Make(losses.SoftTargets), Make(lambda: losses.Hint("nothing", "hidden"))),
            Make(lambda: [losses.SoftTargets(), "soft_targets"]),
        ),
        "student_loss_weight": st.sampled_from(NUMBERS),
        "weighting": values(
            *("uniform", weighting.CrossEntropy(), weighting.CrossEntropy),
            *(weighting.Fixed([0.5, 0.5]), weighting.Screening(keep=5)),
        ),
        "noise": values(Make(lambda: kd.noise.LogitNoise(1.0)), kd.noise.LogitNoise),
        "combine": values("losses", "probabilities", "logits"),
        "class_names": values(["a", "b", "c", "d"], ["a"], "abcd", [1, 2, 3, 4], ["a"] * 4),
        "student_outputs": values("auto", "logits", "probabilities"),
        "augment": values(keras.layers.GaussianNoise(0.1), [keras.layers.Dropout(0.1)], "flip"),
        "same_view": st.sampled_from([True, False]),
        "on_bad_batch": values("raise", "skip"),
        "name": st.sampled_from([None, "a", "b/c"]),
    }
    chosen = st.lists(st.sampled_from(sorted(by_name)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({n: by_name[n] for n in names}))


@pytest.mark.slow
@cases(150)
@given(data=st.data())
def test_a_constructor_accepts_its_arguments_or_names_the_wrong_one(models, arguments, data):
    given = data.draw(arguments)
    given = {n: v.build() if isinstance(v, Make) else v for n, v in given.items()}
    full = {"student": models["student"], "teachers": models["teacher"], **given}
    _, error = call(lambda: kd.Distiller(**full), REJECTIONS)
    assert not error or names_one(error, given), error


def names_one(error, arguments):
    """Whether an error names an argument, the class of its value, or the tap of a loss."""
    error = error.lower().replace("`", "")
    words = [re.sub(r"(es|s)$", "", name).replace("student_output", "output") for name in arguments]
    words += [f"{type(value).__name__}:" for value in arguments.values()]
    words += [
        f"'{value.teacher_tap}'" for value in arguments.values() if hasattr(value, "teacher_tap")
    ]
    return any(word.lower() in error or word.replace("_", " ") in error for word in words)


@pytest.mark.slow
@cases(60)
@given(
    arguments=st.fixed_dictionaries(
        {},
        optional={
            "optimizer": st.sampled_from(["adam", keras.optimizers.SGD, 3, "nonsense", object()]),
            "loss": values("mse", toy.sparse_loss(), ["mse"], {"nothing": "mse"}),
            "metrics": values("accuracy", ["accuracy"], [["accuracy"]], {"nothing": "mse"}),
            "loss_weights": values(1.0, [1.0], [1.0, 2.0]),
            "steps_per_execution": st.sampled_from([1, 2, 0, -1, "x", None]),
        },
    )
)
def test_compile_accepts_its_arguments_or_names_the_wrong_one(distiller, arguments):
    _, error = call(lambda: distiller.compile(**arguments), REJECTIONS)
    assert not error or names_one(error, arguments), error


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


#: The errors of the package, and Keras's for arrays of different lengths.
READABLE = (
    r"takes inputs of shape .* Received: `x` of shape",
    r"labels are required: fit\(x, y\).* Received: y=None",
    r"Labels must be numbers.* Received: `y` of strings",
    r"Labels out of range.* Received labels from",
    r"expects class indices, labels of shape.* Received: labels of shape",
    r"`sample_weight` must have one number per sample.* Received: shape",
    r"There was nothing to learn from in epoch 1: no batch",
    r"Make sure all arrays contain the same number of samples",
)


#: Tracing takes longest.
MOSTLY = st.sampled_from([True] * 9 + [False])


@pytest.mark.slow
@cases(60)
@given(parts=arrays(4), batch=st.sampled_from([1, 3, 4]), eager=MOSTLY, loss=st.booleans())
def test_data_of_any_shape_are_trained_on_or_rejected(distiller, parts, batch, eager, loss):
    x, y, weights = parts
    distiller.compile("sgd", toy.sparse_loss() if loss else None, run_eagerly=eager)
    fit = {"batch_size": batch, "sample_weight": weights, "verbose": 0}
    before = distiller.get_weights()
    _, error = call(lambda: distiller.fit(x, y, **fit), REJECTIONS)
    assert not error or any(re.search(text, error, re.DOTALL) for text in READABLE), error
    for one, other in zip(before, distiller.get_weights() if error else before, strict=True):
        np.testing.assert_array_equal(one, other)


def attempt(function):
    """The result of a function and `None`, or `None` and its error."""
    try:
        return function(), None
    except Exception as error:
        return None, error


def is_refusal(error):
    """Whether the package raised an error that says what it received."""
    if not isinstance(error, REJECTIONS):
        return False
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    package = str(Path(kd.__file__).parent)
    return raised_in.startswith(package) and re.search(r"[Rr]eceived|Pass |Declare", str(error))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@cases(int(os.environ.get("GENERATED_CASES", "30")))
@given(data=st.data())
def test_any_task_layout_input_and_label_is_right_or_refused(task, data):
    case = data.draw(case_strategy(task))
    training = Training(case)
    found, error = attempt(training.run)
    if error is not None:
        assert is_refusal(error), repr(error)
        assert not case.usual, repr(error)
        return
    assert case.form != OUT_OF_RANGE
    for name, value in training.expected().items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=1e-5, err_msg=name)
