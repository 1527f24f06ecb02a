"""Students that are shrunk from their teacher, and the same networks from random weights.

Fashion-MNIST, 5,000 labeled images, teachers trained on 50,000 (20,000 for the ResNet and the
inverted bottlenecks). At each ratio three copies of one architecture are trained for as many
epochs: alone, distilled, and distilled from the weights that `kd.compression.shrink` keeps. Test
accuracies on 10,000 images, after the last epoch. Sizes of int8 files are real ones.
"""

import tempfile
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd
from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.fashion_mnist import DATA, load_teacher, student_images
from benchmarks.shared.training import (
    RecordedTeachers,
    accuracy,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

RATIOS = (0.5, 0.25)
IMPORTANCES = ("magnitude", "taylor", "random")
EPOCHS, RATE = 15, 3e-3
TITLES = {"cnn": "CNN", "resnet": "ResNet", "mobile": "inverted bottlenecks"}


def plan(done, seeds, quick):
    names = ("cnn",) if quick else ("cnn", "resnet", "mobile")
    cells = [{"teacher": name, "ratio": ratio} for ratio in RATIOS for name in names]
    return [(cell, seed) for seed in range(seeds) for cell in cells]


def run(cell, seed, quick):
    teacher = load(cell["teacher"], quick)
    (x, y), (x_test, y_test) = student_images(), load_arrays(DATA, "test")
    recorded = RecordedTeachers(teacher, x)
    metrics = {
        "teacher_accuracy": accuracy(teacher, x_test, y_test),
        "teacher_parameters": teacher.count_params(),
    }
    settings = {"learning_rate": RATE, "epochs": 1 if quick else EPOCHS, "loss": sparse_loss()}

    def distill(student):
        model = kd.Distiller(recorded.student(student), recorded.teacher)
        compile_and_fit(model, recorded.inputs(x), y, seed=seed, **settings)
        return accuracy(student, x_test, y_test)

    importances = IMPORTANCES if cell["teacher"] == "cnn" else IMPORTANCES[:1]
    for importance in importances:
        options = {"data": (x, y), "loss": sparse_loss(), "batch_size": 128}
        options = options if importance == "taylor" else {"seed": seed}
        result = kd.compression.shrink(teacher, cell["ratio"], importance=importance, **options)
        metrics[f"{importance}_before"] = accuracy(result.model, x_test, y_test)
        if importance == "magnitude":
            metrics |= measure(result, x[:200])
            alone, scratch = (random_copy(result.model, seed) for _ in range(2))
            compile_and_fit(alone, x, y, seed=seed, **settings)
            metrics["alone"] = accuracy(alone, x_test, y_test)
            metrics["scratch"] = distill(scratch)
        metrics[f"{importance}_after"] = distill(result.model)
    return metrics


def random_copy(model, seed):
    """Return a model of the same architecture with random weights."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def measure(result, calibration):
    """Return the sizes of a shrunk model, and those of its int8 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.tflite"
        file = kd.export.to_tflite(result.model, path, "int8", calibration, tolerance=1e9)
        return {
            "parameters": result.after.parameters,
            "macs": result.after.macs,
            "predicted_bytes": result.after.int8_bytes,
            "bytes": file.size,
            "us": kd.export.benchmark(file, runs=200).median_us,
        }


def load(name, quick):
    """Return a trained teacher."""
    if name == "cnn":
        return load_teacher(quick)

    def train():
        model = {"resnet": build_resnet, "mobile": build_mobile}[name]()
        x, y = load_arrays(DATA, "train[:20000]")
        epochs = 1 if quick else 6
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=3e-3, epochs=epochs)
        return model

    return load_or_train(f"shrink_{name}{'_quick' if quick else ''}", train)


def build_resnet():
    """Return three residual blocks."""
    keras.utils.set_random_seed(1000)
    x = inputs = keras.Input((28, 28, 1))
    x = layers.ReLU()(convolution(x, 16, 3, 2))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(convolution(x, filters, 3, strides))
        y = convolution(y, filters, 3)
        x = convolution(x, filters, 1, strides) if strides > 1 else x
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="resnet")


def build_mobile():
    """Return inverted bottlenecks, as in MobileNetV2."""
    keras.utils.set_random_seed(1000)
    x = inputs = keras.Input((28, 28, 1))
    x = layers.ReLU(6.0)(convolution(x, 16, 3, 2))
    for filters, strides in ((16, 1), (24, 2), (24, 1), (48, 2), (48, 1)):
        y = layers.ReLU(6.0)(convolution(x, 4 * x.shape[-1], 1))
        y = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(y)
        y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(y))
        y = convolution(y, filters, 1)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="mobile")


def convolution(x, filters, size, strides=1):
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def report(done):
    rows, others = [], []
    for name, title in TITLES.items():
        for ratio in RATIOS:
            where = {"teacher": name, "ratio": ratio}
            if not done.where(**where):
                continue
            first = done.where(**where)[0]["metrics"]
            accuracies = [
                mean_sd(done.values(key, **where), 100)
                for key in ("teacher_accuracy", "alone", "scratch", "magnitude_after")
            ]
            size = f"{first['parameters']:,} of {first['teacher_parameters']:,}"
            kilobytes = f"{first['bytes'] / 1000:.1f} ({first['predicted_bytes'] / 1000:.1f})"
            rows.append([title, str(ratio), size, kilobytes, *accuracies])
            if name == "cnn":
                others += _importance_rows(done, where)
    if not rows:
        return ""
    header = ["teacher", "ratio", "parameters", "int8 kB (predicted)", "teacher %", "alone %"]
    header += ["distilled %", "shrunk, distilled %"]
    importance = table(["importance (CNN)", "ratio", "before %", "distilled %"], others)
    return f"{table(header, rows)}\n\n{importance}"


def _importance_rows(done, where):
    return [
        [
            importance,
            str(where["ratio"]),
            mean_sd(done.values(f"{importance}_before", **where), 100),
            mean_sd(done.values(f"{importance}_after", **where), 100),
        ]
        for importance in IMPORTANCES
    ]
