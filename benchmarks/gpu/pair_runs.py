"""All runs of one pair of networks: its programs, teachers, look-up tables and timings."""

import time

import jax
import jax.numpy as jnp

from benchmarks.gpu import weights
from benchmarks.gpu.cifar100 import METHODS, TEACHERS, program_of
from benchmarks.gpu.epochs import LENGTH, Training, accuracy_function, table_function
from benchmarks.gpu.images import PAD, VIEWS
from benchmarks.gpu.methods import build_training
from benchmarks.gpu.networks import CLASSES, PAIRS, build

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
        large, self.student = PAIRS[pair]
        self.network = build(large)
        self.trainings = {"teacher": Training(self.network, self.network, recipe)}
        self.trainings["alone"] = build_training("alone", pair, self.student, recipe)
        self.compiled, self.tables, self.teachers = {}, {}, {}
        self.rates = {}  # Seconds per epoch, by program.
        for name in self.trainings:
            self._compile(name)

    def wait(self):
        """Wait until the programs of the teacher and of the student alone are compiled."""
        for program in self.compiled.values():
            program.result()

    def calibrate(self):
        """Measure the seconds of an epoch of the teacher and of the student alone."""
        for name, training in self.trainings.items():
            for _ in range(2):  # The first loads the program.
                self._train(name, training, [], 0, LENGTH, self.recipe.chunk)

    def compile_methods(self):
        """Start to compile everything else, in the order of use."""
        x, y = self.images.x_test, self.images.y_test
        for role, name in (("teacher", "teacher"), ("student", "alone")):
            training = self.trainings[name]
            function = accuracy_function(training.network)
            shapes = training.weights(training.initial_state(0))
            self.compiled[f"{role} accuracy"] = self.compiler.submit(function, shapes, x, y)
            if role == "teacher":
                function = table_function(training.network, self.images.count)
                self.compiled["table"] = self.compiler.submit(function, shapes, self.images.x)
        for method in METHODS:
            if method not in self.trainings:
                training = build_training(method, self.pair, self.student, self.recipe)
                self.trainings[method] = training
                self._compile(method)

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
        return self.folder / f"{self.network.name}_{number}.npz"

    def run(self, method, seed, epochs):
        """Train a teacher or a student and return its metrics."""
        if method == "teacher":
            trained, metrics = self._train_and_evaluate("teacher", [], 1000 + seed, epochs)
            weights.save(self.teacher_path(seed), trained)
            return metrics
        program, numbers = program_of(method)
        tables = [self._table(number) for number in numbers]
        _, metrics = self._train_and_evaluate(program, tables, seed, epochs)
        return {**metrics, "teachers": [self.teachers[number] for number in numbers]}

    def _train_and_evaluate(self, program, tables, seed, epochs):
        training = self.trainings[program]
        state, losses = self._train(program, training, tables, seed, epochs, epochs)
        trained = training.weights(state)
        role = "teacher" if program == "teacher" else "student"
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

    def _train(self, program, training, tables, seed, epochs, until):
        """Train until an epoch and return the state and the losses of the last chunk."""
        compiled = self.compiled[program].result()
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
            self.teachers[number] = accuracy
        return self.tables[number]

    def _compile(self, name):
        training, count = self.trainings[name], 0 if name == "teacher" else len(METHODS[name][1])
        table = jax.ShapeDtypeStruct((VIEWS, self.images.count, CLASSES), jnp.float32)
        arguments = training.arguments(self.images, (), 0)
        arguments = (*arguments[:3], (table,) * count, *arguments[4:])
        self.compiled[name] = self.compiler.submit(training.run, *arguments)
