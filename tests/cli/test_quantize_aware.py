from tests.cli import models


def test_the_written_model_is_exported_without_calibration(run, tmp_path):
    code, text, _ = run("quantize-aware teacher.keras --data digits --out aware.keras --epochs 1")
    assert code == 0
    assert "test accuracy" in text
    assert text.rstrip().endswith("Wrote aware.keras.")
    code, numbers, errors = run("export aware.keras --quantization int8 --data digits --json")
    assert code == 0, errors
    (score,) = numbers["verification"]["outputs"].values()
    assert score["agreement"] == 1.0
    assert models.files_in(tmp_path) == ["aware.keras", "aware.tflite"]
