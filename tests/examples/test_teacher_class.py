"""The examples of the Teacher-Class Network, which need TFDS data sets, on a few samples."""

import keras
import pytest

DATA = {
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "imdb": "imdb_reviews",
    "cifar10": "cifar10",
    "camvid": "camvid_small",
}


@pytest.mark.dataset
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DATA)
def test_students_are_trained_assembled_and_saved(name, tfds_set, tmp_path, run_example):
    tfds_set(DATA[name])
    printed = run_example(f"teacher_class_{name}.py", "--quick", "--out", tmp_path, eager=True)
    assert "students, tuned" in printed
    parameters = keras.models.load_model(tmp_path / "model.keras", compile=False).count_params()
    assert f"{parameters:,} parameters" in printed
