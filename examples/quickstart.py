"""From a trained teacher to a verified int8 .tflite, measured: `make demo`.

A teacher learns from all the training images; for the student only a few hundred are left, as when
a model came without its data. The student is trained on them alone, and from the teacher. All are
exported, the files run on the test images through LiteRT, and one table is printed. The table and a
chart are written to build/demo/. Takes about a minute on the embedded digits;
`--dataset mnist` and `--dataset fashion_mnist` run the same on TFDS data sets.
"""

import argparse
import json
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

# Epochs for the teacher and for each student, and the images that the students are given.
EPOCHS = {"digits": (30, 100), "mnist": (3, 60), "fashion_mnist": (4, 60)}
STUDENT_IMAGES = {"digits": 300, "mnist": 1000, "fashion_mnist": 5000}


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, test = splits(options.dataset)
    about = kd.datasets.describe(options.dataset)
    for_teacher, for_student = options.epochs or EPOCHS[options.dataset]
    few = first_images(options.dataset)

    print(f"1. A teacher learns {options.dataset}.")
    keras.utils.set_random_seed(options.seed)
    teacher = network("teacher", about, filters=(32, 64), units=256, dropout=0.4)
    teacher.compile(keras.optimizers.Adam(1e-3), labels_loss(), metrics=["accuracy"])
    teacher.fit(train, validation_data=validation, epochs=for_teacher, verbose=2)

    count = STUDENT_IMAGES[options.dataset]
    print(f"\n2. A small student learns from the labels of {count} images alone.")
    keras.utils.set_random_seed(options.seed)
    alone = network("student_alone", about, filters=(8, 16), units=32)
    alone.compile(optimizer(few, for_student), labels_loss(), metrics=["accuracy"])
    alone.fit(few, validation_data=validation, epochs=for_student, verbose=0)

    print("3. The same student learns from the teacher, on the same images.")
    keras.utils.set_random_seed(options.seed)
    student = network("student_distilled", about, filters=(8, 16), units=32)
    distiller = kd.Distiller(student, teacher)
    distiller.compile(optimizer(few, for_student), labels_loss(), metrics=["accuracy"])
    distiller.fit(few, validation_data=validation, epochs=for_student, verbose=0)
    distiller.summary()
    student.save(options.out / "student.keras")

    print("\n4. Everything becomes a .tflite file and runs on the test images through LiteRT.")
    models = [(teacher, "float32"), (alone, "float32"), (student, "float32"), (student, "int8")]
    rows = [measure(model, kind, few, test, options.out) for model, kind in models]
    for row in rows:
        row["ratio"] = rows[0]["bytes"] / row["bytes"]
    write(rows, options.dataset, options.out)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(EPOCHS), default="digits")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, help="for the teacher, for each student")
    return parser.parse_args()


def splits(name):
    """Training, validation and test data; TFDS sets have no validation split of their own."""
    names = ("train", "validation", "test")
    if name != "digits":
        names = ("train[:90%]", "train[90%:]", "test")
    batch_size = 32 if name == "digits" else 128
    return [kd.datasets.load(name, split, batch_size=batch_size) for split in names]


def first_images(name):
    """The images that the students are given: the first of the training split."""
    count = STUDENT_IMAGES[name]
    samples = kd.datasets.load(name, "train", batch_size=None, shuffle=False).take(count).cache()
    return samples.shuffle(count, seed=0).batch(32).prefetch(1)


def network(name, about, filters, units, dropout=0.0):
    x = inputs = keras.Input(about.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x) if dropout else x
    return keras.Model(inputs, layers.Dense(about.classes)(x), name=name)


def labels_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def optimizer(data, epochs):
    # Soft targets are learned more slowly and further: a high rate that falls to nought.
    steps = epochs * int(data.cardinality())
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps))


def measure(model, quantization, calibration, test, out):
    path = out / f"{model.name}_{quantization}.tflite"
    file = kd.export.to_tflite(model, path, quantization, calibration=calibration)
    found = kd.export.evaluate(file, test, model)
    return {
        "model": f"{model.name.replace('_', ' ')}, {quantization}",
        "accuracy": found.accuracy,
        "agreement": found.agreement,
        "parameters": model.count_params(),
        "bytes": file.size,
        "latency_us": kd.export.benchmark(file).median_us,
    }


def write(rows, dataset, out):
    header = ["model", "accuracy", "parameters", "size", "latency", "times smaller"]
    lines = [
        [
            row["model"],
            f"{row['accuracy']:.2%}",
            f"{row['parameters']:,}",
            f"{row['bytes'] / 1000:.1f} kB",
            f"{row['latency_us']:.1f} µs",
            f"{row['ratio']:.1f}",
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    text = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(cells))
        for cells in ([*zip(line, widths, strict=True)] for line in [header, *lines])
    ]
    print("\n" + "\n".join(text))
    last = rows[-1]
    print(
        f"\nThe int8 file gives the student's own answer on {last['agreement']:.1%} of the "
        f"{dataset} test images. One seed; latency is one thread of this machine."
    )
    markdown = [header, ["---"] * len(header), *lines]
    (out / "table.md").write_text("\n".join("| " + " | ".join(x) + " |" for x in markdown) + "\n")
    (out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    chart(rows, dataset, out / "accuracy_and_size.png")
    print(f"Files, table and chart: {out}/")


def chart(rows, dataset, path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    styles = [("#555555", "s"), ("#d98032", "o"), ("#2f7fb8", "o"), ("#1b9e5a", "D")]
    for row, (colour, marker) in zip(rows, styles, strict=True):
        kilobytes, accuracy = row["bytes"] / 1000, 100 * row["accuracy"]
        label = f"{row['model']}: {accuracy:.1f} %, {kilobytes:.1f} kB"
        axes.scatter(kilobytes, accuracy, s=90, color=colour, marker=marker, label=label, zorder=3)
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.set_xlabel("size of the .tflite file, kB (logarithmic)")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{dataset}: what distillation keeps of the teacher")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
