"""Process that times the distiller's step on one thread, with the protocol of torch_process.py."""

import sys
import time

import tensorflow as tf

from benchmarks.speed.steps import Steps


def main(images):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    steps = Steps(images, 0)
    run = steps.runner(steps.distiller())
    run(1)
    print("ready", tf.__version__, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
