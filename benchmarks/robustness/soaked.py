"""One process of the soak: `python -m benchmarks.steps.soaked JOB FOLDER`.

It trains, or builds, with its state in the folder, says when its first new step is done and each
epoch that begins, and at the end writes what came of it as weights.npz.
"""

import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_kd as kd

CLASSES, EPOCHS, LATE = 4, 8, 3
WORKS = "works"


class Say(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self._resumed_at = self._step()

    def on_epoch_begin(self, epoch, logs=None):
        print(epoch, flush=True)

    def on_train_batch_end(self, batch, logs=None):
        # What was learned before the kill is passed over first.
        if self._resumed_at is not None and self._step() > self._resumed_at:
            print(WORKS, flush=True)
            self._resumed_at = None

    def _step(self):
        return int(self.model.optimizer.iterations)


def samples(count=512):
    rng = np.random.default_rng(0)
    x, y = rng.random((count, 8, 8, 1), "float32"), rng.integers(0, CLASSES, count)
    return tf.data.Dataset.from_tensor_slices((x, y))


def network(channels, dropout=0.0):
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(channels, 3, activation="relu")]
    layers += [keras.layers.BatchNormalization(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dropout(dropout), keras.layers.Dense(CLASSES)])


def fit(model, folder, every):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    train = samples().shuffle(512, seed=1).batch(32)
    callbacks = [kd.callbacks.Resume(folder / "run", every=every), Say()]
    model.fit(train, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    return model.get_weights()


def distillation(folder):
    """A checkpoint after each third step, so that many kills fall into the writing of one."""
    noise = kd.noise.LogitNoise(0.5, probability=0.5)
    return fit(kd.Distiller(network(4, dropout=0.5), network(16), noise=noise), folder, every=3)


def self_distillation(folder):
    return fit(kd.SelfDistiller(network(4, dropout=0.5), start=LATE), folder, every=8)


def cache(folder):
    path = folder / "cache"
    built = kd.KnowledgeCache.build(network(16), samples(300_000), path, dtype="float32", verbose=0)
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
        teachers=network(16),
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


def main(job, folder):
    folder = Path(folder)
    keras.utils.set_random_seed(0)
    if job == "pipeline":
        print(WORKS, flush=True)
    weights = JOBS[job](folder)
    np.savez(folder / "unfinished.npz", *weights)
    os.replace(folder / "unfinished.npz", folder / "weights.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
