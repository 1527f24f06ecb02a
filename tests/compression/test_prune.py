"""Pruning: as sparse as asked, in the model and in the file, and only what can be pruned."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.tfmot import imports as legacy_keras
from tests import toy
from tests.compression import files, models


def pruned(student, sparsity=0.8, **kwargs):
    x, y = toy.data(32)
    kwargs = {"data": (x, y), "batch_size": 8, "epochs": 2, "verbose": 0, **kwargs}
    return kd.compression.prune(student, sparsity, loss=toy.sparse_loss(), **kwargs)


def noughts(weight):
    return int((np.asarray(weight) == 0).sum())


def wide(**kwargs):
    """A convolution of 3×3×4×8 and dense layers of 32×12 and 12×4 weights."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, strides=2, activation="relu", name="first", **kwargs)(x)
    x = layers.Conv2D(8, 3, padding="same", name="second")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.ReLU(name="act")(x))
    x = layers.Dense(12, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="wide")


@pytest.fixture(scope="module")
def result():
    student = wide()
    x, y = toy.data(16, seed=1)
    return pruned(
        student, teachers=toy.cnn("teacher", seed=1), validation_data=(x, y), metrics=["accuracy"]
    )


def test_each_kernel_is_as_sparse_as_asked(result):
    expected = {"first": 29, "second": 230, "dense": 307, "logits": 38}
    for name, count in expected.items():
        assert noughts(result.model.get_layer(name).kernel) == count, name
    assert noughts(result.model.get_layer("depthwise").kernel) == 0
    assert result.history["sparsity"][-1] == sum(expected.values()) / (36 + 288 + 384 + 48)


def test_the_result_is_a_plain_model_that_scores_what_validation_said(result):
    assert type(result.model) is type(wide())
    x, y = toy.data(16, seed=1)
    result.model.compile(loss=toy.sparse_loss(), metrics=["accuracy"])
    loss, accuracy = result.model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(loss, result.history["val_loss"][-1], rtol=1e-5)
    assert accuracy == result.history["val_accuracy"][-1]


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_file_is_as_sparse_as_the_model(result, quantization, tmp_path):
    path = tmp_path / "pruned.tflite"
    kd.export.to_tflite(result.model, path, quantization, calibration=toy.data(32)[0])
    found = {kernel.size: noughts(kernel) for kernel in files.kernels(path)}
    for layer in ("first", "second", "dense", "logits"):
        kernel = result.model.get_layer(layer).kernel
        if quantization == "float32":
            assert found[np.size(kernel)] == noughts(kernel)
        else:
            # Small weights may round to nought; none that was nought may come back.
            assert noughts(kernel) <= found[np.size(kernel)] < noughts(kernel) + 5


def test_each_layer_is_listed_with_what_happens_to_it(result):
    plans = {plan.name: (plan.action, plan.reason) for plan in result.layers}
    assert plans["second"] == ("pruned", "kernel")
    reason = "tensorflow-model-optimization prunes no DepthwiseConv2D"
    assert plans["depthwise"] == ("left", reason)
    assert plans["act"] == ("left", "no weights")
    assert str(result.layers).splitlines()[3].split() == ["second", "Conv2D", "pruned", "kernel"]


def test_the_list_is_printed_before_training(capsys):
    small(0.8, epochs=1, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "kind", "what", "happens", "how,", "or", "why", "not"]
    assert lines[2].split() == ["hidden", "Dense", "pruned", "kernel"]
    assert any("sparsity: 0.8" in line for line in lines[4:])


def small(sparsity, **kwargs):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(32, 5)), rng.integers(0, 4, 32))
    return pruned(toy.mlp("student", units=20), sparsity, data=data, **kwargs)


def test_the_sparsity_grows_over_half_of_the_steps_and_then_stays():
    history = small(0.6, epochs=4).history["sparsity"]
    assert 0.4 < history[0] < 0.6
    assert history[1] == history[3] == pytest.approx(0.6, abs=0.002)


def test_a_schedule_of_nought_prunes_at_once():
    history = small(0.6, schedule=0).history["sparsity"]
    assert history[0] == history[1] == pytest.approx(0.6, abs=0.002)


def test_a_schedule_of_tfmot_is_taken_as_it_is():
    tfmot = legacy_keras.tfmot()
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.25, 1, frequency=1)
    assert small(0.8, schedule=schedule).history["sparsity"][-1] == 0.25


