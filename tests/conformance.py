"""Checks that every distiller must pass: one exact property per way of training.

A `Case` builds one distiller. Each function in `MODES` trains it in one way (from arrays, with XLA,
resumed from a checkpoint, ...) and compares the final weights with those of a plain run. To cover a
new distiller, add a `Case`.

On TensorFlow most runs are eager, which needs no tracing; `run_eagerly` compares the eager and the
compiled step.
"""

import contextlib
import functools
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_kd as kd
from tests import toy
from tests.gradients import has_float64

SAMPLES, BATCH, EPOCHS, CLASSES = 8, 4, 2, 4
STEPS = SAMPLES // BATCH
ONE_EPOCH = {"epochs": 1}
#: Whether a run is eager unless it says otherwise: where that is faster than to compile its step.
EAGER = keras.config.backend() == "tensorflow"
CLASS_WEIGHTS = {0: 1.0, 1: 2.0, 2: 0.0, 3: 0.5}


@dataclass(frozen=True)
class Build:
    """How a case builds its models.

    Attributes:
        random: Whether training draws random numbers: dropout and noise.
        normalized: Whether they have batch normalization.
        sequences: Whether their inputs are sequences, in which steps of zeros are masked.
        policy: Their dtype policy.
    """

    random: bool = True
    normalized: bool = True
    sequences: bool = False
    policy: str = "float32"

    def network(self, name, units=8, seed=0, classes=CLASSES):
        """A model with the taps `hidden` and `logits`."""
        keras.utils.set_random_seed(seed)
        x = inputs = keras.Input((None, 5) if self.sequences else (5,))
        x = layers.Masking()(x) if self.sequences else x
        x = layers.Dense(units, activation="relu", kernel_regularizer="l2", name="hidden")(x)
        x = layers.BatchNormalization(name="norm")(x) if self.normalized else x
        x = layers.Dropout(0.3, seed=seed, name="dropout")(x) if self.random else x
        model = keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)
        rng = np.random.default_rng(seed)  # Unlike initializers, the same for every dtype.
        for kernel in (weight for weight in model.weights if len(weight.shape) == 2):
            kernel.assign(rng.normal(0, 0.4, kernel.shape))
        return model


#: With all state that a model can have.
FULL = Build()
#: Without random numbers, which depend on dtype, XLA and batch size, and without batch statistics.
SIMPLE = Build(random=False, normalized=False)


@dataclass(frozen=True)
class Case:
    """A distiller to check.

    Attributes:
        name: Name of the case.
        make: Builds the uncompiled distiller, with the same weights every time.
        labeled: Whether it learns from labels.
        excluded: Names of the modes that it does not support, or that another case covers.
        attach: Gives the teachers to a distiller that was loaded from a file, or `None`.
    """

    name: str
    make: Callable[[Build], keras.Model]
    labeled: bool = True
    excluded: tuple[str, ...] = ()
    attach: Callable[[keras.Model, Build], None] | None = None

    @property
    def modes(self):
        """The names of the modes to check."""
        return [name for name in MODES if name not in (*self.excluded, *unavailable())]

    def compiled(self, build=FULL, run_eagerly=EAGER, labels=True, **arguments):
        """A new distiller, compiled."""
        keras.config.set_dtype_policy(build.policy)
        try:
            keras.utils.set_random_seed(1)
            model = self.make(build)
            if self.labeled and labels:
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                arguments |= {"loss": loss, "metrics": ["accuracy"]}
            optimizer = keras.optimizers.SGD(0.1, momentum=0.5)
            model.compile(optimizer, run_eagerly=run_eagerly, **arguments)
        finally:
            keras.config.set_dtype_policy("float32")
        return model

    def train(self, data, build=FULL, fit=None, **arguments):
        """The weights of a new distiller after `fit`."""
        model = self.compiled(build, **arguments)
        run_fit(model, data, **(fit or {}))
        return model.get_weights()


