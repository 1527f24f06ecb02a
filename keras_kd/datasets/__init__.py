"""Data sets: digits, TFDS, user folders, and mixtures with unlabeled samples."""

from keras_kd.datasets.load import Description as Description
from keras_kd.datasets.load import describe as describe
from keras_kd.datasets.load import load as load
