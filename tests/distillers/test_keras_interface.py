"""A distiller stands for its student where a Keras model is expected."""

import numpy as np

from tests import toy
from tests.distillers.models import distiller


def test_calling_a_distiller_runs_its_student():
    x, _ = toy.vectors()
    model = distiller()
    np.testing.assert_array_equal(model(x), model.student(x))
    assert model.output_names == ["head"]


def test_the_history_lists_the_loss_first_and_each_loss_once():
    model = distiller()
    names = [metric.name for metric in model.metrics]
    assert names[0] == "loss"
    assert names.count("loss") == 1
    assert names[-2:] == ["student_loss", "soft_targets"]
