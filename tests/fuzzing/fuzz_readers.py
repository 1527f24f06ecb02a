"""What readers are given that came from elsewhere, decided by a seed, and what must come of it.

Each reader is asked with `ask(seed)`: `True` means an answer, held against the right one; `False` a
refusal in our own words. Whatever else happens is an `AssertionError` or the reader's own error.
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

#: What no reader expects.
HOSTILE = (b"", b"[" * 100_000, b'{"a":' * 50_000, b"\x00" * 64, b"9" * 10_000, b"\x80\x04N.")


def refusal(function, kinds=(ValueError, RuntimeError)):
    """What a function answers, and the sentence with which it refuses to."""
    try:
        return function(), ""
    except kinds as error:
        return None, str(error)


def spoilt(content, rng):
    """A file's content with bits turned over, cut short, or replaced by something hostile."""
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

    def ask(self, seed):
        self.path.write_bytes(fuzz.damaged(self.content, seed))
        before = set(self.path.parent.iterdir())
        _, teacher_outputs = refusal(self._read)
        assert not teacher_outputs or (
            "xpected" in teacher_outputs and "Received: " in teacher_outputs
        ), teacher_outputs
        assert set(self.path.parent.iterdir()) == before
        return not teacher_outputs

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
        kd.KnowledgeCache.build(model, self.samples, folder / "whole", verbose=0)
        self.right = self._joined(folder / "whole")

    def ask(self, seed):
        rng = np.random.default_rng(seed)
        copy = shutil.copytree(self.folder / "whole", self.folder / "copy")
        try:
            path = copy / rng.choice(["manifest.json", *(p.name for p in copy.glob("*.npy"))])
            path.write_bytes(spoilt(path.read_bytes(), rng))
            found, teacher_outputs = refusal(lambda: self._joined(copy))
            assert not teacher_outputs or "KnowledgeCache" in teacher_outputs, teacher_outputs
            for one, other in zip(found or [], self.right if found else [], strict=True):
                np.testing.assert_array_equal(one, other)
            return not teacher_outputs
        finally:
            shutil.rmtree(copy)

    def _joined(self, path):
        data = kd.KnowledgeCache(path).join(kd.keyed(self.samples).batch(40))
        return [part.numpy() for part in keras.tree.flatten(next(iter(data)))]


class Checkpoints:
    """What `kd.callbacks.Resume` keeps: the newest that is whole must be the one used."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(16, 5)).astype("float32"), rng.integers(0, 4, 16)
        self.data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        network = [keras.Input((5,)), keras.layers.Dense(4)]
        self.model = kd.Distiller(keras.Sequential(network), keras.Sequential(network))
        self.model.compile("sgd")
        callbacks = [kd.callbacks.Resume(folder / "whole")]
        self.model.fit(self.data, epochs=3, verbose=0, callbacks=callbacks)
        #: By name, the epoch with which a run goes on that has this checkpoint and none after it.
        self.epochs = dict(zip(sorted(os.listdir(folder / "whole")), (2, 3), strict=True))

    def ask(self, seed):
        rng = np.random.default_rng(seed)
        copy = shutil.copytree(self.folder / "whole", self.folder / "copy")
        try:
            chosen = [name for name in self.epochs if rng.random() < 0.7]
            for name in chosen:
                path = copy / name / rng.choice(["about.json", "state.weights.h5"])
                path.write_bytes(spoilt(path.read_bytes(), rng))
            right = [epoch for name, epoch in self.epochs.items() if self._is_whole(copy / name)]
            given = {"x": self.data, "epochs": 5}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                resume = kd.callbacks.Resume(copy)
                run, message = refusal(lambda: ResumableRun(resume, self.model, given))
            assert bool(right) != ("are damaged" in message), message
            assert not right or run.arguments["initial_epoch"] == max(right), (chosen, right)
            return bool(right)
        finally:
            shutil.rmtree(copy)

    def _is_whole(self, path):
        first = self.folder / "whole" / path.name
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
    """Arguments of `keras-kd` that are no sensible ones: no model that is named can be read."""

    VALUES = (
        *("", "-1", "0", "nan", "1e309", "9" * 5000, "x" * 5000, "--", "-", "é🙂", "a b", "%s{0}"),
        *("../../etc/passwd", "/", ".", "~", "a.keras", "b.tflite", "bad.keras", "bad.tflite"),
        *("digits", "int8", "size", "line\nbreak", "\x00"),
    )
    OPTIONS = (
        *("--out", "--data", "--epochs", "--batch-size", "--seed", "--loss", "--temperature"),
        *("--weight", "--as", "--json", "--unsafe", "--runs", "--threads", "--teacher", "--title"),
        *("--labels", "--max-drop", "--objective", "--help", "--version", "--nothing"),
    )

    def __init__(self, folder):
        self.folder = folder / "outer" / "inner"
        self.folder.mkdir(parents=True)
        (self.folder / "bad.keras").write_bytes(b"PK\x03\x04" + bytes(50))
        (self.folder / "bad.tflite").write_bytes(bytes(8) + b"TFL3" + bytes(50))
        self.before = self._files()

    def ask(self, seed):
        rng = np.random.default_rng(seed)
        command = rng.choice(
            [*COMMANDS, "nothing", ""], p=[0.22, 0.22, 0.22, 0.22, 0.04, 0.04, 0.04]
        )
        words = [*rng.choice(self.VALUES, rng.integers(4))]
        for option in rng.choice(self.OPTIONS, rng.integers(5)):
            words += [option, *rng.choice(self.VALUES, rng.integers(2))]
        rng.shuffle(words)
        # The demo alone would be a sensible line.
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


def asked(reader, seeds):
    """How many of the seeds' inputs a reader answers; the others are refused."""
    with tempfile.TemporaryDirectory() as folder:
        made = READERS[reader](Path(folder))
        return sum(made.ask(seed) for seed in seeds)
