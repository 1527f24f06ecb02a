"""Run the plan of the CIFAR-100 pairs until the time is over."""

import traceback

from benchmarks.gpu.cifar100 import plan
from benchmarks.gpu.compiler import Compiler
from benchmarks.gpu.epochs import LENGTH, Recipe
from benchmarks.gpu.images import ABOUT
from benchmarks.gpu.pair_runs import OutOfTimeError, PairRuns
from benchmarks.gpu.results import take_home

#: Share of the time for each pair: a residual network takes more of it for the same epochs.
SHARES = {"vgg": 0.4, "resnet": 0.6, "tiny": 1.0}
DIFFERENCES = (
    "batches of 128 instead of 64, with twice the learning rate",
    "the last, incomplete batch of an epoch is dropped",
    "mixed bfloat16 with float32 weights and logits",
    "batch normalization averages the biased variance",
    "teacher logits are looked up in a table of all 162 views of an image",
)


def run_plan(images, options, results, clock):
    """Run the jobs of the plan in order until the time is over; each is written at its end."""
    if clock.left() <= 0:
        clock.report("no time left")
        return
    try:
        run_jobs(start_pairs(images, options, clock), options, results, clock)
    except OutOfTimeError as error:
        clock.report(f"stopped: {error}")


def start_pairs(images, options, clock):
    """Return the runs of each pair, with the first programs compiled and measured."""
    recipe = Recipe(images.count, options.batch, options.chunk)
    compiler, folder = Compiler(options.threads, clock.report), options.work / "teachers"
    pairs = {
        name: PairRuns(name, images, recipe, compiler, folder, clock.left) for name in options.pairs
    }
    for runs in pairs.values():  # XLA times its kernels, so nothing else may run meanwhile.
        runs.wait()
    for name, runs in pairs.items():
        runs.calibrate()
        clock.report(f"{name}: seconds per epoch {runs.rates}")
    return pairs


def run_jobs(pairs, options, results, clock):
    """Run the jobs that are not done."""
    epochs = choose_epochs(pairs, options, results.done, clock.total_left())
    clock.report(f"epochs: {epochs}")
    for runs in pairs.values():
        runs.compile_methods()
    for cell, seed in plan(epochs, options.seeds):
        runs = pairs[cell["pair"]]
        trained = cell["method"] != "teacher" or runs.teacher_path(seed).exists()
        if (cell, seed) in results.done and trained:
            continue
        if runs.estimate(cell["method"], cell["epochs"]) > clock.left():
            raise OutOfTimeError(f"no time left for {cell}, seed {seed}")
        try:
            run_job(runs, cell, seed, options, results, clock)
        except OutOfTimeError:
            raise
        except Exception as error:  # The other runs do not need this one.
            traceback.print_exc()
            results.fail(f"{cell}, seed {seed}", error)
    clock.report("all runs are finished")


def run_job(runs, cell, seed, options, results, clock):
    """Run one job and write its result."""
    start = clock.elapsed()
    metrics = runs.run(cell["method"], seed, cell["epochs"])
    results.add(cell, seed, metrics, clock.elapsed() - start)
    if cell["method"] == "teacher":
        take_home(runs.teacher_path(seed), options.out)
    clock.report(f"{cell}, seed {seed}: {metrics}")


def choose_epochs(pairs, options, done, seconds):
    """Return the epochs of each pair: as given, as in earlier runs, or what fits, at most 240."""
    chosen, shares = {}, sum(SHARES[name] for name in pairs)
    for name, runs in pairs.items():
        earlier = [run["cell"]["epochs"] for run in done.where(pair=name)]
        if name in options.epochs:
            chosen[name] = options.epochs[name]
        elif earlier:
            chosen[name] = earlier[-1]
        else:
            budget, fixed = seconds * SHARES[name] / shares, runs.seconds(0, options.seeds)
            per_epoch = runs.seconds(1, options.seeds) - fixed
            chunks = int((budget - fixed) / per_epoch) // runs.recipe.chunk
            chosen[name] = min(LENGTH, max(1, chunks) * runs.recipe.chunk)
    return chosen


def about(options):
    """Return what applies to all runs."""
    return {"data": ABOUT, "batch": options.batch, "differences": list(DIFFERENCES)}
