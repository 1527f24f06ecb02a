"""Deep mutual learning: who learns what of whom, in how many passes, and what comes of it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy


def still(student):
    student.get_layer("norm").trainable = False
    return student


def students(number=2, **kwargs):
    return [still(toy.cnn(name, 3 + i, seed=i, **kwargs)) for i, name in enumerate("abc"[:number])]


def mutual(models, losses=None, rate=0.1, **kwargs):
    model = kd.MutualLearning(models, losses, **kwargs)
    model.compile(keras.optimizers.SGD(rate), toy.sparse_loss(), metrics=["accuracy"])
    return model


@pytest.mark.parametrize("number", [2, 3])
def test_the_loss_is_the_sum_over_the_students_of_their_parts(number):
    (x, y), models = toy.data(), students(number, regularizer="l2")
    soft = kd.losses.SoftTargets(2.0, weight=0.5)
    model = mutual(models, soft, student_loss_weight=0.7)
    teacher_outputs = [student(x) for student in models]
    regularisation = sum(float(ops.sum(student.losses)) for student in models)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    total = regularisation
    for i, student in enumerate(models):
        peers = [
            np.mean(soft(teacher_outputs[j], teacher_outputs[i])) for j in range(number) if j != i
        ]
        hard = float(toy.sparse_loss()(y, teacher_outputs[i]))
        np.testing.assert_allclose(logs[f"{student.name}_soft_targets"][0], np.mean(peers), 1e-5)
        np.testing.assert_allclose(logs[f"{student.name}_loss"][0], hard, 1e-5)
        right = np.mean(np.argmax(teacher_outputs[i], -1) == y)
        np.testing.assert_allclose(logs[f"{student.name}_accuracy"][0], right, 1e-5)
        total += 0.7 * hard + 0.5 * np.mean(peers)
    np.testing.assert_allclose(logs["loss"][0], total, rtol=1e-5)


def test_a_student_gets_the_gradient_of_its_own_part_alone():
    (x, y), models = toy.data(), students()
    model = mutual(models, kd.losses.SoftTargets(2.0))
    model.fit(x, y, batch_size=32, verbose=0)
    for i, after in enumerate(models):
        one, other = students()[i], students()[1 - i]
        alone = kd.Distiller(one, other, kd.losses.SoftTargets(2.0), student_loss_weight=1.0)
        alone.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
        alone.fit(x, y, batch_size=32, verbose=0)
        for ours, theirs in zip(after.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_each_student_runs_once_per_step_and_once_in_validation():
    x, y = toy.data()
    counted = [toy.counted(toy.cnn(name, seed=i)) for i, name in enumerate("ab")]
    model = mutual([student for student, _ in counted], ["soft_targets", "logits_mse"])
    model.fit(x, y, batch_size=8, verbose=0)
    assert [int(counter.count) for _, counter in counted] == [4, 4]
    model.evaluate(x, y, batch_size=32, verbose=0)
    assert [int(counter.count) for _, counter in counted] == [5, 5]


def test_hints_between_hidden_layers_go_both_ways_through_projectors():
    (x, y), models = toy.data(), students()
    model = mutual(models, [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")])
    assert list(model.projectors) == ["a_hint", "b_hint"]
    before = [projector.get_weights()[0] for projector in model.projectors.values()]
    logs = model.fit(x, y, batch_size=8, verbose=0).history
    assert min(logs["a_hint"][0], logs["b_hint"][0]) > 0
    for old, projector in zip(before, model.projectors.values(), strict=True):
        assert not np.array_equal(old, projector.get_weights()[0])


def test_with_combine_a_student_learns_from_the_mean_of_the_others():
    (x, y), models = toy.data(), students(3)
    teacher_outputs = [student(x) for student in models]
    logs = mutual(models, combine="probabilities").fit(x, y, batch_size=32, verbose=0).history
    mean = ops.log((ops.softmax(teacher_outputs[1]) + ops.softmax(teacher_outputs[2])) / 2)
    expected = np.mean(kd.losses.SoftTargets()(mean, teacher_outputs[0]))
    np.testing.assert_allclose(logs["a_soft_targets"][0], expected, rtol=1e-4)


def test_samples_without_a_label_teach_and_are_taught():
    (x, y), models = toy.data(), students()
    known = np.arange(32) % 3 > 0
    teacher_outputs = [student(x) for student in models]
    labels = np.where(known, y, kd.UNLABELED)
    logs = mutual(models).fit(x, labels, batch_size=32, verbose=0).history
    hard = toy.sparse_loss()(y[known], ops.convert_to_tensor(teacher_outputs[0])[known])
    np.testing.assert_allclose(logs["a_loss"][0], hard, rtol=1e-5)
    soft = np.mean(kd.losses.SoftTargets()(teacher_outputs[1], teacher_outputs[0]))
    np.testing.assert_allclose(logs["a_soft_targets"][0], soft, rtol=1e-5)
    right = np.mean((np.argmax(teacher_outputs[0], -1) == y)[known])
    np.testing.assert_allclose(logs["a_accuracy"][0], right, rtol=1e-5)


def test_no_labels_at_all():
    x, _ = toy.data()
    model = kd.MutualLearning(students())
    model.compile(keras.optimizers.SGD(0.5), loss=None)
    logs = model.fit(x, epochs=3, verbose=0).history
    assert logs["loss"][2] < logs["loss"][0]


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_student_is_the_one_with_the_best_metric(metric):
    (x, y), models = toy.data(), students(3)
    model = mutual(models)
    model.fit(x, y, batch_size=8, epochs=3, verbose=0)
    values = []
    for student in models:
        student.compile(loss=toy.sparse_loss(), metrics=["accuracy"])
        values.append(student.evaluate(x, y, verbose=0, return_dict=True)[metric])
    expected = np.argmin(values) if metric == "loss" else np.argmax(values)
    assert model.best(x, y, metric=metric) is models[expected]
    with pytest.raises(ValueError, match="no metric 'auc' of each student; there are a_accuracy"):
        model.best(x, y, metric="auc")


def test_predict_gives_what_each_student_says():
    (x, _), models = toy.data(), students()
    found = mutual(models).predict(x, verbose=0)
    assert list(found) == ["a", "b"]
    for student in models:
        np.testing.assert_allclose(found[student.name], student.predict(x, verbose=0), rtol=1e-5)


def test_weights_of_samples_metric_objects_and_schedules():
    (x, y), models = toy.data(), students()
    model = kd.MutualLearning(models)
    auc = keras.metrics.SparseCategoricalAccuracy(name="right")
    model.compile("sgd", toy.sparse_loss(), metrics=[auc], weighted_metrics=["accuracy"])
    cooling = kd.callbacks.TemperatureScheduler(lambda epoch: 4.0 - epoch)
    weights = np.zeros(32)
    logs = model.fit(x, y, sample_weight=weights, epochs=2, verbose=0, callbacks=[cooling]).history
    assert logs["loss"] == logs["a_soft_targets"] == logs["b_accuracy"] == [0.0, 0.0]
    assert logs["a_soft_targets.temperature"] == logs["b_soft_targets.temperature"] == [4.0, 3.0]
    assert logs["a_right"] != logs["b_right"]


@pytest.mark.parametrize(
    "how", [{"jit_compile": True}, {"run_eagerly": True}, {"steps_per_execution": 4}], ids=str
)
def test_every_way_of_running_gives_the_same_weights(how):
    x, y = toy.data()
    weights = []
    for kwargs in ({}, how):
        model = kd.MutualLearning(students())
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), toy.sparse_loss(), **kwargs)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_mixed_precision():
    x, y = toy.data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        models = students()
    finally:
        keras.config.set_dtype_policy("float32")
    model = mutual(models)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(model.fit(x, y, epochs=2, verbose=0).history["loss"]).all()


def test_subclassed_students():
    class Net(keras.Model):
        def __init__(self, units, name):
            super().__init__(name=name)
            self.hidden = layers.Dense(units, activation="relu", name="hidden")
            self.head = layers.Dense(4, name="head")

        def call(self, x):
            return self.head(self.hidden(x))

    x, y = np.random.default_rng(0).normal(size=(12, 5)), np.arange(12) % 4
    models = [Net(8, "one"), Net(6, "two")]
    for student in models:
        student(x)
    logs = mutual(models, kd.losses.Hint("hidden", "hidden")).fit(x, y, epochs=5, verbose=0).history
    assert logs["one_loss"][-1] < logs["one_loss"][0]
    assert logs["two_hint"][-1] > 0


def test_a_loaded_pair_trains_on_and_a_stopped_run_goes_on(tmp_path):
    x, y = toy.data()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def run(*callbacks):
        models = [toy.cnn(n, 3 + i, seed=i, dropout=0.5) for i, n in enumerate("ab")]
        model = kd.MutualLearning(models, [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")])
        model.compile("adam", toy.sparse_loss(), metrics=["accuracy"])
        model.fit(x, y, 8, shuffle=False, epochs=4, verbose=0, callbacks=callbacks)
        return model

    expected = run()
    with pytest.raises(KeyboardInterrupt):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stop())
    resumed = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    resumed.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    for model in (resumed, loaded):
        for one, other in zip(expected.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    one = expected.fit(x, y, 8, shuffle=False, verbose=0).history
    assert loaded.fit(x, y, 8, shuffle=False, verbose=0).history == one


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (lambda: [toy.cnn("a")], "two or more models"),
        (lambda: [toy.cnn("a"), toy.cnn("a")], "a name of its own.*'a', 'a'"),
        (lambda: [toy.cnn("a"), toy.mlp("b")], "the same inputs.*'a' takes.*'b'"),
        (lambda: [toy.cnn("a"), toy.cnn("b", classes=5)], "shape .*5.* and student .*4"),
        (lambda: [toy.cnn("a"), keras.Sequential([layers.Dense(4)])], "Student 1 .* is not built"),
        (
            lambda: [(a := toy.cnn("a")), keras.Model(a.inputs, a.outputs, name="b")],
            "'a' and 'b' share",
        ),
    ],
)
def test_students_that_do_not_fit_are_refused(models, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.MutualLearning(models())


def test_other_teachers_and_several_labels_are_refused():
    (x, y), model = toy.data(), mutual(students())
    with pytest.raises(ValueError, match="no teachers but the students"):
        model.set_teachers(toy.cnn("teacher"))
    with pytest.raises(ValueError, match="`y` must be one tensor. Received: 2"):
        model.fit(x, [y, y], verbose=0)
