"""Pruning, clustering and quantization-aware training of Keras 3 students, the teacher teaching."""

from keras_kd.compression.bridge import to_keras, to_tf_keras

__all__ = ["to_keras", "to_tf_keras"]
