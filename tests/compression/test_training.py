"""A student that runs in tf_keras is trained exactly as `Distiller` trains it in Keras 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import keras_kd as kd
from keras_kd.compression.training import Training
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
        return kd.compression.prune(student, 0.0, **kwargs)
    with eagerly():
        return kd.compression.prune(student, 0.0, **kwargs)


def assert_same_weights(one, other):
    for a, b in zip(one.weights, other.weights, strict=True):
        # The batch norm of tf_keras uses the sample variance: n / (n - 1) of that of Keras 3.
        tolerance = 0.02 if "moving_variance" in a.path else 1e-6
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=a.path)


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


def test_a_student_is_distilled_without_compression():
    student, loss = toy.cnn("student"), toy.sparse_loss()
    training = Training(data=batches(), epochs=2, loss=loss, teachers=toy.cnn("t"), verbose=0)
    before = student.get_layer("logits").kernel.numpy()
    with eagerly():
        history = training.distill(student)
    assert {"loss", "soft_targets", "student_loss"} <= set(history)
    assert len(history["loss"]) == 2
    assert np.abs(student.get_layer("logits").kernel - before).max() > 0


@pytest.mark.parametrize(
    ("data", "steps_per_epoch", "steps"),
    [(toy.data(20), None, 6), (batches(24), None, 6), (batches(24).repeat(), 4, 8)],
)
def test_steps_of_all_epochs(data, steps_per_epoch, steps):
    arguments = {"epochs": 2, "batch_size": 8, "steps_per_epoch": steps_per_epoch}
    assert Training(data=data, loss="mse", **arguments).steps == steps


@pytest.mark.parametrize("make", [toy.data, batches])
def test_sample_batches_stops_at_the_number_of_samples(make):
    x, _ = toy.data(24)
    found = list(Training(data=make(24), epochs=1, loss="mse", batch_size=8).sample_batches(9))
    np.testing.assert_array_equal(np.concatenate(found), x[:16])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "nothing to train on: pass `teachers`, a `loss` on the labels"),
        ({"loss": "mse", "losses": "soft_targets"}, ValueError, "nothing to train on"),
        ({"loss": "mse", "epochs": 0}, ValueError, "must be at least 1. Received: epochs=0"),
        ({"loss": "mse", "steps_per_epoch": 0}, ValueError, "Received: .*steps_per_epoch=0"),
        ({"loss": "mse", "optimizer": tf_keras.optimizers.Adam()}, TypeError, "of Keras 3, not"),
        ({"loss": toy.sparse_loss(), "monitor": "no"}, ValueError, "must be an entry of"),
        ({"loss": "mse", "colour": 3}, TypeError, "unexpected keyword argument 'colour'"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, error, message):
    with pytest.raises(error, match=message):
        train(toy.cnn("student"), **{"data": batches(), **arguments})


def test_a_dataset_of_unknown_length_requires_the_number_of_steps():
    data = batches().filter(lambda x, y: True)
    with pytest.raises(ValueError, match="number of batches of the dataset is unknown"):
        train(toy.cnn("student"), data=data, loss=toy.sparse_loss())
    arguments = {"loss": toy.sparse_loss(), "steps_per_epoch": 3}
    history = train(toy.cnn("student"), data=data.repeat(), **arguments).history
    assert len(history["loss"]) == 2


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return toy.vectors()


def test_every_form_of_data_gives_the_same_training():
    weights = []
    dataset = tf.data.Dataset.from_tensor_slices(toy.vectors()).batch(32)
    for data in (toy.vectors(), Sequence(), [toy.vectors()], dataset):
        student = toy.mlp("student")
        plan = Training(data=data, epochs=2, loss=toy.sparse_loss(), verbose=0)
        assert plan.steps == 2
        assert [x.shape for x in plan.sample_batches(20)] == [(32, 5)]
        plan.distill(student)
        weights.append(student.get_weights())
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_list_of_arrays_is_several_inputs():
    plan = Training(data=[np.zeros((20, 3)), np.ones((20, 2))], epochs=1, loss="mse", batch_size=8)
    assert plan.steps == 3
    first = next(plan.sample_batches(1))
    assert [part.shape for part in first] == [(8, 3), (8, 2)]
