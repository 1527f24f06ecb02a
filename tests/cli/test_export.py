"""`keras-kd export`: verified files, the best format, and files that differ too much."""

import re
from pathlib import Path

import keras
import numpy as np

import keras_kd as kd
from keras_kd.cli.export import _format_drop, _score_parts


def test_export_writes_a_verified_file_beside_the_model(run):
    code, numbers, errors = run("export teacher.keras --quantization int8 --data digits --json")
    assert code == 0
    assert "Converting 'teacher.keras' to int8" in errors
    file = Path("teacher.tflite")
    assert numbers["file"] == "teacher.tflite"
    assert numbers["size"] == file.stat().st_size
    (score,) = numbers["verification"]["outputs"].values()
    test = kd.datasets.load("digits", "test")
    assert numbers["verification"]["samples"] == 296
    assert score["accuracy"] == kd.export.evaluate(file, test).accuracy
    assert kd.export.describe(file).quantization == "int8"


def test_export_keeps_the_best_file_and_gives_the_reason_for_each_dropped_one(run):
    line = "export teacher.keras --quantization best --objective size --max-drop 5 --data digits"
    code, text, _ = run(f"{line} --out best.tflite --io-dtype int8")
    assert code == 0
    kept = kd.export.describe("best.tflite").quantization
    assert kept == "int8"  # The only format with int8 inputs.
    assert re.search(rf"^{kept} .* kept$", text, re.MULTILINE)
    assert re.search(r"accuracy \d+\.\d+ % \(.* the model\)", text)
    assert "float16: Expected an io_dtype of" in text


def test_a_file_that_differs_too_much_is_rejected_and_kept_under_another_name(run, tmp_path):
    Path("mine").mkdir()
    x = np.random.default_rng(0).random((50, 8, 8, 1), "float32")
    y = keras.models.load_model("teacher.keras").predict(x, verbose=0).argmax(-1)
    np.savez("mine/test.npz", x=x, y=y)
    np.savez("mine/train.npz", x=x * 0.001, y=y)  # A range that the test split exceeds.
    code, _, errors = run("export teacher.keras --quantization int8 --data mine --out m.tflite")
    assert code == 1
    assert "points of accuracy" in errors
    assert "'m.rejected.tflite'" in errors
    assert not Path("m.tflite").exists()


def test_a_drop_is_formatted_in_points():
    assert _format_drop(1.234) == "1.23 points below the model"
    assert _format_drop(-0.5) == "0.50 points above the model"
    assert _format_drop(0.001) == "same as the model"


def test_the_scores_are_those_of_the_task():
    classes = kd.export.Score(0.5, 0.75, 1.0, 0.1, 0.05, 0.6)
    assert list(_score_parts(classes)) == [
        "75.00 % agreement with the model",
        "accuracy 50.00 % (10.00 points below the model)",
    ]
    numbers = kd.export.Score(relative_difference=0.0123456, rmse=1.5)
    assert list(_score_parts(numbers)) == [
        "difference from the model 0.01235 of its standard deviation",
        "root mean squared error 1.5",
    ]
