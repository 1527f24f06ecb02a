"""The objective of mutual learning: targets from the other students in the same pass."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import keras_kd as kd
from keras_kd.distillers.mutual_objective import MutualObjective
from keras_kd.models.taps import Tap
from tests import toy

SOFT = kd.losses.SoftTargets


def students(number=2):
    return [toy.mlp(name, units=6 + i, seed=i) for i, name in enumerate("abc"[:number])]


def values(objective, x, y=None):
    """The values of all losses on a batch, as a training step computes them."""
    _, taps = objective.student(x)
    knowledge = objective.teach_during(taps, y)
    terms = range(len(objective.terms))
    return [float(objective.term(i, knowledge, taps, y, None)) for i in terms]


def test_each_student_has_its_own_losses():
    objective = MutualObjective(students(), ["soft_targets", kd.losses.Hint("hidden", "hidden")])
    assert objective.names == ["a_soft_targets", "a_hint", "b_soft_targets", "b_hint"]
    assert list(objective.projectors) == ["a_hint", "b_hint"]
    assert len({id(loss) for loss in objective.terms}) == 4
    assert objective.teachers == ()


def test_one_pass_returns_the_outputs_and_taps_of_all_students():
    models, (x, _) = students(), toy.vectors()
    outputs, taps = MutualObjective(models, [kd.losses.Hint("hidden", "head")]).student(x)
    assert list(outputs) == ["a", "b"]
    for student, own in zip(models, taps, strict=True):
        np.testing.assert_array_equal(outputs[student.name], student(x))
        assert {Tap("hidden"), Tap("head")} <= set(own)


def test_the_values_are_the_means_over_the_other_students():
    models, (x, _) = students(3), toy.vectors()
    logits = [student(x) for student in models]
    expected = [
        np.mean([np.mean(SOFT()(logits[j], logits[i])) for j in range(3) if j != i])
        for i in range(3)
    ]
    np.testing.assert_allclose(values(MutualObjective(models, None), x), expected, rtol=1e-5)


def test_combined_probabilities_are_the_target_of_a_student():
    models, (x, _) = students(3), toy.vectors()
    logits = [student(x) for student in models]
    mean = ops.log((ops.softmax(logits[1]) + ops.softmax(logits[2])) / 2)
    expected = np.mean(SOFT()(mean, logits[0]))
    found = values(MutualObjective(models, None, combine="probabilities"), x)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_hints_are_compared_with_the_layers_of_the_other_student():
    models, (x, _) = [toy.mlp(name, seed=i) for i, name in enumerate("ab")], toy.vectors()
    hidden = [ops.convert_to_tensor(student.get_layer("hidden")(x)) for student in models]
    expected = np.mean((hidden[0] - hidden[1]) ** 2)
    found = values(MutualObjective(models, kd.losses.Hint("hidden", "hidden", None)), x)
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-5)


def test_labels_weight_the_other_students():
    models, (x, y) = students(3), toy.vectors()
    logits = ops.stack([student(x) for student in models])
    weights = kd.weighting.CrossEntropy()(logits[1:], y)
    each = ops.stack([SOFT()(target, logits[0]) for target in logits[1:]])
    weighted = MutualObjective(models, None, weighting=kd.weighting.CrossEntropy())
    found = values(weighted, x, dict.fromkeys("abc", y))[0]
    np.testing.assert_allclose(found, np.mean(np.sum(weights * each, axis=0)), rtol=1e-5)


def test_targets_carry_no_gradient():
    models, (x, _) = students(), toy.vectors(8)
    objective = MutualObjective(models, None)
    with tf.GradientTape() as tape:
        _, taps = objective.student(x)
        value = objective.term(0, objective.teach_during(taps, None), taps, None, None)
    one, other = models
    gradients = tape.gradient(value, [one.trainable_variables, other.trainable_variables])
    assert all(gradient is not None for gradient in gradients[0])
    assert gradients[1] == [None] * 4


def test_the_outputs_of_each_student_are_declared_by_its_name():
    declared = {"one": "logits", "two": "values"}
    students = [toy.mlp("one"), toy.mlp("two", units=6, seed=1)]
    parts = MutualObjective(students, None, student_outputs=declared)
    assert [objective.student_outputs for objective in parts.objectives] == ["logits", "values"]
    assert [o.ensemble.teachers[0].outputs for o in parts.objectives] == ["values", "logits"]
    with pytest.raises(ValueError, match=r"declares \['head'\], but 'MutualLearning' has"):
        MutualObjective(students, None, student_outputs={"head": "logits"})
    with pytest.raises(ValueError, match="MutualLearning: `student_outputs` must be one of"):
        MutualObjective(students, None, student_outputs="logit")
