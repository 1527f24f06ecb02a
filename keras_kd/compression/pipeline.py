"""Several compression stages in one call, which resumes after an interruption."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_kd.compression.cluster import cluster
from keras_kd.compression.layer_plan import LayerPlans, Result
from keras_kd.compression.prune import prune
from keras_kd.compression.quantize_aware import build_for_training, quantize_aware
from keras_kd.compression.shrink import ShrinkResult, shrink
from keras_kd.compression.stage import VERSION, Stage, StageFolder, save_student, save_weights
from keras_kd.compression.tfmot.convert import open_student
from keras_kd.compression.training import Training
from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.distillers.default_losses import as_losses
from keras_kd.export.tflite import to_tflite
from keras_kd.export.tflite_model import TFLiteModel
from keras_kd.files import read_json, text_fields, write_json
from keras_kd.models.copy import copy_model
from keras_kd.models.graph import require_built
from keras_kd.models.user_warnings import warn_user
from keras_kd.recipes.fingerprints import (
    Fingerprints,
    has_content,
    has_preprocessed_samples,
)
from keras_kd.teachers.knowledge import joined_spec
from keras_kd.teachers.teacher import as_teachers
from keras_kd.training.keywords import explain_keywords, keyword_names, reject_unknown
from keras_kd.training.weight_rule import KeepZeros, pruned_variables

_FILE, _FACTS = "student.tflite", "file.json"
_SAMPLES = 300  # For the calibration of an export.
#: The arguments that are data.
_DATA = ("data", "validation_data")
#: The arguments of `shrink` beside those of `Training`, and those that its Taylor scores share.
_BUDGETS = ("max_parameters", "max_macs", "max_bytes")
_OF_SHRINK = ("ratio", *_BUDGETS, "depth", "importance", "skip", "seed")
_OF_TAYLOR = ("data", "loss", "teachers", "losses", "student_loss_weight", "batch_size")


def _distill(student: keras.Model, **training: Any) -> Result:
    model = copy_model(student)
    rule = KeepZeros(pruned_variables(model.trainable_variables))
    return Result(model, Training(**training).distill(model, rule), LayerPlans())


def _shrink(student: keras.Model, **arguments: Any) -> Result:
    """Shrink a student, and train it with the other arguments."""
    result = _without_training(student, arguments)
    training = {name: x for name, x in arguments.items() if name not in _OF_SHRINK}
    history = Training(**training).distill(result.model)
    return Result(result.model, history, result.layers)


def _without_training(student: keras.Model, arguments: Mapping[str, Any]) -> ShrinkResult:
    """Shrink a student."""
    taylor = arguments.get("importance") == "taylor"
    names = (*_OF_SHRINK, *_OF_TAYLOR) if taylor else _OF_SHRINK
    return shrink(student, **{name: arguments[name] for name in names if name in arguments})


#: By technique, the function that runs a stage, and what else it gets its arguments from.
_FUNCTIONS = {
    "distill": (_distill, Training),
    "prune": (prune, Training),
    "cluster": (cluster, Training),
    "quantize_aware": (quantize_aware, Training),
    "shrink": (_shrink, shrink, Training),
    "export": (to_tflite,),
}


@dataclass(frozen=True)
class PipelineResult(HtmlTables):
    """Result of a pipeline.

    Attributes:
        model: The student of the last stage.
        history: The values of each epoch of all stages by name, `None` where a stage does not have
            a value; `"stage"` and `"epoch"` identify the epoch.
        stages: The `Result` of each training stage.
        file: The exported file, if there was an export; without its verification if the file was
            exported by an earlier call.
    """

    model: keras.Model
    history: dict[str, list[Any]]
    stages: tuple[Result, ...]
    file: TFLiteModel | None = None

    def __repr__(self) -> str:
        header = text_fields("PipelineResult", {"model": self.model.name})
        parts = [*self.stages, *filter(None, [self.file])]
        return "\n".join([header, *(f"  {part!r}" for part in parts)])

    def html_tables(self) -> Mapping[str, Table]:
        """Return the tables of each stage and of the file."""
        tables = {
            f"Stage {number}: {caption}": table
            for number, stage in enumerate(self.stages, 1)
            for caption, table in stage.html_tables().items()
        }
        return tables if self.file is None else {**tables, **self.file.html_tables()}


@explain_keywords(Training)
def pipeline(
    stages: Sequence[Stage],
    student: keras.Model,
    directory: str | Path,
    *,
    data: Any,
    monitor: str | None = "auto",
    **training: Any,
) -> PipelineResult:
    """Distill, shrink, prune, cluster, quantize, and export a student, one stage after the other.

    Each stage starts from the best epoch of the previous one. The result of each finished stage is
    stored in its own folder in `directory`, so another call resumes with the first unfinished
    stage. Folders of stages with a plain model contain it as `student.keras`.

    A finished stage is reused for the same stages, arguments, student, teachers and data only;
    other ones are rejected, and nothing is overwritten. Models are compared by configuration and
    weights, arrays completely, and a `tf.data.Dataset` by its structure, its number of batches and
    its first 512 samples, or all if their order is random and there are less than 65,536. For this
    it is read twice; what differs from time to time, such as augmented images, is not compared, and
    a warning says if nothing of the content could be. Callbacks are compared by their class.

    Args:
        stages: The stages, such as `[Stage("distill", epochs=20), Stage("prune", epochs=10),
            Stage("quantize_aware", epochs=5), Stage("export")]`. Only an `"export"` can follow
            `"quantize_aware"`, and it must be the last stage.
        student: A built `keras.Model`, which is not changed. Stages with `engine="tfmot"` need a
            Functional or Sequential one.
        directory: Where to store the stages; created if it does not exist.
        data: Training data of all stages that do not set their own; see `kd.compression.Training`.
            It also calibrates an export.
        monitor: The entry of the history that determines the best epoch of a stage, or `None` for
            the last epoch. Defaults to `"val_loss"` if there is one.
        **training: Other arguments of `kd.compression.Training` for all stages that do not set
            their own: `loss`, `teachers`, `optimizer`, `validation_data`, ...

    Returns:
        The `PipelineResult`.

    Raises:
        ValueError: If the stages cannot follow each other, an argument is invalid, or the directory
            contains other stages.

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
    require_built(student, "The student")
    if any(stage.arguments.get("engine") == "tfmot" for stage in stages):
        open_student(student)  # Rejects a student that cannot be converted.
    common = {"data": data, "monitor": monitor, **training}
    _resolve_layers(stages, student, common)
    _rehearse_shrinking(stages, student)
    folders = _make_folders(stages, student, Path(directory), common)
    _warn_of_unknown_data(folders)
    results, file, model = [], None, copy_model(student)
    for stage, folder in zip(stages, folders, strict=True):
        arguments = _arguments(stage, common)
        if stage.technique == "export":
            file = _export(model, folder, common, arguments)
        else:
            results.append(_train(stage.technique, model, folder, arguments))
            model = results[-1].model
    return PipelineResult(model, _merge_history(stages, results), tuple(results), file)


