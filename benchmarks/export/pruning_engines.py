"""The two engines of pruning and clustering, and how small a compressed int8 file becomes.

Fashion-MNIST, images, teacher and distilled student as in `compression`. Each row compresses the
same student with the teacher; accuracies are those of the int8 files on the 10,000 test images,
sizes those of the compressed files relative to that of the student. The transformer has layers that
tf_keras does not have; it is trained on labels alone.
"""

import gzip
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from benchmarks.export.compression import SETTINGS, train_student, training_arguments
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import DATA, student_images
from benchmarks.shared.training import compile_and_fit, load_arrays, load_or_train, to_batches

#: By row: title, sparsity, epochs of pruning, clusters.
ROWS = {
    "pruned_80": ("pruned to 80 %", 0.8, 40, None),
    "both_80": ("pruned to 80 %, 16 clusters", 0.8, 40, 16),
    "pruned_85": ("pruned to 85 %, twice as long", 0.85, 80, None),
    "both_85": ("pruned to 85 %, twice as long, 16 clusters", 0.85, 80, 16),
}
ENGINES = ("native", "tfmot")
START, TRANSFORMER = "distilled student", "transformer"


def plan(done, seeds, quick):
    cells = [{"row": START, "engine": ""}, {"row": "both_80", "engine": "native"}]
    if not quick:
        cells += [{"row": "both_80", "engine": "tfmot"}, {"row": "both_85", "engine": "native"}]
    cells.append({"row": TRANSFORMER, "engine": "native"})
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    if cell["row"] == TRANSFORMER:
        return run_transformer(seed, quick)
    start = load_or_train(
        f"compression_student_{seed}{'_quick' if quick else ''}", lambda: train_student(seed, quick)
    )
    if cell["row"] == START:
        return measure("start", start, quick)
    _, sparsity, epochs, clusters = ROWS[cell["row"]]
    options = {"engine": cell["engine"]}
    training = training_arguments(*SETTINGS["prune"], True, seed, quick)
    if not quick:
        training = lengthened(training, epochs)
    pruned = kd.compression.prune(start, sparsity, **options, **training).model
    training = training_arguments(*SETTINGS["cluster"], True, seed, quick)
    both = kd.compression.cluster(pruned, clusters, **options, **training).model
    pruned_row = cell["row"].replace("both", "pruned")
    return {**measure(pruned_row, pruned, quick), **measure(cell["row"], both, quick)}


def lengthened(training, epochs):
    """Return the arguments of a training with another number of epochs."""
    schedule = training["optimizer"].get_config()["learning_rate"]["config"]
    steps = schedule["decay_steps"] * epochs // training["epochs"]
    rate = keras.optimizers.schedules.CosineDecay(schedule["initial_learning_rate"], steps)
    return {**training, "epochs": epochs, "optimizer": keras.optimizers.Adam(rate)}


def measure(name, student, quick):
    """Return accuracy and compressed size of an int8 file."""
    test = to_batches(*load_arrays(DATA, f"test[:{500 if quick else 10_000}]"))
    calibration, _ = load_arrays(DATA, "train[:500]")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.tflite"
        file = kd.export.to_tflite(student, path, "int8", calibration)
        return {
            f"{name}_accuracy": kd.export.evaluate(file, test).accuracy,
            f"{name}_gzip": len(gzip.compress(path.read_bytes(), 9, mtime=0)),
        }


def build_transformer(seed):
    """Return two blocks of attention over the rows of an image."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    x = layers.Dense(48)(layers.Reshape((28, 28))(x))
    for _ in range(2):
        y = layers.RMSNormalization()(x)
        x = x + layers.GroupQueryAttention(12, 4, 2)(y, y)
        y = layers.Dense(96, activation="silu")(layers.RMSNormalization()(x))
        x = x + layers.Dense(48)(y)
    x = layers.GlobalAveragePooling1D()(layers.RMSNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x), name=TRANSFORMER)


def run_transformer(seed, quick):
    """Return accuracies of a transformer and of its pruned copies."""
    (x, y), test = student_images(), load_arrays(DATA, "test")
    loss, epochs = keras.losses.SparseCategoricalCrossentropy(from_logits=True), 1 if quick else 15
    model = build_transformer(seed)
    compile_and_fit(model, x, y, loss=loss, learning_rate=3e-3, epochs=epochs, seed=seed)
    common = {"data": (x, y), "epochs": epochs, "loss": loss, "verbose": 0, "batch_size": 128}
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(y) // 128))
    found = {"dense_accuracy": float(np.mean(predict(model, test[0]) == test[1]))}
    for name, sparsity in (("pruned_80", 0.8), ("pruned_2_4", (2, 4))):
        optimizer = keras.optimizers.Adam(schedule)
        pruned = kd.compression.prune(model, sparsity, optimizer=optimizer, **common)
        found[f"{name}_accuracy"] = float(np.mean(predict(pruned.model, test[0]) == test[1]))
        found[f"{name}_sparsity"] = pruned.history["sparsity"][-1]
    try:
        kd.compression.prune(model, 0.8, engine="tfmot", **common)
    except ValueError as error:
        found["tfmot"] = str(error).split(".")[0]
    return found


def predict(model, x):
    return np.argmax(model.predict(x, batch_size=500, verbose=0), axis=-1)


def report(done):
    if not done.where(row=START):
        return ""
    first = done.values("start_gzip", row=START)
    rows = [["distilled student", "", mean_sd(done.values("start_accuracy", row=START), 100), "1"]]
    for name, (title, *_) in ROWS.items():
        for engine in ENGINES:
            found = done.where(row=name.replace("pruned", "both"), engine=engine)
            if not found:
                continue
            where = {"row": name.replace("pruned", "both"), "engine": engine}
            sizes = zip(done.values(f"{name}_gzip", **where), first, strict=False)
            accuracies = mean_sd(done.values(f"{name}_accuracy", **where), 100)
            rows.append([title, engine, accuracies, mean_sd([a / b for a, b in sizes])])
    header = ["", "engine", "int8, test accuracy %", "compressed size, share"]
    return f"{table(header, rows)}\n\n{_same_files(done)}{_transformer(done)}".rstrip()


def _same_files(done):
    """Return a sentence on the seeds in which both engines prune to the same file."""
    native, tfmot = (
        {
            run["seed"]: [run["metrics"][f"pruned_80_{key}"] for key in ("accuracy", "gzip")]
            for run in done.where(row="both_80", engine=engine)
        }
        for engine in ENGINES
    )
    seeds = native.keys() & tfmot.keys()
    if not seeds:
        return ""
    same = sum(native[seed] == tfmot[seed] for seed in seeds)
    return (
        "After pruning, the files of both engines have the same accuracy and the same compressed "
        f"size in {same} of {len(seeds)} seeds. "
    )


def _transformer(done):
    """Return a sentence on the transformer."""
    if not done.where(row=TRANSFORMER):
        return ""
    names = ("dense", "pruned_80", "pruned_2_4")
    found = [mean_sd(done.values(f"{n}_accuracy", row=TRANSFORMER), 100) for n in names]
    return (
        f"A transformer that tf_keras cannot run has {found[0]} % uncompressed, {found[1]} % "
        f"pruned to 80 %, and {found[2]} % with two of four weights."
    )
