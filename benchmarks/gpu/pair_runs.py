"""All runs of one pair of networks: its programs, teachers, look-up tables and timings."""

import time
from functools import partial

import jax
import jax.numpy as jnp

from benchmarks.gpu import weights
from benchmarks.gpu.cifar100 import METHODS, TEACHERS, program_of
from benchmarks.gpu.epochs import (
    LENGTH,
    Training,
    accuracy_function,
    groups_of,
    table_function,
    values_of,
)
from benchmarks.gpu.images import PAD, VIEWS
from benchmarks.gpu.methods import build_training
from benchmarks.gpu.networks import PAIRS, build

#: The programs that the first measurement needs.
FIRST = ("teacher", "alone")
#: A distilled student's epoch in epochs of the student alone, before it is measured.
DISTILLED = 1.15


class OutOfTimeError(Exception):
    """A run was stopped at the end of the given time."""


class PairRuns:
    """Runs of one pair.

    A teacher runs once on every view of every training image; the students look its logits up. So
    all methods and seeds see the live teacher's outputs for the student's own view, and cost what
    the student costs.

    Args:
        pair: Name in `PAIRS`.
        images: The data, on the device.
        recipe: The settings of all trainings.
        compiler: Compiles the programs.
        folder: Folder of the trained teachers.
        seconds_left: Function that returns the seconds until the end of the given time.
    """

    def __init__(self, pair, images, recipe, compiler, folder, seconds_left):
        self.pair, self.images, self.recipe = pair, images, recipe
        self.compiler, self.folder, self.seconds_left = compiler, folder, seconds_left
        self.teacher, self.student = PAIRS[pair]
        self.trainings, self.compiled, self.tables, self.accuracies = {}, {}, {}, {}
        self.rates = {}  # Seconds per epoch, by program.
        for name in FIRST:
            self._submit(name, partial(self._make_training, name))

    def wait(self):
        """Wait until the programs of the teacher and of the student alone are compiled."""
        for program in self.compiled.values():
            program.result()

    def calibrate(self):
        """Measure the seconds of an epoch of the teacher and of the student alone."""
        for program in FIRST:
            for _ in range(2):  # The first loads the program.
                self._train(program, [], 0, LENGTH, self.recipe.chunk)

    def compile_methods(self):
        """Start to compile everything else, in the order of use."""
        x, y = self.images.x_test, self.images.y_test
        networks = [self.trainings[name].network for name in FIRST]
        weights_of = [values_of(groups_of(network)) for network in networks]
        functions = [accuracy_function(network) for network in networks]
        self._submit("teacher accuracy", lambda: (functions[0], (weights_of[0], x, y)))
        table = table_function(networks[0], self.images.count)
        self._submit("table", lambda: (table, (weights_of[0], self.images.x)))
        self._submit("alone accuracy", lambda: (functions[1], (weights_of[1], x, y)))
        for method in METHODS:
            if method not in self.compiled:
                self._submit(method, partial(self._make_training, method))

    def estimate(self, method, epochs):
        """Return the expected seconds of a run."""
        if method == "teacher":
            return epochs * self.rates["teacher"]
        program, teachers = program_of(method)
        rate = self.rates.get(program, DISTILLED * self.rates["alone"])
        missing = sum(teacher not in self.tables for teacher in teachers)
        return epochs * rate + missing * self.table_seconds

    @property
    def table_seconds(self):
        """Expected seconds of a table: of a training step, a third is the forward pass."""
        return VIEWS * self.rates["teacher"] / 3

    def seconds(self, epochs, seeds):
        """Return the expected seconds of all teachers, tables and methods."""
        distilled = len(METHODS) - 1
        students = seeds * self.rates["alone"] * (1 + DISTILLED * distilled)
        return (
            epochs * (TEACHERS * self.rates["teacher"] + students) + TEACHERS * self.table_seconds
        )

    def teacher_path(self, number):
        return self.folder / f"{self.teacher}_{number}.npz"

    def run(self, method, seed, epochs):
        """Train a teacher or a student and return its metrics."""
        if method == "teacher":
            trained, metrics = self._train_and_evaluate("teacher", [], 1000 + seed, epochs)
            weights.save(self.teacher_path(seed), trained)
            return metrics
        program, numbers = program_of(method)
        tables = [self._table(number) for number in numbers]
        _, metrics = self._train_and_evaluate(program, tables, seed, epochs)
        return {**metrics, "teachers": [self.accuracies[number] for number in numbers]}

    def _train_and_evaluate(self, program, tables, seed, epochs):
        state, losses = self._train(program, tables, seed, epochs, epochs)
        trained = self.trainings[program].weights(state)
        role = "teacher" if program == "teacher" else "alone"
        count, rate = self.images.y_test.shape[0], self.rates[program]
        x = self.images.x[:count, PAD:-PAD, PAD:-PAD]
        evaluate = self.compiled[f"{role} accuracy"].result()
        return trained, {
            "accuracy": float(evaluate(trained, self.images.x_test, self.images.y_test)),
            "fit": float(evaluate(trained, x, self.images.y[:count])),
            "loss": float(losses[-1]),
            "seconds_per_epoch": rate,
            "images_per_second": self.recipe.steps * self.recipe.batch / rate,
        }

    def _train(self, program, tables, seed, epochs, until):
        """Train until an epoch and return the state and the losses of the last chunk."""
        compiled = self.compiled[program].result()
        training = self.trainings[program]
        state, *data, _, epochs = training.arguments(self.images, tables, seed, epochs)
        start = time.perf_counter()
        for first in range(0, until, self.recipe.chunk):
            if self.seconds_left() < 0:
                raise OutOfTimeError(f"{self.pair}, {program}: after {first} epochs")
            state, losses = compiled(state, *data, jnp.int32(first), epochs)
            jax.block_until_ready(losses)
        self.rates[program] = (time.perf_counter() - start) / until
        return state, losses

    def _table(self, number):
        """Return the logits of a teacher for every view, computed on first use."""
        if number not in self.tables:
            trained = weights.load(self.teacher_path(number))
            evaluate = self.compiled["teacher accuracy"].result()
            accuracy = float(evaluate(trained, self.images.x_test, self.images.y_test))
            table = self.compiled["table"].result()(trained, self.images.x)
            self.tables[number] = jax.block_until_ready(table)
            self.accuracies[number] = accuracy
        return self.tables[number]

    def _submit(self, program, make):
        self.compiled[program] = self.compiler.submit(f"{self.pair} {program}", make)

    def _make_training(self, program):
        """Return the function of a training and arguments of the right shapes."""
        if program == "teacher":
            network, tables = build(self.teacher), 0
            training = Training(network, network, self.recipe)
        else:
            tables = len(METHODS[program][1])
            training = build_training(program, self.pair, self.student, self.recipe)
        self.trainings[program] = training
        return training.run, training.shapes(self.images, tables)
