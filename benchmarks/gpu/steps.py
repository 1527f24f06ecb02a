"""Time of the student's step, the teacher's forward pass and distillation on one card."""

import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import distillation

import keras_kd as kd
from benchmarks.gpu.epochs import groups_of, state_variables
from benchmarks.gpu.images import PAD, normalize
from benchmarks.gpu.methods import with_logits
from benchmarks.gpu.networks import CLASSES, PAIRS, build
from benchmarks.gpu.optimizer import TorchSGD
from benchmarks.gpu.speed import VARIANTS
from benchmarks.shared.timing import seconds_in_turns

BATCHES = 8
#: The variants, and those that are profiled.
NAMES = ("student", "teacher", "live", "cached", "keras", "call_per_step")
PROFILED = ("student", "live")
#: Kernels that a profile lists.
KERNELS = 15


class Steps:
    """Steps of one pair on batches on the device; one execution runs `count` of them.

    Args:
        pair: Name in `PAIRS`.
        images: The data.
        batch: Samples in a step.
        count: Steps of one execution.
        compiler: Compiles the programs.
        names: Names of the variants.
    """

    def __init__(self, pair, images, batch, count, compiler, names):
        self.batch, self.count = batch, count
        self.teacher, self.student = PAIRS[pair]
        ids = jnp.arange(BATCHES * batch) % images.count
        x = normalize(images.x[:, PAD:-PAD, PAD:-PAD][ids])
        self.x = x.reshape(BATCHES, batch, *x.shape[1:])
        self.ids = ids.reshape(BATCHES, batch)
        self.y = images.y[self.ids]
        self.logits = jax.random.normal(jax.random.key(0), (images.count, CLASSES))
        self.states = {}
        self.programs = {
            name: compiler.submit(f"{pair} {name}", partial(self._make_program, name))
            for name in names
        }

    def wait(self):
        """Wait until all programs are compiled; drop and return those that fail.

        Returns:
            Errors by name.
        """
        errors = {name: compiled.exception() for name, compiled in self.programs.items()}
        errors = {name: error for name, error in errors.items() if error is not None}
        self.programs = {n: compiled for n, compiled in self.programs.items() if n not in errors}
        return errors

    def runs(self):
        """Return functions by name that run a number of steps."""
        return {name: self._runner(name) for name in self.programs}

    def _make_program(self, name):
        """Return a jitted function that runs some steps, and its arguments."""
        makers = {
            "student": self._alone,
            "teacher": self._forward,
            "live": self._live,
            "cached": self._cached,
            "keras": self._keras,
            "call_per_step": self._live,
        }
        self.states[name], step = makers[name]()

        def run(state, x, y, ids, logits, first):
            def body(state, i):
                i = i % BATCHES
                return step(state, x[i], y[i], logits[ids[i]])

            if self._steps_per_call(name) == 1:
                return body(state, first)
            return jax.lax.scan(body, state, first + jnp.arange(self.count))

        arguments = (self.states[name], self.x, self.y, self.ids, self.logits, jnp.int32(0))
        return jax.jit(run, donate_argnums=0), arguments

    def _steps_per_call(self, name):
        return 1 if name == "call_per_step" else self.count

    def _runner(self, name):
        compiled = self.programs[name].result()
        data = (self.x, self.y, self.ids, self.logits)

        def run(count):
            for first in range(0, count, self._steps_per_call(name)):
                self.states[name], outputs = compiled(self.states[name], *data, jnp.int32(first))
            jax.block_until_ready(outputs)

        return run

    def _alone(self):
        return self._training(build(self.student), lambda x, logits: x)

    def _forward(self):
        network = build(self.teacher)

        def step(weights, x, y, logits):
            return weights, network.stateless_call(*weights, x, training=False)[0]

        return _copy_values(groups_of(network)), step

    def _live(self):
        distiller = kd.Distiller(build(self.student), build(self.teacher), *_soft_targets())
        return self._training(distiller, lambda x, logits: x)

    def _cached(self):
        student, teachers = with_logits(build(self.student), ["teacher_0"])
        distiller = kd.Distiller(student, teachers, *_soft_targets())
        return self._training(distiller, lambda x, logits: {"image": x, "teacher_0": logits})

    def _keras(self):
        distiller = distillation.Distiller(
            teacher=build(self.teacher),
            student=build(self.student),
            distillation_losses=distillation.LogitsDistillation(temperature=4.0),
            student_loss_weight=0.1,
        )
        distiller(self.x[0])  # Otherwise it is not built.
        return self._training(distiller, lambda x, logits: x)

    def _training(self, model, inputs):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(TorchSGD(0.1), loss)
        state = _copy_values(state_variables(model))

        def step(state, x, y, logits):
            logs, state = model.train_step(tuple(state), (inputs(x, logits), y))
            return [list(group) for group in state], logs

        return state, step


def _copy_values(groups):
    """Return copies of the values; the first execution takes over the memory of its arguments."""
    return [[jnp.array(variable.value, copy=True) for variable in group] for group in groups]


def _soft_targets():
    return kd.losses.SoftTargets(temperature=4.0, weight=0.9), 0.1


def measure(steps, others, turns):
    """Return the ratios of the variants, milliseconds of a step and images per second.

    Args:
        steps: The steps of a pair.
        others: Functions by name that run a number of steps, such as PyTorch's.
        turns: Number of turns.
    """
    times = seconds_in_turns({**steps.runs(), **others}, turns, steps.count)
    bases = {"bound": times["student"] + times["teacher"], "student": times["student"]}
    metrics = {"steps_per_turn": steps.count, "turns": turns}
    for name, values in times.items():
        seconds = float(np.median(values))
        metrics[f"{name}_ms"] = 1e3 * seconds
        metrics[f"{name}_images_per_second"] = steps.batch / seconds
        if name in VARIANTS:
            metrics[name] = float(np.median(values / bases[VARIANTS[name][1]]))
    return metrics


def profile(run, count):
    """Return the device's kernels in a number of steps, the longest first.

    Returns:
        Milliseconds of all kernels in a step, and a list of
        `[name, milliseconds in a step, calls in a step]`.
    """
    run(count)  # Loads the program.
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run(count)
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
        found = {}
        for plane in planes:
            for line in plane.lines:
                if "GPU" in plane.name and line.name.startswith("Stream"):
                    for event in line.events:
                        found.setdefault(event.name, []).append(event.duration_ns / 1e6)
    kernels = sorted(found.items(), key=lambda item: -sum(item[1]))
    rows = [[name, sum(ms) / count, len(ms) / count] for name, ms in kernels]
    return {"kernels_ms": sum(row[1] for row in rows), "kernels": rows[:KERNELS]}
