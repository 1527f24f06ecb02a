"""Several teachers in one training: weights, noise, combination, different classes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.class_map import ClassMap
from keras_kd.teachers.ensemble import Ensemble
from keras_kd.teachers.teacher import Teacher
from tests import toy

SOFT = kd.losses.SoftTargets
OUTPUT = Tap(None, logits=True)
DATA = toy.data()
WEIGHTINGS = [
    kd.weighting.Uniform(),
    kd.weighting.Fixed([1, 2, 3]),
    kd.weighting.CrossEntropy(),
    kd.weighting.Entropy(),
    kd.weighting.Screening(keep=1),
]


@pytest.fixture(scope="module")
def models():
    return [toy.cnn(f"teacher_{i}", 4 + i, seed=10 + i) for i in range(3)]


@pytest.fixture(scope="module")
def teachers(models):
    return [Teacher(model) for model in models]


@pytest.fixture(scope="module")
def logits(models):
    return ops.stack([model(DATA[0]) for model in models])


def fit(student, teachers, losses="soft_targets", y=DATA[1], loss=None, eager=True, **kwargs):
    """Train for one step of one batch, and return the distiller and its history."""
    model = kd.Distiller(student, teachers, losses, **kwargs)
    loss = toy.sparse_loss() if loss is None else loss
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=eager)
    return model, model.fit(DATA[0], y, batch_size=32, verbose=0).history


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: type(w).__name__)
def test_weights_are_those_of_the_weighting(weighting, teachers, logits):
    x, y = DATA
    knowledge = Ensemble(teachers, [OUTPUT], weighting)(x, y)
    np.testing.assert_allclose(knowledge.weights, weighting(logits, y), rtol=1e-5)
    for outputs, expected in zip(knowledge.outputs, logits, strict=True):
        np.testing.assert_allclose(outputs[OUTPUT], expected, rtol=1e-5)


def test_the_loss_is_the_weighted_sum_over_the_teachers(models, logits):
    x, y = DATA
    weighting = kd.weighting.CrossEntropy()
    student = toy.cnn("student")(x, training=True)
    values = ops.stack([SOFT()(teacher, student) for teacher in logits])
    _, logs = fit(toy.cnn("student"), models, weighting=weighting)
    expected = np.mean(np.sum(np.asarray(weighting(logits, y)) * np.asarray(values), axis=0))
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


def test_a_screened_teacher_has_no_hint():
    x, y = DATA
    teachers = [toy.cnn(f"teacher_{i}", 4 + i, seed=10 + i) for i in range(3)]
    bad = teachers[2].get_layer("logits")
    bad.set_weights([bad.kernel * 0, np.array([50.0, 0, 0, 0])])
    losses = [SOFT(), kd.losses.Hint("features", "features", projector=layers.Dense(8))]
    weighting = kd.weighting.Screening(keep=2)
    model = kd.Distiller(toy.cnn("student"), teachers, losses, weighting=weighting)
    model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), run_eagerly=True)
    before = [p.get_weights()[0] for p in model.projectors.values()]
    # The bad teacher always predicts class 0, which no sample has.
    model.fit(x, np.maximum(y, 1), verbose=0)
    moved = [
        not np.array_equal(old, p.get_weights()[0])
        for old, p in zip(before, model.projectors.values(), strict=True)
    ]
    assert moved == [True, True, False]


def combined_target(combine, logits, weights):
    weights = np.asarray(weights)[..., None]
    if combine == "logits":
        return np.sum(weights * logits, axis=0)
    return np.log(np.sum(weights * np.asarray(ops.softmax(logits)), axis=0))


@pytest.mark.parametrize("combine", ["probabilities", "logits"])
def test_outputs_are_combined_into_one_target(combine, teachers, logits):
    x, y = DATA
    weighting = kd.weighting.CrossEntropy()
    taps = [OUTPUT, Tap("features")]
    combined = Ensemble(teachers, taps, weighting, combine=combine)(x, y).combined
    assert list(combined) == [OUTPUT]
    target = combined_target(combine, np.asarray(logits), weighting(logits, y))
    np.testing.assert_allclose(combined[OUTPUT], target, rtol=1e-4, atol=1e-5)


def test_the_loss_on_a_combined_target_is_computed_once(models, logits):
    x, y = DATA
    weighting = kd.weighting.CrossEntropy()
    target = combined_target("probabilities", np.asarray(logits), weighting(logits, y))
    expected = np.mean(SOFT(3.0)(target, toy.cnn("student")(x, training=True)))
    _, logs = fit(
        toy.cnn("student"), models, SOFT(3.0), weighting=weighting, combine="probabilities"
    )
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-4)


@pytest.mark.parametrize("combine", ["losses", "probabilities", "logits"])
def test_a_screened_teacher_with_extreme_logits_causes_no_nan(combine, models):
    extreme = toy.cnn("teacher_1", 5, seed=11)
    last = extreme.get_layer("logits")
    last.set_weights([last.kernel * 1e4, last.bias])
    teachers = [models[0], extreme, models[2]]
    weighting = kd.weighting.Screening(keep=2)
    model, logs = fit(toy.cnn("student"), teachers, weighting=weighting, combine=combine)
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_without_labels_the_weights_are_those_of_the_entropy(teachers, logits):
    knowledge = Ensemble(teachers, [OUTPUT], kd.weighting.CrossEntropy())(DATA[0])
    expected = kd.weighting.Entropy()(logits)
    np.testing.assert_allclose(knowledge.weights, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_partly_labeled_batch_is_weighted_by_labels_and_by_entropy(models, logits):
    x, y = DATA
    some = np.where(np.arange(32) % 2, y, kd.UNLABELED)
    weighting = kd.weighting.Screening(keep=2)
    weights = weighting(logits, some)
    student = toy.cnn("student")(x, training=True)
    values = ops.stack([SOFT()(teacher, student) for teacher in logits])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=kd.UNLABELED)
    _, logs = fit(toy.cnn("student"), models, y=some, loss=loss, weighting=weighting)
    expected = np.mean(ops.sum(weights * values, axis=0))
    np.testing.assert_allclose(logs["soft_targets"][0], expected, rtol=1e-5)
    labeled = toy.sparse_loss()(y[1::2], np.asarray(student)[1::2])
    np.testing.assert_allclose(logs["student_loss"][0], labeled, rtol=1e-5)


@pytest.mark.slow
def test_noise_is_drawn_anew_in_each_step_and_absent_in_evaluate(models):
    x, y = DATA
    student = toy.cnn("student")
    student.get_layer("norm").trainable = False

    def train(noise, eager):
        model = kd.Distiller(student, models, "soft_targets", noise=noise)
        model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=eager)
        logs = model.fit(x, y, batch_size=32, epochs=3, verbose=0).history["soft_targets"]
        return logs, model.evaluate(x, y, batch_size=32, verbose=0)

    # Compiled, because a compiled step must not draw only once.
    noisy, evaluated = train(kd.noise.LogitNoise(1.0, seed=3), eager=False)
    clean, expected = train(None, eager=True)
    assert len(set(noisy)) == 3
    assert len(set(clean)) == 1
    assert clean[0] not in noisy
    np.testing.assert_allclose(evaluated, expected, rtol=1e-6)


def test_noise_on_hidden_taps_only_if_they_are_named(teachers):
    taps = [OUTPUT, Tap("conv"), Tap("features")]
    noise = kd.noise.LogitNoise(1.0, taps=["features"], seed=3)
    one, other = (Ensemble(teachers[:1], taps, noise=noise)(DATA[0]) for _ in range(2))
    same = [np.array_equal(one.outputs[0][tap], other.outputs[0][tap]) for tap in taps]
    assert same == [False, True, False]


def test_weights_are_computed_before_the_noise(teachers):
    weighting = kd.weighting.CrossEntropy()
    clean = Ensemble(teachers, [OUTPUT], weighting)(*DATA)
    noisy = Ensemble(teachers, [OUTPUT], weighting, kd.noise.LogitNoise(5.0))(*DATA)
    np.testing.assert_array_equal(clean.weights, noisy.weights)


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_noise(models, tmp_path):
    x, y = toy.data(16)
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    noise = kd.noise.LogitNoise(1.0, probability=0.5, seed=3)
    model = kd.Distiller(toy.cnn("student"), models[:2], noise=noise)
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    model.fit(x, y, **options)
    model.save(tmp_path / "d.keras")
    model.fit(x, y, **options)
    resumed = keras.models.load_model(tmp_path / "d.keras")
    resumed.set_teachers(models[:2])
    resumed.run_eagerly = True
    resumed.fit(x, y, **options)
    for one, other in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nan_from_one_teacher_is_an_error_with_its_name(models):
    broken = toy.cnn("teacher_1", 5, seed=11)
    last = broken.get_layer("logits")
    last.set_weights([last.kernel * np.nan, last.bias])
    with pytest.raises(ValueError, match="Teacher 'teacher_1' .* NaN or infinite values"):
        fit(toy.cnn("student"), [models[0], broken], eager=False)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"weighting": kd.weighting.Fixed([1, 2])}, "there must be 3 weights"),
        ({"weighting": kd.weighting.Screening(keep=4)}, "`keep` must be at most 3"),
        ({"combine": "mean"}, "`combine` must be one of"),
        ({"noise": kd.noise.LogitNoise(1.0, taps=["conv"])}, r"that a loss uses: \[\]"),
    ],
)
def test_invalid_arguments(kwargs, message, teachers):
    with pytest.raises(ValueError, match=message):
        Ensemble(teachers, [OUTPUT], **kwargs)


# Teachers of different classes.


@pytest.fixture(scope="module")
def animals():
    return toy.cnn("animals", classes=3, seed=1)


@pytest.fixture(scope="module")
def fruit():
    return toy.cnn("fruit", classes=2, seed=2)


def maps(*columns):
    return [ClassMap(columns=tuple(one)) for one in columns]


def test_a_teacher_with_classes_teaches_its_own_columns(animals, fruit):
    x, y = DATA
    teachers = [kd.Teacher(animals, classes=[0, 1, 2]), kd.Teacher(fruit, classes=[2, 3])]
    logits = np.asarray(toy.cnn("student")(x, training=True))
    loss = kd.losses.DecoupledKD()  # It needs the labels, in the teacher's classes.
    first = loss(animals(x), logits[:, :3], np.where(y < 3, y, -1))
    second = loss(fruit(x), logits[:, 2:], np.where(y >= 2, y - 2, -1))
    expected = np.where(y < 2, first, np.where(y == 2, (first + second) / 2, second))
    _, logs = fit(toy.cnn("student"), teachers, loss)
    np.testing.assert_allclose(logs["decoupled_kd"][0], np.mean(expected), rtol=1e-4)


def test_without_labels_every_teacher_teaches_its_own_columns(animals, fruit):
    x, _ = DATA
    teachers = [kd.Teacher(animals, classes=[4, 0, 2]), kd.Teacher(fruit, classes=[1, 3])]
    model = kd.Distiller(toy.cnn("student", classes=5), teachers, "soft_targets")
    model.compile("sgd", loss=None, run_eagerly=True)
    logits = np.asarray(toy.cnn("student", classes=5)(x, training=True))
    first = SOFT()(animals(x), logits[:, [4, 0, 2]])
    second = SOFT()(fruit(x), logits[:, [1, 3]])
    logs = model.fit(x, batch_size=32, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(first + second) / 2, rtol=1e-5)


def test_a_teacher_has_no_weight_for_a_class_that_it_does_not_have(animals, fruit):
    ensemble = Ensemble(
        [Teacher(animals), Teacher(fruit)], [OUTPUT], class_maps=maps([0, 1, 2], [3, 4]), classes=5
    )
    # A label outside the classes, which a loss ignores, is like no label.
    labels = np.array([0, 2, 3, 4, 255, kd.UNLABELED] * 5)
    weights = ensemble(DATA[0][:30], labels).weights
    expected = [[1, 1, 0, 0, 0.5, 0.5] * 5, [0, 0, 1, 1, 0.5, 0.5] * 5]
    np.testing.assert_array_equal(weights, expected)


def test_in_dense_prediction_a_teacher_needs_the_class_of_one_position():
    def model(name, classes):
        return keras.Sequential([keras.Input((2, 2, 1)), layers.Conv2D(classes, 1)], name=name)

    teachers = [Teacher(model("a", 2)), Teacher(model("b", 2))]
    ensemble = Ensemble(teachers, [OUTPUT], class_maps=maps([0, 1], [2, 3]), classes=4)
    labels = np.array([[[0, 1], [1, 0]], [[0, 1], [1, 3]], [[2, 2], [3, 3]]])
    weights = ensemble(np.ones((3, 2, 2, 1), "float32"), labels).weights
    np.testing.assert_array_equal(weights, [[1, 0.5, 0], [0, 0.5, 1]])


def test_combined_logits_of_different_classes_are_centered(animals, fruit):
    x, _ = DATA
    teachers = [kd.Teacher(animals, classes=[0, 1, 2]), kd.Teacher(fruit, classes=[2, 3])]
    a, b = (np.asarray(t(x)) - np.mean(t(x), axis=-1, keepdims=True) for t in (animals, fruit))
    target = np.concatenate([a[:, :2], (a[:, 2:] + b[:, :1]) / 2, b[:, 1:]], axis=-1)
    both = maps([0, 1, 2], [2, 3])
    ensemble = Ensemble(teachers, [OUTPUT], combine="logits", class_maps=both, classes=4)
    np.testing.assert_allclose(ensemble(x).combined[OUTPUT], target, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"weighting": kd.weighting.CrossEntropy()}, "use kd.weighting.Uniform"),
        ({"combine": "probabilities"}, "is not defined"),
        ({"combine": "logits"}, r"none for the classes \[3\]"),
        ({"combine": "logits", "weighting": kd.weighting.Fixed([1, 2])}, "Pass weighting=None"),
    ],
)
def test_options_that_need_the_same_classes(kwargs, message, animals):
    both = maps([0, 1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match=message):
        Ensemble([Teacher(animals)] * 2, [OUTPUT], class_maps=both, classes=4, **kwargs)


# Teachers of more classes, of yes-or-no questions and of independent labels.


@pytest.mark.parametrize("combine", ["losses", "probabilities", "logits"])
@pytest.mark.parametrize(
    "weighting", WEIGHTINGS[:1] + WEIGHTINGS[2:], ids=lambda w: type(w).__name__
)
def test_teachers_with_more_classes_are_compared_on_those_of_the_student(weighting, combine):
    x, y = DATA[0], DATA[1] % 2
    more, same = toy.cnn("more", classes=5, seed=3), toy.cnn("same", classes=2, seed=4)
    both = [ClassMap(kept=(3, 1)), ClassMap()]
    logits = np.stack([np.asarray(more(x))[:, [3, 1]], same(x)])
    teachers = [Teacher(more, classes=[None, 1, None, 0, None]), Teacher(same)]
    ensemble = Ensemble(teachers, [OUTPUT], weighting, None, combine, both, classes=2)
    knowledge = ensemble(x, y)
    weights = np.asarray(weighting(logits, y))
    np.testing.assert_allclose(knowledge.weights, weights, rtol=1e-5)
    if combine != "losses":
        target = combined_target(combine, logits, weights)
        np.testing.assert_allclose(knowledge.combined[OUTPUT], target, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def deciders():
    """A sigmoid and a softmax for the same yes-or-no question, and their logits of yes."""
    one = toy.cnn("one", classes=1, activation="sigmoid", seed=3)
    two = toy.cnn("two", classes=2, activation="softmax", seed=4)
    z = [kd.Teacher(model).watch([OUTPUT])(DATA[0])[OUTPUT] for model in (one, two)]
    return [Teacher(one), Teacher(two)], np.stack([z[0][:, 0], z[1][:, 1] - z[1][:, 0]])


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("shape", [(32,), (32, 1)])
@pytest.mark.parametrize("weighting", WEIGHTINGS[2:], ids=lambda w: type(w).__name__)
def test_yes_or_no_teachers_are_weighted_by_their_two_classes(weighting, shape, units, deciders):
    teachers, z = deciders
    y = np.where(np.arange(32) % 5, DATA[1] % 2, kd.UNLABELED)
    labels = np.where(y < 0, np.nan, y).astype("float32") if len(shape) == 2 else y
    ensemble = Ensemble(teachers, [OUTPUT], weighting, units={OUTPUT: units})
    expected = weighting(np.stack([0 * z, z], axis=-1), y)
    found = ensemble(DATA[0], labels.reshape(shape)).weights
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("units", [1, 2])
def test_probabilities_of_yes_or_no_are_combined(units, deciders):
    teachers, z = deciders
    weighting = kd.weighting.Fixed([1, 3])
    ensemble = Ensemble(
        teachers, [OUTPUT], weighting, combine="probabilities", units={OUTPUT: units}
    )
    target = np.asarray(ensemble(DATA[0]).combined[OUTPUT])
    found = target[:, 0] if units == 1 else target[:, 1] - target[:, 0]
    p = np.average(1 / (1 + np.exp(-z.astype("float64"))), axis=0, weights=[1, 3])
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)


def taggers(activation):
    models = [toy.cnn(name, activation=activation, seed=i) for i, name in enumerate("ab")]
    return models, np.stack([Teacher(m).watch([OUTPUT])(DATA[0])[OUTPUT] for m in models])


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_probabilities_of_independent_labels_are_combined_one_by_one(activation):
    models, z = taggers(activation)
    ensemble = Ensemble([Teacher(m) for m in models], [OUTPUT], combine="probabilities")
    ensemble.read_as({OUTPUT: {"sigmoid"}})
    p = np.mean(1 / (1 + np.exp(-z.astype("float64"))), axis=0)
    found = ensemble(DATA[0]).combined[OUTPUT]
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([SOFT(activation="sigmoid"), kd.losses.DIST()], "both classes and labels"),
        ([kd.losses.DIST(), SOFT(activation="sigmoid")], "both classes and labels"),
        ([SOFT(activation="sigmoid"), SOFT(activation="softmax")], "both classes and labels"),
        ([kd.losses.OutputsMSE()], "neither classes nor labels"),
    ],
)
def test_probabilities_are_combined_only_if_the_losses_agree_on_them(losses, message):
    teachers = [toy.mlp(name, seed=i) for i, name in enumerate("ab")]
    model = kd.Distiller(toy.mlp("s", seed=3), teachers, losses, combine="probabilities")
    model.compile("sgd", None, run_eagerly=True)
    with pytest.raises(ValueError, match=f"the output of the teachers read {message}"):
        model.fit(toy.vectors()[0], verbose=0)


def test_logits_of_different_labels_are_not_centered():
    models, z = taggers("sigmoid")
    both, y = maps([0, 1, 2, 3], [3, 4, 5, 6]), np.ones((32, 7))
    teachers = [Teacher(m) for m in models]
    knowledge = Ensemble(teachers, [OUTPUT], combine="logits", class_maps=both, classes=7)(
        DATA[0], y
    )
    expected = np.concatenate([z[0, :, :3], (z[0, :, 3:] + z[1, :, :1]) / 2, z[1, :, 1:]], -1)
    np.testing.assert_allclose(knowledge.combined[OUTPUT], expected, rtol=1e-5)
    np.testing.assert_array_equal(knowledge.weights, np.full((2, 32), 0.5))


@pytest.mark.parametrize(
    ("activation", "kwargs", "message"),
    [
        ("sigmoid", {"weighting": kd.weighting.Entropy()}, "Entropy reads .* independent labels"),
        ("tanh", {"weighting": kd.weighting.Entropy()}, "Entropy reads .* numbers"),
        ("tanh", {"combine": "probabilities"}, "combine='probabilities' needs .* numbers"),
    ],
)
def test_labels_and_numbers_cannot_be_compared_as_classes(activation, kwargs, message):
    teachers = [Teacher(toy.cnn(name, activation=activation)) for name in "ab"]
    with pytest.raises(ValueError, match=message):
        Ensemble(teachers, [OUTPUT], **kwargs)
    assert Ensemble(teachers, [OUTPUT])(DATA[0]).weights.shape == (2, 32)


@pytest.mark.parametrize("task", ["labels", "values", "binary", "classes", None])
def test_the_task_decides_if_linear_outputs_can_be_compared_as_classes(task, teachers):
    adaptive = Ensemble(teachers, [OUTPUT], kd.weighting.Entropy())
    combined = Ensemble(teachers, [OUTPUT], combine="probabilities")
    for ensemble, tasks in ((adaptive, ("labels", "values")), (combined, ("values",))):
        ensemble.check_task(Tap("features", logits=True), None)
        if task in tasks:
            with pytest.raises(ValueError, match="independent labels|numbers"):
                ensemble.check_task(OUTPUT, task)
        else:
            ensemble.check_task(OUTPUT, task)


def test_teachers_that_are_set_later_are_checked_again(animals, fruit, tmp_path):
    teachers = [kd.Teacher(animals, classes=[0, 1, 2]), kd.Teacher(fruit, classes=[3, 4])]
    kd.Distiller(toy.cnn("student", classes=5), teachers).save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    with pytest.raises(ValueError, match="teacher output has shape"):
        loaded.set_teachers([animals, fruit])
