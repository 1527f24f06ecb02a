"""Precomputed outputs as a teacher: read from the batch, checked, weighted, without a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_kd as kd
from keras_kd.models.taps import Tap
from tests import toy

KEY = "teacher_logits"
OUTPUT = Tap(None, logits=True)
SOFT = kd.losses.SoftTargets


@pytest.fixture(scope="module")
def live():
    return toy.named("live", seed=3)


@pytest.fixture(scope="module")
def data(live):
    """Inputs with the teacher's logits beside them, and labels."""
    x, y = toy.pairs()
    return {**x, KEY: live.predict({"image": x["image"]}, verbose=0)}, y


def precomputed(shape=(4,), **kwargs):
    return kd.Teacher.from_outputs({KEY: shape}, **kwargs)


def train(student, teachers, x, y=None, losses=None, loss=None, compiled=None, **kwargs):
    model = kd.Distiller(student, teachers, losses, **kwargs)
    model.compile(keras.optimizers.SGD(0.1), loss, **(compiled or {}))
    return model, model.fit(x, y, batch_size=32, shuffle=False, verbose=0).history


def test_it_is_a_teacher_without_a_model():
    teacher = precomputed(name="big")
    assert isinstance(teacher, kd.Teacher)
    assert (teacher.name, precomputed().name) == ("big", KEY)
    assert teacher.model is None
    assert teacher.parameters == 0
    assert teacher.output_names == [KEY]
    assert teacher.inputs.named_shapes == {KEY: (None, 4)}
    assert teacher.evidence()[KEY].declared == "logits"


