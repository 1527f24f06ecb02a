"""The training step: what runs, how often, what it adds up to, and what a checkpoint holds."""

import functools
import json
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy

SOFT = kd.losses.SoftTargets


def distiller(student, teacher, losses=None, **kwargs):
    model = kd.Distiller(student, teacher, losses, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
    return model


def three_taps():
    return [
        kd.losses.SoftTargets(),
        kd.losses.Hint("conv", "conv"),
        kd.losses.Hint("features", "features"),
    ]


# What runs, and how often.


@pytest.mark.parametrize("metrics", [None, ["accuracy"]])
@pytest.mark.parametrize("made", ["arrays", "dataset", "generator"])
def test_the_step_is_traced_once(metrics, made):
    (x, y), traced = toy.data(), []

    class Traced(kd.Distiller):
        def train_step(self, data):
            traced.append(data)
            return super().train_step(data)

    model = Traced(toy.cnn("student"), toy.cnn("teacher", 6, seed=1))
    model.compile("adam", toy.sparse_loss(), metrics=metrics)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8, drop_remainder=True)
    batches = ((x[i : i + 8], y[i : i + 8]) for i in range(0, len(x), 8))
    given = {"arrays": (x, y, 8), "dataset": (data,), "generator": (batches,)}[made]
    model.fit(*given, verbose=0)
    # What a metric needs, the shape of the labels, is in a generator's batches alone.
    assert len(traced) == (2 if made == "generator" and metrics else 1)


def test_the_student_runs_once_per_step_with_three_taps():
    (x, y), (student, counter) = toy.data(), toy.counted(toy.cnn("student"))
    losses = [
        kd.losses.SoftTargets(),
        kd.losses.Hint("conv", "student/conv"),
        kd.losses.Hint("features", "student/features"),
    ]
    model = distiller(student, toy.cnn("teacher", 6, seed=1), losses)
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    assert int(counter.count) == 4


def test_each_teacher_runs_once_per_step_and_never_in_validation_evaluate_or_predict():
    x, y = toy.data()
    (one, first), (two, second) = (toy.counted(toy.cnn(n, 6, seed=1)) for n in ("one", "two"))
    losses = [kd.losses.SoftTargets(), kd.losses.LogitsMSE()]
    model = distiller(toy.cnn("student"), [one, two], losses)
    model.fit(x, y, batch_size=8, verbose=0, validation_data=(x, y))
    assert (int(first.count), int(second.count)) == (4, 4)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert (int(first.count), int(second.count)) == (4, 4)


def test_the_teacher_runs_in_inference_mode_and_nothing_of_it_changes():
    (x, y), teacher = toy.data(), toy.cnn("teacher", 6, dropout=0.5, activation="softmax")
    before = [w.numpy() for w in teacher.weights]
    model = distiller(toy.cnn("student"), teacher, three_taps())
    model.fit(x, y, verbose=0)
    for old, new in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable
    assert all(layer.trainable for layer in teacher.layers)
    assert teacher.get_layer("logits").activation is keras.activations.softmax


def test_evaluate_leaves_batch_norm_statistics_and_dropout_alone():
    (x, y), student = toy.data(), toy.cnn("student", dropout=0.5)
    model = distiller(student, toy.cnn("teacher", 6), three_taps())
    before = student.get_weights()
    first = model.evaluate(x, y, verbose=0, return_dict=True)
    assert first == model.evaluate(x, y, verbose=0, return_dict=True)
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batch_norm_statistics_are_updated_once_per_step():
    (x, y), student, plain = toy.data(8), toy.cnn("student"), toy.cnn("student")
    distiller(student, toy.cnn("teacher", 6), three_taps()).fit(x, y, batch_size=8, verbose=0)
    plain(x, training=True)
    np.testing.assert_allclose(
        student.get_layer("norm").moving_mean, plain.get_layer("norm").moving_mean, rtol=1e-5
    )


# What it adds up to.


