"""`keras-kd demo`: all steps, each printed as a command."""

import re
from pathlib import Path

import pytest


@pytest.mark.slow
def test_demo_runs_and_prints_all_steps(run):
    code, numbers, errors = run("demo --epochs 1 --json")
    assert code == 0, errors
    names = [entry["name"] for entry in numbers["report"]["entries"]]
    assert names == ["teacher.keras", "alone.keras", "student.keras", "int8"]
    commands = re.findall(r"^\$ keras-kd (\w+)", errors, re.MULTILINE)
    assert commands == ["distill", "export", "report"] == list(numbers)
    assert Path("keras-kd-demo/report.html").read_text().startswith("<!doctype html>")
