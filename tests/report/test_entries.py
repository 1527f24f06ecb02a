"""The numbers of a comparison, by name and as JSON."""

import json

import pytest

from tests.report import reports


def test_entries_are_found_by_name():
    report = reports.report()
    assert report["int8"].size == 27_248
    with pytest.raises(KeyError, match="There is no .*x.* among"):
        report["x"]


def test_the_dictionary_is_json_without_images():
    numbers = json.loads(json.dumps(reports.report().as_dict()))
    assert numbers["entries"][3]["accuracy"] == 0.9467
    assert numbers["disagreements"][0] == {
        "position": 0,
        "label": 0,
        "teacher": 0,
        "student": 1,
        "teacher_probability": 0.6,
        "student_probability": 0.7,
    }