@pytest.mark.parametrize("losses", [[], [kd.losses.SoftTargets(weight=0.0)]], ids=["none", "zero"])
def test_without_distillation_it_gives_the_weights_of_plain_training(losses):
    x, y = toy.data(40)
    weights = []
    for build in (
        lambda student: student,
        lambda student: kd.Distiller(student, toy.cnn("teacher"), losses, student_loss_weight=1.0),
    ):
        student = toy.cnn("student", regularizer="l2", dropout=0.3)
        model = build(student)
        keras.utils.set_random_seed(7)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=1).batch(16)
        model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
        model.fit(dataset, epochs=3, verbose=0)
        weights.append(student.get_weights())
    for plain, ours in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, ours)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    (x, y), student = toy.data(), toy.cnn("student", regularizer="l2")
    teacher = toy.cnn("teacher", seed=1)
    hint = np.mean(
        (features(teacher)(x, training=False) - features(student)(x, training=True)) ** 2
    )
    student = toy.cnn("student", regularizer="l2")  # The batch norm has moved.
    losses = [kd.losses.SoftTargets(4.0, weight=0.5), kd.losses.Hint("features", "features", None)]
    model = distiller(student, teacher, losses, student_loss_weight=0.25)
    regularisation = float(ops.sum(student.losses))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["hint"][0], hint, rtol=1e-5)
    total = (
        0.25 * logs["student_loss"][0] + 0.5 * logs["soft_targets"][0] + logs["hint"][0]
    ) + regularisation
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-6)


def features(model):
    return keras.Model(model.inputs[0], model.get_layer("features").output)


def test_regularisation_is_the_same_as_in_plain_training():
    x, y = toy.data()
    student = toy.cnn("student", regularizer=keras.regularizers.L2(0.5))
    plain = toy.cnn("student", regularizer=keras.regularizers.L2(0.5))
    plain.compile("sgd", toy.sparse_loss())
    expected = plain.evaluate(x, y, verbose=0)
    got = distiller(student, toy.cnn("teacher")).evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(got["loss"], expected, rtol=1e-6)
    assert got["loss"] > got["student_loss"] + 0.1


def test_a_sample_weight_of_zero_gives_a_loss_of_zero():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), three_taps())
    before = model.student.trainable_weights[0].numpy()
    logs = model.fit(x, y, sample_weight=np.zeros(32), verbose=0).history
    assert logs["loss"] == [0.0]
    assert logs["soft_targets"] == [0.0]
    assert logs["hint"] == [0.0]
    np.testing.assert_array_equal(before, model.student.trainable_weights[0])


def test_class_weights_weigh_every_part():
    x, y = toy.data()
    weights = {0: 1.0, 1: 2.0, 2: 0.0, 3: 0.5}
    logs = []
    for kwargs in (
        {"class_weight": weights},
        {"sample_weight": np.array([weights[label] for label in y])},
    ):
        model = distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), three_taps())
        logs.append(model.fit(x, y, batch_size=32, verbose=0, **kwargs).history)
    for name in logs[0]:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-6)
    teacher, student = toy.cnn("teacher", seed=1), toy.cnn("student")
    values = kd.losses.SoftTargets()(teacher(x), student(x, training=True)).numpy()
    expected = np.mean(values * [weights[label] for label in y])
    np.testing.assert_allclose(logs[0]["soft_targets"][0], expected, rtol=1e-5)


def test_trackers_weigh_a_smaller_last_batch_by_its_size():
    (x, y), teacher = toy.data(20), toy.cnn("teacher", seed=1)
    student = toy.cnn("student")
    values = kd.losses.SoftTargets()(teacher(x), student(x))
    model = kd.Distiller(student, teacher)
    student.get_layer("norm").trainable = False  # Batch statistics would differ by batch.
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
    logs = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(values), rtol=1e-5)
    plain = toy.sparse_loss()(y, student(x))
    np.testing.assert_allclose(logs["student_loss"][0], plain, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"][0], 0.5 * plain + np.mean(values), rtol=1e-5)


def test_a_softmax_teacher_and_the_same_teacher_with_logits_give_the_same_loss():
    x, y = toy.data()
    logs = []
    for activation in (None, "softmax"):
        teacher = toy.cnn("teacher", seed=1, activation=activation)
        model = distiller(toy.cnn("student"), teacher, [kd.losses.SoftTargets(4.0)])
        logs.append(model.fit(x, y, verbose=0).history)
    assert logs[0] == logs[1]


def test_a_softmax_student_learns_as_one_with_logits():
    x, y = toy.data()
    logs = []
    for activation in (None, "softmax"):
        student = toy.cnn("student", activation=activation)
        model = kd.Distiller(student, toy.cnn("teacher", seed=1))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
        logs.append(model.fit(x, y, epochs=2, verbose=0).history)
    for name in logs[0]:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-5)


