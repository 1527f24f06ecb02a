"""Damaged files: a readable error or valid outputs, never a crash, and no file left behind."""

import pytest

from keras_kd.export import describe
from tests.fuzzing import fuzz


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("intact")
    fuzz.write_models(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("keras", 0), ("keras", 1), ("keras", 2), ("tflite", 0), ("tflite", 1), ("tflite", 2)],
)
def test_a_damaged_file_is_an_error_or_runs(tmp_path, intact, kind, seed):
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(fuzz.damage((intact / f"m.{kind}").read_bytes(), seed))
    assert fuzz.read_file(path, intact)
    if kind == "tflite":
        describe(path)


def test_intact_files_run(intact, tmp_path):
    for name in ("m.keras", "m.tflite"):
        (tmp_path / name).write_bytes((intact / name).read_bytes())
        assert set(fuzz.read_file(tmp_path / name, intact)) == {fuzz.ACCEPTED}
