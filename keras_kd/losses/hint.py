"""Hints (FitNets): match hidden layers of teacher and student."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.losses.distillation_loss import DistillationLoss
from keras_kd.losses.numerics import l2_normalize, mean_over_channels, smooth_l1
from keras_kd.losses.projector import (
    PairProjectors,
    as_projector_argument,
    make_tap_projector,
)
from keras_kd.models.pair_taps import pair_taps
from keras_kd.models.tap_names import tap_name, tap_names

_DISTANCES = ("mse", "l1", "smooth_l1", "cosine")


@keras.saving.register_keras_serializable(package="keras_kd")
class Hint(DistillationLoss):
    """Mean difference between hidden taps of teacher and student.

    If two taps differ in shape, a projector is trained with the student: a dense layer for vectors
    and sequences, a 1×1 convolution for maps, with resizing if the sizes differ. Projectors are
    part of checkpoints, but not of the student. With several pairs, each has its own projector and
    the loss is the mean over the pairs. Masked steps of the student's sequence are ignored.

    Args:
        teacher_tap: A layer of the teacher, or its name, `outer/inner` inside a nested model.
        student_tap: A layer of the student, or its name.
        projector: `"auto"`, `None` for no projector, or a Keras layer that maps the student's tap
            to the teacher's shape (each pair gets a copy). A custom layer must be registered with
            `keras.saving.register_keras_serializable`. Defaults to `"auto"`.
        weight: Weight in the total loss, a hyperparameter. Defaults to 1.
        name: Name in the history. Defaults to `"hint"`.
        distance: `"mse"`, `"l1"`, `"smooth_l1"` or `"cosine"` (one minus the cosine similarity over
            the channels). Defaults to `"mse"`.
        taps: Instead of the two taps: a list of (teacher tap, student tap), or `"auto"` for
            `kd.pair_taps` of the first teacher and the student. Defaults to `None`.

    Raises:
        TypeError: If there are no taps at all, or one is neither a name nor a layer.
        ValueError: If a tap is missing, no projector maps one shape to the other, or an argument is
            unknown.

    Example:
        >>> hint = kd.losses.Hint("block3_out", "stage2_relu", weight=0.1)
        >>> kd.Distiller(student, teacher, losses=[kd.losses.SoftTargets(), hint])
        >>> several = kd.losses.Hint(taps=[("block2", "relu1"), ("block4", "relu2")])
        >>> chosen = kd.losses.Hint(taps="auto", distance="cosine")

    Reference:
        Romero et al. 2015, arXiv:1412.6550, equation 3.
    """

    on_logits = False

    def __init__(
        self,
        teacher_tap: str | None = None,
        student_tap: str | None = None,
        projector: str | keras.layers.Layer | None = "auto",
        weight: float = 1.0,
        name: str | None = None,
        distance: str = "mse",
        taps: str | Sequence[tuple[str, str]] | None = None,
    ) -> None:
        teacher_tap = tap_name(teacher_tap, "teacher_tap", "Hint")
        student_tap = tap_name(student_tap, "student_tap", "Hint")
        taps = _name_pairs(taps)
        _check(teacher_tap, student_tap, distance, taps)
        projector = as_projector_argument(projector, "Hint")
        super().__init__(weight, teacher_tap, student_tap, name)
        self.projector = projector
        self.distance = distance
        self._chosen = taps != "auto"
        if taps and self._chosen:
            self._set_pairs(taps)

    def choose_taps(self, teacher: keras.Model | None, student: keras.Model) -> None:
        """Choose the pairs once if `taps="auto"`."""
        if self._chosen:
            return
        if teacher is None:
            raise ValueError(
                "Hint: taps='auto' needs a teacher with a Keras model to choose the pairs. Pass it "
                "to `Distiller`, or pass the pairs: Hint(taps=kd.pair_taps(teacher, student))."
            )
        self._set_pairs(pair_taps(teacher, student))

    def _set_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.teacher_tap = [teacher for teacher, _ in pairs]
        self.student_tap = [student for _, student in pairs]
        self._chosen = True

    def call(self, teacher: Any, student: Any, labels: Any = None) -> Any:
        """Compute the mean difference of each sample, or of each position; a list for pairs."""
        if not isinstance(student, (list, tuple)):
            return self._difference(teacher, student)
        return list(map(self._difference, teacher, student))

    def _difference(self, teacher: Any, student: Any) -> Any:
        if self.distance == "cosine":
            return 1.0 - ops.sum(l2_normalize(teacher) * l2_normalize(student), axis=-1)
        if self.distance == "mse":
            return mean_over_channels(ops.square(teacher - student))
        if self.distance == "l1":
            return mean_over_channels(ops.abs(teacher - student))
        return mean_over_channels(smooth_l1(teacher - student))

    def make_projector(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the projector (or one per pair) for one teacher; see the base class."""
        name, how = f"{self.name}_projector", ("Hint", self.projector)
        if not isinstance(self.teacher_tap, (list, tuple)):
            pair = (self.teacher_tap, teacher_shape), (self.student_tap, student_shape)
            return make_tap_projector(*how, *pair, name)
        teachers = zip(self.teacher_tap, teacher_shape, strict=True)
        students = zip(self.student_tap, student_shape, strict=True)
        pairs = enumerate(zip(teachers, students, strict=True))
        projectors = [make_tap_projector(*how, *pair, f"{name}_{i}") for i, pair in pairs]
        return PairProjectors(projectors, name=f"{name}s")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, with the chosen pairs."""
        config = {
            **super().get_config(),
            "projector": self.projector,
            "distance": self.distance,
            "taps": None if self._chosen else "auto",
        }
        if isinstance(self.teacher_tap, (list, tuple)):
            pairs = zip(config.pop("teacher_tap"), config.pop("student_tap"), strict=True)
            config["taps"] = [list(pair) for pair in pairs]
        return config


def _check(teacher_tap: Any, student_tap: Any, distance: Any, taps: Any) -> None:
    if teacher_tap is None and student_tap is None and taps is None:
        raise TypeError("Hint: pass two taps, taps='auto' or a list of pairs")
    if taps is None and not (teacher_tap and student_tap):
        raise ValueError(
            "Hint: `teacher_tap` and `student_tap` must each name a layer. "
            f"Received: teacher_tap={teacher_tap!r}, student_tap={student_tap!r}"
        )
    if taps is not None and (teacher_tap or student_tap):
        raise ValueError(
            "Hint: pass either `taps` or `teacher_tap` and `student_tap`. Received: "
            f"taps={taps!r}, teacher_tap={teacher_tap!r}, student_tap={student_tap!r}"
        )
    if taps not in (None, "auto") and not _is_list_of_pairs(taps):
        raise ValueError(
            "Hint: `taps` must be 'auto' or a list of pairs (teacher tap, student tap). "
            f"Received: taps={taps!r}"
        )
    if distance not in _DISTANCES:
        raise ValueError(
            f"Hint: `distance` must be one of {_DISTANCES}. Received: distance={distance!r}"
        )


def _name_pairs(taps: Any) -> Any:
    """Return the pairs with names, and anything but a list of pairs unchanged."""
    if not isinstance(taps, (list, tuple)):
        return taps
    pairs = [pair if isinstance(pair, (list, tuple)) else [pair] for pair in taps]
    return [tuple(tap_names(list(pair), "taps", "Hint", required=True)) for pair in pairs]


def _is_list_of_pairs(taps: Any) -> bool:
    if isinstance(taps, str) or not taps:
        return False
    return all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and all(isinstance(name, str) and name for name in pair)
        for pair in taps
    )
