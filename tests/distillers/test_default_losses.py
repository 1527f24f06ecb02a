"""Losses that follow the task of their output."""

import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.distillers.default_losses import as_losses, copy_loss, loss_for_task, task_of_loss
from keras_kd.models.task import Evidence
from tests import toy

X, _ = toy.vectors()


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype("float64")))


#: The temperature of a distiller's default loss; that of others is 4.
FIRST = 2


def soft_sigmoids(t, s, temperature=4):
    """Soft targets of independent labels."""
    p, q = sigmoid(t / temperature), sigmoid(s / temperature)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return temperature**2 * divergence.mean(-1).mean()


def soft_classes(t, s, temperature=4):
    p, q = (np.exp(z / temperature) for z in (t, s))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    return temperature**2 * (p * np.log(p / q)).sum(-1).mean()


def squared(t, s, temperature=None):
    return ((t - s) ** 2).mean()


MSE, BINARY = "mse", keras.losses.BinaryCrossentropy(from_logits=True)
CASES = [
    (toy.sparse_loss(), 4, np.arange(32) % 4, "soft_targets", soft_classes),
    (BINARY, 4, np.ones((32, 4)), "soft_targets", soft_sigmoids),
    (BINARY, 1, np.ones((32, 1)), "soft_targets", soft_sigmoids),
    (MSE, 4, np.ones((32, 4)), "outputs_mse", squared),
    (MSE, 1, np.ones((32, 1)), "outputs_mse", squared),
]


def outputs_of(model, x=X):
    return keras.tree.map_structure(np.asarray, model(x, training=False))


def history(distiller, loss, y):
    distiller.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return distiller.fit(X, y, batch_size=32, verbose=0).history


@pytest.mark.parametrize(("loss", "units", "y", "name", "right"), CASES)
def test_the_default_loss_follows_the_compiled_loss(loss, units, y, name, right):
    student, teacher = toy.mlp("student", classes=units), toy.mlp("teacher", classes=units, seed=1)
    value = right(outputs_of(teacher), outputs_of(student), FIRST)
    distiller = kd.Distiller(student, teacher)
    found = history(distiller, loss, y)
    np.testing.assert_allclose(found[name], [value], rtol=1e-5)
    total = 0.5 * (found["student_loss"][0] + found[name][0])
    np.testing.assert_allclose(found["loss"], [total], rtol=1e-5)
    (first,) = distiller.distillation_losses
    assert isinstance(first, kd.losses.LabelsFirst)


@pytest.mark.parametrize(("loss", "units", "y", "name", "right"), CASES)
def test_the_teacher_of_a_default_loss_joins_after_the_labels(loss, units, y, name, right):
    """This one does not: it knows the labels no better than the student."""
    student, teacher = toy.mlp("student", classes=units), toy.mlp("teacher", classes=units, seed=1)
    distiller = kd.Distiller(student, teacher)
    distiller.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    with pytest.warns(UserWarning, match=f"'{name}' does not teach"):
        found = distiller.fit(X, y, batch_size=32, epochs=2, verbose=0).history
    assert found[name] == [0.0, 0.0]


@pytest.mark.parametrize(("loss", "units", "y", "name", "right"), CASES)
def test_siblings_follow_the_task_too(loss, units, y, name, right):
    students = [toy.mlp(one, classes=units, seed=i) for i, one in enumerate("ab")]
    a, b = (outputs_of(student) for student in students)
    found = history(kd.MutualLearning(students), loss, y)
    np.testing.assert_allclose(found[f"a_{name}"], [right(b, a)], rtol=1e-5)
    student = toy.mlp("student", classes=units)
    assert found.keys() >= {f"a_{name}", f"b_{name}"}
    supervised = kd.DeepSupervision(student, ["hidden"])
    assert f"hidden_{name}" in history(supervised, loss, y)
    assert name in history(kd.SelfDistiller(student, decay=0.9), loss, y)


