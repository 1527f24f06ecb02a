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


def test_each_group_has_its_own_share_and_others_stay_whole():
    assert kd.compression.shrink(cnn(), {"expand": 0.25}).kept == {"stem": 8, "expand": 4}


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
        ({"ratio": True}, "`ratio` must be in"),
        ({"ratio": {"stem": 0}}, "`ratio` must be in"),
        ({"ratio": {"no": 0.5}}, r"`ratio` must be by the groups \['stem', 'expand'\]"),
        ({"max_bytes": 0}, "`max_bytes` must be a number of at least 1. Received: max_bytes=0"),
        ({"max_bytes": "5k"}, "`max_bytes` must be a number of at least 1"),
        ({"max_macs": 5}, r"`max_macs` must be at least 1,860: that is the size with one channel"),
        ({"max_bytes": 5}, r"`max_bytes` must be at least [\d,]+: that is the size with one"),
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


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (layers.Dense(2), r"no channels that can be removed.*an output of the model"),
        (models.Halve(name="own"), r"no channels that can be removed.*'own' \(Halve\) has no rule"),
    ],
)
def test_a_model_with_nothing_to_remove_is_rejected_with_the_reasons(step, message):
    inputs = keras.Input((3,))
    x = inputs if isinstance(step, layers.Dense) else layers.Dense(4)(inputs)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        kd.compression.shrink(keras.Model(inputs, step(x)))


def test_a_shared_layer_stays_shared():
    x = inputs = keras.Input((3,))
    shared = layers.Dense(6, activation="relu", name="shared")
    x = shared(shared(layers.Dense(6, name="first")(x)))
    result = kd.compression.shrink(keras.Model(inputs, layers.Dense(2)(x)), 0.5)
    # Its outputs are its inputs, so both lose the same channels.
    assert result.kept == {"first": 3}
    assert result.model.get_layer("shared").kernel.shape == (3, 3)
    assert len(result.model.layers) == 4


def test_a_layer_of_an_unknown_kind_is_kept_whole_and_listed():
    inputs = keras.Input((3,))
    x = models.Scale(name="own")(layers.Dense(4, name="before")(inputs))
    x = layers.Dense(2)(layers.Dense(6, name="free")(x))
    result = kd.compression.shrink(keras.Model(inputs, x), 0.5)
    assert result.kept == {"free": 3}
    whole = {plan.name: plan.reason for plan in result.layers if plan.action == "kept"}
    assert whole["own"] == whole["before"] == "'own' (Scale) has no rule for it"


def test_a_numpy_number_is_a_ratio():
    assert kd.compression.shrink(cnn(), np.float32(0.5)).kept == {"stem": 4, "expand": 8}


def test_a_subclassed_model_is_rejected():
    with pytest.raises(ValueError, match="must be Functional or Sequential"):
        kd.compression.shrink(models.subclassed())
