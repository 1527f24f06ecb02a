"""Calibration: what is taken from the data, and which data is refused."""

import numpy as np
import pytest
import tensorflow as tf

from keras_kd.export import calibration, to_tflite
from keras_kd.litert import signature
from tests.export import models

LABELS = np.zeros(40, "int64")


def taken(data, limit=300, model=None):
    return calibration.samples(data, signature.of_inputs(model or models.cnn()), limit)


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
    (samples,) = taken(data).values()
    np.testing.assert_array_equal(samples, models.IMAGES)


def test_no_more_samples_are_taken_than_asked_even_of_endless_data():
    data = tf.data.Dataset.from_tensor_slices(models.IMAGES).batch(7).repeat()
    (samples,) = taken(data, limit=10).values()
    np.testing.assert_array_equal(samples, models.IMAGES[:10])


def test_several_inputs_come_as_a_list_or_by_name():
    model = models.two_in_two_out()
    by_name = {"a": models.PAIR[1], "b": models.PAIR[0]}
    for data in (models.PAIR, by_name, (tuple(models.PAIR), LABELS), (by_name, LABELS)):
        samples = taken(data, model=model)
        np.testing.assert_array_equal(samples["b"], models.PAIR[0])
        np.testing.assert_array_equal(samples["a"], models.PAIR[1])


def test_the_last_batch_is_filled_up_with_the_first_samples():
    batches = list(calibration.batches_of({"x": np.arange(5)}, 3))
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 0]]
    assert [b["x"].tolist() for b in calibration.batches_of({"x": np.arange(2)}, 5)] == [
        [0, 1, 0, 1, 0]
    ]


def test_int8_without_calibration_is_refused(tmp_path):
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
def test_calibration_of_the_wrong_shape_is_refused(tmp_path, data, received):
    with pytest.raises(ValueError, match=rf"batches of shape \(None, 8, 8, 1\).*{received}"):
        to_tflite(models.cnn(), tmp_path / "m.tflite", "int8", data)
    assert not list(tmp_path.iterdir())


def test_too_few_or_misnamed_inputs_are_refused():
    model = models.two_in_two_out()
    with pytest.raises(ValueError, match=r"Expected 2 arrays, for \['b', 'a'\]. Received: 1"):
        taken(models.PAIR[0], model=model)
    with pytest.raises(ValueError, match=r"Received: \['b', 'c'\]. .*that has \['a'\]"):
        taken({"b": models.PAIR[0], "c": models.PAIR[1]}, model=model)
    with pytest.raises(ValueError, match="as many samples for each input"):
        taken([models.PAIR[0], models.PAIR[1][:5]], model=model)


def test_empty_or_broken_calibration_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        taken(tf.data.Dataset.from_tensor_slices(models.IMAGES).batch(4).take(0))
    with pytest.raises(ValueError, match="at least one sample"):
        taken(models.IMAGES[:0])
    broken = models.IMAGES.copy()
    broken[30] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity .* begins at sample 28"):
        taken(tf.data.Dataset.from_tensor_slices(broken).batch(7))
    with pytest.raises(ValueError, match="calibration_samples of at least 1. Received: 0"):
        taken(models.IMAGES, limit=0)
