"""The distiller's step on one thread; speaks as torch_step.py does."""

import sys
import time

import tensorflow as tf

from benchmarks.speed.step_cost import Steps


def main(images):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    steps = Steps(images, 0)
    run = steps.of(steps.distiller())
    run(1)
    print("ready", tf.__version__, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        run(int(line))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
