"""What outputs are: by the declaration, the compiled loss, the model's head, the file's last op."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_kd.export import evaluate, to_tflite
from keras_kd.export.output_tasks import ignored_classes, model_tasks

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
BITS = (X > 0).astype("int32")
NUMBERS = np.round(X * 3)


def linear(units=4, activation=None):
    """Output i is input i."""
    model = keras.Sequential([layers.Input((4,)), layers.Dense(units, activation, name="y")])
    model.set_weights([np.eye(4, units), np.zeros(units)])
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files by units and activation, each converted once."""
    folder, made = tmp_path_factory.mktemp("files"), {}

    def file(units=4, activation=None, **options):
        key = (units, activation, *options.values())
        if key not in made:
            path = folder / f"{len(made)}.tflite"
            made[key] = to_tflite(linear(units, activation), path, **options)
        return made[key]

    return file


@pytest.mark.parametrize(
    ("units", "activation", "labels", "task", "accuracy"),
    [
        (4, "sigmoid", BITS, "labels", 1),
        (4, "softmax", X.argmax(1), "classes", 1),
        (4, None, X.argmax(1), "classes", 1),
        (4, None, np.eye(4)[X.argmax(1)], "classes", 1),
        (4, None, BITS, "labels", 1),
        (4, None, NUMBERS, "values", None),
        (4, "tanh", NUMBERS, "values", None),
        (1, "sigmoid", BITS[:, 0], "binary", 1),
        (1, None, BITS[:, :1], "binary", 1),
        (1, None, NUMBERS[:, 0], "values", None),
    ],
)
def test_the_file_alone_tells_the_task_with_its_labels(
    files, units, activation, labels, task, accuracy
):
    found = evaluate(files(units, activation), [(X, labels)])
    assert (found.task, found.accuracy) == (task, accuracy)
    assert (found.mae is None) == (task != "values")


def test_the_compiled_loss_tells_the_task(files):
    model = linear(1)
    model.compile(loss="mse")
    found = evaluate(files(1), [(X, BITS[:, 0])], model)  # A regression on 0 and 1.
    assert (found.task, found.accuracy) == ("values", None)
    assert found.mae == pytest.approx(np.abs(X[:, 0] - BITS[:, 0]).mean(), rel=1e-5)
    model = linear(4)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    found = evaluate(files(4), [(X, np.eye(4)[X.argmax(1)])], model)
    right = (X > 0) == np.eye(4)[X.argmax(1)]
    assert (found.task, found.accuracy, found.exact_match) == (
        "labels",
        pytest.approx(right.mean()),
        pytest.approx(right.all(1).mean()),
    )


def test_a_declaration_comes_first(files):
    found = evaluate(files(4), [(X, np.eye(4)[X.argmax(1)])], outputs="labels", threshold=0.0)
    assert found.task == "labels"
    assert evaluate(files(1), [(X, BITS[:, 0])], outputs={"y": "values"}).task == "values"
    with pytest.raises(ValueError, match="declared as 'logits', but .* gives sigmoid"):
        evaluate(files(4, "sigmoid"), [(X, BITS)], outputs="logits")


def test_the_op_that_the_file_applies_is_the_head(files):
    file = files(4, answer="softmax")
    found = evaluate(file, [(X, X.argmax(1))], linear(), outputs="logits")
    assert (found.task, found.accuracy, found.model_accuracy) == ("classes", 1, 1)
    assert found.divergence == pytest.approx(0, abs=1e-6)
    file = files(1, answer="sigmoid")
    assert evaluate(file, [(X, BITS[:, 0])], linear(1)).accuracy == 1
    indices = files(4, answer="argmax")
    assert evaluate(indices, [(X, X.argmax(1))], linear()).agreement == 1


def test_labels_of_another_task_are_refused(files):
    with pytest.raises(ValueError, match="independent labels: expected 0 or 1 in the shape"):
        evaluate(files(4, "sigmoid"), [(X, X.argmax(1))])
    with pytest.raises(ValueError, match="mutually exclusive classes: expected class numbers"):
        evaluate(files(4, "softmax"), [(X, NUMBERS)])


class Opaque(keras.Model):
    """A model whose graph cannot be read."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def call(self, x):
        if x.shape[0] is None:
            raise TypeError("no symbolic tensors")
        return self.dense(x)


def test_an_opaque_model_is_what_it_is_declared_to_be():
    model = Opaque()
    model(X)
    shapes = {"output_0": (None, 4)}
    (task,) = model_tasks(model, shapes).values()
    assert (task.task, task.probabilities) == (None, None)
    (task,) = model_tasks(model, shapes, "probabilities").values()
    assert (task.task, task.probabilities) == (None, True)
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    (task,) = model_tasks(model, shapes).values()
    assert (task.task, task.probabilities) == ("labels", False)


def test_the_ignored_class_is_given_or_that_of_the_loss():
    model = linear()
    assert ignored_classes(model, ["y"], None) == {"y": None}
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    assert ignored_classes(model, ["y"], None) == {"y": 255}
    assert ignored_classes(model, ["y"], 7) == {"y": 7}
    assert ignored_classes(None, ["y"], 7) == {"y": 7}
