"""Whatever is in a manifest, reading it gives the manifest or a readable error."""

import json

import pytest

from keras_kd.cache.manifest import Block, Manifest, checksum
from keras_kd.teachers.knowledge import CacheError


@pytest.fixture
def folder(whole, tmp_path):
    """A folder with a copy of a manifest."""
    (tmp_path / "manifest.json").write_bytes((whole / "manifest.json").read_bytes())
    return tmp_path


def edit(folder, change):
    """Change the manifest, and make its checksum match."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["checksum"]
    change(manifest)
    manifest["checksum"] = checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_layout_on_disk(folder):
    value = json.loads((folder / "manifest.json").read_text())
    assert list(value) == [
        "format", "version", "content", "rows", "indexed", "blocks", "made_with", "checksum",
    ]  # fmt: skip
    assert (value["format"], value["version"]) == ("keras_kd knowledge cache", 1)
    assert list(value["content"]) == [
        "teachers", "inputs", "dtype", "views", "seed", "shard", "block_rows",
    ]  # fmt: skip
    (tap,) = value["content"]["teachers"][0].pop("taps")
    assert list(value["content"]["teachers"][0]) == [
        "name", "classes", "parameters", "fingerprint",
    ]  # fmt: skip
    assert tap == {
        "name": None,
        "serves": "either",
        "activation": None,
        "shape": [4],
        "dtype": "float32",
        "file": "0.teacher.output.npy",
        "top_k": None,
    }
    assert list(value["blocks"][0]) == ["first", "last", "checksums"]


def test_a_manifest_is_written_as_it_was_read(folder):
    manifest = Manifest.read(folder)
    before = (folder / "manifest.json").read_bytes()
    manifest.write(folder)
    assert (folder / "manifest.json").read_bytes() == before
    assert list(manifest.columns) == ["inputs.npy", "0.teacher.output.npy"]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["content"]["teachers"][0]["taps"][0].update(file="../../secret.npy"),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(file="/etc/secret.npy"),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(shape=[2**40, 2**40]),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(shape=[-4]),
        lambda m: m["content"]["teachers"][0].update(fingerprint="a-b-c-d"),
        lambda m: m["content"].update(dtype="object"),
        lambda m: m["content"].pop("views"),
        lambda m: m.update(rows=True),
        lambda m: m.update(rows=9999),
        lambda m: m["blocks"].pop(1),
        lambda m: m["blocks"][0]["checksums"].pop("inputs.npy"),
    ],
)
def test_a_changed_manifest_is_an_error(folder, change):
    edit(folder, change)
    with pytest.raises(CacheError, match="'manifest.json' is damaged.*build the cache again"):
        Manifest.read(folder)


def test_a_checksum_that_does_not_match_is_an_error(folder):
    path = folder / "manifest.json"
    text = path.read_text()
    assert '"name": "teacher"' in text
    path.write_text(text.replace('"name": "teacher"', '"name": "ueacher"'))
    with pytest.raises(CacheError, match="is damaged.*checksum does not match"):
        Manifest.read(folder)


def test_other_files_are_errors(folder):
    edit(folder, lambda m: m.update(version=99))
    with pytest.raises(CacheError, match="version 1. Received: .*, version 99"):
        Manifest.read(folder)
    (folder / "manifest.json").write_text("[1]")
    with pytest.raises(CacheError, match="KnowledgeCache: Expected a JSON object"):
        Manifest.read(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CacheError, match="KnowledgeCache: Expected JSON .* Build the cache again"):
        Manifest.read(folder)


def test_a_block_without_a_file():
    block = Block(0, 2, {"keys.npy": 1, "inputs.npy": 2})
    assert block.without("keys.npy") == Block(0, 2, {"inputs.npy": 2})
