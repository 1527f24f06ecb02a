"""Quantized models are listed, saved, and agree with their int8 files."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.compression.qat.calibration import calibrate, settle
from keras_kd.compression.qat.quantize import Rounding, build_quantized, rounded_kernels
from keras_kd.models.activation_range import activation_ranges
from tests.compression import files
from tests.compression.qat.students import attention, cnn, randomized, samples, stack


def quantized(student, x=None, trained=False, **kwargs):
    model, plans = build_quantized(student, Rounding(), **kwargs)
    calibrate(model, [samples(student) if x is None else x])
    if trained:
        rng = np.random.default_rng(0)
        for layer in activation_ranges(model):
            if layer.fixed is None:
                layer.factors.assign(rng.uniform(-0.1, 0.1, 2))
    settle(model)
    return model, {plan.name: (plan.action, plan.reason) for plan in plans}


def transformer():
    def block(x):
        y = layers.LayerNormalization(name="norm")(x)
        y = layers.MultiHeadAttention(2, 4, name="attention")(y, y, use_causal_mask=True)
        x = layers.Add()([x, y])
        return layers.Add()([x, layers.Dense(8)(layers.Dense(16, activation="gelu")(x))])

    return stack(
        layers.Embedding(9, 8, name="embedding"),
        block,
        layers.GlobalAveragePooling1D(),
        layers.Dense(4),
        shape=(6,),
        dtype="int32",
    )


def every_kernel():
    """A model with an output for each kernel whose arithmetic is known."""
    inputs = keras.Input((8, 8, 6), name="x")
    x = layers.Conv2D(6, 3, padding="same", name="conv")(inputs)
    outputs = {
        "relu": layers.Conv2D(5, 1, 2, activation="relu")(x),
        "transposed": layers.Conv2DTranspose(3, 2, 2)(x),
        "depthwise": layers.DepthwiseConv2D(3, depth_multiplier=2)(x),
        "sequence": layers.Conv1D(4, 3)(layers.Reshape((64, 6))(x)),
        "dense": layers.Dense(4)(layers.Flatten()(x)),
        "sum": layers.Add()([x, inputs]),
        "difference": layers.ReLU()(x - inputs),
        "product": layers.Multiply()([x, inputs]),
        "mean": layers.GlobalAveragePooling2D(keepdims=True)(x),
        "average": layers.AveragePooling2D(3, 2, padding="same")(inputs),
        "bilinear": layers.UpSampling2D(2, interpolation="bilinear")(x),
        "swish": layers.Activation("hard_silu")(x),
        "leaky": layers.LeakyReLU(0.1)(x),
        "plus": x + 3.0,
        "minus": layers.ReLU()(x - 0.7),
        "times": -1.3 * x,
        "scaled": layers.Rescaling(0.37)(x),
        "gate": layers.Activation("hard_sigmoid")(x),
        "silu": layers.Activation("silu")(x),
    }
    return randomized(keras.Model(inputs, outputs, name="student"))


def means_of_one():
    """A model with means over maps of one position, which LiteRT drops."""
    return stack(
        layers.Conv2D(9, 4),
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(7, 1),
        lambda x: keras.ops.mean(x, axis=(1, 2)),
        layers.Dense(4),
        shape=(4, 4, 3),
    )


def shared_layers():
    """A model that calls its layers several times, on tensors of different ranges."""
    inputs = keras.Input((6, 6, 3), name="x")
    conv, relu, add = layers.Conv2D(3, 3, padding="same"), layers.ReLU(), layers.Add()
    x = relu(conv(inputs))
    y = relu(add([conv(x), x]))
    return randomized(keras.Model(inputs, {"one": y, "two": relu(conv(y)), "three": add([x, y])}))


@pytest.mark.parametrize(
    "make",
    [pytest.param(cnn, marks=pytest.mark.traced), every_kernel, means_of_one, shared_layers],
)
def test_the_int8_file_gives_exactly_the_outputs_of_the_model(make, tmp_path):
    student = make()
    x = samples(student, 24)
    model, _ = quantized(student, x, trained=True)
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8")
    keras.tree.map_structure(
        np.testing.assert_array_equal, file.predict(x), model.predict(x, verbose=0)
    )


def test_equal_layers_on_one_input_are_not_merged_into_one_in_float(tmp_path):
    inputs = keras.Input((6, 6, 3), name="x")
    twins = [layers.Conv2DTranspose(4, 2, 2) for _ in range(2)]
    outputs = {name: twin(inputs) for name, twin in zip(("one", "two"), twins, strict=True)}
    student = randomized(keras.Model(inputs, outputs))
    twins[1].set_weights(twins[0].get_weights())
    x = samples(student, 24)
    model, _ = quantized(student, x, trained=True)
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8")
    in_8_bits = ["QUANTIZE", "TRANSPOSE_CONV", "DEQUANTIZE"]
    assert files.operators_by_output(file.path) == {"one": in_8_bits, "two": in_8_bits}
    found, expected = file.predict(x), model.predict(x, verbose=0)
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_the_int8_file_of_a_transformer_gives_its_outputs_to_a_step(tmp_path):
    student = transformer()
    x = samples(student, 64)
    model, _ = quantized(student, x)
    file = kd.export.to_tflite(model, tmp_path / "m.tflite", "int8")
    difference = np.abs(file.predict(x) - np.asarray(model(x, training=False)))
    steps = difference / activation_ranges(model)[-1].step
    assert steps.max() < 1.01
    assert (steps < 0.5).mean() > 0.9


def test_the_table_says_what_happens_to_each_layer():
    _, plans = quantized(cnn(), skip=["branch"])
    assert plans["conv"] == ("quantized", "weights and output, 'norm' folded into it")
    assert plans["norm"] == ("rewritten", "folded into 'conv'")
    assert plans["scale"] == ("kept", "before the quantized part, in float")
    assert plans["branch"] == ("kept", "skipped")
    assert plans["silu"] == ("quantized", "output")
    plans = quantized(transformer())[1]
    assert plans["norm"] == ("kept", "no 8-bit form, in float")
    expected = "weights and output, products of activations in float"
    assert plans["attention"] == ("quantized", expected)


def test_layers_with_a_mask_stay_in_float_and_keep_it():
    student = stack(
        layers.Embedding(9, 8, mask_zero=True, name="embedding"),
        layers.BatchNormalization(name="batch_norm"),
        layers.LayerNormalization(name="norm"),
        attention(),
        layers.GlobalAveragePooling1D(name="mean"),
        layers.Dense(4, name="logits"),
        shape=(6,),
        dtype="int32",
    )
    x = samples(student, 64)
    x[:, 4:] = 0
    model, plans = quantized(student, x)
    for name in ("batch_norm", "norm", "attention", "mean"):
        assert plans[name] == ("kept", "no 8-bit form, in float")
    difference = np.asarray(model(x, training=False)) - np.asarray(student(x))
    assert np.abs(difference).max() < 4 * activation_ranges(model)[-1].step


def test_names_of_layers_and_outputs_stay():
    model, _ = quantized(cnn())
    assert model.output_names == ["logits"]
    assert isinstance(model.get_layer("conv"), layers.Conv2D)
    shared = layers.ReLU(name="shared")
    model, _ = quantized(stack(shared, layers.Dense(3, name="dense"), shared))
    assert model.output_names == ["shared"]


def test_a_quantized_model_is_saved_and_loaded(tmp_path):
    model, _ = quantized(cnn())
    model.save(tmp_path / "m.keras")
    x = samples(model)
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "m.keras")(x), model(x, training=False)
    )


def test_zeros_and_clusters_are_found():
    student = cnn()
    kernel = student.get_layer("logits").kernel
    kernel.assign(np.where(np.arange(48).reshape(12, 4) % 3, np.sign(kernel), 0))
    model, plans = quantized(student)
    expected = "weights and output, 33% zeros preserved, 3 values preserved"
    assert plans["logits"] == ("quantized", expected)
    assert len(np.unique(rounded_kernels(model)[-1])) == 3
