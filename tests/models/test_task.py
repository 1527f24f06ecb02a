"""The task of an output, from what was declared, the loss, the head and the labels."""

import keras
import numpy as np
import pytest

from keras_kd.models.task import (
    Evidence,
    decide_task,
    loss_name,
    require_task,
    task_from_labels,
    task_from_loss,
    warn_about_from_logits,
)

K = keras.losses


@pytest.mark.parametrize(
    ("loss", "units", "task"),
    [
        ("sparse_categorical_crossentropy", 5, "classes"),
        (K.CategoricalCrossentropy(from_logits=True), 5, "classes"),
        (K.categorical_crossentropy, 5, "classes"),
        ("kl_divergence", 5, "classes"),
        ("binary_crossentropy", 1, "binary"),
        (K.BinaryFocalCrossentropy(), 4, "labels"),
        ("hinge", 1, "binary"),
        ("mse", 1, "values"),
        (K.MeanAbsoluteError(), 3, "values"),
        (K.huber, 3, "values"),
        ("log_cosh", 2, "values"),
        ("poisson", 2, "values"),
        (K.Dice(), 2, None),
        (lambda y, p: p, 2, None),
        (None, 2, None),
    ],
)
def test_the_task_of_a_loss(loss, units, task):
    assert task_from_loss(loss, units) == task


def test_a_subclass_has_the_task_of_its_base():
    class Own(K.MeanSquaredError):
        pass

    assert loss_name(Own()) == "MeanSquaredError"


@pytest.mark.parametrize(
    ("evidence", "task"),
    [
        ({"units": 5, "heads": ["softmax", "logits"]}, "classes"),
        ({"units": 5, "heads": ["sigmoid"]}, "labels"),
        ({"units": 1, "heads": ["sigmoid"]}, "binary"),
        ({"units": 2, "heads": ["values"]}, "values"),
        ({"units": 5, "heads": ["logits"]}, None),
        ({"units": 5, "heads": ["softmax"], "loss": "mse"}, "classes"),
        ({"units": 5, "heads": ["sigmoid"], "loss": "mse"}, "values"),
        ({"units": 5, "heads": ["logits"], "loss": "mse"}, "values"),
        ({"units": 5, "heads": ["logits"], "loss": "binary_crossentropy"}, "labels"),
        ({"units": 5, "heads": ["softmax"], "declared": "values"}, "values"),
        ({"units": 5, "loss": "mse", "declared": "logits"}, "classes"),
        ({"units": 5, "loss": "mse", "declared": "probabilities", "heads": ["sigmoid"]}, "labels"),
        ({"units": 5, "loss": "mse", "declared": "labels"}, "labels"),
        ({"units": 1, "heads": ["sigmoid", "softmax"]}, None),
    ],
)
def test_the_strongest_evidence_decides(evidence, task):
    assert decide_task(Evidence("y", **evidence)) == task


@pytest.mark.parametrize(
    "evidence",
    [
        {"units": 5, "loss": "binary_crossentropy", "heads": ["softmax"]},
        {"units": 5, "loss": "categorical_crossentropy", "heads": ["sigmoid"]},
        {"units": 5, "loss": "categorical_crossentropy", "heads": ["values"]},
        {"units": 5, "loss": "binary_crossentropy", "declared": "values"},
    ],
)
def test_contradictory_evidence_is_refused(evidence):
    with pytest.raises(ValueError, match=r"output 'y'.*outputs="):
        decide_task(Evidence("y", **evidence))


def test_two_linear_units_without_a_loss_are_classes_with_a_warning():
    with pytest.warns(UserWarning, match="logits of classes"):
        assert require_task(Evidence("y", 2, heads=["logits"])) == "classes"


def test_declared_logits_need_no_warning(recwarn):
    assert require_task(Evidence("y", 2, "logits")) == "classes"
    assert require_task(Evidence("y", 1, "logits")) == "binary"
    assert not recwarn.list


def test_a_single_linear_unit_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="single unit of the output 'y'"):
        require_task(Evidence("y", 1, heads=["logits"]))


@pytest.mark.parametrize(
    ("loss", "head", "warns"),
    [
        ("sparse_categorical_crossentropy", "logits", True),
        (K.SparseCategoricalCrossentropy(from_logits=True), "logits", False),
        (K.binary_crossentropy, "logits", True),
        (K.BinaryCrossentropy(from_logits=True), "sigmoid", True),
        ("categorical_crossentropy", "softmax", False),
        ("mse", "logits", False),
        ("categorical_crossentropy", "unknown", False),
        (lambda y, p: p, "logits", False),
    ],
)
def test_a_cross_entropy_that_reads_the_wrong_form_is_warned_of(loss, head, warns, recwarn):
    warn_about_from_logits(Evidence("y", 5, loss=loss, heads=[head]))
    assert [("from_logits" in str(w.message)) for w in recwarn.list] == [True] * warns


@pytest.mark.parametrize(
    ("labels", "shape", "task"),
    [
        ([0, 1, 2], (3, 4), "classes"),
        ([[0], [2]], (2, 4), "classes"),
        ([[1, 0, 0], [0, 0, 1]], (2, 3), "classes"),
        ([[0.2, 0.8], [0.5, 0.5]], (2, 2), "classes"),
        ([[1, 1, 0], [0, 0, 0]], (2, 3), "labels"),
        ([[0.1, 4.0], [-1.0, 2.0]], (2, 2), "values"),
        ([0, 1, -1], (3, 1), "binary"),
        ([0.5, 3.0], (2, 1), "values"),
        ([np.nan, 1.0], (2, 1), "binary"),
        ([np.nan, np.nan], (2, 1), None),
        ([[[0, 1], [2, 0]]], (1, 2, 2, 3), "classes"),
    ],
)
def test_the_task_of_labels(labels, shape, task):
    assert task_from_labels(np.array(labels), shape) == task