def test_several_teachers_count_the_same():
    (x, y), student = toy.data(), toy.cnn("student")
    teachers = [toy.cnn("one", seed=1), toy.cnn("two", 6, seed=2, activation="softmax")]
    loss = kd.losses.SoftTargets()
    logits = student(x, training=True)
    one = loss(teachers[0](x), logits)
    two = loss(ops.log(teachers[1](x)), logits)
    logs = distiller(toy.cnn("student"), teachers).fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(one + two) / 2, rtol=1e-5)


def test_each_teacher_has_its_own_projector_for_a_hint():
    x, y = toy.data()
    teachers = [toy.cnn("one", 5, seed=1), toy.cnn("two", 6, seed=2)]
    model = distiller(toy.cnn("student"), teachers, kd.losses.Hint("conv", "conv"))
    assert list(model.projectors) == ["hint/teacher_0", "hint/teacher_1"]
    before = [p.get_weights()[0] for p in model.projectors.values()]
    model.fit(x, y, verbose=0)
    for old, projector in zip(before, model.projectors.values(), strict=True):
        assert not np.array_equal(old, projector.get_weights()[0])


def test_a_changed_hyperparameter_changes_the_next_compiled_step():
    (x, y), loss = toy.data(), kd.losses.SoftTargets(1.0)
    model = distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), loss)
    model.optimizer.learning_rate = 0.0
    model.student.get_layer("norm").trainable = False

    def step():
        logs = model.fit(x, y, batch_size=32, verbose=0).history
        return logs["soft_targets"][0], logs["loss"][0] - 0.5 * logs["student_loss"][0]

    function = model.make_train_function() or model.train_function
    cold, _ = step()
    loss.temperature = 3.0
    warm, weighted = step()
    expected = np.mean(loss(toy.cnn("teacher", seed=1)(x), model.student(x)))
    np.testing.assert_allclose(warm, expected, rtol=1e-5)
    assert cold != warm
    loss.weight = 10.0
    np.testing.assert_allclose(step()[1], 10 * weighted, rtol=1e-4)
    assert model.train_function is function


# Models and data of every kind.


def two_headed(name, seed=0, softmax=False):
    keras.utils.set_random_seed(seed)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    x = layers.Dense(6, activation="relu", name="joined")(layers.Concatenate()([a, b]))
    one = layers.Dense(4, activation="softmax" if softmax else None, name="one")(x)
    two = layers.Dense(1, activation="sigmoid" if softmax else None, name="two")(x)
    return keras.Model({"a": a, "b": b}, {"one": one, "two": two}, name=name)


@pytest.mark.parametrize("weights", [None, "one", "dict"])
def test_several_inputs_and_outputs_with_dicts_of_losses_and_metrics(weights):
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(12, 3)), "b": rng.normal(size=(12, 2))}
    y = {"one": rng.integers(0, 4, 12), "two": rng.integers(0, 2, (12, 1))}
    losses = [
        kd.losses.SoftTargets(teacher_tap="one", student_tap="one"),
        kd.losses.SoftTargets(teacher_tap="two", student_tap="two", name="binary"),
    ]
    model = kd.Distiller(two_headed("s"), two_headed("t", 1, softmax=True), losses)
    model.compile(
        "sgd",
        loss={
            "one": toy.sparse_loss(),
            "two": keras.losses.BinaryCrossentropy(from_logits=True),
        },
        metrics={"one": ["accuracy"], "two": [keras.metrics.BinaryAccuracy(threshold=0.0)]},
    )
    zeros = np.zeros(12)
    sample_weight = {None: None, "one": zeros, "dict": {"one": zeros, "two": zeros + 1}}[weights]
    logs = model.fit(x, y, sample_weight=sample_weight, verbose=0, validation_data=(x, y)).history
    assert {"one_accuracy", "two_binary_accuracy", "binary", "soft_targets"} <= set(logs)
    assert (logs["soft_targets"][0] == 0) == (weights is not None)
    assert (logs["binary"][0] == 0) == (weights == "one")


