"""Students are trained by `Distiller`, with the arguments that all techniques share."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import keras_kd as kd
from keras_kd.compression.training import Training
from tests import toy
from tests.compression.runs import eagerly


def batches(samples=24, size=8, **kwargs):
    return tf.data.Dataset.from_tensor_slices(toy.data(samples, **kwargs)).batch(size)


def train(student, **kwargs):
    """Prune to 0 % zeros, which only trains the student."""
    with eagerly():
        return kd.compression.prune(
            student, 0.0, **{"data": batches(), "epochs": 2, "verbose": 0, **kwargs}
        )


def test_the_weights_are_those_of_the_distiller():
    teacher, loss = toy.cnn("one", seed=1), toy.sparse_loss()
    losses = [kd.losses.SoftTargets(temperature=2), kd.losses.Hint("conv", "conv", weight=0.5)]
    student = toy.cnn("student", regularizer="l2")
    arguments = {"losses": losses, "student_loss_weight": 0.3, "loss": loss, "teachers": teacher}
    result = train(student, optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"], **arguments)
    distiller = kd.Distiller(student, teacher, losses, student_loss_weight=0.3)
    distiller.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], run_eagerly=True)
    history = distiller.fit(batches(), epochs=2, verbose=0).history
    for one, other in zip(student.weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {**history, "sparsity": [0.0, 0.0]} == result.history


def test_the_best_epoch_is_kept():
    rates = iter([0.1, 50.0, 50.0])
    result = train(
        toy.cnn("student"),
        epochs=3,
        loss=toy.sparse_loss(),
        optimizer=keras.optimizers.SGD(0.1),
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
