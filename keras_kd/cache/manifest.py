"""The manifest of a knowledge cache, `manifest.json`; everything read from it is checked."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_kd import files
from keras_kd.cache.schema import KEYS, CacheSchema, Columns, parse_int
from keras_kd.teachers.knowledge import CacheError

MANIFEST = "manifest.json"
FORMAT = "keras_kd knowledge cache"
VERSION = 1


@dataclass(frozen=True)
class Block:
    """Samples that were written together.

    Attributes:
        first: Row of the first sample.
        last: Row after the last sample.
        checksums: By file, the CRC-32 of their bytes.
    """

    first: int
    last: int
    checksums: dict[str, int]

    def without(self, file: str) -> "Block":
        """Return the block without one of the files."""
        checksums = {name: crc for name, crc in self.checksums.items() if name != file}
        return Block(self.first, self.last, checksums)


@dataclass(frozen=True)
class Manifest:
    """The description of a complete cache.

    Attributes:
        schema: The schema.
        rows: Number of samples.
        indexed: Whether each sample's key is its row, so that there is no file of keys.
        blocks: The blocks in order; together they are all rows.
        made_with: Versions of the libraries that built the cache.
    """

    schema: CacheSchema
    rows: int
    indexed: bool
    blocks: tuple[Block, ...]
    made_with: dict[str, str]

    @property
    def columns(self) -> Columns:
        """The columns on disk."""
        columns = self.schema.columns
        if self.indexed:
            del columns[KEYS]
        return columns

    def write(self, folder: Path) -> None:
        """Write the manifest into the folder, completely or not at all."""
        fields = asdict(self)
        if self.schema.input_names is None:
            del fields["schema"]["input_names"]
        for teacher in fields["schema"]["teachers"]:
            if teacher["prepared"] is None:
                del teacher["prepared"]
        value = {
            "format": FORMAT,
            "version": VERSION,
            "content": fields.pop("schema"),
            **fields,
        }
        files.write_json(folder / MANIFEST, {**value, "checksum": checksum(value)})

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read and check the manifest in a folder.

        Raises:
            CacheError: If it is damaged or has an unknown version.
        """
        value = read_json(folder / MANIFEST)
        if value.get("format") != FORMAT or value.get("version") != VERSION:
            raise CacheError(
                f"KnowledgeCache '{folder}': expected a manifest of format '{FORMAT}', version "
                f"{VERSION}. Received: {value.get('format')!r}, version {value.get('version')!r}. "
                "Build the cache again, or use the version of keras_kd that wrote it."
            )
        with damage_as_cache_error(folder / MANIFEST):
            if value.pop("checksum") != checksum(value):
                raise ValueError("its checksum does not match")
            manifest = cls(
                schema=CacheSchema.from_json(value["content"]),
                rows=parse_int(value["rows"]),
                indexed=bool(value["indexed"]),
                blocks=tuple(_parse_block(block) for block in value["blocks"]),
                made_with={str(k): str(v) for k, v in value["made_with"].items()},
            )
            _check_blocks(manifest)
        return manifest


def checksum(value: dict[str, Any]) -> str:
    """Return the SHA-256 of a JSON value, independent of its formatting."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a cache.

    Raises:
        CacheError: If it is too large or does not contain a JSON object.
    """
    try:
        return files.read_json(path)
    except ValueError as error:
        raise CacheError(f"KnowledgeCache: {error} Build the cache again.") from error


@contextlib.contextmanager
def damage_as_cache_error(path: Path) -> Iterator[None]:
    """Raise a `CacheError` for the errors that parsing of damaged JSON raises."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(
            f"KnowledgeCache '{path.parent}': '{path.name}' is damaged ({error!r}). Delete the "
            "folder and build the cache again."
        ) from error


def _parse_block(value: dict[str, Any]) -> Block:
    checksums = {str(file): parse_int(crc) for file, crc in value["checksums"].items()}
    return Block(parse_int(value["first"]), parse_int(value["last"]), checksums)


def _check_blocks(manifest: Manifest) -> None:
    ends = [0, *(block.last for block in manifest.blocks)]
    firsts = [*(block.first for block in manifest.blocks), manifest.rows]
    if ends != firsts:
        raise ValueError("its blocks do not cover the rows in order")
    for block in manifest.blocks:
        if set(block.checksums) != set(manifest.columns):
            raise ValueError(f"the block from row {block.first} needs one checksum per file")
