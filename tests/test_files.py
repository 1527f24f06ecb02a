"""Atomic files and folders, JSON files, text tables."""

import os
import stat
from pathlib import Path

import pytest

from keras_kd import files


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