def test_several_outputs_with_lists_of_losses():
    inputs = keras.Input((3,))
    student, teacher = (
        keras.Model(inputs, [layers.Dense(4, name="p")(inputs), layers.Dense(2, name="q")(inputs)])
        for _ in range(2)
    )
    model = kd.Distiller(student, teacher, kd.losses.SoftTargets(teacher_tap="q", student_tap="q"))
    model.compile("sgd", loss=[toy.sparse_loss(), "mse"])
    x, y = np.ones((6, 3)), [np.zeros(6, int), np.ones((6, 2))]
    logs = model.fit(x, y, verbose=0).history
    assert logs["soft_targets"][0] > 0
    assert {"p_loss", "q_loss"} <= set(logs)


def test_a_subclassed_student_with_a_hidden_tap():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.hidden = layers.Dense(8, activation="relu", name="hidden")
            self.norm = layers.BatchNormalization(name="norm")
            self.head = layers.Dense(4, name="head")

        def call(self, x, training=None):
            return self.head(self.norm(self.hidden(x), training=training))

    student, x, y = Net(), np.random.default_rng(0).normal(size=(12, 5)), np.arange(12) % 4
    student(x)
    teacher = toy.mlp("teacher", units=16, seed=1)
    model = distiller(
        student, teacher, [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    )
    before = student.norm.moving_mean.numpy()
    logs = model.fit(x, y, verbose=0, epochs=3).history
    assert logs["hint"][2] < logs["hint"][0]
    assert not np.array_equal(before, student.norm.moving_mean)


def test_no_labels_at_all():
    x, _ = toy.data()
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1))
    model.compile(keras.optimizers.SGD(0.5), loss=None)
    logs = model.fit(x, epochs=3, verbose=0).history
    assert logs["loss"] == logs["soft_targets"]
    assert logs["loss"][2] < logs["loss"][0]
    assert "student_loss" not in logs


def test_a_segmentation_map_is_averaged_over_its_pixels():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (
        keras.Model(inputs, layers.Conv2D(3, 1, activation=a)(inputs), name=n)
        for n, a in (("s", None), ("t", "softmax"))
    )
    (x, _), loss = toy.data(), kd.losses.SoftTargets(3.0)
    pixels = loss(ops.reshape(ops.log(teacher(x)), (-1, 3)), ops.reshape(student(x), (-1, 3)))
    model = kd.Distiller(student, teacher, loss)
    model.compile("sgd", toy.sparse_loss())
    logs = model.fit(x, np.zeros((32, 6, 6), int), batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(pixels), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_without_nan_on_a_confident_teacher(policy):
    x, y = toy.data()
    teacher = toy.cnn("teacher", seed=1)
    teacher.get_layer("logits").kernel.assign(teacher.get_layer("logits").kernel * 2e3)
    keras.config.set_dtype_policy(policy)
    try:
        model = distiller(toy.cnn("student"), teacher, three_taps())
    finally:
        keras.config.set_dtype_policy("float32")
    logs = model.fit(x, y, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.student.get_weights())
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")


def test_in_float64_nothing_is_rounded_on_the_way():
    x = np.random.default_rng(0).normal(size=(16, 5))
    keras.config.set_dtype_policy("float64")
    try:
        student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
        model = kd.Distiller(student, teacher, SOFT(2.0), student_loss_weight=0.0)
        model.compile(keras.optimizers.SGD(1.0))
    finally:
        keras.config.set_dtype_policy("float32")
    before = student.get_layer("head").bias.numpy()
    own, taught = (np.exp(m(x).numpy() / 2) for m in (student, teacher))
    own, taught = (p / p.sum(axis=1, keepdims=True) for p in (own, taught))
    model.fit(x, batch_size=16, verbose=0)
    moved = before - student.get_layer("head").bias.numpy()
    # The gradient of T² KL at the logits is T times the difference of the softened answers.
    np.testing.assert_allclose(moved, 2 * np.mean(own - taught, axis=0), rtol=1e-11)


@pytest.mark.parametrize(
    "how", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 8}], ids=str
)
def test_every_way_of_running_gives_the_same_weights(how):
    x, y = toy.data(64)
    weights = []
    for kwargs in ({}, how):
        model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", 6, seed=1), three_taps())
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), toy.sparse_loss(), **kwargs)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_fit_takes_its_arguments_in_the_order_of_keras():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("teacher"))
    history = model.fit(x, y, 8, 2, 0)
    assert len(history.history["loss"]) == 2
    assert int(model.optimizer.iterations) == 8


