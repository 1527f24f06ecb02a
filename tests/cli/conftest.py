"""A folder with models, and a function that runs a command line in it."""

import json
import shlex

import keras
import pytest

import keras_kd as kd
from keras_kd.cli.main import main
from tests.cli import models


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """A folder with a trained teacher, its file and a student."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    teacher = models.dense("teacher", 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile(keras.optimizers.Adam(5e-3), loss)
    teacher.fit(kd.datasets.load("digits"), epochs=5, verbose=0)
    teacher.save(folder / "teacher.keras")
    models.dense("student", 8).save(folder / "student.keras")
    kd.export.to_tflite(teacher, folder / "teacher.tflite")
    return folder


@pytest.fixture
def run(model_files, tmp_path, monkeypatch, capsys):
    """Run a line in a new folder with the models: exit code, JSON or text, errors."""
    for path in model_files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)

    def call(line):
        capsys.readouterr()
        try:
            code = main(shlex.split(line))
        except SystemExit as end:
            code = end.code
        output, errors = capsys.readouterr()
        return code, json.loads(output) if "--json" in line and not code else output, errors

    return call
