"""The schema of a knowledge cache: teachers, taps, inputs, and the columns on disk."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from keras_kd.teachers.fingerprint import Fingerprint
from keras_kd.teachers.knowledge import SERVES

#: The columns besides the teacher outputs: each sample's key, and a digest of each of its inputs.
KEYS, DIGESTS = "keys.npy", "inputs.npy"
DTYPES = ("float16", "float32")
#: Values of `StoredTap.activation`.
ACTIVATIONS = (None, "softmax", "sigmoid", "probabilities", "values")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.npy")
_MAX_ROW_BYTES = 2**31

#: By file, the shape and dtype of one sample's row.
Columns = dict[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class StoredTap:
    """The stored values of one teacher at one tap.

    Attributes:
        name: The tap's name, `None` for the output.
        serves: What the values can be used as, one of `knowledge.SERVES`.
        activation: `"softmax"` or `"sigmoid"` if the teacher applies it to these logits,
            `"probabilities"` if they are log p of one of the two, `"values"` for numbers
            (regression), `None` for logits.
        shape: Shape of one sample's value, as the teacher returns it.
        dtype: Its dtype, as the teacher returns it.
        file: The file with the values.
        top_k: Number of logits to keep, or `None` for all. With `top_k`, `file` contains the logits
            and two more files contain their classes and the mass of the others.
    """

    name: str | None
    serves: str
    activation: str | None
    shape: tuple[int, ...]
    dtype: str
    file: str
    top_k: int | None = None

    def columns(self, dtype: str) -> Columns:
        """Return the columns of the tap, stored in `dtype`."""
        if self.top_k is None:
            return {self.file: (self.shape, dtype)}
        *positions, classes = self.shape
        stem = self.file.removesuffix(".npy")
        return {
            self.file: ((*positions, self.top_k), dtype),
            f"{stem}.classes.npy": ((*positions, self.top_k), class_dtype(classes)),
            f"{stem}.rest.npy": (tuple(positions), dtype),
        }


@dataclass(frozen=True)
class StoredTeacher:
    """The description of a teacher.

    Attributes:
        name: Its name.
        classes: As for `kd.Teacher(classes=...)`.
        parameters: Number of its weights.
        fingerprint: Text of its `Fingerprint`.
        taps: Its stored taps.
        prepared: The file that `cache.prepared` reads to compare its preprocessing; `None` without
            one, or if it cannot be compared.
    """

    name: str
    classes: tuple | None
    parameters: int
    fingerprint: str
    taps: tuple[StoredTap, ...]
    # Not compared, so that a cache of an earlier version is complete.
    prepared: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class CacheSchema:
    """Everything that is known of a cache before the first teacher runs.

    Attributes:
        teachers: The teachers.
        inputs: Shape and dtype of each tensor of one sample's input.
        dtype: The dtype of the stored values.
        views: Number of augmented views of each sample; 1 for the unchanged sample.
        seed: Seed of the views.
        shard: (i, n) for the i-th of n shards, or `None` for a whole cache.
        block_rows: Samples per block; each block has a checksum.
        input_names: The keys of `inputs` in a dict; `None` for other inputs, and in caches of
            earlier versions.
    """

    teachers: tuple[StoredTeacher, ...]
    inputs: tuple[tuple[tuple[int | None, ...], str], ...]
    dtype: str
    views: int
    seed: int | None
    shard: tuple[int, int] | None
    block_rows: int
    # Not compared, so that a cache of an earlier version is complete.
    input_names: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def columns(self) -> Columns:
        """The columns; the keys come first."""
        columns: Columns = {KEYS: ((), "int64"), DIGESTS: ((), "int64")}
        for teacher in self.teachers:
            for tap in teacher.taps:
                columns.update(tap.columns(self.dtype))
            if teacher.prepared is not None:
                columns[teacher.prepared] = ((2,), "float64")
        if self.views == 1:
            return columns
        return {
            file: (shape if file == KEYS else (self.views, *shape), dtype)
            for file, (shape, dtype) in columns.items()
        }

    @property
    def row_bytes(self) -> int:
        """Bytes per sample."""
        return sum(row_bytes(*column) for column in self.columns.values())

    def differences(self, other: "CacheSchema") -> str:
        """Return the names of the parts in which two schemas differ."""
        own, others = asdict(self), asdict(other)
        compared = set(own) - {"teachers", "input_names"}
        parts = [name for name in own if name in compared and own[name] != others[name]]
        names = [[teacher.name for teacher in schema.teachers] for schema in (self, other)]
        if names[0] != names[1]:
            parts.append(f"teachers ({names[0]}, not {names[1]})")
        else:
            for one, two in zip(self.teachers, other.teachers, strict=True):
                prints = Fingerprint.parse(one.fingerprint), Fingerprint.parse(two.fingerprint)
                parts += [
                    f"{part} of teacher '{one.name}'" for part in prints[0].differences(prints[1])
                ]
                if one.taps != two.taps:
                    parts.append(f"taps of teacher '{one.name}'")
                if one.prepared != two.prepared:
                    parts.append(f"samples to compare the preprocessing of '{one.name}' with")
        return ", ".join(parts) or "classes of the teachers"

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "CacheSchema":
        """Return the schema from the JSON of `dataclasses.asdict`; reject other values."""
        return cls(
            teachers=tuple(_parse_teacher(teacher) for teacher in value["teachers"]),
            inputs=tuple((tuple(shape), str(dtype)) for shape, dtype in value["inputs"]),
            dtype=_parse_choice(value["dtype"], DTYPES),
            views=parse_int(value["views"], 1),
            seed=None if value["seed"] is None else int(value["seed"]),
            shard=None if value["shard"] is None else tuple(parse_int(v) for v in value["shard"]),
            block_rows=parse_int(value["block_rows"], 1),
            input_names=_parse_names(value.get("input_names")),
        )


def class_dtype(classes: int) -> str:
    """Return the smallest integer dtype for class indices."""
    return next(t for t in ("uint8", "uint16", "uint32") if classes <= np.iinfo(t).max + 1)


def row_bytes(shape: Sequence[int], dtype: str) -> int:
    """Return the bytes of one row of a column."""
    size = np.dtype(dtype).itemsize
    for side in shape:
        size *= side
    if size > _MAX_ROW_BYTES:
        raise ValueError(f"a sample of shape {tuple(shape)} would take {size} bytes")
    return size


def parse_int(value: Any, minimum: int = 0) -> int:
    """Return an integer from JSON if it is at least `minimum`, else raise a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 2**62:
        raise ValueError(f"expected an integer of at least {minimum}, received {value!r}")
    return value


