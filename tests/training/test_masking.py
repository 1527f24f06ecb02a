"""Samples without a label: what the loss, the metrics and the teachers make of them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy

LABELLED = np.arange(32) % 3 > 0


def some(y):
    return np.where(LABELLED, y, kd.UNLABELED)


def rows(y, classes=4):
    one_hot = np.eye(classes, dtype="float32")[y]
    one_hot[~LABELLED] = np.nan
    return one_hot


def per_sample(y, logits):
    return ops.sparse_categorical_crossentropy(y, logits, from_logits=True)


def still(student):
    """The student with a batch norm that takes each sample alone, so that parts can be compared."""
    student.get_layer("norm").trainable = False
    return student


def distiller(student, loss=None, losses=None, **kwargs):
    model = kd.Distiller(student, toy.cnn("teacher", 6, seed=1), losses)
    model.compile(keras.optimizers.SGD(0.1), loss or toy.sparse_loss(), **kwargs)
    return model


# The loss on the labels.


@pytest.mark.parametrize(
    ("loss", "activation", "form"),
    [
        (toy.sparse_loss(), None, some),
        ("sparse_categorical_crossentropy", "softmax", some),
        (per_sample, None, some),
        (keras.losses.SparseCategoricalCrossentropy(True, ignore_class=kd.UNLABELED), None, some),
        (keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), None, rows),
        (keras.losses.CategoricalFocalCrossentropy(from_logits=True), None, rows),
        ("kl_divergence", "softmax", rows),
        ("mse", None, rows),
        (toy.sparse_loss(), None, lambda y: some(y)[:, None]),
    ],
)
def test_a_half_labelled_batch_gives_the_sum_of_its_parts(loss, activation, form):
    x, y = toy.data()
    student, teacher = (
        still(toy.cnn("student", activation=activation)),
        toy.cnn("teacher", 6, seed=1),
    )
    labels = form(y)
    predictions = ops.convert_to_tensor(student(x))
    function = keras.losses.get(loss)
    values = function(labels[LABELLED], predictions[LABELLED])
    model = distiller(student, loss, kd.losses.SoftTargets(2.0, weight=0.7))
    logs = model.fit(x, labels, batch_size=32, verbose=0).history
    logits = ops.log(predictions) if activation else predictions
    soft = np.mean(kd.losses.SoftTargets(2.0)(teacher(x), logits))
    np.testing.assert_allclose(logs["student_loss"][0], np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"][0], 0.5 * np.mean(values) + 0.7 * soft, rtol=1e-5)


def test_the_gradient_is_that_of_the_labelled_part_and_of_all_soft_targets():
    x, y = toy.data()
    weights = []
    for labels, samples in ((some(y), slice(None)), (y[LABELLED], LABELLED)):
        student = still(toy.cnn("student"))
        model = kd.Distiller(student, toy.cnn("teacher"), losses=[], student_loss_weight=1.0)
        model.compile(keras.optimizers.SGD(0.5), toy.sparse_loss())
        model.fit(x[samples], labels, batch_size=32, shuffle=False, epochs=3, verbose=0)
        weights.append(student.get_weights())
    for ours, part in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, part, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", [lambda y: np.full(32, kd.UNLABELED), lambda y: rows(y) * np.nan])
def test_a_batch_with_no_labels_at_all_is_taught_by_the_teacher_alone(form):
    x, y = toy.data()
    labels = form(y)
    hard = toy.sparse_loss() if labels.ndim == 1 else keras.losses.CategoricalCrossentropy(True)
    weights = []
    for loss, args in ((hard, (x, labels)), (None, (x,))):
        model = kd.Distiller(toy.cnn("student"), toy.cnn("teacher", seed=1))
        model.compile("adam", loss, metrics=["accuracy"] if loss else None)
        logs = model.fit(*args, batch_size=8, shuffle=False, epochs=2, verbose=0).history
        weights.append(model.get_weights())
        if loss:
            assert logs["student_loss"] == logs["accuracy"] == [0.0, 0.0]
    for ours, alone in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, alone)


def test_a_pixel_without_a_label_is_left_out():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    x, _ = toy.data()
    y = np.random.default_rng(0).integers(-1, 3, (32, 6, 6))
    y[:5] = -1
    y[5:7] = 255
    known = (y >= 0) & (y < 3)
    logits = ops.convert_to_tensor(student(x))
    expected = np.mean(toy.sparse_loss()(y[known], logits[known]))
    right = np.mean(np.argmax(logits, -1)[y != -1] == y[y != -1])
    model = kd.Distiller(student, teacher)
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    model.compile("sgd", loss, metrics=["accuracy", keras.metrics.MeanIoU(3, sparse_y_pred=False)])
    got = model.evaluate(x, np.where(y == 255, 0, y), verbose=0, return_dict=True)
    iou = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    iou.update_state(np.where(y == 255, 0, y)[y != -1], logits[y != -1])
    np.testing.assert_allclose(got["mean_io_u"], iou.result(), rtol=1e-6)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], expected, rtol=1e-5)
    # As in Keras, `ignore_class` is for the loss alone.
    np.testing.assert_allclose(logs["accuracy"][0], right, rtol=1e-5)


@pytest.mark.parametrize("missing", [-1.0, np.nan])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_single_output_with_a_binary_cross_entropy(missing, rank):
    x, y = toy.data(classes=2)
    labels = np.where(LABELLED, y, missing).astype("float32")
    student = still(toy.cnn("student", classes=1))
    hard = keras.losses.BinaryCrossentropy(from_logits=True)
    expected = hard(y[LABELLED, None], ops.convert_to_tensor(student(x))[LABELLED])
    model = kd.Distiller(student, toy.cnn("teacher", classes=1))
    model.compile("sgd", hard, metrics=[keras.metrics.BinaryAccuracy(threshold=0.0), "auc"])
    labels = labels.reshape((32, 1)[:rank])
    got = model.evaluate(x, labels, verbose=0, return_dict=True)
    part = model.evaluate(x[LABELLED], labels[LABELLED], verbose=0, return_dict=True)
    np.testing.assert_allclose(got["student_loss"], expected, rtol=1e-5)
    assert got == pytest.approx(part, rel=1e-5)


def test_minus_one_is_a_number_for_a_regression_and_nan_is_none():
    x, _ = toy.data()
    student = still(toy.cnn("student", classes=1))
    labels = np.where(LABELLED, -1.0, np.nan).astype("float32")
    model = kd.Distiller(student, toy.cnn("teacher", classes=1), kd.losses.LogitsMSE())
    model.compile("sgd", "mse", metrics=["mae"])
    got = model.evaluate(x, labels, verbose=0, return_dict=True)
    answers = np.ravel(student(x))[LABELLED]
    np.testing.assert_allclose(got["student_loss"], np.mean((answers + 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(got["mae"], np.mean(np.abs(answers + 1)), rtol=1e-5)


def two_headed(name, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 1))
    x = layers.Dense(6, activation="relu")(layers.Flatten()(inputs))
    return keras.Model(
        inputs,
        {"one": layers.Dense(4, name="one")(x), "two": layers.Dense(3, name="two")(x)},
        name=name,
    )


def test_each_of_several_outputs_skips_its_own_samples():
    x, y = toy.data()
    other = np.random.default_rng(3).integers(-1, 3, 32)
    soft = kd.losses.SoftTargets(teacher_tap="one", student_tap="one")
    model = kd.Distiller(two_headed("s"), two_headed("t", 1), soft)
    model.compile(
        "sgd",
        loss={"one": toy.sparse_loss(), "two": toy.sparse_loss()},
        loss_weights={"one": 1.0, "two": 0.25},
        metrics={"one": "accuracy", "two": ["accuracy"]},
    )
    answers = model.predict(x, verbose=0)
    got = model.evaluate(
        x, {"one": some(y), "two": other}, batch_size=32, verbose=0, return_dict=True
    )
    known = other >= 0
    one = toy.sparse_loss()(y[LABELLED], answers["one"][LABELLED])
    two = toy.sparse_loss()(other[known], answers["two"][known])
    np.testing.assert_allclose(got["loss"], one + 0.25 * two, rtol=1e-5)
    right = np.argmax(answers["two"], -1)[known] == other[known]
    np.testing.assert_allclose(got["two_accuracy"], np.mean(right), rtol=1e-6)


def test_a_masked_sequence_with_labels_missing():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(inputs)
    student = keras.Model(inputs, layers.TimeDistributed(layers.Dense(4))(x))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (32, 5)), rng.integers(-1, 4, (32, 5))
    model = kd.Distiller(student, keras.models.clone_model(student))
    model.compile("sgd", toy.sparse_loss(), metrics=["accuracy"])
    known, logits = (x > 0) & (y >= 0), ops.convert_to_tensor(student(x))
    got = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    np.testing.assert_allclose(
        got["student_loss"], toy.sparse_loss()(y[known], logits[known]), rtol=1e-5
    )
    right = np.argmax(logits, -1)[known] == y[known]
    np.testing.assert_allclose(got["accuracy"], np.mean(right), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_other_reductions_of_keras_leave_unlabelled_samples_out_too(reduction):
    (x, y), student = toy.data(), still(toy.cnn("student"))
    hard = keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction)
    weights = np.linspace(0, 2, 32)
    expected = hard(y[LABELLED], ops.convert_to_tensor(student(x))[LABELLED], weights[LABELLED])
    logs = distiller(student, hard).fit(x, some(y), 32, sample_weight=weights, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], expected, rtol=1e-5)


# Metrics.


def test_metrics_and_losses_are_those_of_the_labelled_samples_alone():
    x, y = toy.data()
    weights = np.linspace(0.5, 2, 32)

    class Mine(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(ops.cast(y_true, "float32"), sample_weight)

    metrics = lambda: [  # noqa: E731
        "accuracy",
        keras.metrics.SparseTopKCategoricalAccuracy(2),
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
        per_sample,
        Mine(name="mine"),
    ]
    model = distiller(toy.cnn("student"), metrics=metrics(), weighted_metrics=metrics())
    found = []
    for labels, part in ((some(y), slice(None)), (y[LABELLED], LABELLED)):
        data = tf.data.Dataset.from_tensor_slices((x[part], labels, weights[part])).batch(7)
        found.append(model.evaluate(data, verbose=0, return_dict=True))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["accuracy"] != found[0]["weighted_accuracy"]
    logs = model.fit(x, some(y), validation_data=(x, some(y)), verbose=0).history
    expected = model.evaluate(x[LABELLED], y[LABELLED], verbose=0, return_dict=True)
    for name in ("accuracy", "loss", "student_loss", "mine"):
        np.testing.assert_allclose(logs[f"val_{name}"][0], expected[name], rtol=1e-5)


@pytest.mark.parametrize(
    "metric",
    [
        lambda: "accuracy",
        lambda: keras.metrics.AUC(multi_label=True, num_labels=4),
        lambda: keras.metrics.F1Score(average="macro"),
        lambda: keras.metrics.Precision(top_k=1),
        keras.metrics.CategoricalCrossentropy,
        lambda: keras.metrics.OneHotMeanIoU(4),
        keras.metrics.KLDivergence,
        keras.metrics.CosineSimilarity,
    ],
)
def test_metrics_of_one_hot_labels_skip_rows_of_nan(metric):
    x, y = toy.data()
    labels = rows(y)
    model = kd.Distiller(toy.cnn("student", activation="softmax"), toy.cnn("teacher"))
    model.compile("sgd", "categorical_crossentropy", metrics=[metric()])
    got = model.evaluate(x, labels, verbose=0, return_dict=True)
    part = model.evaluate(x[LABELLED], labels[LABELLED], verbose=0, return_dict=True)
    assert got == pytest.approx(part, rel=1e-5)


# What cannot leave out samples.


def whole(y, logits):
    return ops.mean(per_sample(y, logits))


def test_a_loss_that_gives_one_value_for_the_batch_refuses_to_leave_out_samples():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), whole)
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0
    with pytest.raises(ValueError, match="loss of the output 'logits' gives one value for a whole"):
        model.fit(x, some(y), verbose=0)
    with pytest.raises(ValueError, match="gives one value for a whole batch"):
        model.evaluate(x, some(y), verbose=0)
    logs = model.fit(x, np.full(32, kd.UNLABELED), verbose=0).history
    assert logs["student_loss"] == [0.0]


def test_where_xla_drops_the_check_such_a_loss_is_nan_and_no_wrong_number():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), whole, jit_compile=True)
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0
    assert np.isnan(model.fit(x, some(y), verbose=0).history["student_loss"][0])


def test_a_metric_that_gives_one_value_for_the_batch_refuses_to_leave_out_samples():
    x, y = toy.data()
    model = distiller(toy.cnn("student"), metrics=[whole])
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["whole"][0], logs["student_loss"][0], rtol=1e-5)
    with pytest.raises(ValueError, match="metric 'whole' gives one value for a whole batch"):
        model.fit(x, some(y), verbose=0)


def test_a_loss_that_gives_one_value_for_a_map_leaves_out_whole_maps_only():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    x, _ = toy.data()
    y = np.random.default_rng(0).integers(0, 3, (32, 6, 6))
    y[~LABELLED] = -1

    def a_map(y, logits):
        return ops.mean(per_sample(y, logits), axis=(1, 2))

    model = kd.Distiller(student, teacher)
    model.compile("sgd", a_map, metrics=[a_map])
    got = model.evaluate(x, y, verbose=0, return_dict=True)
    expected = model.evaluate(x[LABELLED], y[LABELLED], verbose=0, return_dict=True)
    assert got == pytest.approx(expected, rel=1e-5)
    y[1, 2, 3] = -1
    with pytest.raises(ValueError, match="gives one value for a whole sample"):
        model.fit(x, y, verbose=0)


# Weights.


@pytest.mark.parametrize(
    ("kind", "form", "unlabelled"),
    [("arrays", rows, None), ("dataset", some, None), ("dataset", rows, 0.25)],
)
def test_class_weights_weigh_labelled_samples_and_unlabelled_ones_weigh_one(kind, form, unlabelled):
    x, y = toy.data()
    class_weight = {0: 3.0, 1: 2.0, 3: 0.5}
    if unlabelled:
        class_weight[kd.UNLABELED] = unlabelled
    weights = np.where(LABELLED, np.array([3.0, 2.0, 1.0, 0.5])[y], unlabelled or 1.0)
    loss = toy.sparse_loss() if form is some else keras.losses.CategoricalCrossentropy(True)
    logs = []
    for kwargs in ({"class_weight": class_weight}, {"sample_weight": weights}):
        model = distiller(toy.cnn("student"), loss, weighted_metrics=["accuracy"])
        if kind == "dataset" and "class_weight" in kwargs:
            data = tf.data.Dataset.from_tensor_slices((x, form(y))).batch(8)
            logs.append(model.fit(data, **kwargs, verbose=0).history)
        else:
            logs.append(model.fit(x, form(y), 8, shuffle=False, **kwargs, verbose=0).history)
    for name in logs[0]:
        np.testing.assert_allclose(logs[0][name], logs[1][name], rtol=1e-6)


def test_class_weights_change_between_two_fits():
    x, y = toy.data()
    model = kd.Distiller(still(toy.cnn("student")), toy.cnn("teacher", seed=1))
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
    one = model.fit(x, y, verbose=0, class_weight={0: 1.0}).history["loss"][0]
    double = model.fit(x, y, verbose=0, class_weight=dict.fromkeys(range(4), 2.0)).history["loss"][
        0
    ]
    again = model.fit(x, y, verbose=0).history["loss"][0]
    np.testing.assert_allclose([double, again], [2 * one, one], rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"class_weight": {7: 1.0}}, "the student's classes are 0 to 3"),
        ({"class_weight": {0: 1.0}, "sample_weight": np.ones(32)}, "either `class_weight` or"),
    ],
)
def test_wrong_class_weights_are_refused(given, sentence):
    x, y = toy.data()
    with pytest.raises(ValueError, match=sentence):
        distiller(toy.cnn("student")).fit(x, y, verbose=0, **given)


# The distillation losses.


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("decoupled_kd", some),
        ("decoupled_kd", rows),
        ("normalized_kd", rows),
        ("soft_targets", some),
    ],
)
def test_a_loss_that_uses_labels_takes_the_teachers_class_where_there_is_none(name, form):
    x, y = toy.data()
    student, teacher = still(toy.cnn("student")), toy.cnn("teacher", 6, seed=1)
    logits = teacher(x)
    filled = np.where(LABELLED, y, np.argmax(logits, -1))
    expected = np.mean(kd.losses.get(name)(logits, student(x), filled))
    hard = toy.sparse_loss() if form is some else keras.losses.CategoricalCrossentropy(True)
    logs = distiller(student, hard, name).fit(x, form(y), batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs[name][0], expected, rtol=1e-5)


@pytest.mark.parametrize("form", [some, rows])
def test_teachers_weighed_by_labels_are_weighed_by_entropy_where_there_is_none(form):
    x, y = toy.data()
    teachers = [toy.cnn(f"t{i}", 6, seed=i) for i in (1, 2)]
    teacher_outputs = ops.stack([teacher(x) for teacher in teachers])
    student = still(toy.cnn("student"))
    values = ops.stack([kd.losses.SoftTargets()(logits, student(x)) for logits in teacher_outputs])
    by_label, alone = (
        kd.weighting.CrossEntropy()(teacher_outputs, y),
        kd.weighting.Entropy()(teacher_outputs),
    )
    weights = np.where(LABELLED, by_label, alone)
    model = kd.Distiller(student, teachers, weighting=kd.weighting.CrossEntropy())
    hard = toy.sparse_loss() if form is some else keras.losses.CategoricalCrossentropy(True)
    model.compile("sgd", hard)
    logs = model.fit(x, form(y), batch_size=32, verbose=0).history
    np.testing.assert_allclose(
        logs["soft_targets"][0], np.mean(np.sum(weights * values, 0)), rtol=1e-5
    )


# Ways of running.


@pytest.mark.parametrize(
    "how", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}], ids=str
)
def test_every_way_of_running_leaves_the_same_samples_out(how):
    x, y = toy.data()
    found = []
    for kwargs in ({}, how):
        model = distiller(toy.cnn("student"), metrics=["accuracy"], **kwargs)
        found.append(model.fit(x, some(y), 8, shuffle=False, verbose=0).history)
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-4)


def test_mixed_precision_with_unlabelled_samples():
    x, y = toy.data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = distiller(toy.cnn("student"), metrics=["accuracy"])
    finally:
        keras.config.set_dtype_policy("float32")
    for labels in (some(y), np.full(32, kd.UNLABELED)):
        logs = model.fit(x, labels, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_kd as kd
from tests import toy

x, y = toy.data()
y[np.arange(32) % 8 < 3] = kd.UNLABELED  # Of 8, the first replica gets 1 label and the other 4.
y[16:20] = kd.UNLABELED  # One replica has none at all.
y[24:] = kd.UNLABELED  # None has one.

def train(strategy):
    with strategy.scope():
        student = toy.cnn("student", regularizer="l2")
        student.get_layer("norm").trainable = False
        model = kd.Distiller(student, toy.cnn("teacher", 6, seed=1))
        model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((x, y, np.linspace(0, 2, 32))).batch(8)
    history = model.fit(data, epochs=2, verbose=0, validation_data=data).history
    return model.get_weights(), history

ones, one = train(tf.distribute.get_strategy())
twos, two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print("difference", max(float(np.max(np.abs(a - b))) for a, b in zip(ones, twos)))
print("history", float(np.max([np.abs(np.subtract(one[name], two[name])) for name in one])))
"""


def test_two_replicas_with_unequal_numbers_of_labels_give_the_weights_of_one_device():
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = dict(line.split() for line in result.stdout.splitlines() if len(line.split()) == 2)
    assert float(found["difference"]) < 1e-5
    assert float(found["history"]) < 1e-5
