import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy


def slices(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


def numbers(start, count):
    """Samples with distinct values."""
    return np.arange(start, start + count, dtype="float32")[:, None]


def batches(dataset):
    return [tuple(np.asarray(part) for part in batch) for batch in dataset]


def test_each_batch_has_labeled_samples_and_ratio_times_as_many_unlabeled_ones():
    labeled = slices(numbers(0, 4), np.arange(4)).batch(2)
    mixed = batches(kd.mix_unlabeled(labeled, slices(numbers(10, 12)).batch(5), ratio=3))
    assert [len(y) for _, y in mixed] == [8, 8]
    assert [sorted(x[y >= 0, 0]) for x, y in mixed] == [[0, 1], [2, 3]]
    assert [sorted(x[y < 0, 0]) for x, y in mixed] == [[*range(10, 16)], [*range(16, 22)]]
    assert all((y[y >= 0] == x[y >= 0, 0]).all() and (y[y < 0] == -1).all() for x, y in mixed)


def test_both_kinds_are_evenly_interleaved():
    labeled = slices(numbers(0, 2), np.zeros(2, int)).batch(2)
    ((_, y),) = batches(kd.mix_unlabeled(labeled, slices(numbers(10, 6)).batch(6), ratio=3))
    assert [(half >= 0).sum() for half in np.split(y, 2)] == [1, 1]


def test_an_epoch_is_a_pass_over_the_unlabeled_samples_with_a_full_last_batch():
    labeled = slices(numbers(0, 3), np.arange(3)).batch(2)
    mixture = kd.mix_unlabeled(labeled, slices(numbers(10, 11)).batch(4), ratio=2)
    mixed = batches(mixture)
    assert np.concatenate([x[y < 0, 0] for x, y in mixed]).tolist() == [*range(10, 21), 10]
    assert np.concatenate([x[y >= 0, 0] for x, y in mixed]).tolist() == [0, 1, 2, 0, 1, 2]
    assert [(y >= 0).sum() for _, y in mixed] == [2, 2, 2]
    assert len(mixture) == 3


def test_an_epoch_is_a_pass_over_the_labeled_samples_if_they_are_more():
    labeled = slices(numbers(0, 7), np.arange(7)).batch(2)
    mixed = batches(kd.mix_unlabeled(labeled, slices(numbers(10, 3)).batch(3), ratio=0.5))
    assert np.concatenate([x[y >= 0, 0] for x, y in mixed]).tolist() == [*range(7), 0]
    assert np.concatenate([x[y < 0, 0] for x, y in mixed]).tolist() == [10, 11, 12, 10]


def test_data_sets_of_infinite_or_unknown_length():
    labeled = slices(numbers(0, 4), np.arange(4)).batch(2)
    endless = kd.mix_unlabeled(labeled.repeat(), slices(numbers(10, 12)).repeat().batch(6), 3)
    assert len(batches(endless.take(5))) == 5
    unlabeled = slices(numbers(10, 12)).batch(6)
    assert len(batches(kd.mix_unlabeled(labeled.repeat(), unlabeled, 3))) == 2
    unknown = unlabeled.filter(lambda x: True)
    assert len(batches(kd.mix_unlabeled(labeled, unknown, 3))) == 2


@pytest.mark.slow
def test_the_seeds_of_the_data_sets_determine_the_order():
    def epochs():
        labeled = slices(numbers(0, 8), np.arange(8)).shuffle(8, seed=1).batch(2)
        unlabeled = slices(numbers(10, 16)).shuffle(16, seed=2).batch(4)
        mixed = kd.mix_unlabeled(labeled, unlabeled, ratio=2)
        return [np.concatenate([x for x, _ in batches(mixed)]).ravel().tolist() for _ in range(2)]

    one = epochs()
    # Repeated, because prefetching into the next epoch would only show occasionally.
    assert all(epochs() == one for _ in range(5))
    assert one[0] != one[1]


@pytest.mark.parametrize(
    ("labels", "none", "dtype"),
    [
        (np.arange(4), -1, "int64"),
        (np.arange(4, dtype="uint8"), -1, "int32"),
        (np.arange(4)[:, None], -1, "int64"),
        (np.arange(4, dtype="float32"), np.nan, "float32"),
        (np.eye(4, dtype="float32"), np.nan, "float32"),
        (np.eye(4, dtype="int32"), np.nan, "float32"),
        (np.array([True, False, True, True]), -1, "int32"),
        (np.arange(36, dtype="uint8").reshape(4, 3, 3), -1, "int32"),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_the_missing_label_depends_on_the_labels(labels, none, dtype):
    mixed = kd.mix_unlabeled(
        slices(numbers(0, 4), labels).batch(4), slices(numbers(9, 4)).batch(4), 1
    )
    ((x, y),) = batches(mixed)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y[x[:, 0] < 9], labels)
    np.testing.assert_array_equal(y[x[:, 0] >= 9], np.full(labels.shape, none, dtype))


def test_dicts_of_inputs_and_labels_with_weights():
    labels = {"one": np.arange(4), "two": np.eye(4, dtype="float32")}
    labeled = slices({"a": numbers(0, 4)}, labels, np.full(4, 0.5)).batch(4)
    mixed = kd.mix_unlabeled(labeled, slices({"a": numbers(9, 4)}).batch(4), ratio=1)
    x, y, weight = next(iter(mixed))
    other = np.ravel(x["a"]) >= 9
    assert (np.asarray(y["one"])[other] == -1).all()
    assert np.isnan(np.asarray(y["two"])[other]).all()
    np.testing.assert_array_equal(weight, np.where(other, 1.0, 0.5))


def test_labels_of_the_unlabeled_are_ignored_but_not_their_weights():
    labeled = slices(numbers(0, 2), np.arange(2)).batch(2)
    unlabeled = slices(numbers(9, 2), np.full(2, 7), np.full(2, 0.25)).batch(2)
    ((x, y, weight),) = batches(kd.mix_unlabeled(labeled, unlabeled, ratio=1))
    np.testing.assert_array_equal(weight, np.where(x[:, 0] >= 9, 0.25, 1.0))
    assert sorted(y) == [-1, -1, 0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["classes", "one-hot integers"])
def test_a_distiller_trains_on_the_mixture(form):
    x, y = toy.data()
    labels, hard = y, toy.sparse_loss()
    if form != "classes":
        labels, hard = np.eye(4, dtype=int)[y], keras.losses.CategoricalCrossentropy(True)
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False
    model = kd.Distiller(student, toy.cnn("teacher"))
    model.compile(keras.optimizers.SGD(0.0), hard, run_eagerly=form != "classes")
    train = kd.mix_unlabeled(slices(x[:8], labels[:8]).batch(8), slices(x[8:]).batch(8), ratio=3)
    logs = model.fit(train, verbose=0).history
    np.testing.assert_allclose(
        logs["student_loss"][0], toy.sparse_loss()(y[:8], student(x[:8])), 1e-5
    )
    values = kd.losses.SoftTargets()(toy.cnn("teacher")(x), student(x))
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(values), 1e-5)


LABELED = slices(numbers(0, 4), np.arange(4))


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "ratio", "error", "sentence"),
    [
        (numbers(0, 4), LABELED.batch(2), 1, TypeError, "`labeled` must be a tf.data.Dataset"),
        (LABELED, LABELED.batch(2), 1, ValueError, "`labeled` must be batched"),
        (LABELED.batch(2), LABELED, 1, ValueError, "`unlabeled` must be batched"),
        (slices(numbers(0, 4)).batch(2), LABELED.batch(2), 1, ValueError, "no labels"),
        (
            LABELED.batch(2),
            slices(np.ones((4, 3))).batch(2),
            1,
            ValueError,
            "same structure, shapes and dtypes",
        ),
        (
            LABELED.batch(2),
            slices(np.ones((4, 1))).batch(2),
            1,
            ValueError,
            "same structure, shapes and dtypes",
        ),
        (LABELED.batch(2), LABELED.batch(2), 0, ValueError, "`ratio`.*must be positive"),
        (LABELED.batch(2), LABELED.batch(2).take(0), 1, ValueError, "empty"),
    ],
)
def test_incompatible_data_sets_are_rejected(labeled, unlabeled, ratio, error, sentence):
    with pytest.raises(error, match=sentence):
        kd.mix_unlabeled(labeled, unlabeled, ratio)