@pytest.mark.parametrize(
    ("weighting", "kind"),
    [
        (None, kd.losses.LabelsFirst),
        (kd.weighting.Uniform(), kd.losses.LabelsFirst),
        (kd.weighting.Screening(keep=1), kd.losses.SoftTargets),
    ],
)
def test_weighted_teachers_teach_from_the_start(weighting, kind):
    teachers = [toy.mlp("one", seed=1), toy.mlp("two", seed=2)]
    (loss,) = kd.Distiller(toy.mlp("s"), teachers, weighting=weighting).distillation_losses
    assert type(loss) is kind
    softened = loss.loss if kind is kd.losses.LabelsFirst else loss
    assert (float(softened.temperature), float(loss.weight)) == (FIRST, 0.5)


def test_the_default_changes_with_the_next_compile():
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1))
    assert "outputs_mse" in history(distiller, "mse", np.ones((32, 4)))
    found = history(distiller, toy.sparse_loss(), np.arange(32) % 4)
    assert set(found) == {"loss", "student_loss", "soft_targets"}
    (first,) = distiller.distillation_losses
    assert (type(first.loss), float(first.loss.temperature)) == (kd.losses.SoftTargets, FIRST)
    assert float(first.weight) == 0.5


def test_without_a_loss_the_head_of_the_teacher_tells():
    student, teacher = toy.mlp("student"), toy.mlp("teacher", activation="sigmoid", seed=1)
    distiller = kd.Distiller(student, teacher)
    t = teacher.layers[-1](teacher.layers[0](X), training=False)
    t = np.log(t / (1 - t))
    value = soft_sigmoids(np.asarray(t), outputs_of(student), FIRST)
    found = history(distiller, None, None)
    np.testing.assert_allclose(found["soft_targets"], [value], rtol=1e-4)


@pytest.mark.parametrize("units", [1, 4])
def test_without_a_loss_that_of_the_teacher_tells(units):
    student, teacher = toy.mlp("student", classes=units), toy.mlp("teacher", classes=units, seed=1)
    teacher.compile("sgd", "mse")
    value = squared(outputs_of(teacher), outputs_of(student))
    found = history(kd.Distiller(student, teacher), None, None)
    np.testing.assert_allclose(found["outputs_mse"], [value], rtol=1e-5)


def test_a_single_linear_unit_without_a_loss_is_refused():
    distiller = kd.Distiller(toy.mlp("student", classes=1), toy.mlp("teacher", classes=1))
    with pytest.raises(ValueError, match=r"single unit.*losses="):
        distiller.compile("sgd", None)


@pytest.mark.parametrize(
    "loss",
    [
        kd.losses.SoftTargets(),
        kd.losses.DecoupledKD(),
        kd.losses.NormalizedKD(),
        kd.losses.DIST(),
        kd.losses.WTTM(),
        kd.losses.MultiTemperature(),
        kd.losses.TAID(),
        kd.losses.LogitStandardization(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_loss_of_classes_refuses_a_regression(loss):
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), loss)
    with pytest.raises(ValueError, match=r"numbers \(regression\).*OutputsMSE"):
        distiller.compile("sgd", "mse")


@pytest.mark.parametrize("name", ["DecoupledKD", "NormalizedKD", "DIST", "LogitStandardization"])
def test_a_loss_of_exclusive_classes_refuses_labels(name):
    loss = getattr(kd.losses, name)()
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), loss)
    with pytest.raises(ValueError, match=f"{name}.*independent labels"):
        distiller.compile("sgd", BINARY)


def test_soft_targets_without_an_activation_follow_the_task():
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    value = soft_sigmoids(outputs_of(teacher), outputs_of(student))
    distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets())
    found = history(distiller, BINARY, np.ones((32, 4)))
    np.testing.assert_allclose(found["soft_targets"], [value], rtol=1e-5)


def test_an_activation_of_soft_targets_declares_the_task():
    student, teacher = toy.mlp("student"), toy.mlp("teacher", seed=1)
    value = soft_classes(outputs_of(teacher), outputs_of(student))
    distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(activation="softmax"))
    found = history(distiller, BINARY, np.ones((32, 4)))
    np.testing.assert_allclose(found["soft_targets"], [value], rtol=1e-5)


