"""tf_keras and tensorflow-model-optimization are imported without changing the process."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from keras_kd.compression.tfmot.imports import (
    import_tf_keras,
    import_tfmot,
    tf_keras_as_tf_dot_keras,
)

COMPRESS_FIRST = """
import os, sys
import numpy as np, keras, tensorflow as tf
import keras_kd as kd
from keras_kd.compression.tfmot.imports import import_tfmot
assert "tf_keras" not in sys.modules and "tensorflow_model_optimization" not in sys.modules

def train():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    student.compile("adam", "mse", run_eagerly=True)
    student.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
    return student

student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
import_tfmot().sparsity.keras.prune_low_magnitude(kd.compression.to_tf_keras(student))
kd.export.to_tflite(train(), sys.argv[1], "float32")
assert "TF_USE_LEGACY_KERAS" not in os.environ
assert tf.keras.layers.Dense is keras.layers.Dense
assert tf.compat.v2.keras.layers.Dense is keras.layers.Dense
assert tf.losses.MeanSquaredError is keras.losses.MeanSquaredError
from tensorflow.keras.layers import Dense
assert Dense is keras.layers.Dense
"""


def test_keras_3_trains_and_exports_after_the_first_import(tmp_path):
    command = [sys.executable, "-c", COMPRESS_FIRST, str(tmp_path / "x.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


def test_a_process_that_chose_tf_keras_keeps_it(monkeypatch):
    tf_keras = import_tf_keras()
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setattr(tf, "keras", tf_keras)
    with tf_keras_as_tf_dot_keras(tf_keras, tf_keras):
        os.environ["TF_USE_LEGACY_KERAS"] = "changed"
    assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
    assert tf.keras is tf_keras


def test_tf_keras_does_not_replace_tf_dot_keras():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    student.compile("adam", "mse")
    student.train_on_batch(tf.ones((8, 4)), tf.ones((8, 3)))
    tfmot, tf_keras = import_tfmot(), import_tf_keras()
    assert tfmot.sparsity.keras.ConstantSparsity
    assert tf_keras.layers.Dense is not keras.layers.Dense
    assert tf.keras.layers.Dense is keras.layers.Dense
    assert "TF_USE_LEGACY_KERAS" not in os.environ


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tensorflow_model_optimization", "tensorflow-model-optimization"),
        ("tf_keras.api._v1.keras", "tf-keras"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        import_tfmot.__wrapped__()
    assert tf.keras.layers.Dense is keras.layers.Dense
    assert "TF_USE_LEGACY_KERAS" not in os.environ
