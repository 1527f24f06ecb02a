"""A fingerprint changes with everything that changes a teacher's outputs, and with nothing else."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.teachers.fingerprint import Fingerprint, digest_of, preprocessing_digest
from tests import toy

SPEC = keras.KerasTensor((None, 5), "float32")


def fingerprint(model=None, **kwargs):
    return kd.Teacher(model or toy.mlp("teacher"), **kwargs).fingerprint(SPEC)


def test_a_fingerprint_does_not_depend_on_names_and_is_reproducible():
    renamed = toy.mlp("other")
    renamed.layers[0].name = "renamed"
    assert fingerprint() == fingerprint(renamed)
    assert fingerprint() == Fingerprint.parse(str(fingerprint()))
    # Stored caches depend on this value.
    assert digest_of(["tflite", "auto"]) == "8f7b08271c01c152"


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        (lambda: fingerprint(toy.mlp("teacher", seed=1)), ["weights"]),
        (lambda: fingerprint(toy.mlp("teacher", units=9)), ["weights", "config"]),
        (lambda: fingerprint(toy.mlp("teacher", activation="softmax")), ["config"]),
        (lambda: fingerprint(outputs="logits"), ["config"]),
        (lambda: fingerprint(preprocessing=lambda x: x * 2), ["preprocessing"]),
    ],
    ids=["weights", "units", "activation", "outputs", "preprocessing"],
)
def test_a_fingerprint_names_what_changed(changed, parts):
    assert fingerprint().differences(changed()) == parts


@pytest.mark.parametrize("dtype", ["uint8", "float32", "string"])
def test_preprocessings_are_compared_on_samples_of_the_input_dtype(dtype):
    spec = keras.KerasTensor((None, None, 3), dtype)
    if dtype == "string":
        length = lambda x: np.char.str_len(np.asarray(x).astype(str)) * 1.0  # noqa: E731
        one, other = length, lambda x: length(x) + 1
    else:
        one, other = lambda x: x, lambda x: x + keras.ops.cast(1, x.dtype)
    digests = [preprocessing_digest(function, spec) for function in (one, one, other, None)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[3] == ""


@pytest.mark.parametrize("shape", [(None, 6), (None, 1), (None,), (None, 8, 8, 3)])
@pytest.mark.parametrize(
    "other",
    [
        lambda x: ops.clip(x, 0, 1),
        lambda x: ops.clip(x, -1, 1),
        lambda x: ops.clip(x, 0, 255),
        lambda x: ops.clip(x, -30_000, 30_000),
        ops.round,
        ops.abs,
        lambda x: x + 1e-6,
        lambda x: ops.where(x == 0, -1.0, x),
        lambda x: ops.cast(x, "float16"),
        lambda x: ops.nan_to_num(ops.log(x)),
    ],
)
def test_preprocessings_differ_that_are_equal_between_zero_and_one_or_elsewhere(shape, other):
    spec = keras.KerasTensor(shape, "float32")
    plain = preprocessing_digest(lambda x: x * 1.0, spec)
    assert preprocessing_digest(lambda x: x + 0.0, spec) == plain
    assert preprocessing_digest(other, spec) != plain


@pytest.mark.parametrize("limit", [1, 9, 255, 30_000])
def test_integers_are_compared_in_several_ranges_and_a_table_may_reject_some(limit):
    spec = keras.KerasTensor((None, 7), "int32")

    def clipped(x):
        return ops.minimum(x, limit)

    def looked_up(x):
        if np.asarray(x).max() > limit or np.asarray(x).min() < 0:
            raise IndexError("no such row")
        return x

    digests = {preprocessing_digest(function, spec) for function in (abs, clipped, looked_up)}
    assert len(digests) == 3


def test_texts_are_compared_in_case_markup_and_numbers():
    spec = keras.KerasTensor((None,), "string")
    text = lambda x: [[str(one, "utf-8") for one in np.asarray(x)]]  # noqa: E731
    functions = [
        lambda x: np.array(text(x), dtype=object),
        lambda x: np.array(np.char.lower(text(x)), dtype=object),
        lambda x: np.array(np.char.strip(text(x)), dtype=object),
        lambda x: np.asarray(x).astype("S").astype("float32"),
    ]
    assert len({preprocessing_digest(function, spec) for function in functions}) == 4


def test_inputs_by_name_are_compared_together():
    spec = {"a": keras.KerasTensor((None, 2)), "b": keras.KerasTensor((None, 2))}
    one = preprocessing_digest(lambda x: x["a"], spec)
    assert one != preprocessing_digest(lambda x: x["b"], spec)


def test_nan_has_one_digest():
    spec = keras.KerasTensor((None, 3), "float32")
    negated = lambda x: -ops.negative(ops.log(x))  # noqa: E731
    assert preprocessing_digest(ops.log, spec) == preprocessing_digest(negated, spec)


def test_preprocessings_that_need_real_samples_have_one_digest():
    one, other = (preprocessing_digest(lambda x: 1 / 0, SPEC) for _ in range(2))
    assert one == other != preprocessing_digest(lambda x: x, SPEC)


def test_a_preprocessing_of_an_earlier_version_is_named():
    new, old = Fingerprint("w", "c", "s12"), Fingerprint("w", "c", "12")
    (named,) = new.differences(old)
    assert named.startswith("preprocessing (or the version of keras_kd")
    assert new.differences(Fingerprint("w", "c", "s34")) == ["preprocessing"]
    assert new.differences(Fingerprint("w", "c", "")) == ["preprocessing"]


def test_an_input_is_sampled_whatever_the_others_are():
    specs = {key: keras.KerasTensor((None, 4)) for key in ("a", "b", "c")}
    alone = {"b": specs["b"]}
    one = preprocessing_digest(lambda x: {"b": x["b"]}, specs)
    assert one == preprocessing_digest(lambda x: {"b": x["b"]}, alone)
    assert one != preprocessing_digest(lambda x: {"b": x["a"]}, specs)
