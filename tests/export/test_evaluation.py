"""Evaluation of a file on a data set, beside its model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.export import evaluate, to_tflite
from tests.export import models

ROWS = np.array([[3, 1, 2], [0, 5, 1], [1, 2, 9], [4, 1, 0]], "float32")  # Classes 0, 1, 2, 0.


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A file that returns its input, so that a test chooses the outputs."""
    x = layers.Input((3,), name="x")
    model = keras.Model(x, layers.Rescaling(1.0, name="same")(x))
    return to_tflite(model, tmp_path_factory.mktemp("identity") / "m.tflite")


@pytest.fixture(scope="module")
def pair():
    """The file of a model with two outputs, the model, and its classes."""
    keras.utils.set_random_seed(0)
    model = models.two_in_two_out()
    z, y = model.predict_on_batch(models.PAIR)
    return models.export(models.two_in_two_out), model, z.argmax(-1), y.argmax(-1)


def test_an_uneven_last_batch_counts_by_its_samples(identity):
    data = tf.data.Dataset.from_tensor_slices((ROWS, [0, 1, 2, 1])).batch(3)
    result = evaluate(identity, data)
    assert (result.accuracy, result.samples, result.agreement) == (0.75, 4, None)


def test_agreement_and_differences_are_those_from_the_keras_model(identity):
    dense = layers.Dense(3, name="same")
    model = keras.Sequential([layers.Input((3,), name="x"), dense])
    matrix = np.eye(3, dtype="float32")
    matrix[0, 1] = 0.5  # Adds half of the first value to the second.
    model.set_weights([matrix, np.zeros(3)])
    rows = np.array([[2, 1.5, 0], [0, 0, 1]], "float32")  # The model predicts 1 and 2.
    for data in ([(rows,)], [rows], [(rows, np.array([0, 2]))]):
        result = evaluate(identity, data, model=model, outputs="logits")
        assert (result.agreement, result.max_difference) == (0.5, 1)
        assert result.mean_difference == pytest.approx(1 / 6)


def test_without_labels_linear_units_of_unknown_meaning_are_not_compared_as_classes(identity):
    x = layers.Input((3,), name="x")
    model = keras.Model(x, layers.Rescaling(1.0, name="same")(x))
    result = evaluate(identity, [ROWS], model=model)
    assert (result.task, result.agreement, result.relative_difference) == (None, None, 0)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    result = evaluate(identity, [ROWS], model=model)
    assert (result.task, result.agreement, result.divergence) == ("classes", 1, 0)


def test_several_outputs_are_matched_by_name(pair):
    file, model, z, y = pair
    for labels in ((z, 1 - y), {"y": 1 - y, "z": z}):
        result = evaluate(file, [(tuple(models.PAIR), labels)], model=model)
        assert list(result.outputs) == ["z", "y"]
        assert [score.accuracy for score in result.outputs.values()] == [1, 0]
        assert [score.agreement for score in result.outputs.values()] == [1, 1]


def test_a_path_is_enough_with_names(pair, tmp_path):
    file, _, z, y = pair
    named = {"a": models.PAIR[1], "b": models.PAIR[0]}
    result = evaluate(str(file.path), [(named, {"y": y})])
    assert result.outputs["y"].accuracy == 1
    assert result.outputs["z"].accuracy is None
    path = tmp_path / "other.tflite"
    path.write_bytes(file.path.read_bytes().replace(b"keras_kd", b"anothers"))
    with pytest.raises(ValueError, match=r"labels by name.*order of \['y', 'z'\]"):
        evaluate(path, [(named, (z, y))])


def test_labels_of_unknown_outputs_are_rejected(identity):
    with pytest.raises(ValueError, match=r"outputs \['same'\]. Received: labels of \['other'\]"):
        evaluate(identity, [(ROWS, {"other": np.array([0, 1, 2, 1])})])


def test_an_empty_data_set_is_rejected(identity):
    with pytest.raises(ValueError, match="data set of at least one sample"):
        evaluate(identity, [])


def test_a_model_with_other_outputs_is_rejected(pair):
    b, a = layers.Input((4,), name="b"), layers.Input((3,), name="a")
    other = keras.Model([b, a], [b, a, layers.Dense(1)(a)])
    with pytest.raises(ValueError, match=r"a model with the file's outputs \['z', 'y'\]"):
        evaluate(pair[0], [(models.PAIR,)], model=other)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(2 * index, 2 * index + 2)
        return ROWS[rows], np.array([0, 1, 2, 2])[rows]


def test_arrays_and_sequences_are_data_too(identity, pair):
    labels = np.array([0, 1, 2, 2])
    right = evaluate(identity, [(ROWS, labels)])
    for data in (
        (ROWS, labels),
        Batches(),
        tf.data.Dataset.from_tensor_slices((ROWS, labels)).batch(3),
    ):
        assert evaluate(identity, data) == right
    assert evaluate(identity, ROWS).samples == 4
    assert evaluate(pair[0], models.PAIR).samples == 40
    with pytest.raises(TypeError, match="evaluate: the data must be"):
        evaluate(identity, None)
