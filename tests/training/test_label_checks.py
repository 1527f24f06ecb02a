"""Labels and weights of each output, and labels out of range."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.training.graph_errors import readable_errors
from keras_kd.training.label_checks import check_labels, sample_weights
from keras_kd.training.labels import LabelReader
from tests import toy

NAMES, WEIGHTS = ["one", "two"], np.array([1.0, 2.0])
SPARSE = keras.losses.SparseCategoricalCrossentropy


@pytest.mark.parametrize(
    ("structure", "name", "expected"),
    [
        (None, "one", None),
        (WEIGHTS, "one", [1, 2]),
        ({"one": WEIGHTS, "two": WEIGHTS + 2}, "two", [3, 4]),
        ({"one": WEIGHTS}, "hidden", [1, 2]),
        ([WEIGHTS], "hidden", [1, 2]),
        ({"one": np.array([[1.0, 3.0], [2.0, 2.0]]), "two": None}, "one", [[1, 3], [2, 2]]),
        ({"one": WEIGHTS, "two": None}, "two", None),
        ({"one": None, "two": None}, "hidden", None),
        # At a hidden tap, the mean over the outputs, of which one without weights counts as 1.
        ({"one": WEIGHTS, "two": WEIGHTS + 2}, "hidden", [2, 3]),
        ([WEIGHTS, WEIGHTS + 2], "hidden", [2, 3]),
        ({"one": WEIGHTS, "two": None}, "hidden", [1, 1.5]),
        ({"one": np.array([[1.0, 3.0], [2.0, 2.0]]), "two": WEIGHTS}, "hidden", [1.5, 2]),
    ],
)
def test_sample_weights_of_a_tap(structure, name, expected):
    found = sample_weights(structure, name, NAMES)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, expected)


def test_weights_of_unknown_outputs_are_rejected():
    with pytest.raises(ValueError, match=r"given for the outputs \['one', 'two'\].*\['three'\]"):
        sample_weights({"one": WEIGHTS, "three": WEIGHTS}, "hidden", NAMES)


def reader(*names, loss=None):
    loss = SPARSE(ignore_class=255) if loss is None else loss
    return LabelReader(loss, dict.fromkeys(names, (None, 4)))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 3, kd.UNLABELED, 255]),
        np.array([[0.0], [np.nan], [3.0]]),
        np.zeros((2, 3, 3), "int64"),
    ],
)
def test_labels_in_range_pass_unchanged(labels):
    x = np.zeros(len(labels))
    assert check_labels(x, labels, reader("one")) is x
    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(2)
    (_, first), *_ = check_labels(data, None, reader("one"))
    np.testing.assert_array_equal(first, labels[:2])


@pytest.mark.parametrize(("wrong", "least", "greatest"), [(4, 0, 4), (-2, -2, 3)])
def test_labels_out_of_range_are_rejected_in_arrays_and_data_sets(wrong, least, greatest):
    y = np.array([0, 3, wrong])
    message = f"'two' has 4 classes.*from 0 to 3 .*Received labels from {least} to {greatest}"
    own = reader("one", "two", loss={"one": "mse", "two": SPARSE()})
    with pytest.raises(ValueError, match=message):
        check_labels(np.zeros(3), {"one": y, "two": y}, own)
    data = tf.data.Dataset.from_tensor_slices((np.zeros(3), (y, y), np.ones(3))).batch(3)
    checked = check_labels(data, None, own)
    with pytest.raises(ValueError, match=message), readable_errors():
        next(iter(checked))


def test_data_without_class_indices_are_returned_unchanged():
    data = tf.data.Dataset.from_tensor_slices(np.zeros(3)).batch(3)
    assert check_labels(data, None, reader("one")) is data
    labeled = tf.data.Dataset.from_tensor_slices((np.zeros(3), np.full(3, 9))).batch(3)
    assert check_labels(labeled, None, reader("one", loss="mse")) is labeled


class Batches(keras.utils.PyDataset):
    """Four batches of vectors with the label 4 in the third; notes the ends of epochs."""

    def __init__(self, wrong=4, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = toy.vectors()
        self.y[20] = wrong
        self.epochs = 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return self.x[part], self.y[part]

    def on_epoch_end(self):
        self.epochs += 1


def generate(batches):
    while True:
        yield from (batches[i] for i in range(4))


def distiller():
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher"))
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    return model


MESSAGE = r"^Labels out of range: the student's output 'head' has 4 .* labels from \d to 4\."


@pytest.mark.parametrize("kind", ["arrays", "dataset", "sequence", "workers", "generator"])
@pytest.mark.parametrize("method", ["fit", "evaluate", "validation"])
def test_labels_out_of_range_are_rejected_in_data_of_every_kind(kind, method):
    wrong, model = Batches(), distiller()
    given = {
        "arrays": (wrong.x, wrong.y),
        "dataset": tf.data.Dataset.from_tensor_slices((wrong.x, wrong.y)).batch(8),
        "sequence": wrong,
        "workers": Batches(workers=2),
        "generator": generate(wrong),
    }[kind]
    arrays = given if isinstance(given, tuple) else (given,)
    steps = {"fit": "steps_per_epoch", "evaluate": "steps", "validation": "validation_steps"}
    arguments = {steps[method]: 4} if kind == "generator" else {}
    if method == "validation":
        method, arrays = "fit", toy.vectors()
        arguments["validation_data"] = given
    with pytest.raises(ValueError, match=MESSAGE):
        getattr(model, method)(*arrays, verbose=0, **arguments)


@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_labels_out_of_range_are_rejected_in_a_single_batch(method):
    wrong, model = Batches(), distiller()
    with pytest.raises(ValueError, match=MESSAGE):
        getattr(model, method)(wrong.x, wrong.y)


@pytest.mark.slow
def test_a_sequence_and_a_generator_train_like_arrays():
    weights = []
    for kind in ("arrays", "sequence", "generator"):
        data, model = Batches(wrong=kd.UNLABELED), distiller()
        x, *y = {"arrays": (data.x, data.y), "sequence": (data,), "generator": (generate(data),)}[
            kind
        ]
        sizes = {"batch_size": 8} if y else {"steps_per_epoch": 4}
        model.fit(x, *y, epochs=2, shuffle=False, verbose=0, **sizes)
        weights.append(model.get_weights())
    for trained in weights[1:]:
        for one, other in zip(weights[0], trained, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_sequence_hears_of_the_ends_of_epochs_as_by_keras():
    plain, epochs = toy.mlp("plain"), []
    plain.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    for model in (plain, distiller()):
        data = Batches(wrong=0)
        model.fit(data, epochs=2, verbose=0)
        epochs.append(data.epochs)
    assert epochs[0] == epochs[1] >= 2


@pytest.mark.traced
def test_the_error_of_the_cross_entropy_itself_is_readable():
    """A source that is not known, such as the loader of another library, is not checked."""
    loss = tf.function(lambda: toy.sparse_loss()(tf.constant([1, 7]), tf.zeros((2, 4))))
    message = "4 classes, so .* from 0 to 3 .* the label 7"
    with pytest.raises(ValueError, match=message), readable_errors():
        loss()


def test_fit_accepts_the_class_that_the_loss_ignores():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    model = kd.Distiller(student, teacher)
    model.compile("sgd", SPARSE(from_logits=True, ignore_class=255), run_eagerly=True)
    x, _ = toy.data(8)
    logs = model.fit(x, np.full((8, 6, 6), 255), verbose=0).history
    assert logs["student_loss"] == [0.0]


@pytest.mark.parametrize(
    ("loss", "accepted"),
    [
        ("kl_divergence", False),
        (keras.losses.CategoricalCrossentropy(from_logits=True), False),
        (SPARSE(from_logits=True), False),
        (keras.losses.CategoricalCrossentropy(from_logits=True, axis=1), True),
        (keras.losses.CategoricalFocalCrossentropy(from_logits=True, axis=-3), True),
        ("mse", True),
    ],
)
def test_a_loss_over_classes_must_read_their_axis(loss, accepted):
    student, teacher = (
        keras.Sequential(
            [keras.Input((3, 4, 4)), layers.Conv2D(4, 1, data_format="channels_first")]
        )
        for _ in range(2)
    )
    model = kd.Distiller(student, teacher, "outputs_mse")
    if accepted:
        model.compile("sgd", loss)
        return
    with pytest.raises(ValueError, match=r"are on axis 1 \(channels_first\).*with axis=-1"):
        model.compile("sgd", loss)
