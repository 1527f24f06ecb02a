"""Calibration samples: taken from data of any form, or rejected."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_kd.export import calibration, to_tflite
from keras_kd.export.pre_post_processing import Normalization
from keras_kd.litert.signature import infer_signature
from tests.export import models

LABELS = np.zeros(40, "int64")


def take(data, limit=300, model=None):
    return calibration.take_samples(data, infer_signature(model or models.cnn()), limit)


@pytest.mark.parametrize(
    "data",
    [
        models.IMAGES,
        (models.IMAGES, LABELS),
        tf.data.Dataset.from_tensor_slices(models.IMAGES).batch(7),
        tf.data.Dataset.from_tensor_slices((models.IMAGES, LABELS)).batch(7),
        tf.data.Dataset.from_tensor_slices((models.IMAGES, LABELS, LABELS)).batch(7),
    ],
)
def test_the_inputs_are_taken_from_data_of_any_form(data):
    (samples,) = take(data).values()
    np.testing.assert_array_equal(samples, models.IMAGES)


def test_an_endless_data_set_is_limited():
    data = tf.data.Dataset.from_tensor_slices(models.IMAGES).batch(7).repeat()
    (samples,) = take(data, limit=10).values()
    np.testing.assert_array_equal(samples, models.IMAGES[:10])


def test_several_inputs_are_a_list_or_a_dictionary():
    model = models.two_in_two_out()
    by_name = {"a": models.PAIR[1], "b": models.PAIR[0]}
    for data in (models.PAIR, by_name, (tuple(models.PAIR), LABELS), (by_name, LABELS)):
        samples = take(data, model=model)
        np.testing.assert_array_equal(samples["b"], models.PAIR[0])
        np.testing.assert_array_equal(samples["a"], models.PAIR[1])


def test_the_last_batch_is_filled_with_the_first_samples():
    batches = list(calibration.full_batches({"x": np.arange(5)}, 3))
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 0]]
    assert [b["x"].tolist() for b in calibration.full_batches({"x": np.arange(2)}, 5)] == [
        [0, 1, 0, 1, 0]
    ]


def test_int8_without_calibration_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"calibration data, which int8.*Pass"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (models.IMAGES[..., 0], r"\(40, 8, 8\)"),
        (models.IMAGES[:, :7], r"\(40, 7, 8, 1\)"),
        (models.IMAGES[0], r"\(8, 8, 1\)"),
        (tf.data.Dataset.from_tensor_slices(models.IMAGES), r"\(8, 8, 1\)"),
    ],
)
def test_samples_of_another_shape_are_rejected(data, received):
    with pytest.raises(ValueError, match=rf"batches of shape \(None, 8, 8, 1\).*{received}"):
        take(data)


def test_missing_or_unknown_inputs_are_rejected():
    model = models.two_in_two_out()
    with pytest.raises(ValueError, match=r"Expected 2 arrays, for \['b', 'a'\]. Received: 1"):
        take(models.PAIR[0], model=model)
    with pytest.raises(ValueError, match=r"Received: \['b', 'c'\]. .*that has \['a'\]"):
        take({"b": models.PAIR[0], "c": models.PAIR[1]}, model=model)
    with pytest.raises(ValueError, match="the same number of samples for each input"):
        take([models.PAIR[0], models.PAIR[1][:5]], model=model)


def test_empty_or_nonfinite_data_is_rejected():
    with pytest.raises(ValueError, match="at least one sample"):
        take(tf.data.Dataset.from_tensor_slices(models.IMAGES).batch(4).take(0))
    with pytest.raises(ValueError, match="at least one sample"):
        take(models.IMAGES[:0])
    broken = models.IMAGES.copy()
    broken[30] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity .* begins at sample 28"):
        take(tf.data.Dataset.from_tensor_slices(broken).batch(7))
    with pytest.raises(ValueError, match="calibration_samples of at least 1. Received: 0"):
        take(models.IMAGES, limit=0)


@pytest.mark.parametrize(("io_dtype", "rows"), [("float32", 2), ("uint8", 3)])
def test_raw_samples_of_bytes_cover_all_values(io_dtype, rows):
    pair = {"x": Normalization((0.0,), (255.0,))}
    samples = {"x": np.array([[0.1, 0.2], [0.4, 0.8]], "float32"), "other": np.ones((2, 1))}
    raw = calibration.denormalize(samples, pair, io_dtype)
    np.testing.assert_allclose(raw["x"][:2], [[25.5, 51], [102, 204]], rtol=1e-6)
    assert [len(array) for array in raw.values()] == [rows, rows]
    assert raw["x"].max() == (255 if rows == 3 else 204)


def test_samples_of_several_sizes_are_rejected():
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.GRU(3)])
    with pytest.raises(ValueError, match=r"of one size. Received: .*\(5, 2\), \(6, 2\)\] for"):
        take([(np.zeros((1, 5, 2)),), (np.zeros((1, 6, 2)),)], model=model)
