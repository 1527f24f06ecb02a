"""One worker of a job on several processes, for tests: `python -m tests.worker INDEX ADDRESSES`.

It trains a case of tests/replicas.py, once with `fit` of Keras too, and prints as JSON what was
found. With `--folder` it trains with `kd.callbacks.Resume` there, and can be told to die at a step.
"""

import argparse
import json
import os
import signal


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("index", type=int)
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--folder")
    parser.add_argument("--dies-at", type=int)
    options = parser.parse_args()
    task = {"type": "worker", "index": options.index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": options.addresses}, "task": task})
    import tensorflow as tf

    # Before anything else: it opens the connections.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    found = resumed(strategy, options) if options.folder else compared(strategy)
    print(json.dumps(found), flush=True)
    os._exit(0)  # What is left of the connections may hold a worker up.


def compared(strategy):
    """What comes of a case, and of Keras's own `fit`."""
    import keras

    from tests import replicas

    model, history = replicas.train(replicas.everything, strategy)
    found = {"weights": [w.tolist() for w in model.get_weights()], "history": history}
    with strategy.scope():
        plain = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
        plain.compile("sgd", replicas.toy.sparse_loss())
    try:
        plain.fit(replicas.data(), verbose=0)
        found["keras"] = "trains"
    except Exception as error:
        found["keras"] = f"{type(error).__name__}: {error}"
    return found


def resumed(strategy, options):
    """The weights of a run that keeps its state on disk, or the error that ended it."""
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
    callbacks += [Die()] if options.dies_at else []
    try:
        model, _ = replicas.train(replicas.soft_targets, strategy, callbacks=callbacks)
    except RuntimeError as error:
        return {"error": str(error)}
    return {"weights": [w.tolist() for w in model.get_weights()]}


if __name__ == "__main__":
    main()
