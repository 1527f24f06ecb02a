"""Unknown keyword arguments are explained, in every function that trains."""

import inspect

import keras
import pytest

import keras_kd as kd
from keras_kd.training.keywords import explain_keywords, keyword_names, reject_unknown
from tests import toy


def train(model, x, *, epochs=1, **fit):
    return model, x, epochs, fit


def test_the_signature_stays_and_known_words_are_passed_on():
    explained = explain_keywords(keras.Model.fit)(train)
    assert inspect.signature(explained) == inspect.signature(train)
    assert inspect.getfullargspec(explained) == inspect.getfullargspec(train)
    assert explained(1, 2, batch_size=8) == (1, 2, 1, {"batch_size": 8})
    assert explained.__name__ == "train"


def test_names_are_those_that_can_be_passed():
    assert keyword_names(train) == ["model", "x", "epochs"]
    assert "self" not in keyword_names(keras.Model.fit)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temperature", r"SoftTargets\(temperature=4\)"),
        ("T", r"SoftTargets\(temperature=4\)"),
        ("alpha", "student_loss_weight.*weight="),
        ("distillation_loss_fn", r"losses=\[kd"),
        ("student_loss_fn", "`compile`"),
        ("teacher_layer_name", r"Hint\("),
        ("teacher", "The argument is `teachers=`"),
        ("epoch", "Did you mean 'epochs'"),
        ("weighting", "Pass it to the distiller"),
        ("xyz", "Received: xyz=3"),
    ],
)
def test_words_of_other_libraries_and_near_names_are_explained(name, hint):
    message = rf"train\(\) got an unexpected keyword argument '{name}'\. .*{hint}"
    with pytest.raises(TypeError, match=message):
        reject_unknown("train()", {name: 3}, keyword_names(train))


def test_a_large_value_is_shortened():
    with pytest.raises(TypeError) as error:
        reject_unknown("train", {"alpha": list(range(10_000))}, [])
    assert len(str(error.value)) < 400


def functions():
    """Each function that trains, with the arguments that it needs."""
    x, y = toy.vectors(8)
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    labels = {"loss": toy.sparse_loss(), "verbose": 0}
    data = {"data": (x, y), "epochs": 1, **labels}
    distiller = kd.Distiller(student, teacher)
    distiller.compile("sgd", toy.sparse_loss())
    return {
        "Distiller": lambda **k: kd.Distiller(student, teacher, **k),
        "SelfDistiller": lambda **k: kd.SelfDistiller(student, **k),
        "MutualLearning": lambda **k: kd.MutualLearning([student, teacher], **k),
        "DeepSupervision": lambda **k: kd.DeepSupervision(student, ["hidden"], **k),
        "compile": lambda **k: distiller.compile("sgd", **k),
        "fit": lambda **k: distiller.fit(x, y, **k),
        "function_matching": lambda **k: kd.function_matching(student, teacher, **k),
        "born_again": lambda **k: kd.born_again(lambda: toy.mlp("s"), x, y, **labels, **k),
        "distill_chain": lambda **k: kd.distill_chain([teacher, student], x, y, **labels, **k),
        "prune": lambda **k: kd.compression.prune(student, **data, **k),
        "cluster": lambda **k: kd.compression.cluster(student, **data, **k),
        "quantize_aware": lambda **k: kd.compression.quantize_aware(student, **data, **k),
        "pipeline": lambda **k: kd.compression.pipeline([], student, "folder", **data, **k),
        "SoftTargets": kd.losses.SoftTargets,
    }


@pytest.mark.parametrize("name", functions())
@pytest.mark.parametrize(("word", "hint"), [("T", "SoftTargets"), ("alpha", "weight")])
def test_every_function_that_trains_explains_them(name, word, hint):
    message = rf"^{name}\(\) got an unexpected keyword argument '{word}'.*{hint}"
    with pytest.raises(TypeError, match=message):
        functions()[name](**{word: 0.5})


def test_a_stage_is_checked_before_any_is_run(tmp_path):
    stages = [
        kd.compression.Stage("distill", epochs=1),
        kd.compression.Stage("prune", sparsty=0.5, epochs=1),
    ]
    data = {"data": toy.vectors(8), "loss": toy.sparse_loss()}
    with pytest.raises(TypeError, match=r"Stage 'prune' got .* Did you mean 'sparsity'"):
        kd.compression.pipeline(stages, toy.mlp("student"), tmp_path, **data)
    assert list(tmp_path.iterdir()) == []


def test_a_decorated_constructor_keeps_its_configuration():
    loss = kd.losses.SoftTargets(2.0, weight=0.5)
    assert kd.losses.SoftTargets.from_config(loss.get_config()).get_config() == loss.get_config()
