"""Pruned students have the requested sparsity, in the model and in the file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.kernels import list_kernels
from tests import toy
from tests.compression import files, models, runs
from tests.compression.runs import count_zeros, wide


def test_each_kernel_has_the_requested_sparsity(pruned):
    expected = {"first": 29, "second": 230, "dense": 307, "logits": 38}
    for name, count in expected.items():
        assert count_zeros(pruned.model.get_layer(name).kernel) == count, name
    assert count_zeros(pruned.model.get_layer("depthwise").kernel) == 0
    assert pruned.history["sparsity"][-1] == sum(expected.values()) / (36 + 288 + 384 + 48)


def test_the_result_is_a_plain_model_with_the_validation_scores_of_the_history(pruned):
    assert type(pruned.model) is type(wide())
    pruned.model.compile(loss=toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True)
    loss, accuracy = pruned.model.evaluate(*toy.data(16, seed=1), verbose=0)
    np.testing.assert_allclose(loss, pruned.history["val_loss"][-1], rtol=1e-5)
    assert accuracy == pruned.history["val_accuracy"][-1]


def test_an_int8_file_is_as_sparse_as_the_model(pruned, tmp_path):
    path = tmp_path / "pruned.tflite"
    kd.export.to_tflite(pruned.model, path, "int8", calibration=toy.data(32)[0])
    in_file = {kernel.size: count_zeros(kernel) for kernel in files.kernels(path)}
    for name in runs.KERNELS:
        kernel = pruned.model.get_layer(name).kernel
        # Small weights may round to zero; no zero may become another value.
        assert count_zeros(kernel) <= in_file[np.size(kernel)] < count_zeros(kernel) + 5


def test_the_action_of_each_layer_is_listed(pruned):
    actions = runs.actions(pruned)
    assert actions["second"] == ("pruned", "kernel")
    reason = "DepthwiseConv2D has no kernel of this kind"
    assert actions["depthwise"] == ("kept", reason)
    assert actions["act"] == ("kept", "no weights")


def prune_mlp(sparsity, **kwargs):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(32, 5)), rng.integers(0, 4, 32))
    return runs.prune(toy.mlp("student", units=20), sparsity, data=data, **kwargs)


def test_the_list_is_printed_before_training(capsys):
    prune_mlp(0.8, epochs=1, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "class", "action", "details"]
    assert lines[2].split() == ["hidden", "Dense", "pruned", "kernel"]
    assert any("sparsity: 0.8" in line for line in lines[4:])


def test_the_sparsity_grows_over_half_of_the_steps():
    history = prune_mlp(0.6, epochs=4).history["sparsity"]
    assert 0.4 < history[0] < 0.6
    assert history[1] == history[3] == pytest.approx(0.6, abs=0.002)


@pytest.mark.parametrize("options", [{}, {"schedule": 0}, {"block_size": (1, 4)}])
def test_a_sparsity_of_zero_prunes_nothing(options):
    result = prune_mlp(0.0, **options)
    assert result.history["sparsity"] == [0.0, 0.0]
    assert [count_zeros(result.model.get_layer(name).kernel) for name in ("hidden", "head")] == [
        0,
        0,
    ]


def test_a_schedule_of_zero_prunes_in_the_first_step():
    history = prune_mlp(0.6, schedule=0).history["sparsity"]
    assert history[0] == history[1] == pytest.approx(0.6, abs=0.002)


def test_a_training_that_stops_too_early_warns():
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", True)
    )
    with pytest.warns(UserWarning, match=r"ended at a sparsity of 0\.5.*before the target of 0.6"):
        prune_mlp(0.6, epochs=4, callbacks=stop)


def test_two_of_four_weights_along_the_inputs_become_zero():
    result = runs.prune(wide(), (2, 4), epochs=1)
    kernel = np.asarray(result.model.get_layer("second").kernel)
    assert np.all((kernel == 0).sum(axis=2) == 2)
    kernel = np.asarray(result.model.get_layer("logits").kernel)
    assert np.all((kernel.reshape(3, 4, 4) == 0).sum(axis=1) == 2)


def test_skipped_and_frozen_layers_are_not_pruned():
    student = wide()
    student.get_layer("dense").trainable = False
    result = runs.prune(student, skip=["first"], epochs=1)
    actions = runs.actions(result)
    assert actions["first"] == ("kept", "skipped")
    assert actions["dense"] == ("kept", "frozen")
    assert count_zeros(result.model.get_layer("first").kernel) == 0
    frozen = (student.get_layer("dense").kernel, result.model.get_layer("dense").kernel)
    np.testing.assert_array_equal(*frozen)


def separable():
    steps = [layers.SeparableConv2D(6, 3, name="separable"), layers.GlobalAveragePooling2D()]
    return models.randomized(keras.Sequential([keras.Input(models.MAP), *steps, layers.Dense(4)]))


def siamese():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(3, name="dense")], name="branch")
    one, other = keras.Input((6,), name="one"), keras.Input((6,), name="other")
    both = layers.Concatenate()([inner(one), inner(other)])
    return models.randomized(keras.Model([one, other], layers.Dense(2, name="head")(both)))


def test_blocks_become_zero_together_in_every_kernel():
    result = runs.prune(wide(), 0.5, block_size=(4, 2), block_pooling="max", epochs=1)
    dense = np.asarray(result.model.get_layer("dense").kernel) == 0
    counts = dense.reshape(8, 4, 6, 2).sum(axis=(1, 3))
    assert set(counts.ravel()) == {0, 8}
    assert (counts == 8).sum() == 24
    convolution = np.asarray(result.model.get_layer("second").kernel) == 0
    counts = convolution.reshape(9, 4, 4, 2).sum(axis=(1, 3))
    assert set(counts.ravel()) == {0, 8}
    assert (counts == 8).sum() == 18


@pytest.mark.parametrize(
    ("make", "expected"),
    [(separable, {"separable": [0, 12]}), (siamese, {"branch": [9], "head": [6]})],
)
def test_separable_and_shared_layers_are_pruned(make, expected):
    student = make()
    result = runs.prune(student, 0.5, data=runs.random_data(student))
    for name, counts in expected.items():
        weights = [w for w in result.model.get_layer(name).weights if "bias" not in w.path]
        assert [count_zeros(weight) for weight in weights] == counts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"sparsity": 1.0},
            r"`sparsity` must be a fraction in \[0, 1\), or \(m, n\).*sparsity=1.0",
        ),
        ({"sparsity": -0.1}, "`sparsity` must be a fraction"),
        ({"sparsity": (4, 4)}, "`sparsity` must be a fraction"),
        ({"sparsity": (2, 4), "block_size": (2, 2)}, "Choose one structure"),
        ({"block_size": (0, 2)}, "`block_size` must be a height and a width"),
        ({"block_pooling": "sum"}, r"`block_pooling` must be one of \('avg', 'max'\)"),
        ({"schedule": 2}, "`schedule` must be the fraction of the steps"),
        ({"schedule": object()}, r"\['schedule'\] belong to tensorflow-model-optimization"),
        ({"custom": {}}, r"\['custom'\] belong to tensorflow-model-optimization"),
        ({"engine": "keras"}, "`engine` must be one of"),
        ({"optimizer": keras.optimizers.SGD(use_ema=True)}, "moving averages"),
        ({"skip": ["no"]}, r"`skip` must name layers of the student: .*Received: \['no'\]"),
        ({"skip": list(runs.KERNELS)}, "'wide' has no layer that can be pruned"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        runs.prune(wide(), **arguments)


class Subclassed(keras.Model):
    """A transformer block with a custom layer, none of which tf_keras can convert."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(9, 8, name="embedding")
        self.attention = layers.MultiHeadAttention(2, 4, name="attention")
        self.norm = layers.RMSNormalization(name="norm")
        self.head = layers.Dense(4, name="head")

    def call(self, x):
        x = self.embedding(x)
        x = self.norm(x + self.attention(x, x))
        return self.head(keras.ops.mean(x, axis=1))


def test_a_subclassed_transformer_is_pruned():
    keras.utils.set_random_seed(0)
    student = Subclassed(name="transformer")
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (16, 6)), rng.integers(0, 4, 16)
    student(x)
    result = runs.prune(student, 0.75, data=(x, y))
    assert result.history["sparsity"][-1] == 0.75
    assert runs.actions(result)["norm"][0] == "kept"
    kernels = [kernel for one in list_kernels(result.model) for kernel in one.kernels]
    assert [count_zeros(kernel.value) for kernel in kernels] == [54, 48, 48, 48, 48, 24]


def test_the_zeros_survive_saving_and_further_training(pruned, tmp_path):
    pruned.model.save(tmp_path / "pruned.keras")
    student = keras.models.load_model(tmp_path / "pruned.keras")
    before = student.get_layer("dense").kernel.numpy()
    distiller = kd.Distiller(student, toy.cnn("teacher", seed=1), preserve_sparsity=True)
    distiller.compile("adam", toy.sparse_loss(), run_eagerly=True)
    distiller.fit(*toy.data(16), batch_size=8, verbose=0)
    after = student.get_layer("dense").kernel.numpy()
    np.testing.assert_array_equal(before == 0, after == 0)
    assert np.abs(before - after).max() > 0
