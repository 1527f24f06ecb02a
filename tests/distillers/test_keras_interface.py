"""A distiller stands for its student where a Keras model is expected."""

import numpy as np
import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_labels_may_have_another_rank_in_the_next_call(method):
    (x, y), model = toy.vectors(), distiller(eager=False, rate=0.0)
    found = []
    for labels in (y, y[:, None], y):
        result = getattr(model, method)(x, labels, verbose=0)
        found.append(result.history["loss"] if method == "fit" else result)
    np.testing.assert_allclose(found[1:], found[:-1], rtol=1e-5)


def test_labels_of_the_same_rank_are_not_traced_again():
    (x, y), model = toy.vectors(), distiller(eager=False)
    model.fit(x, y, verbose=0)
    step = model.train_function
    model.fit(x, y.astype("float32"), verbose=0)
    assert model.train_function is step
