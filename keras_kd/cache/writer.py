"""Writing of cache rows: `.npy` files that grow block by block, with a checksum per block."""

import contextlib
import io
import json
import math
import os
import platform
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import filelock
import numpy as np

from keras_kd.cache.manifest import Block
from keras_kd.cache.schema import Columns, row_bytes
from keras_kd.files import atomic_write
from keras_kd.teachers.knowledge import CacheError

_JOURNAL = "journal.jsonl"
_LOCK, _LOCK_OWNER = ".lock", ".lock-owner"
#: Bytes of each file's header: a constant, so that the final number of rows can replace it.
_HEADER_BYTES = 256


class RowWriter:
    """Appends rows to the files of an unfinished cache, and resumes after an interruption.

    A block counts once its line is in the journal, which is written after the block. Until the end
    the headers state zero rows, so an unfinished file cannot be mistaken for a complete one.

    Args:
        folder: The cache's folder.
        columns: The columns.
        block_rows: Rows per block.
    """

    def __init__(self, folder: Path, columns: Columns, block_rows: int) -> None:
        self.folder = folder
        self.columns = columns
        self.block_rows = block_rows
        self.blocks = self._read_journal()
        self._pending = {file: [] for file in columns}
        self._files = {file: self._open(file) for file in columns}
        with atomic_write(folder / _JOURNAL) as temporary:
            temporary.write_text("".join(map(_journal_line, self.blocks)))
        self._journal = (folder / _JOURNAL).open("a")

    @property
    def rows(self) -> int:
        """Rows in finished blocks."""
        return self.blocks[-1].last if self.blocks else 0

    def append(self, rows: dict[str, np.ndarray]) -> None:
        """Add rows; a block is written as soon as it is full."""
        for file, values in rows.items():
            shape, dtype = self.columns[file]
            if values.shape[1:] != shape or values.dtype != np.dtype(dtype):
                raise ValueError(
                    f"'{file}' takes rows of shape {shape} and dtype {dtype}. "
                    f"Received: {values.shape[1:]}, {values.dtype}"
                )
            self._pending[file].append(values)
        while sum(map(len, self._pending[file])) >= self.block_rows:
            self._write_block(self.block_rows)

    def read(self, file: str) -> np.ndarray:
        """Return the rows of a file that are in finished blocks."""
        shape, dtype = self.columns[file]
        values = np.fromfile(
            self.folder / file, dtype, offset=_HEADER_BYTES, count=self.rows * math.prod(shape)
        )
        return values.reshape(self.rows, *shape)

    def finish(self) -> tuple[Block, ...]:
        """Write the remaining rows and the headers, and flush everything to disk."""
        left = sum(map(len, self._pending[next(iter(self.columns))]))
        if left:
            self._write_block(left)
        for file, handle in self._files.items():
            handle.seek(0)
            handle.write(npy_header(*self.columns[file], self.rows))
            os.fsync(handle.fileno())
        return tuple(self.blocks)

    def close(self) -> None:
        """Close the files; rows outside a finished block are dropped."""
        self._journal.close()
        for handle in self._files.values():
            handle.close()

    def _open(self, file: str) -> io.FileIO:
        path = self.folder / file
        path.touch()
        # Unbuffered, so that a full disk raises an error in `write`.
        handle = path.open("r+b", buffering=0)
        shape, dtype = self.columns[file]
        handle.truncate(_HEADER_BYTES + self.rows * row_bytes(shape, dtype))
        handle.write(npy_header(shape, dtype, 0))
        handle.seek(0, os.SEEK_END)
        return handle

    def _write_block(self, size: int) -> None:
        checksums = {}
        for file, parts in self._pending.items():
            values = np.concatenate(parts)
            self._pending[file] = [values[size:]]
            content = memoryview(np.ascontiguousarray(values[:size]).reshape(-1).view("uint8"))
            checksums[file] = zlib.crc32(content)
            while content:
                content = content[self._files[file].write(content) :]
        block = Block(self.rows, self.rows + size, checksums)
        self._journal.write(_journal_line(block))
        self._journal.flush()
        self.blocks.append(block)

    def _read_journal(self) -> list[Block]:
        """Return the blocks of the journal up to the first whose checksum does not match."""
        path, blocks = self.folder / _JOURNAL, []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                block = Block(**json.loads(line))
            except (ValueError, TypeError):
                break  # The process was killed while it wrote this line.
            if find_damaged_file(self.folder, self.columns, block):
                break
            blocks.append(block)
        return blocks


