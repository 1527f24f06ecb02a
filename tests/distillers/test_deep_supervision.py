"""`DeepSupervision`: what the loss adds up to, and a student without its exits."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy
from tests.distillers.models import tap


def frozen_norm(**kwargs):
    student = toy.cnn("student", **kwargs)
    student.get_layer("norm").trainable = False
    return student


def supervised(student, exits=("conv", "features"), losses=None, eager=True, **kwargs):
    model = kd.DeepSupervision(student, exits, losses, **kwargs)
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, toy.sparse_loss(), metrics=["accuracy"], run_eagerly=eager)
    return model


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_loss_is_the_sum_over_the_final_output_and_the_exits(activation):
    (x, y), student = toy.data(), frozen_norm(activation=activation, regularizer="l2")
    soft = kd.losses.SoftTargets(2.0, weight=0.3)
    model = kd.DeepSupervision(student, ["conv", "features"], soft, 0.9, 0.6)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], run_eagerly=True)
    outputs = student(x)
    final = ops.log(outputs) if activation else outputs
    exits = {name: layer(tap(student, name, x)) for name, layer in model.exits.items()}
    regularization = float(ops.sum(student.losses))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    hard = [float(toy.sparse_loss()(y, logits)) for logits in (final, *exits.values())]
    values = {name: np.mean(soft(final, logits)) for name, logits in exits.items()}
    np.testing.assert_allclose(logs["student_loss"][0], hard[0], rtol=1e-5)
    np.testing.assert_allclose(logs["exit_loss"][0], sum(hard[1:]), rtol=1e-5)
    for name, value in values.items():
        np.testing.assert_allclose(logs[f"{name}_soft_targets"][0], value, rtol=1e-4)
    total = 0.9 * hard[0] + 0.6 * sum(hard[1:]) + 0.3 * sum(values.values()) + regularization
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)
    correct = np.mean(np.argmax(outputs, -1) == y)
    np.testing.assert_allclose(logs["accuracy"][0], correct, rtol=1e-6)


def test_elements_without_a_label_count_in_the_distillation_alone():
    (x, _), student = toy.vectors(), toy.mlp("student", classes=3)
    y, known = toy.vectors(32, 3, seed=1)[0], np.arange(96).reshape(32, 3) % 5 > 0
    model = kd.DeepSupervision(student, ["hidden"])
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    logs = model.fit(x, np.where(known, y, np.nan), batch_size=32, verbose=0).history
    (layer,) = model.exits.values()
    final, early = np.asarray(student(x)), np.asarray(layer(tap(student, "hidden", x)))
    np.testing.assert_allclose(logs["student_loss"], [np.square(final - y)[known].mean()], 1e-5)
    np.testing.assert_allclose(logs["exit_loss"], [np.square(early - y)[known].mean()], 1e-5)
    np.testing.assert_allclose(logs["hidden_outputs_mse"], [np.square(final - early).mean()], 1e-5)


@pytest.mark.parametrize(
    ("end", "loss"),
    [
        (ops.softmax, keras.losses.CategoricalCrossentropy()),
        (ops.sigmoid, keras.losses.BinaryCrossentropy()),
    ],
    ids=["softmax", "sigmoid"],
)
def test_exits_have_the_hidden_activation_that_the_task_tells(end, loss):
    (x, y), plain = toy.vectors(), toy.mlp("plain")
    y = np.eye(4, dtype="float32")[y]
    hidden = layers.Lambda(end, name="end")(plain.outputs[0])
    student = keras.Model(plain.inputs, hidden, name="student")
    model = kd.DeepSupervision(student, ["hidden"], student_outputs="probabilities")
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    (layer,), soft = model.exits.values(), kd.losses.SoftTargets()
    logits = layer(tap(student, "hidden", x))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["exit_loss"][0], loss(y, end(logits)), rtol=1e-5)
    soft.set_task("labels" if end is ops.sigmoid else "classes")
    expected = np.mean(soft(plain(x), logits))
    np.testing.assert_allclose(logs["hidden_soft_targets"][0], expected, rtol=1e-4)


def test_the_final_output_gets_no_gradient_as_a_target():
    (x, y), student = toy.vectors(), toy.mlp("student")
    model = supervised(student, ["hidden"], student_loss_weight=0.0)
    before = student.get_layer("head").get_weights()
    logs = model.fit(x, y, verbose=0).history
    for old, new in zip(before, student.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert logs["hidden_soft_targets"][0] > 0


@pytest.mark.traced
def test_the_student_runs_once_per_step():
    (x, y), (student, counter) = toy.vectors(), toy.counted(toy.mlp("student"))
    model = supervised(student, ["student/hidden"], eager=False)
    model.fit(x, y, batch_size=8, verbose=0)
    assert int(counter.count) == 4


def test_a_hint_makes_one_layer_of_the_student_the_target_of_another():
    (x, y), student = toy.data(), frozen_norm()
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("features", "pool")]
    model = supervised(student, ["conv"], losses)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    assert list(model.projectors) == ["hint"]
    assert logs["hint"][0] > 0


def test_the_student_is_evaluated_and_saved_without_its_exits(tmp_path):
    (x, y), student = toy.vectors(), toy.mlp("student")
    paths = [weight.path for weight in student.weights]
    model = supervised(student, ["hidden"])
    logs = model.fit(x, y, verbose=0, validation_data=(x, y)).history
    assert [weight.path for weight in model.student.weights] == paths
    validation = {name for name in logs if name.startswith("val_")}
    assert validation == {"val_loss", "val_student_loss", "val_accuracy"}
    np.testing.assert_allclose(logs["val_loss"], toy.sparse_loss()(y, student(x)), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(x, verbose=0), student.predict(x, verbose=0))
    model.student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert loaded.count_params() == student.count_params()


def test_given_exits_unlabeled_samples_and_a_schedule():
    (x, y), student = toy.vectors(), toy.mlp("student")
    known, head = np.arange(32) % 3 > 0, keras.Sequential([layers.ReLU(), layers.Dense(4)])
    model = supervised(student, {"hidden": head})
    expected = toy.sparse_loss()(y[known], head(tap(student, "hidden", x))[known])
    halved = kd.callbacks.HyperparameterScheduler("exit_loss_weight", lambda epoch: 0.25)
    labels = np.where(known, y, kd.UNLABELED)
    logs = model.fit(x, labels, batch_size=32, verbose=0, callbacks=[halved]).history
    np.testing.assert_allclose(logs["exit_loss"][0], expected, rtol=1e-5)
    parts = logs["student_loss"][0] + 0.25 * logs["exit_loss"][0] + logs["hidden_soft_targets"][0]
    np.testing.assert_allclose(logs["loss"][0], parts, rtol=1e-5)


def test_a_loss_is_computed_at_the_exits_of_the_output_that_it_names():
    inputs = keras.Input((5,))
    hidden = layers.Dense(4, name="hidden")(inputs)
    heads = {name: layers.Dense(4, name=name)(hidden) for name in ("p", "q")}
    student, (x, y) = keras.Model(inputs, heads), toy.vectors()
    loss = kd.losses.DecoupledKD(student_tap="q")
    model = kd.DeepSupervision(student, ["hidden"], loss)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    labels = {"p": y, "q": y[::-1].copy()}
    logs = model.fit(x, labels, batch_size=32, shuffle=False, verbose=0).history
    exit_logits = model.exits["hidden.q"](tap(student, "hidden", x))
    expected = np.mean(loss(student(x)["q"], exit_logits, labels["q"]))
    np.testing.assert_allclose(logs["hidden_decoupled_kd"], [expected], rtol=1e-4)
    with pytest.raises(ValueError, match=r"must name one as its `student_tap`. Received: DIST"):
        kd.DeepSupervision(student, ["hidden"], "dist")


def test_a_loss_around_another_is_computed_at_each_exit():
    (x, y), student = toy.vectors(), toy.mlp("student")
    loss = kd.losses.LogitStandardization(kd.losses.SoftTargets(2.0), weight=3.0)
    model = supervised(student, ["hidden"], loss)
    final, exit_logits = student(x), model.exits["hidden"](tap(student, "hidden", x))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    expected = np.mean(loss(final, exit_logits))
    np.testing.assert_allclose(logs["hidden_logit_standardization"][0], expected, rtol=1e-4)
    assert float(model.hyperparameters["hidden_logit_standardization.temperature"]) == 2


def test_without_labels_the_exits_learn_from_the_final_output():
    x, _ = toy.vectors()
    model = kd.DeepSupervision(toy.mlp("student"), ["hidden"])
    model.compile("sgd", loss=None, run_eagerly=True)
    assert set(model.fit(x, verbose=0).history) == {"loss", "hidden_soft_targets"}


def test_a_student_that_labels_pixels():
    inputs = keras.Input((6, 6, 1))
    small = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="small")(inputs)
    outputs = layers.Conv2DTranspose(3, 2, strides=2, name="map")(small)
    model = supervised(keras.Model(inputs, outputs), ["small"])
    x, _ = toy.data()
    logs = model.fit(x, np.zeros((32, 6, 6), int), epochs=3, verbose=0).history
    assert logs["exit_loss"][2] < logs["exit_loss"][0]


@pytest.mark.slow
def test_a_loaded_distiller_continues_the_dropout_of_its_exits(tmp_path):
    x, y = toy.vectors()
    exits = {"hidden": keras.Sequential([layers.Dropout(0.5, seed=1), layers.Dense(4)])}
    model = supervised(toy.mlp("student"), exits)
    model.fit(x, y, batch_size=8, verbose=0)
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.run_eagerly = True
    expected = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, batch_size=8, shuffle=False, verbose=0).history == expected
