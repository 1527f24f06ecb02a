"""The costs of files and of Keras models."""

import gzip

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.report.costs import measure_costs
from tests.export import models


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "int8.tflite"
    return kd.export.to_tflite(models.cnn(), path, "int8", models.IMAGES)


@pytest.mark.parametrize("kind", [lambda file: file, lambda file: str(file.path)])
def test_costs_of_a_file_are_measured_on_the_file(file, kind):
    costs = measure_costs(kind(file), runs=5)
    assert costs["kind"] == "int8 file"
    assert costs["size"] == file.size
    assert costs["gzip_size"] == len(gzip.compress(file.path.read_bytes(), 9)) < file.size
    assert costs["macs"] == 36 * 8 * 9 + 288 * 10
    assert 0 < costs["latency_us"] <= costs["p95_us"]


def test_a_model_that_cannot_be_exported_has_a_note_and_no_costs():
    class Opaque(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)
            self.built = True

        def call(self, x):
            return self.dense(x)

    costs = measure_costs(Opaque(), runs=1)
    assert costs.keys() == {"kind", "note"}
    assert costs["kind"] == "Keras"
    assert costs["note"].startswith("The model cannot be exported: Expected a model that is called")
