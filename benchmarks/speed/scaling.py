"""Cost of distributing a step to 1, 2 and 4 logical devices of one processor, 32 samples on each.

The work grows with the devices and the cores do not, so this shows what replicas add to the work
(splitting batches, all-reduce), and no speed-up. `overhead` is the time of a step divided by the
time of one device times the number of devices.
"""

from benchmarks.runner.results import mean_sd, table
from benchmarks.shared.processes import run_workers

ALONE = True
DEVICES = (1, 2, 4)


def plan(done, seeds, quick):
    devices = (2,) if quick else DEVICES
    return [({"devices": count}, seed) for seed in range(seeds) for count in devices]


def run(cell, seed, quick):
    spec = {"devices": cell["devices"], "batch": 32, "steps": 6 if quick else 60, "seed": seed}
    return {"seconds": float(run_workers([spec])[0])}


def report(done):
    one, rows = done.values("seconds", devices=1), []
    for count in DEVICES:
        times = done.values("seconds", devices=count)
        ratios = [time / count / alone for time, alone in zip(times, one, strict=False)]
        rows.append(
            [
                count,
                32 * count,
                mean_sd(times, 1e3, 1) if times else "",
                mean_sd(ratios) if times and one else "",
            ]
        )
    return table(["logical devices", "samples per step", "ms", "overhead"], rows)
