"""Export a Keras model to a .tflite file for LiteRT; evaluate, time and inspect the file."""

from keras_kd.export.benchmark import Benchmark, Latency, benchmark
from keras_kd.export.best import best
from keras_kd.export.evaluation import evaluate
from keras_kd.export.layer_errors import LayerError, layer_errors
from keras_kd.export.metadata import Description, describe
from keras_kd.export.options import QUANTIZATIONS
from keras_kd.export.scores import Evaluation, Score
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import Attempt, TFLiteModel
from keras_kd.export.verification import VerificationError

__all__ = [
    "QUANTIZATIONS",
    "Attempt",
    "Benchmark",
    "Description",
    "Evaluation",
    "Latency",
    "LayerError",
    "Score",
    "TFLiteModel",
    "VerificationError",
    "benchmark",
    "best",
    "describe",
    "evaluate",
    "layer_errors",
    "to_tflite",
]
