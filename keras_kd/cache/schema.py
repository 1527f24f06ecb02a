"""What a knowledge cache is of: teachers, taps, inputs, and the columns that they fill."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from keras_kd.teachers.fingerprint import Fingerprint
from keras_kd.teachers.knowledge import SERVES

#: The columns beside the teachers': the key of each sample, and a digest of each input.
KEYS, INPUTS = "keys.npy", "inputs.npy"
DTYPES = ("float16", "float32")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.npy")
_LARGEST_ROW = 2**31  # bytes


@dataclass(frozen=True)
class StoredTap:
    """What is stored of one teacher at one tap.

    Attributes:
        name: The tap's name, `None` for the output.
        serves: What it can be asked for as, one of `lesson.SERVES`.
        activation: `"softmax"` or `"sigmoid"` where the teacher itself applies it to these logits.
        shape: Shape of one sample's value, as the teacher gives it.
        dtype: Its type, as the teacher gives it.
        file: The file of the values.
        top_k: How many logits are kept, or `None` for all. Then `file` holds the logits, and two
            more files their classes and the rest's mass.
    """

    name: str | None
    serves: str
    activation: str | None
    shape: tuple[int, ...]
    dtype: str
    file: str
    top_k: int | None = None

    def columns(self, dtype: str) -> dict[str, tuple[tuple[int, ...], str]]:
        """By file, the shape and type of one sample's part."""
        if self.top_k is None:
            return {self.file: (self.shape, dtype)}
        *places, classes = self.shape
        stem = self.file.removesuffix(".npy")
        return {
            self.file: ((*places, self.top_k), dtype),
            f"{stem}.classes.npy": ((*places, self.top_k), class_type(classes)),
            f"{stem}.rest.npy": (tuple(places), dtype),
        }


@dataclass(frozen=True)
class StoredTeacher:
    """What is known of a teacher without the teacher.

    Attributes:
        name: Its name.
        classes: As `kd.Teacher(classes=...)`.
        parameters: How many weights it has.
        fingerprint: Text of its `Fingerprint`.
        taps: What is stored of it.
    """

    name: str
    classes: tuple | None
    parameters: int
    fingerprint: str
    taps: tuple[StoredTap, ...]


@dataclass(frozen=True)
class Content:
    """What a cache is of: known before the first teacher runs.

    Attributes:
        teachers: The teachers.
        inputs: Shape and type of each part of one sample's input.
        dtype: In what the knowledge is stored.
        views: How many augmented views there are of each sample, 1 for the sample as it is.
        seed: Seed of the views.
        shard: (i, n) where the cache holds the i-th of n parts, or `None` for the whole.
        block_rows: Samples of a block: each has a checksum of its own.
    """

    teachers: tuple[StoredTeacher, ...]
    inputs: tuple[tuple[tuple[int | None, ...], str], ...]
    dtype: str
    views: int
    seed: int | None
    shard: tuple[int, int] | None
    block_rows: int

    @property
    def columns(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """By file, the shape and type of one sample's row; the keys' file comes first."""
        found = {KEYS: ((), "int64"), INPUTS: ((), "int64")}
        for teacher in self.teachers:
            for tap in teacher.taps:
                found.update(tap.columns(self.dtype))
        if self.views == 1:
            return found
        return {
            file: (shape if file == KEYS else (self.views, *shape), dtype)
            for file, (shape, dtype) in found.items()
        }

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return sum(row_bytes(*column) for column in self.columns.values())

    def with_blocks(self, rows: int) -> "Content":
        """The same in blocks of so many samples."""
        return replace(self, block_rows=rows)

    def differences(self, other: "Content") -> str:
        """In words, what differs between two contents."""
        own, others = asdict(self), asdict(other)
        words = [name for name in own if name != "teachers" and own[name] != others[name]]
        names = [[teacher.name for teacher in one.teachers] for one in (self, other)]
        if names[0] != names[1]:
            words.append(f"teachers ({names[0]}, not {names[1]})")
        else:
            for one, two in zip(self.teachers, other.teachers, strict=True):
                prints = Fingerprint.parse(one.fingerprint), Fingerprint.parse(two.fingerprint)
                words += [
                    f"{part} of teacher '{one.name}'" for part in prints[0].differences(prints[1])
                ]
                if one.taps != two.taps:
                    words.append(f"taps of teacher '{one.name}'")
        return ", ".join(words) or "classes of the teachers"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Content":
        """From plain values."""
        return cls(
            teachers=tuple(_teacher(teacher) for teacher in value["teachers"]),
            inputs=tuple((tuple(shape), str(dtype)) for shape, dtype in value["inputs"]),
            dtype=_one_of(value["dtype"], DTYPES),
            views=whole(value["views"], 1),
            seed=None if value["seed"] is None else int(value["seed"]),
            shard=None if value["shard"] is None else tuple(whole(v) for v in value["shard"]),
            block_rows=whole(value["block_rows"], 1),
        )


def class_type(classes: int) -> str:
    """The smallest type that numbers so many classes."""
    return next(t for t in ("uint8", "uint16", "uint32") if classes <= np.iinfo(t).max + 1)


def row_bytes(shape: Sequence[int], dtype: str) -> int:
    """Bytes of one row of a column."""
    size = np.dtype(dtype).itemsize
    for side in shape:
        size *= side
    if size > _LARGEST_ROW:
        raise ValueError(f"a sample of shape {tuple(shape)} would take {size} bytes")
    return size


def _teacher(value: dict[str, Any]) -> StoredTeacher:
    Fingerprint.parse(value["fingerprint"])
    return StoredTeacher(
        name=str(value["name"]),
        classes=None if value["classes"] is None else tuple(value["classes"]),
        parameters=whole(value["parameters"]),
        fingerprint=str(value["fingerprint"]),
        taps=tuple(_tap(tap) for tap in value["taps"]),
    )


def _tap(value: dict[str, Any]) -> StoredTap:
    if not _FILE.fullmatch(value["file"]):
        raise ValueError(f"a file may not be called {value['file']!r}")
    tap = StoredTap(
        name=None if value["name"] is None else str(value["name"]),
        serves=_one_of(value["serves"], SERVES),
        activation=_one_of(value["activation"], (None, "softmax", "sigmoid")),
        shape=tuple(whole(size, 1) for size in value["shape"]),
        dtype=str(np.dtype(value["dtype"])) if value["dtype"] != "bfloat16" else "bfloat16",
        file=value["file"],
        top_k=None if value["top_k"] is None else whole(value["top_k"], 1),
    )
    for column in tap.columns("float32").values():
        row_bytes(*column)
    return tap


def whole(value: Any, least: int = 0) -> int:
    """A whole number of at least so much; else a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**62:
        raise ValueError(f"expected a whole number of at least {least}, received {value!r}")
    return value


def _one_of(value: Any, allowed: Sequence[Any]) -> Any:
    if value not in allowed:
        raise ValueError(f"expected one of {allowed}, received {value!r}")
    return value
