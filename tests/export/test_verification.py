"""Verification: a file whose outputs differ from those of its model is rejected."""

import numpy as np
import pytest

from keras_kd.export import VerificationError, evaluate, to_tflite
from keras_kd.export.metadata import describe_content
from keras_kd.export.verification import Verification
from tests.export import models


def verify(quantization, path, data=models.IMAGES, samples=1000, max_drop=2.0, tolerance=None):
    """Verify an exported CNN again, with other settings."""
    content, model = models.content(models.cnn, quantization), models.cnn()
    verification = Verification(data, samples, models.IMAGES, max_drop, tolerance)
    return verification.run(content, describe_content(content), model, path)


def classes():
    return models.cnn().predict_on_batch(models.IMAGES).argmax(-1)


def test_a_file_that_loses_accuracy_is_saved_under_another_name(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    # Calibrated on values near zero, the file clips all others.
    calibration, data = models.IMAGES * 1e-3, (models.IMAGES, classes())
    with pytest.raises(VerificationError, match=r"loses [\d.]+ points.*rejected") as error:
        to_tflite(models.cnn(), path, "int8", calibration, verification=data)
    assert path.read_bytes() == b"before"
    assert error.value.path == tmp_path / "m.rejected.tflite"
    assert sorted(tmp_path.iterdir()) == [error.value.path, path]
    found = evaluate(error.value.path, [data], model=models.cnn())
    assert found == error.value.verification
    assert found.drop > 2
    content = error.value.path.read_bytes()
    lenient = Verification(data, 1000, None, max_drop=100, tolerance=None)
    assert lenient.run(content, describe_content(content), models.cnn(), path) == found


def test_without_labels_the_difference_decides(tmp_path):
    path = tmp_path / "m.tflite"
    with pytest.raises(VerificationError, match="differs by .* of its standard deviation") as error:
        verify("int8", path, tolerance=1e-4)
    assert error.value.reason in str(error.value)
    assert not path.exists()
    scores = verify("int8", path)
    assert scores.samples == 40
    assert 1e-4 < scores.relative_difference < 0.1


def test_without_samples_there_are_no_scores(tmp_path):
    path = tmp_path / "m.tflite"
    assert verify("int8", path, data=None) is None
    with pytest.raises(VerificationError, match="more than tolerance=1e-09"):
        verify("float32", path, data=None, tolerance=1e-9)


@pytest.mark.parametrize("labels", [np.linspace(0, 1, 40), {"x": np.zeros(40)}])
def test_labels_of_other_outputs_are_ignored(tmp_path, labels):
    scores = verify("float32", tmp_path / "m.tflite", (models.IMAGES, labels))
    assert scores.accuracy is None
    assert scores.relative_difference < 1e-5


def test_only_the_first_samples_are_used(tmp_path):
    scores = verify("float32", tmp_path / "m.tflite", (models.IMAGES, classes()), samples=7)
    assert (scores.samples, scores.accuracy, scores.drop) == (7, 1, 0)
