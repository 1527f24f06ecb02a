"""Keras files: code in them does not run, and errors name the remedy."""

import zipfile
from pathlib import Path

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.cli.models import load_model
from tests.cli import models


def test_code_in_a_file_runs_only_with_permission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models.with_code().save("code.keras")
    Path("ran").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="contains Python code .* your permissions.* --unsafe"):
        load_model("code.keras", unsafe=False)
    assert not Path("ran").exists()
    assert load_model("code.keras", unsafe=True).name == "with_code"
    assert Path("ran").exists()


@pytest.mark.parametrize(
    "line",
    [
        "export code.keras --data ./none",
        "report student.keras code.keras --data ./none",
        "distill student.keras code.keras --data ./none --out out",
    ],
)
def test_every_command_that_loads_models_needs_unsafe_for_code(run, line):
    models.with_code().save("code.keras")
    Path("ran").unlink(missing_ok=True)
    code, _, errors = run(line)
    assert (code, Path("ran").exists()) == (1, False)
    assert "contains Python code" in errors
    code, _, errors = run(f"{line} --unsafe")
    assert (code, Path("ran").exists()) == (1, True)
    assert "./none" in errors


def test_an_unknown_class_is_reported_with_the_remedy(tmp_path):
    class Odd(layers.Layer):
        def call(self, x):
            return x

    path = tmp_path / "odd.keras"
    keras.Sequential([layers.Input((8, 8, 1)), Odd(), models.dense("d")]).save(path)
    with pytest.raises(ValueError, match="needs the class 'Odd', whose code is not in the file"):
        load_model(path, unsafe=True)


def test_a_file_that_unpacks_without_bounds_is_rejected(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 2**24)
    with pytest.raises(ValueError, match="unpack to 16,777,216 bytes, more than 100 times"):
        load_model(path, unsafe=False)


def test_an_unbuilt_model_is_rejected(tmp_path):
    path = tmp_path / "unbuilt.keras"
    keras.Sequential([layers.Dense(2)]).save(path)
    with pytest.raises(ValueError, match="Expected a built model .* Received: Sequential"):
        load_model(path, unsafe=False)


def test_classes_of_the_package_are_known(tmp_path):
    distiller = kd.Distiller(models.dense("student"), models.dense("teacher"))
    distiller.compile("adam")
    distiller.save(tmp_path / "distiller.keras")
    assert isinstance(load_model(tmp_path / "distiller.keras", unsafe=False), kd.Distiller)
