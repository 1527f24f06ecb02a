import numpy as np
import pytest

from keras_kd.losses.target_class import split_target, target_classes

LOGITS = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 4.0]])


def test_the_label_or_else_the_teachers_class_is_the_target():
    assert target_classes(np.array([0, 1]), LOGITS).numpy().tolist() == [0, 1]
    assert target_classes(np.array([-1, 3]), LOGITS).numpy().tolist() == [1, 2]
    assert target_classes(np.array([[0.0, 0, 0], [0, 1, 0]]), LOGITS).numpy().tolist() == [1, 1]


def test_labels_of_another_shape_are_rejected():
    with pytest.raises(ValueError, match=r"Labels must be integers.*labels of shape \(2,\)"):
        target_classes(np.array([0, 1]), np.zeros((2, 4, 4, 3)))


def test_logits_are_split_into_target_and_other_classes():
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    log_p, log_not_p, others = split_target(LOGITS, np.array([1, 0], "int32"))
    np.testing.assert_allclose(np.exp(log_p), probabilities[[0, 1], [1, 0]])
    np.testing.assert_allclose(np.exp(log_p) + np.exp(log_not_p), 1)
    # The maximum is subtracted from the other classes, which keep their order.
    np.testing.assert_allclose(others, [[-2.0, -1.0], [-5.0, 0.0]])
