"""`keras-kd distill`: the same student as from Python, and what is written and printed."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.cli.distill import _make_losses, cosine_adam
from tests.cli import models

DISTILL = "distill teacher.keras student.keras --data digits --out out --epochs 2"


def test_distill_gives_the_same_student_as_python(run, tmp_path):
    code, numbers, _ = run(f"{DISTILL} --loss soft_targets --temperature 2 --seed 3 --json")
    assert code == 0
    assert models.files_in(tmp_path) == ["out/history.json", "out/student.keras"]

    keras.utils.set_random_seed(3)
    student = keras.models.load_model("student.keras")
    teacher = keras.models.load_model("teacher.keras", compile=False)
    train = kd.datasets.load("digits", seed=3)
    distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(2))
    rate = keras.optimizers.schedules.CosineDecay(5e-3, 2 * len(train))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    test = kd.datasets.load("digits", "test")
    history = distiller.fit(train, validation_data=test, epochs=2, verbose=0).history

    written = keras.models.load_model("out/student.keras")
    for ours, theirs in zip(written.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    curves = json.loads(Path("out/history.json").read_text())
    assert curves.keys() == history.keys()
    assert all(curves[name] == pytest.approx(history[name]) for name in curves)
    assert numbers["student_accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert numbers["teacher_accuracy"] > numbers["student_accuracy"]
    assert numbers["student_parameters"] == student.count_params()
    assert not written.compiled


def test_the_temperature_reaches_the_loss_within_another():
    plain, wrapper = _make_losses(["soft_targets", "logit_standardization"], 2.0)
    assert float(plain.temperature) == float(wrapper.loss.temperature) == 2


def test_without_a_test_split_distill_evaluates_nothing(run, tmp_path):
    models.save_split(tmp_path / "mine" / "train.npz", labels=(0, 1, 2, 3))
    line = "distill teacher.keras student.keras --data mine --out out --epochs 1"
    code, text, _ = run(line)
    assert code == 0
    assert "no test split" in text
    assert "val_loss" not in json.loads(Path("out/history.json").read_text())


def test_the_learning_rate_decays_to_zero():
    rate = cosine_adam(0.01, 10)._learning_rate
    assert (float(rate(0)), float(rate(10))) == (pytest.approx(0.01), 0)


def linear(name, units, bias, seed, activation=None):
    keras.utils.set_random_seed(seed)
    stack = [keras.Input((6,)), keras.layers.Dense(units, activation)]
    model = keras.Sequential(stack, name=name)
    kernel, offset = model.get_weights()
    model.set_weights([kernel, offset + bias])
    model.save(f"{name}.keras")
    return model


def save_data(labels, x):
    Path("mine").mkdir()
    for part in ("train", "test"):
        np.savez(f"mine/{part}.npz", x=x, y=labels)


OWN = "distill t.keras s.keras --data mine --out out"


def test_numbers_are_learned_as_numbers(run):
    x = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
    teacher, _ = linear("t", 1, 5.0, 2), linear("s", 1, 0.0, 1)
    target = teacher.predict(x, verbose=0)
    save_data(target, x)
    code, numbers, _ = run(f"{OWN} --epochs 60 --learning-rate 0.2 --json")
    assert code == 0
    assert numbers["task"] == "values"
    assert "outputs_mse" in json.loads(Path("out/history.json").read_text())
    found = keras.models.load_model("out/student.keras").predict(x, verbose=0)
    error = np.sqrt(((found - target) ** 2).mean())
    assert error < 0.1 * target.std()
    assert numbers["student_rmse"] == pytest.approx(error, rel=1e-4)
    code, _, errors = run(f"{OWN} --temperature 2")
    assert code == 2
    assert "--temperature is for classes" in errors
    code, _, errors = run(f"{OWN} --loss dist")
    assert code == 1
    assert "DIST needs mutually exclusive classes" in errors


@pytest.mark.parametrize(("units", "activation"), [(1, "sigmoid"), (4, None)])
def test_yes_or_no_labels_are_learned_as_such(run, units, activation):
    x = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
    teacher, _ = linear("t", units, 0.0, 2, activation), linear("s", units, 0.0, 1, activation)
    answers = teacher.predict(x, verbose=0) > (0.5 if activation else 0)
    save_data((answers[:, 0] if units == 1 else answers).astype("int32"), x)
    code, text, _ = run(f"{OWN} --epochs 20 --learning-rate 0.5 --temperature 2")
    assert code == 0
    assert "test accuracy" in text
    found = keras.models.load_model("out/student.keras").predict(x, verbose=0)
    assert ((found > (0.5 if activation else 0)) == answers).mean() > 0.95
