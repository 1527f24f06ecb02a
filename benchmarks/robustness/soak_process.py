"""Process of the soak test: `python -m benchmarks.robustness.soak_process JOB FOLDER`.

It trains or builds with its state in the folder, prints a line when its first new step is done and
one for each epoch that begins, and writes the resulting weights to weights.npz at the end.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd
from keras_kd.files import atomic_write

CLASSES, EPOCHS, START = 4, 8, 3
STARTED = "started"


def main(job, folder):
    folder = Path(folder)
    keras.utils.set_random_seed(0)
    if job == "pipeline":
        print(STARTED, flush=True)
    weights = JOBS[job](folder)
    with atomic_write(folder / "weights.npz") as temporary:
        np.savez(temporary, *weights)


class Progress(keras.callbacks.Callback):
    """Print the first new step and each epoch."""

    def on_train_begin(self, logs=None):
        self._resumed_at = self._step()

    def on_epoch_begin(self, epoch, logs=None):
        print(epoch, flush=True)

    def on_train_batch_end(self, batch, logs=None):
        # A resumed run first skips the steps that were done before the kill.
        if self._resumed_at is not None and self._step() > self._resumed_at:
            print(STARTED, flush=True)
            self._resumed_at = None

    def _step(self):
        return int(self.model.optimizer.iterations)


def samples(count=512):
    rng = np.random.default_rng(0)
    x, y = rng.random((count, 8, 8, 1), "float32"), rng.integers(0, CLASSES, count)
    return tf.data.Dataset.from_tensor_slices((x, y))


def build_network(channels, dropout=0.0):
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(channels, 3, activation="relu")]
    layers += [keras.layers.BatchNormalization(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dropout(dropout), keras.layers.Dense(CLASSES)])


def fit(model, folder, every):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    train = samples().shuffle(512, seed=1).batch(32)
    callbacks = [kd.callbacks.Resume(folder / "run", every=every), Progress()]
    model.fit(train, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return model.get_weights()


def distillation(folder):
    """A checkpoint after every third step, so that many kills interrupt the writing of one."""
    noise = kd.noise.LogitNoise(0.5, probability=0.5)
    student = build_network(4, dropout=0.5)
    losses = kd.losses.SoftTargets()
    return fit(kd.Distiller(student, build_network(16), losses, noise=noise), folder, every=3)


def self_distillation(folder):
    return fit(kd.SelfDistiller(build_network(4, dropout=0.5), start=START), folder, every=8)


def cache(folder):
    path, teacher = folder / "cache", build_network(16)
    built = kd.KnowledgeCache.build(teacher, samples(300_000), path, dtype="float32", verbose=0)
    batch = next(iter(built.join(kd.keyed(samples()).batch(512))))
    return [np.asarray(part) for part in keras.tree.flatten(batch)]


def pipeline(folder):
    stage, loss = kd.compression.Stage, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    student = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    stages = [stage("distill", epochs=2), stage("prune", epochs=2), stage("cluster", epochs=1)]
    result = kd.compression.pipeline(
        stages,
        student,
        folder / "stages",
        data=samples().batch(32),
        teachers=build_network(16),
        loss=loss,
        verbose=0,
    )
    return result.model.get_weights()


JOBS = {
    "distillation": distillation,
    "self-distillation": self_distillation,
    "cache": cache,
    "pipeline": pipeline,
}


if __name__ == "__main__":
    main(*sys.argv[1:])
