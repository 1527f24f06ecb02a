"""A distiller stands for its student where a Keras model is expected."""

import inspect

import keras
import numpy as np
import pytest

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller


def test_calling_a_distiller_runs_its_student():
    x, _ = toy.vectors()
    model = distiller()
    np.testing.assert_array_equal(model(x), model.student(x))
    assert model.output_names == ["head"]


def test_the_history_lists_the_loss_first_and_each_loss_once():
    model = distiller()
    names = [metric.name for metric in model.metrics]
    assert names[0] == "loss"
    assert names.count("loss") == 1
    assert list(model.metrics[0].result()) == ["loss", "student_loss", "soft_targets"]


@pytest.mark.parametrize(
    "metrics", [None, ["accuracy"], ["accuracy", "sparse_top_k_categorical_accuracy"]]
)
def test_results_have_the_form_of_keras(metrics):
    x, y = toy.vectors()
    model, plain = distiller(metrics=metrics), toy.mlp("student")
    plain.compile("sgd", toy.sparse_loss(), metrics=metrics)
    for found, right in [
        (model.evaluate(x, y, verbose=0), plain.evaluate(x, y, verbose=0)),
        (model.test_on_batch(x, y), plain.test_on_batch(x, y)),
    ]:
        assert np.shape(found) == np.shape(right)
        np.testing.assert_allclose(found, right, rtol=1e-5)
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    wanted = plain.evaluate(x, y, verbose=0, return_dict=True)
    assert list(named) == [*wanted, "student_loss"]
    assert np.shape(model.train_on_batch(x, y)) == np.shape(plain.train_on_batch(x, y))
    assert set(model.train_on_batch(x, y, return_dict=True)) == {*named, "soft_targets"}


@pytest.mark.slow
def test_results_of_several_outputs_are_listed_as_keras_lists_them():
    x, y = toy.vectors()
    students = [toy.mlp("one"), toy.mlp("two", seed=1)]
    model = kd.MutualLearning(students)
    model.compile("sgd", toy.sparse_loss(), metrics=["accuracy"])
    joined = model.student
    joined.compile(
        "sgd", toy.sparse_loss(), metrics={name: ["accuracy"] for name in ("one", "two")}
    )
    labels = {"one": y, "two": y}
    right = joined.evaluate(x, labels, verbose=0)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), right, rtol=1e-5)


def test_compile_takes_the_arguments_of_keras_in_its_order():
    right = inspect.signature(keras.Model.compile)
    for kind in (
        kd.Distiller,
        kd.SelfDistiller,
        kd.MutualLearning,
        kd.DeepSupervision,
        kd.TeacherClass,
    ):
        own = inspect.signature(kind.compile)
        assert list(own.parameters) == list(right.parameters)
        for name, parameter in right.parameters.items():
            assert own.parameters[name].default == parameter.default
    x, y = toy.vectors()
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1))
    model.compile("sgd", toy.sparse_loss(), None, ["accuracy"], None, True, 2)
    assert model.run_eagerly
    assert model.steps_per_execution == 2
    assert "accuracy" in model.evaluate(x, y, verbose=0, return_dict=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'metric'"):
        model.compile("sgd", toy.sparse_loss(), metric=["accuracy"])


def test_models_that_train_others_are_not_exported(tmp_path):
    with pytest.raises(TypeError, match="Pass its student, `distiller.student`"):
        distiller().export(tmp_path / "model")
    several = kd.MutualLearning([toy.mlp("one"), toy.mlp("two", seed=1)])
    with pytest.raises(TypeError, match="Pass one of its students, `distiller.students`"):
        several.export(tmp_path / "model")
    chunks = kd.TeacherClass(toy.mlp("teacher"), "hidden", [toy.mlp("student", classes=8)])
    with pytest.raises(TypeError, match=r"`teacher_class.assemble\(\)`"):
        chunks.export(tmp_path / "model")


@pytest.mark.parametrize(
    "use",
    [
        lambda model, path: kd.export.to_tflite(model, path / "m.tflite"),
        lambda model, path: kd.export.best(model, toy.vectors(), path / "m.tflite"),
        lambda model, path: kd.report.compare({"a": model, "b": toy.mlp("b")}, toy.vectors()),
        lambda model, path: kd.Teacher(model),
        lambda model, path: kd.taps(model),
        lambda model, path: kd.pseudo_label(model, toy.vectors()),
        lambda model, path: kd.compression.cluster(
            model, data=toy.vectors(), epochs=1, loss=toy.sparse_loss()
        ),
        lambda model, path: kd.with_teacher_head(model, toy.mlp("t"), "hidden", "hidden"),
        lambda model, path: kd.TeacherClass.assemble_from(toy.mlp("t"), "hidden", [model]),
    ],
)
def test_a_distiller_in_place_of_its_student_is_rejected_by_name(use, tmp_path):
    sentence = r"must be a plain model and not a Distiller.* Pass its student, `distiller.student`"
    with pytest.raises(TypeError, match=sentence):
        use(distiller(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_labels_may_have_another_rank_in_the_next_call(method):
    (x, y), model = toy.vectors(), distiller(eager=False, rate=0.0)
    found = []
    for labels in (y, y[:, None], y):
        result = getattr(model, method)(x, labels, verbose=0)
        found.append(result.history["loss"] if method == "fit" else result)
    np.testing.assert_allclose(found[1:], found[:-1], rtol=1e-5)


def test_labels_of_the_same_rank_are_not_traced_again():
    (x, y), model = toy.vectors(), distiller(eager=False)
    model.fit(x, y, verbose=0)
    step = model.train_function
    model.fit(x, y.astype("float32"), verbose=0)
    assert model.train_function is step
