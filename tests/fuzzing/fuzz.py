"""Damage model files and pass them to the functions and commands that read them.

`python -m tests.fuzzing.fuzz --files 500` damages 500 files and prints the outcomes. It stops with
an error if one is rejected without a readable error, or leaves a file behind.
"""

import argparse
import collections
import contextlib
import io
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from keras_kd import export
from keras_kd.cli.main import main

IMAGES = np.random.default_rng(0).random((24, 8, 8, 1), "float32")
DATA = [(IMAGES[:3], np.zeros(3, "int64"))]
ACCEPTED = "accepted"


def flip_bits(content, rng):
    """Flips some bits after the identifier of the file format."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(8, len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def truncate(content, rng):
    """Cuts off the end."""
    return content[: rng.integers(8, len(content))]


def damage_member(content, rng):
    """Damages one member of an archive, with a correct checksum."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(["config.json", "model.weights.h5"])
        for name in old.namelist():
            change = truncate if rng.integers(3) == 0 else flip_bits
            new.writestr(name, change(old.read(name), rng) if name == chosen else old.read(name))
    return stream.getvalue()


def damage(content, seed):
    """Damages a file's content; the seed decides how."""
    rng = np.random.default_rng(seed)
    ways = [flip_bits, truncate, *([damage_member] if content.startswith(b"PK") else [])]
    return ways[seed % len(ways)](content, rng)


def write_models(folder):
    """Writes a small model as .keras and int8 .tflite, and samples for it; the two paths."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.save(folder / "m.keras")
    export.to_tflite(model, folder / "m.tflite", "int8", IMAGES, labels=list("abcdefghij"))
    np.savez(folder / "test.npz", x=IMAGES, y=np.arange(len(IMAGES)) % 10)
    np.savez(folder / "train.npz", x=IMAGES, y=np.arange(len(IMAGES)) % 10)
    return folder / "m.keras", folder / "m.tflite"


def read_file(path, data, thorough=False):
    """Passes a file to everything that reads its format.

    Args:
        path: A file in a folder of its own.
        data: A folder with a data set and intact models.
        thorough: Whether to run the slower commands too.

    Returns:
        The outcome of each reader: `ACCEPTED`, or the error.
    """
    folder, intact = path.parent, data / "m.keras"
    if path.suffix == ".keras":
        calls = []
        lines = [["export", path, "--out", folder / "m.tflite"]]
        slower = ["distill", path, intact, "--data", data, "--out", folder / "out", "--epochs", 1]
    else:
        calls = [
            lambda: export.evaluate(path, DATA),
            lambda: export.benchmark(path, runs=3, warmup=0),
        ]
        lines = [["benchmark", path, "--runs", 3]]
        slower = ["report", intact, path, "--data", data, "--out", folder / "r.json"]
    lines += [slower] if thorough else []
    return [*map(_call, calls), *(_command(line, folder) for line in lines)]


def _call(function):
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return _require_readable(str(error))
    return ACCEPTED


def _command(line, folder):
    """The outcome of a command, which must write files only if it succeeds."""
    before = set(folder.iterdir())
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(list(map(str, line)))
    written = set(folder.iterdir()) - before
    if code == 0:
        return ACCEPTED
    assert (code, written, output.getvalue()) == (1, set(), ""), (line, code, written)
    assert "Traceback" not in errors.getvalue(), errors.getvalue()
    return _require_readable(errors.getvalue().strip().splitlines()[-1])


def _require_readable(error):
    assert "xpected" in error, error
    assert "Received: " in error, error
    return error


def _main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    found = collections.Counter()
    with tempfile.TemporaryDirectory() as data:
        for path in write_models(Path(data)):
            content = path.read_bytes()
            for seed in range(options.first, options.first + options.files // 2):
                with tempfile.TemporaryDirectory() as folder:
                    copy = Path(folder) / f"damaged{path.suffix}"
                    copy.write_bytes(damage(content, seed))
                    outcomes = read_file(copy, Path(data), thorough=True)
                found.update((path.suffix, outcome == ACCEPTED) for outcome in outcomes)
                print(f"{path.suffix} {seed}: {' | '.join(o[:60] for o in outcomes)}", flush=True)
    for (suffix, accepted), count in sorted(found.items()):
        print(f"{suffix}: {count} {'accepted' if accepted else 'rejected'}")


if __name__ == "__main__":
    _main()
