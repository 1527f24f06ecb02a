"""Process that builds or reads a cache and prints its memory in MB as JSON.

`python -m benchmarks.cache.memory_process build|join SAMPLES FOLDER`
"""

import json
import sys
import threading
import time
from pathlib import Path

import keras
import tensorflow as tf

import keras_kd as kd

KINDS = ("RssAnon", "RssFile")


def main(part, count, folder):
    keys = tf.data.Dataset.range(int(count))
    keras.utils.set_random_seed(0)
    teacher = keras.Sequential([keras.Input((64,)), keras.layers.Dense(100)], name="teacher")
    if part == "build":
        for batch in to_batches(keys.take(500)):
            teacher(batch[0].x)
        before, peaks = resident(), watch_peaks()
        kd.KnowledgeCache.build(teacher, to_batches(keys), folder, verbose=0)
    else:
        cache = kd.KnowledgeCache(folder)
        consume(cache.join(to_batches(keys.take(500).shuffle(500))))
        before, peaks = resident(), watch_peaks()
        joined = cache.join(to_batches(keys.shuffle(10_000)))
        for _ in range(2):
            consume(joined)
    own = peaks["RssAnon"]
    print(json.dumps({"own": own, "files": peaks["RssFile"], "grown": own - before["RssAnon"]}))


def to_batches(keys):
    """Return batches of synthetic samples, each made of its key."""

    def make(key):
        x = key[:, None] * tf.range(1, 65, dtype=tf.int64) % 251
        return (kd.Keyed(tf.cast(x, tf.float32) / 251, key),)

    return keys.batch(500).map(make)


def consume(dataset):
    for _ in dataset:
        pass


def resident():
    """Return the resident memory in MB by kind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {kind: int(values[kind].split()[0]) / 1024 for kind in KINDS}


def watch_peaks():
    """Return a dict of the highest resident memory, which a thread keeps up to date."""
    peaks = dict.fromkeys(KINDS, 0.0)

    def watch():
        while True:
            now = resident()
            for kind in KINDS:
                peaks[kind] = max(peaks[kind], now[kind])
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    return peaks


if __name__ == "__main__":
    main(*sys.argv[1:])