def _resolve_layers(
    stages: Sequence[Stage], student: keras.Model, common: Mapping[str, Any]
) -> None:
    """Look up the layers that losses got as taps: each stage trains a copy of the student."""
    for arguments in (common, *(stage.arguments for stage in stages)):
        if arguments.get("losses") is not None:
            teachers = arguments.get("teachers", common.get("teachers"))
            original = as_teachers(teachers)[0].original if teachers else None
            for loss in as_losses(arguments["losses"]):
                loss.resolve_taps([original], [student])


def _rehearse_shrinking(stages: Sequence[Stage], student: keras.Model) -> None:
    """Shrink the untrained student, so that nothing is trained if a stage cannot be run.

    Raises:
        ValueError: As `shrink`.
    """
    for stage in stages:
        if stage.technique == "shrink":
            arguments = {name: stage.arguments.get(name) for name in _OF_SHRINK}
            if arguments["importance"] == "taylor":
                arguments["importance"] = "random"  # The sizes are the same.
            given = {name: value for name, value in arguments.items() if value is not None}
            student = shrink(student, **given).model


def _make_folders(
    stages: Sequence[Stage], student: keras.Model, directory: Path, common: Mapping[str, Any]
) -> list[StageFolder]:
    """Return the folder of each stage; what it depends on is described before any training."""
    fingerprints = Fingerprints(common["data"])
    folders, before = [], {"student": fingerprints.describe(student)}
    for number, stage in enumerate(stages, 1):
        arguments = _arguments(stage, common)
        if stage.technique == "export":
            arguments = {**{name: common.get(name) for name in _DATA}, **arguments}
        arguments.pop("verbose", None)
        about = {
            "version": VERSION,
            "technique": stage.technique,
            "arguments": fingerprints.describe(arguments),
            **before,
        }
        folders.append(StageFolder(directory / f"{number:02}-{stage.technique}", about))
        before = {"student": before["student"], "stages before": about}
    return folders


