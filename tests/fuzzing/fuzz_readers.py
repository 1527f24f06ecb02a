"""Damaged and hostile inputs for everything that reads files or arguments.

`read(seed)` of a reader passes it the input of the seed. It returns `True` if the input is accepted
with the correct result and `False` if it is rejected with a readable error; it raises otherwise.
"""

import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from keras_kd.callbacks.resume import ResumableRun
from keras_kd.cli.main import COMMANDS, main
from keras_kd.cli.models import load_model
from tests.fuzzing import fuzz

#: Contents that no format allows.
HOSTILE = (b"", b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 64, b"9" * 10_000, b"\x80\x04N.")


def call(function, kinds=(ValueError, RuntimeError)):
    """The result of a function and "", or `None` and its error."""
    try:
        return function(), ""
    except kinds as error:
        return None, str(error)


def damage(content, rng):
    """Flips bits of a file's content, truncates it, or replaces it by something hostile."""
    way = rng.choice(3, p=(0.6, 0.25, 0.15))
    if way == 0:
        data = bytearray(content)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        return bytes(data)
    return content[: rng.integers(len(content))] if way == 1 else HOSTILE[rng.choice(len(HOSTILE))]


class ModelFiles:
    """.keras or .tflite files."""

    def __init__(self, folder, suffix):
        fuzz.write_models(folder)
        self.content = (folder / f"m{suffix}").read_bytes()
        self.path = folder / f"damaged{suffix}"

    def read(self, seed):
        self.path.write_bytes(fuzz.damage(self.content, seed))
        before = set(self.path.parent.iterdir())
        _, error = call(self._read)
        assert not error or ("xpected" in error and "Received: " in error), error
        assert set(self.path.parent.iterdir()) == before
        return not error

    def _read(self):
        if self.path.suffix == ".keras":
            return load_model(self.path, unsafe=False)
        return kd.export.evaluate(self.path, fuzz.DATA)


class Caches:
    """Knowledge caches: the manifest, and the files of the values."""

    def __init__(self, folder):
        self.folder = folder
        x = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
        self.samples = tf.data.Dataset.from_tensor_slices(x)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)], name="teacher")
        kd.KnowledgeCache.build(model, self.samples, folder / "intact", verbose=0)
        self.expected = self._joined(folder / "intact")

    def read(self, seed):
        rng = np.random.default_rng(seed)
        copy = shutil.copytree(self.folder / "intact", self.folder / "copy")
        try:
            path = copy / rng.choice(["manifest.json", *(p.name for p in copy.glob("*.npy"))])
            path.write_bytes(damage(path.read_bytes(), rng))
            found, error = call(lambda: self._joined(copy))
            assert not error or "KnowledgeCache" in error, error
            for one, other in zip(found or [], self.expected if found else [], strict=True):
                np.testing.assert_array_equal(one, other)
            return not error
        finally:
            shutil.rmtree(copy)

    def _joined(self, path):
        data = kd.KnowledgeCache(path).join(kd.keyed(self.samples).batch(40))
        return [part.numpy() for part in keras.tree.flatten(next(iter(data)))]