def test_a_training_that_stops_too_early_says_so():
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", True)
    )
    with pytest.warns(UserWarning, match=r"ended at a sparsity of 0\.5.*before the 0.6 that was"):
        small(0.6, epochs=4, callbacks=stop)


def test_two_of_four_weights_along_the_inputs_become_nought():
    result = pruned(wide(), (2, 4))
    kernel = np.asarray(result.model.get_layer("second").kernel)
    assert np.all((kernel == 0).sum(axis=2) == 2)
    kernel = np.asarray(result.model.get_layer("logits").kernel)
    assert np.all((kernel.reshape(3, 4, 4) == 0).sum(axis=1) == 2)


def test_blocks_become_nought_together_and_kernels_that_are_no_matrices_are_left():
    result = pruned(wide(), 0.5, block_size=(4, 2), block_pooling="max")
    kernel = np.asarray(result.model.get_layer("dense").kernel) == 0
    blocks = kernel.reshape(8, 4, 6, 2).sum(axis=(1, 3))
    assert set(blocks.ravel()) == {0, 8}
    assert (blocks == 8).sum() == 24
    assert noughts(result.model.get_layer("second").kernel) == 0
    plans = {plan.name: plan.reason for plan in result.layers}
    assert plans["second"] == "blocks need a matrix"


def test_skipped_and_frozen_layers_are_left_alone():
    student = wide()
    student.get_layer("dense").trainable = False
    result = pruned(student, skip=["first"])
    plans = {plan.name: (plan.action, plan.reason) for plan in result.layers}
    assert plans["first"] == ("left", "skipped")
    assert plans["dense"] == ("left", "frozen")
    assert noughts(result.model.get_layer("first").kernel) == 0
    frozen = (student.get_layer("dense").kernel, result.model.get_layer("dense").kernel)
    np.testing.assert_array_equal(*frozen)


def classifier(layer, shape):
    flat = layers.GlobalAveragePooling2D()
    return models.randomized(keras.Sequential([keras.Input(shape), layer, flat, layers.Dense(4)]))


def siamese():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="dense")], name="branch")
    one, other = keras.Input((6,), name="one"), keras.Input((6,), name="other")
    both = layers.Concatenate()([inner(one), inner(other)])
    return models.randomized(keras.Model([one, other], layers.Dense(2, name="head")(both)))


OTHERS = {
    "Embedding and LSTM": (
        lambda: models.tokens(layers.LSTM(6, name="lstm"), layers.Dense(4, name="head")),
        {"embedding": [18], "lstm": [48, 72], "head": [12]},
    ),
    "SeparableConv2D": (
        lambda: classifier(layers.SeparableConv2D(6, 3, name="separable"), models.MAP),
        {"separable": [0, 12]},
    ),
    "nested and shared": (siamese, {"branch": [9], "head": [6]}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_layers_become_sparse_too(kind):
    make, expected = OTHERS[kind]
    student = make()
    rng = np.random.default_rng(0)
    x = [
        rng.integers(0, 9, (16, *i.shape[1:]))
        if i.dtype == "int32"
        else rng.random((16, *i.shape[1:]))
        for i in student.inputs
    ]
    y = rng.integers(0, student.output_shape[-1], 16)
    data = (x if len(x) > 1 else x[0], y)
    result = pruned(student, 0.5, data=data, schedule=0.5)
    for name, counts in expected.items():
        weights = [w for w in result.model.get_layer(name).weights if "bias" not in w.path]
        assert [noughts(weight) for weight in weights] == counts


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sparsity": 1.0}, r"`sparsity` must be a share in \[0, 1\), or \(m, n\).*sparsity=1.0"),
        ({"sparsity": -0.1}, "`sparsity` must be a share"),
        ({"sparsity": (4, 4)}, "`sparsity` must be a share"),
        ({"sparsity": (2, 4), "block_size": (2, 2)}, "Choose one structure"),
        ({"block_size": (0, 2)}, "`block_size` must be a height and a width"),
        ({"block_pooling": "sum"}, r"`block_pooling` must be one of \('avg', 'max'\)"),
        ({"schedule": 2}, "`schedule` must be the share of the steps"),
        ({"skip": ["no"]}, r"`skip` must name layers of the student: .*Received: \['no'\]"),
        (
            {"skip": ["first", "second", "dense", "logits"]},
            "'wide' has no layer that can be pruned",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        pruned(wide(), **arguments)


def test_a_subclassed_student_is_refused():
    with pytest.raises(ValueError, match="which is subclassed. Build it with the functional API"):
        pruned(models.subclassed())
