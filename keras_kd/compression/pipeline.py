"""Several compressions one after the other, as one call that goes on where it was stopped."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.compression.cluster import cluster
from keras_kd.compression.layer_plan import LayerPlans
from keras_kd.compression.prune import prune
from keras_kd.compression.quantize_aware import quantize_aware, ready_to_quantize
from keras_kd.compression.result import Result
from keras_kd.compression.stage import Folder, Stage, described, save_student, save_weights
from keras_kd.compression.tfmot.convert import read
from keras_kd.compression.training import Training
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.models.copy import copy_model

_FILE, _FACTS = "student.tflite", "file.json"
_SAMPLES = 300


@dataclass(frozen=True)
class PipelineResult:
    """What comes of a pipeline.

    Attributes:
        model: The student of the last stage.
        history: By name what was measured in each epoch of each stage, `None` where it was not;
            `"stage"` and `"epoch"` say which.
        stages: The `Result` of each stage that trained.
        file: The exported file, if there was an export; of one that was there already, without its
            verification.
    """

    model: keras.Model
    history: dict[str, list[Any]]
    stages: tuple[Result, ...]
    file: TFLiteModel | None = None


def pipeline(
    stages: Sequence[Stage],
    student: keras.Model,
    directory: str | Path,
    *,
    data: Any,
    monitor: str | None = "auto",
    **training: Any,
) -> PipelineResult:
    """Distils, prunes, clusters, quantizes and exports a student, each stage after the last.

    Each stage starts from the best epoch of the one before it. What came of a stage is kept in a
    folder of its own in the directory, whole or not at all: called again, the pipeline goes on with
    the first stage that is not there yet. The folders of stages that gave a plain model hold it as
    `student.keras`.

    Args:
        stages: The stages, such as `[Stage("distill", epochs=20), Stage("prune", epochs=10),
            Stage("quantize_aware", epochs=5), Stage("export")]`. After `"quantize_aware"` there can
            only be an `"export"`, which comes last.
        student: A built Functional or Sequential `keras.Model`; it stays as it is.
        directory: Where to keep the stages; made if it is not there.
        data: What to train on, in all stages that name no data of their own; see
            `kd.compression.Training`. It also calibrates an export.
        monitor: The entry of the history that tells the best epoch of a stage, `None` for the last
            epoch. Defaults to `"val_loss"` where there is one.
        **training: Other arguments of `kd.compression.Training` for all stages that name none of
            their own: `loss`, `teachers`, `optimizer`, `validation_data`, ...

    Returns:
        The `PipelineResult`.

    Raises:
        ValueError: When the stages cannot follow each other, an argument is wrong, or the directory
            holds other stages.

    Example:
        >>> Stage = kd.compression.Stage
        >>> result = kd.compression.pipeline(
        ...     [
        ...         Stage("distill", epochs=20, optimizer=keras.optimizers.Adam(5e-3)),
        ...         Stage("prune", sparsity=0.8, epochs=10),
        ...         Stage("quantize_aware", epochs=5),
        ...         Stage("export"),
        ...     ],
        ...     student, "build/student", data=train, validation_data=validation,
        ...     teachers=teacher, loss=loss, metrics=["accuracy"],
        ... )
        >>> result.file.size
    """
    _check(stages)
    read(student)  # Refuses what no stage could take.
    common = {"data": data, "monitor": monitor, **training}
    results, file, about = [], None, {}
    model = copy_model(student)
    for number, stage in enumerate(stages, 1):
        arguments = _arguments(stage, common)
        about = {
            "technique": stage.technique,
            "arguments": described(arguments),
            "student": [list(weight.shape) for weight in student.weights],
            "before": about,
        }
        folder = Folder(Path(directory) / f"{number:02}-{stage.technique}", about)
        if stage.technique == "export":
            file = _export(model, folder, arguments)
        else:
            results.append(_train(stage.technique, model, folder, arguments))
            model = results[-1].model
    return PipelineResult(model, _history(stages, results), tuple(results), file)


def _check(stages: Sequence[Stage]) -> None:
    if not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError(
            f"`stages` must be a list of kd.compression.Stage. Received: stages={stages!r}"
        )
    for before, after in itertools.pairwise(stage.technique for stage in stages):
        if before == "export" or (before == "quantize_aware" and after != "export"):
            raise ValueError(
                "Nothing but an export can follow on 'quantize_aware', and nothing on 'export'. "
                f"Received: '{after}' after '{before}'"
            )


def _arguments(stage: Stage, common: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a stage, its own before those of all."""
    if stage.technique == "export":
        return {"quantization": "int8", **_export_data(common), **stage.arguments}
    merged = {**common, **stage.arguments}
    if merged["monitor"] == "auto":
        judged = merged.get("validation_data") is not None and merged.get("loss") is not None
        merged["monitor"] = "val_loss" if judged else None
    return merged


