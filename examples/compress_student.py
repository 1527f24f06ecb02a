"""A distilled student made to pack into half the bytes: pruned, then trained with int8's rounding.

A teacher learns the digits (or `--dataset fashion_mnist`), a student learns from it, and
`kd.compression.pipeline` prunes the student and trains it quantization-aware, the teacher still
teaching. Run again with the same `--out` it goes on with the first stage that is missing. The files
run on the test images through LiteRT: accuracy, size, and size as packed for a download. Takes
about two minutes on the digits; `--quick` only shows that everything runs.
"""

import argparse
import gzip
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

Stage = kd.compression.Stage
#: Epochs of the teacher and of each stage.
EPOCHS = {"teacher": 15, "distill": 60, "prune": 30, "quantize_aware": 10}


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    epochs = dict.fromkeys(EPOCHS, 1) if options.quick else EPOCHS
    train, validation, test = splits(options.dataset)
    about = kd.datasets.describe(options.dataset)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    teacher = trained_teacher(options, about, train, loss, epochs["teacher"])

    def stage(technique, rate, **kwargs):
        schedule = keras.optimizers.schedules.CosineDecay(rate, epochs[technique] * len(train))
        optimizer = keras.optimizers.Adam(schedule)
        return Stage(technique, epochs=epochs[technique], optimizer=optimizer, **kwargs)

    keras.utils.set_random_seed(options.seed)
    result = kd.compression.pipeline(
        [
            stage("distill", 1e-2),
            stage("prune", 5e-3, sparsity=options.sparsity),
            stage("quantize_aware", 1e-3),
            Stage("export"),
        ],
        network("student", about, (8, 16), 32),
        options.out / "stages",
        data=train,
        validation_data=validation,
        teachers=teacher,
        loss=loss,
        metrics=["accuracy"],
        verbose=0,
    )
    distilled, pruned, aware = result.stages
    print(f"\nWhat pruning did:\n{pruned.layers}")
    print(f"\nWhat quantization-aware training did:\n{aware.layers}\n")

    files = {"distilled": plain(distilled, validation, options.out / "distilled.tflite")}
    files["pruned"] = plain(pruned, validation, options.out / "pruned.tflite")
    files["pruned, aware"] = result.file
    for name, file in files.items():
        accuracy = kd.export.evaluate(file, test).accuracy
        packed = len(gzip.compress(file.path.read_bytes()))
        print(f"{name:14} {accuracy:7.2%} {file.size:7,} bytes, {packed:6,} packed")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist", "fashion_mnist"), default="digits")
    parser.add_argument("--sparsity", type=float, default=0.8, help="share of noughts")
    parser.add_argument("--out", type=Path, default=Path("build/compress_student"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch of everything")
    return parser.parse_args()


def splits(name):
    """Training, validation and test data; TFDS sets have no validation split of their own."""
    names = ("train", "validation", "test")
    if name != "digits":
        names = ("train[:5000]", "train[5000:10000]", "test")
    return [kd.datasets.load(name, split) for split in names]


def trained_teacher(options, about, train, loss, epochs):
    """The teacher, trained once and kept: a pipeline that goes on needs the same one."""
    path = options.out / "teacher.keras"
    if not path.exists():
        keras.utils.set_random_seed(options.seed)
        model = network("teacher", about, (32, 64), 256)
        model.compile("adam", loss)
        model.fit(train, epochs=epochs, verbose=0)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def network(name, about, filters, units):
    x = inputs = keras.Input(about.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(about.classes)(x), name=name)


def plain(stage, validation, path):
    """The int8 file of a student that was not trained for it.

    Calibrated with samples that come in the same order in each run: so the file is the same too.
    """
    return kd.export.to_tflite(stage.model, path, "int8", calibration=validation)


if __name__ == "__main__":
    main()
