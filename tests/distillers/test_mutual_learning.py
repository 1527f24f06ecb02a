"""`MutualLearning`: students that are each other's teachers, their metrics, and the best one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy


def students(number=2):
    return [toy.mlp(name, units=6 + i, seed=i) for i, name in enumerate("abc"[:number])]


def mutual(models, losses=None, eager=True, metrics=("accuracy",), **kwargs):
    model = kd.MutualLearning(models, losses, **kwargs)
    optimizer = keras.optimizers.SGD(0.1)
    model.compile(optimizer, toy.sparse_loss(), metrics=list(metrics), run_eagerly=eager)
    return model


def fit(model, *data, **kwargs):
    return model.fit(*data, **{"batch_size": 32, "verbose": 0, **kwargs}).history


@pytest.mark.parametrize("number", [2, 3])
def test_the_loss_is_the_sum_over_the_students_of_their_parts(number):
    x, y = toy.data()
    models = [toy.cnn(name, seed=i, regularizer="l2") for i, name in enumerate("abc"[:number])]
    for student in models:
        student.get_layer("norm").trainable = False
    soft = kd.losses.SoftTargets(2.0, weight=0.5)
    model = mutual(models, soft, student_loss_weight=0.7)
    outputs = [student(x) for student in models]
    total = sum(float(ops.sum(student.losses)) for student in models)
    logs = fit(model, x, y)
    for i, student in enumerate(models):
        peers = [np.mean(soft(outputs[j], outputs[i])) for j in range(number) if j != i]
        hard = float(toy.sparse_loss()(y, outputs[i]))
        correct = np.mean(np.argmax(outputs[i], -1) == y)
        np.testing.assert_allclose(logs[f"{student.name}_soft_targets"][0], np.mean(peers), 1e-5)
        np.testing.assert_allclose(logs[f"{student.name}_loss"][0], hard, 1e-5)
        np.testing.assert_allclose(logs[f"{student.name}_accuracy"][0], correct, 1e-5)
        total += 0.7 * hard + 0.5 * np.mean(peers)
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)


def test_elements_without_a_label_count_in_the_distillation_alone():
    (x, _), models = toy.vectors(), [toy.mlp(n, classes=3, seed=i) for i, n in enumerate("ab")]
    y = (np.arange(96).reshape(32, 3) % 2).astype("float32")
    known = np.arange(96).reshape(32, 3) % 5 > 0
    model = kd.MutualLearning(models)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    logs = fit(model, x, np.where(known, y, np.nan))
    soft, outputs = kd.losses.SoftTargets(activation="sigmoid"), [m(x) for m in models]
    for i, student in enumerate(models):
        z = np.asarray(outputs[i], "float64")
        hard = (np.logaddexp(0, z) - y * z)[known].mean()
        np.testing.assert_allclose(logs[f"{student.name}_loss"], [hard], rtol=1e-5)
        expected = np.mean(soft(outputs[1 - i], outputs[i]))
        np.testing.assert_allclose(logs[f"{student.name}_soft_targets"], [expected], rtol=1e-5)


@pytest.mark.parametrize("eager", [True, False])
def test_the_loss_of_each_student_is_the_mean_over_the_labeled_samples(eager):
    """In Keras, the batches of a compiled step have equal weights, whatever their size."""
    (x, y), models = toy.vectors(20), students()
    y[[3, 17, 18]] = kd.UNLABELED
    known = y != kd.UNLABELED
    model = kd.MutualLearning(models)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=eager)
    logs = fit(model, x, y, batch_size=16, shuffle=False, validation_data=(x, y))
    for student in models:
        hard = toy.sparse_loss()(y[known], ops.convert_to_tensor(student(x))[known])
        np.testing.assert_allclose(logs[f"{student.name}_loss"][0], hard, rtol=1e-5)
        np.testing.assert_allclose(logs[f"val_{student.name}_loss"][0], hard, rtol=1e-5)


@pytest.mark.slow
def test_a_student_gets_only_the_gradient_of_its_own_part():
    (x, y), models = toy.vectors(), students()
    fit(mutual(models, kd.losses.SoftTargets(2.0)), x, y)
    for i, after in enumerate(models):
        one, other = students()[i], students()[1 - i]
        alone = kd.Distiller(one, other, kd.losses.SoftTargets(2.0), student_loss_weight=1.0)
        alone.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), run_eagerly=True)
        fit(alone, x, y)
        for mine, expected in zip(after.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.traced
@pytest.mark.slow
def test_each_student_runs_once_per_training_and_validation_step():
    x, y = toy.vectors()
    counted = [toy.counted(student) for student in students()]
    model = mutual(
        [student for student, _ in counted], ["soft_targets", "outputs_mse"], eager=False
    )
    fit(model, x, y, batch_size=8)
    assert [int(counter.count) for _, counter in counted] == [4, 4]
    model.evaluate(x, y, batch_size=32, verbose=0)
    assert [int(counter.count) for _, counter in counted] == [5, 5]


def test_students_without_labels_are_trained_on_each_other():
    (x, _), model = toy.vectors(), kd.MutualLearning(students())
    model.compile(keras.optimizers.SGD(0.5), loss=None, run_eagerly=True)
    logs = fit(model, x, epochs=3)
    assert logs["loss"][2] < logs["loss"][0]


def test_an_unlabeled_sample_counts_only_in_the_distillation_loss():
    (x, y), models = toy.vectors(), students()
    known, outputs = np.arange(32) % 3 > 0, [student(x) for student in models]
    logs = fit(mutual(models), x, np.where(known, y, kd.UNLABELED))
    hard = toy.sparse_loss()(y[known], ops.convert_to_tensor(outputs[0])[known])
    np.testing.assert_allclose(logs["a_loss"][0], hard, rtol=1e-5)
    soft = np.mean(kd.losses.SoftTargets()(outputs[1], outputs[0]))
    np.testing.assert_allclose(logs["a_soft_targets"][0], soft, rtol=1e-5)
    correct = np.mean((np.argmax(outputs[0], -1) == y)[known])
    np.testing.assert_allclose(logs["a_accuracy"][0], correct, rtol=1e-5)


def test_subclassed_students():
    class Net(keras.Model):
        def __init__(self, units, name):
            super().__init__(name=name)
            self.hidden = layers.Dense(units, activation="relu", name="hidden")
            self.head = layers.Dense(4, name="head")

        def call(self, x):
            return self.head(self.hidden(x))

    (x, y), models = toy.vectors(12), [Net(8, "one"), Net(6, "two")]
    for student in models:
        student(x)
    logs = fit(mutual(models, kd.losses.Hint("hidden", "hidden")), x, y, epochs=3)
    assert logs["one_loss"][-1] < logs["one_loss"][0]
    assert logs["two_hint"][-1] > 0


def test_sample_weights_metric_objects_and_schedules_apply_to_each_student():
    (x, y), model = toy.vectors(), kd.MutualLearning(students())
    metric = keras.metrics.SparseCategoricalAccuracy(name="correct")
    weighted = {"metrics": [metric], "weighted_metrics": ["accuracy"]}
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True, **weighted)
    cooling = kd.callbacks.TemperatureScheduler(lambda epoch: 4.0 - epoch)
    logs = fit(model, x, y, sample_weight=np.zeros(32), epochs=2, callbacks=[cooling])
    assert logs["loss"] == logs["a_soft_targets"] == logs["b_accuracy"] == [0.0, 0.0]
    assert logs["a_soft_targets.temperature"] == logs["b_soft_targets.temperature"] == [4.0, 3.0]
    assert logs["a_correct"] != logs["b_correct"]


def test_sample_weights_by_student_weigh_the_losses_of_that_student():
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    (x, y), model = toy.vectors(), mutual(students(), losses)
    logs = fit(model, x, y, sample_weight={"a": np.zeros(32), "b": np.ones(32)})
    assert logs["a_soft_targets"] == logs["a_hint"] == logs["a_loss"] == [0.0]
    assert min(*logs["b_soft_targets"], *logs["b_hint"], *logs["b_loss"]) > 0


@pytest.fixture(scope="module")
def trained():
    (x, y), model = toy.vectors(), mutual(students(3))
    fit(model, x, y, batch_size=8)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_student_has_the_best_metric(trained, metric):
    (x, y), values = toy.vectors(), []
    for student in trained.students:
        student.compile(loss=toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True)
        values.append(student.evaluate(x, y, verbose=0, return_dict=True)[metric])
    lowest, highest = np.argmin(values), np.argmax(values)
    best, worst = (lowest, highest) if metric == "loss" else (highest, lowest)
    assert trained.best(x, y, metric=metric) is trained.students[best]
    mode = "max" if metric == "loss" else "min"
    assert trained.best(x, y, metric=metric, mode=mode) is trained.students[worst]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"metric": "auc"}, "no metric 'auc' of each student; there are a_accuracy"),
        ({"mode": "up"}, "`mode` must be 'max' or 'min'. Received: mode='up'"),
    ],
)
def test_an_unknown_metric_or_mode_is_rejected(trained, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        trained.best(*toy.vectors(), **arguments)


def test_predict_returns_the_outputs_of_each_student(trained):
    x, _ = toy.vectors()
    found = trained.predict(x, verbose=0)
    assert list(found) == ["a", "b", "c"]
    for student in trained.students:
        np.testing.assert_allclose(found[student.name], student(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (lambda: [toy.mlp("a")], "two or more models"),
        (lambda: [toy.mlp("a"), toy.mlp("a")], "different names.*'a', 'a'"),
        (lambda: [toy.mlp("a"), toy.mlp("b", inputs=3)], "the same inputs.*'a' takes.*'b'"),
        (lambda: [toy.mlp("a"), toy.mlp("b", classes=5)], "shape .*5.* and student .*4"),
        (lambda: [toy.mlp("a"), keras.Sequential([layers.Dense(4)])], "Student 1 .* is not built"),
        (
            lambda: [(a := toy.mlp("a")), keras.Model(a.inputs, a.outputs, name="b")],
            "'a' and 'b' share",
        ),
        (
            lambda: [toy.mlp("a"), keras.Model((i := keras.Input((5,))), [i, i], name="b")],
            "outputs of student 'b' must have different names",
        ),
    ],
)
def test_students_that_do_not_match_are_rejected(models, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.MutualLearning(models())


def test_a_weighting_by_groups_is_rejected():
    with pytest.raises(ValueError, match="so the samples have no groups"):
        kd.MutualLearning(students(), weighting=kd.weighting.ByGroup())


def test_different_labels_for_the_students_are_rejected():
    x, y = toy.vectors()
    with pytest.raises(ValueError, match="`y` must be one tensor. Received: 2"):
        fit(mutual(students()), x, [y, y])