def test_the_same_seed_gives_the_same_weights():
    x, y = toy.data()
    weights = []
    for _ in range(2):
        model = distiller(toy.cnn("student", dropout=0.5), toy.cnn("teacher", 6), three_taps())
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


# Checkpoints, callbacks, what is shown.


def test_a_checkpoint_holds_no_teacher(tmp_path):
    x, y = toy.data()
    teacher = toy.cnn("teacher", 31)
    model = distiller(toy.cnn("student"), teacher, three_taps())
    model.fit(x, y, verbose=0)
    assert len(model.trainable_weights) == len(model.student.trainable_weights) + 2
    model.save_weights(tmp_path / "w.weights.h5")
    shapes = []
    with h5py.File(tmp_path / "w.weights.h5") as file:
        file.visititems(lambda _, part: shapes.append(getattr(part, "shape", ())))
    assert any(4 in shape for shape in shapes)
    assert all(31 not in shape[:-1] for shape in shapes)  # Only the projector's outputs are 31.
    assert len([shape for shape in shapes if 31 in shape]) == 2
    model.save(tmp_path / "d.keras")
    student = keras.models.load_model(tmp_path / "d.keras").student
    np.testing.assert_array_equal(student.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_loaded_distiller_trains_on_as_if_it_had_not_been_saved(tmp_path):
    x, y = toy.data()
    teacher = toy.cnn("teacher", 6, seed=1)
    model = distiller(toy.cnn("student", dropout=0.5), teacher, three_taps())
    model.fit(x, y, verbose=0)
    model.distillation_losses[0].temperature = 5.0
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    with pytest.raises(ValueError, match="has no teachers.*set_teachers"):
        loaded.fit(x, y, verbose=0)
    loaded.set_teachers(teacher)
    one = model.fit(x, y, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, shuffle=False, verbose=0).history == one
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_teachers_that_are_set_after_a_fit_teach_the_next_one():
    x, y = toy.data()
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False
    model = kd.Distiller(student, toy.cnn("one", seed=1))
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
    model.fit(x, y, batch_size=32, verbose=0)
    other = toy.cnn("two", seed=2)
    model.set_teachers(other)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    expected = np.mean(kd.losses.SoftTargets()(other(x), student(x)))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


def test_new_projectors_ask_for_a_new_compile():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("one", 6), kd.losses.Hint("conv", "conv"))
    model.fit(x, y, verbose=0)
    model.set_teachers(toy.cnn("two", 9))
    with pytest.raises(ValueError, match="compile"):
        model.fit(x, y, verbose=0)


def test_compiling_without_a_loss_takes_an_earlier_one_away():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("teacher"))
    model.fit(x, y, verbose=0)
    model.compile("sgd", loss=None)
    assert set(model.fit(x, verbose=0).history) == {"loss", "soft_targets"}


