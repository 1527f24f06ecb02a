"""`keras-kd report`: models by name, and learning curves."""

from pathlib import Path

import keras
import numpy as np
import pytest

from keras_kd.cli.output import UsageError
from keras_kd.cli.report import _files_by_name, _read_curves


def test_report_writes_a_page_of_models_by_name(run):
    Path("curves.json").write_text('{"loss": [2.0, 1.0]}')
    line = "report teacher.tflite small=teacher.tflite --data digits --out page.html"
    code, numbers, _ = run(f"{line} --history small=curves.json --title Mine --json")
    assert code == 0
    names = [entry["name"] for entry in numbers["entries"]]
    assert names == ["teacher.tflite", "small"]
    assert (numbers["teacher"], numbers["student"]) == ("teacher.tflite", "small")
    assert numbers["samples"] == 296
    assert "<title>Mine</title>" in Path("page.html").read_text()
    assert numbers["history"] == {"small": {"loss": [2.0, 1.0]}}


def test_report_prints_the_errors_of_numbers(run):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    for name in ("a", "b"):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name=name)
        model.save(f"{name}.keras")
    Path("mine").mkdir()
    np.savez("mine/test.npz", x=x, y=x[:, :2])
    code, text, _ = run("report a.keras b.keras --data mine --out page.md")
    assert code == 0
    assert text.split("\n")[0].split() == ["RMSE", "R²", "size", "latency"]
    code, _, errors = run("report a.keras b.keras --data mine --out page.md --outputs classes")
    assert code == 1
    assert "mutually exclusive classes" in errors


def test_files_have_their_own_name_or_a_given_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=b.keras").touch()
    files = _files_by_name(["big=folder/teacher.keras", "folder/small.tflite", "a=b.keras"])
    assert files == {
        "big": Path("folder/teacher.keras"),
        "small.tflite": Path("folder/small.tflite"),
        "a=b.keras": Path("a=b.keras"),
    }
    with pytest.raises(UsageError, match="'small' is repeated: write NAME=b/small"):
        _files_by_name(["a/small", "b/small"])


@pytest.mark.parametrize("content", ["", "[1]", '{"loss": 1}', '{"loss": ["a"]}'])
def test_other_content_is_no_learning_curve(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="Expected learning curves in JSON"):
        _read_curves(path)