def _warn_of_unknown_data(folders: Sequence[StageFolder]) -> None:
    """Warn if finished stages will be reused for data whose content cannot be compared.

    Raises:
        ValueError: If a folder contains a stage with another configuration.
    """
    for folder in [folder for folder in folders if folder.done]:
        described = folder.about["arguments"]
        unknown = [name for name in _DATA if not has_content(described.get(name))]
        if unknown:
            warn_user(
                f"The finished stage in '{folder.path}' is reused. Of {unknown} only the structure "
                "could be compared with its data, because the samples come in random order or "
                "differ each time. Pass another directory if they are others."
            )
        if not has_preprocessed_samples(described.get("teachers")):
            warn_user(
                f"The finished stage in '{folder.path}' is reused. The preprocessing of its "
                "teachers could be compared on made-up samples only, because those of the data "
                "differ each time. Pass another directory if it is another one."
            )
            unknown = True
        if unknown:
            return


def _check(stages: Sequence[Stage]) -> None:
    if not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError(
            f"`stages` must be a list of kd.compression.Stage. Received: stages={stages!r}"
        )
    for stage in stages:
        functions = _FUNCTIONS[stage.technique]
        known = [name for function in functions for name in keyword_names(function)]
        reject_unknown(f"Stage '{stage.technique}'", stage.arguments, known)
    for before, after in itertools.pairwise(stage.technique for stage in stages):
        if before == "export" or (before == "quantize_aware" and after != "export"):
            raise ValueError(
                "Only an export can follow 'quantize_aware', and nothing can follow 'export'. "
                f"Received: '{after}' after '{before}'"
            )


def _arguments(stage: Stage, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a stage; its own take precedence over the common ones."""
    if stage.technique == "export":
        return {"quantization": "int8", **stage.arguments}
    merged = {**common, **stage.arguments}
    if merged["monitor"] == "auto":
        merged["monitor"] = "val_loss" if _has_validation_loss(merged) else None
    return merged


def _has_validation_loss(arguments: Mapping[str, Any]) -> bool:
    """Return whether the history of a stage will have `val_loss`; see `Distiller`."""
    validation = arguments.get("validation_data")
    if validation is None or arguments.get("loss") is not None:
        return validation is not None
    teachers = as_teachers(arguments.get("teachers") or [])
    cached = any(teacher.is_cached for teacher in teachers)
    return bool(teachers) and (not cached or joined_spec(validation) is not None)


def _export_data(common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the calibration and verification data of an export."""
    x = list(Training(data=common["data"], epochs=1, loss="mse").sample_batches(_SAMPLES))
    calibration = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *x)
    found = {"calibration": calibration}
    if common.get("validation_data") is not None:
        found["verification"] = common["validation_data"]
    return found


def _train(
    technique: str, model: keras.Model, folder: StageFolder, arguments: Mapping[str, Any]
) -> Result:
    """Run a training stage, or load its result."""
    if folder.done:
        return folder.load(_build_result_model(technique, model, arguments))
    run = _FUNCTIONS[technique][0]
    in_tf_keras = technique == "quantize_aware" and arguments.get("engine") == "tfmot"
    save = save_weights if in_tf_keras else save_student

    def write(path: Path) -> Result:
        result = run(model, **arguments)
        save(result.model, path)
        return result

    return folder.run(write)


def _build_result_model(
    technique: str, model: keras.Model, arguments: Mapping[str, Any]
) -> keras.Model:
    """Return a model with the structure that a stage produces, to load its weights into."""
    if technique == "shrink":
        return _without_training(model, arguments).model
    if technique != "quantize_aware":
        return copy_model(model)
    return build_for_training(model, **arguments)


def _export(
    model: keras.Model,
    folder: StageFolder,
    common: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> TFLiteModel:
    path = folder.path / _FILE
    if folder.done:
        facts = read_json(folder.path / _FACTS)
        inputs, outputs = tuple(facts["inputs"]), tuple(facts["outputs"])
        return TFLiteModel(path, facts["quantization"], inputs, outputs)
    files = []

    def write(target: Path) -> Result:
        file = to_tflite(model, target / _FILE, **{**_export_data(common), **arguments})
        facts = {name: getattr(file, name) for name in ("quantization", "inputs", "outputs")}
        write_json(target / _FACTS, facts)
        files.append(file)
        return Result(model, {}, LayerPlans())

    folder.run(write)
    return dataclasses.replace(files[0], path=path)


def _merge_history(stages: Sequence[Stage], results: Sequence[Result]) -> dict[str, list[Any]]:
    """Return one history of all training stages."""
    techniques = [stage.technique for stage in stages if stage.technique != "export"]
    names = list(dict.fromkeys(name for result in results for name in result.history))
    history = {"stage": [], "epoch": [], **{name: [] for name in names}}
    for technique, result in zip(techniques, results, strict=True):
        epochs = max(map(len, result.history.values()), default=0)
        history["stage"] += [technique] * epochs
        history["epoch"] += range(1, epochs + 1)
        for name in names:
            history[name] += result.history.get(name, [None] * epochs)
    return history
