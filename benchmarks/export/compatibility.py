"""Which models go through which step, from distillation to quantization-aware training.

Each model of benchmarks/export/compatible/ has random weights and made-up data. It is the student
of a second one of the same kind. A cell is "works", or the reason why not: an error of
keras_kd, or one marked as raw, of another library. The float32 file must agree with Keras to 0.1 %;
the weights are random, so the loss of accuracy of the other files means nothing and is not limited.
"""

import importlib.util
import math
import re
import tempfile
import traceback
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from benchmarks.export.compatible import applications, sequences, vision
from benchmarks.paths import ROOT
from benchmarks.runner.results import table

GROUPS = {"Keras guides": {**vision.MODELS, **sequences.MODELS}}
if importlib.util.find_spec("keras_hub") is not None:
    from benchmarks.export.compatible import hub

    GROUPS["KerasHub"] = hub.MODELS
GROUPS["keras.applications"] = applications.MODELS
WORKS = "works"
#: Quantization-aware training and pruning, which are counted apart.
COMPRESSION = ("prune", "QAT")
#: A few words for the messages of keras_kd, with the groups of the pattern.
REASONS = (
    (r"built into LiteRT\. Received: model '[^']*' with (\w+)", r"LiteRT has no \1"),
    (r"cannot be quantized: .*a loop over time steps", "recurrent layers"),
    (r"ran \d times in one call of the model", "chosen layer is shared"),
    (r"\((\w+)\) is a custom layer", r"custom layer: \1"),
    (r"\((\w+)\) has no counterpart in tf_keras", r"not in tf_keras: \1"),
)


def plan(done, seeds, quick):
    jobs = [(group, name) for group, models in GROUPS.items() for name in models]
    if quick:
        jobs = [("Keras guides", "wide and deep, dict inputs")]
    return [({"group": group, "model": name}, 0) for group, name in jobs]


def run(cell, seed, quick):
    case = GROUPS[cell["group"]][cell["model"]]()
    keras.utils.set_random_seed(seed)
    student, teacher = case.build(), case.build()
    found = {}
    for name, step in STEPS.items():
        keras.utils.set_random_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            try:
                step(case, student, teacher, Path(folder))
                found[name] = WORKS
            except Exception as error:  # Whatever it is, it is what the table shows.
                found[name] = describe(error)
    return found


def describe(error):
    """Return the message of an error in one line, marked if it is not one of keras_kd."""
    where = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    text = " ".join(str(error).split())[:600]
    own = where.is_relative_to(ROOT / "keras_kd") or isinstance(error, kd.export.VerificationError)
    return text if own else f"RAW {type(error).__name__} in {where.name}: {text}"


def _fit(case, student, teacher, folder):
    _train(case, kd.Distiller(student, teacher), eager=False)


def _hint(case, student, teacher, folder):
    hint = kd.losses.Hint(taps="auto", weight=0.1)
    history = _train(case, kd.Distiller(student, teacher, [hint]))
    assert history["hint"][0] > 0, history


def _cache(case, student, teacher, folder):
    # The outputs of random weights differ too little for float16.
    cache = kd.KnowledgeCache.build(
        teacher, case.dataset, folder / "cache", dtype="float32", verbose=0
    )
    distiller = kd.Distiller(student, cache.teachers)
    _train(case, distiller, data=cache.join(case.dataset))


def _save(case, student, teacher, folder):
    student.save(folder / "student.keras")
    loaded = keras.models.load_model(folder / "student.keras")
    pairs = zip(*(keras.tree.flatten(model(case.x)) for model in (student, loaded)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=1e-5)
    distiller = kd.Distiller(student, teacher)
    distiller.compile("adam", case.loss)
    distiller.save(folder / "distiller.keras")
    keras.models.load_model(folder / "distiller.keras").set_teachers(teacher)


def _float32(case, student, teacher, folder):
    kd.export.to_tflite(
        student, folder / "file.tflite", verification=case.x, **_sizes(case, student)
    )


def _dynamic(case, student, teacher, folder):
    _quantize(case, student, folder, "dynamic")


def _int8(case, student, teacher, folder):
    _quantize(case, student, folder, "int8")


def _prune(case, student, teacher, folder):
    _compress(kd.compression.prune, case, student, 0.5)


def _train_quantized(case, student, teacher, folder):
    _compress(kd.compression.quantize_aware, case, student)


def _compress(function, case, *arguments):
    tf.config.run_functions_eagerly(True)  # The graphs of tf_keras take long to trace.
    try:
        data = case.dataset.take(1)
        function(*arguments, data=data, epochs=1, loss=case.loss, verbose=0)
    finally:
        tf.config.run_functions_eagerly(False)


STEPS = {
    "fit": _fit,
    "hint": _hint,
    "cache": _cache,
    "save, load": _save,
    "float32": _float32,
    "dynamic": _dynamic,
    "int8": _int8,
    "prune": _prune,
    "QAT": _train_quantized,
}


def _train(case, distiller, data=None, eager=True):
    distiller.compile(keras.optimizers.Adam(1e-4), case.loss, run_eagerly=eager, jit_compile=False)
    data = case.dataset if data is None else data
    history = distiller.fit(data.take(1), epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all(), history
    return history


def _quantize(case, student, folder, kind):
    arguments = {"tolerance": math.inf, **_sizes(case, student)}
    kd.export.to_tflite(student, folder / "file.tflite", kind, case.x, **arguments)


def _sizes(case, model):
    """Return `input_signature` of the sizes of the data, if those of the model are free."""
    given = keras.tree.flatten(model.input)
    if not any(None in tuple(tensor.shape)[1:] for tensor in given):
        return {}
    signature = keras.tree.map_structure(
        lambda tensor, array: tf.TensorSpec((None, *array.shape[1:]), tensor.dtype),
        model.input,
        case.x,
    )
    return {"input_signature": signature}


def report(done):
    """Return a table of all models and steps, and the number of cells that work."""
    if not done.runs:
        return ""
    parts, numbers = [], {}
    for group, models in GROUPS.items():
        runs = {name: done.where(group=group, model=name) for name in models}
        runs = {name: found[0]["metrics"] for name, found in runs.items() if found}
        rows = []
        for name, found in runs.items():
            rows.append([name, *(shorten(found[step]) for step in STEPS)])
        if rows:
            parts.append(f"{group}:\n\n{table(['', *STEPS], rows)}")
    for run in done.runs:
        for step, cell in run["metrics"].items():
            kind = "compression" if step in COMPRESSION else "other"
            numbers.setdefault(kind, []).append(cell == WORKS)
    counts = {kind: f"{sum(cells)} of {len(cells)}" for kind, cells in numbers.items()}
    minutes = sum(run["seconds"] for run in done.runs) / 60
    parts.append(
        f"{len(done.runs)} models in {minutes:.0f} minutes of one process. Cells that work: "
        f"{counts['other']} without pruning and QAT, {counts['compression']} of pruning and QAT."
    )
    return "\n\n".join(parts)


def shorten(cell):
    """Return a few words for a message."""
    if cell == WORKS:
        return cell
    for pattern, words in REASONS:
        if found := re.search(pattern, cell):
            return found.expand(words)
    return cell[:80].replace("|", "/")
