"""`Distiller`: frozen teachers, models of every kind, and what a file holds."""

import warnings

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller, three_losses

# The teachers.


def test_a_teacher_runs_in_inference_mode_and_is_not_changed():
    (x, y), teacher = toy.data(), toy.cnn("teacher", 6, dropout=0.5, activation="softmax")
    student, before = toy.cnn("student"), teacher.get_weights()
    student.get_layer("norm").trainable = False
    soft = np.mean(kd.losses.SoftTargets()(ops.log(teacher(x)), student(x)))
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")]
    logs = distiller(student, teacher, losses).fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], soft, rtol=1e-4)
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable
    assert all(layer.trainable for layer in teacher.layers)
    assert teacher.get_layer("logits").activation is keras.activations.softmax


def test_a_student_larger_than_its_teacher_is_a_warning():
    small, large = toy.mlp("small", units=4), toy.mlp("large", units=64)
    with pytest.warns(UserWarning, match=r"'large' is larger .*order: kd.Distiller\(student, te"):
        kd.Distiller(large, small)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kd.Distiller(small, large)
        kd.Distiller(toy.mlp("one", units=6), [small, toy.mlp("other", units=4, seed=1)])
        kd.SelfDistiller(large, decay=0.9)


@pytest.mark.slow
def test_teachers_set_after_a_fit_are_used_in_the_next_one():
    (x, y), other = toy.vectors(), toy.mlp("two", seed=2)
    model = distiller(rate=0.0, eager=False)
    model.fit(x, y, batch_size=32, verbose=0)
    model.set_teachers(other)
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    expected = np.mean(kd.losses.SoftTargets()(other(x), model.student(x)))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


def test_new_projectors_require_a_new_compile():
    (x, y), model = toy.vectors(), distiller(losses=kd.losses.Hint("hidden", "hidden"))
    model.fit(x, y, verbose=0)
    model.set_teachers(toy.mlp("two", units=9))
    with pytest.raises(ValueError, match="compile"):
        model.fit(x, y, verbose=0)


# Files.


@pytest.fixture(scope="module")
def trained():
    (x, y), model = toy.vectors(), distiller(teacher=toy.mlp("big", 5, 31), losses=three_losses())
    model.fit(x, y, verbose=0)
    model.set_hyperparameter("soft_targets.temperature", 5.0)
    return model


def test_a_checkpoint_holds_no_teacher(trained, tmp_path):
    projected = len(trained.projectors["hint"].trainable_weights)
    assert len(trained.trainable_weights) == len(trained.student.trainable_weights) + projected
    trained.save_weights(tmp_path / "w.weights.h5")
    shapes = []
    with h5py.File(tmp_path / "w.weights.h5") as file:
        file.visititems(lambda _, part: shapes.append(getattr(part, "shape", ())))
    assert (5, 8) in shapes
    assert (5, 31) not in shapes
    # Only the outputs of the projector are as wide as the teacher.
    assert [shape for shape in shapes if 31 in shape] == [(8, 31), (31,)][:projected]


def test_a_saved_distiller_holds_its_student_and_needs_its_teachers_again(trained, tmp_path):
    x, y = toy.vectors()
    trained.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trained.predict(x, verbose=0))
    assert float(loaded.hyperparameters["soft_targets.temperature"]) == 5.0
    with pytest.raises(ValueError, match="has no teachers.*set_teachers"):
        loaded.fit(x, y, verbose=0)
    loaded.set_teachers(trained.teachers)
    assert loaded.fit(x, y, verbose=0).history["soft_targets"][0] > 0


# Models and data of every kind.


def two_headed(name, seed=0, softmax=False):
    keras.utils.set_random_seed(seed)
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    x = layers.Dense(6, activation="relu", name="joined")(layers.Concatenate()([a, b]))
    one = layers.Dense(4, activation="softmax" if softmax else None, name="one")(x)
    two = layers.Dense(1, activation="sigmoid" if softmax else None, name="two")(x)
    return keras.Model({"a": a, "b": b}, {"one": one, "two": two}, name=name)


@pytest.mark.parametrize("weights", [None, "one", "dict"])
def test_several_inputs_and_outputs_with_dicts_of_losses_and_metrics(weights):
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(12, 3)), "b": rng.normal(size=(12, 2))}
    y = {"one": rng.integers(0, 4, 12), "two": rng.integers(0, 2, (12, 1))}
    losses = [
        kd.losses.SoftTargets(teacher_tap="one", student_tap="one"),
        kd.losses.SoftTargets(teacher_tap="two", student_tap="two", name="binary"),
    ]
    model = distiller(
        *(two_headed("s"), two_headed("t", 1, softmax=True), losses),
        loss={
            "one": toy.sparse_loss(),
            "two": keras.losses.BinaryCrossentropy(from_logits=True),
        },
        metrics={"one": ["accuracy"], "two": [keras.metrics.BinaryAccuracy(threshold=0.0)]},
    )
    zeros = np.zeros(12)
    sample_weight = {None: None, "one": zeros, "dict": {"one": zeros, "two": zeros + 1}}[weights]
    logs = model.fit(x, y, sample_weight=sample_weight, verbose=0, validation_data=(x, y)).history
    assert {"one_accuracy", "two_binary_accuracy", "binary", "soft_targets"} <= set(logs)
    assert (logs["soft_targets"][0] == 0) == (weights is not None)
    assert (logs["binary"][0] == 0) == (weights == "one")


