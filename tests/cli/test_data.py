"""Splits of `--data`, and samples that do not have the shape of the model's input."""

import argparse

import keras
import pytest
from keras import layers

from keras_kd.cli import data
from keras_kd.cli.output import UsageError
from tests.cli import models


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(data=str(tmp_path / "mine"), train_split="train", test_split=None)


def network(shape):
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(2)], name="small")


def test_the_validation_split_replaces_a_missing_test_split(tmp_path, options):
    models.save_split(tmp_path / "mine" / "validation.npz", labels=(0, 1, 2))
    models.save_split(tmp_path / "mine" / "train.npz")
    (batch,) = data.require_test_data(options, network((8, 8, 1)))
    assert batch[1].numpy().tolist() == [0, 1, 2]
    options.test_split = "train"
    (batch,) = data.load_test_data(options, None)
    assert batch[1].numpy().tolist() == [0, 1]


def test_without_a_test_split_one_must_be_named(tmp_path, options):
    models.save_split(tmp_path / "mine" / "train.npz")
    assert data.load_test_data(options, None) is None
    with pytest.raises(UsageError, match=r"no split 'test' or 'validation', only \['train'\]"):
        data.require_test_data(options, None)


def test_the_training_split_is_shuffled_by_the_seed(tmp_path, options):
    models.save_split(tmp_path / "mine" / "train.npz", labels=tuple(range(20)))

    def labels(seed):
        dataset = data.load_training_data(options, network((8, 8, 1)), 20, seed)
        return next(iter(dataset))[1].numpy().tolist()

    assert labels(0) == labels(0) != labels(1)
    assert sorted(labels(0)) == list(range(20))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((9, 8, 1), r"Received: samples of shape \(9, 8, 1\) in .* Use data of the model's input"),
        ((4, 8, 8, 1), r"They look like batches: save single samples"),
    ],
)
def test_samples_of_another_shape_are_rejected(tmp_path, options, shape, message):
    models.save_split(tmp_path / "mine" / "train.npz", shape)
    with pytest.raises(ValueError, match=rf"shape \(8, 8, 1\), the input of 'small'.*{message}"):
        data.load_training_data(options, network((8, 8, 1)))


def test_an_unknown_side_of_the_input_matches_any_size(tmp_path, options):
    models.save_split(tmp_path / "mine" / "train.npz", (9, 8, 1))
    inputs = layers.Input((None, None, 1))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    assert data.load_training_data(options, model).element_spec[0].shape[1:] == (9, 8, 1)
