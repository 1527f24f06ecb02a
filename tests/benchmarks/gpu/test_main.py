"""The quick form of the whole benchmark, and its continuation."""

import json

import pytest

pytest.importorskip("jax", reason="the GPU benchmark needs JAX")
import keras

if keras.config.backend() != "jax":
    pytest.skip("the GPU benchmark needs KERAS_BACKEND=jax", allow_module_level=True)

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.cifar100 import METHODS, OTHER_TEACHERS


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_quick_form_runs_every_method_and_continues(tmp_path, capsys):
    out, work = tmp_path / "out", tmp_path / "work"
    arguments = ["--quick", "--minutes", "30", "--work", str(work)]
    assert main([*arguments, "--out", str(out)]) == 0
    results = read(out, "gpu_cifar100")
    methods = {run["cell"]["method"] for run in results["runs"]}
    assert methods == {"teacher", *METHODS, *OTHER_TEACHERS}
    assert all(0 <= run["metrics"]["accuracy"] <= 1 for run in results["runs"])
    assert "unofficial split" in results["data"]
    (speed,) = read(out, "gpu_speed")["runs"]
    assert {"live", "cached", "keras", "call_per_step"} <= set(speed["metrics"])
    assert sorted(path.name for path in out.glob("*.npz")) == [
        f"tiny_teacher_{number}.npz" for number in range(3)
    ]

    again = tmp_path / "again"
    assert main([*arguments, "--out", str(again), "--parts", "accuracy"]) == 0
    assert read(again, "gpu_cifar100")["runs"] == results["runs"]
    assert len(read(again, "gpu_cifar100")["occasions"]) == 2


def test_no_run_is_started_without_time(tmp_path, capsys):
    arguments = ["--quick", "--parts", "accuracy", "--minutes", "0", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert read(tmp_path, "gpu_cifar100")["runs"] == []
    assert "no time left" in capsys.readouterr().out
