"""Distill a teacher into a small student and export it to an int8 .tflite file (`make demo`).

The teacher is trained on all training images. The student gets only a few hundred, as if the model
came without its data. It is trained once on their labels alone and once with the teacher. All
models are exported and evaluated on the test images with LiteRT, and a table compares them. The
files, the table and a chart are in build/demo/. Takes about a minute on the embedded digits;
`--dataset mnist` and `--dataset fashion_mnist` use TFDS data sets.
"""

import argparse
import json
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

# Epochs for the teacher and for each student, and the number of images for the students.
EPOCHS = {"digits": (30, 100), "mnist": (3, 60), "fashion_mnist": (4, 60)}
STUDENT_IMAGES = {"digits": 300, "mnist": 1000, "fashion_mnist": 5000}
HEADER = ("model", "accuracy", "parameters", "size", "latency", "times smaller")


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, test = load_splits(options.dataset)
    few = load_student_images(options.dataset)
    info = kd.datasets.describe(options.dataset)
    teacher_epochs, student_epochs = options.epochs or EPOCHS[options.dataset]
    # Soft targets need more epochs than labels, with a high learning rate that decays to zero.
    steps = student_epochs * int(few.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)

    print(f"1. Train a teacher on {options.dataset}.")
    keras.utils.set_random_seed(options.seed)
    teacher = build_network("teacher", info, filters=(32, 64), units=256, dropout=0.4)
    compile_with_labels(teacher, 1e-3)
    teacher.fit(train, validation_data=validation, epochs=teacher_epochs, verbose=2)

    count = STUDENT_IMAGES[options.dataset]
    print(f"\n2. Train a small student on the labels of {count} images.")
    keras.utils.set_random_seed(options.seed)
    alone = build_network("student_alone", info, filters=(8, 16), units=32)
    compile_with_labels(alone, schedule)
    alone.fit(few, validation_data=validation, epochs=student_epochs, verbose=0)

    print("3. Train the same student with the teacher, on the same images.")
    keras.utils.set_random_seed(options.seed)
    student = build_network("student_distilled", info, filters=(8, 16), units=32)
    distiller = kd.Distiller(student, teacher)
    compile_with_labels(distiller, schedule)
    distiller.fit(few, validation_data=validation, epochs=student_epochs, verbose=0)
    distiller.summary()
    student.save(options.out / "student.keras")

    print("\n4. Export all models and evaluate the files on the test images with LiteRT.")
    models = [(teacher, "float32"), (alone, "float32"), (student, "float32"), (student, "int8")]
    rows = [measure(model, kind, few, test, options.out) for model, kind in models]
    for row in rows:
        row["ratio"] = rows[0]["bytes"] / row["bytes"]
    write_results(rows, options.dataset, options.out)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(EPOCHS), default="digits")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, help="of the teacher, of each student")
    return parser.parse_args(arguments)


def load_splits(name):
    """Return training, validation and test data; TFDS sets have no validation split."""
    splits = ("train", "validation", "test")
    if name != "digits":
        splits = ("train[:90%]", "train[90%:]", "test")
    batch_size = 32 if name == "digits" else 128
    return [kd.datasets.load(name, split, batch_size=batch_size) for split in splits]


def load_student_images(name):
    """Return the first training images, in batches."""
    count = STUDENT_IMAGES[name]
    samples = kd.datasets.load(name, "train", batch_size=None, shuffle=False).take(count).cache()
    return samples.shuffle(count, seed=0).batch(32).prefetch(1)


def build_network(name, info, filters, units, dropout=0.0):
    x = inputs = keras.Input(info.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x) if dropout else x
    return keras.Model(inputs, layers.Dense(info.classes)(x), name=name)


def compile_with_labels(model, learning_rate):
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def measure(model, quantization, calibration, test, out):
    path = out / f"{model.name}_{quantization}.tflite"
    file = kd.export.to_tflite(model, path, quantization, calibration=calibration)
    result = kd.export.evaluate(file, test, model)
    return {
        "model": f"{model.name.replace('_', ' ')}, {quantization}",
        "accuracy": result.accuracy,
        "agreement": result.agreement,
        "parameters": model.count_params(),
        "bytes": file.size,
        "latency_us": kd.export.benchmark(file).median_us,
    }


def write_results(rows, dataset, out):
    lines = [
        (
            row["model"],
            f"{row['accuracy']:.2%}",
            f"{row['parameters']:,}",
            f"{row['bytes'] / 1000:.1f} kB",
            f"{row['latency_us']:.1f} µs",
            f"{row['ratio']:.1f}",
        )
        for row in rows
    ]
    print()
    for name, *cells in (HEADER, *lines):
        print(f"{name:<26}" + "".join(f"{cell:>15}" for cell in cells))
    print(
        f"\nThe int8 file predicts the same class as the student for {rows[-1]['agreement']:.1%} "
        f"of the {dataset} test images. One seed; latency on one thread of this machine."
    )
    markdown = [HEADER, ["---"] * len(HEADER), *lines]
    (out / "table.md").write_text("\n".join("| " + " | ".join(x) + " |" for x in markdown) + "\n")
    (out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw_chart(rows, dataset, out / "accuracy_and_size.png")
    print(f"Files, table and chart: {out}/")


def draw_chart(rows, dataset, path):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    styles = [("#555555", "s"), ("#d98032", "o"), ("#2f7fb8", "o"), ("#1b9e5a", "D")]
    for row, (color, marker) in zip(rows, styles, strict=True):
        kilobytes, accuracy = row["bytes"] / 1000, 100 * row["accuracy"]
        label = f"{row['model']}: {accuracy:.1f} %, {kilobytes:.1f} kB"
        axes.scatter(kilobytes, accuracy, s=90, color=color, marker=marker, label=label, zorder=3)
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.set_xlabel("size of the .tflite file, kB (logarithmic)")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{dataset}: accuracy and size of teacher and students")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
