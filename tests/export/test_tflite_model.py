"""The written file: its properties and predictions."""

import dataclasses
import os

import numpy as np
import pytest

from keras_kd.export.tflite_model import Attempt
from keras_kd.litert.interpreter import read_tflite
from tests.export import models


def test_the_file_is_frozen_and_has_a_size():
    file = models.export(models.cnn)
    assert (file.quantization, file.size) == ("float32", file.path.stat().st_size)
    assert (file.inputs, file.outputs, file.tried) == (("input_0",), ("logits",), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        file.path = "other"


def test_the_file_is_a_path():
    file = models.export(models.cnn)
    assert os.fspath(file) == str(file.path)
    assert read_tflite(file) == file.path.read_bytes()


def test_several_outputs_are_in_the_order_of_the_model():
    file = models.export(models.two_in_two_out)
    assert (file.inputs, file.outputs) == (("b", "a"), ("z", "y"))
    values = file.predict(models.PAIR)
    assert list(values) == ["z", "y"]
    by_name = file.predict({"a": models.PAIR[1], "b": models.PAIR[0]})
    np.testing.assert_array_equal(by_name["z"], values["z"])


def test_attempts_are_json_values():
    attempt = Attempt("int8", "too slow", 10, verification=models.export(models.cnn).verification)
    values = attempt.as_dict()
    assert (values["quantization"], values["reason"], values["size"]) == ("int8", "too slow", 10)
    assert values["verification"]["samples"] == 40
    assert Attempt("int8").as_dict()["verification"] is None