def test_a_sigmoid_teacher_for_classes_is_refused():
    student = toy.mlp("student", activation="softmax")
    teacher = toy.mlp("teacher", activation="sigmoid", seed=1)
    distiller = kd.Distiller(student, teacher)
    with pytest.raises(ValueError, match="sigmoid"):
        distiller.compile("sgd", "sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    "weighting", [kd.weighting.CrossEntropy(), kd.weighting.Entropy(), kd.weighting.Screening(1)]
)
@pytest.mark.parametrize("loss", ["mse", BINARY])
def test_weights_from_classes_refuse_other_tasks(weighting, loss):
    teachers = [toy.mlp("one", seed=1), toy.mlp("two", seed=2)]
    distiller = kd.Distiller(toy.mlp("student"), teachers, weighting=weighting)
    with pytest.raises(ValueError, match=r"exclusive classes.*kd\.weighting\.Uniform"):
        distiller.compile("sgd", loss)


def test_a_forgotten_from_logits_is_warned_of():
    distiller = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1))
    with pytest.warns(UserWarning, match="from_logits=True"):
        distiller.compile("sgd", "sparse_categorical_crossentropy")


def test_a_copy_of_a_default_is_a_default():
    (loss,) = as_losses(None)
    copy = copy_loss(loss, name="a_soft_targets")
    assert (copy.is_default, copy.name) == (True, "a_soft_targets")
    assert not copy_loss(kd.losses.SoftTargets()).is_default


def test_a_default_of_another_name_keeps_its_weight_and_taps():
    (loss,) = as_losses(None)
    loss = copy_loss(loss, name="a_soft_targets", weight=2.0, student_tap="y", teacher_tap="z")
    found = loss_for_task(loss, "values")
    assert found.get_config() == {
        "weight": 2.0,
        "teacher_tap": "z",
        "student_tap": "y",
        "name": "a_outputs_mse",
    }


def test_values_that_are_declared_win_over_the_activation_of_a_loss():
    loss = kd.losses.SoftTargets(activation="softmax")
    assert task_of_loss(loss, Evidence("y", 4, "values")) == "values"


def test_numbers_after_a_sigmoid_are_compared_as_declared():
    student = toy.mlp("student", activation="sigmoid")
    teacher = toy.mlp("teacher", activation="sigmoid", seed=1)
    with pytest.raises(ValueError, match=r"ends in a softmax or sigmoid.*student_outputs='values'"):
        kd.Distiller(student, teacher).compile("sgd", "mse")
    value = squared(outputs_of(teacher), outputs_of(student))
    declared = kd.Teacher(teacher, outputs="values")
    found = history(kd.Distiller(student, declared, student_outputs="values"), "mse", X[:, :4])
    np.testing.assert_allclose(found["outputs_mse"], [value], rtol=1e-5)


@pytest.mark.parametrize("activations", [("sigmoid", None), (None, "sigmoid")])
def test_a_loss_for_numbers_alone_refuses_those_after_an_activation(activations):
    """Their logits would be compared with the labels."""
    student = toy.mlp("student", classes=1, activation=activations[0])
    teacher = toy.mlp("teacher", classes=1, activation=activations[1], seed=1)
    loss = kd.losses.BoundedRegression()
    with pytest.raises(ValueError, match=r"ends in a softmax or sigmoid.*student_outputs='values'"):
        kd.Distiller(student, teacher, loss).compile("sgd", "mse")
    declared = kd.Teacher(teacher, outputs="values")
    kd.Distiller(student, declared, loss, student_outputs="values").compile("sgd", "mse")


def three_outputs(name, units, seed):
    """Two inputs; outputs of classes, labels and numbers."""
    keras.utils.set_random_seed(seed)
    inputs = {"image": keras.Input((4, 4, 1), name="image"), "code": keras.Input((3,), name="code")}
    x = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["image"]), inputs["code"]])
    x = keras.layers.Dense(units, activation="relu", name="joined")(x)
    heads = {"kind": 5, "tags": 3, "size": 2}
    outputs = {key: keras.layers.Dense(count, name=key)(x) for key, count in heads.items()}
    return keras.Model(inputs, outputs, name=name)


