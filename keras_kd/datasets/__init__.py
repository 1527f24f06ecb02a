"""Data sets: TFDS, folders of images, the embedded digits, and unlabeled samples mixed in."""

from keras_kd.datasets.load import Description as Description
from keras_kd.datasets.load import describe as describe
from keras_kd.datasets.load import load as load