@pytest.mark.parametrize("losses", [SOFT(2.0), ["soft_targets", kd.losses.DecoupledKD()]])
def test_the_student_gets_the_weights_of_training_with_the_live_teacher(losses, live, data):
    x, y = data
    results = []
    for teacher in (precomputed(), live):
        given = [kd.losses.get(loss) for loss in (losses if type(losses) is list else [losses])]
        student = toy.named("student")
        _, history = train(student, teacher, x, y, given, toy.sparse_loss())
        results.append((history, student.get_weights()))
    for name, values in results[0][0].items():
        np.testing.assert_allclose(values, results[1][0][name], rtol=1e-5)
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_data_set_evaluation_prediction_and_a_file_need_no_more_than_the_student(data, tmp_path):
    x, y = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    student = toy.named("student")
    model = kd.Distiller(student, precomputed())
    model.compile("sgd", toy.sparse_loss(), metrics=["accuracy"])
    alone = {"image": x["image"]}
    logs = model.fit(dataset, validation_data=(alone, y), verbose=0).history
    assert {"soft_targets", "val_accuracy"} <= set(logs)
    with_key = model.evaluate(dataset, verbose=0, return_dict=True)
    assert with_key == pytest.approx(model.evaluate(alone, y, verbose=0, return_dict=True))
    np.testing.assert_array_equal(model.predict(x, verbose=0), model.predict(alone, verbose=0))
    model.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    loaded.set_teachers(precomputed())
    np.testing.assert_allclose(
        loaded.fit(dataset, verbose=0).history["soft_targets"],
        model.fit(dataset, verbose=0).history["soft_targets"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("weighting", [kd.weighting.CrossEntropy(), kd.weighting.Screening(keep=1)])
@pytest.mark.parametrize("combine", ["losses", "probabilities"])
def test_it_is_weighted_and_combined_with_live_teachers(weighting, combine, live, data):
    x, y = data
    other, results = toy.named("other", seed=4), []
    for teacher in (precomputed(), live):
        student = toy.named("student")
        _, history = train(
            student,
            [teacher, other],
            x,
            y,
            loss=toy.sparse_loss(),
            weighting=weighting,
            combine=combine,
            noise=kd.noise.LogitNoise(0.5, seed=1),
        )
        results.append(history["soft_targets"])
    np.testing.assert_allclose(*results, rtol=1e-5)


def value(teacher, x, loss, student, task=None):
    model = kd.Distiller(student, teacher, loss)
    model.compile(keras.optimizers.SGD(0.0), task, run_eagerly=True)
    y = None if task is None else np.zeros((32, student.output_shape[-1]), "float32")
    return model.fit(x, y, batch_size=32, verbose=0).history[loss.name][0]


def test_classes_of_precomputed_outputs_are_those_of_the_student(data):
    x, student = data[0], toy.named("student", units=2)
    teacher = precomputed(classes=[None, 1, None, 0])
    expected = np.mean(SOFT()(x[KEY][:, [3, 1]], student(x["image"])))
    np.testing.assert_allclose(value(teacher, x, SOFT(), student), expected, rtol=1e-5)


def test_precomputed_probabilities_are_read_as_the_task_demands(data):
    x, z = dict(data[0]), data[0][KEY]
    student, teacher = toy.named("student"), precomputed(outputs="probabilities")
    logits = student(x["image"])
    x[KEY] = np.asarray(ops.softmax(z))
    found = value(teacher, x, SOFT(2.0), student)
    np.testing.assert_allclose(found, np.mean(SOFT(2.0)(z, logits)), rtol=1e-4)
    x[KEY] = np.asarray(ops.sigmoid(z))
    loss = SOFT(2.0, activation="sigmoid")
    expected = np.mean(loss(z, logits))
    np.testing.assert_allclose(value(teacher, x, loss, student), expected, rtol=1e-4)
    task = keras.losses.BinaryCrossentropy(from_logits=True)
    np.testing.assert_allclose(value(teacher, x, SOFT(2.0), student, task), expected, rtol=1e-4)


def test_one_probability_of_yes_teaches_two_classes():
    (x, _), student = toy.pairs(), toy.named("student", units=2)
    p = np.linspace(0, 1, 32, dtype="float32")
    z = np.log(
        np.clip(p, 1.2e-38, 1 - 2.0**-25) / (1 - np.clip(p.astype("float64"), 0, 1 - 2.0**-25))
    )
    both = np.stack([np.zeros(32), z], -1).astype("float32")
    expected = np.mean(SOFT()(both, student(x["image"])))
    for shape in ((32,), (32, 1)):
        teacher = precomputed((1,), outputs="probabilities")
        found = value(teacher, {**x, KEY: p.reshape(shape)}, SOFT(), student)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_numbers_are_read_unchanged_and_learned_by_default():
    (x, _), student = toy.pairs(), toy.named("student", units=2)
    targets = np.random.default_rng(5).normal(size=(32, 2)).astype("float32")
    teacher = precomputed((2,), outputs="values")
    model = kd.Distiller(student, teacher)
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    logs = model.fit({**x, KEY: targets}, targets, batch_size=32, verbose=0).history
    expected = np.mean(np.square(targets - np.asarray(student(x["image"]))))
    np.testing.assert_allclose(logs["outputs_mse"][0], expected, rtol=1e-5)


def test_several_outputs_have_a_key_and_a_declaration_each():
    x, _ = toy.pairs()
    inputs = keras.Input((5,), name="image")
    heads = {n: layers.Dense(u, name=n)(inputs) for n, u in (("kind", 3), ("pose", 2))}
    student = keras.Model(inputs, heads)
    rng = np.random.default_rng(1)
    x["t_kind"], x["t_pose"] = (rng.normal(size=(32, u)).astype("float32") for u in (3, 2))
    teacher = kd.Teacher.from_outputs(
        {"t_kind": (3,), "t_pose": (2,)}, outputs={"t_kind": "logits", "t_pose": "values"}
    )
    losses = [
        SOFT(teacher_tap="t_kind", student_tap="kind"),
        kd.losses.OutputsMSE(teacher_tap="t_pose", student_tap="pose"),
    ]
    _, history = train(
        student,
        teacher,
        x,
        None,
        losses,
        compiled={"run_eagerly": True},
        student_outputs={"kind": "logits", "pose": "values"},
    )
    assert np.isfinite([history["soft_targets"], history["outputs_mse"]]).all()
    with pytest.raises(ValueError, match=r"only \['t_kind', 't_pose'\] can be tapped.*tap=the out"):
        teacher.watch([OUTPUT])
    with pytest.raises(ValueError, match="only .* can be tapped.*'hidden'"):
        kd.Distiller(toy.named("s"), precomputed(), kd.losses.Hint("hidden", "hidden"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {k: v for k, v in x.items() if k != KEY}, f"needs \\['{KEY}'\\]"),
        (lambda x: {**x, KEY: x[KEY][:, :3]}, r"\(None, 4\).*\(32, 3\)|\(None, 3\)"),
        (lambda x: {**x, KEY: x[KEY][:, None]}, r"\(None, 4\).*\(32, 1, 4\)|\(None, 1, 4\)"),
        (lambda x: x["image"], "must be dicts with the keys|takes inputs of shape"),
    ],
    ids=["missing", "width", "rank", "array"],
)
def test_batches_without_the_outputs_are_rejected(change, message, data):
    with pytest.raises(ValueError, match=message):
        train(toy.named("student"), precomputed(), change(data[0]))
    with pytest.raises(ValueError, match=message):
        precomputed().watch([OUTPUT])(change(data[0]))


@pytest.mark.parametrize(
    ("shapes", "kwargs", "message"),
    [
        (KEY, {}, "`shapes` must be a dict"),
        ({}, {}, "`shapes` must be a dict"),
        ({KEY: 4}, {}, "`shapes` must be a dict"),
        ({KEY: ()}, {}, "`shapes` must be a dict"),
        ({KEY: (3, None)}, {}, "`shapes` must be a dict"),
        ({KEY: (4,)}, {"outputs": "auto"}, "declare `outputs`"),
        ({KEY: (4,), "b": (2,)}, {"outputs": {KEY: "logits"}}, r"declare `outputs`.*\['b'\]"),
        ({KEY: (4,)}, {"outputs": {"b": "logits"}}, r"declares \['b'\]"),
        ({KEY: (4,)}, {"outputs": "odds"}, "`outputs` must be one of"),
    ],
)
def test_invalid_arguments(shapes, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kd.Teacher.from_outputs(shapes, **kwargs)


def test_options_that_need_a_model_are_rejected(data, tmp_path):
    student = toy.named("student")
    with pytest.raises(ValueError, match="shape .*None, 3.* student output"):
        kd.Distiller(student, precomputed((3,)))
    with pytest.raises(ValueError, match="precomputed outputs .*Received: same_view=True"):
        kd.Distiller(student, precomputed(), augment=lambda x: x, same_view=True)
    with pytest.raises(ValueError, match="has precomputed outputs, so its layers"):
        kd.TeacherClass(precomputed(), "hidden", [student])
    with pytest.raises(ValueError, match="precomputed outputs, so it cannot be stored"):
        kd.KnowledgeCache.build(
            precomputed(), tf.data.Dataset.from_tensor_slices(data), tmp_path / "c", verbose=0
        )
