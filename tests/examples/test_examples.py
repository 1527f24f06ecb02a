"""The examples that need TFDS sets, each from end to end on a few samples."""

import keras
import pytest

from tests.examples.example import run_example

CLASSES = {
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "imdb": "imdb_reviews",
    "cifar10": "cifar10",
    "camvid": "camvid_small",
}


@pytest.mark.dataset
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_students_takes_the_teachers_place(name, tfds_set, tmp_path):
    tfds_set(CLASSES[name])
    shown = run_example(f"teacher_class_{name}.py", "--quick", "--out", tmp_path)
    assert "class, tuned" in shown
    parameters = keras.models.load_model(tmp_path / "class.keras", compile=False).count_params()
    assert f"{parameters:,}" in shown
