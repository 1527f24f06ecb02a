"""The stem: it runs once for all students, trains with them, and is assembled once."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests.teacher_class.models import dense_teacher, ensemble, samples


def stem(units=5, inputs=6, **kwargs):
    keras.utils.set_random_seed(7)
    hidden = layers.Dense(units, activation="relu", **kwargs)
    return keras.Sequential([keras.Input((inputs,)), hidden, layers.BatchNormalization()])


def on_stem(size):
    return keras.Sequential([keras.Input((5,)), layers.Dense(size)])


def test_the_students_receive_its_output():
    shared, x = stem(), samples()
    model = ensemble(on_stem, stem=shared, n=3)
    for student, output in zip(model.students, model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(student(shared(x)), output, rtol=1e-5, atol=1e-6)
    assembled = model.assemble(head=None)
    whole = np.maximum(np.concatenate(model.predict(x, verbose=0), -1), 0)
    np.testing.assert_allclose(assembled(x), whole, rtol=1e-5, atol=1e-6)
    assert assembled.count_params() == sum(m.count_params() for m in [shared, *model.students])


def test_it_trains_with_the_sum_of_the_losses():
    teacher, x = dense_teacher(), samples()
    shared = stem(kernel_regularizer=keras.regularizers.L2(0.1))
    model = ensemble(on_stem, teacher, stem=shared, mimic="output")
    parts = [shared, *model.students]
    copies = [keras.models.clone_model(part) for part in parts]
    for copy, part in zip(copies, parts, strict=True):
        copy.set_weights(part.get_weights())
    inputs = keras.Input((6,))
    features = copies[0](inputs)
    outputs = [student(features) for student in copies[1:]]
    plain = keras.Model(inputs, outputs)
    plain.compile(keras.optimizers.SGD(0.1), ["mse", "mse"], run_eagerly=True)
    target = keras.Model(teacher.inputs, teacher.get_layer("features").output)(x)
    expected = plain.fit(x, [target[:, :4], target[:, 4:]], batch_size=24, verbose=0).history
    history = model.fit(x, batch_size=24, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    for copy, part in zip(copies, parts, strict=True):
        for one, other in zip(copy.get_weights(), part.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_file_holds_it_and_files_are_assembled_with_it(tmp_path):
    teacher, x = dense_teacher(), samples()
    model = ensemble(on_stem, teacher, stem=stem(), task_weight=0.5)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    loaded.set_teacher(teacher)
    np.testing.assert_array_equal(loaded.assemble()(x), model.assemble()(x))
    model.stem.save(tmp_path / "stem.keras")
    files = {"stem": tmp_path / "stem.keras"}
    whole = kd.TeacherClass.assemble_from(teacher, "features", model.students, **files)
    np.testing.assert_array_equal(whole(x), model.assemble()(x))
    with pytest.warns(UserWarning, match=r"students \[0\] of 2 are missing"):
        kd.TeacherClass.assemble_from(
            teacher, "features", [None, model.students[1]], data=x, stem=model.stem
        )
    with pytest.raises(ValueError, match=r"takes inputs of shape.*\(None, 5\)"):
        kd.TeacherClass.assemble_from(teacher, "features", model.students)
    with pytest.raises(ValueError, match="all students need the stem, and its file does not exist"):
        kd.TeacherClass.assemble_from(teacher, "features", model.students, stem=tmp_path / "no")


def test_the_summary_lists_it():
    lines = []
    ensemble(on_stem, stem=stem()).summary(print_fn=lines.append)
    assert sum(line.split()[:1] == ["stem"] for line in "\n".join(lines).splitlines()) == 1


def shared_layer():
    shared = stem()
    inputs = keras.Input((5,))
    return [shared, keras.Model(inputs, layers.Dense(8)(shared.layers[-1](inputs)))]


def test_what_does_not_fit_is_rejected():
    with pytest.raises(TypeError, match="`stem` must be a built model, or None"):
        ensemble(on_stem, stem=layers.Dense(5))
    with pytest.raises(ValueError, match=r"cannot be trained separately. Omit `only`.*only=\[1\]"):
        ensemble(on_stem, stem=stem(), only=[1])
    with pytest.raises(ValueError, match=r"student 0 .* must take the output of the stem"):
        ensemble(on_stem, stem=stem(4))
    with pytest.raises(ValueError, match=r"takes inputs of shape \[?\(None, 6\)"):
        ensemble(on_stem, stem=stem(inputs=7))
    shared, student = shared_layer()
    with pytest.raises(ValueError, match="must not share weights with the stem"):
        ensemble([student], stem=shared)
    teacher = dense_teacher()
    whole = keras.Sequential([keras.Input((6,)), teacher.get_layer("features")])
    students = [keras.Sequential([keras.Input((8,)), layers.Dense(8)])]
    with pytest.raises(ValueError, match="share trainable layers"):
        ensemble(students, teacher, stem=whole)
