"""One stage of a compression pipeline, and the folder that keeps what came of it."""

import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans
from keras_kd.compression.result import Result

#: What a stage can do.
TECHNIQUES = ("distill", "prune", "cluster", "quantize_aware", "export")
_ABOUT, _STUDENT, _WEIGHTS = "stage.json", "student.keras", "student.weights.h5"


class Stage:
    """One stage of `kd.compression.pipeline`.

    Args:
        technique: `"distill"` trains the student as it is; `"prune"`, `"cluster"` and
            `"quantize_aware"` are the functions of `kd.compression`; `"export"` is
            `kd.export.to_tflite`.
        **arguments: The arguments of that function, for this stage alone. A `"distill"` takes those
            of `kd.compression.Training`. An `"export"` is int8 unless told otherwise.

    Raises:
        ValueError: When there is no such technique.

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
class Folder:
    """Where a stage is kept: a folder that is there whole or not at all.

    Attributes:
        path: The folder.
        about: What the stage was asked for, to tell it from another one.
    """

    path: Path
    about: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether the stage has been finished.

        Raises:
            ValueError: When the folder holds another stage.
        """
        if not self.path.exists():
            return False
        found = json.loads((self.path / _ABOUT).read_text())["about"]
        differing = sorted(key for key in {*found, *self.about} if self._differs(found, key))
        if differing:
            raise ValueError(
                f"'{self.path}' holds a stage that was asked for otherwise: it differs in "
                f"{differing}. Give the pipeline another directory, or delete this one and those "
                "of the stages after it."
            )
        return True

    def keep(self, write: Callable[[Path], Result]) -> Result:
        """Runs a stage that writes into a folder, and keeps the folder if all goes well.

        Args:
            write: Runs the stage, given a folder for its files.

        Returns:
            What came of it.
        """
        temporary = self.path.with_name(f".{uuid.uuid4().hex}.tmp")
        temporary.mkdir(parents=True)
        try:
            result = write(temporary)
            content = {
                "about": self.about,
                "history": result.history,
                "layers": [dataclasses.asdict(plan) for plan in result.layers],
            }
            (temporary / _ABOUT).write_text(json.dumps(content, indent=1) + "\n")
            os.replace(temporary, self.path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return result

    def load(self, model: keras.Model) -> Result:
        """What came of a finished stage.

        Args:
            model: A model like the one of the stage; its weights are replaced.

        Returns:
            The `Result`.
        """
        content = json.loads((self.path / _ABOUT).read_text())
        plain = self.path / _STUDENT
        model.load_weights(plain if plain.exists() else self.path / _WEIGHTS)
        layers = LayerPlans(LayerPlan(**plan) for plan in content["layers"])
        return Result(model, content["history"], layers)

    def _differs(self, found: Mapping[str, Any], key: str) -> bool:
        return found.get(key, ...) != self.about.get(key, ...)


def save_student(model: keras.Model, folder: Path) -> None:
    """Writes a plain student, which can be loaded without this package."""
    model.save(folder / _STUDENT)


def save_weights(model: keras.Model, folder: Path) -> None:
    """Writes the weights of a student that runs in tf_keras."""
    model.save_weights(folder / _WEIGHTS)


def described(value: Any) -> Any:
    """An argument as JSON can hold it, to tell it from another one; data are told by their kind."""
    if isinstance(value, Mapping):
        return {str(key): described(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, keras.Model):
        return f"{value.name}, {value.count_params()} parameters"
    configured = isinstance(value, keras.losses.Loss | keras.optimizers.Optimizer | keras.Layer)
    return _configuration(value) if configured else getattr(value, "__name__", type(value).__name__)


def _configuration(value: Any) -> dict[str, Any]:
    """The arguments of an object of Keras."""
    config = keras.saving.serialize_keras_object(value)["config"]
    # Keras numbers the names of what has none: the second optimizer is `adam_1`.
    return described({key: part for key, part in config.items() if key != "name"})
