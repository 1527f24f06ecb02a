"""The share of samples in which student and teachers predict the same class."""

import numpy as np
from keras import ops

from keras_kd.distillers.agreement import class_agreement, mean_of_known
from keras_kd.models.keras_compat import set_mask
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge

TAP = Tap(None, logits=True)


def logits(*classes, count=3, scale=1.0):
    return ops.convert_to_tensor(scale * np.eye(count, dtype="float32")[list(classes)])


def share(knowledge, student, columns=(None,)):
    return float(class_agreement(knowledge, TAP, student, columns))


def test_one_teacher():
    knowledge = Knowledge(({TAP: logits(0, 1, 2, 2)},))
    assert share(knowledge, logits(0, 1, 1, 0)) == 0.5


def test_weighted_probabilities_of_several_teachers():
    outputs = ({TAP: logits(0, 0)}, {TAP: logits(1, 1, scale=9.0)})
    weights = ops.convert_to_tensor([[0.5, 1.0], [0.5, 0.0]])
    assert share(Knowledge(outputs, weights), logits(1, 0), (None, None)) == 1
    assert class_agreement(Knowledge(outputs, weights), TAP, logits(1, 0), (None, [0, 1])) is None


def test_combined_outputs_come_first():
    outputs = ({TAP: logits(0)}, {TAP: logits(0)})
    knowledge = Knowledge(outputs, ops.ones((2, 1)) / 2, {TAP: logits(2)})
    assert share(knowledge, logits(2), (None, [0, 1])) == 1


def test_a_teacher_of_some_classes_is_compared_among_them():
    knowledge = Knowledge(({TAP: logits(0, 1, count=2)},))
    student = ops.convert_to_tensor([[1.0, 9.0, 2.0], [3.0, 9.0, 2.0]])
    assert share(knowledge, student, ([2, 0],)) == 1


def test_masked_positions_are_left_out():
    teacher = ops.stack([logits(0, 1, 2), logits(0, 1, 2)])
    student = ops.stack([logits(0, 0, 0), logits(0, 1, 0)])
    mask = ops.convert_to_tensor([[True, True, False], [True, True, True]])
    knowledge = Knowledge(({TAP: teacher},))
    np.testing.assert_allclose(share(knowledge, set_mask(student, mask)), (1 / 2 + 2 / 3) / 2)


def test_unknown_shares_do_not_count():
    assert mean_of_known([0.5, None, 1.0]) == 0.75
    assert mean_of_known([None]) is None
