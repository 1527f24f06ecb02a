"""Files of a cache: their bytes, resuming after a kill, damage, locks."""

import os
import signal

import numpy as np
import pytest

from keras_kd.cache.manifest import Block
from keras_kd.cache.writer import (
    RowWriter,
    check_disk_space,
    find_damaged_file,
    lock_folder,
    npy_header,
    open_column,
    remove_build_files,
)
from keras_kd.teachers.knowledge import CacheError

COLUMNS = {"keys.npy": ((), "int64"), "a.npy": ((2, 3), "float16")}


def rows(first, last):
    keys = np.arange(first, last)
    return {"keys.npy": keys, "a.npy": np.arange(6).reshape(2, 3) + keys[:, None, None] * 1.0}


def add(writer, first, last):
    values = rows(first, last)
    writer.append({**values, "a.npy": values["a.npy"].astype("float16")})


def write(folder, count, block_rows=4):
    writer = RowWriter(folder, COLUMNS, block_rows)
    add(writer, 0, count)
    blocks = writer.finish()
    writer.close()
    return blocks


def test_the_header_is_that_of_numpy_in_256_bytes():
    header = npy_header((2, 3), "float16", 10)
    text = b"{'descr': '<f2', 'fortran_order': False, 'shape': (10, 2, 3)}"
    assert header == b"\x93NUMPY\x01\x00\xf6\x00" + text.ljust(245) + b"\n"
    assert npy_header((), "int64", 3)[10:].strip() == (
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (3,)}"
    )
    assert len(npy_header((), "int64", 10**12)) == 256
    with pytest.raises(ValueError, match="does not fit a header"):
        npy_header((10**9,) * 30, "int64", 1)


def test_numpy_reads_the_files(tmp_path):
    blocks = write(tmp_path, 10)
    assert [(block.first, block.last) for block in blocks] == [(0, 4), (4, 8), (8, 10)]
    for file, expected in rows(0, 10).items():
        np.testing.assert_array_equal(np.load(tmp_path / file, allow_pickle=False), expected)
        column = open_column(tmp_path, file, *COLUMNS[file], 10)
        assert type(column) is np.ndarray
        np.testing.assert_array_equal(column, expected)


def test_an_unfinished_file_has_no_rows_and_is_resumed_after_the_last_block(tmp_path):
    writer = RowWriter(tmp_path, COLUMNS, 4)
    add(writer, 0, 7)
    writer.close()
    assert len(np.load(tmp_path / "a.npy")) == 0
    writer = RowWriter(tmp_path, COLUMNS, 4)
    assert writer.rows == 4
    np.testing.assert_array_equal(writer.read("keys.npy"), np.arange(4))
    add(writer, 4, 10)
    writer.finish()
    writer.close()
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", 10)
    for file in COLUMNS:
        assert (tmp_path / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_killed_process_leaves_whole_blocks_and_no_lock(tmp_path):
    child = os.fork()
    if not child:  # It runs no TensorFlow, so a fork is enough.
        try:
            with lock_folder(tmp_path):
                writer = RowWriter(tmp_path, COLUMNS, 4)
                add(writer, 0, 11)
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(np.load(tmp_path / "a.npy")) == 0
    with lock_folder(tmp_path):
        writer = RowWriter(tmp_path, COLUMNS, 4)
        assert writer.rows == 8
        np.testing.assert_array_equal(writer.read("a.npy"), rows(0, 8)["a.npy"])
        writer.close()


def test_damaged_blocks_and_torn_lines_of_the_journal_are_written_again(tmp_path):
    writer = RowWriter(tmp_path, COLUMNS, 4)
    add(writer, 0, 12)
    writer.close()
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write('{"first": 12, "la')
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(256 + 5 * 12)  # In the second block.
        file.write(b"\xff")
    writer = RowWriter(tmp_path, COLUMNS, 4)
    assert writer.rows == 4
    writer.close()
    assert (tmp_path / "journal.jsonl").read_text().count("\n") == 1


def test_rows_of_another_shape_or_dtype_are_errors(tmp_path):
    writer = RowWriter(tmp_path, COLUMNS, 4)
    with pytest.raises(ValueError, match=r"takes rows of shape \(2, 3\) and dtype float16"):
        writer.append({"a.npy": np.zeros((1, 2, 3), "float32")})
    writer.close()


def test_the_damaged_file_of_a_block_is_found(tmp_path):
    first, second, _ = write(tmp_path, 10)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(256 + 4 * 12)
        file.write(b"\xff")
    assert find_damaged_file(tmp_path, COLUMNS, first) is None
    assert find_damaged_file(tmp_path, COLUMNS, second) == "a.npy"
    (tmp_path / "keys.npy").unlink()
    assert find_damaged_file(tmp_path, COLUMNS, first) == "keys.npy"
    assert find_damaged_file(tmp_path, {"a.npy": COLUMNS["a.npy"]}, Block(0, 4, {})) == "a.npy"


def test_a_truncated_or_missing_file_is_named(tmp_path):
    write(tmp_path, 10)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheError, match=r"'a.npy' must have 376 bytes. Received: 375 bytes"):
        open_column(tmp_path, "a.npy", *COLUMNS["a.npy"], 10)
    path.unlink()
    with pytest.raises(CacheError, match="Received: no such file"):
        open_column(tmp_path, "a.npy", *COLUMNS["a.npy"], 10)


@pytest.mark.parametrize(("old", "new"), [(b"<f2", b"<i2"), (b"NUMPY", b"MUNPY")])
def test_a_changed_header_is_an_error(old, new, tmp_path):
    write(tmp_path, 10)
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes().replace(old, new))
    declared = r"its header must declare 10 rows of \(2, 3\), float16"
    with pytest.raises(CacheError, match=declared):
        open_column(tmp_path, "a.npy", *COLUMNS["a.npy"], 10)


def test_a_pickle_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    write(tmp_path, 10)
    path = tmp_path / "a.npy"
    size = path.stat().st_size
    np.save(path, np.array([Bomb()], object), allow_pickle=True)
    os.truncate(path, size)
    with pytest.raises(CacheError, match="is damaged"):
        open_column(tmp_path, "a.npy", *COLUMNS["a.npy"], 10)


def test_a_second_lock_is_an_error_without_waiting(tmp_path):
    owner = rf"another process \({os.getpid()} on .+\) is building it"
    with lock_folder(tmp_path), pytest.raises(RuntimeError, match=owner), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        assert (tmp_path / ".lock-owner").exists()
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]


def test_files_of_a_build_are_removed(tmp_path):
    for name in ("journal.jsonl", "a.npy", "b.npy"):
        (tmp_path / name).touch()
    remove_build_files(tmp_path, "a.npy", "missing.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["b.npy"]


def test_a_full_disk_is_an_error_in_advance(tmp_path):
    check_disk_space(tmp_path, 1000)
    with pytest.raises(OSError, match=r"take 1000000000.00 GB and the disk has .* GB left"):
        check_disk_space(tmp_path, 10**18)