def unavailable():
    """The modes that this environment does not have."""
    found = []
    if importlib.util.find_spec("tensorflow") is None:
        found.append("resume")  # It finds its position in a `tf.data.Dataset` only.
    if keras.config.backend() == "torch":
        found.append("steps_per_execution")  # Keras has it on the other backends only.
    if not has_float64():
        found.append("float64")
    return found


def run_fit(model, data, **arguments):
    """Trains on a data set, or on the arguments of `fit` in a dict."""
    keras.utils.set_random_seed(2)
    data = data if isinstance(data, dict) else {"x": data}
    model.fit(**data, **{"shuffle": False, "epochs": EPOCHS, "verbose": 0, **arguments})


@functools.cache
def plain(case, build=FULL):
    """The weights after each epoch of a plain run on `batches`; it runs once per case."""
    model, weights = case.compiled(build), []
    record = lambda *_: weights.append(model.get_weights())  # noqa: E731
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=record)]
    run_fit(model, batches(*samples()), callbacks=callbacks)
    return weights


def samples(shape=(), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, *shape, 5)).astype("float32")
    return x, rng.integers(0, CLASSES, (SAMPLES, *shape))


def batches(*parts, batch=BATCH):
    return toy.batches(*parts, size=batch)


def assert_close(found, expected, rtol=1e-4, atol=1e-6):
    """Asserts that weights agree up to rounding: the runs add in a different order."""
    assert expected
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol, atol)


#: Asserts that weights are equal bit for bit.
assert_equal = functools.partial(assert_close, rtol=0, atol=0)


# Forms of the data.


def arrays(case):
    """Arrays give the weights of a `tf.data.Dataset` of the same samples."""
    x, y = samples()
    data = {"x": x, "y": y, "batch_size": BATCH}
    assert_equal(case.train(data, fit=ONE_EPOCH), plain(case)[0])


def py_dataset(case):
    """A `PyDataset` gives the weights of a `tf.data.Dataset` of the same samples."""
    data = toy.Batches(samples(), BATCH)
    assert_equal(case.train(data, fit=ONE_EPOCH), plain(case)[0])


def train_on_batch(case):
    """`train_on_batch` gives the weights of `fit`."""
    model = case.compiled()
    for x, y in batches(*samples()):
        model.train_on_batch(x, y)
    assert_equal(model.get_weights(), plain(case)[0])


# Ways of running.


def run_eagerly(case):
    """The compiled step gives the weights of the eager step."""
    assert_close(case.train(batches(*samples()), run_eagerly=not EAGER), plain(case)[-1])


def steps_per_execution(case):
    """Several steps per execution give the weights of single steps."""
    found = case.train(batches(*samples()), run_eagerly=False, steps_per_execution=STEPS)
    assert_close(found, plain(case)[-1])


def jit_compile(case):
    """XLA gives the weights of the eager step."""
    data = batches(*samples())
    found = case.train(data, SIMPLE, run_eagerly=False, jit_compile=True)
    assert_close(found, plain(case, SIMPLE)[-1])


