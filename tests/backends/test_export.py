"""Export of models of JAX and PyTorch, where TensorFlow is installed for the conversion."""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from tests import toy

if keras.config.backend() == "tensorflow":
    pytest.skip("tests/export is for TensorFlow", allow_module_level=True)
if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("TensorFlow, which converts, is not installed", allow_module_level=True)

import keras_kd as kd

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
pytestmark = [pytest.mark.subprocess, pytest.mark.slow]


@pytest.fixture(scope="module")
def trained():
    """A student, and the samples that it was distilled on."""
    x, y = toy.data(64)
    student = toy.cnn("student")
    student.compile(loss=toy.sparse_loss())  # Tells what the outputs are.
    model = kd.Distiller(student, toy.cnn("teacher", filters=6, seed=1))
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    return student, x, y


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    student, x, y = trained
    path = tmp_path_factory.mktemp("export") / "student.tflite"
    return kd.export.to_tflite(student, path, "int8", x, verification=(x, y), max_drop=20.0)


def test_an_int8_file_has_the_outputs_of_the_model(trained, exported):
    student, x, y = trained
    assert exported.quantization == "int8"
    assert exported.verification.samples == 64
    outputs = exported.predict(x)
    expected = student.predict(x, verbose=0)
    np.testing.assert_allclose(outputs, expected, atol=0.1 * np.abs(expected).max())
    assert kd.export.describe(exported.path).quantization == "int8"
    assert kd.export.evaluate(exported, (x, y), student).agreement > 0.9


def test_float32_and_every_option_arrive(trained, tmp_path):
    student, x, _ = trained
    file = kd.export.to_tflite(
        student,
        tmp_path / "a.tflite",
        verification=x,
        signatures={"serving_default": None, "features": "features"},
        normalization=(0.5, 2.0),
        answer="softmax",
        labels=list("abcd"),
        batch_size=None,
    )
    assert file.verification.relative_difference < 1e-4
    found = kd.export.describe(file.path)
    assert found.labels == {"logits": ("a", "b", "c", "d")}
    assert found.taps == {"features": "features"}
    outputs = file.predict(x, signature="serving_default")
    np.testing.assert_allclose(outputs.sum(-1), 1, rtol=1e-5)


def test_the_best_format_and_layer_errors(trained, exported, tmp_path):
    student, x, _ = trained
    formats = ("float32", "dynamic")
    path = tmp_path / "best.tflite"
    best = kd.export.best(student, x, path, objective="size", formats=formats, verification=x)
    assert best.quantization in formats
    assert [attempt.quantization for attempt in best.tried] == list(formats)
    steps = kd.export.layer_errors(exported, student, x)
    assert [step.layer for step in steps][-1] == "logits"
    assert 0 < steps[-1].error < 0.5
    assert kd.export.benchmark(exported, runs=5)


def test_errors_of_the_conversion_come_through(trained, tmp_path):
    student, x, _ = trained
    path = tmp_path / "a.tflite"
    with pytest.raises(ValueError, match="Expected `answer` by the names of the outputs"):
        kd.export.to_tflite(student, path, answer={"other": "softmax"})
    with pytest.raises(kd.export.VerificationError, match="more than tolerance=1e-06"):
        kd.export.to_tflite(student, path, "int8", x, tolerance=1e-6)
    assert not path.exists()
    assert (tmp_path / "a.rejected.tflite").exists()


def test_errors_before_the_conversion_are_the_same(trained, tmp_path):
    student, _, _ = trained
    with pytest.raises(ValueError, match="Expected a quantization of"):
        kd.export.to_tflite(student, tmp_path / "a.tflite", "int7")
    with pytest.raises(ValueError, match="Expected a built model|is not built|no weights"):
        kd.export.to_tflite(keras.Sequential([layers.Dense(2)]), tmp_path / "a.tflite")


def test_the_command_of_the_page_writes_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r'python -c "(.*?)"\n```', PAGE.read_text("utf-8"), re.DOTALL)[1]
    exec(compile(code, str(PAGE), "exec"), {})
    assert (tmp_path / "model.tflite").exists()


def test_what_needs_the_tensorflow_backend_says_so(trained):
    student, x, y = trained
    for function in (kd.compression.prune, kd.compression.cluster):
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
            function(student, data=(x, y), epochs=1, loss=toy.sparse_loss(), engine="tfmot")


def test_students_are_pruned_and_clustered(trained):
    student, x, y = trained
    arguments = {"data": (x, y), "epochs": 2, "loss": toy.sparse_loss(), "verbose": 0}
    pruned = kd.compression.prune(student, 0.5, monitor="loss", **arguments)
    assert pruned.history["sparsity"][-1] == pytest.approx(0.5, abs=0.02)
    clustered = kd.compression.cluster(pruned.model, 5, **arguments)
    assert clustered.history["clusters"][-1] == 5
    assert clustered.history["sparsity"][-1] == pruned.history["sparsity"][-1]
