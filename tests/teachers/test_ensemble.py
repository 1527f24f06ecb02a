"""Several teachers in one training: weights, hints, noise, blending."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.teacher import Teacher
from tests import toy

SOFT = kd.losses.SoftTargets


def fitted(student, teachers, losses=None, x=None, y=None, **kwargs):
    model = kd.Distiller(student, teachers, losses, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    history = model.fit(x, y, batch_size=32, verbose=0).history
    return model, history


def three_teachers():
    return [toy.cnn(f"teacher_{i}", 4 + i, seed=10 + i) for i in range(3)]


WEIGHTINGS = [
    kd.weighting.Uniform(),
    kd.weighting.Fixed([1, 2, 3]),
    kd.weighting.CrossEntropy(),
    kd.weighting.Entropy(),
    kd.weighting.Screening(keep=1),
]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: type(w).__name__)
def test_the_loss_is_the_weighted_sum_over_the_teachers(weighting):
    (x, y), teachers = toy.data(), three_teachers()
    logits = [teacher(x) for teacher in teachers]
    student = toy.cnn("student")(x, training=True)
    weights = weighting(ops.stack(logits), y)
    values = ops.stack([SOFT()(teacher, student) for teacher in logits])
    _, logs = fitted(toy.cnn("student"), teachers, x=x, y=y, weighting=weighting)
    expected = np.mean(np.sum(np.asarray(weights) * np.asarray(values), axis=0))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)


@pytest.mark.parametrize("which", ["a", "b"])
def test_the_papers_sum_over_teachers_and_mean_over_the_batch(which):
    with np.load(f"tests/golden/golden_{which}.npz") as file:
        many, labels = file["in/many_teacher_logits"], file["in/labels"]
        student, expected = (
            file["in/student_logits"],
            file["out/camkd_T4_sum_over_teachers_mean_over_batch/loss"],
        )
    weights = kd.weighting.CrossEntropy()(many, labels)
    values = ops.stack([SOFT(4.0)(teacher, student) for teacher in many])
    np.testing.assert_allclose(ops.mean(ops.sum(weights * values, axis=0)), expected, rtol=1e-10)


def test_a_teacher_that_is_screened_out_gives_no_hint():
    (x, y), teachers = toy.data(), three_teachers()
    bad = teachers[2].get_layer("logits")
    bad.set_weights([bad.kernel * 0, np.array([50.0, 0, 0, 0])])
    y = np.maximum(y, 1)  # The bad teacher is sure of class 0, which no sample has.
    losses = [SOFT(), kd.losses.Hint("features", "features", projector=keras.layers.Dense(8))]
    model = kd.Distiller(
        toy.cnn("student"), teachers, losses, weighting=kd.weighting.Screening(keep=2)
    )
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss())
    before = [p.get_weights()[0] for p in model.projectors.values()]
    model.fit(x, y, verbose=0)
    moved = [
        not np.array_equal(old, p.get_weights()[0])
        for old, p in zip(before, model.projectors.values(), strict=True)
    ]
    assert moved == [True, True, False]


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_blended_teachers_speak_with_one_voice(combine):
    (x, y), teachers = toy.data(), three_teachers()
    logits = np.stack([teacher(x) for teacher in teachers])
    weighting = kd.weighting.CrossEntropy()
    weights = np.asarray(weighting(logits, y))[..., None]
    if combine == "logits":
        target = np.sum(weights * logits, axis=0)
    else:
        target = np.log(np.sum(weights * np.asarray(ops.softmax(logits)), axis=0))
    student = toy.cnn("student")(x, training=True)
    expected = np.mean(SOFT(3.0)(target, student))
    _, logs = fitted(
        toy.cnn("student"), teachers, SOFT(3.0), x, y, weighting=weighting, combine=combine
    )
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-4)


@pytest.mark.parametrize("combine", ["losses", "probabilities", "logits"])
def test_a_screened_teacher_of_extreme_logits_gives_no_nan(combine):
    (x, y), teachers = toy.data(), three_teachers()
    last = teachers[1].get_layer("logits")
    last.set_weights([last.kernel * 1e4, last.bias])
    model, logs = fitted(
        toy.cnn("student"),
        teachers,
        x=x,
        y=y,
        weighting=kd.weighting.Screening(keep=2),
        combine=combine,
    )
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_unlabelled_training_weighs_by_entropy():
    (x, _), teachers = toy.data(), three_teachers()
    weights = kd.weighting.Entropy()(ops.stack([t(x) for t in teachers]))
    student = toy.cnn("student")(x, training=True)
    values = ops.stack([SOFT()(t(x), student) for t in teachers])
    model = kd.Distiller(toy.cnn("student"), teachers, weighting=kd.weighting.CrossEntropy())
    model.compile("sgd", loss=None)
    logs = model.fit(x, batch_size=32, verbose=0).history
    np.testing.assert_allclose(
        logs["soft_targets"][0], np.mean(ops.sum(weights * values, axis=0)), rtol=1e-5
    )


def test_a_half_labelled_batch_is_weighed_by_labels_and_by_entropy():
    (x, y), teachers = toy.data(), three_teachers()
    some = np.where(np.arange(32) % 2, y, kd.UNLABELED)
    weighting = kd.weighting.Screening(keep=2)
    weights = weighting(ops.stack([t(x) for t in teachers]), some)
    student = toy.cnn("student")(x, training=True)
    values = ops.stack([SOFT()(t(x), student) for t in teachers])
    model = kd.Distiller(toy.cnn("student"), teachers, weighting=weighting)
    hard = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=kd.UNLABELED)
    model.compile("sgd", hard)
    logs = model.fit(x, some, batch_size=32, verbose=0).history
    np.testing.assert_allclose(
        logs["soft_targets"][0], np.mean(ops.sum(weights * values, axis=0)), rtol=1e-5
    )
    labelled = toy.sparse_loss()(y[1::2], np.asarray(student)[1::2])
    np.testing.assert_allclose(logs["student_loss"][0], labelled, rtol=1e-5)


@pytest.mark.parametrize("teachers", [1, 3])
def test_noise_perturbs_every_teacher_anew_each_step_and_not_in_evaluate(teachers):
    x, y = toy.data()
    student = toy.cnn("student")
    noise = kd.noise.LogitNoise(1.0, seed=3)
    model = kd.Distiller(student, three_teachers()[:teachers], noise=noise)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
    student.get_layer("norm").trainable = False
    logs = model.fit(x, y, batch_size=32, epochs=3, verbose=0).history["soft_targets"]
    assert len(set(logs)) == 3
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    clean, _ = kd.Distiller(student, three_teachers()[:teachers]), None
    clean.compile(keras.optimizers.SGD(0.0), toy.sparse_loss())
    quiet = clean.fit(x, y, batch_size=32, epochs=2, verbose=0).history["soft_targets"]
    assert quiet[0] == quiet[1]
    assert quiet[0] not in logs


def test_noise_reaches_hidden_taps_only_if_they_are_named():
    x, _ = toy.data()
    taps = [Tap(None, logits=True), Tap("conv"), Tap("features")]
    noise = kd.noise.LogitNoise(1.0, taps=["features"], seed=3)
    one, other = (Ensemble([Teacher(toy.cnn("t"))], taps, noise=noise)(x) for _ in range(2))
    same = [np.array_equal(one.outputs[0][tap], other.outputs[0][tap]) for tap in taps]
    assert same == [False, True, False]


def test_weights_are_those_of_the_clean_logits():
    (x, y), teachers = toy.data(), [Teacher(t) for t in three_teachers()]
    taps, weighting = [Tap(None, logits=True)], kd.weighting.CrossEntropy()
    quiet = Ensemble(teachers, taps, weighting)(x, y)
    noisy = Ensemble(teachers, taps, weighting, kd.noise.LogitNoise(5.0))(x, y)
    np.testing.assert_array_equal(quiet.weights, noisy.weights)


def test_a_resumed_run_draws_the_noise_that_the_run_would_have_drawn(tmp_path):
    x, y = toy.data()

    def model():
        noise = kd.noise.LogitNoise(1.0, probability=0.5, seed=3)
        made = kd.Distiller(toy.cnn("student"), three_teachers(), noise=noise)
        made.compile("adam", toy.sparse_loss())
        return made

    whole = model()
    whole.fit(x, y, batch_size=8, shuffle=False, epochs=4, verbose=0)
    first = model()
    first.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    first.save(tmp_path / "d.keras")
    second = keras.models.load_model(tmp_path / "d.keras")
    second.set_teachers(three_teachers())
    second.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nan_from_one_teacher_is_refused_and_the_teacher_is_named():
    (x, y), teachers = toy.data(), three_teachers()
    last = teachers[1].get_layer("logits")
    last.set_weights([last.kernel * np.nan, last.bias])
    with pytest.raises(ValueError, match="Teacher 'teacher_1' gave NaN or infinite values"):
        fitted(toy.cnn("student"), teachers, x=x, y=y)


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"weighting": kd.weighting.Fixed([1, 2])}, "there must be 3 weights"),
        ({"weighting": kd.weighting.Screening(keep=4)}, "`keep` must be at most 3"),
        ({"combine": "mean"}, "`combine` must be one of"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        kd.Distiller(toy.cnn("student"), three_teachers(), **kwargs)


# Teachers of different classes.


def halves():
    return [toy.cnn("cats", classes=3, seed=1), toy.cnn("fruit", classes=2, seed=2)]


def test_each_teacher_teaches_its_own_columns():
    x, _ = toy.data()
    one, two = halves()
    teachers = [kd.Teacher(one, classes=[4, 0, 2]), kd.Teacher(two, classes=[1, 3])]
    student = toy.cnn("student", classes=5)
    model = kd.Distiller(student, teachers)
    model.compile("sgd", loss=None)
    logits = np.asarray(toy.cnn("student", classes=5)(x, training=True))
    first = SOFT()(one(x), logits[:, [4, 0, 2]])
    second = SOFT()(two(x), logits[:, [1, 3]])
    logs = model.fit(x, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(first + second) / 2, rtol=1e-5)


def test_a_teacher_does_not_teach_a_sample_whose_class_it_does_not_know():
    x, _ = toy.data()
    y = np.arange(32) % 5
    one, two = halves()
    teachers = [kd.Teacher(one, classes=[0, 1, 2]), kd.Teacher(two, classes=[3, 4])]
    logits = np.asarray(toy.cnn("student", classes=5)(x, training=True))
    first, second = SOFT()(one(x), logits[:, :3]), SOFT()(two(x), logits[:, 3:])
    _, logs = fitted(toy.cnn("student", classes=5), teachers, x=x, y=y)
    np.testing.assert_allclose(
        logs["soft_targets"][0], np.mean(np.where(y < 3, first, second)), rtol=1e-5
    )


def test_classes_may_overlap_and_losses_may_need_the_label():
    x, _ = toy.data()
    y = np.arange(32) % 4
    one, two = halves()
    teachers = [kd.Teacher(one, classes=[0, 1, 2]), kd.Teacher(two, classes=[2, 3])]
    logits = np.asarray(toy.cnn("student")(x, training=True))
    loss = kd.losses.DecoupledKD()
    first = loss(one(x), logits[:, :3], np.where(y < 3, y, -1))
    second = loss(two(x), logits[:, 2:], np.where(y >= 2, y - 2, -1))
    expected = np.where(y < 2, first, np.where(y == 2, (first + second) / 2, second))
    _, logs = fitted(toy.cnn("student"), teachers, loss, x, y)
    np.testing.assert_allclose(logs["decoupled_kd"][0], np.mean(expected), rtol=1e-4)


def test_classes_may_be_named():
    x, _ = toy.data()
    one, two = halves()
    names = ["apple", "banana", "cat", "dog", "eel"]
    by_name = [
        kd.Teacher(one, classes=["cat", "dog", "eel"]),
        kd.Teacher(two, classes=["banana", "apple"]),
    ]
    by_index = [kd.Teacher(one, classes=[2, 3, 4]), kd.Teacher(two, classes=[1, 0])]
    logs = []
    for teachers, class_names in ((by_name, names), (by_index, None)):
        model = kd.Distiller(toy.cnn("student", classes=5), teachers, class_names=class_names)
        model.compile("sgd", loss=None)
        logs.append(model.fit(x, batch_size=32, verbose=0).history)
    assert logs[0] == logs[1]


def test_blended_logits_make_teachers_of_different_classes_comparable():
    x, _ = toy.data()
    one, two = halves()
    teachers = [kd.Teacher(one, classes=[0, 1, 2]), kd.Teacher(two, classes=[2, 3])]
    a, b = (np.asarray(t(x)) - np.mean(t(x), axis=-1, keepdims=True) for t in (one, two))
    target = np.concatenate([a[:, :2], (a[:, 2:] + b[:, :1]) / 2, b[:, 1:]], axis=-1)
    logits = toy.cnn("student")(x, training=True)
    model = kd.Distiller(toy.cnn("student"), teachers, combine="logits")
    model.compile("sgd", loss=None)
    logs = model.fit(x, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(SOFT()(target, logits)), rtol=1e-4)


@pytest.mark.parametrize(
    ("classes", "kwargs", "sentence"),
    [
        ([0, 1, 7], {}, "indices from 0 to 3"),
        ([0, 1, 1], {}, "each class may come once"),
        ([0, 1], {}, r"teacher output has shape \(None, 3\) and student output \(None, 2\)"),
        (["cat", "dog", "eel"], {}, "pass `class_names`"),
        (["cta", "dog", "eel"], {"class_names": ["cat", "dog", "eel", "fox"]}, "nearest: 'cat'"),
        ([0, 1, 2], {"weighting": kd.weighting.CrossEntropy()}, "take kd.weighting.Uniform"),
        ([0, 1, 2], {"combine": "probabilities"}, "has no meaning"),
        ([0, 1, 2], {"combine": "logits"}, r"none for the classes \[3\]"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes, kwargs, sentence):
    teachers = [kd.Teacher(toy.cnn(name, classes=3), classes=classes) for name in "ab"]
    with pytest.raises(ValueError, match=sentence):
        kd.Distiller(toy.cnn("student"), teachers, **kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [{"combine": "probabilities"}, {"weighting": kd.weighting.Entropy()}],
    ids=["probabilities", "entropy"],
)
def test_binary_teachers_are_not_read_as_one_class_of_several(kwargs):
    teachers = [toy.cnn(name, classes=1, activation="sigmoid") for name in "ab"]
    with pytest.raises(ValueError, match="Teacher 'a' has binary outputs"):
        kd.Distiller(toy.cnn("student", classes=1), teachers, **kwargs)
    kd.Distiller(toy.cnn("student", classes=1), teachers)


def test_an_ignored_label_is_no_class_of_any_teacher():
    x, _ = toy.data()
    y = np.where(np.arange(32) % 2, np.arange(32) % 5, 255)
    one, two = halves()
    teachers = [kd.Teacher(one, classes=[0, 1, 2]), kd.Teacher(two, classes=[3, 4])]
    model = kd.Distiller(toy.cnn("student", classes=5), teachers)
    hard = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    model.compile("sgd", hard)
    logits = np.asarray(toy.cnn("student", classes=5)(x, training=True))
    first, second = SOFT()(one(x), logits[:, :3]), SOFT()(two(x), logits[:, 3:])
    both = (np.asarray(first) + np.asarray(second)) / 2
    expected = np.where(y == 255, both, np.where(y < 3, first, second))
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(expected), rtol=1e-5)


def test_teachers_that_are_set_later_are_checked_again(tmp_path):
    one, two = halves()
    model = kd.Distiller(
        toy.cnn("student", classes=5),
        [kd.Teacher(one, classes=[0, 1, 2]), kd.Teacher(two, classes=[3, 4])],
    )
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    with pytest.raises(ValueError, match="teacher output has shape"):
        loaded.set_teachers(halves())
