"""Teacher-Class Network: what its students learn, separately as together, and what it saves."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests.teacher_class.models import (
    PERMUTED,
    dense_teacher,
    discriminator,
    ensemble,
    exact_students,
    mimicry,
    samples,
    stateful_student,
    student,
    values_at,
)

# What the students learn.


@pytest.mark.parametrize(
    ("activation", "mimic"),
    [("relu", "preactivation"), ("tanh", "preactivation"), (None, "output")],
)
def test_by_default_they_mimic_the_preactivation_if_there_is_an_activation(activation, mimic):
    teacher, x = dense_teacher(activation), samples()
    students = exact_students(teacher, "features", PERMUTED, linear=True)
    model = ensemble(students, teacher, chunks=PERMUTED, mimic="auto")
    assert model.mimic == model.get_config()["mimic"] == mimic
    assert model.evaluate(x, verbose=0) == [0.0] * 4
    np.testing.assert_allclose(model.assemble()(x), teacher(x), atol=1e-6)


@pytest.mark.parametrize("chunks", [[5, 3], PERMUTED])
def test_the_loss_is_the_mean_squared_difference_of_each_chunk(chunks):
    teacher, x = dense_teacher(), samples()
    model = ensemble(teacher=teacher, chunks=chunks)
    expected = mimicry(model, teacher, x)
    history = model.fit(x, batch_size=24, verbose=0).history
    found = [history[f"student_{i}"][0] for i in range(len(chunks))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(history["loss"][0], sum(expected), rtol=1e-5)


def test_exact_students_have_no_loss():
    teacher = dense_teacher()
    students = exact_students(teacher, "features", PERMUTED)
    model = ensemble(students, teacher, chunks=PERMUTED)
    assert model.evaluate(samples(), verbose=0) == [0.0] * 4


@pytest.mark.traced
@pytest.mark.slow
def test_students_learn_and_the_teacher_is_not_changed():
    teacher, x = dense_teacher(), samples()
    before = teacher.get_weights()
    model = ensemble(teacher=teacher, optimizer=keras.optimizers.Adam(0.1), eager=False)
    history = model.fit(x, batch_size=24, epochs=25, verbose=0).history
    for name in ("loss", "student_0", "student_1"):
        assert history[name][-1] < 0.5 * history[name][0]
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert teacher.trainable


def test_discriminators_have_their_own_optimizer_and_no_part_in_validation():
    model = ensemble(discriminators=discriminator, discriminator_optimizer="adam")
    before = model.discriminators[0].get_weights()
    history = model.fit(samples(), validation_data=(samples(),), verbose=0).history
    parts = {f"{part}_{i}" for part in ("student", "adversarial", "discriminator") for i in (0, 1)}
    assert set(history) == {"loss", *parts, "val_loss", "val_student_0", "val_student_1"}
    assert not np.array_equal(before[0], model.discriminators[0].get_weights()[0])
    own = {id(v) for one in model.discriminators for v in one.variables}
    assert not own & {id(v) for v in model.trainable_variables}
    assert own & {id(v) for v in model.adversary.trainable_variables}


def test_chunks_and_numbers_may_be_arrays():
    model = ensemble(chunks=np.array([5, 3]), only=np.array([1]))
    assert model.chunks == [[0, 1, 2, 3, 4], [5, 6, 7]]
    assert model.numbers == [1]
    assert model.get_config()["only"] == [1]


def test_students_and_teachers_may_be_subclassed_models():
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__(name="subclassed")
            self.features = layers.Dense(5, activation="relu", name="features")
            self.head = layers.Dense(units)

        def call(self, x):
            return self.head(self.features(x))

    def build(units):
        model = Subclassed(units)
        model(samples())
        return model

    teacher, x = build(3), samples()
    hidden = teacher.features(x).numpy()
    model = ensemble(build, teacher)
    outputs = np.concatenate(model.predict(x, verbose=0), axis=-1)
    np.testing.assert_allclose(
        model.assemble(head=None)(x), np.maximum(outputs, 0), rtol=1e-5, atol=1e-6
    )
    logs = model.fit(x, verbose=0).history
    expected = np.mean((hidden[:, :3] - outputs[:, :3]) ** 2)
    np.testing.assert_allclose(logs["student_0"][0], expected, rtol=1e-5)


def test_tokens_stay_integers_and_a_teacher_may_preprocess_them():
    def network(units, size, *middle, **head):
        parts = [keras.Input((7,), dtype="int32"), layers.Embedding(9, units), *middle]
        return keras.Sequential([*parts, layers.Dense(size, **head)])

    features = layers.Dense(6, activation="relu", name="features")
    model = network(4, 1, layers.GlobalMaxPooling1D(), features, activation="sigmoid")
    teacher = kd.Teacher(model, preprocessing=lambda tokens: tokens + 1)
    tokens = np.random.default_rng(0).integers(0, 8, (5, 7))
    pair = ensemble(lambda size: network(2, size, layers.GlobalAveragePooling1D()), teacher)
    expected = [
        np.mean((values_at(model, "features", tokens + 1)[:, chunk] - output) ** 2)
        for chunk, output in zip(pair.chunks, pair.predict(tokens, verbose=0), strict=True)
    ]
    np.testing.assert_allclose(pair.evaluate(tokens, verbose=0)[1:], expected, rtol=1e-5)
    assembled = pair.assemble()
    assert keras.backend.standardize_dtype(assembled.inputs[0].dtype) == "int32"
    assert assembled(tokens).shape == (5, 1)


@pytest.mark.slow
def test_a_student_trained_alone_gets_the_weights_of_the_joint_fit():
    def run(only=None):
        optimizer = keras.optimizers.Adam(0.05, clipnorm=0.1)
        model = ensemble(
            stateful_student, optimizer=optimizer, n=2, only=only, discriminators=discriminator
        )
        keras.utils.set_random_seed(9)
        return model, model.fit(samples(), batch_size=8, verbose=0).history

    (joint, together), (alone, apart) = run(), run(only=[1])
    assert set(apart) == {"loss", "student_1", "adversarial_1", "discriminator_1"}
    assert len(alone.students) == 1
    pairs = [
        (joint.students[1], alone.students[0]),
        (joint.discriminators[1], alone.discriminators[0]),
    ]
    for one, other in pairs:
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(apart["student_1"], together["student_1"], rtol=1e-6)


# Files and compiled steps.


def test_a_checkpoint_holds_students_and_discriminators_and_no_teacher(tmp_path):
    teacher = dense_teacher()
    model = ensemble(teacher=teacher, discriminators=discriminator, optimizer="adam")
    model.fit(samples(), verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    shapes = []
    with h5py.File(tmp_path / "w.weights.h5") as file:
        file.visititems(
            lambda _, part: shapes.append(part.shape) if isinstance(part, h5py.Dataset) else None
        )
        assert "adversary" in file
    assert teacher.get_layer("features").kernel.shape not in shapes
    assert shapes.count((6, 3)) == 2 * 3  # Two students, each with two moments of Adam.
    assert shapes.count((4, 1)) == 2 * 3
    own = {id(weight) for weight in teacher.weights}
    assert not own & {id(weight) for weight in model.variables}


@pytest.mark.parametrize("mimic", ["output", "auto"])
def test_a_loaded_ensemble_needs_its_teacher_again(mimic, tmp_path):
    teacher, x = dense_teacher("tanh"), samples()
    model = ensemble(teacher=teacher, discriminators=discriminator, chunks=PERMUTED, mimic=mimic)
    model.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras")
    for run in (lambda: loaded.fit(x, verbose=0), lambda: loaded.evaluate(x), loaded.assemble):
        with pytest.raises(ValueError, match="has no teacher.*set_teacher"):
            run()
    loaded.set_teacher(teacher)
    assert loaded.mimic == model.mimic
    np.testing.assert_array_equal(loaded.assemble()(x), model.assemble()(x))


@pytest.mark.traced
@pytest.mark.slow
def test_set_teacher_replaces_the_teacher_of_compiled_steps():
    x, other = samples(), dense_teacher()
    model = ensemble(eager=False)
    model.fit(x, verbose=0)
    model.evaluate(x, verbose=0)
    other.set_weights([3 * weight for weight in other.get_weights()])
    model.set_teacher(other)
    expected = mimicry(model, other, x)
    np.testing.assert_allclose(model.evaluate(x, verbose=0)[1:], expected, rtol=1e-5)
    history = model.fit(x, batch_size=24, verbose=0).history
    found = [history["student_0"][0], history["student_1"][0]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="`chunks`|units"):
        model.set_teacher(keras.Sequential([keras.Input((6,)), layers.Dense(7, name="features")]))


# What is rejected before training.


def test_optimizers_and_losses_that_combine_the_students_are_rejected():
    model = ensemble(optimizer=keras.optimizers.SGD(0.1, global_clipnorm=1.0))
    with pytest.raises(ValueError, match="`global_clipnorm`.*Use `clipnorm`"):
        model.fit(samples(), verbose=0)
    model.compile("sgd", loss="mse", metrics=["accuracy"])
    with pytest.raises(ValueError, match="Received: loss, metrics in `compile`"):
        model.fit(samples(), verbose=0)


def test_a_wrong_type_of_students_is_rejected_first():
    with pytest.raises(TypeError, match="`students` must be a list of built models, or a function"):
        kd.TeacherClass(None, "features", student(8))
