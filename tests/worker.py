"""A worker of a job on several processes: `python -m tests.worker INDEX ADDRESS ADDRESS FOLDER`.

It trains with `kd.callbacks.Resume` in a folder, then everything of tests/replicas.py, then with
`fit` of Keras, builds its part of a cache, and prints the results as JSON. `--dies-at STEP` kills
it during the first.
"""

import argparse
import json
import os
import signal


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=int)
    parser.add_argument("addresses", nargs=2)
    parser.add_argument("folder")
    parser.add_argument("--dies-at", type=int)
    options = parser.parse_args()
    task = {"type": "worker", "index": options.index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": options.addresses}, "task": task})
    import tensorflow as tf

    from tests import quick_tensorflow

    quick_tensorflow.configure()
    # Before anything else: it opens the connections.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    print(json.dumps(results(strategy, options)), flush=True)
    os._exit(0)  # Open connections may keep a worker from ending.


def results(strategy, options):
    import keras

    import keras_kd as kd
    from tests import replicas

    class Die(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == options.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    callbacks = [kd.callbacks.Resume(options.folder, every=2)]
    try:
        resumed = replicas.soft_targets(strategy, [*callbacks, Die()])
    except RuntimeError as error:
        return {"error": str(error)}
    model, history = replicas.everything(strategy)
    found = {"resumed": resumed, "history": history, "keras": fit_of_keras(strategy)}
    found["shard"] = replicas.cache(strategy, f"{options.folder}/cache")
    return {**found, "weights": [w.tolist() for w in model.get_weights()]}


def fit_of_keras(strategy):
    """The error of Keras's own `fit`, or "trains"."""
    import keras

    from tests import replicas

    with strategy.scope():
        plain = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
        plain.compile("sgd", replicas.toy.sparse_loss())
    try:
        plain.fit(replicas.data(), verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "trains"


if __name__ == "__main__":
    main()
