"""One worker of a job on several processes, for tests: `python -m tests.worker INDEX ADDRESSES`.

It trains a case of tests/replicas.py, once with `fit` of Keras too, and prints as JSON what was
found.
"""

import json
import os
import sys


def main(index, *addresses):
    cluster = {"worker": list(addresses)}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": cluster, "task": {"type": "worker", "index": int(index)}}
    )
    import keras
    import tensorflow as tf

    # Before anything else: it opens the connections.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
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
    print(json.dumps(found), flush=True)
    os._exit(0)  # What is left of the connections may hold a worker up.


if __name__ == "__main__":
    main(*sys.argv[1:])
