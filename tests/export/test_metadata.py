"""Description of a file in its metadata: written, read back, absent."""

import io
import zipfile

from keras_kd.export import describe, to_tflite
from keras_kd.export.metadata import Description, describe_content
from tests.export import models

LABELS = tuple(f"class {i}" for i in range(10))


def test_the_description_is_read_back_and_the_same_model_gives_the_same_bytes(tmp_path):
    options = {"labels": LABELS, "normalization": (1, 2), "answer": "softmax"}
    model = models.cnn()
    path, again = (
        to_tflite(model, tmp_path / name, "float16", **options).path
        for name in ("m.tflite", "again.tflite")
    )
    assert path.read_bytes() == again.read_bytes()
    description = describe(path)
    (output,) = description.outputs["serving_default"]
    assert description.quantization == "float16"
    assert description.labels == {output: LABELS}
    assert description.answers == {output: "softmax"}
    (normalization,) = description.normalization.values()
    assert (normalization.mean, normalization.std) == ((1,), (2,))
    assert not description.raw_inputs
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert tuple(archive.read("labels.txt").decode().splitlines()) == LABELS


def test_a_file_of_another_program_has_an_empty_description():
    content = models.content(models.cnn)
    assert describe_content(content).quantization == "float32"
    for replacement in (b"anothers", b"keras\xffkd"):
        assert describe_content(content.replace(b"keras_kd", replacement)) == Description()
