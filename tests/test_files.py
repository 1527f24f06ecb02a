"""Atomic files and folders, JSON files, text tables."""

import dataclasses
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from keras_kd import files
from keras_kd.files import ShortRepr, text_fields


def test_a_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(b"before")
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(b"after")
        assert path.read_bytes() == b"before"
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".weights.h5")
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_old_file(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError), files.atomic_write(path) as temporary:
        temporary.write_bytes((tmp_path / "none").read_bytes())
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_written_file_has_default_permissions(tmp_path):
    with files.atomic_write(tmp_path / "m.tflite") as temporary:
        temporary.write_bytes(b"content")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in tmp_path.iterdir()]
    assert modes[0] == modes[1]


def test_an_unwritable_folder_is_rejected():
    with (
        pytest.raises(OSError, match="Expected a writable folder. Received: '/proc'"),
        files.atomic_write(Path("/proc/m.tflite")),
    ):
        pass


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "stage"
    with files.atomic_folder(path) as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "a.txt").write_text("a")
        assert not path.exists()
    assert (path / "inner" / "a.txt").read_text() == "a"
    with pytest.raises(RuntimeError, match="disk"), files.atomic_folder(tmp_path / "b"):
        raise RuntimeError("disk")
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["model", "model.keras", "model.tflite.gz", ""])
def test_a_path_without_the_suffix_is_rejected(tmp_path, name):
    with pytest.raises(ValueError, match="ends in '.tflite'"):
        files.require_writable(tmp_path / name, ".tflite")


def test_a_missing_folder_is_rejected(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("none", "file"):
        with pytest.raises(NotADirectoryError, match="Expected a path in an existing folder"):
            files.require_writable(tmp_path / folder / "m.tflite", ".tflite")


def test_json_is_read_back(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": [1, 2.5, None]})
    assert files.read_json(path) == {"a": [1, 2.5, None]}
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expected JSON in '.*a.json'"),
        ("[1]", "Expected a JSON object in '.*a.json'. Received: a value of type list"),
        ("[" * 100_000, "Expected JSON in"),
        (" " * 101 + "{}", "Expected at most 100 bytes"),
    ],
)
def test_other_files_are_no_json_objects(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        files.read_json(path, max_bytes=100 if "{}" in text else 10**6)


def test_a_table_aligns_its_columns():
    rows = [("student", "1,200", "logits"), ("projector", "64", "")]
    assert files.text_table(("role", "size", "taps"), rows, right=(1,)) == (
        "role        size  taps\n"
        "------------------------\n"
        "student    1,200  logits\n"
        "projector     64"
    )
    assert files.text_table(("a", "b"), [], rule=False) == "a  b"


class Object:
    pass


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"a": 0.123456, "b": 3, "c": np.float32(0.5), "d": 1e6}, "a=0.1235, b=3, c=0.5, d=1e+06"),
        ({"a": None, "b": (), "c": {}, "d": "", "e": 0, "f": False}, "e=0, f=False"),
        ({"a": "text", "b": Path("x/y"), "c": [1, 0.25]}, "a='text', b='x/y', c=[1, 0.25]"),
        ({"a": {"k": 0.1, "l": [True]}}, "a={k: 0.1, l: [True]}"),
        ({"a": list(range(99)), "b": dict.fromkeys(range(99))}, "a=<99 entries>, b=<99 entries>"),
        ({"a": Object(), "b": np.zeros(99)}, "a=<Object>, b=<ndarray>"),
        ({"a": "x" * 99}, f"a='{'x' * 80}...'"),
    ],
)
def test_fields_are_shown_with_short_values(fields, text):
    shown = text_fields("Name", fields)
    assert " ".join(shown.split()) == f"Name({text})"


def test_many_fields_are_shown_on_short_lines():
    lines = text_fields("Name", {f"field_{i}": i for i in range(30)}).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 100
    assert all(line.startswith("    field") for line in lines[1:])


def test_a_dataclass_can_have_a_short_repr():
    @dataclasses.dataclass(frozen=True, repr=False)
    class Numbers(ShortRepr):
        one: float
        other: float | None = None

    assert repr(Numbers(1 / 3)) == "Numbers(one=0.3333)"
    assert repr([Numbers(2.0, 0.5)]) == "[Numbers(one=2, other=0.5)]"


def test_a_notebook_shows_the_fields_of_a_dataclass():
    @dataclasses.dataclass(repr=False)
    class Result(ShortRepr):
        accuracy: float
        note: str | None = None

    assert Result(1 / 3).html_tables() == {"Result": ((), [("accuracy", "0.3333")], ())}
    rows = Result(24250.8, "none").html_tables()["Result"].rows
    assert rows == [("accuracy", "24,251"), ("note", "none")]


def test_a_table_of_results_has_no_column_that_is_empty():
    @dataclasses.dataclass(repr=False)
    class Result(ShortRepr):
        accuracy: float | None = None
        error: float | None = None
        note: str | None = None

    table = files.results_table("output", {"a": Result(0.5), "b": Result(error=2.0)})
    assert table.header == ("output", "accuracy", "error")
    assert table.rows == [("a", "0.5", ""), ("b", "", "2")]
    assert list(table.right) == [1, 2]