def test_several_outputs_with_lists_of_losses():
    inputs = keras.Input((3,))
    student, teacher = (
        keras.Model(inputs, [layers.Dense(4, name="p")(inputs), layers.Dense(2, name="q")(inputs)])
        for _ in range(2)
    )
    values = kd.losses.OutputsMSE(teacher_tap="q", student_tap="q")
    model = distiller(student, teacher, values, loss=[toy.sparse_loss(), "mse"], metrics=None)
    x, y = np.ones((6, 3)), [np.zeros(6, int), np.ones((6, 2))]
    logs = model.fit(x, y, verbose=0).history
    assert logs["outputs_mse"][0] > 0
    assert {"p_loss", "q_loss"} <= set(logs)


@pytest.mark.parametrize("task", ["labels", "values"])
def test_elements_without_a_label_count_in_the_distillation_alone(task):
    (x, _), student = toy.vectors(24), toy.mlp("student", classes=3)
    teacher = toy.mlp("teacher", classes=3, units=6, seed=1)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (24, 3)) * 1.0 if task == "labels" else rng.normal(size=(24, 3))
    known, weights = rng.random((24, 3)) < 0.6, rng.uniform(size=24)
    known[3] = False
    z, t = (np.asarray(model(x), "float64") for model in (student, teacher))
    p, q = (1 / (1 + np.exp(-one / 4)) for one in (t, z))
    if task == "labels":
        loss, metric = keras.losses.BinaryCrossentropy(from_logits=True), "binary_accuracy"
        hard, score = np.logaddexp(0, z) - y * z, (z > 0.5) == (y > 0.5)
        soft = 16 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    else:
        loss, metric, hard, score, soft = "mse", "mae", (z - y) ** 2, np.abs(z - y), (t - z) ** 2
    name = "soft_targets" if task == "labels" else "outputs_mse"
    distiller = kd.Distiller(student, teacher, name, student_loss_weight=0.3)
    distiller.compile(keras.optimizers.SGD(0.0), loss, metrics=[metric], run_eagerly=True)
    given = np.where(known, y, np.nan)
    found = distiller.fit(x, given, sample_weight=weights, batch_size=24, verbose=0).history
    distilled = (soft.mean(1) * weights).mean()
    labeled = (hard * weights[:, None])[known].sum() / known.sum()
    np.testing.assert_allclose(found[name], [distilled], rtol=1e-4)
    np.testing.assert_allclose(found["student_loss"], [labeled], rtol=1e-5)
    np.testing.assert_allclose(found[metric], [score[known].mean()], rtol=1e-5)
    np.testing.assert_allclose(found["loss"], [0.3 * labeled + distilled], rtol=1e-4)


@pytest.mark.slow
def test_a_subclassed_student_with_a_hidden_tap():
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.hidden = layers.Dense(8, activation="relu", name="hidden")
            self.norm = layers.BatchNormalization(name="norm")
            self.head = layers.Dense(4, name="head")

        def call(self, x, training=None):
            return self.head(self.norm(self.hidden(x), training=training))

    student, (x, y) = Net(), toy.vectors(12)
    student(x)
    losses = [kd.losses.SoftTargets(), kd.losses.Hint("hidden", "hidden")]
    model = distiller(student, losses=losses, eager=False)
    before = student.norm.moving_mean.numpy()
    logs = model.fit(x, y, verbose=0, epochs=3).history
    assert logs["hint"][2] < logs["hint"][0]
    assert not np.array_equal(before, student.norm.moving_mean)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: distiller(teacher=lambda x: x), "A teacher must be a keras.Model"),
        (lambda: kd.Distiller("student.keras", toy.mlp("t")), "The student must be a keras.Model"),
    ],
)
def test_anything_but_a_keras_model_is_rejected(build, sentence):
    with pytest.raises(TypeError, match=sentence):
        build()


@pytest.mark.parametrize(("place", "role"), enumerate(["student", "teacher"]))
def test_a_model_that_is_not_built_is_rejected(place, role):
    models = [toy.mlp("one"), toy.mlp("two")]
    models[place] = keras.Sequential([layers.Dense(4)])
    with pytest.raises(ValueError, match=f"{role} '.*' is not built"):
        kd.Distiller(*models)
