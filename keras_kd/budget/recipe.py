"""How a student is trained: losses by task, learning rates, steps, and one training."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import keras

from keras_kd import losses
from keras_kd.budget.augmentation import (
    AUGMENTATIONS,
    VIEWS,
    augment_samples,
    augmentations,
)
from keras_kd.budget.problem import Problem
from keras_kd.budget.schedule import Config
from keras_kd.cache.keys import keyed
from keras_kd.cache.knowledge_cache import KnowledgeCache
from keras_kd.callbacks.resume import Resume
from keras_kd.compression.quantize_aware import quantize_aware
from keras_kd.compression.training import Training
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.tf_data import dataset_from_samples

RATES = (3e-3, 1e-2, 1e-3)
#: Epochs of a full training, and the least and the most steps.
EPOCHS, LEAST_STEPS, MOST_STEPS = 20, 800, 9_600
_LARGEST_BATCH, _LEAST_BATCHES = 128, 8
_WARMUP, _MOST_SHUFFLED = 0.02, 50_000
#: Of a quantization-aware training: its steps as a part of a full one's, and its learning rate.
_AWARE_PART, _AWARE_RATE = 0.15, 5e-4
_RESUME_EVERY = 500

Terms = Callable[[], Sequence[losses.DistillationLoss]]


def _soft_targets(temperature: float, weight: float, **arguments: Any) -> Terms:
    return lambda: [losses.SoftTargets(temperature=temperature, weight=weight, **arguments)]


#: By task, the distillation losses that are tried; 0.5 is the weight of the loss on the labels.
LOSSES: dict[str, dict[str, Terms]] = {
    "classes": {
        "soft targets, T = 4": _soft_targets(4.0, 1.0),
        "soft targets, T = 1": _soft_targets(1.0, 0.5),
        "DIST": lambda: [losses.DIST()],
    },
    "binary": {
        "soft targets, T = 1": _soft_targets(1.0, 0.5, activation="sigmoid"),
        "soft targets, T = 4": _soft_targets(4.0, 1.0, activation="sigmoid"),
    },
    "values": {"outputs MSE": lambda: [losses.OutputsMSE()]},
}
LOSSES["labels"] = LOSSES["binary"]
#: The loss without a teacher, which no search tries by itself.
ALONE = "labels alone"


@dataclass(frozen=True)
class Recipe:
    """Trains students of a problem with the stored outputs of its teacher.

    Attributes:
        problem: The problem.
        folder: Where the outputs of the teacher are stored.
    """

    problem: Problem
    folder: Path

    @functools.cached_property
    def samples(self) -> Any:
        """The training data."""
        return dataset_from_samples(self.problem.train.arrays)

    def knowledge(self, augmentation: str) -> KnowledgeCache:
        """Return the outputs of the teacher, which runs once for all trainings and processes."""
        path = self.folder / f"knowledge-{augmentation.replace(' ', '-')}"
        augment = AUGMENTATIONS[augmentation]
        with filelock.FileLock(path.with_suffix(".lock")):
            try:
                # A folder has one teacher and one data set, so there is nothing to compare.
                return KnowledgeCache(path)
            except FileNotFoundError:
                return KnowledgeCache.build(
                    [Teacher(self.problem.teacher, outputs=self.problem.declared)],
                    self.samples,
                    path,
                    dtype="float32",
                    views=1 if augment is None else VIEWS,
                    augment=augment,
                    verbose=0,
                )

    @property
    def batch_size(self) -> int:
        """Samples per step."""
        return max(1, min(_LARGEST_BATCH, len(self.problem.train) // _LEAST_BATCHES))

    @property
    def full_steps(self) -> int:
        """The steps of a full training."""
        per_epoch = len(self.problem.train) / self.batch_size
        return round(min(MOST_STEPS, max(LEAST_STEPS, EPOCHS * per_epoch)))

    def steps(self, part: float) -> int:
        """Return the steps of a part of a full training."""
        return max(1, round(part * self.full_steps))

    def train(
        self, student: keras.Model, config: Config, part: float, seed: int, folder: Path | None
    ) -> None:
        """Train a student.

        Args:
            student: The student; its weights are changed.
            config: The loss and the learning rate.
            part: The part of a full training.
            seed: Seed of the order of the samples and of dropout.
            folder: Where checkpoints are written; `None` for none.
        """
        steps = self.steps(part)
        callbacks = [] if folder is None else [Resume(folder, every=_RESUME_EVERY)]
        arguments = self._arguments(student, config, config.rate, steps, seed)
        Training(**arguments, callbacks=callbacks).distill(student)

    def quantize_aware(self, student: keras.Model, config: Config, seed: int) -> keras.Model:
        """Return a student trained further with the rounding of its int8 file."""
        steps = self.steps(_AWARE_PART)
        arguments = self._arguments(student, config, _AWARE_RATE, steps, seed)
        return quantize_aware(student, **arguments).model

    def _arguments(
        self, student: keras.Model, config: Config, rate: float, steps: int, seed: int
    ) -> dict[str, Any]:
        """Return the arguments of `Training`."""
        keras.utils.set_random_seed(seed)
        hard = self.problem.label_loss(student)
        distills, name = config.loss != ALONE, config.augmentation
        samples = keyed(self.samples) if distills else self.samples
        samples = samples.shuffle(min(len(self.problem.train), _MOST_SHUFFLED), seed=seed).repeat()
        if not distills:
            samples = augment_samples(samples, name, seed)
        batches = samples.batch(self.batch_size, drop_remainder=True)
        if distills:
            cache = self.knowledge(name)
            batches = cache.join(
                batches, AUGMENTATIONS[name], seed if AUGMENTATIONS[name] else None
            )
        schedule = keras.optimizers.schedules.CosineDecay(
            rate / 10, steps, warmup_target=rate, warmup_steps=round(_WARMUP * steps)
        )
        return {
            "data": batches.take(steps).prefetch(2),
            "epochs": 1,
            "optimizer": keras.optimizers.Adam(schedule),
            "loss": None if hard is None else hard.loss,
            "teachers": cache.teachers if distills else None,
            "losses": LOSSES[self.problem.task][config.loss]() if distills else None,
            "student_loss_weight": None if not distills else 0.5 if hard else 0.0,
            "student_outputs": self.problem.declared,
            "verbose": 0,
        }


def make_configs(
    families: Mapping[str, Mapping[str, float]], problem: Problem, count: int, seed: int
) -> list[Config]:
    """Return what the first stage trains: the families in turn, losses and rates equally often.

    Args:
        families: The limits of each family.
        problem: The problem, for its task and its inputs.
        count: The number of trainings.
        seed: Seed of the combinations.
    """
    draw = random.Random(seed)

    def equally_often(values: Sequence[Any]) -> list[Any]:
        repeated = [values[i % len(values)] for i in range(count)]
        # The first ones stay, so that few trainings are the most promising ones.
        head, rest = repeated[:1], repeated[1:]
        draw.shuffle(rest)
        return head + rest

    names = list(families)
    turns = [names[i % len(names)] for i in range(count)]
    terms, rates = equally_often(list(LOSSES[problem.task])), equally_often(RATES)
    views = equally_often(augmentations(problem.train.x))
    return [
        Config(name, families[name], *parts)
        for name, *parts in zip(turns, terms, rates, views, strict=True)
    ]
