import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.callbacks import TAIDScheduler
from tests import golden_numbers, toy
from tests.callbacks.fit import distiller, fit
from tests.conformance import Stop

NUMBERS = golden_numbers.load("golden_c")


@pytest.mark.parametrize(
    ("name", "arguments", "steps"),
    [
        ("default", {}, 20000),
        ("a0.2_b0.9", {"alpha": 0.2, "beta": 0.9}, 60),
        ("linear", {"alpha": 0.0}, 60),
        ("tend0.6", {"alpha": 0.2, "beta": 0.9, "end": 0.6}, 60),
    ],
)
def test_it_gives_the_numbers_of_the_reference(name, arguments, steps):
    loss, scheduler, found = kd.losses.TAID(0.4), TAIDScheduler(**arguments), []
    for step, value in enumerate(NUMBERS["in/taid_loss_sequence"]):
        loss.last_value.assign(value)
        scheduler.update(loss, step, steps)
        found.append([float(loss.t), float(keras.ops.convert_to_numpy(loss.momentum))])
    t, momentum = np.transpose(found)
    np.testing.assert_allclose(t, NUMBERS[f"out/taid_schedule_{name}/t"], rtol=1e-6)
    if name != "linear":
        expected = NUMBERS[f"out/taid_schedule_{name}/momentum"]
        np.testing.assert_allclose(momentum, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("eager", [True, False])
def test_t_rises_to_the_end_and_is_logged(eager):
    model = distiller(kd.losses.TAID(0.9), eager=eager)
    history = fit(model, TAIDScheduler(alpha=0.0), epochs=3)
    # Six steps: after step n, t is 0.4 + 0.6 n / 6; the first only keeps its loss.
    np.testing.assert_allclose(history["taid.t"], [0.5, 0.7, 0.9], rtol=1e-6)


def test_the_rule_reads_the_loss_of_the_last_batch():
    model = distiller(kd.losses.TAID())
    fit(model, TAIDScheduler(), epochs=1, batch_size=16)
    loss = model.distillation_losses[0]
    first = float(keras.ops.convert_to_numpy(loss.previous_value))
    x, _ = toy.vectors(16)
    expected = kd.losses.TAID(0.4)(toy.mlp("teacher", seed=1)(x), toy.mlp("student")(x))
    np.testing.assert_allclose(first, np.mean(expected), rtol=1e-5)


def run(callbacks):
    keras.utils.set_random_seed(0)
    model = distiller(kd.losses.TAID())
    data = tf.data.Dataset.from_tensor_slices(toy.vectors(32)).shuffle(32, seed=1).batch(8)
    with contextlib.suppress(KeyboardInterrupt):
        scheduler = TAIDScheduler(alpha=0.5, beta=0.5)
        model.fit(data, epochs=2, callbacks=[scheduler, *callbacks], verbose=0)
    return model


@pytest.mark.slow
def test_a_resumed_run_continues_the_schedule(tmp_path):
    whole = run([kd.callbacks.Resume(tmp_path / "whole")])
    run([kd.callbacks.Resume(tmp_path / "stopped", every=1), Stop(6)])
    resumed = run([kd.callbacks.Resume(tmp_path / "stopped", every=1)])
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(resumed.hyperparameters["taid.t"]) == float(whole.hyperparameters["taid.t"])


def test_what_it_cannot_schedule_is_rejected():
    with pytest.raises(ValueError, match="no loss kd.losses.TAID with the name 'taid'"):
        fit(distiller(), TAIDScheduler())
    teachers = [toy.mlp("one", seed=1), toy.mlp("two", seed=2)]
    model = kd.Distiller(toy.mlp("student"), teachers, kd.losses.TAID())
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    with pytest.raises(ValueError, match=r"each teacher has its own.*Received: 2 teachers"):
        fit(model, TAIDScheduler())
    with pytest.raises(ValueError, match=r"Received: alpha=-1"):
        TAIDScheduler(alpha=-1)
    endless = tf.data.Dataset.from_generator(
        lambda: zip(*toy.vectors(8), strict=True),
        output_signature=(tf.TensorSpec((5,)), tf.TensorSpec((), "int64")),
    )
    with pytest.raises(ValueError, match=r"Pass TAIDScheduler\(steps=...\)"):
        distiller(kd.losses.TAID()).fit(endless.batch(4), callbacks=[TAIDScheduler()], verbose=0)
