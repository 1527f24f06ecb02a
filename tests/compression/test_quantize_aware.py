"""Quantization-aware training gives a Keras model that trains, is saved, and exports to int8."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.quantize_aware import build_for_training
from keras_kd.models.activation_range import activation_ranges
from keras_kd.models.rounded_layers import RoundedKernel
from tests import toy
from tests.compression import runs
from tests.compression.runs import count_values, count_zeros, wide


def kernel(result, name):
    names = (name, f"{name}_unrounded", f"{name}_linear")
    found = [layer for layer in result.model.layers if layer.name in names]
    (layer,) = [layer for layer in found if isinstance(layer, RoundedKernel)]
    return np.asarray(layer.used_kernel())


@pytest.fixture(scope="module")
def distilled():
    """A student with a nested model, trained with taps in it."""
    student = toy.cnn("student")
    losses = [
        kd.losses.SoftTargets(),
        kd.losses.Hint("relu", "relu"),
        kd.losses.Hint("conv", "conv"),
    ]
    teacher = toy.cnn("teacher", seed=1)
    return runs.quantize(student, teachers=teacher, losses=losses, metrics=["accuracy"])


def test_a_student_is_distilled_at_its_taps(distilled):
    assert {"hint", "hint_2", "soft_targets", "accuracy", "sparsity"} < set(distilled.history)
    ranges = activation_ranges(distilled.model)
    assert all(layer.is_calibrated for layer in ranges)
    # The rounded ranges of the training.
    assert all((np.asarray(layer.factors) == 0).all() for layer in ranges if layer.fixed is None)


def test_nothing_is_folded_into_a_tapped_layer(distilled):
    assert "folded" not in " ".join(plan.reason for plan in distilled.layers if plan.name == "conv")


def test_the_result_is_saved_and_trained_further(distilled, tmp_path):
    distilled.model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    x, y = toy.data(32)
    np.testing.assert_array_equal(loaded(x), distilled.model(x, training=False))
    distiller = kd.Distiller(
        loaded, toy.cnn("teacher", seed=1), losses=kd.losses.Hint("relu", "relu")
    )
    distiller.compile("sgd", loss=toy.sparse_loss(), run_eagerly=True)
    assert np.isfinite(distiller.fit(x, y, verbose=0).history["loss"][0])


def test_a_result_cannot_be_exported_in_float_or_per_tensor(distilled, tmp_path):
    path = tmp_path / "q.tflite"
    with pytest.raises(ValueError, match=r"Expected quantization='int8' for 'student'"):
        kd.export.to_tflite(distilled.model, path, "float32")
    with pytest.raises(ValueError, match="Expected per_channel=True for 'student'"):
        kd.export.to_tflite(distilled.model, path, "int8", per_channel=False)
    with pytest.raises(ValueError, match="Expected keep_float=None for 'student'"):
        kd.export.to_tflite(distilled.model, path, "int8", keep_float=["conv"])


def test_a_model_without_ranges_cannot_be_exported(tmp_path):
    x, y = toy.data(8)
    model = build_for_training(wide(), data=(x, y), epochs=1, loss=toy.sparse_loss())
    with pytest.raises(ValueError, match=r"Expected a model with known ranges. Received: 'wide'"):
        kd.export.to_tflite(model, tmp_path / "q.tflite", "int8")


def test_zeros_and_values_are_preserved_together(pruned_and_clustered):
    student = pruned_and_clustered.model
    result = runs.quantize(student, optimizer=keras.optimizers.SGD(0.5))
    for name in runs.KERNELS:
        before, after = np.asarray(student.get_layer(name).kernel), kernel(result, name)
        np.testing.assert_array_equal(after == 0, before == 0)
        if name in ("second", "dense"):  # Others have too few weights for their values.
            assert count_values(after) == count_values(before)
    expected = "weights and output, 80% zeros preserved, 8 values preserved"
    assert runs.actions(result)["dense"][1] == expected
    assert result.history["sparsity"][0] > 0.7


def test_zeros_and_values_are_not_preserved_on_request(pruned_and_clustered):
    student = pruned_and_clustered.model
    result = runs.quantize(student, preserve_sparsity=False, preserve_clusters=False)
    assert count_zeros(kernel(result, "dense")) < 0.3 * kernel(result, "dense").size
    assert runs.actions(result)["dense"][1] == "weights and output"


def test_frozen_and_skipped_layers():
    student = wide()
    student.get_layer("second").trainable = False
    result = runs.quantize(student, skip=["dense"])
    expected = np.asarray(student.get_layer("second").kernel)
    np.testing.assert_allclose(kernel(result, "second"), expected, rtol=3e-5)
    assert not isinstance(result.model.get_layer("dense"), RoundedKernel)
    assert runs.actions(result)["dense"] == ("kept", "skipped")


def test_invalid_arguments_are_rejected():
    student = wide()
    with pytest.raises(ValueError, match="`skip` and `bits` belong to the native engine"):
        runs.quantize(student, skip=["dense"], engine="tfmot")
    with pytest.raises(ValueError, match="`skip` and `bits` belong to the native engine"):
        runs.quantize(student, bits=4, engine="tfmot")
    with pytest.raises(ValueError, match="Expected 4 or 8 bits per weight"):
        runs.quantize(student, bits=2)
    with pytest.raises(ValueError, match="belong to tensorflow-model-optimization"):
        runs.quantize(student, custom={})
    with pytest.raises(ValueError, match="`engine` must be one of"):
        runs.quantize(student, engine="other")
    with pytest.raises(ValueError, match="has no layer that can be quantized"):
        runs.quantize(keras.Sequential([keras.Input((6, 6, 1)), layers.UnitNormalization()]))
