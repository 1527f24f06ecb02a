"""A report as Markdown."""

from keras_kd.report.markdown import render_markdown
from tests.report import reports


def test_the_tables_contain_every_model_and_class():
    lines = render_markdown(reports.report(class_names=("a|b", "c", "d"))).splitlines()
    assert lines[0] == "# A title with <tags> </script>"
    row = next(line for line in lines if line.startswith("| int8 |"))
    assert row.split(" | ")[1:4] == ["94.67 % ± 1.00", "−0.33", "90.00 %"]
    assert lines[2].startswith("int8, compared with teacher on 1,000 samples: 0.33 points less")
    assert r"| a\|b | −0.33 | 95.0 % | 94.3 % | 50.0 % | 94.7 % | 600 | 3 | 5 |" in lines
    assert r"| a\|b | c | 12 | 10 |" in lines
    assert "- no file: Sinh <x>" in lines
    assert "int8 and teacher predict different classes for 57 samples." in lines


def test_a_regression_has_no_classes():
    text = render_markdown(reports.numbers())
    assert "| model | MAE | RMSE | R² | vs. teacher |" in text
    assert "class" not in text
    assert "accuracy" not in text.lower()


def test_independent_labels_have_an_accuracy_each():
    text = render_markdown(reports.report(task="labels"))
    assert "## Accuracy per label" in text
    assert "predict different classes" not in text
