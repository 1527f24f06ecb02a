"""Class weights as sample weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.training.class_weights import ClassWeights
from tests import toy
from tests.distillers.models import distiller

NAN = np.nan


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2, kd.UNLABELED], [3, 1, 0.5, 1]),
        ([[0], [2]], [3, 0.5]),
        ([0.0, NAN], [3, 1]),
        ([[1.0, 0, 0], [0, 0, 1], [NAN, NAN, NAN]], [3, 0.5, 1]),
        ([2, 7], [0.5, 1]),  # An ignored class.
    ],
)
def test_each_label_gets_the_weight_of_its_class(labels, expected):
    weights = ClassWeights({0: 3.0, 2: 0.5}, {"output": (None, 3)})
    np.testing.assert_array_equal(weights.apply(np.array(labels)), expected)


def test_each_pixel_gets_the_weight_of_its_class():
    weights = ClassWeights({1: 2.0}, {"output": (None, 1, 2, 3)})
    np.testing.assert_array_equal(weights.apply(np.array([[[0, 1]]])), [[[1, 2]]])


def test_samples_without_a_label_may_have_a_weight():
    weights = ClassWeights({0: 3.0, kd.UNLABELED: 0.25}, {"output": (None, 2)})
    np.testing.assert_array_equal(weights.apply(np.array([0, 1, -1])), [3, 1, 0.25])


def test_an_output_of_one_unit_has_two_classes():
    weights = ClassWeights({0: 2.0, 1: 5.0}, {"output": (None, 1)})
    np.testing.assert_array_equal(weights.apply(np.array([1.0, 0.0, NAN])), [5, 2, 1])


def test_each_student_gets_the_weights_of_its_labels():
    weights = ClassWeights({1: 5.0}, {"b": (None, 1), "a": (None, 2)}, students=2)
    given = {"a": np.array([[1.0, 0], [0, 1]]), "b": np.array([1, -1])}
    found = weights.apply(given)
    assert {name: np.asarray(one).tolist() for name, one in found.items()} == {
        "a": [1, 5],
        "b": [5, 1],
    }


def test_equal_tables_are_equal():
    one, same = (
        ClassWeights({0: 2.0}, {"output": (None, 3)}),
        ClassWeights({0: 2, 1: 1}, {"output": (None, 3)}),
    )
    assert one == same
    assert one != ClassWeights({1: 2.0}, {"output": (None, 3)})
    assert one != {0: 2.0}


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: ClassWeights({7: 1.0}, {"output": (None, 4)}), "the student's classes are 0 to 3"),
        (
            lambda: ClassWeights({0: 1.0}, dict.fromkeys("ab", (None, 4))),
            "for students with one output",
        ),
        (
            lambda: ClassWeights({0: 1.0}, {"output": (None, 4)}, np.ones(3)),
            "either `class_weight` or",
        ),
        (
            lambda: ClassWeights({0: 1.0}, {"output": (None, 4)}).apply(None),
            "`class_weight` needs labels",
        ),
        (
            lambda: ClassWeights({0: 1.0}, {"output": (None, 4)}, task="labels"),
            "output is independent lab",
        ),
        (lambda: ClassWeights({0: 1.0}, {"output": (None, 1)}, task="values"), "output is numbers"),
        (
            lambda: ClassWeights({0: 1.0}, {"output": (None, 4)}).apply(np.zeros(3), np.ones(3)),
            "either `class_weight` or",
        ),
    ],
)
def test_invalid_class_weights_are_rejected(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def one_hot(y):
    return np.eye(4, dtype="float32")[y]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["arrays", "dataset", "one-hot data set"])
def test_fit_with_class_weights_equals_fit_with_sample_weights(form):
    (x, y), table = toy.vectors(), {0: 3.0, 1: 2.0, 2: 0.0, 3: 0.5, kd.UNLABELED: 0.25}
    y[::3] = kd.UNLABELED
    weights = np.array([table[label] for label in y])
    sparse, labels = toy.sparse_loss(), y
    if form == "one-hot data set":
        sparse = keras.losses.CategoricalCrossentropy(from_logits=True)
        labels = np.where(y[:, None] < 0, NAN, one_hot(y))
    logs = []
    for given in ({"class_weight": table}, {"sample_weight": weights}):
        data = {"x": x, "y": labels, "batch_size": 8, "shuffle": False}
        if form != "arrays" and "class_weight" in given:
            data = {"x": tf.data.Dataset.from_tensor_slices((x, labels)).batch(8)}
        model = distiller(losses=["soft_targets", kd.losses.Hint("hidden", "hidden")], loss=sparse)
        logs.append(model.fit(**data, **given, verbose=0).history)
    for name in logs[0]:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-6)


def test_class_weights_apply_to_the_distillation_losses():
    (x, y), model = toy.vectors(), distiller()
    values = kd.losses.SoftTargets()(model.teachers[0].model(x), model.student(x))
    table = {0: 1.0, 1: 2.0, 2: 0.0, 3: 0.5}
    logs = model.fit(x, y, 32, class_weight=table, verbose=0).history
    expected = np.mean(values * [table[label] for label in y])
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


@pytest.mark.slow
def test_class_weights_may_change_between_two_fits():
    (x, y), model = toy.vectors(), distiller(rate=0.0, eager=False)
    one = model.fit(x, y, verbose=0, class_weight={0: 1.0}).history["loss"][0]
    doubled = dict.fromkeys(range(4), 2.0)
    double = model.fit(x, y, verbose=0, class_weight=doubled).history["loss"][0]
    again = model.fit(x, y, verbose=0).history["loss"][0]
    np.testing.assert_allclose([double, again], [2 * one, one], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("eager", [True, False])
def test_class_weights_end_with_their_fit(eager):
    (x, y), model = toy.vectors(), distiller(losses=[], rate=0.0, eager=eager)
    before = model.train_on_batch(x, y, return_dict=True)["student_loss"]
    model.fit(x, y, verbose=0, class_weight=dict.fromkeys(range(4), 10.0))
    model.reset_metrics()
    after = model.train_on_batch(x, y, return_dict=True)["student_loss"]
    np.testing.assert_allclose(after, before, rtol=1e-6)
    np.testing.assert_allclose(after, toy.sparse_loss()(y, model.student(x)), rtol=1e-5)


def test_class_weights_end_with_a_fit_that_fails():
    (x, y), model = toy.vectors(), distiller()
    with pytest.raises(ValueError, match="in its inputs"):
        model.fit(x * np.nan, y, verbose=0, class_weight={0: 10.0})
    assert model._class_weights is None


def test_class_weights_need_an_output_of_classes():
    (x, y), model = toy.vectors(), distiller(losses=[], loss="mse")
    with pytest.raises(ValueError, match=r"`class_weight` is for classes.*numbers \(regression\)"):
        model.fit(x, np.eye(4)[y], verbose=0, class_weight={0: 2.0})
