"""Compare losses with the numbers of the papers' own code."""

from pathlib import Path

import numpy as np
import pytest

from keras_kd.losses.reduction import mean_per_sample
from tests import gradients

FILES = ("golden_a", "golden_b")
#: Tolerance of a value and a gradient, relative to the largest entry.
NEAR = {"float64": 1e-10, "float32": 1e-5}
DTYPES = [dtype for dtype in NEAR if dtype == "float32" or gradients.has_float64()]
INPUTS = {
    "logits": ("teacher_logits", "student_logits"),
    "features": ("teacher_features_nchw", "student_features_nchw"),
    "same": ("teacher_features_nchw", "student_features_same_nchw"),
    "embeddings": ("teacher_embeddings", "student_embeddings"),
}

#: Runs a test on both files, in float64 and in float32.
everywhere = pytest.mark.parametrize(
    ("file", "dtype"), [(file, dtype) for file in FILES for dtype in DTYPES]
)


def load(file):
    return np.load(Path(__file__).parent / "golden" / f"{file}.npz")


def channels_last(x):
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def taps(file, kind, dtype="float64"):
    """Return teacher, student and labels of a golden file."""
    numbers = load(file)
    teacher, student = (channels_last(numbers[f"in/{name}"]) for name in INPUTS[kind])
    return teacher.astype(dtype), student.astype(dtype), numbers["in/labels"]


def value_and_gradient(loss, teacher, student, labels=None):
    """Return the values per sample and the gradient of their mean with respect to the student."""
    values, gradient = gradients.value_and_gradient(
        lambda student: mean_per_sample(loss(teacher, student, labels)), student
    )
    return values, gradient / len(values)


def assert_golden(loss, name, kind, file, dtype):
    """Compare the mean of the values and its gradient with those of the paper's code."""
    numbers = load(file)
    teacher, student, labels = taps(file, kind, dtype)
    values, gradient = value_and_gradient(loss, teacher, student, labels)
    assert values.shape == (len(teacher),)
    assert values.dtype == dtype
    expected = channels_last(numbers[f"out/{name}/grad"])
    np.testing.assert_allclose(values.mean(), numbers[f"out/{name}/loss"], rtol=NEAR[dtype])
    largest = np.abs(expected).max()
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=NEAR[dtype] * largest)
