"""The examples that need TFDS sets, each from end to end on a few samples."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
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
    script = EXAMPLES / f"teacher_class_{name}.py"
    command = [sys.executable, str(script), "--quick", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "class, tuned" in result.stdout
    parameters = keras.models.load_model(tmp_path / "class.keras", compile=False).count_params()
    assert f"{parameters:,}" in result.stdout
