"""A teacher for each output of a student."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.output_teachers import OutputTeachers
from keras_kd.teachers.teacher import as_teachers
from tests import toy

X, _ = toy.vectors(12)
LOSSES = {"kind": toy.sparse_loss(), "size": "mse"}
Y = {"kind": np.arange(12) % 4, "size": np.ones((12, 2), "float32")}


def student():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = layers.Dense(6, activation="relu", name="hidden")(inputs)
    outputs = {"kind": layers.Dense(4, name="kind")(x), "size": layers.Dense(2, name="size")(x)}
    return keras.Model(inputs, outputs, name="student")


def teachers():
    kind = toy.mlp("kind_teacher", classes=4, activation="softmax", seed=1)
    return {"kind": kind, "size": toy.mlp("size_teacher", classes=2, seed=2)}


def train(model, given, losses=None, **kwargs):
    distiller = kd.Distiller(model, given, losses, **kwargs)
    distiller.compile(keras.optimizers.SGD(0.0), LOSSES, run_eagerly=True)
    return distiller, distiller.fit(X, Y, batch_size=12, verbose=0).history


def test_each_output_learns_from_its_own_teacher():
    model, given = student(), teachers()
    distiller, history = train(model, given)
    found = model.predict(X, verbose=0)
    t, s = np.log(given["kind"].predict(X, verbose=0)), found["kind"]
    p, q = (np.exp(z / 2) / np.exp(z / 2).sum(-1, keepdims=True) for z in (t, s))
    soft = 4 * (p * np.log(p / q)).sum(-1).mean()
    squared = ((given["size"].predict(X, verbose=0) - found["size"]) ** 2).mean()
    np.testing.assert_allclose(history["soft_targets_kind"], [soft], rtol=1e-4)
    np.testing.assert_allclose(history["outputs_mse_size"], [squared], rtol=1e-5)
    (teacher,) = distiller.teachers
    assert isinstance(teacher, kd.Teacher)
    assert teacher.parameters == sum(one.count_params() for one in given.values())


def test_outputs_without_a_teacher_learn_from_labels_alone():
    _, history = train(student(), {"size": teachers()["size"]})
    assert set(history) >= {"outputs_mse_size", "kind_loss", "size_loss"}
    assert not any(name.startswith("soft_targets") for name in history)


def test_a_hint_at_a_layer_of_one_teacher():
    hint = kd.losses.Hint("kind/hidden", "hidden", projector=None)
    both = teachers()
    both["kind"] = toy.mlp("kind_teacher", units=6, seed=1)
    _, history = train(student(), {"kind": both["kind"]}, [hint])
    t, s = (keras.Model(m.inputs, m.get_layer("hidden").output) for m in (both["kind"], student()))
    squared = ((t.predict(X, verbose=0) - s.predict(X, verbose=0)) ** 2).mean()
    np.testing.assert_allclose(history["hint"], [squared], rtol=1e-5)


def test_each_teacher_has_its_preprocessing():
    given = teachers()
    given["size"] = kd.Teacher(given["size"], preprocessing=lambda x: 2 * x)
    model = student()
    _, history = train(model, given)
    target = given["size"].model.predict(2 * X, verbose=0)
    squared = ((target - model.predict(X, verbose=0)["size"]) ** 2).mean()
    np.testing.assert_allclose(history["outputs_mse_size"], [squared], rtol=1e-5)


def test_a_cache_gives_the_values_of_the_live_teachers(tmp_path):
    given = teachers()
    _, live = train(student(), given)
    cache = kd.KnowledgeCache.build(given, X, tmp_path / "cache", dtype="float32", verbose=0)
    assert "'kind', 'size'" in repr(cache)
    for one in (given, cache.teachers):
        distiller = kd.Distiller(student(), one)
        distiller.compile(keras.optimizers.SGD(0.0), LOSSES, run_eagerly=True)
        history = distiller.fit(cache.join(toy.batches(X, Y, size=12)), verbose=0).history
        np.testing.assert_allclose(history["loss"], live["loss"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_columns_of_a_teacher_of_more_classes_can_be_selected(kind):
    activation = "softmax" if kind == "probabilities" else None
    more, columns = toy.mlp("more", classes=6, activation=activation), [5, 0, 2, 3]
    chosen = keras.Model(more.inputs, keras.ops.take(more.outputs[0], columns, axis=-1))
    model = student()
    _, history = train(model, {"kind": kd.Teacher(chosen, outputs=kind)})
    scores = more.predict(X, verbose=0)[:, columns]
    t, s = np.log(scores) if activation else scores, model.predict(X, verbose=0)["kind"]
    p, q = (np.exp(z / 2) / np.exp(z / 2).sum(-1, keepdims=True) for z in (t, s))
    soft = 4 * (p * np.log(p / q)).sum(-1).mean()
    np.testing.assert_allclose(history["soft_targets_kind"], [soft], rtol=1e-4)


@pytest.mark.parametrize("names", [["kind", "size"], ["kind"]])
def test_a_larger_student_warns_only_if_every_output_has_a_teacher(names):
    small = {"kind": toy.mlp("a", units=1, classes=4), "size": toy.mlp("b", units=1, classes=2)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kd.Distiller(student(), {name: small[name] for name in names})
    messages = [str(one.message) for one in caught]
    assert any("is larger than its teacher" in one for one in messages) == (len(names) == 2)


def test_several_outputs_of_a_teacher_are_found_by_name():
    both = student()
    (teacher,) = as_teachers({"kind": both, "size": teachers()["size"]})
    assert teacher.route(Tap("kind"))[1] == Tap("kind")
    assert teacher.route(Tap("size"))[1] == Tap(None)
    evidence = teacher.evidence()
    assert {name: one.units for name, one in evidence.items()} == {"kind": 4, "size": 2}


def test_the_fingerprint_depends_on_each_teacher():
    prints = []
    for seed in (1, 1, 3):
        given = {**teachers(), "size": toy.mlp("size_teacher", classes=2, seed=seed)}
        (teacher,) = as_teachers(given)
        prints.append(str(teacher.fingerprint(keras.KerasTensor((None, 5)))))
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("given", "losses", "message"),
    [
        ({}, None, r"names of the student's outputs as its keys. Received: teachers=\[\]"),
        ({"kinds": 0}, None, r"no loss uses the teachers of the outputs \['kinds'\]"),
        ({"kind": 0}, "soft_targets", r"'OUTPUT/LAYER' .* Received: teacher_tap=None"),
        ({"kind": "cached"}, None, "must be a model that runs"),
        ({"kind": "classes"}, None, "`classes` is not supported for teachers by output"),
    ],
)
def test_what_cannot_be_used_is_rejected(given, losses, message):
    kinds = {
        0: toy.mlp("one"),
        "cached": kd.Teacher.from_outputs({"a": (4,)}),
        "classes": kd.Teacher(toy.mlp("one"), classes=[0, 1, 2, 3]),
    }
    if losses == "soft_targets":
        losses = kd.losses.SoftTargets(student_tap="kind")
    with pytest.raises(ValueError, match=message):
        kd.Distiller(student(), {name: kinds[key] for name, key in given.items()}, losses)


def test_it_needs_a_dictionary_by_name():
    with pytest.raises(ValueError, match="names of the student's outputs"):
        OutputTeachers({0: kd.Teacher(toy.mlp("one"))})
