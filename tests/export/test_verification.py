"""Verification: a file whose outputs differ from those of its model is rejected."""

import keras
import numpy as np
import pytest
from keras import layers

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


def test_only_the_first_samples_are_used(tmp_path):
    scores = verify("float32", tmp_path / "m.tflite", (models.IMAGES, classes()), samples=7)
    assert (scores.samples, scores.accuracy, scores.drop) == (7, 1, 0)


def segmenter(loss=None):
    model = keras.Sequential([layers.Input((4, 4, 3)), layers.Conv2D(3, 1, name="y")])
    model.set_weights([np.eye(3)[None, None] * 4, np.zeros(3)])
    model.compile(loss=loss)
    return model


PIXELS = np.random.default_rng(0).random((24, 4, 4, 3)).astype("float32")


@pytest.mark.parametrize("given", ["argument", "loss"])
def test_void_pixels_do_not_switch_the_check_off(tmp_path, given):
    labels = PIXELS.argmax(-1)
    labels[:, 0] = 255
    model, options = segmenter(), {"max_drop": 0.05, "verification": (PIXELS, labels)}
    path = tmp_path / "m.tflite"
    with pytest.raises(ValueError, match="class numbers from 0 to 2.*Pass ignore_class=255"):
        to_tflite(model, path, "int8", PIXELS * 60, **options)
    if given == "argument":
        options["ignore_class"] = 255
    else:
        model = segmenter(keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255))
    with pytest.raises(VerificationError, match="loses .* points") as error:
        to_tflite(model, path, "int8", PIXELS * 60, **options)
    predicted = evaluate(error.value.path, [PIXELS], model, outputs="logits")
    assert predicted.agreement < 1
    assert error.value.verification.model_accuracy == 1


def test_labels_that_cannot_be_used_are_a_warning(tmp_path):
    path = tmp_path / "m.tflite"
    with pytest.warns(UserWarning, match=r"max_drop are not checked.*shape \(40,\)") as caught:
        scores = verify("float32", path, (models.IMAGES, np.linspace(0, 1, 40)))
    assert [warning.filename for warning in caught] == [__file__]
    assert scores.accuracy is None
    assert scores.relative_difference < 1e-5
    with pytest.warns(UserWarning, match=r"max_drop are not checked.*labels of \['x'\]"):
        verify("float32", path, (models.IMAGES, {"x": np.zeros(40)}))
    with pytest.warns(UserWarning, match="no better than the most frequent label"):
        verify("float32", path, (models.IMAGES, np.zeros(40, int)))


def test_numbers_are_verified_column_by_column(tmp_path):
    """Price and age: in int8 the small column is lost in the steps of the large one."""
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
    model = keras.Sequential([layers.Input((2,)), layers.Dense(2, name="y")])
    model.set_weights([np.diag([100.0, 0.2]), np.zeros(2)])
    model.compile(loss="mse")
    targets = model.predict_on_batch(x)
    message = "output 'y' differs by .* of its standard deviation in column 1 .at most [^,]*. on 64"
    with pytest.raises(VerificationError, match=message) as error:
        to_tflite(model, tmp_path / "m.tflite", "int8", (x, targets))
    scores = error.value.verification
    assert (scores.task, scores.accuracy, scores.drop) == ("values", None, None)
    assert scores.worst_column == 1
    kept = to_tflite(model, tmp_path / "m.tflite", "float16", (x, targets))
    assert kept.verification.mae < 0.1


def test_lists_and_sequences_of_batches_are_read_again(tmp_path):
    labels = models.cnn().predict_on_batch(models.IMAGES).argmax(-1)
    batches = [(models.IMAGES[:25], labels[:25]), (models.IMAGES[25:], labels[25:])]
    found = [
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", data, batch_size=40).verification
        for data in ((models.IMAGES, labels), batches)
    ]
    assert found[0].samples == found[1].samples == 40
    assert found[0].accuracy == found[1].accuracy
    with pytest.raises(TypeError, match="read more than once.* Received: a list_iterator"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", iter(batches))
