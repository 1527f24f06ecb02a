import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.recipes.stage import StageTrainer
from tests import toy

SETTINGS = {"batch_size": 8, "verbose": 0}


@pytest.mark.usefixtures("eager")
def test_each_stage_has_a_fresh_optimizer_and_its_settings():
    optimizer = keras.optimizers.SGD(0.0, momentum=0.9)
    trainer = StageTrainer(
        toy.sparse_loss(), optimizer, ["accuracy"], "outputs_mse", 0.25, {"name": "stage"}
    )
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    history = trainer.distill(student, teacher, *toy.vectors(16), **SETTINGS)
    logs = history.history
    assert set(logs) == {"accuracy", "outputs_mse", "loss", "student_loss"}
    expected = 0.25 * logs["student_loss"][0] + logs["outputs_mse"][0]
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-6)
    assert history.model.name == "stage"
    assert history.model.optimizer is not optimizer
    assert history.model.optimizer.momentum == 0.9
    assert not optimizer.built


@pytest.mark.usefixtures("eager")
def test_a_student_trained_alone_skips_unlabeled_samples():
    x, y = toy.vectors(16)
    trainer = StageTrainer(toy.sparse_loss(), "sgd", None, "outputs_mse", 0.25, None)
    labeled, mixed = toy.mlp("student"), toy.mlp("student")
    trainer.train_alone(labeled, x[:8], y[:8], **SETTINGS)
    y[8:] = kd.UNLABELED
    trainer.train_alone(mixed, x, y, **{**SETTINGS, "batch_size": 16})
    for one, other in zip(labeled.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)