def three_labels():
    rng = np.random.default_rng(0)
    x = {"image": rng.normal(size=(16, 4, 4, 1)), "code": rng.normal(size=(16, 3))}
    x = {key: value.astype("float32") for key, value in x.items()}
    y = {
        "kind": rng.integers(0, 5, 16),
        "tags": rng.integers(0, 2, (16, 3)).astype("float32"),
        "size": rng.normal(size=(16, 2)).astype("float32"),
    }
    return x, y


THREE = {"kind": toy.sparse_loss(), "tags": BINARY, "size": "mse"}
NAMES = ["soft_targets_kind", "soft_targets_tags", "outputs_mse_size"]


@pytest.fixture(scope="module")
def three():
    """The distiller of two inputs and three outputs by default, its history, and the data."""
    student, teacher = three_outputs("student", 6, 0), three_outputs("teacher", 12, 1)
    distiller = kd.Distiller(student, teacher)
    distiller.compile(keras.optimizers.SGD(0.0), THREE)
    x, y = three_labels()
    return distiller, distiller.fit(x, y, batch_size=16, verbose=0).history, x, y


def test_each_of_several_outputs_has_the_loss_of_its_task(three):
    distiller, found, x, y = three
    t, s = (outputs_of(one, x) for one in (distiller.teachers[0].model, distiller.student))
    right = {
        "soft_targets_kind": soft_classes(t["kind"], s["kind"], FIRST),
        "soft_targets_tags": soft_sigmoids(t["tags"], s["tags"], FIRST),
        "outputs_mse_size": squared(t["size"], s["size"]),
    }
    for name, value in right.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-5)
    log_q = s["kind"] - np.log(np.exp(s["kind"]).sum(-1, keepdims=True))
    q = sigmoid(s["tags"])
    hard = {
        "kind_loss": -log_q[np.arange(16), y["kind"]].mean(),
        "tags_loss": -(y["tags"] * np.log(q) + (1 - y["tags"]) * np.log(1 - q)).mean(),
        "size_loss": squared(y["size"], s["size"]),
    }
    for name, value in hard.items():
        np.testing.assert_allclose(found[name], [value], rtol=1e-5)
    total = 0.5 * (sum(hard.values()) + sum(right.values()))
    np.testing.assert_allclose(found["loss"], [total], rtol=1e-5)


def test_the_summary_shows_what_was_chosen(three):
    lines = []
    three[0].summary(print_fn=lines.append)
    rows = [" ".join(line.split()) for line in lines if ", for " in line]
    assert rows == [
        "soft_targets_kind kind -> kind, for classes 0.5",
        "soft_targets_tags tags -> tags, for labels 0.5",
        "outputs_mse_size size -> size, for values 0.5",
    ]


def test_a_hint_beside_the_defaults_has_the_mean_of_the_weights_by_output(three):
    distiller, _, x, y = three
    student, teacher = distiller.student, distiller.teachers[0].model
    rng = np.random.default_rng(1)
    weights = {name: rng.random(16) for name in THREE}
    hint = kd.losses.Hint("joined", "joined", projector=keras.layers.Identity())
    same = three_outputs("other", 6, 2)
    own = kd.Distiller(student, same, [*as_losses(None, student, same), hint])
    own.compile(keras.optimizers.SGD(0.0), THREE, run_eagerly=True)
    found = own.fit(x, y, sample_weight=weights, batch_size=16, verbose=0).history
    taps = [keras.Model(m.inputs, m.get_layer("joined").output)(x) for m in (same, student)]
    each = ((np.asarray(taps[0]) - np.asarray(taps[1])) ** 2).mean(-1)
    mean = sum(weights.values()) / 3
    np.testing.assert_allclose(found["hint"], [(each * mean).mean()], rtol=1e-5)
    t, s = (outputs_of(one, x)["size"] for one in (same, student))
    right = (((t - s) ** 2).mean(-1) * weights["size"]).mean()
    np.testing.assert_allclose(found["outputs_mse_size"], [right], rtol=1e-5)
    assert list(own.objective.names) == [*NAMES, "hint"]
    assert teacher is not same


