"""Assembly: students in parallel, from memory or from files, reproduce the teacher."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.teacher_class.assembly import assemble_students
from keras_kd.teacher_class.representation import make_representation
from tests import toy
from tests.teacher_class.models import (
    PERMUTED,
    dense_teacher,
    ensemble,
    exact_students,
    linear_student,
    samples,
    student,
    values_at,
)


def assemble(teacher, layer, students, chunks, head="teacher", mimic="output"):
    representation = make_representation(teacher, layer, mimic)
    return assemble_students(students, chunks, representation, head)


@pytest.mark.parametrize(
    ("activation", "mimic"),
    [
        ("relu", "output"),
        ("relu", "preactivation"),
        ("tanh", "output"),
        ("tanh", "preactivation"),
        (None, "output"),
    ],
)
def test_exact_students_reproduce_the_teacher(activation, mimic):
    teacher, x = dense_teacher(activation), samples()
    students = exact_students(teacher, "features", PERMUTED, mimic == "preactivation")
    model = assemble(teacher, "features", students, PERMUTED, mimic=mimic)
    np.testing.assert_allclose(model(x), teacher(x), atol=1e-5)
    headless = assemble(teacher, "features", students, PERMUTED, head=None, mimic=mimic)
    np.testing.assert_allclose(headless(x), values_at(teacher, "features", x), atol=1e-5)


@pytest.mark.parametrize("layer", ["conv", "relu", "pool", "logits"])
def test_the_layer_may_be_a_map_an_activation_a_pooling_or_the_output(layer):
    teacher, x = toy.cnn("teacher", seed=1), toy.data(4)[0]
    chunks = [[3, 1], [0, 2]]
    model = assemble(teacher, layer, exact_students(teacher, layer, chunks), chunks)
    np.testing.assert_allclose(model(x), teacher(x), atol=1e-5)


def test_the_relu_of_the_teacher_is_applied_to_the_outputs():
    x, whole = samples(), [[*range(8)]]
    (linear,) = students = [linear_student(8)]
    given = assemble(dense_teacher(), "features", students, whole, head=None)
    np.testing.assert_array_equal(given(x), np.maximum(linear(x), 0))


def test_one_student_may_mimic_a_layer_of_a_nested_teacher():
    inputs = keras.Input((6,))
    inner = dense_teacher()
    teacher = keras.Model(inputs, layers.Dense(3)(inner(inputs)), name="outer")
    students = exact_students(inner, "features", [[*range(8)]])
    model = assemble(teacher, "teacher/features", students, [[*range(8)]])
    np.testing.assert_allclose(model(samples()), teacher(samples()), atol=1e-5)


def test_training_the_assembled_model_trains_the_students_and_not_the_teacher(tmp_path):
    teacher, x = dense_teacher(), samples()
    before = teacher.get_weights()
    students = [student(4), student(4)]
    model = assemble(teacher, "features", students, [[0, 1, 2, 3], [4, 5, 6, 7]])
    own = [students[1].get_weights()[0], model.get_layer("teacher_head").get_weights()[0]]
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(x, np.arange(24) % 4, verbose=0)
    now = [students[1].get_weights()[0], model.get_layer("teacher_head").get_weights()[0]]
    assert not any(map(np.array_equal, own, now))
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(x), model(x))


@pytest.mark.slow
def test_an_assembled_model_with_permuted_units_is_exported_to_int8(tmp_path):
    teacher, x = toy.cnn("teacher", seed=1, activation="softmax"), toy.data()[0]
    model = assemble(teacher, "features", exact_students(teacher, "features", PERMUTED), PERMUTED)
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8", calibration=x)
    np.testing.assert_allclose(file.predict(x), model(x), atol=0.1)


def test_the_head_may_be_a_layer():
    model, head = ensemble(), layers.Dense(2, name="mine")
    assembled = model.assemble(head=head, name="transfer")
    assert (assembled.name, assembled.output_shape) == ("transfer", (None, 2))
    assert assembled.get_layer("mine") is head
    with pytest.raises(TypeError, match="`head` must be 'teacher', a Keras layer"):
        model.assemble(head="teachers")


# From files.


def test_students_from_files_are_assembled_like_those_in_memory(tmp_path):
    teacher, x = dense_teacher(), samples()
    model = ensemble(teacher=teacher, chunks=PERMUTED)
    files = [tmp_path / f"student_{i}.keras" for i in range(3)]
    for one, file in zip(model.students, files, strict=True):
        one.save(file)
    again = kd.TeacherClass.assemble_from(teacher, "features", files, chunks=PERMUTED)
    np.testing.assert_array_equal(again(x), model.assemble()(x))
    preactivation = ensemble(model.students, teacher, chunks=PERMUTED, mimic="auto")
    np.testing.assert_array_equal(again(x), preactivation.assemble()(x))
    alone = ensemble([model.students[2]], teacher, chunks=PERMUTED, only=[2], name="alone")
    with pytest.raises(ValueError, match=r"'alone' has the students \[2\] of 3.*assemble_from"):
        alone.assemble()


@pytest.mark.parametrize("layer", ["features", "conv"])
def test_the_mean_of_the_teacher_replaces_a_missing_student(layer, tmp_path):
    teacher, x = toy.cnn("teacher", seed=1), toy.data()[0]
    units = teacher.get_layer(layer).output.shape[-1]
    chunks = [list(range(1, units)), [0]]
    students = exact_students(teacher, layer, chunks)
    files = [students[0], tmp_path / "missing.keras"]
    with pytest.warns(UserWarning, match=r"students \[1\] of 2 are missing"):
        model = kd.TeacherClass.assemble_from(teacher, layer, files, chunks, data=x, head=None)
    whole = values_at(teacher, layer, x)
    np.testing.assert_allclose(model(x)[..., 1:], whole[..., 1:], atol=1e-5)
    mean = np.full(whole[..., 0].shape, whole[..., 0].mean())
    np.testing.assert_allclose(model(x)[..., 0], mean, rtol=1e-4)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "m.keras")(x), model(x))


@pytest.mark.parametrize(
    ("activation", "split", "accepted"),
    [
        ("relu", "contiguous", True),
        (None, "correlated", True),
        ("tanh", "contiguous", False),
        ("relu", "correlated", False),
    ],
)
def test_files_need_the_mimic_of_their_training_if_it_changes_the_model(
    activation, split, accepted
):
    teacher, x = dense_teacher(activation), samples()
    arguments = (teacher, "features", [student(4), student(4)], None, split, x)
    if accepted:
        assert kd.TeacherClass.assemble_from(*arguments)(x).shape == (24, 4)
        return
    with pytest.raises(ValueError, match="different ways.*Pass the one of their training"):
        kd.TeacherClass.assemble_from(*arguments)
    assert kd.TeacherClass.assemble_from(*arguments, mimic="preactivation")(x).shape == (24, 4)


def test_files_that_cannot_be_used_are_rejected(tmp_path):
    teacher, one = dense_teacher(), student(4)
    with pytest.raises(ValueError, match="there must be at least one student"):
        kd.TeacherClass.assemble_from(teacher, "features", [None, None])
    with pytest.raises(ValueError, match=r"students \[1\] are missing. Pass samples as `data`"):
        kd.TeacherClass.assemble_from(teacher, "features", [one, None])
    (tmp_path / "broken.keras").write_text("nothing")
    with pytest.raises(ValueError, match=r"student 1 cannot be read.*Pass None"):
        kd.TeacherClass.assemble_from(teacher, "features", [one, tmp_path / "broken.keras"])
    with pytest.raises(TypeError, match="must hold paths, models or None"):
        kd.TeacherClass.assemble_from(teacher, "features", [one, 3])
    with pytest.raises(ValueError, match=r"student 1 .* shape, \(None, 4\).*\(None, 5\)"):
        kd.TeacherClass.assemble_from(teacher, "features", [one, student(5)])
