"""Distill, prune and train quantization-aware, to halve the size of a student after gzip.

A teacher is trained on the digits (or `--dataset fashion_mnist`). `kd.compression.pipeline`
distills a student, prunes it and trains it quantization-aware, all with the teacher. Run again with
the same `--out`, it continues with the first missing stage. The files are evaluated on the test
images with LiteRT: accuracy, size, and size after gzip, as for a download. Takes about two minutes
on the digits; `--quick` only checks that it runs.
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


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    epochs = dict.fromkeys(EPOCHS, 1) if options.quick else EPOCHS
    train, validation, test = load_splits(options.dataset)
    train = train.take(2) if options.quick else train
    info = kd.datasets.describe(options.dataset)
    teacher = load_teacher(options, info, train, epochs["teacher"])

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
        build_network("student", info, (8, 16), 32),
        options.out / "stages",
        data=train,
        validation_data=validation,
        teachers=teacher,
        loss=labels_loss(),
        metrics=["accuracy"],
        verbose=0,
    )
    distilled, pruned, quantized = result.stages
    print(f"\nPruned layers:\n{pruned.layers}")
    print(f"\nLayers trained quantization-aware:\n{quantized.layers}\n")

    # Calibrated with samples in a fixed order, so that every run writes the same file.
    files = {
        name: kd.export.to_tflite(
            stage.model, options.out / f"{name}.tflite", "int8", calibration=validation
        )
        for name, stage in {"distilled": distilled, "pruned": pruned}.items()
    }
    files["pruned, quantization-aware"] = result.file
    for name, file in files.items():
        accuracy = kd.export.evaluate(file, test).accuracy
        compressed = len(gzip.compress(file.path.read_bytes()))
        print(f"{name:28} {accuracy:7.2%} {file.size:7,} bytes, {compressed:6,} after gzip")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=("digits", "mnist", "fashion_mnist"), default="digits")
    parser.add_argument("--sparsity", type=float, default=0.8, help="fraction of zero weights")
    parser.add_argument("--out", type=Path, default=Path("build/compress_student"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch of two batches each")
    return parser.parse_args(arguments)


def load_splits(name):
    """Return training, validation and test data; TFDS sets have no validation split."""
    splits = ("train", "validation", "test")
    if name != "digits":
        splits = ("train[:5000]", "train[5000:10000]", "test")
    return [kd.datasets.load(name, split) for split in splits]


def load_teacher(options, info, train, epochs):
    """Return the teacher, trained once: a pipeline that continues needs the same teacher."""
    path = options.out / "teacher.keras"
    if not path.exists():
        keras.utils.set_random_seed(options.seed)
        model = build_network("teacher", info, (32, 64), 256)
        model.compile("adam", labels_loss())
        model.fit(train, epochs=epochs, verbose=0)
        model.save(path)
    return keras.models.load_model(path, compile=False)


def build_network(name, info, filters, units):
    x = inputs = keras.Input(info.input_shape)
    for width in filters:
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(units, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(info.classes)(x), name=name)


def labels_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


if __name__ == "__main__":
    main()
