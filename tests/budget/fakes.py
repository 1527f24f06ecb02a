"""Results without trainings, and a search whose trainings take no time."""

from pathlib import Path

from keras_kd.budget.compression import Compression
from keras_kd.budget.files import CompressedFile
from keras_kd.budget.limits import Limits
from keras_kd.budget.schedule import Config, Result, Slot
from keras_kd.export.tflite_model import TFLiteModel


def config(name="a", **changes):
    return Config(**{"family": name, "limits": {}, "loss": "DIST", "rate": 0.01, **changes})


def configs(count):
    return [config(f"f{i}") for i in range(count)]


def result(slot, score=0.5, met=False, **values):
    return Result(slot, score, met, {"params": {}, "seconds": 2.0, **values})


def file(score=0.9, size=1000, latency_us=10.0, name="2-00-int8", **changes):
    values = {
        "path": Path(f"files/{name}.tflite"),
        "source": "2-00",
        "quantization": "int8",
        "quantization_aware": False,
        "size": size,
        "parameters": 800,
        "macs": 5000,
        "latency_us": latency_us,
        "score": score,
        "model_score": 0.91,
        "test_score": 0.88,
    }
    return CompressedFile(**{**values, **changes})


def compression(folder, **changes):
    chosen, other = file(), file(0.85, 600, 8.0, "2-01-int8", source="2-01")
    slots = [Slot(f"{stage}-00", config(), 1 / 12, stage == 2, 3) for stage in (0, 2)]
    values = {
        "best": TFLiteModel(folder / "best.tflite", "int8", ("x",), ("y",)),
        "chosen": chosen,
        "student": None,
        "front": [other, chosen],
        "files": [other, chosen],
        "results": [result(slot, 0.8, keras_score=0.81, parameters=800) for slot in slots],
        "teacher": {
            **{"score": 0.93, "test_score": 0.92, "size": 9000, "latency_us": 40.0},
            **{"macs": 50_000, "parameters": 2000, "files": []},
        },
        "limits": Limits(max_bytes=1200, max_drop=4),
        "met": True,
        "score_name": "accuracy",
        "test": "100 samples of test data that the search did not use",
        "notes": ["2-00 as float16: <reason>"],
        "seconds": 61.0,
        "interrupted": False,
        "report": folder / "report.html",
    }
    return Compression(**{**values, **changes})
