"""A fingerprint changes with everything that changes a teacher's outputs, and with nothing else."""

import keras
import numpy as np
import pytest

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
