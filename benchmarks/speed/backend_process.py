"""Process that times training on one Keras backend, and measures the teacher's share of memory."""

import json
import sys

import keras
import numpy as np
from keras import distillation

import keras_kd as kd
from benchmarks.shared.step_networks import BATCH, SHAPES, STUDENTS, TEACHERS
from benchmarks.shared.timing import seconds_in_turns
from benchmarks.shared.training import build_cnn, sparse_loss

IMAGES = "28×28×1"
STEPS = 8


def student():
    return build_cnn("student", *STUDENTS[IMAGES], SHAPES[IMAGES])


def teacher():
    return build_cnn("teacher", *TEACHERS[IMAGES], SHAPES[IMAGES], seed=1)


class Batches(keras.utils.PyDataset):
    """The same batch, some times."""

    def __init__(self, count):
        super().__init__()
        rng = np.random.default_rng(0)
        self.x = rng.random((BATCH, *SHAPES[IMAGES]), "float32")
        self.y = rng.integers(0, 10, BATCH)
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.x, self.y


def in_memory(count):
    """Return batches, on TensorFlow without its autotuning thread, which outlives the data."""
    if keras.config.backend() != "tensorflow":
        return Batches(count)
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors(Batches(1)[0]).repeat(count).with_options(options)


def fit_runner(model):
    """Return a function that trains for some steps with `fit`."""
    model.compile("adam", sparse_loss())
    return lambda count: model.fit(in_memory(count), shuffle=False, verbose=0)


def forward_runner(model):
    """Return a function that runs a model on some batches."""
    x, _ = Batches(1)[0]
    return lambda count: [model.predict_on_batch(x) for _ in range(count)]


def measure_steps(turns, count):
    """Return the ratios of our step and Keras's to the student's step and the teacher's pass."""
    keras_distiller = distillation.Distiller(
        teacher=teacher(),
        student=student(),
        distillation_losses=distillation.LogitsDistillation(),
    )
    times = seconds_in_turns(
        {
            "student": fit_runner(student()),
            "teacher": forward_runner(teacher()),
            "ours": fit_runner(kd.Distiller(student(), teacher(), kd.losses.SoftTargets())),
            "keras": fit_runner(keras_distiller),
        },
        turns,
        count,
    )
    bound = times["student"] + times["teacher"]
    milliseconds = {f"{name}_ms": 1e3 * float(np.median(one)) for name, one in times.items()}
    ratios = {name: float(np.median(times[name] / bound)) for name in ("ours", "keras")}
    return {**ratios, **milliseconds}


def teacher_copies():
    """Return how often the teacher's weights are in memory during a step on JAX."""
    import jax

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.found = sum(array.nbytes for array in jax.live_arrays())

    def count(model):
        model.compile("adam", sparse_loss())
        callback, before = Count(), sum(array.nbytes for array in jax.live_arrays())
        model.fit(Batches(STEPS), verbose=0, callbacks=[callback])
        return callback.found - before

    alone = count(student())
    one, big = student(), teacher()
    size = sum(weight.value.nbytes for weight in big.weights)
    return (count(kd.Distiller(one, big)) - alone) / size + 1


def main(turns, count):
    metrics = measure_steps(turns, count)
    if keras.config.backend() == "jax":
        metrics["teacher_copies"] = teacher_copies()
    print(json.dumps(metrics))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
