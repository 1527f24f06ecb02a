import keras
import numpy as np

from tests.cli import models


def test_the_written_student_is_sparse_and_its_scores_are_printed(run, tmp_path):
    line = "prune student.keras --teacher teacher.keras --data digits --out pruned.keras --epochs 2"
    code, numbers, _ = run(f"{line} --sparsity 0.5 --json")
    assert code == 0
    assert models.files_in(tmp_path) == ["pruned.keras"]
    student = keras.models.load_model("pruned.keras")
    for layer in student.layers[1:]:
        assert np.mean(layer.kernel.numpy() == 0) == 0.5
    assert {plan["action"] for plan in numbers["layers"]} == {"kept", "pruned"}
    assert numbers["after_accuracy"] > numbers["before_accuracy"]
