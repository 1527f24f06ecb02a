"""Damaged files: a clear error, or an answer; never the end of the process, and nothing left."""

import pytest

from keras_kd.export import describe
from tests.fuzzing import fuzz


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    fuzz.write_models(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "seed"),
    [*(("keras", seed) for seed in range(6)), *(("tflite", seed) for seed in range(6))],
)
def test_damage_is_an_error_of_ours_and_leaves_nothing(tmp_path, whole, kind, seed):
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(fuzz.damaged((whole / f"m.{kind}").read_bytes(), seed))
    assert fuzz.ask(path, whole)
    if kind == "tflite":
        describe(path)


def test_whole_files_are_answered(whole, tmp_path):
    for name in ("m.keras", "m.tflite"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
        assert set(fuzz.ask(tmp_path / name, whole)) == {"fine"}
