"""A batch is a dict that holds more than one model takes: each caller gives it its own part.

The wrong input has the same shape as the right one and comes first in the alphabet.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy

X, Y = toy.pairs(32)
IMAGE = {"image": X["image"]}
#: How a model with one or several inputs takes them.
FORMS = [dict, list, None]


def batches(size=16):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(size)


def outputs(model, x):
    """The outputs of a model for exactly the inputs that it takes."""
    x = x if isinstance(model.input, dict) else [x[key] for key in x]
    return np.array(model(x if isinstance(x, dict) or len(x) > 1 else x[0]))


def models(form=dict):
    """A student of the image and a teacher of both."""
    both = list if form is None else form
    student = toy.named("student", form=form, seed=1)
    return student, toy.named("teacher", ("audio", "image"), form=both, seed=2)


def log_softmax(logits):
    logits = logits.astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def cross_entropy(logits):
    return -log_softmax(logits)[np.arange(len(Y)), Y].mean()


def divergence(teacher, student):
    p, q = log_softmax(teacher), log_softmax(student)
    return (np.exp(p) * (p - q)).sum(-1).mean()


def distiller(student, teachers, **arguments):
    model = kd.Distiller(student, teachers, kd.losses.SoftTargets(1.0), **arguments)
    model.compile(
        keras.optimizers.SGD(0.0), toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True
    )
    return model


def history(model, x=X, y=Y):
    found = model.fit(x, y, 32, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in found.items()}


@pytest.mark.parametrize("preprocessing", [None, lambda x: x], ids=["plain", "preprocessing"])
@pytest.mark.parametrize("form", FORMS, ids=["dict", "list", "single"])
def test_training_evaluation_and_prediction(form, preprocessing):
    student, teacher = models(form)
    model = distiller(student, kd.Teacher(teacher, preprocessing=preprocessing))
    logits = outputs(student, IMAGE)
    seen = history(model)
    np.testing.assert_allclose(seen["student_loss"], cross_entropy(logits), rtol=1e-5)
    np.testing.assert_allclose(
        seen["soft_targets"], divergence(outputs(teacher, X), logits), rtol=1e-4
    )
    for found in (
        model.evaluate(batches(), verbose=0, return_dict=True),
        model.test_on_batch(X, Y, return_dict=True),
    ):
        np.testing.assert_allclose(found["loss"], cross_entropy(logits), rtol=1e-5)
        np.testing.assert_allclose(found["accuracy"], (logits.argmax(-1) == Y).mean(), rtol=1e-5)
    np.testing.assert_allclose(model.predict(X, verbose=0), logits, atol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(X), logits, atol=1e-5)


def test_two_teachers_of_different_inputs():
    student, teacher = models()
    other = toy.named("other", ("audio",), seed=3)
    model = distiller(student, [teacher, other])
    seen, logits = history(model), outputs(student, IMAGE)
    right = [
        divergence(outputs(teacher, X), logits),
        divergence(outputs(other, {"audio": X["audio"]}), logits),
    ]
    np.testing.assert_allclose(seen["soft_targets"], np.mean(right), rtol=1e-4)


def test_a_subclassed_teacher_and_a_hidden_tap():
    student, _ = models()
    inner = toy.named("inner", seed=2)

    class Reader(keras.Model):
        def __init__(self):
            super().__init__(name="reader")
            self.inner = inner

        def call(self, inputs):
            return self.inner({"image": inputs["image"]})

    teacher = Reader()
    teacher(X)
    model = kd.Distiller(student, teacher, kd.losses.Hint("inner/hidden", "hidden"))
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    hidden = [keras.Model(m.input, m.get_layer("hidden").output) for m in (inner, student)]
    one, other = (outputs(part, IMAGE) for part in hidden)
    np.testing.assert_allclose(
        history(model, y=None)["hint"], ((one - other) ** 2).mean(), rtol=1e-4
    )


def test_students_that_teach_each_other_take_their_own_inputs():
    one, other = toy.named("one", seed=1), toy.named("other", ("audio",), seed=2)
    model = kd.MutualLearning([one, other], kd.losses.SoftTargets(1.0))
    model.compile(
        keras.optimizers.SGD(0.0), toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True
    )
    right = {"one": outputs(one, IMAGE), "other": outputs(other, {"audio": X["audio"]})}
    seen = history(model)
    for name, logits in right.items():
        np.testing.assert_allclose(seen[f"{name}_loss"], cross_entropy(logits), rtol=1e-5)
        np.testing.assert_allclose(model.predict(X, verbose=0)[name], logits, atol=1e-5)
        np.testing.assert_allclose(model.student(X)[name], logits, atol=1e-5)
    np.testing.assert_allclose(
        seen["one_soft_targets"], divergence(right["other"], right["one"]), rtol=1e-4
    )


@pytest.mark.parametrize("form", [dict, None], ids=["dict", "single"])
@pytest.mark.parametrize(
    "make",
    [
        lambda student: kd.SelfDistiller(student, kd.losses.SoftTargets(1.0), decay=0.9),
        lambda student: kd.DeepSupervision(student, ["hidden"]),
    ],
    ids=["self", "exits"],
)
def test_a_student_without_a_separate_teacher(make, form):
    student = toy.named("student", form=form, seed=1)
    model = make(student)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    right = cross_entropy(outputs(student, IMAGE))
    np.testing.assert_allclose(history(model)["student_loss"], right, rtol=1e-5)
    np.testing.assert_allclose(
        model.evaluate(X, Y, verbose=0, return_dict=True)["loss"], right, rtol=1e-5
    )


def test_a_teacher_class_and_its_assembled_model():
    teacher = toy.named("teacher", ("audio", "image"), seed=2)
    students = [toy.named("a", units=3, seed=3), toy.named("b", ("audio",), units=3, seed=4)]
    model = kd.TeacherClass(teacher, "hidden", students, mimic="output")
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    hidden = keras.Model(teacher.input, teacher.get_layer("hidden").output)(X)
    right = [outputs(students[0], IMAGE), outputs(students[1], {"audio": X["audio"]})]
    seen = history(model, y=None)
    for i, found in enumerate(right):
        wanted = ((found - np.array(hidden)[:, 3 * i : 3 * i + 3]) ** 2).mean()
        np.testing.assert_allclose(seen[f"student_{i}"], wanted, rtol=1e-4)
    assembled = model.assemble(head=None)
    joined = np.maximum(np.concatenate(right, -1), 0)
    np.testing.assert_allclose(assembled(X), joined, atol=1e-5)


def test_functions_that_run_teachers_over_data():
    student, teacher = models()
    logits = [outputs(student, IMAGE), outputs(teacher, X)]
    report = kd.screen_teachers([student, teacher], batches(), keep=2, print_fn=None)
    found = {row.teacher.name: row.cross_entropy for row in report.ranking}
    np.testing.assert_allclose(found["student"], cross_entropy(logits[0]), rtol=1e-4)
    np.testing.assert_allclose(found["teacher"], cross_entropy(logits[1]), rtol=1e-4)
    labeled = kd.pseudo_label(student, batches(), threshold=0.0)
    labels = np.concatenate([y for _, y in labeled.dataset])
    np.testing.assert_array_equal(labels, logits[0].argmax(-1))
    assert set(labeled.dataset.element_spec[0]) == {"audio", "image"}


def test_a_cache(tmp_path):
    student, teacher = models()[0], toy.named("teacher", seed=2)
    samples = tf.data.Dataset.from_tensor_slices((X, Y))
    build = kd.KnowledgeCache.build
    cache = build(teacher, samples, tmp_path / "c", dtype="float32", verbose=0)
    seen = history(distiller(student, cache.teachers), cache.join(samples.batch(32)), None)
    logits = outputs(student, IMAGE)
    right = divergence(outputs(teacher, IMAGE), logits)
    np.testing.assert_allclose(seen["soft_targets"], right, rtol=1e-4)
    np.testing.assert_allclose(seen["student_loss"], cross_entropy(logits), rtol=1e-5)
    audio = samples.map(lambda x, y: ({"audio": x["audio"]}, y))
    with pytest.raises(ValueError, match=r"Teacher 'teacher' takes .* needs \['image'\]"):
        build(teacher, audio, tmp_path / "d", verbose=0)


@pytest.mark.parametrize("form", [dict, None], ids=["dict", "single"])
def test_files_reports_and_teachers_from_files(form, tmp_path):
    student, _ = models(form)
    logits = outputs(student, IMAGE)
    accuracy = (logits.argmax(-1) == Y).mean()
    file = kd.export.to_tflite(
        student, tmp_path / "s.tflite", "int8", batches(), verification=batches(), batch_size=32
    )
    assert file.verification.agreement > 0.9
    exact = kd.export.to_tflite(student, tmp_path / "e.tflite", batch_size=32)
    found = kd.export.evaluate(exact, batches(), student)
    np.testing.assert_allclose(found.accuracy, accuracy)
    assert found.max_difference < 1e-4
    np.testing.assert_allclose(exact.predict(X), logits, atol=1e-4)
    assert kd.export.layer_errors(file, student, batches())
    report = kd.report.compare({"keras": student, "file": exact}, batches(), runs=1)
    assert [report[name].accuracy for name in ("keras", "file")] == [pytest.approx(accuracy)] * 2
    teacher = kd.Teacher.from_tflite(exact.path)
    seen = history(distiller(toy.named("small", seed=5), teacher))
    small = outputs(toy.named("small", seed=5), IMAGE)
    np.testing.assert_allclose(seen["soft_targets"], divergence(logits, small), rtol=1e-3)


def test_a_student_with_the_classifier_of_its_teacher(tmp_path):
    student, teacher = models()
    model = kd.with_teacher_head(student, teacher, "hidden", "hidden")
    right = np.array(model(IMAGE))
    trained = kd.Distiller(model, teacher, kd.losses.Hint("hidden", "teacher_features"))
    np.testing.assert_allclose(trained.predict(X, verbose=0), right, atol=1e-5)


def test_a_generation_that_is_trained_alone():
    losses = []
    for x in (X, IMAGE):
        result = kd.born_again(
            lambda: toy.named("student", seed=1),
            x,
            Y,
            generations=2,
            loss=toy.sparse_loss(),
            optimizer=keras.optimizers.SGD(0.1),
            shuffle=False,
            verbose=0,
        )
        losses.append([history.history["loss"][0] for history in result.histories])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
