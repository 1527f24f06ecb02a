"""Splits of `--data`, and samples that do not have the shape of the model's input."""

import argparse

import keras
import pytest
from keras import layers

from keras_kd.cli import data
from keras_kd.cli.output import UsageError
from tests.cli import models
from tests.datasets.image_files import write_images


@pytest.fixture
def options(tmp_path):
    splits = {
        "train_split": "train",
        "test_split": None,
        "skip_unreadable": False,
        "class_names": None,
    }
    return argparse.Namespace(data=str(tmp_path / "mine"), **splits)


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


def test_images_by_class_are_resized_to_the_input_of_the_model(tmp_path, options):
    write_images(tmp_path / "mine", ["cat", "dog"], size=16, channels=3)
    model = network((8, 8, 1))
    assert data.load_training_data(options, model).element_spec[0].shape[1:] == (8, 8, 1)
    open_size = [layers.Input((None, None, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    train = data.load_training_data(options, keras.Sequential(open_size))
    assert train.element_spec[0].shape[1:] == (16, 16, 3)
    (test,) = data.require_test_data(options, model)
    assert sorted(test[1].numpy()) == [0, 1]
    assert data.class_names_for(options, model) == ["cat", "dog"]
    three = keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])
    assert data.class_names_for(options, three) is None
    options.class_names = ["a", "b", "c"]
    assert data.class_names_for(options, three) == ["a", "b", "c"]


def test_unreadable_files_are_skipped_if_the_option_says_so(tmp_path, options):
    write_images(tmp_path / "mine" / "train", ["cat", "dog"])
    write_images(tmp_path / "mine" / "validation", ["cat"])
    (tmp_path / "mine" / "train" / "cat" / "1.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"cat/1.png.*skip_unreadable=True"):
        data.load_training_data(options, network((8, 8, 1)))
    options.skip_unreadable = True
    (batch,) = data.load_training_data(options, network((8, 8, 1)))
    assert len(batch[0]) == 10
