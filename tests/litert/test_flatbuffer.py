"""Contents of a .tflite file: ops, signatures, metadata, associated files."""

import io
import zipfile

import pytest
from ai_edge_litert import schema_py_generated as schema

from keras_kd.litert import flatbuffer
from tests.export import models


def test_ops_have_names():
    model = flatbuffer.parse(models.content(models.cnn))
    names = [name for name, _ in flatbuffer.operators(model, model.subgraphs[0])]
    assert names == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert flatbuffer.flex_ops(models.content(models.cnn)) == []
    assert flatbuffer.main_signature(models.content(models.cnn)) == "serving_default"


def test_metadata_and_files_are_read_back():
    content = models.content(models.cnn)
    extended = flatbuffer.add_metadata(content, {"note": b"text"}, {"labels.txt": "a\nb"})
    assert flatbuffer.read_metadata(extended, "note") == b"text"
    assert flatbuffer.read_metadata(extended, "other") is None
    assert flatbuffer.read_metadata(b"damaged", "note") is None
    with zipfile.ZipFile(io.BytesIO(extended)) as archive:
        assert archive.read("labels.txt") == b"a\nb"


def test_signatures_are_renamed():
    content = models.content(models.cnn)
    assert flatbuffer.rename_signatures(content, {"serving_default": "serving_default"}) is content
    renamed = flatbuffer.rename_signatures(content, {"serving_default": "classify"})
    assert flatbuffer.main_signature(renamed) == "classify"


def test_tensor_buffers_are_aligned():
    model = schema.Model.GetRootAs(models.content(models.cnn, "int8"))
    offsets = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength():
            offsets.append(buffer._tab.Vector(buffer._tab.Offset(4)) % 16)
    assert len(offsets) > 3
    assert set(offsets) == {0}


def test_a_damaged_model_is_rejected():
    with pytest.raises(ValueError, match="Expected a .tflite model. Received: 7 bytes"):
        flatbuffer.parse(b"damaged")
