"""Quantization-aware training keeps zeros, values, and frozen layers, and gives an int8 file."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from tests import toy
from tests.compression import files, models, runs
from tests.compression.runs import count_values, count_zeros, wide


def quantize(student, **kwargs):
    return runs.quantize(student, engine="tfmot", **kwargs)


def trained_kernel(result, name):
    layer = next(layer for layer in result.model.layers if hasattr(layer, "adopted"))
    return next(v.numpy() for v in layer.adopted if v.path == f"{name}_kernel")


def kernels_in_file(result, student, tmp_path):
    """Export a result; return two of the kernels in the file by layer."""
    kd.export.to_tflite(result.model, tmp_path / "q.tflite", "int8")
    kernels = {kernel.size: kernel for kernel in files.kernels(tmp_path / "q.tflite")}
    return {n: kernels[np.size(student.get_layer(n).kernel)] for n in ("second", "dense")}


def test_zeros_of_a_pruned_student_are_preserved(pruned):
    result = quantize(pruned.model)
    zeros = sum(count_zeros(pruned.model.get_layer(name).kernel) for name in runs.KERNELS)
    # The depthwise kernel, which is quantized and was not pruned, counts too.
    assert result.history["sparsity"] == [zeros / (36 + 288 + 384 + 48 + 72)]
    assert runs.actions(result)["dense"][1] == "weights, 80% zeros preserved"


def test_values_of_a_clustered_student_are_preserved(clustered):
    result = quantize(clustered.model)
    assert count_values(trained_kernel(result, "dense")) == 8
    # A convolution has one scale per channel, and so values per channel.
    assert all(count_values(kernel) == 8 for kernel in trained_kernel(result, "second").T)
    assert runs.actions(result)["dense"][1] == "weights, 8 values preserved"


def test_zeros_and_values_are_preserved_together_in_model_and_file(pruned_and_clustered, tmp_path):
    student = pruned_and_clustered.model
    result = quantize(student, optimizer=keras.optimizers.SGD(0.5))
    kernels = kernels_in_file(result, student, tmp_path)
    for name, kernel in kernels.items():
        assert count_zeros(kernel) >= count_zeros(student.get_layer(name).kernel)
    assert count_values(kernels["dense"]) <= 8
    # An int8 convolution has one scale per output channel, which is the first axis here.
    assert max(map(count_values, kernels["second"])) <= 8
    expected = "weights, 80% zeros preserved, 8 values preserved"
    assert runs.actions(result)["dense"][1] == expected
    # The values are trained, except zero.
    before = np.unique(student.get_layer("dense").kernel)
    after = np.unique(trained_kernel(result, "dense"))
    assert len(after) == len(before)
    assert set(before) & set(after) == {0}


def test_zeros_and_values_are_not_preserved_on_request(pruned_and_clustered):
    result = quantize(pruned_and_clustered.model, preserve_sparsity=False, preserve_clusters=False)
    assert result.history["sparsity"][-1] < 0.3
    assert count_values(trained_kernel(result, "dense")) > 30
    assert runs.actions(result)["dense"][1] == "weights"


@pytest.fixture(scope="module")
def validated():
    student = wide()
    student.get_layer("second").trainable = False
    result = quantize(student, validation_data=toy.data(64, seed=1), metrics=["accuracy"])
    return student, result


def test_frozen_layers_are_not_trained(validated):
    student, result = validated
    frozen = trained_kernel(result, "second")
    np.testing.assert_array_equal(frozen, student.get_layer("second").kernel)
    trained = trained_kernel(result, "first")
    assert np.abs(trained - student.get_layer("first").kernel).max() > 0


def test_the_result_is_a_keras_model_that_is_evaluated_and_exported(validated, tmp_path):
    x, y = toy.data(64, seed=1)
    _, result = validated
    assert isinstance(result.model, keras.Model)
    result.model.compile(loss=toy.sparse_loss(), metrics=["accuracy"], run_eagerly=True)
    loss, accuracy = result.model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(loss, result.history["val_loss"][-1], rtol=1e-5)
    file = kd.export.to_tflite(result.model, tmp_path / "q.tflite", "int8", verification=(x, y))
    assert file.outputs == ("logits",)
    evaluation = kd.export.evaluate(file, [(x, y)], result.model)
    assert evaluation.agreement > 0.95
    assert abs(evaluation.accuracy - accuracy) < 0.05


def test_a_result_cannot_be_exported_in_float_or_saved(validated, tmp_path):
    _, result = validated
    with pytest.raises(ValueError, match=r"Expected quantization='int8' for 'wide', which was tra"):
        kd.export.to_tflite(result.model, tmp_path / "q.tflite", "float32")
    with pytest.raises(NotImplementedError, match="runs in tf_keras and cannot be saved"):
        result.model.save(tmp_path / "q.keras")


def test_tapped_layers_are_neither_fused_nor_folded():
    student = toy.cnn("student")
    losses = [
        kd.losses.SoftTargets(),
        kd.losses.Hint("relu", "relu"),
        kd.losses.Hint("conv", "conv"),
    ]
    result = quantize(student, teachers=toy.cnn("teacher", seed=1), losses=losses)
    assert {"hint", "hint_2", "soft_targets"} < set(result.history)
    assert runs.actions(result)["relu"][0] == "quantized"


def test_a_student_without_quantized_kernels_has_no_sparsity():
    student = keras.Sequential(
        [keras.Input((8, 3)), layers.Conv1D(4, 3), layers.ReLU(), layers.GlobalAveragePooling1D()]
    )
    x = np.ones((8, 8, 3), "float32")
    assert quantize(student, data=(x, np.zeros(8))).history["sparsity"] == [0.0]


def test_recurrent_layers_and_students_without_weights_are_rejected():
    student = models.of(layers.LSTM(4, name="lstm"), models.SERIES)
    with pytest.raises(ValueError, match="'lstm' .LSTM.: a loop over time steps cannot be convert"):
        quantize(student)
    with pytest.raises(ValueError, match="has no layer that can be quantized"):
        quantize(models.of(layers.Flatten(), models.IMAGE))
