"""A stage of a compression pipeline, and the folder that stores its result."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.files import atomic_folder, read_json, write_json

#: The techniques of a stage.
TECHNIQUES = ("distill", "prune", "cluster", "quantize_aware", "export")
_ABOUT, _STUDENT, _WEIGHTS = "stage.json", "student.keras", "student.weights.h5"


class Stage:
    """A stage of `kd.compression.pipeline`.

    Args:
        technique: `"distill"` trains the student without compressing it; `"prune"`, `"cluster"`,
            and `"quantize_aware"` are the functions of `kd.compression`; `"export"` is
            `kd.export.to_tflite`.
        **arguments: Arguments of that function for this stage alone, or of
            `kd.compression.Training` for `"distill"`. An `"export"` is int8 by default.

    Raises:
        ValueError: If the technique is unknown.

    Example:
        >>> kd.compression.Stage("prune", sparsity=0.8, epochs=10)
    """

    def __init__(self, technique: str, **arguments: Any) -> None:
        if technique not in TECHNIQUES:
            raise ValueError(
                f"Stage: `technique` must be one of {TECHNIQUES}. Received: technique={technique!r}"
            )
        self.technique = technique
        self.arguments = arguments


@dataclass(frozen=True)
class StageFolder:
    """The folder of a stage, which exists completely or not at all.

    Attributes:
        path: The folder.
        about: The configuration of the stage.
    """

    path: Path
    about: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether the stage is finished.

        Raises:
            ValueError: If the folder contains a stage with another configuration.
        """
        if not self.path.exists():
            return False
        found = read_json(self.path / _ABOUT)["about"]
        keys = {*found, *self.about}
        differing = sorted(k for k in keys if found.get(k, ...) != self.about.get(k, ...))
        if differing:
            raise ValueError(
                f"'{self.path}' contains a stage with another configuration; it differs in "
                f"{differing}. Pass another directory to the pipeline, or delete this folder and "
                "those of the stages after it."
            )
        return True

    def run(self, write: Callable[[Path], Result]) -> Result:
        """Run a stage and store its result, unless it fails."""
        with atomic_folder(self.path) as folder:
            result = write(folder)
            content = {
                "about": self.about,
                "history": result.history,
                "layers": [dataclasses.asdict(plan) for plan in result.layers],
            }
            write_json(folder / _ABOUT, content)
        return result

    def load(self, model: keras.Model) -> Result:
        """Return the result of a finished stage."""
        content = read_json(self.path / _ABOUT)
        student = self.path / _STUDENT
        model.load_weights(student if student.exists() else self.path / _WEIGHTS)
        layers = LayerPlans(LayerPlan(**plan) for plan in content["layers"])
        return Result(model, content["history"], layers)


def save_student(model: keras.Model, folder: Path) -> None:
    """Save a plain student, which can be loaded without this package."""
    model.save(folder / _STUDENT)


def save_weights(model: keras.Model, folder: Path) -> None:
    """Save the weights of a student that runs in tf_keras."""
    model.save_weights(folder / _WEIGHTS)


def describe(value: Any) -> Any:
    """Return a description of an argument as JSON, to compare it; data only by its type."""
    if isinstance(value, Mapping):
        return {str(key): describe(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, keras.losses.Loss | keras.optimizers.Optimizer | keras.Layer):
        return _describe_keras_object(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return getattr(value, "__name__", type(value).__name__)


def _describe_keras_object(value: Any) -> Any:
    if isinstance(value, keras.Model):
        return f"{value.name}, {value.count_params()} parameters"
    config = keras.saving.serialize_keras_object(value)["config"]
    # Keras numbers default names: the second optimizer is `adam_1`.
    return describe({key: part for key, part in config.items() if key != "name"})
