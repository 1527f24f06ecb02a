"""Evaluation without a loss on labels: the distillation losses and the agreement with teachers."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller

X, Y = toy.vectors(40)
HELD_OUT, LABELS = toy.vectors(24, seed=1)


def soft():
    return kd.losses.SoftTargets(1.0)


def compiled(model, loss=None, rate=0.0, **arguments):
    model.compile(keras.optimizers.SGD(rate), loss, **arguments)
    return model


def probabilities(model, x=HELD_OUT):
    logits = np.array(model(x), "float64")
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def divergence(teacher, student):
    return (teacher * np.log(teacher / student)).sum(-1).mean()


def agreement(teacher, student):
    return (teacher.argmax(-1) == student.argmax(-1)).mean()


def evaluate(model, *data):
    return model.evaluate(*(data or (HELD_OUT,)), verbose=0, return_dict=True)


@pytest.mark.traced
@pytest.mark.parametrize("eager", [True, False])
def test_the_loss_is_that_of_training_without_its_state(eager):
    student, teacher = toy.mlp("student"), toy.mlp("teacher", units=6, seed=1)
    losses = [soft(), kd.losses.OutputsMSE(weight=0.5)]
    model = kd.Distiller(student, teacher, losses, noise=kd.noise.LogitNoise(9.0, seed=0))
    compiled(model, run_eagerly=eager)
    noise = [np.array(v) for v in model.objective.noise.variables]
    p, q = probabilities(teacher), probabilities(student)
    squares = ((np.array(teacher(HELD_OUT)) - np.array(student(HELD_OUT))) ** 2).mean()
    found = evaluate(model)
    assert set(found) == {"loss", "soft_targets", "outputs_mse", "agreement"}
    np.testing.assert_allclose(found["soft_targets"], divergence(p, q), rtol=1e-4)
    np.testing.assert_allclose(found["outputs_mse"], squares, rtol=1e-4)
    np.testing.assert_allclose(found["loss"], divergence(p, q) + squares / 2, rtol=1e-4)
    np.testing.assert_allclose(found["agreement"], agreement(p, q), rtol=1e-5)
    assert model.evaluate(HELD_OUT, verbose=0) == pytest.approx(found["loss"])
    for one, other in zip(noise, model.objective.noise.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_validation_follows_the_student_and_stops_training_in_time():
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), soft())
    compiled(model, rate=0.5)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    history = model.fit(
        X, epochs=12, validation_data=(HELD_OUT,), callbacks=[stop], verbose=0
    ).history
    assert {"val_loss", "val_soft_targets", "val_agreement"} <= set(history)
    assert min(history["val_loss"]) < history["val_loss"][0] / 2
    best = divergence(probabilities(model.teachers[0].model), probabilities(model.student))
    np.testing.assert_allclose(best, min(history["val_loss"]), rtol=1e-4)


def test_with_a_loss_on_labels_no_teacher_runs_and_the_parts_are_comparable():
    teacher, counter = toy.counted(toy.mlp("teacher", seed=1))
    model = compiled(kd.Distiller(toy.mlp("student"), teacher, soft()), toy.sparse_loss())
    history = model.fit(X, Y, 40, shuffle=False, verbose=0, validation_data=(X, Y)).history
    assert int(counter.count) == 1
    assert set(history) == {"loss", "student_loss", "soft_targets", "val_loss", "val_student_loss"}
    np.testing.assert_allclose(history["val_student_loss"], history["student_loss"], rtol=1e-5)


def test_the_student_runs_in_inference_mode_and_once():
    student = toy.cnn("student", dropout=0.9)
    x = toy.data(8)[0]
    model = compiled(kd.Distiller(student, toy.cnn("teacher", seed=1), soft()))
    before = [np.array(weight) for weight in student.variables]
    first, second = evaluate(model, x), evaluate(model, x)
    assert first == second
    teacher = probabilities(model.teachers[0].model, x)
    np.testing.assert_allclose(
        first["loss"], divergence(teacher, probabilities(student, x)), rtol=1e-4
    )
    for one, other in zip(before, student.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_memory_bank_is_left_as_it_is():
    loss = kd.losses.ContrastiveRepresentation("hidden", "hidden", embedding=4, bank_size=8)
    model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), loss)
    compiled(model, run_eagerly=True)
    model.fit(X, verbose=0)
    (heads,) = model.projectors.values()
    bank = np.array(heads.teacher_bank)
    assert evaluate(model)["loss"] > 0
    np.testing.assert_array_equal(heads.teacher_bank, bank)
    model.fit(HELD_OUT, verbose=0)
    assert np.abs(np.array(heads.teacher_bank) - bank).max() > 0


@pytest.mark.parametrize("combine", ["losses", "probabilities", "logits"])
def test_several_teachers_agree_by_their_mean(combine):
    teachers = [toy.mlp(f"t{i}", seed=i) for i in (1, 2, 3)]
    student = toy.mlp("student")
    model = compiled(kd.Distiller(student, teachers, soft(), combine=combine))
    parts = [probabilities(teacher) for teacher in teachers]
    mean = np.mean(np.log(parts) if combine == "logits" else parts, axis=0)
    q = probabilities(student)
    np.testing.assert_allclose(evaluate(model)["agreement"], agreement(mean, q), rtol=1e-5)


def test_a_teacher_of_some_classes_agrees_among_them():
    student, teacher = toy.mlp("student"), toy.mlp("teacher", classes=2, seed=1)
    model = compiled(kd.Distiller(student, kd.Teacher(teacher, classes=[3, 1]), soft()))
    own = probabilities(student)[:, [3, 1]]
    right = agreement(probabilities(teacher), own)
    np.testing.assert_allclose(evaluate(model)["agreement"], right, rtol=1e-5)
    others = [kd.Teacher(teacher, classes=[3, 1]), kd.Teacher(toy.mlp("t", seed=2))]
    assert "agreement" not in evaluate(compiled(kd.Distiller(student, others, soft())))


@pytest.mark.parametrize(
    ("losses", "activation"),
    [
        (kd.losses.Hint("hidden", "hidden"), None),
        (kd.losses.OutputsMSE(), "tanh"),
        (kd.losses.SoftTargets(activation="sigmoid"), "sigmoid"),
    ],
    ids=["hint", "values", "labels"],
)
def test_only_classes_have_an_agreement(losses, activation):
    models = [toy.mlp(name, activation=activation, seed=i) for i, name in enumerate("st")]
    teacher = kd.Teacher(models[1], outputs="values" if activation == "tanh" else "auto")
    found = evaluate(compiled(kd.Distiller(models[0], teacher, losses)))
    assert set(found) == {"loss", losses.name}
    assert found["loss"] > 0


def test_positions_count_as_their_mean_and_masked_ones_not_at_all():
    def tagger(name, seed):
        keras.utils.set_random_seed(seed)
        x = keras.Input((None,), dtype="int32")
        hidden = layers.Embedding(9, 4, mask_zero=True)(x)
        return keras.Model(x, layers.Dense(3)(hidden), name=name)

    student, teacher = tagger("student", 0), tagger("teacher", 1)
    x = np.array([[3, 1, 2, 4], [5, 6, 0, 0], [7, 0, 0, 0]])
    same = np.argmax(student(x), -1) == np.argmax(teacher(x), -1)
    right = np.mean([same[0].mean(), same[1, :2].mean(), same[2, 0]])
    model = compiled(kd.Distiller(student, teacher, soft()))
    np.testing.assert_allclose(evaluate(model, x)["agreement"], right, rtol=1e-5)


@pytest.mark.slow
def test_a_cache_evaluates_on_joined_data_only(tmp_path):
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    data = tf.data.Dataset.from_tensor_slices(HELD_OUT).batch(8)
    cache = kd.KnowledgeCache.build(teacher, data, tmp_path / "c", dtype="float32", verbose=0)
    model = compiled(kd.Distiller(student, cache.teachers, soft()))
    right = evaluate(compiled(kd.Distiller(student, teacher, soft())))
    found = evaluate(model, cache.join(data))
    assert found == pytest.approx(right, rel=1e-5)
    with pytest.warns(UserWarning, match=r"nothing to evaluate.* \['teacher'\] only in a cache"):
        history = model.fit(cache.join(data), validation_data=(HELD_OUT,), verbose=0).history
    assert set(history) == {"loss", "soft_targets"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*nothing to evaluate")
        joined = model.fit(cache.join(data), validation_data=cache.join(data), verbose=0).history
    assert joined["val_loss"] == pytest.approx([right["loss"]], rel=1e-5)


def test_a_loaded_distiller_without_teachers_has_no_loss():
    model = compiled(kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), soft()))
    loaded = compiled(kd.Distiller.from_config(model.get_config()))
    with pytest.warns(UserWarning, match="nothing to evaluate.* no teachers; call `set_teachers`"):
        assert evaluate(loaded) == {}
    with pytest.warns(UserWarning, match="nothing to evaluate"):
        assert loaded.test_on_batch(HELD_OUT) == []
    loaded.set_teachers(model.teachers[0].model)
    loaded.student.set_weights(model.student.get_weights())
    assert evaluate(loaded) == pytest.approx(evaluate(model), rel=1e-5)


def test_an_earlier_self_is_the_teacher_once_there_is_one():
    model = compiled(kd.SelfDistiller(toy.mlp("student"), soft(), start=1), rate=0.5)
    with pytest.raises(ValueError, match="SelfDistiller: .* the epochs before need a loss"):
        model.fit(X, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="nothing to evaluate: .* no earlier weights"):
        assert evaluate(model) == {}
    average = kd.SelfDistiller(toy.mlp("student"), soft(), decay=0.5)
    compiled(average, toy.sparse_loss(), rate=0.5).fit(X, Y, verbose=0)
    found = evaluate(compiled(average))
    p, q = probabilities(average.earlier_self), probabilities(average.student)
    np.testing.assert_allclose(found["loss"], divergence(p, q), rtol=1e-3)
    np.testing.assert_allclose(found["agreement"], agreement(p, q), rtol=1e-5)


def test_a_snapshot_that_begins_to_teach_is_evaluated_too():
    student = toy.mlp("student")
    model = compiled(kd.SelfDistiller(student, soft(), start=1), rate=0.5)
    with pytest.warns(UserWarning, match="no earlier weights"):
        evaluate(model)
    model.fit(X, initial_epoch=1, epochs=3, verbose=0)
    student.set_weights(toy.mlp("other", seed=5).get_weights())
    right = divergence(probabilities(model.earlier_self), probabilities(student))
    np.testing.assert_allclose(evaluate(model)["loss"], right, rtol=1e-4)


def test_students_are_evaluated_on_each_other():
    students = [toy.mlp("one"), toy.mlp("two", seed=1)]
    model = compiled(kd.MutualLearning(students, soft()))
    p, q = map(probabilities, students)
    found = evaluate(model)
    np.testing.assert_allclose(found["one_soft_targets"], divergence(q, p), rtol=1e-4)
    np.testing.assert_allclose(found["two_soft_targets"], divergence(p, q), rtol=1e-4)
    np.testing.assert_allclose(found["loss"], divergence(p, q) + divergence(q, p), rtol=1e-4)
    np.testing.assert_allclose(found["agreement"], agreement(p, q), rtol=1e-5)


def test_exits_are_evaluated_on_the_final_output():
    student = toy.mlp("student")
    model = compiled(kd.DeepSupervision(student, ["hidden"], soft()))
    hidden = keras.Model(student.inputs, student.get_layer("hidden").output)(HELD_OUT)
    exit_logits = np.array(model.exits["hidden"](hidden), "float64")
    own = np.exp(exit_logits) / np.exp(exit_logits).sum(-1, keepdims=True)
    found = evaluate(model)
    final = probabilities(student)
    np.testing.assert_allclose(found["loss"], divergence(final, own), rtol=1e-4)
    np.testing.assert_allclose(found["agreement"], agreement(final, own), rtol=1e-5)


def test_validation_data_are_checked_before_training():
    model = distiller()
    weights = model.student.get_weights()
    for data, sentence in [
        ((HELD_OUT[:, :3], LABELS), r"inputs of shape \(None, 5\)"),
        ((HELD_OUT,), "A loss is compiled, so labels are required"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            model.fit(X, Y, validation_data=data, verbose=0)
    named = compiled(kd.Distiller(toy.named("s"), toy.named("t", ("audio", "image")), soft()))
    x, _ = toy.pairs()
    with pytest.raises(ValueError, match=r"Teacher 't' takes .* needs \['audio'\]"):
        named.fit(x, validation_data=({"image": x["image"]},), verbose=0)
    for one, other in zip(weights, model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
