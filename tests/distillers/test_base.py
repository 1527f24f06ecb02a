"""The training step of every distiller: what runs, how often, and what the loss adds up to."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller, tap, three_losses

# What runs, and how often.


def test_the_student_runs_once_per_step_with_three_taps():
    (x, y), (student, counter) = toy.vectors(), toy.counted(toy.mlp("student"))
    hints = [kd.losses.Hint(name, f"student/{name}") for name in ("hidden", "head")]
    losses = ["soft_targets", *hints]
    distiller(student, losses=losses, eager=False).fit(x, y, batch_size=8, verbose=0)
    assert int(counter.count) == 4


@pytest.mark.slow
def test_each_teacher_runs_once_per_training_step_and_never_otherwise():
    x, y = toy.vectors()
    (one, first), (two, second) = (toy.counted(toy.mlp(name, seed=1)) for name in ("one", "two"))
    model = distiller(teacher=[one, two], losses=["soft_targets", "outputs_mse"], eager=False)
    model.fit(x, y, batch_size=8, verbose=0, validation_data=(x, y))
    assert (int(first.count), int(second.count)) == (4, 4)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert (int(first.count), int(second.count)) == (4, 4)


def test_evaluate_changes_no_weight_and_is_deterministic():
    (x, y), student = toy.data(), toy.cnn("student", dropout=0.5)
    model = distiller(student, toy.cnn("teacher"))
    before = model.get_weights()
    first = model.evaluate(x, y, verbose=0, return_dict=True)
    assert first == model.evaluate(x, y, verbose=0, return_dict=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_moving_statistics_are_updated_once_per_step():
    (x, y), student, plain = toy.data(8), toy.cnn("student"), toy.cnn("student")
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")]
    distiller(student, toy.cnn("teacher", 6), losses).fit(x, y, batch_size=8, verbose=0)
    plain(x, training=True)
    np.testing.assert_allclose(
        student.get_layer("norm").moving_mean, plain.get_layer("norm").moving_mean, rtol=1e-5
    )


# What the loss adds up to.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("losses", "eager"), [([], False), ([kd.losses.SoftTargets(weight=0.0)], True)], ids=str
)
def test_without_distillation_the_weights_are_those_of_plain_training(losses, eager):
    (x, y), weights = toy.vectors(40), []
    for build in (
        lambda student: student,
        lambda student: kd.Distiller(student, toy.mlp("teacher"), losses, student_loss_weight=1.0),
    ):
        keras.utils.set_random_seed(0)
        hidden = layers.Dense(8, activation="relu", kernel_regularizer="l2")
        parts = [hidden, layers.BatchNormalization(), layers.Dropout(0.3), layers.Dense(4)]
        student = keras.Sequential([keras.Input((5,)), *parts])
        model = build(student)
        keras.utils.set_random_seed(7)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(40, seed=1).batch(16)
        model.compile("adam", toy.sparse_loss(), metrics=["accuracy"], run_eagerly=eager)
        model.fit(dataset, epochs=2, verbose=0)
        weights.append(student.get_weights())
    for plain, distilled in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, distilled)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    (x, y), student = toy.data(), toy.cnn("student", regularizer="l2")
    teacher = toy.cnn("teacher", seed=1)
    student.get_layer("norm").trainable = False
    losses = [kd.losses.SoftTargets(4.0, weight=0.5), kd.losses.Hint("features", "features", None)]
    model = distiller(student, teacher, losses, student_loss_weight=0.25)
    hint = np.mean((tap(teacher, "features", x) - tap(student, "features", x)) ** 2)
    soft = np.mean(losses[0](teacher(x), student(x)))
    hard, regularization = toy.sparse_loss()(y, student(x)), ops.sum(student.losses)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["hint"][0], hint, rtol=1e-5)
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["student_loss"][0], hard, rtol=1e-5)
    total = 0.25 * hard + 0.5 * soft + hint + regularization
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)


def test_the_validation_loss_is_that_of_the_plain_student_with_regularization():
    x, y = toy.data()
    plain = toy.cnn("student", regularizer=keras.regularizers.L2(0.5))
    plain.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    model = distiller(plain, toy.cnn("teacher"))
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], plain.evaluate(x, y, verbose=0), rtol=1e-6)
    assert found["loss"] > found["student_loss"] + 0.1


@pytest.mark.parametrize("labels", ["one output", "list of one", None])
def test_sample_weights_of_zero_give_a_loss_of_zero(labels):
    (x, y), zeros = toy.vectors(), np.zeros(32)
    model = distiller(losses=three_losses(), loss=toy.sparse_loss() if labels else None)
    before = model.get_weights()
    y, weights = {"one output": (y, zeros), "list of one": ([y], [zeros])}.get(
        labels, (None, zeros)
    )
    logs = model.fit(x, y, sample_weight=weights, verbose=0).history
    assert logs["loss"] == logs["soft_targets"] == logs["hint"] == [0.0]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_without_labels_the_loss_is_the_distillation_loss():
    x, _ = toy.vectors()
    model = distiller(rate=0.5, loss=None, metrics=None)
    logs = model.fit(x, epochs=3, verbose=0).history
    assert logs["loss"] == logs["soft_targets"]
    assert logs["loss"][2] < logs["loss"][0]
    assert "student_loss" not in logs


# Precision.


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_no_nan_with_a_confident_teacher(policy):
    (x, y), teacher = toy.vectors(), toy.mlp("teacher", seed=1)
    teacher.get_layer("head").kernel.assign(teacher.get_layer("head").kernel * 2e3)
    keras.config.set_dtype_policy(policy)
    try:
        model = distiller(toy.mlp("student"), teacher, three_losses())
    finally:
        keras.config.set_dtype_policy("float32")
    logs = model.fit(x, y, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.student.get_weights())
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")


def test_in_float64_no_part_of_the_step_rounds_to_float32():
    x = np.random.default_rng(0).normal(size=(16, 5))
    keras.config.set_dtype_policy("float64")
    try:
        student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
        soft = kd.losses.SoftTargets(2.0)
        options = {"loss": None, "metrics": None, "student_loss_weight": 0.0}
        model = distiller(student, teacher, soft, rate=1.0, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    before = student.get_layer("head").bias.numpy()
    own, target = (np.exp(m(x).numpy() / 2) for m in (student, teacher))
    own, target = (p / p.sum(axis=1, keepdims=True) for p in (own, target))
    model.fit(x, batch_size=16, verbose=0)
    moved = before - student.get_layer("head").bias.numpy()
    # The gradient of T² KL at the logits is T times the difference of the softened probabilities.
    np.testing.assert_allclose(moved, 2 * np.mean(own - target, axis=0), rtol=1e-11)


@pytest.mark.parametrize("eager", [True, False])
def test_float64_models_train_where_float32_is_the_default_type(eager):
    """Keras computes the compiled loss in the default type, and the other terms in float64."""

    def double(name, seed):
        keras.utils.set_random_seed(seed)
        stack = [keras.Input((5,), dtype="float64")]
        stack += [layers.Dense(4, "tanh", dtype="float64", kernel_regularizer="l2", name="hidden")]
        return keras.Sequential([*stack, layers.Dense(1, dtype="float64")], name=name)

    x, student, teacher = toy.vectors()[0], double("student", 0), double("teacher", 1)
    own, target = (np.asarray(model(x)) for model in (student, teacher))
    penalty = float(ops.sum(student.losses))
    model = distiller(
        student, teacher, kd.losses.OutputsMSE(), loss="mse", metrics=["mae"], eager=eager
    )
    logs = model.fit(x, x[:, :1], batch_size=32, verbose=0).history
    hard, soft = np.mean((own - x[:, :1]) ** 2), np.mean((own - target) ** 2)
    np.testing.assert_allclose(logs["outputs_mse"][0], soft, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"][0], 0.5 * hard + soft + penalty, rtol=1e-5)


# Losses, metrics and callbacks.


def test_any_loss_and_metric_that_keras_accepts():
    class Hard:
        def __call__(self, y_true, y_pred):
            return ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)

    (x, y), metric = toy.vectors(), keras.metrics.sparse_categorical_accuracy
    model = distiller(loss=Hard(), metrics=[functools.partial(metric)])
    assert model.fit(x, y, verbose=0).history["student_loss"][0] > 0


def test_evaluate_returns_each_number_once():
    (x, y), model = toy.vectors(), distiller()
    by_name = model.evaluate(x, y, verbose=0, return_dict=True)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert by_name == {"loss": loss, "accuracy": accuracy, "student_loss": loss}


@pytest.mark.slow
def test_the_callbacks_of_keras_work(tmp_path):
    (x, y), model = toy.vectors(), distiller(losses=three_losses())
    names = ["accuracy", "hint", "hint_2", "loss", "soft_targets", "student_loss"]
    callbacks = keras.callbacks
    history = model.fit(
        *(x, y),
        epochs=2,
        verbose=0,
        validation_data=(x, y),
        callbacks=[
            callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
            callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
            callbacks.EarlyStopping(patience=1, restore_best_weights=True),
            callbacks.TensorBoard(tmp_path / "logs"),
            callbacks.CSVLogger(tmp_path / "log.csv"),
            callbacks.ReduceLROnPlateau(patience=1),
        ],
    )
    validation = {"val_accuracy", "val_loss", "val_student_loss"}
    assert set(history.history) == {*names, *validation, "learning_rate"}
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert set(names) | validation <= set(header.split(","))
    assert list((tmp_path / "logs" / "train").iterdir())
    model.load_weights(tmp_path / "1.weights.h5")
    assert keras.models.load_model(tmp_path / "best.keras").student.name == "student"


# Invalid arguments and models.


def test_a_student_with_nothing_to_train_is_rejected():
    (x, y), student = toy.vectors(), toy.mlp("student")
    student.trainable = False
    with pytest.raises(ValueError, match="nothing to train"):
        distiller(student).fit(x, y, verbose=0)


def test_a_loss_that_relates_samples_rejects_batches_of_one():
    (x, y), model = toy.vectors(4), distiller(losses="similarity_preserving")
    with pytest.raises(ValueError, match=r"\['similarity_preserving'\] relate the samples"):
        model.fit(x, y, batch_size=1, verbose=0)


@pytest.mark.parametrize("value", [-1, float("nan"), "half"])
def test_an_invalid_weight_of_the_student_loss_is_rejected(value):
    message = "Distiller: `student_loss_weight` must be a finite number at least 0. Received"
    with pytest.raises(ValueError, match=message):
        distiller(student_loss_weight=value)


def test_a_way_to_handle_bad_batches_is_checked():
    with pytest.raises(ValueError, match="Distiller: `on_bad_batch` must be one of"):
        distiller(on_bad_batch="ignore")
    model = distiller(on_bad_batch="skip", eager=False)
    assert not model.jit_compile  # XLA drops assertions.
    with pytest.raises(ValueError, match="needs steps_per_execution=1"):
        model.compile("adam", steps_per_execution=2)


def test_new_objects_keep_the_precision_and_the_output_names_of_the_student():
    student = keras.Sequential([keras.Input((5,)), layers.Dense(4, name="head")])
    model = distiller(student)
    assert model.output_names == ["head"]
    assert model.dtype_policy is student.dtype_policy


def operations(model, data):
    """The number of operations of a traced step, without constants and reads."""
    model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
    model.fit(data, verbose=0)
    step = tf.function(model.train_step, autograph=False)  # As in `fit`.
    graph = step.get_concrete_function(next(iter(data))).graph
    definition = graph.as_graph_def()
    nested = [node for function in definition.library.function for node in function.node_def]
    free = {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp"}
    return sum(node.op not in free for node in [*definition.node, *nested])


@pytest.mark.slow
def test_the_step_of_a_cached_teacher_has_few_operations_more_than_that_of_the_student(tmp_path):
    """Small steps are bound by the number of operations, most of which are tiny."""
    data = tf.data.Dataset.from_tensor_slices(toy.vectors()).batch(32)
    alone = operations(toy.mlp("alone"), data)
    cache = kd.KnowledgeCache.build(toy.mlp("teacher", seed=1), data, tmp_path / "c", verbose=0)
    model = kd.Distiller(toy.mlp("student"), cache.teachers, kd.losses.SoftTargets())
    assert operations(model, cache.join(data)) - alone <= 42  # Of a student with 327: 369.
