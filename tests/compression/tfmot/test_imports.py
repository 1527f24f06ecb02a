"""tf_keras and tensorflow-model-optimization come in without leaving a trace in the process."""

import subprocess
import sys

import pytest

TRAIN = """
def train():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    student.compile("adam", "mse")
    student.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
    kd.export.to_tflite(student, pathlib.Path(tempfile.mkdtemp()) / "x.tflite", "float32")
"""
COMPRESS = """
def compress():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    legacy = kd.compression.to_tf_keras(student)
    legacy_keras.tfmot().sparsity.keras.prune_low_magnitude(legacy)
"""
HEAD = """
import os, pathlib, sys, tempfile
import numpy as np, keras, tensorflow as tf
import keras_kd as kd
from keras_kd.compression import legacy_keras
assert "tf_keras" not in sys.modules and "tensorflow_model_optimization" not in sys.modules
"""
UNHARMED = """
assert "TF_USE_LEGACY_KERAS" not in os.environ
assert tf.keras.layers.Dense is keras.layers.Dense
assert tf.compat.v2.keras.layers.Dense is keras.layers.Dense
assert tf.losses.MeanSquaredError is keras.losses.MeanSquaredError
from tensorflow.keras.layers import Dense
assert Dense is keras.layers.Dense
"""


def run(*parts):
    code = HEAD + TRAIN + COMPRESS + "\n".join(parts)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("order", [("train()", "compress()"), ("compress()", "train()")])
def test_keras_3_is_unharmed_before_and_after(order):
    run(*order, UNHARMED, *order)


def test_a_tf_keras_that_the_user_chose_stays_chosen():
    run(
        "os.environ['TF_USE_LEGACY_KERAS'] = '1'",
        "compress()",
        "assert os.environ['TF_USE_LEGACY_KERAS'] == '1'",
        "import tf_keras",
        "assert tf.keras.layers.Dense is tf_keras.layers.Dense",
    )


def test_a_missing_package_is_named():
    run(
        "sys.modules['tensorflow_model_optimization'] = None",
        "try:",
        "    compress()",
        "except ImportError as error:",
        "    assert 'pip install tensorflow-model-optimization' in str(error), error",
        "else:",
        "    raise AssertionError",
        "assert 'TF_USE_LEGACY_KERAS' not in os.environ",
    )
