"""A stage of a compression pipeline, and the folder that stores its result."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.files import atomic_folder, read_json, text_fields, write_json
from keras_kd.recipes.fingerprints import differing_names

#: The techniques of a stage.
TECHNIQUES = ("distill", "shrink", "prune", "cluster", "quantize_aware", "export")
#: Version of the configuration that a stage folder records.
VERSION = 2
_SEED = (
    " Random initial weights are others in each process: call keras.utils.set_random_seed before "
    "you build a model, or load its weights."
)
_ABOUT, _STUDENT, _WEIGHTS = "stage.json", "student.keras", "student.weights.h5"


class Stage:
    """A stage of `kd.compression.pipeline`.

    Args:
        technique: `"distill"` trains the student without compressing it; `"shrink"` removes
            channels with `kd.compression.shrink` and trains what remains; `"prune"`, `"cluster"`,
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

    def __repr__(self) -> str:
        return text_fields("Stage", {"technique": self.technique, **self.arguments})


@dataclass(frozen=True)
class StageFolder:
    """The folder of a stage, which exists completely or not at all.

    Attributes:
        path: The folder.
        about: The configuration of the stage: `version`, `technique`, `arguments`, ....
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
        advice = (
            "Pass another directory to the pipeline, or delete this folder and those of the stages "
            "after it."
        )
        if found.get("version") != VERSION:
            raise ValueError(
                f"'{self.path}' contains a stage that another version of keras_kd wrote, which "
                f"does not record the student, the teachers and the data in this form. {advice}"
            )
        differing = differing_names(found, self.about)
        if differing:
            seed = "student" in differing or "teachers" in differing
            raise ValueError(
                f"'{self.path}' contains a stage with another configuration; it differs in "
                f"{differing}. {advice}{_SEED if seed else ''}"
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
