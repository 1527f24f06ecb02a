"""Rows on disk: `.npy` files that grow together, block by block, each block with a checksum."""

import contextlib
import fcntl
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from keras_kd.cache.manifest import Block
from keras_kd.cache.schema import row_bytes
from keras_kd.teachers.knowledge import CacheError

_JOURNAL = "journal.jsonl"
_LOCK = ".lock"
#: Bytes of the header of each file; NumPy itself pads to a multiple of 64.
_HEADER = 256


class RowWriter:
    """Appends rows to the files of a cache that is being built, and goes on where one stopped.

    A block counts once its line is in the journal, after its bytes were written. The files' headers
    say nought rows until the end, so that nothing looks whole before it is.

    Args:
        folder: The cache's folder.
        columns: By file, the shape and type of one row.
        block_rows: Rows of a block.
    """

    def __init__(
        self, folder: Path, columns: dict[str, tuple[tuple[int, ...], str]], block_rows: int
    ) -> None:
        self.folder = folder
        self.columns = columns
        self.block_rows = block_rows
        self.blocks = self._survivors()
        self._pending = {file: [] for file in columns}
        self._files = {file: self._open(file) for file in columns}
        self._keep(self.blocks)
        self._journal = (folder / _JOURNAL).open("a")

    @property
    def rows(self) -> int:
        """Rows in finished blocks."""
        return self.blocks[-1].last if self.blocks else 0

    def append(self, rows: dict[str, np.ndarray]) -> None:
        """Adds rows; they are on disk once their block is full.

        Args:
            rows: By file, an array of as many rows as the others.
        """
        for file, values in rows.items():
            shape, dtype = self.columns[file]
            if values.shape[1:] != shape or values.dtype != np.dtype(dtype):
                raise ValueError(
                    f"'{file}' takes rows of shape {shape} and type {dtype}. "
                    f"Received: {values.shape[1:]}, {values.dtype}"
                )
            self._pending[file].append(values)
        while sum(map(len, self._pending[file])) >= self.block_rows:
            self._write_block(self.block_rows)

    def read(self, file: str) -> np.ndarray:
        """The rows of a file that are in finished blocks."""
        shape, dtype = self.columns[file]
        values = np.fromfile(
            self.folder / file, dtype, offset=_HEADER, count=self.rows * math.prod(shape)
        )
        return values.reshape(self.rows, *shape)

    def finish(self) -> tuple[Block, ...]:
        """Writes what is left and the headers, and makes sure that all of it is on disk."""
        left = sum(map(len, self._pending[next(iter(self.columns))]))
        if left:
            self._write_block(left)
        for file, handle in self._files.items():
            os.pwrite(handle, header(*self.columns[file], self.rows), 0)
            os.fsync(handle)
        return tuple(self.blocks)

    def close(self) -> None:
        """Closes the files; what was not a full block is lost."""
        self._journal.close()
        for handle in self._files.values():
            os.close(handle)

    def _open(self, file: str) -> int:
        handle = os.open(self.folder / file, os.O_RDWR | os.O_CREAT, 0o644)
        shape, dtype = self.columns[file]
        os.ftruncate(handle, _HEADER + self.rows * row_bytes(shape, dtype))
        os.pwrite(handle, header(shape, dtype, 0), 0)
        os.lseek(handle, 0, os.SEEK_END)
        return handle

    def _write_block(self, size: int) -> None:
        checksums = {}
        for file, parts in self._pending.items():
            values = np.concatenate(parts)
            self._pending[file] = [values[size:]]
            content = memoryview(np.ascontiguousarray(values[:size]).reshape(-1).view("uint8"))
            checksums[file] = zlib.crc32(content)
            while content:
                content = content[os.write(self._files[file], content) :]
        block = Block(self.rows, self.rows + size, checksums)
        self._journal.write(json.dumps(asdict(block)) + "\n")
        self._journal.flush()
        self.blocks.append(block)

    def _survivors(self) -> list[Block]:
        """The blocks of the journal, up to the first whose bytes are not what was written."""
        path, blocks = self.folder / _JOURNAL, []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                block = Block(**json.loads(line))
            except (ValueError, TypeError):
                break  # The line that was being written when the process was killed.
            if damaged_file(self.folder, self.columns, block):
                break
            blocks.append(block)
        return blocks

    def _keep(self, blocks: Sequence[Block]) -> None:
        temporary = self.folder / f"{_JOURNAL}.tmp"
        temporary.write_text("".join(json.dumps(asdict(block)) + "\n" for block in blocks))
        os.replace(temporary, self.folder / _JOURNAL)


def header(shape: Sequence[int], dtype: str, rows: int) -> bytes:
    """The header of a `.npy` file of so many rows, always of the same length."""
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
    text = repr(described).encode().ljust(_HEADER - 11) + b"\n"
    if len(text) != _HEADER - 10:
        raise ValueError(f"a shape that does not fit a header. Received: {tuple(shape)}")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def damaged_file(
    folder: Path, columns: dict[str, tuple[tuple[int, ...], str]], block: Block
) -> str | None:
    """The file in which a block's bytes are not those that were written, or `None`."""
    for file, (shape, dtype) in columns.items():
        size = row_bytes(shape, dtype)
        try:
            with (folder / file).open("rb") as handle:
                handle.seek(_HEADER + block.first * size)
                content = handle.read((block.last - block.first) * size)
        except OSError:
            return file
        if zlib.crc32(content) != block.checksums.get(file):
            return file
    return None


def open_column(folder: Path, file: str, shape: Sequence[int], dtype: str, rows: int) -> np.ndarray:
    """A file of a finished cache as an array that lies on disk.

    Raises:
        CacheError: When it is not there, or not as long as the manifest says.
    """
    path = folder / file
    wanted = _HEADER + rows * row_bytes(shape, dtype)
    found = path.stat().st_size if path.is_file() else None
    if found != wanted:
        received = "no such file" if found is None else f"{found:,} bytes"
        raise CacheError(
            f"KnowledgeCache '{folder}': '{file}' must have {wanted:,} bytes. Received: "
            f"{received}. It was cut short or replaced: build the cache again, or copy it whole."
        )
    with path.open("rb") as handle:
        if handle.read(_HEADER) != header(shape, dtype, rows):
            raise CacheError(
                f"KnowledgeCache '{folder}': '{file}' is damaged: its header must say {rows:,} "
                f"rows of {tuple(shape)}, {dtype}. Build the cache again, or copy it again."
            )
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    # Without the subclass, whose every index costs ten times the copy.
    return values.view(np.ndarray)


def forget_progress(folder: Path, *files: str) -> None:
    """Takes away what only a build needs."""
    for file in (_JOURNAL, f"{_JOURNAL}.tmp", *files):
        (folder / file).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from building in the same folder; a process that dies lets go.

    Raises:
        RuntimeError: When another one is at it.
    """
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(handle, 200).decode(errors="replace")
            raise RuntimeError(
                f"KnowledgeCache '{folder}': another process ({other}) is building it. Wait until "
                "it is done, or give this one a path of its own."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        os.close(handle)


def require_room(folder: Path, needed: int) -> None:
    """Refuses to begin what the disk cannot hold.

    Raises:
        OSError: When it has fewer bytes left.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"KnowledgeCache '{folder}': the knowledge takes {needed / 1e9:.2f} GB and the disk "
            f"has {free / 1e9:.2f} GB left. Make room, store fewer taps, or pass dtype='float16' "
            "or top_k=..."
        )
