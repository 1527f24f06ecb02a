"""Samples without a label in the compiled loss and the metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller

LABELED = np.arange(32) % 3 > 0


def indices(y):
    return np.where(LABELED, y, kd.UNLABELED)


def rows(y, classes=4):
    one_hot = np.eye(classes, dtype="float32")[y]
    one_hot[~LABELED] = np.nan
    return one_hot


def per_sample(y, logits):
    return ops.sparse_categorical_crossentropy(y, logits, from_logits=True)


NAN = np.nan


def one_hot_loss():
    return keras.losses.CategoricalCrossentropy(from_logits=True)


# The compiled loss.


@pytest.mark.parametrize(
    ("loss", "activation", "form"),
    [
        (toy.sparse_loss(), None, indices),
        ("sparse_categorical_crossentropy", "softmax", indices),
        (per_sample, None, indices),
        (keras.losses.SparseCategoricalCrossentropy(True, kd.UNLABELED), None, indices),
        (keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), None, rows),
        (keras.losses.CategoricalFocalCrossentropy(from_logits=True), None, rows),
        ("kl_divergence", "softmax", rows),
        ("mse", None, rows),
        (toy.sparse_loss(), None, lambda y: indices(y)[:, None]),
    ],
)
def test_the_loss_is_the_mean_over_the_labeled_samples(loss, activation, form):
    (x, y), student = toy.vectors(), toy.mlp("student", activation=activation)
    labels, outputs = form(y), ops.convert_to_tensor(student(x))
    hard = np.mean(keras.losses.get(loss)(labels[LABELED], outputs[LABELED]))
    options = {"loss": loss, "metrics": [], "student_outputs": "auto" if activation else "logits"}
    model = distiller(student, None, kd.losses.SoftTargets(2.0, weight=0.7), **options)
    logits = ops.log(outputs) if activation else outputs
    soft = np.mean(kd.losses.SoftTargets(2.0)(model.teachers[0].model(x), logits))
    logs = model.fit(x, labels, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], hard, rtol=1e-5)
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"][0], 0.5 * hard + 0.7 * soft, rtol=1e-5)


@pytest.mark.slow
def test_the_gradient_of_the_loss_is_that_of_the_labeled_samples():
    (x, y), weights = toy.vectors(), []
    for labels, samples in ((indices(y), slice(None)), (y[LABELED], LABELED)):
        model = distiller(losses=[], student_loss_weight=1.0, rate=0.5)
        model.fit(x[samples], labels, batch_size=32, shuffle=False, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for masked, part in zip(*weights, strict=True):
        np.testing.assert_allclose(masked, part, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", [lambda y: np.full(32, kd.UNLABELED), lambda y: rows(y) * NAN])
def test_a_batch_without_labels_trains_on_the_teacher_alone(form):
    (x, y), weights = toy.vectors(), []
    labels = form(y)
    hard = toy.sparse_loss() if labels.ndim == 1 else one_hot_loss()
    for loss, given in ((hard, (x, labels)), (None, (x,))):
        model = distiller(loss=loss, metrics=["accuracy"] if loss else None)
        logs = model.fit(*given, batch_size=16, shuffle=False, verbose=0).history
        weights.append(model.get_weights())
        if loss:
            assert logs["student_loss"] == logs["accuracy"] == [0.0]
    for masked, alone in zip(*weights, strict=True):
        np.testing.assert_array_equal(masked, alone)


def test_pixels_without_a_label_are_omitted():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    x, _ = toy.data()
    y = np.random.default_rng(0).integers(-1, 3, (32, 6, 6))
    y[:5] = -1
    y[5:7] = 255
    known = (y >= 0) & (y < 3)
    logits = ops.convert_to_tensor(student(x))
    expected = np.mean(toy.sparse_loss()(y[known], logits[known]))
    correct = np.mean(np.argmax(logits, -1)[known] == y[known])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    metrics = ["accuracy", keras.metrics.MeanIoU(3, sparse_y_pred=False)]
    model = distiller(student, teacher, loss=loss, metrics=metrics)
    found = model.evaluate(x, np.where(y == 255, 0, y), verbose=0, return_dict=True)
    iou = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    iou.update_state(np.where(y == 255, 0, y)[y != -1], logits[y != -1])
    np.testing.assert_allclose(found["mean_io_u"], iou.result(), rtol=1e-6)
    model = distiller(student, teacher, loss=loss)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], expected, rtol=1e-5)
    # Unlike in Keras, the metrics do not count what the loss ignores.
    np.testing.assert_allclose(logs["accuracy"][0], correct, rtol=1e-5)


@pytest.mark.parametrize(("missing", "rank"), [(-1.0, 1), (-1.0, 2), (NAN, 1), (NAN, 2)])
def test_one_unit_with_a_binary_cross_entropy(missing, rank):
    (x, y), student = toy.vectors(classes=2), toy.mlp("student", classes=1)
    labels = np.where(LABELED, y, missing).astype("float32").reshape((32, 1)[:rank])
    hard = keras.losses.BinaryCrossentropy(from_logits=True)
    expected = hard(y[LABELED, None], ops.convert_to_tensor(student(x))[LABELED])
    metrics = [keras.metrics.BinaryAccuracy(threshold=0.0), "auc"]
    model = distiller(student, toy.mlp("teacher", classes=1), loss=hard, metrics=metrics)
    found = model.evaluate(x, labels, verbose=0, return_dict=True)
    part = model.evaluate(x[LABELED], labels[LABELED], verbose=0, return_dict=True)
    np.testing.assert_allclose(found["student_loss"], expected, rtol=1e-5)
    assert found == pytest.approx(part, rel=1e-5)


def test_minus_one_is_a_value_for_a_regression():
    (x, _), student = toy.vectors(), toy.mlp("student", classes=1)
    labels = np.where(LABELED, -1.0, NAN).astype("float32")
    teacher = toy.mlp("teacher", classes=1)
    model = distiller(student, teacher, "outputs_mse", loss="mse", metrics=["mae"])
    found = model.evaluate(x, labels, verbose=0, return_dict=True)
    outputs = np.ravel(student(x))[LABELED]
    np.testing.assert_allclose(found["student_loss"], np.mean((outputs + 1) ** 2), rtol=1e-5)
    np.testing.assert_allclose(found["mae"], np.mean(np.abs(outputs + 1)), rtol=1e-5)


def two_headed(name, seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5,))
    x = layers.Dense(6, activation="relu")(inputs)
    outputs = {"one": layers.Dense(4, name="one")(x), "two": layers.Dense(3, name="two")(x)}
    return keras.Model(inputs, outputs, name=name)


def test_each_of_several_outputs_omits_its_own_samples():
    (x, y), other = toy.vectors(), np.random.default_rng(3).integers(-1, 3, 32)
    soft = kd.losses.SoftTargets(teacher_tap="one", student_tap="one")
    model = kd.Distiller(two_headed("s"), two_headed("t", 1), soft)
    model.compile(
        "sgd",
        loss={"one": toy.sparse_loss(), "two": toy.sparse_loss()},
        loss_weights={"one": 1.0, "two": 0.25},
        metrics={"one": "accuracy", "two": ["accuracy"]},
        run_eagerly=True,
    )
    outputs, known = model.predict(x, verbose=0), other >= 0
    labels = {"one": indices(y), "two": other}
    found = model.evaluate(x, labels, batch_size=32, verbose=0, return_dict=True)
    one = toy.sparse_loss()(y[LABELED], outputs["one"][LABELED])
    two = toy.sparse_loss()(other[known], outputs["two"][known])
    np.testing.assert_allclose(found["loss"], one + 0.25 * two, rtol=1e-5)
    correct = np.argmax(outputs["two"], -1)[known] == other[known]
    np.testing.assert_allclose(found["two_accuracy"], np.mean(correct), rtol=1e-6)


def test_missing_labels_and_a_keras_mask_are_combined():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(inputs)
    student = keras.Model(inputs, layers.TimeDistributed(layers.Dense(4))(x))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 7, (32, 5)), rng.integers(-1, 4, (32, 5))
    model = distiller(student, keras.models.clone_model(student))
    known, logits = (x > 0) & (y >= 0), ops.convert_to_tensor(student(x))
    found = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    hard = toy.sparse_loss()(y[known], logits[known])
    np.testing.assert_allclose(found["student_loss"], hard, rtol=1e-5)
    correct = np.argmax(logits, -1)[known] == y[known]
    np.testing.assert_allclose(found["accuracy"], np.mean(correct), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_other_reductions_omit_unlabeled_samples_too(reduction):
    (x, y), student = toy.vectors(), toy.mlp("student")
    hard = keras.losses.SparseCategoricalCrossentropy(True, reduction=reduction)
    weights = np.linspace(0, 2, 32)
    expected = hard(y[LABELED], ops.convert_to_tensor(student(x))[LABELED], weights[LABELED])
    model = distiller(student, loss=hard)
    logs = model.fit(x, indices(y), 32, sample_weight=weights, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], expected, rtol=1e-5)


# Rows of which some elements are missing.


def multi(units=3, seed=0, share=0.4, low=0):
    """Inputs, labels that are 0 or 1 (or `low` and 1), and which of them are known."""
    x, rng = toy.vectors()[0], np.random.default_rng(seed)
    labels = rng.integers(0, 2, (32, units)).astype("float32")
    labels[labels == 0] = low
    known = rng.random((32, units)) > share
    known[::5] = False  # No element of these rows is known.
    return x, labels, known


def log_loss(y, logits):
    return np.logaddexp(0, logits) - y * logits


def squares(y, outputs):
    return (y - outputs) ** 2


def absolute(y, outputs):
    return np.abs(y - outputs)


@pytest.mark.traced
@pytest.mark.parametrize(
    ("mode", "loss", "metric", "values", "errors", "low"),
    [
        (
            "raise",
            keras.losses.BinaryCrossentropy(from_logits=True),
            keras.metrics.BinaryAccuracy(threshold=0.0),
            log_loss,
            lambda y, z: (z > 0) == y,
            0,
        ),
        ("skip", "mse", "mae", squares, absolute, -1),
        ("raise", "mae", keras.metrics.RootMeanSquaredError(), absolute, None, -1),
    ],
    ids=["labels", "targets", "other metric"],
)
def test_the_loss_is_the_mean_over_the_known_elements(mode, loss, metric, values, errors, low):
    (x, y, known), student = multi(low=low), toy.mlp("student", classes=3)
    given, z = np.where(known, y, NAN), np.asarray(student(x), "float64")
    model = distiller(
        student,
        toy.mlp("teacher", classes=3, units=6, seed=1),
        "outputs_mse",
        loss=loss,
        metrics=[metric],
        on_bad_batch=mode,
        eager=False,
    )
    found = model.evaluate(x, given, batch_size=8, verbose=0, return_dict=True)
    name = next(name for name in found if name not in ("loss", "student_loss"))
    measured = (
        np.sqrt(np.mean(squares(y, z)[known])) if errors is None else np.mean(errors(y, z)[known])
    )
    np.testing.assert_allclose(found["student_loss"], np.mean(values(y, z)[known]), rtol=1e-5)
    np.testing.assert_allclose(found[name], measured, rtol=1e-5)
    logs = model.fit(x, given, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], np.mean(values(y, z)[known]), rtol=1e-5)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert logs.get("skipped_batches", [0]) == [0]


def test_with_all_elements_known_loss_and_metrics_are_those_of_keras():
    (x, y, _), student = multi(), toy.mlp("student", classes=3, activation="sigmoid")
    weights = np.linspace(0.5, 2, 32)
    student.compile(loss="binary_crossentropy", metrics=["mae"], weighted_metrics=["mse"])
    expected = student.evaluate(
        x, y, batch_size=12, sample_weight=weights, verbose=0, return_dict=True
    )
    model = kd.Distiller(student, toy.mlp("t", classes=3, activation="sigmoid"), "outputs_mse")
    model.compile(loss="binary_crossentropy", metrics=["mae"], weighted_metrics=["mse"])
    found = model.evaluate(x, y, batch_size=12, sample_weight=weights, verbose=0, return_dict=True)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)


def test_elements_have_the_weights_of_their_samples():
    (x, y, known), student = multi(), toy.mlp("student", classes=3)
    weights, z = np.linspace(0, 2, 32), np.asarray(student(x), "float64")
    model = distiller(student, toy.mlp("t", classes=3), "outputs_mse", loss="mse", metrics=[])
    model.compile(loss="mse", weighted_metrics=["mae"])
    given = np.where(known, y, NAN)
    found = model.evaluate(
        x, given, batch_size=32, sample_weight=weights, verbose=0, return_dict=True
    )
    each = weights[:, None] * np.ones(3)
    np.testing.assert_allclose(
        found["student_loss"], (each * squares(y, z))[known].sum() / known.sum(), rtol=1e-5
    )
    weighted = np.average(absolute(y, z)[known], weights=each[known])
    np.testing.assert_allclose(found["mae"], weighted, rtol=1e-5)


@pytest.mark.traced
def test_missing_elements_of_pixels_are_omitted():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(2, 1)(inputs)) for _ in range(2))
    x, rng = toy.data()[0], np.random.default_rng(0)
    y, known = rng.normal(size=(32, 6, 6, 2)), rng.random((32, 6, 6, 2)) < 0.6
    model = distiller(student, teacher, "outputs_mse", loss="mse", metrics=["mae"], eager=False)
    z = np.asarray(student(x), "float64")
    logs = model.fit(x, np.where(known, y, NAN), batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["student_loss"][0], squares(y, z)[known].mean(), rtol=1e-5)


def test_metrics_without_a_loss_omit_missing_elements():
    (x, y, known), student = multi(low=-1), toy.mlp("student", classes=3)
    model = distiller(student, toy.mlp("t", classes=3), "outputs_mse", loss=None, metrics=["mae"])
    found = model.evaluate(x, np.where(known, y, NAN), verbose=0, return_dict=True)
    z = np.asarray(student(x), "float64")
    np.testing.assert_allclose(found["mae"], absolute(y, z)[known].mean(), rtol=1e-5)


def own_squares(y, outputs):
    return ops.mean(ops.square(y - outputs), axis=-1)


@pytest.mark.parametrize("loss", [own_squares, "cosine_similarity"])
@pytest.mark.parametrize("mode", ["raise", "skip"])
def test_other_losses_refuse_rows_that_are_known_in_part(loss, mode):
    (x, y, known), student = multi(), toy.mlp("student", classes=3)
    model = distiller(
        student, toy.mlp("t", classes=3), "outputs_mse", loss=loss, metrics=[], on_bad_batch=mode
    )
    given, before = np.where(known, y, NAN), model.get_weights()
    sentence = {"raise": "a row that is nan in part needs a loss", "skip": "batches were bad"}[mode]
    with pytest.raises(ValueError, match=f"(?i){sentence}"):
        model.fit(x, given, verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="(?i)a row that is nan in part needs a loss"):
        model.evaluate(x, given, verbose=0)
    rows = known.all(-1)
    logs = model.evaluate(x, np.where(rows[:, None], y, NAN), verbose=0, return_dict=True)
    expected = keras.losses.get(loss)(y[rows], ops.convert_to_tensor(student(x))[rows])
    np.testing.assert_allclose(logs["student_loss"], np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("missing", [NAN, -1.0])
def test_classes_that_are_known_in_part_are_refused_by_a_cross_entropy(missing):
    (x, y), student = toy.vectors(), toy.mlp("student")
    labels = rows(y)
    labels[LABELED, 0] = missing
    model = distiller(student, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="NaN or infinite values in its labels"):
        model.fit(x, labels, verbose=0)


@pytest.mark.traced
def test_other_metrics_refuse_rows_that_are_known_in_part():
    x, y, known = multi()
    model = distiller(
        toy.mlp("student", classes=3),
        toy.mlp("t", classes=3),
        "outputs_mse",
        loss="mse",
        metrics=["cosine_similarity"],
        eager=False,
    )
    with pytest.raises(
        ValueError, match="metric 'cosine_similarity' gives one value for a whole row"
    ):
        model.fit(x, np.where(known, y, NAN), verbose=0)


# Metrics.


def test_metrics_and_losses_are_those_of_the_labeled_samples():
    (x, y), weights = toy.vectors(), np.linspace(0.5, 2, 32)

    class Own(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(ops.cast(y_true, "float32"), sample_weight)

    def metrics():
        return [
            "accuracy",
            keras.metrics.SparseTopKCategoricalAccuracy(2),
            keras.metrics.SparseCategoricalCrossentropy(from_logits=True),
            per_sample,
            Own(name="own"),
        ]

    model, found = distiller(metrics=metrics(), weighted_metrics=metrics()), []
    for labels, part in ((indices(y), slice(None)), (y[LABELED], LABELED)):
        data = tf.data.Dataset.from_tensor_slices((x[part], labels, weights[part])).batch(7)
        found.append(model.evaluate(data, verbose=0, return_dict=True))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0]["accuracy"] != found[0]["weighted_accuracy"]
    logs = model.fit(x, indices(y), validation_data=(x, indices(y)), verbose=0).history
    expected = model.evaluate(x[LABELED], y[LABELED], verbose=0, return_dict=True)
    for name in ("accuracy", "loss", "student_loss", "own"):
        np.testing.assert_allclose(logs[f"val_{name}"][0], expected[name], rtol=1e-5)


@pytest.mark.slow
def test_metrics_of_one_hot_labels_omit_rows_of_nan():
    (x, y), metrics = toy.vectors(), keras.metrics
    labels = rows(y)
    model = distiller(
        toy.mlp("student", activation="softmax"),
        loss="categorical_crossentropy",
        metrics=[
            "accuracy",
            metrics.AUC(multi_label=True, num_labels=4),
            metrics.F1Score(average="macro"),
            metrics.Precision(top_k=1),
            metrics.CategoricalCrossentropy(),
            metrics.OneHotMeanIoU(4),
            metrics.KLDivergence(),
            metrics.CosineSimilarity(),
        ],
    )
    found = model.evaluate(x, labels, verbose=0, return_dict=True)
    part = model.evaluate(x[LABELED], labels[LABELED], verbose=0, return_dict=True)
    assert len(found) == 10
    assert found == pytest.approx(part, rel=1e-5)


# Losses and metrics that cannot omit samples.


def whole(y, logits):
    return ops.mean(per_sample(y, logits))


def test_a_loss_of_one_value_per_batch_rejects_a_partly_labeled_batch():
    (x, y), model = toy.vectors(), distiller(loss=whole)
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0
    with pytest.raises(ValueError, match="loss of the output 'head' gives one value for a whole"):
        model.fit(x, indices(y), verbose=0)
    with pytest.raises(ValueError, match="gives one value for a whole batch"):
        model.evaluate(x, indices(y), verbose=0)
    logs = model.fit(x, np.full(32, kd.UNLABELED), verbose=0).history
    assert logs["student_loss"] == [0.0]


@pytest.mark.traced
@pytest.mark.slow
def test_with_xla_such_a_loss_is_nan():
    (x, y), model = toy.vectors(), distiller(loss=whole, eager=False, jit_compile=True)
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0
    assert np.isnan(model.fit(x, indices(y), verbose=0).history["student_loss"][0])


@pytest.mark.traced
def test_a_metric_of_one_value_per_batch_rejects_a_partly_labeled_batch():
    (x, y), model = toy.vectors(), distiller(metrics=[whole], eager=False)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["whole"][0], logs["student_loss"][0], rtol=1e-5)
    with pytest.raises(ValueError, match="metric 'whole' gives one value for a whole batch"):
        model.fit(x, indices(y), verbose=0)


def test_a_loss_of_one_value_per_map_omits_whole_maps_only():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (keras.Model(inputs, layers.Conv2D(3, 1)(inputs)) for _ in range(2))
    x, _ = toy.data()
    y = np.random.default_rng(0).integers(0, 3, (32, 6, 6))
    y[~LABELED] = -1

    def a_map(y, logits):
        return ops.mean(per_sample(y, logits), axis=(1, 2))

    model = distiller(student, teacher, loss=a_map, metrics=[a_map])
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    expected = model.evaluate(x[LABELED], y[LABELED], verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    y[1, 2, 3] = -1
    with pytest.raises(ValueError, match="gives one value for a whole sample"):
        model.fit(x, y, verbose=0)


# Ways of running.


@pytest.mark.traced
@pytest.mark.slow
@pytest.mark.parametrize("jit", [False, True])
def test_the_compiled_step_omits_the_same_samples(jit):
    (x, y), found = toy.vectors(), []
    for arguments in ({}, {"eager": False, "jit_compile": jit}):
        model = distiller(**arguments)
        found.append(model.fit(x, indices(y), 8, shuffle=False, verbose=0).history)
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-4)


def test_mixed_precision_with_unlabeled_samples():
    x, y = toy.vectors()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = distiller()
    finally:
        keras.config.set_dtype_policy("float32")
    for labels in (indices(y), np.full(32, kd.UNLABELED)):
        logs = model.fit(x, labels, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("missing", [False, True])
def test_a_weight_per_sample_weighs_all_its_positions(missing):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2, 3, 4)).astype("float32"), rng.integers(0, 3, (6, 2, 3))
    weights = rng.uniform(0.5, 2, 6).astype("float32")
    net = keras.Sequential([keras.Input((2, 3, 4)), keras.layers.Dense(3)])
    log_p = np.asarray(keras.ops.log_softmax(net(x)), "float64")
    values = -np.take_along_axis(log_p, y[..., None], -1)[..., 0]
    hits = log_p.argmax(-1) == y
    known = np.ones(y.shape)
    if missing:
        known[0], known[1, 0] = 0, 0
    y = np.where(known, y, kd.UNLABELED)
    other = keras.models.clone_model(net)
    model = distiller(net, other, [], rate=0.0, weighted_metrics=["accuracy"], metrics=None)
    logs = model.fit(x, y, 6, sample_weight=weights, verbose=0).history
    each = weights[:, None, None] * known
    np.testing.assert_allclose(logs["student_loss"][0], (values * each).sum() / known.sum(), 1e-5)
    np.testing.assert_allclose(logs["accuracy"][0], (hits * each).sum() / each.sum(), 1e-5)


# Channels on the first axis.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["binary", "mse"])
def test_channels_first_elements_are_masked_and_weighted_per_position(name, weighted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 2, 5)).astype("float32")
    y = rng.integers(0, 2, (4, 2, 2, 5)).astype("float32")
    y[0], y[1, 1, 0, 3] = NAN, NAN
    weight = rng.uniform(0.5, 2, (4, 2, 5)).astype("float32") if weighted else None
    student, teacher = (
        keras.Sequential(
            [keras.Input((3, 2, 5)), layers.Conv2D(2, 1, data_format="channels_first")]
        )
        for _ in range(2)
    )
    z, known = student.predict(x, verbose=0), ~np.isnan(y)
    values = np.logaddexp(0, z) - y * z if name == "binary" else (z - y) ** 2
    weights = known if weight is None else known * weight[:, None]
    expected = np.nansum(values * weights) / known.sum()
    binary = keras.losses.BinaryCrossentropy(from_logits=True, axis=1)
    model = kd.Distiller(student, teacher, "outputs_mse")
    model.compile(keras.optimizers.SGD(0.0), binary if name == "binary" else "mse")
    history = model.fit(x, y, 4, sample_weight=weight, verbose=0).history
    np.testing.assert_allclose(history["student_loss"], [expected], rtol=1e-5)


def test_a_weight_per_position_fits_channels_first_labels_of_which_none_can_be_missing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3, 2, 5)).astype("float32"), rng.integers(0, 9, (4, 2, 2, 5))
    weight = rng.uniform(0.5, 2, (4, 2, 5)).astype("float32")
    student, teacher = (
        keras.Sequential(
            [keras.Input((3, 2, 5)), layers.Conv2D(2, 1, data_format="channels_first")]
        )
        for _ in range(2)
    )
    expected = np.mean((student.predict(x, verbose=0) - y) ** 2 * weight[:, None])
    model = kd.Distiller(student, teacher, "outputs_mse")
    model.compile(keras.optimizers.SGD(0.0), "mse", weighted_metrics=["mse"])
    history = model.fit(x, y, 4, sample_weight=weight, verbose=0).history
    np.testing.assert_allclose(history["student_loss"], [expected], rtol=1e-5)
    total = expected * weight.size / weight.sum()
    np.testing.assert_allclose(history["mse"], [total], rtol=1e-5)