def test_any_loss_and_metric_that_keras_takes():
    class Hard:
        def __call__(self, y_true, y_pred):
            return ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    x, y = toy.data()
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher"))
    model.compile(
        "sgd", loss=Hard(), metrics=[functools.partial(keras.metrics.sparse_categorical_accuracy)]
    )
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0


def test_evaluate_gives_each_number_once():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("teacher"))
    by_name = model.evaluate(x, y, verbose=0, return_dict=True)
    loss, accuracy, student_loss = model.evaluate(x, y, verbose=0)
    assert by_name == {"loss": loss, "accuracy": accuracy, "student_loss": student_loss}


@pytest.mark.parametrize("several", [False, True], ids=["one output", "list of one"])
def test_sample_weights_count_without_labels_and_at_hidden_taps(several):
    x, y = toy.data()
    model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1), three_taps())
    model.compile("sgd", loss=toy.sparse_loss() if several else None)
    zeros = np.zeros(32)
    labels, weights = ([y], [zeros]) if several else (None, zeros)
    logs = model.fit(x, labels, sample_weight=weights, verbose=0).history
    assert logs["soft_targets"] == logs["hint"] == [0.0]


def test_a_run_that_is_stopped_and_resumed_gives_the_weights_of_the_run_that_was_not(tmp_path):
    x, y = toy.data()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        student = toy.cnn("student", dropout=0.5)
        model = kd.Distiller(student, toy.cnn("teacher", 6, seed=1), three_taps())
        model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
        model.fit(x, y, batch_size=8, shuffle=False, epochs=4, verbose=0, callbacks=callbacks)
        return model

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path), Stop())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path))
    for one, other in zip(expected.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_callbacks_of_keras_work(tmp_path):
    x, y = toy.data()
    model = distiller(toy.cnn("student"), toy.cnn("teacher", 6), three_taps())
    names = ["accuracy", "hint", "hint_2", "loss", "soft_targets", "student_loss"]
    history = model.fit(
        x,
        y,
        epochs=3,
        verbose=0,
        validation_data=(x, y),
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                tmp_path / "{epoch}.weights.h5", save_weights_only=True
            ),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
            keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ReduceLROnPlateau(patience=1),
        ],
    )
    validation = {"val_accuracy", "val_loss", "val_student_loss"}
    assert set(history.history) == {*names, *validation, "learning_rate"}
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert set(names) | validation <= set(header.split(","))
    assert (tmp_path / "1.weights.h5").exists()
    assert list((tmp_path / "logs" / "train").iterdir())
    model.load_weights(tmp_path / "1.weights.h5")
    assert keras.models.load_model(tmp_path / "best.keras").student.name == "student"


def test_summary_shows_teachers_student_and_projectors():
    lines = []
    teacher, student = toy.cnn("big", 6), toy.cnn("small")
    distiller(student, teacher, three_taps()).summary(print_fn=lines.append)
    rows = [" ".join(line.split()) for line in lines]
    assert f"teacher (frozen) big {teacher.count_params()} 0 output, conv, features" in rows
    trained = sum(int(np.prod(w.shape)) for w in student.trainable_weights)
    assert f"student small {student.count_params()} {trained} output, conv, features" in rows
    assert "projector hint_projector_convolution 30 30 hint" in rows
    assert "loss soft_targets output -> output, weight 1" in rows


