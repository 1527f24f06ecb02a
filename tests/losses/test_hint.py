import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.losses import Hint
from keras_kd.losses.reduction import mean_per_sample
from tests import golden_numbers, toy
from tests.golden_numbers import value_and_gradient


@golden_numbers.everywhere
def test_it_gives_the_numbers_of_the_reference(file, dtype):
    golden_numbers.assert_golden(Hint("a", "b"), "hint_mse", "same", file, dtype)


@pytest.mark.parametrize("shape", [(3, 6), (3, 5, 6), (3, 4, 4, 6)])
def test_each_distance_is_the_mean_over_a_sample(shape):
    teacher, student = 2 * np.random.default_rng(0).normal(size=(2, *shape))
    difference = np.abs(teacher - student)
    cosine = np.sum(teacher * student, -1, keepdims=True) / (
        np.linalg.norm(teacher, axis=-1, keepdims=True)
        * np.linalg.norm(student, axis=-1, keepdims=True)
    )
    expected = {
        "mse": difference**2,
        "l1": difference,
        "smooth_l1": np.where(difference < 1, difference**2 / 2, difference - 0.5),
        "cosine": 1 - cosine,
    }
    for distance, values in expected.items():
        found, _ = value_and_gradient(Hint("a", "b", distance=distance), teacher, student)
        np.testing.assert_allclose(found, values.reshape(3, -1).mean(-1), rtol=1e-10)


def test_a_zero_vector_has_a_finite_gradient_under_every_distance():
    teacher = np.random.default_rng(0).normal(size=(3, 6))
    for distance in ("mse", "l1", "smooth_l1", "cosine"):
        _, gradient = value_and_gradient(Hint("a", "b", distance=distance), teacher, 0 * teacher)
        assert np.isfinite(gradient).all()


def test_several_pairs_are_averaged_with_a_projector_each():
    pairs = [("conv", "relu"), ("pool", "features"), ("features", "features")]
    teacher, student = toy.cnn("teacher", filters=6, seed=1), toy.cnn("student")
    several = kd.Distiller(student, teacher, Hint(taps=pairs))
    several.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    x, y = toy.data()
    logs = several.fit(x, y, batch_size=32, verbose=0).history
    (projectors,) = several.projectors.values()
    assert [p is not None for p in projectors.projectors] == [True, True]
    targets = [keras.Model(teacher.input, teacher.get_layer(t).output)(x) for t, _ in pairs]
    own = [
        keras.Model(student.input, student.get_layer(s).output)(x, training=True) for _, s in pairs
    ]
    projected = projectors(own)
    means = [
        np.mean((np.asarray(t) - np.asarray(s)) ** 2)
        for t, s in zip(targets, projected, strict=True)
    ]
    np.testing.assert_allclose(logs["hint"], np.mean(means), rtol=1e-5)


def test_automatic_pairs_are_chosen_once_and_saved(tmp_path, capsys):
    teacher, student = toy.cnn("teacher", filters=6, seed=1), toy.cnn("student")
    model = kd.Distiller(student, teacher, Hint(taps="auto"))
    model.summary()
    assert "relu -> relu, features -> features" in capsys.readouterr().out
    model.compile("sgd", toy.sparse_loss(), run_eagerly=True)
    model.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    again.set_teachers(teacher)
    again.summary()
    assert "relu -> relu, features -> features" in capsys.readouterr().out
    assert np.isfinite(again.fit(*toy.data(8), verbose=0).history["hint"]).all()


def test_masked_steps_are_ignored_in_each_of_several_pairs():
    teacher, student = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
    masked = keras.ops.convert_to_tensor(student)
    masked._keras_mask = mask
    loss = Hint(taps=[("a", "b"), ("c", "d")])
    found = mean_per_sample(loss([teacher, teacher[:, 0]], [masked, student[:, 0]]))
    steps = ((teacher - student) ** 2).mean(-1)
    expected = np.array([steps[0].mean(), steps[1, :2].mean(), 0])
    np.testing.assert_allclose(found, (expected + steps[:, 0]) / 2, rtol=1e-6)


def _sequence_model(name, width):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, width, mask_zero=True, name="embedding")(inputs)
    x = layers.Dense(width, name="steps")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name=name)