def _export_data(common: Mapping[str, Any]) -> dict[str, Any]:
    """What an export calibrates with, and what it is verified with."""
    x = list(Training(data=common["data"], epochs=1, loss="mse").samples(_SAMPLES))
    calibration = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *x)
    found = {"calibration": calibration}
    if common.get("validation_data") is not None:
        found["verification"] = common["validation_data"]
    return found


def _train(
    technique: str, model: keras.Model, folder: Folder, arguments: Mapping[str, Any]
) -> Result:
    """The result of a stage: run now, or loaded."""
    if folder.done:
        return folder.load(_like(technique, model, arguments))
    run = {"distill": _distill, "prune": prune, "cluster": cluster}.get(technique, quantize_aware)
    save = save_weights if technique == "quantize_aware" else save_student

    def write(path: Path) -> Result:
        result = run(model, **arguments)
        save(result.model, path)
        return result

    return folder.keep(write)


def _like(technique: str, model: keras.Model, arguments: Mapping[str, Any]) -> keras.Model:
    """A model of the kind that a stage makes of one, its weights still to come."""
    if technique != "quantize_aware":
        return copy_model(model)
    own = ("preserve_sparsity", "preserve_clusters", "custom")
    form = {name: arguments[name] for name in own if name in arguments}
    plan = Training(**{name: value for name, value in arguments.items() if name not in own})
    return ready_to_quantize(model, plan, **form).shell.model


def _distill(student: keras.Model, **training: Any) -> Result:
    """Trains a copy of a student as it is."""
    model = copy_model(student)
    return Result(model, Training(**training).distil(model), LayerPlans())


def _export(model: keras.Model, folder: Folder, arguments: Mapping[str, Any]) -> TFLiteModel:
    path = folder.path / _FILE
    if folder.done:
        facts = json.loads((folder.path / _FACTS).read_text())
        inputs, outputs = tuple(facts["inputs"]), tuple(facts["outputs"])
        return TFLiteModel(path, facts["quantization"], inputs, outputs)
    made = []

    def write(where: Path) -> Result:
        file = to_tflite(model, where / _FILE, **arguments)
        facts = {name: getattr(file, name) for name in ("quantization", "inputs", "outputs")}
        (where / _FACTS).write_text(json.dumps(facts) + "\n")
        made.append(file)
        return Result(model, {}, LayerPlans())

    folder.keep(write)
    return dataclasses.replace(made[0], path=path)


def _history(stages: Sequence[Stage], results: Sequence[Result]) -> dict[str, list[Any]]:
    """One history of all the stages."""
    trained = [stage.technique for stage in stages if stage.technique != "export"]
    names = list(dict.fromkeys(name for result in results for name in result.history))
    history = {"stage": [], "epoch": [], **{name: [] for name in names}}
    for technique, result in zip(trained, results, strict=True):
        epochs = max(map(len, result.history.values()), default=0)
        history["stage"] += [technique] * epochs
        history["epoch"] += range(1, epochs + 1)
        for name in names:
            history[name] += result.history.get(name, [None] * epochs)
    return history
