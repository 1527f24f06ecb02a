"""Damaged model files, and what is asked about them: a few in the suite, many by hand.

`python -m tests.fuzzing.fuzz --files 500` damages as many files and says what came of them. It
ends with an error where one is answered otherwise than with a sentence, or leaves something behind.
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


def flipped(content, rng):
    """Some bits turned over, behind the mark of the file's kind."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(8, len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def truncated(content, rng):
    """The end cut off."""
    return content[: rng.integers(8, len(content))]


def repacked(content, rng):
    """One part of an archive damaged, and its checksum made to fit again."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(["config.json", "model.weights.h5"])
        for name in old.namelist():
            damage = truncated if rng.integers(3) == 0 else flipped
            new.writestr(name, damage(old.read(name), rng) if name == chosen else old.read(name))
    return stream.getvalue()


def damaged(content, seed):
    """A file's content, damaged in a way that the seed decides."""
    rng = np.random.default_rng(seed)
    ways = [flipped, truncated, *([repacked] if content.startswith(b"PK") else [])]
    return ways[seed % len(ways)](content, rng)


def write_models(folder):
    """Writes a small model as .keras and as int8 .tflite, and samples for it; the two paths."""
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


def ask(path, data, thorough=False):
    """Gives a file to what reads its kind.

    Args:
        path: A file in a folder of its own.
        data: A folder with a data set, and whole models.
        thorough: Whether also to the commands that take longer.

    Returns:
        What came of each: `"fine"`, or the error's sentence.
    """
    folder, whole = path.parent, data / "m.keras"
    if path.suffix == ".keras":
        calls = []
        lines = [["export", path, "--out", folder / "m.tflite"]]
        longer = ["distill", path, whole, "--data", data, "--out", folder / "out", "--epochs", 1]
    else:
        calls = [
            lambda: export.evaluate(path, DATA),
            lambda: export.benchmark(path, runs=3, warmup=0),
        ]
        lines = [["benchmark", path, "--runs", 3]]
        longer = ["report", whole, path, "--data", data, "--out", folder / "r.json"]
    lines += [longer] if thorough else []
    return [*map(_call, calls), *(_command(line, folder) for line in lines)]


def _call(function):
    try:
        function()
    except (ValueError, RuntimeError) as error:
        return _checked(str(error))
    return "fine"


def _command(line, folder):
    """What a command says; what it wrote is checked to be there only if it went well."""
    before = set(folder.iterdir())
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(list(map(str, line)))
    made = set(folder.iterdir()) - before
    if code == 0:
        return "fine"
    assert (code, made, output.getvalue()) == (1, set(), ""), (line, code, made)
    assert "Traceback" not in errors.getvalue(), errors.getvalue()
    return _checked(errors.getvalue().strip().splitlines()[-1])


def _checked(sentence):
    assert "xpected" in sentence, sentence
    assert "Received: " in sentence, sentence
    return sentence


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
                    copy.write_bytes(damaged(content, seed))
                    answers = ask(copy, Path(data), thorough=True)
                found.update((path.suffix, answer == "fine") for answer in answers)
                print(f"{path.suffix} {seed}: {' | '.join(a[:60] for a in answers)}", flush=True)
    for (suffix, fine), count in sorted(found.items()):
        print(f"{suffix}: {count} {'answers' if fine else 'refusals'}")


if __name__ == "__main__":
    _main()
