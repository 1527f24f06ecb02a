"""`keras-kd compress`: a folder of images and a teacher become a file."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.export import describe
from tests.budget.conftest import make_fast
from tests.cli import models


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    make_fast(monkeypatch)


@pytest.fixture
def images(tmp_path):
    """Write embedded digits as PNG files by class, without a validation split."""
    for split, count in (("train", 80), ("test", 20)):
        samples = kd.datasets.load("digits", split, batch_size=None, shuffle=False).take(count)
        for i, (x, y) in enumerate(samples):
            folder = tmp_path / "images" / split / f"digit {int(y)}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.round(x.numpy() * 255).astype("uint8")
            tf.io.write_file(str(folder / f"{i}.png"), tf.io.encode_png(pixels))
    return "images"


def test_a_folder_of_png_files_becomes_a_file_within_the_budget(run, images, tmp_path):
    line = f"compress teacher.keras --data {images} --max-size 4kB --out small --trials 1"
    code, text, errors = run(line)
    assert code == 0
    file = tmp_path / "small" / "best.tflite"
    assert file.stat().st_size <= 4000
    assert f"Wrote {'small/best.tflite'}: int8, " in text
    assert "of test data that the search did not use" in text
    assert "trial 0-00 | " in errors
    (labels,) = describe(file).labels.values()
    assert labels == tuple(f"digit {i}" for i in range(10))
    assert "digit 0, digit 1" in (tmp_path / "small" / "report.html").read_text()
    student = keras.models.load_model(tmp_path / "small" / "student.keras")
    assert student.input_shape == (None, 8, 8, 1)


def test_a_budget_that_cannot_be_met_has_its_own_code(run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_kd.budget.recipe.LEAST_STEPS", 12)
    line = "compress teacher.keras --data digits --max-size 1kB --out small --quiet"
    code, text, errors = run(line)
    assert code == 3
    assert errors == ""
    assert text.startswith("No student is within 1.0 kB. The smallest one has ")
    assert "NOT within the limits: small/nearest.tflite: int8" in text
    assert not (tmp_path / "small" / "best.tflite").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "pass at least one of --max-size, --max-latency, --max-macs, --max-drop"),
        ("--max-size big", "expected a size such as 60kB or 1.5MB, not big"),
        ("--max-drop 1 --test-split validation", "are both 'validation'"),
    ],
)
def test_invalid_options_are_rejected(run, tmp_path, options, message):
    code, _, errors = run(f"compress teacher.keras --data digits --out small {options}")
    assert code == 2
    assert message in errors
    assert models.files_in(tmp_path) == []
