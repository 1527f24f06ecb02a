"""The memory that a cache takes while it is built and while it is read, for two sizes of data.

Synthetic samples, made as they are read; a teacher of 100 classes, float16; batches of 500; two
epochs of joined batches, shuffled 10,000 at a time. Each part runs in a process of its own. What is
resident is counted as the kernel does: what is the process's own, and apart from it pages of files,
which the kernel takes back when it needs them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.runner.results import mean_sd, table

SIZES = (60_000, 600_000)
PARTS = ("build", "join")
CHILD = """
import json, sys, threading, time
from pathlib import Path
import keras, tensorflow as tf
import keras_kd as kd
part, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def status():
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {key: int(found[key].split()[0]) / 1024 for key in ("RssAnon", "RssFile")}

peaks = {"RssAnon": 0.0, "RssFile": 0.0}
def watch():
    while True:
        now = status()
        for key in peaks:
            peaks[key] = max(peaks[key], now[key])
        time.sleep(0.02)

def batches(keys):
    def made(key):
        x = key[:, None] * tf.range(1, 65, dtype=tf.int64) % 251
        return (kd.Keyed(tf.cast(x, tf.float32) / 251, key),)
    return keys.batch(500).map(made)

keys = tf.data.Dataset.range(count)
keras.utils.set_random_seed(0)
teacher = keras.Sequential([keras.Input((64,)), keras.layers.Dense(100)], name="teacher")
if part == "join":
    cache = kd.KnowledgeCache(folder)
    for _ in cache.join(batches(keys.take(500).shuffle(500))):
        pass
else:
    for batch in batches(keys.take(500)):
        teacher(batch[0].x)
before = status()
threading.Thread(target=watch, daemon=True).start()
if part == "build":
    kd.KnowledgeCache.build(teacher, batches(keys), folder, verbose=0)
else:
    joined = cache.join(batches(keys.shuffle(10_000)))
    for epoch in range(2):
        for _ in joined:
            pass
print(json.dumps({"own": peaks["RssAnon"], "files": peaks["RssFile"], **{
    "grown": peaks["RssAnon"] - before["RssAnon"]}}))
"""


def plan(done, seeds, quick):
    sizes = SIZES[:1] if quick else SIZES
    return [({"samples": size}, seed) for seed in range(seeds) for size in sizes]


def run(cell, seed, quick):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        for part in PARTS:
            command = [sys.executable, "-c", CHILD, part, str(cell["samples"]), str(path)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for key, value in json.loads(printed.splitlines()[-1]).items():
                found[f"{part}_{key}"] = value
        found["bytes"] = sum(file.stat().st_size for file in path.glob("*.npy"))
    return found


def report(done):
    rows = []
    for part in PARTS:
        for size in sorted({run["cell"]["samples"] for run in done.runs}):
            values = {
                key: mean_sd(done.values(f"{part}_{key}", samples=size), digits=0)
                for key in ("own", "grown", "files")
            }
            stored = mean_sd(done.values("bytes", samples=size), 1e-6, 0)
            rows.append([part, f"{size:,}", stored, *values.values()])
    header = [
        "part",
        "samples",
        "MB on disk",
        "peak MB of the process",
        "of which since it began",
        "MB of mapped files",
    ]
    return table(header, rows)
