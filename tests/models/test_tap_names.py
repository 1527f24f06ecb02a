"""Taps may be given by name, as the layer, or as an entry of `kd.taps`; an index is rejected."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.models.tap_names import plain_name, resolve_tap, tap_name, tap_names
from tests import toy


def outer(name="outer", seed=0):
    """A model with a nested one."""
    inner = toy.mlp("inner", seed=seed)
    x = keras.Input((5,))
    return keras.Model(x, layers.Dense(4, name="head")(inner(x)), name=name)


def test_names_layers_and_entries_have_names():
    model = toy.mlp("model")
    hidden = model.get_layer("hidden")
    given = ["hidden", hidden, kd.taps(model)[0]]
    assert tap_names(given, "taps", "f") == ["hidden"] * 3
    assert tap_names(hidden, "taps", "f") == ["hidden"]
    assert tap_name(None, "tap", "f") is None


@pytest.mark.parametrize("tap", [-2, 0, 1.5, keras.KerasTensor((None, 3)), toy.mlp, ["hidden"]])
def test_anything_else_is_rejected_with_the_name_of_the_argument(tap):
    message = "^Hint: `teacher_tap` must be the name of a layer or output .*Received: teacher_tap="
    with pytest.raises(TypeError, match=message):
        tap_name(tap, "teacher_tap", "Hint")


def test_none_is_rejected_where_a_layer_is_needed():
    with pytest.raises(TypeError, match="Received: layer=None"):
        tap_name(None, "layer", "TeacherClass", required=True)


def test_the_path_of_a_layer_is_found_in_nested_models():
    model = outer()
    hidden = model.get_layer("inner").get_layer("hidden")

    def resolve(layer, *models):
        return resolve_tap(tap_name(layer, "tap", "f"), models, "tap", "f")

    assert resolve(hidden, model) == "inner/hidden"
    assert resolve(hidden, toy.mlp("other"), model) == "inner/hidden"
    assert resolve("hidden", model) == "hidden"
    assert resolve(hidden, None) == "hidden"
    assert type(resolve(hidden, None)) is str


def test_the_plain_name_of_a_tap_can_be_part_of_a_name():
    assert plain_name("inner/lstm@1:2") == "inner_lstm_1_2"


def test_a_layer_of_another_model_is_rejected():
    foreign = tap_name(toy.mlp("other").get_layer("hidden"), "teacher_tap", "Hint")
    message = "`teacher_tap` must be one of 'teacher'. Received: <Dense .*of another model"
    with pytest.raises(ValueError, match=message):
        resolve_tap(foreign, [toy.mlp("teacher")], "teacher_tap", "Hint")


LOSSES = [
    kd.losses.Hint,
    kd.losses.AttentionTransfer,
    kd.losses.NeuronSelectivity,
    kd.losses.SimilarityPreserving,
    kd.losses.RelationalKD,
    kd.losses.ProbabilisticTransfer,
    kd.losses.ContrastiveRepresentation,
]


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_between_layers_takes_layers_and_rejects_indices(kind):
    teacher, student = toy.cnn("teacher", seed=1), toy.cnn("student")
    pair = teacher.get_layer("relu"), student.get_layer("relu")
    loss = kd.Distiller(student, teacher, kind(*pair)).distillation_losses[0]
    assert (loss.teacher_tap, loss.student_tap) == ("relu", "relu")
    assert type(loss.get_config()["teacher_tap"]) is str
    with pytest.raises(TypeError, match=f"^{kind.__name__}: `teacher_tap` must be the name"):
        kind(-2, -2)
    with pytest.raises(TypeError, match=f"^{kind.__name__}: `student_tap` must be the name"):
        kind("relu", 3)


@pytest.mark.parametrize("kind", [kd.losses.SoftTargets, kd.losses.OutputsMSE, kd.losses.DIST])
def test_losses_on_outputs_reject_indices(kind):
    with pytest.raises(TypeError, match=f"^{kind.__name__}: `teacher_tap` must be the name"):
        kind(teacher_tap=0)


def values(distiller, teacher, student, x):
    """The value of the only loss, a hint between layers of different models."""
    distiller.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return distiller.fit(x, batch_size=16, verbose=0).history["hint"][0]


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_layers_in_nested_models_and_of_copied_teachers_are_found(dtype):
    teacher, student = outer("teacher", 1), outer("student")
    taps = [model.get_layer("inner").get_layer("hidden") for model in (teacher, student)]
    distiller = kd.Distiller(student, kd.Teacher(teacher, dtype=dtype), kd.losses.Hint(*taps))
    x, _ = toy.vectors(16)
    expected = np.mean(np.square(taps[0](x) - taps[1](x)))
    np.testing.assert_allclose(values(distiller, teacher, student, x), expected, rtol=1e-5)


def test_layers_in_the_wrong_order_are_rejected():
    teacher, student = toy.mlp("teacher", seed=1), toy.mlp("student")
    swapped = kd.losses.Hint(student.get_layer("hidden"), teacher.get_layer("hidden"))
    with pytest.raises(ValueError, match="Hint: the layer passed as `teacher_tap` must be one of"):
        kd.Distiller(student, teacher, swapped)


def test_pairs_may_be_layers():
    teacher, student = toy.mlp("teacher", seed=1), toy.mlp("student")
    pairs = [(teacher.get_layer("hidden"), "hidden"), kd.pair_taps(teacher, student)[0]]
    (hint,) = kd.Distiller(student, teacher, kd.losses.Hint(taps=pairs)).distillation_losses
    assert hint.teacher_tap == ["hidden", "hidden"]
    with pytest.raises(TypeError, match="Hint: `taps` must be the name"):
        kd.losses.Hint(taps=[(1, 2)])


def test_siblings_take_layers():
    student, peer = toy.mlp("student"), toy.mlp("peer", seed=1)
    hidden, head = student.get_layer("hidden"), student.get_layer("head")
    (own,) = kd.SelfDistiller(student, kd.losses.Hint(head, hidden), start=1).distillation_losses
    assert (own.teacher_tap, own.student_tap) == ("head", "hidden")
    mutual = kd.MutualLearning([student, peer], kd.losses.Hint(hidden, peer.get_layer("hidden")))
    assert {loss.teacher_tap for loss in mutual.distillation_losses} == {"hidden"}
    losses = [kd.losses.SoftTargets(), kd.losses.Hint(head, hidden)]
    deep = kd.DeepSupervision(student, [hidden], losses)
    assert list(deep.exits) == ["hidden"]
    with pytest.raises(TypeError, match="DeepSupervision: `exits` must be the name of a layer"):
        kd.DeepSupervision(student, [-2])


def test_noise_takes_layers_and_a_single_name():
    hidden = toy.mlp("teacher").get_layer("hidden")
    assert kd.noise.LogitNoise(1.0, taps=hidden).taps == ["hidden"]
    assert kd.noise.LogitNoise(1.0, taps="hidden").taps == ["hidden"]
    with pytest.raises(TypeError, match="LogitNoise: `taps` must be the name"):
        kd.noise.LogitNoise(1.0, taps=[-2])


def test_the_teacher_class_takes_a_layer_and_one_teacher():
    teacher = toy.mlp("teacher")

    def build(size):
        return toy.mlp(f"s{size}", classes=size)

    students = kd.TeacherClass(teacher, teacher.get_layer("hidden"), build, n=2)
    assert students.get_config()["layer"] == "hidden"
    with pytest.raises(TypeError, match="TeacherClass: `layer` must be the name"):
        kd.TeacherClass(teacher, -2, build, n=2)
    with pytest.raises(ValueError, match="TeacherClass: the layer passed as `layer`"):
        kd.TeacherClass(teacher, toy.mlp("other").get_layer("hidden"), build, n=2)
    with pytest.raises(ValueError, match="there must be one teacher. Received: teacher="):
        kd.TeacherClass([teacher, teacher], "hidden", build, n=2)


def test_a_teacher_head_takes_layers():
    teacher, student = toy.mlp("teacher", seed=1), toy.mlp("student")
    taps = student.get_layer("hidden"), teacher.get_layer("hidden")
    model = kd.with_teacher_head(student, teacher, *taps)
    assert model.output_shape == (None, 4)
    with pytest.raises(ValueError, match="with_teacher_head: the layer passed as `student_tap`"):
        kd.with_teacher_head(student, teacher, *taps[::-1])
    with pytest.raises(TypeError, match="with_teacher_head: `teacher_tap` must be the name"):
        kd.with_teacher_head(student, teacher, "hidden", None)