@pytest.mark.parametrize(
    ("width", "eager"), [(5, False), (8, True)], ids=["projector", "no projector"]
)
def test_the_mask_of_the_students_sequence_reaches_the_loss(width, eager):
    x = np.random.default_rng(0).integers(1, 10, (8, 6))
    x[:, 3:] = 0
    teacher, student = _sequence_model("teacher", 8), _sequence_model("student", width)
    model = kd.Distiller(student, teacher, Hint("steps", "steps"))
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=eager)
    logs = model.fit(x, np.zeros(8, int), verbose=0).history
    teacher_outputs, student_outputs = (
        keras.Model(m.input, m.get_layer("steps").output)(x) for m in (teacher, student)
    )
    if width != 8:
        student_outputs = model.projectors["hint"](student_outputs)
    steps = np.mean((np.asarray(teacher_outputs) - np.asarray(student_outputs)) ** 2, axis=-1)
    np.testing.assert_allclose(logs["hint"][0], steps[:, :3].mean(), rtol=1e-5)


def _video(name, filters, strides, seed):
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((4, 6, 6, 1))
    x = layers.Conv3D(filters, 3, strides=strides, padding="same", name="conv")(x)
    x = layers.ConvLSTM2D(filters, 3, padding="same", return_sequences=True, name="frames")(x)
    x = layers.GlobalAveragePooling3D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name=name)


def test_videos_of_other_sizes_are_projected():
    teacher, student = _video("teacher", 5, (1, 2, 2), 1), _video("student", 3, 2, 0)
    x = np.random.default_rng(0).normal(size=(4, 4, 6, 6, 1)).astype("float32")
    model = kd.Distiller(student, teacher, Hint("frames", "frames"))
    model.compile(keras.optimizers.SGD(0.0), toy.sparse_loss(), run_eagerly=True)
    logs = model.fit(x, np.zeros(4, int), verbose=0).history
    target, own = (
        np.asarray(keras.Model(m.input, m.get_layer("frames").output)(x))
        for m in (teacher, student)
    )
    kernel, bias = map(np.asarray, model.projectors["hint"].layers[0].weights)
    projected = np.repeat(own @ kernel + bias, 2, axis=1)
    np.testing.assert_allclose(logs["hint"], [np.mean((target - projected) ** 2)], rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "pass two taps, taps='auto' or a list"),
        ({"teacher_tap": "a"}, ValueError, "must each name a layer"),
        ({"taps": "auto", "teacher_tap": "a"}, ValueError, "pass either `taps` or"),
        ({"taps": []}, ValueError, "must be 'auto' or a list of pairs"),
        ({"taps": ["ab"]}, ValueError, "must be 'auto' or a list of pairs"),
        ({"taps": "automatic"}, ValueError, "must be 'auto' or a list of pairs"),
        ({"taps": "auto", "distance": "l2"}, ValueError, "`distance` must be one of"),
        ({"taps": "auto", "projector": "dense"}, ValueError, "`projector` must be 'auto'"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, error, message):
    with pytest.raises(error, match=message):
        Hint(**arguments)


def test_shapes_without_a_projector_are_rejected_with_the_taps():
    message = r"Hint: teacher tap 'a' has shape \(None, 4, 5\) and student tap 'b' \(None, 6, 5\)"
    with pytest.raises(ValueError, match=message):
        Hint("a", "b").make_projector((None, 4, 5), (None, 6, 5))


def test_automatic_pairs_need_a_teacher():
    with pytest.raises(ValueError, match="taps='auto' needs a teacher"):
        kd.Distiller(toy.cnn("student"), None, Hint(taps="auto"))


def test_a_custom_projector_must_be_registered():
    class Double(layers.Layer):
        def call(self, x):
            return 2 * x

    hint = Hint("hidden", "hidden", projector=Double())
    with pytest.raises(ValueError, match=r"The projector 'Double' is a custom class.*Decorate it"):
        kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), hint)
    with keras.saving.custom_object_scope({"Double": Double}):
        model = kd.Distiller(toy.mlp("student"), toy.mlp("teacher", seed=1), hint)
    assert isinstance(model.projectors["hint"], Double)