def _journal_line(block: Block) -> str:
    return json.dumps(asdict(block)) + "\n"


def npy_header(shape: Sequence[int], dtype: str, rows: int) -> bytes:
    """Return the header of a `.npy` file of version 1.0, always of the same length."""
    fields = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": (rows, *shape),
    }
    magic = np.lib.format.magic(1, 0)
    size = _HEADER_BYTES - len(magic) - 2
    text = repr(fields).encode().ljust(size - 1) + b"\n"
    if len(text) != size:
        raise ValueError(f"a shape that does not fit a header. Received: {tuple(shape)}")
    return magic + size.to_bytes(2, "little") + text


def find_damaged_file(folder: Path, columns: Columns, block: Block) -> str | None:
    """Return the first file whose bytes of a block do not match their checksum, or `None`."""
    for file, (shape, dtype) in columns.items():
        size = row_bytes(shape, dtype)
        try:
            with (folder / file).open("rb") as handle:
                handle.seek(_HEADER_BYTES + block.first * size)
                content = handle.read((block.last - block.first) * size)
        except OSError:
            return file
        if zlib.crc32(content) != block.checksums.get(file):
            return file
    return None


def open_column(folder: Path, file: str, shape: Sequence[int], dtype: str, rows: int) -> np.ndarray:
    """Return a column of a complete cache as a memory-mapped array.

    Raises:
        CacheError: If the file is missing, or its length or header does not match.
    """
    path = folder / file
    expected = _HEADER_BYTES + rows * row_bytes(shape, dtype)
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        received = "no such file" if size is None else f"{size:,} bytes"
        raise CacheError(
            f"KnowledgeCache '{folder}': '{file}' must have {expected:,} bytes. Received: "
            f"{received}. It was truncated or replaced: build the cache again, or copy it "
            "completely."
        )
    with path.open("rb") as handle:
        if handle.read(_HEADER_BYTES) != npy_header(shape, dtype, rows):
            raise CacheError(
                f"KnowledgeCache '{folder}': '{file}' is damaged: its header must declare {rows:,} "
                f"rows of {tuple(shape)}, {dtype}. Build the cache again, or copy it again."
            )
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    # Indexing np.memmap itself takes ten times as long as the copy.
    return values.view(np.ndarray)


def remove_build_files(folder: Path, *files: str) -> None:
    """Remove the journal and other files that only a build needs."""
    for file in (_JOURNAL, *files):
        (folder / file).unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from building in the same folder until this one ends.

    Raises:
        RuntimeError: If another process holds the lock.
    """
    owner = folder / _LOCK_OWNER
    lock = filelock.FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        # The lock file itself cannot be read on Windows while it is locked.
        process = owner.read_text(errors="replace") if owner.exists() else "unknown"
        raise RuntimeError(
            f"KnowledgeCache '{folder}': another process ({process}) is building it. Wait until "
            "it has finished, or choose another path."
        ) from None
    try:
        owner.write_text(f"{os.getpid()} on {platform.node()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def check_disk_space(folder: Path, needed: int) -> None:
    """Check that the disk has room for `needed` bytes.

    Raises:
        OSError: If it has fewer bytes left.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"KnowledgeCache '{folder}': the teacher outputs take {needed / 1e9:.2f} GB and the "
            f"disk has {free / 1e9:.2f} GB left. Free some space, store fewer taps, or pass "
            "dtype='float16' or top_k=..."
        )