def _parse_names(value: Any) -> tuple[str, ...] | None:
    return None if value is None else tuple(str(name) for name in value)


def _parse_choice(value: Any, allowed: Sequence[Any]) -> Any:
    if value not in allowed:
        raise ValueError(f"expected one of {allowed}, received {value!r}")
    return value


def _parse_teacher(value: dict[str, Any]) -> StoredTeacher:
    Fingerprint.parse(value["fingerprint"])
    return StoredTeacher(
        name=str(value["name"]),
        classes=None if value["classes"] is None else tuple(value["classes"]),
        parameters=parse_int(value["parameters"]),
        fingerprint=str(value["fingerprint"]),
        taps=tuple(_parse_tap(tap) for tap in value["taps"]),
        prepared=None if value.get("prepared") is None else _parse_file(value["prepared"]),
    )


def _parse_file(value: str) -> str:
    if not _FILE.fullmatch(value):
        raise ValueError(f"the file name {value!r} is not allowed")
    return value


def _parse_tap(value: dict[str, Any]) -> StoredTap:
    tap = StoredTap(
        name=None if value["name"] is None else str(value["name"]),
        serves=_parse_choice(value["serves"], SERVES),
        activation=_parse_choice(value["activation"], ACTIVATIONS),
        shape=tuple(parse_int(size, 1) for size in value["shape"]),
        dtype=str(np.dtype(value["dtype"])) if value["dtype"] != "bfloat16" else "bfloat16",
        file=_parse_file(value["file"]),
        top_k=None if value["top_k"] is None else parse_int(value["top_k"], 1),
    )
    for column in tap.columns("float32").values():
        row_bytes(*column)
    return tap