def mixed_precision(case):
    """With loss scaling, the weights stay in float32 and close to those of a float32 run."""
    model = case.compiled(replace(SIMPLE, policy="mixed_float16"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    run_fit(model, batches(*samples()), **ONE_EPOCH)
    floats = {weight.dtype for weight in model.weights if "float" in weight.dtype}
    assert floats <= {"float32", "float64"}  # Hyperparameters are in float64.
    assert_close(model.get_weights(), plain(case, SIMPLE)[0], rtol=0.05, atol=5e-3)


def float64(case):
    """In float64 the weights are those of a float32 run, up to the rounding of float32."""
    x, y = samples()
    keras.config.set_floatx("float64")  # The dtype of compiled losses.
    try:
        model = case.compiled(replace(SIMPLE, policy="float64"))
        model.set_weights(case.compiled(SIMPLE).get_weights())
        run_fit(model, batches(x.astype("float64"), y), **ONE_EPOCH)
    finally:
        keras.config.set_floatx("float32")
    found = model.get_weights()
    assert {weight.dtype.name for weight in found if weight.ndim} == {"float64"}
    assert_close(found, plain(case, SIMPLE)[0])


# Weights, masks and labels.


def sample_weight(case):
    """Samples of weight 0 among samples of weight 2 change nothing."""
    pairs = zip(samples(), samples(seed=1), strict=True)
    x, y = (np.stack(pair, axis=1).reshape(-1, *pair[0].shape[1:]) for pair in pairs)
    weights = np.tile([2.0, 0.0], SAMPLES).astype("float32")
    found = case.train(batches(x, y, weights, batch=2 * BATCH), SIMPLE, ONE_EPOCH)
    assert_close(found, plain(case, SIMPLE)[0])


def class_weight(case):
    """Class weights equal the sample weights of the labels."""
    x, y = samples()
    weights = np.array([CLASS_WEIGHTS[label] for label in y], "float32")
    found = case.train({"x": batches(x, y), "class_weight": CLASS_WEIGHTS}, fit=ONE_EPOCH)
    assert_equal(found, case.train(batches(x, y, weights), fit=ONE_EPOCH))


def masks(case):
    """Masked steps at the end of the sequences change nothing."""
    (x, y), build = samples(shape=(3,)), replace(SIMPLE, sequences=True)
    padded = np.pad(x, [(0, 0), (0, 2), (0, 0)]), np.pad(y, [(0, 0), (0, 2)])
    found = case.train(batches(*padded), build, ONE_EPOCH)
    assert_close(found, case.train(batches(x, y), build, ONE_EPOCH))


def unlabeled(case):
    """Samples without a label give the weights of training without labels."""
    x, y = samples()
    unknown = np.full_like(y, kd.UNLABELED)
    found = case.train(batches(x, unknown), fit=ONE_EPOCH)
    assert_equal(found, case.train(batches(x), fit=ONE_EPOCH, labels=False))


# State.


def save_and_load(case):
    """Training continues after saving and loading as without."""
    model = case.compiled()
    run_fit(model, batches(*samples()), epochs=1)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        loaded = keras.models.load_model(Path(folder) / "model.keras")
    if case.attach is not None:
        case.attach(loaded, FULL)
    loaded.run_eagerly = EAGER
    run_fit(loaded, batches(*samples()), initial_epoch=1)
    assert_equal(loaded.get_weights(), plain(case)[-1])


def resume(case):
    """A run that `Resume` continues within an epoch gives the weights of an uninterrupted one."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = kd.callbacks.Resume(folder, every=STEPS + 1)
        assert_equal(_interrupted(case, checkpoints, STEPS + 2), plain(case)[-1])


def backup_and_restore(case):
    """A run that Keras's `BackupAndRestore` continues gives the weights of an uninterrupted one."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = keras.callbacks.BackupAndRestore(folder)
        assert_equal(_interrupted(case, checkpoints, STEPS + 1), plain(case)[-1])


class Stop(keras.callbacks.Callback):
    """Ends a run after some steps, like Ctrl-C."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def _interrupted(case, checkpoints, steps):
    """The weights of a run that is stopped after some steps and started again."""
    data = batches(*samples())
    with contextlib.suppress(KeyboardInterrupt):
        case.train(data, fit={"callbacks": [checkpoints, Stop(steps)]})
    return case.train(data, fit={"callbacks": [checkpoints]})


#: The properties by name.
MODES = {
    mode.__name__: mode
    for mode in (
        *(arrays, py_dataset, train_on_batch),
        *(run_eagerly, steps_per_execution, jit_compile, mixed_precision, float64),
        *(sample_weight, class_weight, masks, unlabeled),
        *(save_and_load, resume, backup_and_restore),
    )
}
