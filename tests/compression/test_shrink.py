"""A shrunk model has the requested size and keeps the weights of what remains."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy
from tests.compression import models


def cnn(width=8):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, padding="same", activation="relu", name="stem")(x)
    y = layers.Conv2D(2 * width, 1, activation="relu", name="expand")(x)
    x = layers.Add()([x, layers.Conv2D(width, 1, name="project")(y)])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x), name="cnn")


def test_half_of_each_group_remains_with_its_weights():
    model = cnn()
    before = model.get_weights()
    result = kd.compression.shrink(model)
    assert result.kept == {"stem": 4, "expand": 8}
    assert type(result.model) is type(model)
    kernel = result.model.get_layer("stem").kernel.numpy()
    rows = {tuple(row) for row in model.get_layer("stem").kernel.numpy().reshape(-1, 8).T}
    assert {tuple(row) for row in kernel.reshape(-1, 4).T} <= rows
    assert result.after.parameters == result.model.count_params() < result.before.parameters
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_ratio_of_one_gives_exactly_the_same_function():
    model = cnn()
    result = kd.compression.shrink(model, 1.0)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(result.model(x)))


@pytest.mark.parametrize(
    ("budget", "attribute"),
    [("max_parameters", "parameters"), ("max_macs", "macs"), ("max_bytes", "int8_bytes")],
)
def test_a_budget_is_met_with_as_many_channels_as_possible(budget, attribute):
    whole, half = (kd.compression.shrink(cnn(), share).after for share in (1.0, 0.5))
    limit = (getattr(whole, attribute) + getattr(half, attribute)) // 2
    result = kd.compression.shrink(cnn(), **{budget: limit})
    assert getattr(half, attribute) < getattr(result.after, attribute) <= limit
    largest = kd.compression.shrink(cnn(), **{budget: 10**9})
    assert largest.kept == {"stem": 8, "expand": 16}


def test_skipped_layers_keep_all_channels():
    assert kd.compression.shrink(cnn(), skip=["project"]).kept == {"expand": 8}
    model = cnn()
    assert kd.compression.shrink(model, skip=model.get_layer("expand")).kept == {"stem": 4}


def test_units_that_do_nothing_are_removed_first():
    model = cnn()
    kernel = model.get_layer("expand").kernel
    kernel.assign(kernel.numpy() * (np.arange(16) % 2))
    for importance in ("magnitude", "taylor"):
        more = {}
        if importance == "taylor":
            rng = np.random.default_rng(0)
            x, y = rng.normal(size=(16, 8, 8, 3)), rng.integers(0, 4, 16)
            more = {"data": (x, y), "loss": toy.sparse_loss()}
        result = kd.compression.shrink(model, 0.5, importance=importance, **more)
        assert np.all(np.abs(result.model.get_layer("expand").kernel).sum(axis=(0, 1, 2)) > 0)


def test_a_shrunk_student_is_distilled_from_its_teacher():
    teacher = cnn()
    student = kd.compression.shrink(teacher, 0.5).model
    distiller = kd.Distiller(student, teacher)
    distiller.compile("adam", toy.sparse_loss(), run_eagerly=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 8, 8, 3)), rng.integers(0, 4, 16)
    history = distiller.fit(x, y, batch_size=8, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0}, r"`ratio` must be in \(0, 1\]. Received: ratio=0"),
        ({"ratio": 1.5}, "`ratio` must be in"),
        ({"ratio": 0.5, "max_macs": 5}, "Pass a `ratio` or one budget"),
        ({"max_bytes": 0}, "`max_bytes` must be positive"),
        ({"max_parameters": 5}, r"`max_parameters` must be at least 40: that is the size with one"),
        ({"importance": "size"}, "`importance` must be one of"),
        ({"importance": "taylor"}, "needs `data`"),
        ({"loss": "mse"}, r"\['loss'\] are for importance='taylor'"),
        ({"skip": ["no"]}, r"`skip` must name layers of the student: .*Received: \['no'\]"),
        ({"skip": ["stem", "expand"]}, "'cnn' has no channels that can be removed"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        kd.compression.shrink(cnn(), **arguments)


def test_a_subclassed_model_is_rejected():
    with pytest.raises(ValueError, match="must be Functional or Sequential"):
        kd.compression.shrink(models.subclassed())