class Checkpoints:
    """Checkpoints of `kd.callbacks.Resume`, which must use the newest intact one."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(16, 5)).astype("float32"), rng.integers(0, 4, 16)
        self.data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        student, teacher = (
            keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)]) for _ in range(2)
        )
        self.model = kd.Distiller(student, teacher)
        self.model.compile("sgd")
        callbacks = [kd.callbacks.Resume(folder / "intact")]
        self.model.fit(self.data, epochs=3, verbose=0, callbacks=callbacks)
        #: By name, the epoch in which a run continues from this checkpoint.
        self.epochs = dict(zip(sorted(os.listdir(folder / "intact")), (2, 3), strict=True))

    def read(self, seed):
        rng = np.random.default_rng(seed)
        copy = shutil.copytree(self.folder / "intact", self.folder / "copy")
        try:
            chosen = [name for name in self.epochs if rng.random() < 0.7]
            for name in chosen:
                path = copy / name / rng.choice(["about.json", "state.weights.h5"])
                path.write_bytes(damage(path.read_bytes(), rng))
            usable = [epoch for name, epoch in self.epochs.items() if self._is_intact(copy / name)]
            given = {"x": self.data, "epochs": 5}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                resume = kd.callbacks.Resume(copy)
                run, message = call(lambda: ResumableRun(resume, self.model, given))
            assert bool(usable) != ("are damaged" in message), message
            assert not usable or run.arguments["initial_epoch"] == max(usable), (chosen, usable)
            return bool(usable)
        finally:
            shutil.rmtree(copy)

    def _is_intact(self, path):
        first = self.folder / "intact" / path.name
        weights, about = "state.weights.h5", "about.json"
        if (path / weights).read_bytes() != (first / weights).read_bytes():
            return False
        try:
            return json.loads((path / about).read_bytes()) == json.loads(
                (first / about).read_bytes()
            )
        except (ValueError, RecursionError):
            return False


class CommandLines:
    """Wrong arguments of `keras-kd`: none of the models can be read."""

    VALUES = (
        *("", "-1", "0", "nan", "1e309", "9" * 5000, "x" * 5000, "--", "-", "é🙂", "a b", "%s{0}"),
        *("../../etc/passwd", "/", ".", "~", "a.keras", "b.tflite", "bad.keras", "bad.tflite"),
        *("digits", "int8", "size", "line\nbreak", "\x00"),
    )
    OPTIONS = (
        *("--out", "--data", "--epochs", "--batch-size", "--seed", "--loss", "--temperature"),
        *("--weight", "--as", "--json", "--unsafe", "--runs", "--threads", "--teacher", "--title"),
        *(
            "--labels",
            "--max-drop",
            "--objective",
            "--max-size",
            "--help",
            "--version",
            "--nothing",
        ),
    )

    def __init__(self, folder):
        self.folder = folder / "outer" / "inner"
        self.folder.mkdir(parents=True)
        (self.folder / "bad.keras").write_bytes(b"PK\x03\x04" + bytes(50))
        (self.folder / "bad.tflite").write_bytes(bytes(8) + b"TFL3" + bytes(50))
        self.before = self._files()

    def read(self, seed):
        rng = np.random.default_rng(seed)
        rare = ("demo", "nothing", "")
        others = [name for name in COMMANDS if name not in rare]
        shares = [0.9 / len(others)] * len(others) + [0.04, 0.03, 0.03]
        command = rng.choice([*others, *rare], p=shares)
        words = [*rng.choice(self.VALUES, rng.integers(4))]
        for option in rng.choice(self.OPTIONS, rng.integers(5)):
            words += [option, *rng.choice(self.VALUES, rng.integers(2))]
        rng.shuffle(words)
        # The demo alone would be valid.
        line = [command, *words, *(["--nothing"] if command == "demo" else [])]
        output, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            try:
                code = main([str(word) for word in line])
            except SystemExit as end:
                code = end.code
        assert self._files() == self.before, line
        if code == 0:
            assert {"--help", "--version"} & set(line), line
            return True
        assert code in (1, 2), (line, code)
        assert "Traceback" not in errors.getvalue(), errors.getvalue()
        assert "error: " in errors.getvalue(), (line, errors.getvalue())
        return False

    def _files(self):
        return sorted(self.folder.parent.rglob("*"))


READERS = {
    ".keras": lambda folder: ModelFiles(folder, ".keras"),
    ".tflite": lambda folder: ModelFiles(folder, ".tflite"),
    "knowledge cache": Caches,
    "checkpoint": Checkpoints,
    "command line": CommandLines,
}


def count_accepted(reader, seeds):
    """How many of the seeds' inputs a reader accepts; it must reject the others."""
    with tempfile.TemporaryDirectory() as folder:
        built = READERS[reader](Path(folder))
        return sum(built.read(seed) for seed in seeds)
