"""Quantization-aware training: what each pattern becomes, and that the file computes as trained."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.compression.quantize_aware import ready_to_quantize
from keras_kd.compression.tfmot import parity
from keras_kd.compression.tfmot.convert import read
from keras_kd.compression.tfmot.initial_ranges import set_ranges
from tests import toy
from tests.compression import files, models
from tests.compression.test_cluster import clustered, values
from tests.compression.test_prune import noughts, pruned, wide

IMAGE = (8, 8, 3)


def quantized(student, **kwargs):
    x, y = toy.data(32)
    kwargs = {"data": (x, y), "batch_size": 8, "epochs": 1, "verbose": 0, **kwargs}
    return kd.compression.quantize_aware(student, **{"loss": toy.sparse_loss(), **kwargs})


def started(student, x):
    """A student made ready for training, and not trained: only the rounding is left."""
    plan = kd.compression.Training(data=(x, np.asarray(student(x))), epochs=1, loss="mse")
    ready = ready_to_quantize(student, plan)
    set_ranges(ready.shell.layer.legacy, ready.shell.bridged, [x])
    ready.shell.model(x, training=True)  # Weights find their ranges while they are trained.
    return ready


def positive(student, samples):
    """Samples such as images are, without negative values."""
    x = parity.random_input(read(student), samples)
    return keras.tree.map_structure(np.abs, x)


def stack(*steps, shape=IMAGE, dtype="float32"):
    """A model of these layers with a dense head."""
    inputs = keras.Input(shape, dtype=dtype)
    x = inputs
    for step in steps:
        x = step(x)
    x = layers.Flatten(name="flat")(x)
    return models.randomized(keras.Model(inputs, layers.Dense(3, name="head")(x), name="m"))


def branches(join):
    """A convolution and what `join` makes of the image and it."""
    inputs = keras.Input(IMAGE)
    conv = layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    pooled = layers.GlobalAveragePooling2D(name="pool")(join(inputs, conv))
    return models.randomized(keras.Model(inputs, layers.Dense(3, name="head")(pooled)))


def squeeze_and_excite(_, conv):
    weight = layers.GlobalAveragePooling2D(keepdims=True)(conv)
    weight = layers.Dense(3, activation="sigmoid")(weight)
    return layers.Multiply()([conv, weight])


def conv(*rest, **kwargs):
    return stack(layers.Conv2D(4, 3, name="conv", **kwargs), *rest)


def norm(**kwargs):
    """A batch norm whose statistics stay: if they moved, not only rounding would change outputs."""
    return layers.BatchNormalization(name="norm", momentum=1.0, **kwargs)


HEAD = ["RESHAPE", "FULLY_CONNECTED", "DEQUANTIZE"]
#: Name: what makes the model, and the operators of its file.
PATTERNS = {
    "a ReLU layer": (lambda: conv(layers.ReLU(name="act")), ["QUANTIZE", "CONV_2D", *HEAD]),
    "a ReLU6": (lambda: conv(layers.ReLU(6.0, name="act")), ["QUANTIZE", "CONV_2D", *HEAD]),
    "a norm and a ReLU6": (
        lambda: conv(norm(), layers.ReLU(6.0, name="act")),
        ["QUANTIZE", "CONV_2D", *HEAD],
    ),
    "a norm behind a ReLU": (
        lambda: conv(norm(), activation="relu"),
        ["QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", *HEAD],
    ),
    "a norm first": (
        lambda: stack(norm(), layers.Conv2D(4, 3, name="conv")),
        ["QUANTIZE", "DEPTHWISE_CONV_2D", "CONV_2D", *HEAD],
    ),
    "a norm behind a dense layer": (
        lambda: stack(layers.Dense(8, name="dense"), norm(), layers.ReLU(name="act"), shape=(6,)),
        ["QUANTIZE", "FULLY_CONNECTED", "FULLY_CONNECTED", "DEQUANTIZE"],
    ),
    "a norm of a vector": (
        lambda: stack(layers.Dense(8, activation="relu", name="dense"), norm(), shape=(6,)),
        ["QUANTIZE", "FULLY_CONNECTED", "RESHAPE", "DEPTHWISE_CONV_2D", *HEAD[1:]],
    ),
    "a transposed convolution and a norm": (
        lambda: stack(layers.Conv2DTranspose(4, 3, strides=2, use_bias=False), norm()),
        ["QUANTIZE", "TRANSPOSE_CONV", *HEAD],
    ),
    "a depthwise convolution and a norm": (
        lambda: stack(layers.DepthwiseConv2D(3, use_bias=False), norm(), layers.ReLU()),
        ["QUANTIZE", "DEPTHWISE_CONV_2D", *HEAD],
    ),
    "a separable convolution": (
        lambda: stack(layers.SeparableConv2D(4, 3, activation="relu6", depth_multiplier=2)),
        ["QUANTIZE", "DEPTHWISE_CONV_2D", "CONV_2D", *HEAD],
    ),
    "Rescaling": (
        lambda: stack(layers.Rescaling(0.5, 0.1, name="scale"), layers.Conv2D(4, 3, name="conv")),
        ["MUL", "ADD", "QUANTIZE", "CONV_2D", *HEAD],
    ),
    "Rescaling of bytes": (
        lambda: stack(layers.Rescaling(1 / 255), layers.Conv2D(4, 3), dtype="uint8"),
        ["CAST", "MUL", "QUANTIZE", "CONV_2D", *HEAD],
    ),
    "silu": (
        lambda: conv(activation="silu"),
        ["QUANTIZE", "CONV_2D", "LOGISTIC", "MUL", *HEAD],
    ),
    "hard_silu": (
        lambda: conv(activation="hard_silu"),
        ["QUANTIZE", "CONV_2D", "HARD_SWISH", *HEAD],
    ),
    "tanh": (lambda: conv(activation="tanh"), ["QUANTIZE", "CONV_2D", "TANH", *HEAD]),
    "Conv1D": (
        lambda: stack(layers.Conv1D(4, 3, activation="relu"), shape=(8, 3)),
        ["QUANTIZE", "RESHAPE", "CONV_2D", *HEAD],
    ),
    "an Embedding": (
        lambda: models.tokens(layers.Flatten(), layers.Dense(3), mask_zero=False),
        ["GATHER", *HEAD],
    ),
    "nested models": (
        models.nested,
        ["QUANTIZE", "FULLY_CONNECTED", "FULLY_CONNECTED", "DEQUANTIZE"],
    ),
    "a nested model that runs twice": (
        models.shared_branch,
        ["QUANTIZE", "FULLY_CONNECTED", "QUANTIZE", "FULLY_CONNECTED", "ADD", "DEQUANTIZE"],
    ),
    "a residual": (
        lambda: branches(lambda x, y: layers.ReLU()(layers.Add()([x, y]))),
        ["QUANTIZE", "CONV_2D", "ADD", "MEAN", *HEAD[1:]],
    ),
    "squeeze and excite": (
        lambda: branches(squeeze_and_excite),
        ["QUANTIZE", "CONV_2D", "MEAN", "FULLY_CONNECTED", "LOGISTIC", "MUL", "MEAN", *HEAD[1:]],
    ),
    "operations": (
        lambda: branches(lambda x, y: ops.relu(x + y * 2.0)),
        ["QUANTIZE", "CONV_2D", "MUL", "ADD", "MEAN", *HEAD[1:]],
    ),
    "a concatenation": (
        lambda: branches(lambda x, y: layers.Concatenate()([x, y])),
        # All that is put together has one scale: the image is brought to that of the convolution.
        ["QUANTIZE", "QUANTIZE", "CONV_2D", "CONCATENATION", "MEAN", *HEAD[1:]],
    ),
}
QUICK = ("a ReLU6", "a norm behind a ReLU", "a norm behind a dense layer", "Rescaling")


@pytest.mark.parametrize(
    "kind", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PATTERNS]
)
def test_a_pattern_is_quantized_and_its_file_computes_as_the_model(kind, tmp_path):
    make, operators = PATTERNS[kind]
    student = make()
    x = positive(student, 32)
    y = np.asarray(student(x))
    model = started(student, x).shell.model
    file = kd.export.to_tflite(model, tmp_path / "q.tflite", "int8")
    rounded, scale = np.asarray(model(x)), np.abs(y).max()
    assert np.abs(rounded - y).max() < 0.03 * scale, "rounding costs too much"
    assert np.abs(file.predict(x) - rounded).max() < 0.02 * scale, "the file computes otherwise"
    assert files.operators(file.path) == operators


def plans(result):
    return {plan.name: (plan.action, plan.reason) for plan in result.layers}


def test_what_was_mended_is_listed():
    def listed(student):
        return plans(started(student, positive(student, 4)))

    found = listed(conv(norm(), layers.ReLU(name="act"), activation="relu"))
    assert found["conv"] == ("quantized", "weights, for each channel")
    assert found["norm"] == (
        "quantized",
        "weights, for each channel, as a depthwise convolution of a single place, "
        "'act' fused into it",
    )
    assert found["act"] == ("mended", "fused into 'norm'")
    dense = stack(layers.Dense(8, name="dense"), norm(), layers.ReLU(name="act"), shape=(6,))
    found = listed(dense)
    assert found["dense"] == ("quantized", "weights, 'norm' folded into it, 'act' fused into it")
    assert found["norm"] == ("mended", "folded into 'dense'")
    found = listed(conv(norm(), layers.ReLU(name="act")))
    assert found["norm"] == ("quantized", "with the convolution before it")
    scaled = stack(
        layers.Rescaling(0.5, name="scale"), layers.Conv1D(2, 3, name="conv"), shape=(8, 3)
    )
    found = listed(scaled)
    assert found["scale"] == ("mended", "before the quantized part, in Keras 3")
    assert found["conv"] == ("left", "what it gives is rounded, its weights are not")


def test_a_layer_whose_output_is_tapped_is_neither_fused_nor_folded():
    student = toy.cnn("student")
    losses = [
        kd.losses.SoftTargets(),
        kd.losses.Hint("relu", "relu"),
        kd.losses.Hint("conv", "conv"),
    ]
    result = quantized(student, teachers=toy.cnn("teacher", seed=1), losses=losses)
    assert {"hint", "hint_2", "soft_targets"} < set(result.history)
    x = keras.Input((6,))
    y = layers.Dense(8, name="dense")(x)
    student = keras.Model(x, layers.Dense(4, name="head")(layers.ReLU(name="act")(y)))
    teacher = keras.models.clone_model(student)
    result = quantized(
        student,
        data=np.ones((8, 6), "float32"),
        teachers=teacher,
        losses=kd.losses.Hint("dense", "dense"),
        loss=None,
    )
    assert plans(result)["act"] == ("quantized", "what it gives, in a form that can be quantized")
    assert result.history["hint"][0] < 10


def test_the_ranges_start_from_the_data(tmp_path):
    x, _ = toy.data(64)
    kd.export.to_tflite(started(wide(), x * 0.1).shell.model, tmp_path / "q.tflite", "int8")
    scale = files.input_scale(tmp_path / "q.tflite")
    np.testing.assert_allclose(scale, np.ptp(x * 0.1) / 255, rtol=0.02)


def test_a_depthwise_kernel_has_a_scale_for_each_channel(tmp_path):
    depthwise = layers.DepthwiseConv2D(3, name="depthwise")
    student = stack(depthwise, shape=(8, 8, 4))
    kernel = depthwise.kernel.numpy() * np.array([0.001, 1, 100, 1]).reshape(1, 1, 4, 1)
    depthwise.set_weights([kernel, depthwise.bias])
    model = started(student, positive(student, 4)).shell.model
    kd.export.to_tflite(model, tmp_path / "q.tflite", "int8")
    found = next(k for k in files.kernels(tmp_path / "q.tflite") if k.shape[:3] == (1, 3, 3))
    assert np.abs(found).max(axis=(0, 1, 2)).min() == 127


@pytest.fixture(scope="module")
def sparse():
    return pruned(wide(), 0.8).model


@pytest.fixture(scope="module")
def sparse_and_few(sparse):
    return clustered(sparse, 8).model


def taught(student, **kwargs):
    """A student after quantization-aware training with a teacher."""
    return quantized(student, teachers=toy.cnn("teacher", seed=1), **kwargs)


def trained_kernel(result, name):
    layer = next(layer for layer in result.model.layers if hasattr(layer, "adopted"))
    return next(v.numpy() for v in layer.adopted if v.path == f"{name}_kernel")


def kept(student, tmp_path):
    """The same, and the kernels of its file by layer."""
    result = taught(student)
    kd.export.to_tflite(result.model, tmp_path / "q.tflite", "int8")
    kernels = {kernel.size: kernel for kernel in files.kernels(tmp_path / "q.tflite")}
    by_layer = {n: kernels[np.size(student.get_layer(n).kernel)] for n in ("second", "dense")}
    return result, by_layer


def test_noughts_of_a_pruned_student_stay_in_model_and_file(sparse, tmp_path):
    result, kernels = kept(sparse, tmp_path)
    for name, kernel in kernels.items():
        assert noughts(kernel) >= noughts(sparse.get_layer(name).kernel)
    weights = 36 + 288 + 384 + 48
    pruned_layers = ("first", "second", "dense", "logits")
    stayed = sum(noughts(sparse.get_layer(name).kernel) for name in pruned_layers)
    # The depthwise kernel, which is quantized and was not pruned, counts too.
    assert result.history["sparsity"] == [stayed / (weights + 72)]
    assert plans(result)["dense"][1] == "weights, 80% of them noughts that stay"


def test_noughts_go_where_they_are_not_preserved(sparse):
    result = taught(sparse, preserve_sparsity=False)
    assert result.history["sparsity"][-1] < 0.3
    assert plans(result)["dense"][1] == "weights"


def test_values_of_a_clustered_student_stay(tmp_path):
    student = clustered(wide(), 8).model
    result, kernels = kept(student, tmp_path)
    assert values(kernels["dense"]) <= 8
    # An int8 convolution has a scale for each output channel, here the first axis.
    assert max(map(values, kernels["second"])) <= 8
    assert plans(result)["dense"][1] == "weights, 8 values that stay"
    result = taught(student, preserve_clusters=False)
    assert values(trained_kernel(result, "dense")) > 30


def test_noughts_and_values_stay_together(sparse_and_few, tmp_path):
    result, kernels = kept(sparse_and_few, tmp_path)
    for name, kernel in kernels.items():
        assert noughts(kernel) >= noughts(sparse_and_few.get_layer(name).kernel)
    assert values(kernels["dense"]) <= 8
    assert max(map(values, kernels["second"])) <= 8
    assert plans(result)["dense"][1] == "weights, 80% of them noughts that stay, 8 values that stay"


def test_clustered_and_quantized_weights_go_on_learning(sparse_and_few):
    result = quantized(sparse_and_few, optimizer=keras.optimizers.SGD(0.5))
    before = np.unique(sparse_and_few.get_layer("dense").kernel)
    after = np.unique(trained_kernel(result, "dense"))
    assert len(after) == len(before)
    assert len(set(before) & set(after)) == 1  # Nought.


def test_frozen_layers_stay_as_they_are():
    student = wide()
    student.get_layer("second").trainable = False
    result = quantized(student)
    frozen = trained_kernel(result, "second")
    np.testing.assert_array_equal(frozen, student.get_layer("second").kernel)
    trained = trained_kernel(result, "first")
    assert np.abs(trained - student.get_layer("first").kernel).max() > 0


@pytest.fixture(scope="module")
def validated():
    return quantized(wide(), validation_data=toy.data(64, seed=1), metrics=["accuracy"])


def test_the_model_is_a_keras_model_that_is_evaluated_and_exported(validated, tmp_path):
    x, y = toy.data(64, seed=1)
    result = validated
    assert isinstance(result.model, keras.Model)
    result.model.compile(loss=toy.sparse_loss(), metrics=["accuracy"])
    loss, accuracy = result.model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(loss, result.history["val_loss"][-1], rtol=1e-5)
    file = kd.export.to_tflite(result.model, tmp_path / "q.tflite", "int8", verification=(x, y))
    assert file.outputs == ("logits",)
    batches = [(x, y)]
    found = kd.export.evaluate(file, batches, result.model)
    assert found.agreement > 0.95
    assert abs(found.accuracy - accuracy) < 0.05


def test_other_files_than_int8_are_refused(validated, tmp_path):
    with pytest.raises(ValueError, match=r"Expected quantization='int8' for 'wide', which was tra"):
        kd.export.to_tflite(validated.model, tmp_path / "q.tflite", "float32")
    with pytest.raises(NotImplementedError, match="runs in tf_keras and cannot be saved"):
        validated.model.save(tmp_path / "q.keras")


def test_recurrent_layers_and_students_without_weights_are_refused():
    student = models.of(layers.LSTM(4, name="lstm"), models.SERIES)
    with pytest.raises(ValueError, match="'lstm' .LSTM.: a loop over time steps cannot be convert"):
        quantized(student)
    with pytest.raises(ValueError, match="has no layer that can be quantized"):
        quantized(models.of(layers.Flatten(), IMAGE))
