"""Evaluation: accuracy, agreement and differences, against numbers worked out beforehand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_kd.export import evaluate, to_tflite
from tests.export import models


def identity(shape, name="same"):
    """Returns a model that gives its input, so that a test chooses the outputs."""
    x = layers.Input(shape, name="x")
    return keras.Model(x, layers.Rescaling(1.0, name=name)(x))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that give their input: three classes, one unit, and a 2 x 2 map of three classes."""
    folder = tmp_path_factory.mktemp("files")
    shapes = {"classes": (3,), "unit": (1,), "map": (2, 2, 3)}
    return {n: to_tflite(identity(s), folder / f"{n}.tflite") for n, s in shapes.items()}


ROWS = np.array([[3, 1, 2], [0, 5, 1], [1, 2, 9], [4, 1, 0]], "float32")  # answers 0, 1, 2, 0


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, 2, 1]),
        np.array([[0], [1], [2], [1]]),
        np.eye(3, dtype="float32")[[0, 1, 2, 1]],
    ],
)
def test_labels_are_integers_or_one_hot(files, labels):
    result = evaluate(files["classes"], [(ROWS, labels)])
    assert result.accuracy == 0.75
    assert result.samples == 4
    assert result.agreement is None
    assert result.max_difference is None


def test_samples_without_a_label_do_not_count(files):
    assert evaluate(files["classes"], [(ROWS, np.array([0, -1, -1, 1]))]).accuracy == 0.5
    assert evaluate(files["classes"], [(ROWS, np.full(4, -1))]).accuracy is None


def test_a_uneven_last_batch_counts_by_its_samples(files):
    data = tf.data.Dataset.from_tensor_slices((ROWS, [0, 1, 2, 1])).batch(3)
    result = evaluate(files["classes"], data)
    assert (result.accuracy, result.samples) == (0.75, 4)


def test_one_unit_is_probability_or_logit_by_its_threshold(files):
    values = np.array([[-1], [0.2], [0.4], [0.9]], "float32")
    labels = np.array([0, 1, 1, 1])
    assert evaluate(files["unit"], [(values, labels)]).accuracy == 0.5
    assert evaluate(files["unit"], [(values, labels[:, None])]).accuracy == 0.5
    assert evaluate(files["unit"], [(values, labels)], threshold=0.0).accuracy == 1


@pytest.mark.parametrize("last_axis", [False, True])
def test_dense_prediction_counts_every_place(files, last_axis):
    labels = np.array([[[0, 1], [2, 0]]])
    values = np.eye(3, dtype="float32")[np.array([[[0, 1], [2, 2]]])]
    labels = labels[..., None] if last_axis else labels
    result = evaluate(files["map"], [(values, labels)])
    assert (result.accuracy, result.samples) == (0.75, 1)


def test_agreement_and_differences_are_those_from_the_keras_model(files):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(3)])
    matrix = np.eye(3, dtype="float32")
    matrix[0, 1] = 0.5  # adds half of the first value to the second
    model.set_weights([matrix, np.zeros(3)])
    rows = np.array([[2, 1.5, 0], [0, 0, 1]], "float32")  # the model answers 1 and 2
    for data in ([(rows,)], [rows], [(rows, np.array([0, 2]))]):
        result = evaluate_against(files["classes"], data, model)
        assert result.agreement == 0.5
        assert result.max_difference == 1
        assert result.mean_difference == pytest.approx(1 / 6)


def evaluate_against(tflite, data, model):
    """Compares with a model whose output has the file's name."""
    inputs = layers.Input((3,), name="x")
    named = keras.Model(inputs, layers.Activation("linear", name="same")(model(inputs)))
    return evaluate(tflite, data, model=named)


def test_several_outputs_are_matched_by_name(tmp_path):
    model = models.two_in_two_out()
    tflite = to_tflite(model, tmp_path / "m.tflite")
    z, y = model.predict_on_batch(models.PAIR)
    labels = (z.argmax(-1), 1 - y.argmax(-1))
    for batch_labels in (labels, {"y": labels[1], "z": labels[0]}):
        result = evaluate(tflite, [(tuple(models.PAIR), batch_labels)], model=model)
        assert list(result.outputs) == ["z", "y"]
        assert [s.accuracy for s in result.outputs.values()] == [1, 0]
        assert [s.agreement for s in result.outputs.values()] == [1, 1]
        assert max(s.max_difference for s in result.outputs.values()) < 1e-5


def test_a_path_is_enough_where_names_are_given(tmp_path):
    model = models.two_in_two_out()
    path = to_tflite(model, tmp_path / "m.tflite").path
    z, y = model.predict_on_batch(models.PAIR)
    named = {"a": models.PAIR[1], "b": models.PAIR[0]}
    result = evaluate(str(path), [(named, {"y": y.argmax(-1)})])
    assert result.outputs["y"].accuracy == 1
    assert result.outputs["z"].accuracy is None
    assert evaluate(path, [(tuple(models.PAIR),)], model=model).outputs["z"].agreement == 1
    ordered = evaluate(path, [(named, (z.argmax(-1), y.argmax(-1)))])
    assert [score.accuracy for score in ordered.outputs.values()] == [1, 1]
    path.write_bytes(path.read_bytes().replace(b"keras_kd", b"anothers"))
    with pytest.raises(ValueError, match=r"labels by name.*order of \['y', 'z'\]"):
        evaluate(path, [(named, (z.argmax(-1), y.argmax(-1)))])


def test_the_scores_of_several_outputs_are_asked_for_by_name(tmp_path):
    tflite = to_tflite(models.two_in_two_out(), tmp_path / "m.tflite")
    result = evaluate(tflite, [(tuple(models.PAIR),)])
    with pytest.raises(ValueError, match=r"Expected one output.*'z', 'y'.*outputs\[name\]"):
        _ = result.accuracy


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 3]), "integer labels from 0 to 2.*from 0 to 3"),
        (np.array([0, 1, 2, -2]), "integer labels from 0 to 2.*from -2 to 2"),
        (np.array([0, 1, 0.5, 1]), "integer labels from 0 to 2"),
        (np.array([0, 1, 2]), r"labels of shape \(4,\) or \(4, 3\).*\(3,\)"),
        ({"other": np.array([0, 1, 2, 1])}, r"outputs \['same'\]. Received: labels of \['other'\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(files, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(files["classes"], [(ROWS, labels)])


def test_an_empty_data_set_is_refused(files):
    with pytest.raises(ValueError, match="data set of at least one sample"):
        evaluate(files["classes"], [])


def test_another_model_is_not_compared_silently(tmp_path):
    tflite = to_tflite(models.two_in_two_out(), tmp_path / "m.tflite")
    b, a = layers.Input((4,), name="b"), layers.Input((3,), name="a")
    other = keras.Model([b, a], [b, a, layers.Dense(1)(a)])
    with pytest.raises(ValueError, match=r"a model with the file's outputs \['z', 'y'\]"):
        evaluate(tflite, [(models.PAIR,)], model=other)
