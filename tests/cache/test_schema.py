"""The schema: columns on disk, JSON, differences."""

import json
from dataclasses import asdict, replace

import pytest

from keras_kd.cache.schema import (
    CacheSchema,
    StoredTap,
    StoredTeacher,
    class_dtype,
    parse_int,
    row_bytes,
)

OUTPUT = StoredTap(None, "either", None, (300,), "float32", "0.t.output.npy", top_k=4)
HIDDEN = StoredTap("hidden", "values", None, (2, 8), "float32", "0.t.hidden.npy")
SCHEMA = CacheSchema(
    teachers=(StoredTeacher("t", (0, 1), 99, "a-b-", (OUTPUT, HIDDEN)),),
    inputs=(((None, 5), "float32"),),
    dtype="float16",
    views=1,
    seed=None,
    shard=None,
    block_rows=64,
)


def test_columns_of_samples_and_of_views():
    columns = {
        "keys.npy": ((), "int64"),
        "inputs.npy": ((), "int64"),
        "0.t.output.npy": ((4,), "float16"),
        "0.t.output.classes.npy": ((4,), "uint16"),
        "0.t.output.rest.npy": ((), "float16"),
        "0.t.hidden.npy": ((2, 8), "float16"),
    }
    assert SCHEMA.columns == columns
    assert SCHEMA.row_bytes == 8 + 8 + 8 + 8 + 2 + 32
    views = replace(SCHEMA, views=3, seed=1).columns
    assert views.pop("keys.npy") == columns.pop("keys.npy")
    assert views == {file: ((3, *shape), dtype) for file, (shape, dtype) in columns.items()}


def test_a_schema_is_rebuilt_from_json():
    for schema in (SCHEMA, replace(SCHEMA, views=2, seed=-3, shard=(1, 4))):
        assert CacheSchema.from_json(json.loads(json.dumps(asdict(schema)))) == schema


def test_differences_are_named():
    def teacher(**kwargs):
        return replace(SCHEMA, teachers=(replace(SCHEMA.teachers[0], **kwargs),))

    for other, expected in (
        (replace(SCHEMA, dtype="float32", seed=1), "dtype, seed"),
        (teacher(name="u"), "teachers (['t'], not ['u'])"),
        (teacher(fingerprint="x-b-"), "weights of teacher 't'"),
        (teacher(taps=(HIDDEN,)), "taps of teacher 't'"),
        (teacher(classes=None), "classes of the teachers"),
    ):
        assert SCHEMA.differences(other) == expected


def test_the_smallest_dtype_of_class_indices():
    assert [class_dtype(n) for n in (2, 256, 257, 65536, 65537)] == [
        "uint8", "uint8", "uint16", "uint16", "uint32",
    ]  # fmt: skip


def test_unreasonable_numbers_are_errors():
    for value in (True, -1, 1.0, "1", 2**62):
        with pytest.raises(ValueError, match="expected an integer of at least 0"):
            parse_int(value)
    with pytest.raises(ValueError, match="would take"):
        row_bytes((2**20, 2**20), "float32")
