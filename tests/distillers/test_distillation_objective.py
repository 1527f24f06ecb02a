"""The distillation losses of one student: their targets, values, projectors and checks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.distillers.distillation_objective import DistillationObjective
from keras_kd.models.taps import Tap, TappedModel
from tests import toy
from tests.distillers.models import distiller

SOFT = kd.losses.SoftTargets


def objective(student=None, losses=None, teachers=None, **kwargs):
    student = toy.mlp("student") if student is None else student
    teachers = toy.mlp("teacher", units=6, seed=1) if teachers is None else teachers
    return DistillationObjective(student, losses, teachers, **kwargs)


def value(parts, x, y=None, weights=None, loss=0):
    """The value of a loss on a batch, as a training step computes it."""
    _, student_outputs = parts.student(x)
    knowledge = parts.teach_before(parts.run_teachers(x), y)
    return float(parts.term(loss, knowledge, student_outputs, y, weights))


LABELED = np.arange(32) % 3 > 0


def with_missing(y, one_hot):
    """Class indices or one-hot rows, some of them missing."""
    if one_hot:
        return np.where(LABELED[:, None], np.eye(4)[y], np.nan).astype("float32")
    return np.where(LABELED, y, kd.UNLABELED)


# Values.


@pytest.mark.parametrize("teacher", [None, "softmax"])
@pytest.mark.parametrize("student", [None, "softmax"])
def test_logits_and_probabilities_give_the_same_loss(teacher, student):
    x, _ = toy.vectors()
    expected = np.mean(SOFT(4.0)(toy.mlp("t", seed=1)(x), toy.mlp("s")(x)))
    parts = objective(
        toy.mlp("s", activation=student), SOFT(4.0), toy.mlp("t", seed=1, activation=teacher)
    )
    np.testing.assert_allclose(value(parts, x), expected, rtol=1e-5)


def test_several_teachers_are_weighted_equally_by_default():
    (x, _), student = toy.vectors(), toy.mlp("student")
    teachers = [toy.mlp("one", seed=1), toy.mlp("two", units=6, seed=2, activation="softmax")]
    targets = [teachers[0](x), ops.log(teachers[1](x))]
    expected = np.mean([SOFT()(target, student(x)) for target in targets])
    np.testing.assert_allclose(value(objective(student, None, teachers), x), expected, rtol=1e-5)


def test_sample_weights_multiply_the_values():
    (x, _), student, teacher = toy.vectors(), toy.mlp("student"), toy.mlp("teacher", seed=1)
    weights = np.linspace(0, 2, 32, dtype="float32")
    found = value(objective(student, SOFT(2.0), teacher), x, weights=weights)
    expected = np.mean(SOFT(2.0)(teacher(x), student(x)) * weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def tagger(name, seed, **kwargs):
    """A classifier of each of 5 steps; taps `embedding` (if `mask`), `hidden` and `tags`."""
    keras.utils.set_random_seed(seed)
    first = layers.Embedding(9, 6, mask_zero=True) if kwargs.pop("mask", False) else None
    inputs = keras.Input((5,) if first else (5, 6))
    x = layers.Dense(4, "relu", name="hidden")(first(inputs) if first else inputs)
    return keras.Model(inputs, layers.Dense(3, name="tags", **kwargs)(x), name=name)


PER_POSITION = [
    SOFT(2.0),
    SOFT(activation="sigmoid", target="jensen_shannon"),
    kd.losses.OutputsMSE(),
    kd.losses.DecoupledKD(),
    kd.losses.NormalizedKD(),
    kd.losses.WTTM(),
    kd.losses.TAID(),
    kd.losses.LogitStandardization(),
    kd.losses.ChunkMimicry(),
    kd.losses.Hint("tags", "tags"),
]
PER_SAMPLE = [
    kd.losses.DIST(),
    kd.losses.RelationalKD(),
    kd.losses.SimilarityPreserving(),
    kd.losses.ProbabilisticTransfer(),
    kd.losses.AttentionTransfer(),
    kd.losses.NeuronSelectivity(),
]


@pytest.mark.parametrize("loss", [*PER_POSITION, *PER_SAMPLE], ids=lambda loss: loss.name)
@pytest.mark.parametrize("teachers", [1, 2])
def test_sample_weights_of_positions_weigh_the_positions_of_a_loss(loss, teachers):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5, 6)).astype("float32")
    y, weights = rng.integers(-1, 3, (8, 5)), rng.uniform(size=(8, 5)).astype("float32")
    student = tagger("student", 1)
    several = [tagger(f"teacher_{seed}", seed) for seed in range(2, 2 + teachers)]
    values = np.mean([loss(teacher(x), student(x), y) for teacher in several], axis=0)
    expected = values * (weights if values.ndim == 2 else weights.mean(1))
    assert values.ndim == 1 + (loss in PER_POSITION)
    parts = objective(student, loss, several)
    np.testing.assert_allclose(value(parts, x, y, weights), expected.mean(), rtol=1e-4)


def test_sample_weights_of_positions_weigh_those_of_hidden_taps_of_the_same_shape():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(8, 5, 6)).astype("float32"), rng.uniform(size=(8, 5))
    student, teacher = tagger("student", 1), tagger("teacher", 2)
    parts = objective(student, kd.losses.Hint("hidden", "hidden"), teacher)
    hidden = [keras.Model(m.input, m.get_layer("hidden").output)(x) for m in (teacher, student)]
    expected = (np.square(hidden[0] - hidden[1]).mean(-1) * weights).mean()
    np.testing.assert_allclose(value(parts, x, weights=weights), expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [None, "samples", "steps"])
def test_masked_steps_are_left_out_with_teachers_of_fewer_classes(weights):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (8, 5))
    x[:, 4], x[::2, 2:], kept = 0, 0, np.arange(5) < np.where(np.arange(8) % 2, 4, 2)[:, None]
    given = {"samples": rng.uniform(size=8), "steps": rng.uniform(size=(8, 5))}.get(weights)
    student, whole = tagger("student", 1, mask=True), tagger("teacher", 2, mask=True)
    pair = tagger("pair", 3, mask=True)
    pair = keras.Model(pair.input, layers.Dense(2, name="tags")(pair.get_layer("hidden").output))
    parts = objective(student, SOFT(2.0), [whole, kd.Teacher(pair, classes=[2, 0])])
    own = ops.take(student(x), [2, 0], axis=-1)
    targets = [np.asarray(teacher(x)) for teacher in (whole, pair)]
    values = np.mean([SOFT(2.0)(targets[0], student(x)), SOFT(2.0)(targets[1], own)], axis=0)
    weighed = values * (1 if given is None else given.reshape(8, -1))
    expected = np.mean((weighed * kept).sum(1) / kept.sum(1))
    np.testing.assert_allclose(value(parts, x, weights=given), expected, rtol=1e-5)


def test_weights_by_output_weigh_a_hidden_tap_by_their_mean():
    inputs = keras.Input((5,))
    hidden = [layers.Dense(4, name="hidden")(inputs) for _ in range(2)]
    student, teacher = (
        keras.Model(inputs, {name: layers.Dense(2, name=name)(h) for name in ("p", "q")})
        for h in hidden
    )
    (x, _), one = toy.vectors(), np.linspace(0, 2, 32)
    parts = objective(student, kd.losses.Hint("hidden", "hidden"), teacher)
    hidden = [keras.Model(inputs, m.get_layer("hidden").output)(x) for m in (teacher, student)]
    values = np.square(hidden[0] - hidden[1]).mean(-1)
    for weights, expected in (
        ({"p": one, "q": 3 * one}, 2 * one),
        ({"p": one}, one),
        ({"p": one, "q": None}, (one + 1) / 2),
    ):
        found = value(parts, x, weights=weights)
        np.testing.assert_allclose(found, (values * expected).mean(), rtol=1e-5)


def test_a_segmentation_map_is_averaged_over_its_pixels():
    inputs = keras.Input((6, 6, 1))
    student, teacher = (
        keras.Model(inputs, layers.Conv2D(3, 1, activation=a)(inputs), name=n)
        for n, a in (("s", None), ("t", "softmax"))
    )
    (x, _), loss = toy.data(), SOFT(3.0)
    pixels = loss(ops.reshape(ops.log(teacher(x)), (-1, 3)), ops.reshape(student(x), (-1, 3)))
    found = value(objective(student, loss, teacher), x)
    np.testing.assert_allclose(found, np.mean(pixels), rtol=1e-5)


def test_a_teacher_of_fewer_classes_is_compared_on_its_own_classes():
    (x, y), student = toy.vectors(), toy.mlp("student")
    teacher = kd.Teacher(toy.mlp("t", classes=2, seed=1), classes=["d", "b"])
    parts = objective(student, "normalized_kd", teacher, class_names=["a", "b", "c", "d"])
    own = ops.take(student(x), [3, 1], axis=-1)
    among = np.select([y == 3, y == 1], [0, 1], kd.UNLABELED)
    expected = np.mean(kd.losses.NormalizedKD()(teacher.model(x), own, among))
    np.testing.assert_allclose(value(parts, x, y), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["decoupled_kd", "normalized_kd", "soft_targets"])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_loss_on_labels_uses_the_class_of_the_teacher_for_unlabeled_samples(name, one_hot):
    (x, y), student, teacher = toy.vectors(), toy.mlp("student"), toy.mlp("teacher", seed=1)
    logits = teacher(x)
    filled = np.where(LABELED, y, np.argmax(logits, -1))
    expected = np.mean(kd.losses.get(name)(logits, student(x), filled))
    found = value(objective(student, name, teacher), x, with_missing(y, one_hot))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_weighting_by_labels_uses_the_entropy_for_unlabeled_samples(one_hot):
    (x, y), student = toy.vectors(), toy.mlp("student")
    teachers = [toy.mlp(f"t{i}", units=6, seed=i) for i in (1, 2)]
    logits = ops.stack([teacher(x) for teacher in teachers])
    values = ops.stack([SOFT()(target, student(x)) for target in logits])
    by_label, by_entropy = kd.weighting.CrossEntropy()(logits, y), kd.weighting.Entropy()(logits)
    weights = np.where(LABELED, by_label, by_entropy)
    parts = objective(student, None, teachers, weighting=kd.weighting.CrossEntropy())
    expected = np.mean(np.sum(weights * values, 0))
    np.testing.assert_allclose(value(parts, x, with_missing(y, one_hot)), expected, rtol=1e-5)


FEATURES = [kd.losses.ContrastiveRepresentation("tags", "tags", bank_size=0), *PER_SAMPLE[1:4]]


@pytest.mark.parametrize("task", ["labels", "values"])
@pytest.mark.parametrize(
    "loss",
    [SOFT(2.0, activation="sigmoid"), kd.losses.OutputsMSE(), *FEATURES],
    ids=lambda loss: loss.name,
)
def test_elements_without_a_label_are_distilled_like_any_other(loss, task):
    (x, _), student = toy.vectors(), toy.mlp("student", classes=3)
    if loss.name == "soft_targets" and task == "values":
        return
    y = (np.arange(96).reshape(32, 3) % 2).astype("float32")
    partly = np.where(np.arange(96).reshape(32, 3) % 5, y, np.nan)
    loss = type(loss).from_config(loss.get_config())
    if not loss.on_logits:
        loss.teacher_tap = loss.student_tap = "hidden"
    teachers = [toy.mlp(f"t{i}", classes=3, seed=i) for i in (1, 2)]
    parts = objective(student, loss, teachers)
    parts.set_tasks({"labels": LABELS, "values": "mse"}[task])
    assert value(parts, x, partly) == value(parts, x, y) == value(parts, x)


@pytest.mark.parametrize("map_classes", [False, True])
@pytest.mark.parametrize(
    "weighting",
    [kd.weighting.Uniform(), kd.weighting.CrossEntropy(), kd.weighting.Screening(keep=1)],
    ids=lambda weighting: type(weighting).__name__,
)
@pytest.mark.parametrize(
    "loss",
    [
        SOFT(2.0),
        kd.losses.DecoupledKD(),
        kd.losses.NormalizedKD(),
        kd.losses.LogitStandardization("decoupled_kd"),
    ],
    ids=lambda loss: loss.name,
)
def test_classes_that_are_known_in_part_are_classes_where_one_is_certain(
    loss, weighting, map_classes
):
    (x, y), student = toy.vectors(), toy.mlp("student")
    teachers = [toy.mlp("t1", seed=1), toy.mlp("t2", units=6, seed=2)]
    if map_classes:
        if not isinstance(weighting, kd.weighting.Uniform):
            return  # Rejected: the classes differ.
        teachers[1] = kd.Teacher(toy.mlp("t2", classes=2, seed=2), classes=[3, 0])
    rows, missing = np.eye(4, dtype="float32")[y], np.arange(32)[:, None] % 4 == np.arange(4)
    partly = np.where(missing, np.nan, rows)
    certain = np.where(np.nanmax(partly, -1) > 0.5, y, kd.UNLABELED)
    assert 0 < (certain < 0).sum() < 32
    parts = objective(student, loss, teachers, weighting=weighting)
    np.testing.assert_allclose(value(parts, x, partly), value(parts, x, certain), rtol=1e-6)


class Hidden(keras.Model):
    """A model whose activation cannot be seen from outside."""

    def __init__(self, name, end, seed, units=4):
        super().__init__(name=name)
        keras.utils.set_random_seed(seed)
        self.end, self.head = end, layers.Dense(units)
        self(toy.vectors(1)[0])

    def call(self, x, training=None):
        return self.end(self.head(x))


CLASSES, LABELS = keras.losses.CategoricalCrossentropy(), keras.losses.BinaryCrossentropy()


@pytest.mark.parametrize(
    ("end", "loss", "compiled"),
    [
        (tf.nn.sigmoid, SOFT(2.0, activation="sigmoid"), None),
        (tf.nn.sigmoid, SOFT(2.0), LABELS),
        (tf.nn.sigmoid, kd.losses.OutputsMSE(), LABELS),
        (tf.nn.softmax, SOFT(2.0), None),
        (tf.nn.softmax, kd.losses.DIST(), CLASSES),
    ],
    ids=["sigmoid by loss", "sigmoid by task", "mse", "softmax", "dist"],
)
@pytest.mark.parametrize("hidden", ["teacher", "student", "both"])
def test_hidden_probabilities_are_read_by_the_loss_or_the_task(end, loss, compiled, hidden):
    x, _ = toy.vectors()
    student, teacher = Hidden("s", end, 1), Hidden("t", end, 2)
    logits = np.asarray(teacher.head(x)), np.asarray(student.head(x))
    if end is tf.nn.softmax:
        logits = [ops.log_softmax(one) for one in logits]
    if hidden != "both":
        visible = {"teacher": student, "student": teacher}[hidden]
        inputs = keras.Input((5,))
        plain = keras.Model(inputs, visible.head(inputs), name="plain")
        student, teacher = (plain, teacher) if visible is student else (student, plain)
    declared = {"teacher": "probabilities", "both": "probabilities"}.get(hidden, "auto")
    parts = objective(
        student,
        loss,
        kd.Teacher(teacher, outputs=declared),
        student_outputs="auto" if hidden == "teacher" else "probabilities",
    )
    parts.set_tasks(compiled)
    own = type(loss).from_config(loss.get_config())
    if end is tf.nn.sigmoid:
        own.set_task("labels")
    expected = np.mean(own(*logits))
    np.testing.assert_allclose(value(parts, x), expected, rtol=1e-4)


@pytest.mark.parametrize("end", [tf.nn.sigmoid, tf.nn.softmax])
@pytest.mark.parametrize("name", ["soft_targets", "outputs_mse"])
def test_hidden_probabilities_of_0_and_1_give_finite_gradients(name, end):
    x, _ = toy.vectors()
    student, teacher = Hidden("s", end, 1), Hidden("t", end, 2)
    for model in (student, teacher):
        model.head.set_weights([1000 * weight for weight in model.head.get_weights()])
        outputs = np.asarray(model(x))
        assert outputs.min() == 0
        assert outputs.max() == pytest.approx(1, abs=1e-6)  # Some kernels of softmax miss 1.
    teacher = kd.Teacher(teacher, outputs="probabilities")
    model = distiller(student, teacher, name, loss=None, student_outputs="probabilities")
    model.compile("sgd", LABELS if end is tf.nn.sigmoid else CLASSES, run_eagerly=True)
    y = np.eye(4, dtype="float32")[np.arange(32) % 4]
    logs = model.fit(x, y, batch_size=32, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in student.get_weights())


def test_probabilities_of_a_softmax_or_a_sigmoid_must_be_told_apart():
    teacher = kd.Teacher(Hidden("t", tf.nn.sigmoid, 2), outputs="probabilities")
    parts = objective(losses=kd.losses.OutputsMSE(), teachers=teacher)
    with pytest.raises(
        ValueError, match="OutputsMSE: the probabilities .* softmax or of a sigmoid"
    ):
        parts.check_data(None, "distiller")
    parts.set_tasks(LABELS)
    parts.check_data(None, "distiller")


@pytest.mark.parametrize("teacher", [None, "sigmoid"])
@pytest.mark.parametrize("name", ["soft_targets", "decoupled_kd", "dist", "outputs_mse"])
def test_a_yes_or_no_teacher_with_one_unit_teaches_two_classes(teacher, name):
    (x, y), student = toy.vectors(classes=2), toy.mlp("s", classes=2, activation="softmax")
    model = toy.mlp("t", classes=1, seed=1, activation=teacher)
    z = logits_of(model, x)
    both = np.concatenate([np.zeros_like(z), z], -1)
    expected = np.mean(kd.losses.get(name)(both, logits_of(student, x), y))
    np.testing.assert_allclose(value(objective(student, name, model), x, y), expected, rtol=1e-4)


@pytest.mark.parametrize("teacher", [None, "softmax"])
@pytest.mark.parametrize("name", ["soft_targets", "outputs_mse"])
def test_a_yes_or_no_teacher_with_two_units_teaches_one(teacher, name):
    (x, y), student = toy.vectors(classes=2), toy.mlp("s", classes=1, activation="sigmoid")
    model = toy.mlp("t", classes=2, seed=1, activation=teacher)
    a, b = np.split(logits_of(model, x), 2, axis=-1)
    expected = np.mean(kd.losses.get(name)(b - a, logits_of(student, x)))
    parts = objective(student, name, model)
    parts.set_tasks("binary_crossentropy")
    np.testing.assert_allclose(value(parts, x, y), expected, rtol=1e-4)


def logits_of(model, x):
    return np.asarray(TappedModel(model, [Tap(None, True)])(x)[1][Tap(None, True)])


@pytest.mark.parametrize(
    ("student", "teacher", "loss", "compiled", "sentence"),
    [
        ({"classes": 1}, {"classes": 2}, "outputs_mse", "mse", "a yes-or-no question only"),
        (
            {"classes": 2},
            {"classes": 1},
            SOFT(activation="sigmoid"),
            None,
            r"made by a softmax, but this loss applies a sigmoid",
        ),
        (
            {"classes": 2, "activation": "sigmoid"},
            {"classes": 1, "activation": "sigmoid"},
            "outputs_mse",
            None,
            r"\(None, 1\) and student output \(None, 2\)",
        ),
        ({"classes": 1}, {"classes": 2, "activation": "sigmoid"}, "outputs_mse", None, "None, 2"),
        ({"classes": 2}, {"classes": 1, "activation": "tanh"}, "outputs_mse", None, "None, 1"),
    ],
    ids=["numbers", "labels", "visible labels", "two labels", "tanh"],
)
def test_one_unit_and_two_match_for_yes_or_no_only(student, teacher, loss, compiled, sentence):
    with pytest.raises(ValueError, match=sentence):
        objective(toy.mlp("s", **student), loss, toy.mlp("t", **teacher)).set_tasks(compiled)


def test_a_teacher_of_more_classes_is_compared_on_those_of_the_student():
    (x, y), student = toy.vectors(classes=3), toy.mlp("s", classes=3)
    names, given = ["dog", "bus", "eel"], [None, "bus", "eel", None, "dog"]
    teacher = kd.Teacher(toy.mlp("t", classes=5, seed=1, activation="softmax"), classes=given)
    parts = objective(student, "decoupled_kd", teacher, class_names=names)
    target = logits_of(teacher.model, x)[:, [4, 1, 2]]
    expected = np.mean(kd.losses.DecoupledKD()(target, student(x), y))
    np.testing.assert_allclose(value(parts, x, y), expected, rtol=1e-4)
    some = kd.Teacher(teacher.model, classes=[None, "bus", None, None, "dog"])
    parts = objective(student, "decoupled_kd", some, class_names=names)
    own, among = ops.take(student(x), [1, 0], -1), np.select([y == 1, y == 0], [0, 1], -1)
    target = logits_of(teacher.model, x)[:, [1, 4]]
    expected = np.mean(kd.losses.DecoupledKD()(target, own, among))
    np.testing.assert_allclose(value(parts, x, y), expected, rtol=1e-4)


def test_an_inactive_objective_runs_no_teacher():
    parts = objective()
    parts.active = False
    assert parts.run_teachers(toy.vectors()[0]) is None
    assert parts.teach_before(None, None) is None


def test_targets_from_the_same_pass_carry_no_gradient():
    student, (x, _) = toy.mlp("student"), toy.vectors(8)
    hint = kd.losses.Hint("hidden", "hidden", None)
    parts = objective(student, hint, kd.Teacher(student), during=True)
    assert parts.teachers == ()
    assert parts.run_teachers(x) is None
    with tf.GradientTape() as tape:
        _, outputs = parts.student(x)
        target = parts.teach_during(outputs, None).outputs[0][Tap("hidden")]
    np.testing.assert_array_equal(target, outputs[Tap("hidden")])
    assert tape.gradient(target, student.trainable_variables) == [None] * 4


# Projectors and names.


def test_each_teacher_has_its_own_projector_for_a_hint():
    teachers = [toy.mlp("one", units=6, seed=1), toy.mlp("two", units=7, seed=2)]
    model = distiller(teacher=teachers, losses=kd.losses.Hint("hidden", "hidden"))
    assert list(model.projectors) == ["hint/teacher_0", "hint/teacher_1"]
    before = [projector.get_weights()[0] for projector in model.projectors.values()]
    model.fit(*toy.vectors(), verbose=0)
    for old, projector in zip(before, model.projectors.values(), strict=True):
        assert not np.array_equal(old, projector.get_weights()[0])


def test_teachers_of_the_same_shapes_keep_the_projectors():
    parts = objective(losses=kd.losses.Hint("hidden", "hidden"))
    projectors = parts.projectors
    parts.set_teachers(toy.mlp("other", units=6, seed=2))
    assert parts.projectors is projectors
    parts.set_teachers(toy.mlp("other", units=7))
    assert parts.projectors is not projectors


def test_repeated_names_are_numbered():
    losses = [SOFT(), SOFT(2.0), SOFT(name="soft_targets_2"), SOFT(3.0)]
    expected = ["soft_targets", "soft_targets_2", "soft_targets_2_2", "soft_targets_3"]
    assert objective(losses=losses).names == expected


# Checks.


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: objective(teachers=toy.mlp("t", classes=7)),
            r"teacher output has shape \(None, 7\) and student output \(None, 4\)",
        ),
        (
            lambda: objective(teachers=toy.mlp("t", inputs=3)),
            r"'t' takes inputs of shape .*\(None, 3\).* preprocessing=",
        ),
        (
            lambda: objective(losses=kd.losses.Hint("hiden", "hidden")),
            r"'teacher' has no layer or output 'hiden'.*'hidden'",
        ),
        (
            lambda: objective(
                toy.cnn("s"), kd.losses.Hint("conv", "features"), toy.cnn("t", seed=1)
            ),
            r"Hint: teacher tap 'conv' has shape \(None, 4, 4, 4\) and student tap 'features'",
        ),
        (lambda: objective(losses="soft_target"), "nearest.*soft_targets"),
        (lambda: objective(losses="hint"), "Pass kd.losses.Hint"),
        (lambda: objective(teachers=[]), "at least one teacher"),
        (lambda: objective(losses=SOFT(name="loss")), "must not be called 'loss'"),
        (lambda: objective(class_names=["a", "b"]), "as many `class_names`"),
        (
            lambda: objective(noise=kd.noise.LogitNoise(1.0, taps=["convv"])),
            "`taps` must be hidden taps",
        ),
        (
            lambda: objective(
                losses=kd.losses.SoftTargets(activation="softmax"),
                teachers=toy.mlp("t", activation="sigmoid"),
            ),
            r"sigmoid.*SoftTargets\(activation='sigmoid'\)",
        ),
    ],
)
def test_models_and_losses_that_do_not_match_are_rejected(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()


def test_a_loss_of_the_wrong_type_is_rejected():
    with pytest.raises(TypeError, match="A distillation loss must be"):
        objective(losses=keras.losses.KLDivergence())


@pytest.mark.parametrize("combine", ["losses", "probabilities", "logits"])
def test_each_group_of_samples_learns_from_its_own_teacher(combine):
    teachers = [toy.named(f"t{i}", seed=i) for i in (1, 2, 3)]
    student, loss = toy.named("student", seed=4), SOFT(2.0)
    x, y = toy.pairs(8)
    x, image = {"image": x["image"]}, {"image": x["image"]}
    x["teacher_id"] = np.array([0, 1, 2, 0, 1, 2, 2, 2])
    values = [
        float(loss(teachers[k](image)[i : i + 1], student(image)[i : i + 1])[0])
        for i, k in enumerate(x["teacher_id"])
    ]
    model = kd.Distiller(student, teachers, loss, weighting=kd.weighting.ByGroup(), combine=combine)
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    logs = model.fit(x, y, batch_size=8, verbose=0).history
    np.testing.assert_allclose(logs["soft_targets"][0], np.mean(values), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_group_without_a_teacher_is_rejected_in_the_compiled_step_too(jit_compile):
    teachers = [toy.named(f"t{i}", seed=i) for i in (1, 2)]
    model = kd.Distiller(toy.named("student"), teachers, SOFT(), weighting=kd.weighting.ByGroup())
    model.compile("sgd", toy.sparse_loss(), jit_compile=jit_compile)
    x, y = toy.pairs(8)
    x["teacher_id"] = np.arange(8) % 3
    if jit_compile:
        assert np.isnan(model.fit(x, y, verbose=0).history["loss"]).all()
        return
    with pytest.raises(ValueError, match="'teacher_id' in the inputs must be from 0 to 1"):
        model.fit(x, y, verbose=0)
