"""Scores of outputs, and of a file with one of them."""

import dataclasses

import pytest

from keras_kd.export.scores import Evaluation, Score


def test_an_evaluation_has_the_scores_of_its_only_output():
    fields = [field.name for field in dataclasses.fields(Score)]
    found = Score(*range(1, len(fields) + 1))
    evaluation = Evaluation(8, {"y": found})
    for name in (*fields, "drop"):
        assert getattr(evaluation, name) == getattr(found, name)
    with pytest.raises(ValueError, match=r"Expected one output.*'z', 'y'.*outputs\[name\]"):
        _ = Evaluation(8, {"z": found, "y": found}).accuracy


def test_the_drop_is_in_percentage_points():
    evaluation = Evaluation(8, {"y": Score(0.5, model_accuracy=0.625)})
    assert evaluation.drop == 12.5
    assert evaluation.as_dict()["outputs"]["y"]["drop"] == 12.5
    assert Score(accuracy=0.5).drop is None
