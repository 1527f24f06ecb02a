import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy


def data(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(10)


def concatenate(dataset):
    return tuple(np.concatenate(parts) for parts in zip(*dataset.as_numpy_iterator(), strict=True))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_confident_samples_are_kept_in_order_with_the_teachers_class(activation):
    x, _ = toy.data()
    teacher = toy.cnn("teacher", 6, activation=activation, seed=1)
    probabilities = np.asarray(ops.softmax(toy.cnn("teacher", 6, seed=1)(x)))
    threshold = np.median(probabilities.max(-1))
    confident = probabilities.max(-1) >= threshold
    result = kd.pseudo_label(teacher, data(x), threshold)
    kept, labels = concatenate(result.dataset)
    np.testing.assert_array_equal(kept, x[confident])
    np.testing.assert_array_equal(labels, probabilities.argmax(-1)[confident])
    assert (result.kept, result.total) == (confident.sum(), 32)
    assert result.classes == tuple(np.bincount(labels, minlength=4))
    assert str(result).startswith("16 of 32 samples kept (50.0 %); labels by class: ")


def test_each_teacher_runs_once_per_batch():
    x, _ = toy.data()
    teacher, counter = toy.counted(toy.cnn("teacher"))
    kd.pseudo_label(teacher, data(x), 0.0)
    assert int(counter.count) == 4


def test_several_teachers_are_combined_by_the_weighted_mean_of_their_probabilities():
    x, _ = toy.data()
    teachers = [toy.cnn(f"t{i}", 6, seed=i) for i in (1, 2)]
    one, two = (np.asarray(ops.softmax(teacher(x))) for teacher in teachers)
    mean = (3 * one + two) / 4
    result = kd.pseudo_label(
        teachers, data((x, np.zeros(32))), 0.3, weighting=kd.weighting.Fixed([3, 1])
    )
    _, labels = concatenate(result.dataset)
    np.testing.assert_array_equal(labels, mean.argmax(-1)[mean.max(-1) >= 0.3])


def test_a_single_output_has_labels_zero_and_one():
    x, _ = toy.data()
    teacher = toy.cnn("teacher", classes=1, activation="sigmoid")
    _, labels = concatenate(kd.pseudo_label(teacher, data(x), 0.0).dataset)
    np.testing.assert_array_equal(labels, np.ravel(teacher(x)) > 0.5)


def mean_of_sigmoids(teachers, x, weights):
    parts = [ops.sigmoid(toy_logits(teacher, x)) for teacher in teachers]
    return np.asarray(sum(w * part for w, part in zip(weights, parts, strict=True)))


def toy_logits(teacher, x):
    inner = keras.Model(teacher.input, teacher.get_layer("features").output)
    return inner(x) @ teacher.get_layer("logits").kernel + teacher.get_layer("logits").bias


@pytest.mark.parametrize("count", [1, 2])
def test_independent_labels_are_confident_one_by_one(count):
    x, _ = toy.data()
    teachers = [toy.cnn(f"t{i}", 6, activation="sigmoid", seed=i) for i in range(1, 1 + count)]
    weights = [1.0] if count == 1 else [0.75, 0.25]
    weighting = None if count == 1 else kd.weighting.Fixed([3, 1])
    probability = mean_of_sigmoids(teachers, x, weights)
    confidence = np.maximum(probability, 1 - probability)
    threshold = float(np.quantile(confidence, 0.8))
    result = kd.pseudo_label(teachers, data(x), threshold, weighting=weighting)
    kept, labels = concatenate(result.dataset)
    expected = np.where(confidence >= threshold, probability > 0.5, np.nan)
    some = (confidence >= threshold).any(1)
    np.testing.assert_array_equal(kept, x[some])
    np.testing.assert_array_equal(labels, expected[some])
    assert labels.dtype == "float32"
    assert 0 < result.kept < 32
    assert result.classes == tuple((expected == 1).sum(0))


def test_several_yes_or_no_teachers_are_combined_by_the_mean_of_their_probabilities():
    x, _ = toy.data()
    teachers = [toy.cnn(f"t{i}", 6, 1, activation="sigmoid", seed=i) for i in (1, 2)]
    probability = mean_of_sigmoids(teachers, x, [0.5, 0.5])[:, 0]
    _, labels = concatenate(kd.pseudo_label(teachers, data(x), 0.0).dataset)
    np.testing.assert_array_equal(labels, probability > 0.5)
    logits = np.stack([toy_logits(teacher, x) for teacher in teachers])
    weights = kd.weighting.Entropy()(np.concatenate([0 * logits, logits], -1))[..., None]
    probability = mean_of_sigmoids(teachers, x, np.asarray(weights))[:, 0]
    entropy = kd.pseudo_label(teachers, data(x), 0.0, weighting=kd.weighting.Entropy())
    np.testing.assert_array_equal(concatenate(entropy.dataset)[1], probability > 0.5)


def test_linear_units_of_unknown_meaning_are_classes_with_a_warning():
    x, _ = toy.data()
    with pytest.warns(UserWarning, match="they are taken for the logits of classes"):
        kd.pseudo_label(toy.cnn("t"), data(x), 0.0)
    compiled = toy.cnn("t")
    compiled.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    _, labels = concatenate(kd.pseudo_label(compiled, data(x), 0.0).dataset)
    np.testing.assert_array_equal(labels, np.asarray(compiled(x)) > 0)


def test_unconfident_pixels_are_unlabeled_and_maps_of_them_are_dropped():
    inputs = keras.Input((6, 6, 1))
    teacher = keras.Model(inputs, layers.Conv2D(3, 1)(inputs * 3))
    x, _ = toy.data()
    x[5] = 0
    probabilities = np.asarray(ops.softmax(teacher(x)))
    kept, labels = concatenate(kd.pseudo_label(teacher, data(x), 0.6).dataset)
    expected = np.where(probabilities.max(-1) >= 0.6, probabilities.argmax(-1), kd.UNLABELED)
    any_label = (expected >= 0).any((1, 2))
    assert not any_label[5]
    np.testing.assert_array_equal(kept, x[any_label])
    np.testing.assert_array_equal(labels, expected[any_label])


@pytest.mark.parametrize(
    ("teacher", "threshold", "sentence"),
    [
        (lambda: toy.cnn("t"), 1.5, "`threshold` must be a probability"),
        (lambda: toy.cnn("t"), 1.0, "none of 32 samples reaches threshold=1.0; the highest"),
        (lambda: kd.Teacher(toy.cnn("t"), outputs="values"), 0.9, r"numbers.*OutputsMSE\(\)"),
        (lambda: toy.cnn("t", activation="tanh"), 0.9, "no confidence"),
        (lambda: toy.cnn("t", classes=1), 0.9, "single unit of the output 'logits'.*outputs="),
        (lambda: kd.Teacher(toy.cnn("t"), classes=[0, 1, 2, 3]), 0.9, "classes.*'t'"),
    ],
)
def test_invalid_arguments_are_rejected(teacher, threshold, sentence):
    x, _ = toy.data()
    with pytest.raises(ValueError, match=sentence):
        kd.pseudo_label(teacher(), data(x), threshold)


def test_arrays_are_labeled_like_their_batches():
    x, y = toy.vectors(20)
    teacher = toy.mlp("t")
    right = kd.pseudo_label(teacher, tf.data.Dataset.from_tensor_slices(x).batch(20), 0.3)
    for data in (x, (x, y), [(x[:10], y[:10]), (x[10:], y[10:])]):
        found = kd.pseudo_label(teacher, data, 0.3)
        assert (found.kept, found.total, found.classes) == (right.kept, 20, right.classes)
    with pytest.raises(TypeError, match="pseudo_label: the data must be"):
        kd.pseudo_label(teacher, None)


def test_a_missing_input_is_named():
    x, _ = toy.pairs(8)
    with pytest.raises(ValueError, match=r"Teacher 't' takes .* needs \['image'\]"):
        kd.pseudo_label(toy.named("t"), {"audio": x["audio"]})
