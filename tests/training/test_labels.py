"""The labels of a batch: which are missing, what replaces them, and class indices."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.training.labels import (
    LabelReader,
    OutputReader,
    class_indices,
    ignored_class,
    is_per_element,
    only_classes,
    per_output,
)

NAN = np.nan
NAMES = ["one", "two"]
INDICES = "sparse_categorical_crossentropy"
ROWS = "categorical_crossentropy"
BINARY = "binary_crossentropy"
SEGMENTATION = keras.losses.SparseCategoricalCrossentropy(ignore_class=255)


def own_loss(y, predictions):
    return keras.ops.mean(predictions, axis=-1)


# Which labels are missing.


@pytest.mark.parametrize(
    ("loss", "labels", "shape", "known"),
    [
        (INDICES, [0, -1, 3], (None, 4), [True, False, True]),
        (INDICES, [[0], [-1]], (None, 4), [True, False]),
        (INDICES, [0.0, NAN, -1.0], (None, 4), [True, False, False]),
        (INDICES, [[[0, -1]]], (None, 1, 2, 3), [[[True, False]]]),
        (INDICES, np.array([0, 255], "uint8"), (None, 300), None),
        ("ce", [0, -1], (None, 4), [True, False]),
        (SEGMENTATION, [0, -1, 255], (None, 4), [True, False, False]),
        (SEGMENTATION, np.array([[3, 255]], "uint8"), (None, 2, 4), [[True, False]]),
        (ROWS, [[1.0, 0.0], [NAN, NAN], [-1.0, -1.0]], (None, 2), [True, False, False]),
        (ROWS, [[1.0, 0.0], [NAN, 0.0]], (None, 2), [True, True]),
        (ROWS, [[1, 0], [-1, -1]], (None, 2), [True, False]),
        (ROWS, [[True, False]], (None, 2), None),
        (BINARY, [-1.0, NAN, 1.0], (None, 1), [False, False, True]),
        (BINARY, [[-1.0], [NAN], [1.0]], (None, 1), [False, False, True]),
        (BINARY, [-1, 1], (None, 1), [False, True]),
        (BINARY, [[1.0, NAN], [-1.0, 0.0]], (None, 2), [[True, False], [False, True]]),
        (BINARY, [[1, 0], [-1, 1]], (None, 2), [[True, True], [False, True]]),
        ("mse", [-1.0, NAN], (None, 1), [True, False]),
        ("mse", [[-1.0, NAN], [NAN, NAN]], (None, 2), [[True, False], [False, False]]),
        ("mse", [-1, 1], (None, 1), None),
        ("hinge", [[-1.0], [1.0], [NAN]], (None, 1), [True, True, False]),
        ("cosine_similarity", [[-1.0, 2.0], [NAN, NAN]], (None, 2), [True, False]),
        (own_loss, [-1.0, NAN], (None, 2), [True, False]),
        (own_loss, [[-1.0, -1.0], [NAN, NAN]], (None, 2), [True, False]),
        (own_loss, [0, -1], (None, 4), None),
        (None, [[-1.0], [NAN]], (None, 1), [True, False]),
        (None, [-1.0, 2.0], (None, 4), [True, True]),
        (None, [0, -1], (None, 4), [True, False]),
        (None, [0, -1], (None, 1), None),
        (None, [[1.0, NAN]], (None, 2), [[True, False]]),
        (None, np.zeros((2, 2, 2)), (None, 4), None),
    ],
)
def test_missing_labels_are_found(loss, labels, shape, known):
    found = OutputReader("out", shape, loss).read(np.asarray(labels))
    if known is None:
        assert found.known is None
        np.testing.assert_array_equal(found.filled, labels)
    else:
        np.testing.assert_array_equal(found.known, known)
        assert found.per_element == (np.ndim(known) == len(shape))


@pytest.mark.parametrize(
    ("task", "labels", "shape", "known"),
    [
        ("classes", [0, -1], (None, 4), [True, False]),
        ("classes", [[1, 0], [-1, -1]], (None, 2), [True, False]),
        ("binary", [0, -1], (None, 1), [True, False]),
        ("values", [0, -1], (None, 4), None),
        ("classes", [0.0, -1.0], (None, 4), [True, True]),
    ],
)
@pytest.mark.parametrize("loss", [own_loss, None])
def test_of_integers_minus_one_is_no_label_where_the_task_is_known(
    loss, task, labels, shape, known
):
    found = OutputReader("out", shape, loss, task).read(np.asarray(labels)).known
    if known is None:
        assert found is None
    else:  # Without a loss, the elements of a row are missing one by one.
        found = np.asarray(found)
        np.testing.assert_array_equal(found.all(-1) if found.ndim > 1 else found, known)


def test_missing_labels_are_replaced_by_valid_ones():
    indices = OutputReader("out", (None, 4), INDICES)
    first = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    np.testing.assert_array_equal(indices.read(np.array([2, -1])).filled, [2, 0])
    read = OutputReader("out", (None, 4), first).read(np.array([2, 0, -1]))
    np.testing.assert_array_equal(read.filled, [2, 1, 1])
    np.testing.assert_array_equal(read.given, [2, -1, -1])
    rows = OutputReader("out", (None, 2), ROWS).read(np.array([[NAN, NAN], [NAN, 1.0]]))
    np.testing.assert_array_equal(rows.filled, [[0, 0], [NAN, 1]])
    for labels in ([[-1.0, -1.0], [-1.0, 1.0]], [[-1, -1], [-1, 1]]):
        coded = OutputReader("out", (None, 2), ROWS).read(np.array(labels))
        np.testing.assert_array_equal(coded.filled, [[0, 0], [NAN, 1]])
    elements = OutputReader("out", (None, 2), "mse").read(np.array([[NAN, NAN], [NAN, 1.0]]))
    np.testing.assert_array_equal(elements.filled, [[0, 0], [0, 1]])


def test_composite_labels_have_no_missing_ones():
    reader = OutputReader("out", (None, 4), INDICES)
    for labels in (tf.ragged.constant([[1], []]), tf.sparse.from_dense([[1, 0]])):
        read = reader.read(labels)
        assert read.known is None
        assert read.filled is labels


@pytest.mark.slow
def test_labels_of_unknown_rank_are_rejected():
    reader = LabelReader(INDICES, {"out": (None, 4)})

    @tf.function(input_signature=[tf.TensorSpec(None, "int32")])
    def read(y):
        return reader.read(y).given

    with pytest.raises(ValueError, match="labels of the output 'out' must have a known number"):
        read.get_concrete_function()


# The labels of all outputs.


def test_each_output_has_its_own_rule():
    reader = LabelReader({"one": INDICES, "two": "mse"}, {"one": (None, 4), "two": (None, 1)})
    read = reader.read({"one": np.array([0, -1]), "two": np.array([[-1.0], [NAN]])})
    np.testing.assert_array_equal(read.outputs["one"].known, [True, False])
    np.testing.assert_array_equal(read.outputs["two"].known, [True, False])
    assert reader.read(read) is read


def test_ignored_classes_are_no_labels_for_the_teachers_either():
    reader = LabelReader({"one": SEGMENTATION, "two": INDICES}, dict.fromkeys(NAMES, (None, 4)))
    y = np.array([1, 255, -1])
    given = reader.read([y, y]).given
    np.testing.assert_array_equal(given["one"], [1, -1, -1])
    assert given["two"] is y
    same = keras.losses.SparseCategoricalCrossentropy(ignore_class=kd.UNLABELED)
    assert LabelReader(same, {"one": (None, 4)}).read(y).given is y
    single = LabelReader(SEGMENTATION, {"one": (None, 4)}).read(np.array([1, 255], "uint8"))
    np.testing.assert_array_equal(single.given, [1, -1])
    labels = {"one": y}
    assert LabelReader(INDICES, {"one": (None, 4)}).read(labels).given is labels


def test_labels_of_the_outputs_with_a_loss_may_be_passed_alone():
    reader = LabelReader({"two": INDICES}, dict.fromkeys(NAMES, (None, 4)))
    read = reader.read([np.array([0, -1])])
    assert list(read.outputs) == ["two"]
    assert LabelReader(None, {"one": (None, 4)}).read(None).outputs == {}


def test_labeled_samples_are_counted_and_parts_count_as_fractions():
    maps = LabelReader(INDICES, {"map": (None, 1, 4, 3)})
    labels = np.array([[[0, 1, 2, -1]], [[-1, -1, -1, 0]]])
    assert float(maps.read(labels).count(2)) == 1.0
    assert maps.read(labels.astype("uint8") % 3).count(2) == 2
    two = LabelReader(INDICES, dict.fromkeys(NAMES, (None, 3)))
    labels = {"one": np.array([0, -1]), "two": np.array([1, 2])}
    assert float(two.read(labels).count(2)) == 1.5
    elements = LabelReader("mse", {"one": (None, 4)})
    assert float(elements.read(np.array([[1, NAN, NAN, NAN], [0, 1, 2, NAN]])).count(2)) == 1.0


@pytest.mark.parametrize(
    ("structure", "name", "names", "expected"),
    [
        ("y", None, ["one"], "y"),
        ("y", "two", NAMES, "y"),
        ({"one": "a", "two": "b"}, "two", NAMES, "b"),
        ({"one": "a"}, "two", NAMES, None),
        ({"one": "a"}, None, ["one"], "a"),
        (["a", "b"], "two", NAMES, "b"),
        (("a",), None, ["one"], "a"),
        (["a", "b"], "hidden", NAMES, None),
        (["a"], "two", NAMES, None),
        (None, "one", NAMES, None),
    ],
)
def test_each_output_gets_its_part_of_a_structure(structure, name, names, expected):
    assert per_output(structure, name, names) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", True),
        (keras.losses.Huber(), True),
        (keras.losses.binary_crossentropy, True),
        (keras.losses.BinaryCrossentropy(axis=1), True),
        (ROWS, False),
        ("cosine_similarity", False),
        (own_loss, False),
        (None, False),
    ],
)
def test_losses_that_are_a_mean_over_elements(loss, expected):
    assert is_per_element(loss) is expected


@pytest.mark.parametrize(("loss", "expected"), [(SEGMENTATION, 255), (INDICES, None), (None, None)])
def test_the_class_that_a_loss_ignores(loss, expected):
    assert ignored_class(loss) == expected


# Class indices.


@pytest.mark.parametrize(
    ("labels", "shape", "expected"),
    [
        ([0, 3, -1], (None, 4), [0, 3, -1]),
        ([[0], [3], [-1]], (3, 4), [0, 3, -1]),
        (np.array([2, 255], "uint8"), (None, 300), [2, 255]),
        ([0.0, NAN, 2.0], (None, 4), [0, -1, 2]),
        ([[1.0, 0.0], [0.2, 0.8], [NAN, NAN], [0.0, 0.0]], (None, 2), [0, 1, -1, -1]),
        ([[0, 1, 0], [0, 0, 0]], (None, 3), [1, -1]),
        ([[False, True], [False, False]], (None, 2), [1, -1]),
        ([[1], [0]], (None, 1), [1, 0]),
        ([[[0, 2], [-1, 1]]], (None, 2, 2, 3), [[[0, 2], [-1, 1]]]),
        ([[[[0.0, 1.0], [NAN, NAN]]]], (None, 1, 2, 2), [[[1, -1]]]),
        ([[NAN, 1.0, 0.0], [NAN, 0.0, 0.0], [0.6, NAN, NAN]], (None, 3), [1, -1, 0]),
        ([[NAN, 0.3, 0.4], [0.3, 0.3, 0.4], [0.5, NAN, 0.2]], (None, 3), [-1, 2, -1]),
        ([[-1, 1, 0], [-1, 0, 0], [-1, -1, -1]], (None, 3), [1, -1, -1]),
    ],
    ids=[
        *("indices", "column", "unsigned", "floats", "one-hot", "integer one-hot"),
        *(
            "boolean one-hot",
            "one unit",
            "map",
            "one-hot map",
            "in part",
            "soft",
            "integers in part",
        ),
    ],
)
def test_every_form_of_labels_gives_class_indices(labels, shape, expected):
    found = class_indices(np.asarray(labels), shape)
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, expected)


def test_the_index_of_a_missing_label_is_the_public_constant():
    assert class_indices(np.array([NAN]), (None, 4))[0] == kd.UNLABELED


@pytest.mark.parametrize(
    ("task", "labels", "kept"),
    [
        ("classes", [0.0, 1.0], True),
        ("binary", [[0.0], [1.0]], True),
        ("labels", [[0, 1], [1, 1]], False),
        ("values", [0.5, 2.0], False),
        (None, [0, 3], True),
        (None, [0.5, 2.0], False),
    ],
)
def test_labels_are_classes_by_the_task_or_as_integers(task, labels, kept):
    labels = np.asarray(labels)
    assert only_classes(labels, task) is (labels if kept else None)
    assert only_classes(None, task) is None


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 4), ()])
def test_labels_of_another_shape_are_rejected(shape):
    with pytest.raises(ValueError, match=r"Labels must be integers .* Received: labels of shape"):
        class_indices(np.zeros(shape), (None, 4))
