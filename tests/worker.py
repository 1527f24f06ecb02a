"""A worker of a job on several processes.

It trains with `kd.callbacks.Resume` in a folder, then everything of tests/replicas.py, then with
`fit` of Keras, and builds its part of a cache.
"""

import json
import os
import signal

import keras
import tensorflow as tf

import keras_kd as kd
from tests import quick_tensorflow, replicas


def work(index, addresses, folder, dies_at=None):
    """Return the results of a worker, which is killed at a step of the first training if asked."""
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    quick_tensorflow.configure()
    # Before anything else: it opens the connections.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    callbacks = [kd.callbacks.Resume(folder, every=2)]
    try:
        resumed = replicas.soft_targets(strategy, [*callbacks, Die(dies_at)])
    except RuntimeError as error:
        return {"error": str(error)}
    model, history = replicas.everything(strategy)
    found = {"resumed": resumed, "history": history, "keras": fit_of_keras(strategy)}
    found["shard"] = replicas.cache(strategy, f"{folder}/cache")
    return {**found, "weights": model.get_weights()}


class Die(keras.callbacks.Callback):
    """Kill the process at a step."""

    def __init__(self, step):
        super().__init__()
        self.step, self.steps = step, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def fit_of_keras(strategy):
    """The error of Keras's own `fit`, or "trains"."""
    with strategy.scope():
        plain = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
        plain.compile("sgd", replicas.toy.sparse_loss())
    try:
        plain.fit(replicas.data(), verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "trains"