def test_importing_takes_little_and_brings_neither_tfmot_nor_tfds():
    code = (
        "import sys, time, json; import keras; t = time.process_time(); import keras_kd; "
        "own = (time.process_time() - t) / t; "
        "heavy = ('tensorflow_model_optimization', 'tensorflow_datasets', 'tf_keras'); "
        "print(json.dumps([own, [m for m in heavy if m in sys.modules]]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    beside_keras, heavy = json.loads(output.stdout.splitlines()[-1])
    assert heavy == []
    assert beside_keras < 0.1


# Bad input, answered before training.


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t", classes=7)),
            r"teacher output has shape \(None, 7\) and student output \(None, 4\)",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.mlp("t")),
            r"'t' takes inputs of shape .*\(None, 5\).* preprocessing=",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), kd.losses.Hint("convv", "conv")),
            r"'t' has no layer or output 'convv'.*'conv'",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), kd.losses.Hint("conv", "features")),
            r"Hint: teacher tap 'conv' has shape \(None, 4, 4, 4\) and student tap 'features'",
        ),
        (
            lambda: kd.Distiller(keras.Sequential([layers.Dense(4)]), toy.cnn("t")),
            "The student '.*' is not built",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), keras.Sequential([layers.Dense(4)])),
            "A teacher '.*' is not built",
        ),
        (lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), "soft_target"), "nearest.*soft_targets"),
        (lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), "hint"), "pass kd.losses.Hint"),
        (lambda: kd.Distiller(toy.cnn("s"), []), "at least one teacher"),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), SOFT(name="loss")),
            "may not be called 'loss'",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), class_names=["a", "a", "b", "c"]),
            "`class_names` may come once",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), class_names=["a", "b"]),
            "as many `class_names`",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), student_outputs="logit"),
            "`student_outputs` must be one of",
        ),
        (
            lambda: kd.Distiller(
                toy.cnn("s"), toy.cnn("t"), noise=kd.noise.LogitNoise(1.0, taps=["convv"])
            ),
            "`taps` must be hidden taps",
        ),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t"), student_loss_weight=-1),
            "`student_loss_weight` must be a finite number at least 0. Received.*-1",
        ),
        (lambda: kd.losses.SoftTargets(weight=float("nan")), "`weight` must be a finite"),
        (lambda: kd.losses.SoftTargets(temperature=0), "`temperature`.*greater than 0"),
        (
            lambda: kd.Distiller(toy.cnn("s"), toy.cnn("t", activation="sigmoid")),
            r"made by a sigmoid.*SoftTargets\(activation='sigmoid'\)",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_what_is_no_keras_model_is_refused():
    with pytest.raises(TypeError, match="A teacher must be a keras.Model"):
        kd.Distiller(toy.cnn("s"), lambda x: x)
    with pytest.raises(TypeError, match="The student must be a keras.Model"):
        kd.Distiller("student.keras", toy.cnn("t"))
    with pytest.raises(TypeError, match="`weighting` must be one of kd.weighting"):
        kd.Distiller(toy.cnn("s"), toy.cnn("t"), weighting="entropy")
    with pytest.raises(TypeError, match="`noise` must be a kd.noise.LogitNoise"):
        kd.Distiller(toy.cnn("s"), toy.cnn("t"), noise=0.5)
    with pytest.raises(TypeError, match="`classes` must be a list"):
        kd.Teacher(toy.cnn("t"), classes=5)
    with pytest.raises(TypeError, match="A distillation loss must be"):
        kd.Distiller(toy.cnn("s"), toy.cnn("t"), keras.losses.KLDivergence())


def test_a_student_with_nothing_to_train_is_refused():
    x, y = toy.data()
    student = toy.cnn("student")
    student.trainable = False
    with pytest.raises(ValueError, match="nothing to train"):
        distiller(student, toy.cnn("teacher")).fit(x, y, verbose=0)


@pytest.mark.parametrize("kind", ["arrays", "dataset"])
@pytest.mark.parametrize("wrong", [4, -2])
def test_labels_out_of_range_are_refused(kind, wrong):
    x, y = toy.data()
    y[3] = wrong
    model = distiller(toy.cnn("student"), toy.cnn("teacher"))
    args = (x, y) if kind == "arrays" else (tf.data.Dataset.from_tensor_slices((x, y)).batch(8),)
    with pytest.raises(ValueError, match=r"'logits' has 4 classes.*from 0 to 3 .*Received labels"):
        model.fit(*args, verbose=0)


def test_an_ignored_class_is_no_label_out_of_range():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    model = kd.Distiller(student, teacher)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255))
    x, _ = toy.data()
    logs = model.fit(x, np.full((32, 6, 6), 255), verbose=0).history
    assert logs["student_loss"] == [0.0]
