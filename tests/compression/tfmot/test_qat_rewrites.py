"""Patterns are rewritten so that the int8 file computes what was trained."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_kd as kd
from keras_kd.compression.tfmot.convert import open_student
from keras_kd.compression.tfmot.qat_rewrites import rewrite_for_qat
from keras_kd.compression.tfmot.rewrites import Replacements
from tests.compression import files, models
from tests.compression.qat_tfmot import conv, norm, positive_input, prepare, stack
from tests.compression.runs import actions


def apply(x, *steps):
    for step in steps:
        x = step(x)
    return x


def convolve(x):
    return layers.Conv2D(3, 3, padding="same")(x)


def squeeze_and_excite(x):
    weight = layers.Dense(3, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, weight])


def branch_called_twice(one, other):
    branch = keras.Sequential([keras.Input((6,)), layers.Dense(3), layers.ReLU()])
    return layers.Add()([branch(one), branch(other)])


#: Patterns on one image: a function of the image, and the operators in the file.
ON_IMAGES = {
    "relu_and_relu6": (
        lambda x: apply(
            x, layers.Conv2D(4, 3), layers.ReLU(), layers.Conv2D(4, 3), layers.ReLU(6.0)
        ),
        "CONV_2D CONV_2D",
    ),
    "norms_before_relus": (
        lambda x: apply(
            x,
            layers.Conv2D(4, 3),
            norm(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, use_bias=False),
            norm(),
            layers.ReLU(),
        ),
        "CONV_2D DEPTHWISE_CONV_2D",
    ),
    "norms_without_a_convolution_before_them": (
        lambda x: apply(x, norm(), layers.Conv2D(4, 3, activation="relu"), norm()),
        "DEPTHWISE_CONV_2D CONV_2D DEPTHWISE_CONV_2D",
    ),
    "transposed_and_separable_convolutions": (
        lambda x: apply(
            x,
            layers.Conv2DTranspose(4, 3, strides=2, use_bias=False),
            norm(),
            layers.SeparableConv2D(4, 3, activation="relu6", depth_multiplier=2),
        ),
        "TRANSPOSE_CONV DEPTHWISE_CONV_2D CONV_2D",
    ),
    "silu_and_hard_silu": (
        lambda x: apply(
            x, layers.Conv2D(4, 3, activation="silu"), layers.Conv2D(4, 3, activation="hard_silu")
        ),
        "CONV_2D LOGISTIC MUL CONV_2D HARD_SWISH",
    ),
    "tanh": (layers.Conv2D(4, 3, activation="tanh"), "CONV_2D TANH"),
    "residual": (
        lambda x: layers.ReLU()(layers.Add()([x, squeeze_and_excite(convolve(x))])),
        "CONV_2D MEAN FULLY_CONNECTED LOGISTIC MUL ADD",
    ),
    "operations": (lambda x: ops.relu(x + convolve(x) * 2.0), "CONV_2D MUL ADD"),
    # Concatenated tensors have one scale, so the image is rescaled.
    "concatenation": (
        lambda x: layers.Concatenate()([x, convolve(x)]),
        "QUANTIZE CONV_2D CONCATENATION",
    ),
}
#: Patterns with inputs of their own: the inputs, a function of them, and the operators.
ON_OTHERS = {
    "norms_after_dense_layers": (
        [{"shape": (6,)}],
        lambda x: apply(
            x, layers.Dense(8), norm(), layers.ReLU(), layers.Dense(8, activation="relu"), norm()
        ),
        "QUANTIZE FULLY_CONNECTED FULLY_CONNECTED RESHAPE DEPTHWISE_CONV_2D",
    ),
    "preprocessing_of_bytes": (
        [{"shape": models.IMAGE, "dtype": "uint8"}],
        lambda x: apply(x, layers.Rescaling(1 / 255, 0.1), layers.Conv2D(4, 3)),
        "CAST MUL ADD QUANTIZE CONV_2D",
    ),
    "convolution_of_series": (
        [{"shape": (8, 3)}],
        layers.Conv1D(4, 3, activation="relu"),
        "QUANTIZE RESHAPE CONV_2D",
    ),
    "tokens": (
        [{"shape": (7,), "dtype": "int32"}],
        layers.Embedding(9, 4),
        "GATHER",
    ),
    "nested_model_called_twice": (
        [{"shape": (6,)}, {"shape": (6,)}],
        branch_called_twice,
        "QUANTIZE FULLY_CONNECTED QUANTIZE FULLY_CONNECTED ADD",
    ),
}


def rewrite(student, keep=()):
    graph, replacements = open_student(student), Replacements()
    starts = rewrite_for_qat(graph, replacements, keep)
    return graph, replacements, starts


def test_a_batch_norm_after_a_convolution_is_not_changed():
    _, replacements, _ = rewrite(conv(norm("norm"), layers.ReLU(name="act")))
    assert replacements.by_path == {}


def test_a_batch_norm_is_folded_into_a_dense_layer_unless_it_is_tapped():
    def student():
        return stack(
            layers.Dense(8, name="dense"), norm("norm"), layers.ReLU(name="act"), shape=(6,)
        )

    _, replacements, _ = rewrite(student())
    assert replacements.notes == {
        "dense": "'norm' folded into it, 'act' fused into it",
        "norm": "folded into 'dense'",
        "act": "fused into 'dense'",
    }
    _, replacements, _ = rewrite(student(), keep=["dense"])
    assert replacements.notes["norm"].startswith("as a 1x1 depthwise convolution")
    assert "dense" not in replacements.by_path


def test_a_relu_is_not_fused_into_a_tapped_layer():
    student = stack(layers.Dense(8, name="dense"), layers.ReLU(name="act"), shape=(6,))
    _, replacements, _ = rewrite(student, keep=["dense"])
    assert replacements.notes == {"act": "in a form that can be quantized"}
    assert [layer.name for layer in replacements.by_path["act"]] == ["act_before", "act"]


def test_preprocessing_stays_before_the_quantized_part_unless_it_is_tapped():
    student = stack(layers.Rescaling(0.5, name="scale"), layers.Conv2D(4, 3, name="conv"))
    graph, replacements, starts = rewrite(student)
    assert starts == graph.calls["scale"][0].outputs
    assert replacements.notes == {"scale": "before the quantized part, in Keras 3"}
    graph, replacements, starts = rewrite(student, keep=["scale"])
    assert starts == [graph.inputs]
    assert replacements.notes == {}


def test_the_output_of_attention_gets_a_layer_that_rounds_it():
    _, replacements, _ = rewrite(models.attention())
    rounding = [chain for chain in replacements.by_path.values() if len(chain) == 2]
    assert len(rounding) == 5
    assert all(second.name == f"{first.name}_rounded" for first, second in rounding)


def test_rewrites_are_listed_with_the_layers():
    student = stack(
        layers.Rescaling(0.5, name="scale"),
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        norm("norm"),
        layers.ReLU(name="act"),
    )
    listed = actions(prepare(student, positive_input(student, 4)))
    assert listed["scale"] == ("rewritten", "before the quantized part, in Keras 3")
    assert listed["conv"] == ("quantized", "weights, per channel")
    assert listed["norm"] == (
        "quantized",
        "weights, per channel, as a 1x1 depthwise convolution, 'act' fused into it",
    )
    assert listed["act"] == ("rewritten", "fused into 'norm'")


class Patterns:
    """A student with an output for each pattern, converted and run once for all tests."""

    def __init__(self, folder):
        self.seed, self.inputs = 0, {"image": keras.Input(models.IMAGE, name="image")}
        outputs = {name: self._on_image(name, make) for name, (make, _) in ON_IMAGES.items()}
        outputs |= {name: self._on_others(name, *given[:2]) for name, given in ON_OTHERS.items()}
        student = keras.Model(self.inputs, outputs)
        x = positive_input(student, 32)
        self.expected = student(x)
        model = prepare(student, x).wrapped.model
        self.rounded = model(x)
        file = kd.export.to_tflite(model, folder / "q.tflite", "int8")
        self.of_file = file.predict(x)
        self.operators = files.operators_by_output(file.path)

    def _on_image(self, name, make):
        image = self.inputs["image"]
        output = layers.Dense(3, name=name)(layers.GlobalAveragePooling2D()(make(image)))
        return self._randomized(image, output)

    def _on_others(self, name, specs, make):
        added = {f"{name}_{i}": keras.Input(**spec) for i, spec in enumerate(specs)}
        self.inputs |= added
        output = layers.Dense(3, name=name)(layers.Flatten()(make(*added.values())))
        return self._randomized(added, output)

    def _randomized(self, inputs, output):
        """Give a pattern weights of its own; the converter merges equal layers."""
        self.seed += 1
        return models.randomized(keras.Model(inputs, output), self.seed).output

    def check(self, name, operators):
        """A pattern has the operators in this order, and small errors."""
        expected, rounded = (np.asarray(by_name[name]) for by_name in (self.expected, self.rounded))
        scale = np.abs(expected).max()
        assert np.abs(rounded - expected).max() < 0.03 * scale, "rounding costs too much"
        assert np.abs(self.of_file[name] - rounded).max() < 0.02 * scale, "the file differs"
        assert self.operators[name] == operators.split()


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    return Patterns(tmp_path_factory.mktemp("patterns"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_IMAGES))
def test_a_single_pattern_has_its_operators_in_order_and_small_errors(name, patterns):
    patterns.check(name, f"QUANTIZE {ON_IMAGES[name][1]} MEAN FULLY_CONNECTED DEQUANTIZE")


#: Patterns that end in a vector, which is not flattened.
VECTORS = ("norms_after_dense_layers", "nested_model_called_twice")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_OTHERS))
def test_a_pattern_on_inputs_of_its_own_has_its_operators_in_order(name, patterns):
    flatten = [] if name in VECTORS else ["RESHAPE"]
    head = " ".join([*flatten, "FULLY_CONNECTED", "DEQUANTIZE"])
    patterns.check(name, f"{ON_OTHERS[name][2]} {head}")