def test_self_distillation_has_a_loss_for_each_output(three):
    _, _, x, y = three
    own = kd.SelfDistiller(three_outputs("student", 6, 0), decay=0.9)
    own.compile(keras.optimizers.SGD(0.0), THREE, run_eagerly=True)
    found = own.fit(x, y, batch_size=16, verbose=0).history
    assert {name: found[name] for name in NAMES} == {name: [0.0] for name in NAMES}


@pytest.fixture(scope="module")
def mutual():
    """Students of three outputs that teach each other, what `fit` logged, and the data."""
    students = [three_outputs("a", 6, 0), three_outputs("b", 8, 1)]
    model = kd.MutualLearning(students)
    metrics = {"kind": ["accuracy"], "size": ["mae"]}
    loss_weights = {"kind": 1.0, "tags": 1.0, "size": 2.0}
    model.compile(keras.optimizers.SGD(0.0), THREE, loss_weights, metrics, run_eagerly=True)
    x, y = three_labels()
    y["tags"][:5, 1] = np.nan
    weights = {"kind": np.linspace(0, 2, 16), "tags": np.ones(16), "size": np.ones(16)}
    logs = model.fit(x, y, sample_weight=weights, batch_size=16, verbose=0).history
    return model, logs, x, y, weights["kind"]


@pytest.mark.parametrize("own", [0, 1])
def test_students_that_teach_each_other_have_a_loss_for_each_output(mutual, own):
    model, logs, x, y, weights = mutual
    outputs = [outputs_of(student, x) for student in model.students]
    name, s, t = model.students[own].name, outputs[own], outputs[1 - own]
    kinds = [soft_classes(t["kind"][i : i + 1], s["kind"][i : i + 1]) for i in range(16)]
    right = {
        "soft_targets_kind": (np.array(kinds) * weights).mean(),
        "soft_targets_tags": soft_sigmoids(t["tags"], s["tags"]),
        "outputs_mse_size": squared(t["size"], s["size"]),
    }
    log_q = s["kind"] - np.log(np.exp(s["kind"]).sum(-1, keepdims=True))
    tags = np.logaddexp(0, s["tags"]) - y["tags"] * s["tags"]
    hard = {
        "kind_loss": (-log_q[np.arange(16), y["kind"]] * weights).mean(),
        "tags_loss": np.nanmean(tags),
        "size_loss": squared(y["size"], s["size"]),
    }
    scores = {
        "kind_accuracy": (s["kind"].argmax(-1) == y["kind"]).mean(),
        "size_mae": np.abs(y["size"] - s["size"]).mean(),
    }
    for key, value in {**right, **hard, **scores}.items():
        np.testing.assert_allclose(logs[f"{name}_{key}"], [value], rtol=1e-5, err_msg=key)


def test_the_loss_of_students_that_teach_each_other_is_the_sum_over_their_outputs(mutual):
    model, logs, x, _, _ = mutual
    distilled = sum(logs[name][0] for name in model.objective.names)
    hard = [logs[f"{s}_{o}_loss"][0] * (2 if o == "size" else 1) for s in "ab" for o in THREE]
    assert len(model.objective.names) == 6
    np.testing.assert_allclose(logs["student_loss"], [sum(hard)], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], [sum(hard) + distilled], rtol=1e-5)
    predicted = model.predict(x, verbose=0)
    assert set(predicted) == {f"{s}_{o}" for s in "ab" for o in THREE}
    expected = outputs_of(model.students[1], x)["tags"]
    np.testing.assert_allclose(predicted["b_tags"], expected, rtol=1e-5)


