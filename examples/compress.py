"""From a budget to a file: the best int8 student of a teacher within some bytes, in one call.

A teacher is trained on the embedded digits, and `kd.compress` finds the file: it chooses the
student, distills it, writes it in several formats and verifies them. Takes about a minute. Run it
again to see that a finished search is not repeated.

    python examples/compress.py
    python examples/compress.py --bytes 10000 --out build/smaller
    python examples/compress.py --quick        # only checks that it runs

The same from the command line, with the teacher that this example writes:

    keras-kd compress build/compress/teacher.keras --data digits --max-size 14kB --out build/small
"""

import argparse
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation, test = (
        kd.datasets.load("digits", split) for split in ("train", "validation", "test")
    )
    epochs = 1 if options.quick else 10
    teacher = load_teacher(options.out / "teacher.keras", train, epochs)
    try:
        result = kd.compress(
            teacher,
            train,
            validation,
            test=test,
            max_bytes=options.bytes,
            path=options.out / "search",
            # A quick run trains one student, and briefly.
            trials=1 if options.quick else None,
            time_limit=0.01 if options.quick else None,
        )
    except kd.BudgetError as error:
        print(error)
        result = error.compression
    print(f"\n{result.best.path}: {result.best.size:,} bytes, for a budget of {options.bytes:,}")
    print(f"{result.drop:.2f} points below the teacher on {result.test}")
    print(f"All files and trainings: {result.report}")


def load_teacher(path, train, epochs):
    """Return the teacher of an earlier run, so that its search can be continued, or train one."""
    if path.exists():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1))
    for filters in (32, 48):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = layers.Dense(128, activation="relu")(x)
    teacher = keras.Model(inputs, layers.Dense(10)(x), name="teacher")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile(keras.optimizers.Adam(3e-3), loss)
    teacher.fit(train, epochs=epochs, verbose=0)
    teacher.save(path)
    return teacher


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=14_000, help="the largest file")
    parser.add_argument("--out", type=Path, default=Path("build/compress"))
    parser.add_argument("--quick", action="store_true", help="one short training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
