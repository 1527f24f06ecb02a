"""Time of functions that take turns, so that a busy machine slows all of them alike."""

import random
import time

import numpy as np


def seconds_per_call(function, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def seconds_by_block(functions, blocks, repeats):
    """Time functions one after the other, block by block.

    Returns:
        Seconds per call, of shape `(blocks, functions)`. A first block that traces the functions is
        not included.
    """
    times = [[seconds_per_call(one, repeats) for one in functions] for _ in range(blocks + 1)]
    return np.array(times[1:])


def seconds_in_turns(runs, turns, count):
    """Time functions in turns, each turn in another order.

    Args:
        runs: Functions by name, each of which takes a number of steps to run.
        turns: Number of turns, besides a first one that traces the functions.
        count: Steps of a function in each turn.

    Returns:
        Seconds per step by name, of shape `(turns,)` each.
    """
    times = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name in random.Random(turn).sample(sorted(runs), len(runs)):
            start = time.perf_counter()
            runs[name](count)
            if turn:
                times[name].append((time.perf_counter() - start) / count)
    return {name: np.array(values) for name, values in times.items()}
