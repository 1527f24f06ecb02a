"""New layers have the names of the student's, and get their weights once they are built."""

import numpy as np
from keras import layers

from keras_kd.compression.qat.emitter import Emitter
from tests.compression.qat.students import only_call, samples, stack


def test_a_layer_is_made_once_and_named_after_its_path():
    emit = Emitter()
    first = emit.layer("outer/inner", "", layers.ReLU)
    assert emit.layer("outer/inner", "", layers.ReLU) is first
    assert first.name == "outer_inner"
    assert emit.layer("outer/inner", "part", layers.ReLU).name == "outer_inner_part"
    assert emit.layer("outer_inner", "", layers.ReLU).name == "outer_inner_1"
    assert emit.origins["outer_inner_part"] == "outer/inner"


def test_a_copy_computes_the_same_in_float32():
    model = stack(layers.Dense(4, name="dense", dtype="mixed_float16"))
    emit = Emitter()
    copy = emit.copy(only_call(model, "dense"))
    x = samples(model)
    copy(x)
    emit.set_weights()
    assert copy.compute_dtype == "float32"
    np.testing.assert_array_equal(copy.kernel, model.get_layer("dense").kernel)


def test_an_operation_is_copied_for_each_call():
    model = stack(lambda x: x + 1.0)
    (name,) = [layer.name for layer in model.operations if "add" in layer.name]
    emit = Emitter()
    call = only_call(model, name)
    assert [emit.copy(call).name, emit.copy(call).name] == [name, f"{name}_1"]


def test_the_weights_of_a_folded_layer_contain_the_normalization():
    model = stack(layers.Dense(4, use_bias=False, name="d"), layers.BatchNormalization(name="n"))
    emit = Emitter({"d": model.get_layer("n")})
    weights = emit.weights(only_call(model, "d"))
    assert [weight.shape for weight in weights] == [(3, 4), (4,)]
