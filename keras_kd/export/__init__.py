"""From a Keras model to a .tflite file that LiteRT runs, and what that file is worth."""

from keras_kd.export.benchmark import Latency, benchmark
from keras_kd.export.evaluation import Evaluation, Score, evaluate
from keras_kd.export.tflite import TFLiteModel, to_tflite

__all__ = [
    "Evaluation",
    "Latency",
    "Score",
    "TFLiteModel",
    "benchmark",
    "evaluate",
    "to_tflite",
]
