"""Build a student from its teacher: shrink, distill, export to int8.

A teacher is trained on the embedded digits. `kd.compression.shrink` removes the channels that
matter least until the int8 file is expected to fit into `--bytes`; the smaller model keeps the
weights of the others and is distilled from the teacher. For comparison, the same network is
distilled from random weights. Takes less than a minute.

    python examples/shrink.py
    python examples/shrink.py --bytes 12000 --importance taylor
    python examples/shrink.py --quick        # only checks that it runs
"""

import argparse
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, test = (
        kd.datasets.load("digits", split) for split in ("train", "validation", "test")
    )
    train = train.take(2) if options.quick else train
    keras.utils.set_random_seed(options.seed)
    teacher = build_teacher()
    compile_model(teacher)
    teacher.fit(train, epochs=options.teacher_epochs, verbose=0)

    # Which channels belong together, and what stays whole.
    print(kd.compression.channel_groups(teacher), "\n")
    more = {"data": train, "loss": LOSS} if options.importance == "taylor" else {}
    result = kd.compression.shrink(
        teacher, max_bytes=options.bytes, importance=options.importance, **more
    )
    print(f"{result.before}\n{result.after}\n")

    scratch = keras.models.clone_model(result.model)  # Random weights.
    for student in (scratch, result.model):
        distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets())
        compile_model(distiller)
        distiller.fit(train, epochs=options.epochs, verbose=0)
        compile_model(student)
    file = kd.export.to_tflite(
        result.model, options.out / "student.tflite", "int8", train, verification=validation
    )

    rows = {
        "teacher": teacher.evaluate(test, verbose=0)[1],
        "same network, distilled from random weights": scratch.evaluate(test, verbose=0)[1],
        "shrunk and distilled": result.model.evaluate(test, verbose=0)[1],
        "shrunk and distilled, int8 file": kd.export.evaluate(file, test).accuracy,
    }
    for name, accuracy in rows.items():
        print(f"{name:44} {accuracy:7.2%}")
    print(f"\n{file.path}: {file.size:,} bytes, for a budget of {options.bytes:,}")


def build_teacher():
    """Return a residual network with 36,618 parameters."""
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="stem")(x)
    for i in (1, 2):
        y = layers.Conv2D(48, 3, padding="same", use_bias=False, name=f"block{i}_a")(x)
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))
        y = layers.Conv2D(32, 1, name=f"block{i}_b")(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="teacher")


def compile_model(model):
    model.compile(keras.optimizers.Adam(3e-3), LOSS, metrics=["accuracy"])


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=16_000, help="the largest int8 file")
    parser.add_argument("--importance", choices=("magnitude", "taylor"), default="magnitude")
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=4, help="of each student")
    parser.add_argument("--out", type=Path, default=Path("build/shrink"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one epoch of two batches")
    options = parser.parse_args(arguments)
    if options.quick:
        options.teacher_epochs = options.epochs = 1
    return options


if __name__ == "__main__":
    main()
