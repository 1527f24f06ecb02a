"""TensorFlow Lite metadata: labels and normalization as the published schema has them."""

import flatbuffers
import pytest
from flatbuffers import number_types

from keras_kd.export.metadata import Description
from keras_kd.export.pre_post_processing import Normalization
from keras_kd.export.tflite_metadata import tflite_metadata
from tests.export import models


class Table:
    """A table of a flatbuffer, read by field numbers."""

    def __init__(self, buffer, position):
        self._table = flatbuffers.table.Table(buffer, position)

    @classmethod
    def root(cls, buffer):
        return cls(
            buffer, flatbuffers.encode.Get(number_types.UOffsetTFlags.packer_type, buffer, 0)
        )

    def _offset(self, field):
        return self._table.Offset(4 + 2 * field)

    def tables(self, field):
        start = self._table.Vector(self._offset(field))
        count = self._table.VectorLen(self._offset(field))
        positions = [self._table.Indirect(start + 4 * i) for i in range(count)]
        return [Table(self._table.Bytes, position) for position in positions]

    def table(self, field):
        position = self._table.Indirect(self._table.Pos + self._offset(field))
        return Table(self._table.Bytes, position)

    def text(self, field):
        return self._table.String(self._table.Pos + self._offset(field)).decode()

    def byte(self, field):
        offset = self._offset(field)
        flags = number_types.Uint8Flags
        return self._table.Get(flags, self._table.Pos + offset) if offset else 0

    def floats(self, field):
        flags = number_types.Float32Flags
        return self._table.GetVectorAsNumpy(flags, self._offset(field)).tolist()


@pytest.mark.parametrize(("raw_inputs", "mean", "std"), [(False, [1], [2]), (True, [0], [1])])
def test_an_application_finds_normalization_and_labels(raw_inputs, mean, std):
    content = models.content(models.cnn)
    outputs = models.export(models.cnn).outputs
    inputs = models.export(models.cnn).inputs
    description = Description(
        inputs=inputs,
        normalization={inputs[0]: Normalization((1.0,), (2.0,))},
        raw_inputs=raw_inputs,
        labels={outputs[0]: ("a", "b")},
    )
    buffer, files = tflite_metadata(content, description, {inputs[0]: (None, 8, 8, 1)})
    assert files == {"labels.txt": "a\nb"}
    assert buffer[4:8] == b"M001"
    (graph,) = Table.root(bytearray(buffer)).tables(3)
    (image,) = graph.tables(2)
    (scores,) = graph.tables(3)
    assert (image.text(0), scores.text(0)) == (inputs[0], outputs[0])
    assert image.table(3).byte(0) == 2  # ImageProperties
    assert image.table(3).table(1).byte(0) == 2  # Grayscale
    (unit,) = image.tables(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == (mean, std)
    (file,) = scores.tables(6)
    assert (file.text(0), file.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert scores.table(3).byte(0) == 1  # FeatureProperties


def test_each_output_has_its_own_label_file():
    file = models.export(models.two_in_two_out)
    description = Description(
        inputs=file.inputs,
        labels={"z": tuple("abcde"), "y": ("no", "yes")},
        answers={"y": "argmax"},
    )
    shapes = {"a": (None, 3), "b": (None, 4)}
    buffer, files = tflite_metadata(file.path.read_bytes(), description, shapes)
    assert files == {"labels_z.txt": "a\nb\nc\nd\ne", "labels_y.txt": "no\nyes"}
    outputs = Table.root(bytearray(buffer)).tables(3)[0].tables(3)
    kinds = {output.text(0): output.tables(6)[0].byte(2) for output in outputs}
    assert kinds == {"z": 2, "y": 3}  # Axis labels, value labels.
