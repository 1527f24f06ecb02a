"""What a knowledge cache says of itself: `manifest.json`, read with suspicion."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_kd.cache.schema import KEYS, Content, whole
from keras_kd.teachers.knowledge import CacheError

NAME = "manifest.json"
FORMAT = "keras_kd knowledge cache"
VERSION = 1
_LARGEST_MANIFEST = 256 * 2**20  # bytes


@dataclass(frozen=True)
class Block:
    """Samples that were written together.

    Attributes:
        first: Row of the first.
        last: Row after the last.
        checksums: By file, the CRC-32 of their bytes.
    """

    first: int
    last: int
    checksums: dict[str, int]

    def without(self, file: str) -> "Block":
        """The block without one of the files."""
        checksums = {name: crc for name, crc in self.checksums.items() if name != file}
        return Block(self.first, self.last, checksums)


@dataclass(frozen=True)
class Manifest:
    """A whole cache.

    Attributes:
        content: What it is of.
        rows: How many samples it holds.
        indexed: Whether the key of each sample is its row, so that there is no file of keys.
        blocks: Its blocks in order; together they are all the rows.
        made_with: Versions of the libraries that built it.
    """

    content: Content
    rows: int
    indexed: bool
    blocks: tuple[Block, ...]
    made_with: dict[str, str]

    @property
    def columns(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """By file, the shape and type of one sample's row."""
        found = self.content.columns
        if self.indexed:
            del found[KEYS]
        return found

    def write(self, folder: Path) -> None:
        """Writes it into the folder, whole or not at all."""
        value = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_json(folder / NAME, {**value, "checksum": checksum(value)})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads and checks it.

        Raises:
            CacheError: When it is damaged, or of a version that is not known.
        """
        value = read_json(folder / NAME)
        if value.get("format") != FORMAT or value.get("version") != VERSION:
            raise CacheError(
                f"KnowledgeCache '{folder}': expected a manifest of the format '{FORMAT}', version "
                f"{VERSION}. Received: {value.get('format')!r}, version {value.get('version')!r}. "
                "Build the cache again, or use the version of keras_kd that wrote it."
            )
        try:
            if value.pop("checksum") != checksum(value):
                raise ValueError("it does not fit its checksum")
            manifest = cls(
                content=Content.from_json(value["content"]),
                rows=whole(value["rows"]),
                indexed=bool(value["indexed"]),
                blocks=tuple(_block(block) for block in value["blocks"]),
                made_with={str(k): str(v) for k, v in value["made_with"].items()},
            )
            _check_blocks(manifest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CacheError(
                f"KnowledgeCache '{folder}': the manifest is damaged ({error!r}). Build the cache "
                "again."
            ) from error
        return manifest


def checksum(value: dict[str, Any]) -> str:
    """SHA-256 of what a JSON file says, however it is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file under another name and renames it, so that no half of it is ever seen."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds a dict.

    Raises:
        CacheError: When it is too large or no such thing.
    """
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise CacheError(f"KnowledgeCache: '{path}' is larger than a manifest ever is.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CacheError(
            f"KnowledgeCache: '{path}' is no JSON ({error}). Build the cache again."
        ) from error
    if not isinstance(value, dict):
        raise CacheError(f"KnowledgeCache: '{path}' holds no manifest. Build the cache again.")
    return value


def _block(value: dict[str, Any]) -> Block:
    checksums = {str(file): whole(crc) for file, crc in value["checksums"].items()}
    return Block(whole(value["first"]), whole(value["last"]), checksums)


def _check_blocks(manifest: Manifest) -> None:
    ends = [0, *(block.last for block in manifest.blocks)]
    firsts = [*(block.first for block in manifest.blocks), manifest.rows]
    if ends != firsts:
        raise ValueError("its blocks are not all the rows, one after the other")
    for block in manifest.blocks:
        if set(block.checksums) != set(manifest.columns):
            raise ValueError(f"the block from row {block.first} has not a checksum for each file")
