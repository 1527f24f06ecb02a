"""A student that runs in tf_keras is trained exactly as `Distiller` trains it in Keras 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy
from tests.compression.runs import eagerly

SPARSE = "sparse_categorical_crossentropy"


def batches(samples=24, size=8, **kwargs):
    return tf.data.Dataset.from_tensor_slices(toy.data(samples, **kwargs)).batch(size)


def sgd():
    return keras.optimizers.SGD(0.1)


def train(student, traced=False, **kwargs):
    """Prune to 0 % zeros, which only trains the student."""
    kwargs = {"data": batches(), "epochs": 2, "verbose": 0, **kwargs}
    if traced:
        return kd.compression.prune(student, 0.0, engine="tfmot", **kwargs)
    with eagerly():
        return kd.compression.prune(student, 0.0, engine="tfmot", **kwargs)


def assert_same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        # The batch norm of tf_keras uses the sample variance: n / (n - 1) of that of Keras 3.
        tolerance = 0.02 if "moving_variance" in a.path else 1e-6
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=a.path)


@pytest.mark.traced
def test_the_weights_are_those_of_the_distiller():
    def student():
        return toy.cnn("student", activation="softmax", regularizer="l2")

    # As wide as the student, since projectors would start from other random weights.
    teachers = [toy.cnn("one", seed=1), toy.cnn("two", seed=2, activation="softmax")]
    losses = [
        kd.losses.SoftTargets(temperature=2),
        kd.losses.Hint("conv", "conv", weight=0.5),
        kd.losses.Hint("features", "features"),
    ]
    kwargs = {"weighting": kd.weighting.CrossEntropy(), "student_loss_weight": 0.3}
    expected = student()
    distiller = kd.Distiller(expected, teachers, losses, **kwargs)
    distiller.compile(sgd(), SPARSE)
    history = distiller.fit(batches(), epochs=2, verbose=0).history
    result = train(
        student(),
        traced=True,
        teachers=teachers,
        losses=losses,
        loss=SPARSE,
        optimizer=sgd(),
        **kwargs,
    )
    assert_same_weights(expected, result.model)
    for name, values in history.items():
        np.testing.assert_allclose(result.history[name], values, rtol=1e-5, err_msg=name)


def test_cached_teacher_outputs_give_the_weights_of_the_live_teacher(tmp_path):
    samples = tf.data.Dataset.from_tensor_slices(toy.data(24))
    teacher = toy.cnn("teacher", seed=1)
    cache = kd.KnowledgeCache.build(teacher, samples, tmp_path, dtype="float32", verbose=0)
    same = {"loss": SPARSE, "optimizer": sgd(), "epochs": 1}
    student = toy.cnn("student", activation="softmax")
    live = train(student, teachers=teacher, **same)
    joined = cache.join(kd.keyed(samples).batch(8))
    cached = train(student, teachers=cache.teachers, data=joined, **same)
    assert_same_weights(live.model, cached.model)
    np.testing.assert_allclose(cached.history["loss"], live.history["loss"], rtol=1e-5)


class Recorded:
    """A student trained with a teacher, a projector, and a schedule."""

    def __init__(self):
        self.teacher, self.counter = toy.counted(toy.cnn("teacher", 8, seed=1))
        self.student = toy.cnn("student")
        self.models = (self.teacher, self.student)
        self.before = [model.get_weights() for model in self.models]
        self.projectors = []
        self.optimizer = sgd()
        record = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.projectors.append(
                record.model.projectors["hint"].kernel.numpy()
            )
        )
        scheduler = kd.callbacks.TemperatureScheduler(lambda epoch: 4.0 - epoch)
        self.result = train(
            self.student,
            teachers=self.teacher,
            losses=[kd.losses.SoftTargets(), kd.losses.Hint("teacher/conv", "conv")],
            optimizer=self.optimizer,
            callbacks=[record, scheduler],
            validation_data=batches(16),
        )


@pytest.fixture(scope="module")
def recorded():
    return Recorded()


def test_projectors_are_trained_and_not_part_of_the_result(recorded):
    assert np.abs(recorded.projectors[2] - recorded.projectors[0]).min() > 0
    shapes = [weight.shape for weight in recorded.result.model.weights]
    assert shapes == [weight.shape for weight in recorded.student.weights]


def test_each_teacher_runs_once_per_step_and_without_labels_in_validation_too(recorded):
    assert int(recorded.counter.count) == 6 + 4
    assert min(recorded.result.history["val_loss"]) > 0


def test_teacher_and_student_are_not_changed(recorded):
    for model, before in zip(recorded.models, recorded.before, strict=True):
        for old, new in zip(before, model.get_weights(), strict=True):
            if old.dtype != "int32":  # The counter.
                np.testing.assert_array_equal(old, new)


def test_callbacks_of_this_package_work_as_with_the_distiller(recorded):
    assert recorded.result.history["soft_targets.temperature"] == [4.0, 3.0]


def test_the_optimizer_is_copied(recorded):
    assert not recorded.optimizer.built


def test_sample_weights_noise_and_a_nested_tap_are_supported():
    inner = toy.cnn("inner")
    x = keras.Input((6, 6, 1))
    student = keras.Model(x, inner(x), name="student")
    x, y = toy.data(24)
    result = train(
        student,
        data=(x, y, np.zeros(24, "float32")),
        batch_size=8,
        teachers=toy.cnn("teacher", 4, seed=1),
        losses=[kd.losses.SoftTargets(), kd.losses.Hint("relu", "inner/relu")],
        noise=kd.noise.LogitNoise(0.5, seed=0),
        loss=toy.sparse_loss(),
        optimizer=sgd(),
    )
    assert result.history["loss"] == [0.0, 0.0]
    np.testing.assert_allclose(
        student.get_layer("inner").get_layer("conv").kernel,
        result.model.get_layer("inner").get_layer("conv").kernel,
    )


def test_the_student_itself_may_be_the_teacher_because_a_copy_is_trained():
    student = toy.cnn("student")
    before = student.get_weights()
    train(student, teachers=student, loss=toy.sparse_loss(), optimizer=sgd(), epochs=1)
    for one, other in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_best_epoch_is_kept():
    rates = iter([0.1, 50.0, 50.0])
    result = train(
        toy.cnn("student"),
        epochs=3,
        loss=toy.sparse_loss(),
        optimizer=sgd(),
        validation_data=batches(16, seed=1),
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: next(rates))],
        monitor="val_loss",
    )
    assert np.argmin(result.history["val_loss"]) == 0
    result.model.compile(loss=toy.sparse_loss(), run_eagerly=True)
    loss = result.model.evaluate(batches(16, seed=1), verbose=0)
    np.testing.assert_allclose(loss, result.history["val_loss"][0], rtol=1e-5)