def test_labels_of_several_outputs_are_checked_for_students_that_teach_each_other(mutual):
    model, _, x, y, _ = mutual
    with pytest.raises(ValueError, match="output 'kind' has 5 classes.*Received labels from 9"):
        model.fit(x, {**y, "kind": np.full(16, 9)}, verbose=0)
    with pytest.raises(
        ValueError, match=r"expected the keys \['kind'.*Received: the keys \['sort'\]"
    ):
        model.fit(x, {**y, "sort": y["kind"]}, verbose=0)
    copy = kd.MutualLearning.from_config(model.get_config())
    copy.compile("sgd", THREE)
    assert copy.objective.names == model.objective.names
    assert model.best(x, y, "size_mae", mode="min") in model.students


@pytest.mark.slow
def test_exits_have_a_loss_for_each_output(tmp_path):
    student = three_outputs("student", 6, 0)
    model = kd.DeepSupervision(student, ["joined"], exit_loss_weight=0.25)
    loss_weights = {"kind": 1.0, "tags": 1.0, "size": 2.0}
    model.compile(keras.optimizers.SGD(0.0), THREE, loss_weights, run_eagerly=True)
    x, y = three_labels()
    y["tags"][:5, 1] = np.nan
    weights = {"kind": np.linspace(0, 2, 16), "tags": np.ones(16), "size": np.ones(16)}
    logs = model.fit(x, y, sample_weight=weights, batch_size=16, verbose=0).history
    joined = keras.Model(student.inputs, student.get_layer("joined").output)(x)
    assert list(model.exits) == [f"joined.{o}" for o in model.objective.student.output_names]
    early = {name: model.exits[f"joined.{name}"](joined) for name in THREE}
    early = {name: keras.ops.convert_to_numpy(value) for name, value in early.items()}
    final = outputs_of(student, x)
    kinds = [soft_classes(final["kind"][i : i + 1], early["kind"][i : i + 1]) for i in range(16)]
    soft = {
        "joined_soft_targets_kind": (np.array(kinds) * weights["kind"]).mean(),
        "joined_soft_targets_tags": soft_sigmoids(final["tags"], early["tags"]),
        "joined_outputs_mse_size": squared(final["size"], early["size"]),
    }

    def hard(outputs):
        z, tags = outputs["kind"], outputs["tags"]
        log_q = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return {
            "kind_loss": (-log_q[np.arange(16), y["kind"]] * weights["kind"]).mean(),
            "tags_loss": np.nanmean(np.logaddexp(0, tags) - y["tags"] * tags),
            "size_loss": squared(y["size"], outputs["size"]),
        }

    found = {**soft, **hard(final)}  # The losses by output are those of the student.
    sums = [
        sum(v * (2 if k == "size_loss" else 1) for k, v in hard(o).items()) for o in (final, early)
    ]
    found |= dict(zip(("student_loss", "exit_loss"), sums, strict=True))
    found["loss"] = sums[0] + 0.25 * sums[1] + sum(soft.values())
    for name, value in found.items():
        np.testing.assert_allclose(logs[name], [value], rtol=1e-5, err_msg=name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    again = loaded.fit(x, y, sample_weight=weights, batch_size=16, verbose=0).history
    np.testing.assert_allclose(again["loss"], logs["loss"], rtol=1e-5)


def test_a_saved_distiller_keeps_the_losses_of_its_outputs(three, tmp_path):
    distiller, found, x, y = three
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.set_teachers(distiller.teachers)
    again = loaded.fit(x, y, batch_size=16, verbose=0).history
    np.testing.assert_allclose(again["loss"], found["loss"], rtol=1e-6)
    for name in NAMES:
        np.testing.assert_allclose(again[name], found[name], rtol=1e-6)


def test_a_teacher_without_an_output_of_the_student_is_rejected(three):
    distiller = three[0]
    teacher = distiller.teachers[0].model
    part = keras.Model(teacher.inputs, {"kind": teacher.output["kind"]}, name="part")
    with pytest.raises(ValueError, match=r"'part' with the outputs \['kind'\].*'OUTPUT': model"):
        kd.Distiller(distiller.student, part)
