"""Deep mutual learning: several students that teach each other while they learn."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.distiller import Distiller
from keras_kd.distillers.mutual_objective import MutualObjective
from keras_kd.losses import DistillationLoss
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.graph import built_inputs, input_shapes, require_built
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.distribution import replica_id


@keras.saving.register_keras_serializable(package="keras_kd")
class MutualLearning(Distiller):
    """Trains two or more students at once, each taught by the others, without a teacher.

    Each step runs each student once. What it says, without gradient, is what the others learn
    from: the total loss is the sum over the students of

        student_loss_weight · student_loss + Σ weight · distillation_loss

    with the others' values averaged, or weighed by `weighting`. `compile` takes one loss for all,
    and metrics for each; the history holds `NAME_loss` (on the labels), `NAME_accuracy` and the
    like by the students' names, and `student_loss`, their sum. Samples may have no label. `predict`
    gives a dict by student.

    Args:
        students: Two or more built models, of any kind, with names of their own, the same inputs
            and one output each.
        losses: As for `Distiller`, for each student. Defaults to `kd.losses.SoftTargets()`.
        student_loss_weight: As for `Distiller`. Defaults to 1, as in the paper.
        weighting: How much each of the others counts, as for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`: with `"probabilities"` a student learns from the mean of the
            others. Defaults to `"losses"`.
        student_outputs: As for `Distiller`.
        augment: As for `Distiller`; all students see the same view.
        on_bad_batch: As for `Distiller`.
        name: Name of the model.

    Raises:
        TypeError: When a student is no `keras.Model`.
        ValueError: When there are fewer than two, two have one name, or they do not fit each other.

    Example:
        >>> distiller = kd.MutualLearning([small, large], kd.losses.SoftTargets(1.0))
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> distiller.fit(train, validation_data=validation, epochs=20)
        >>> distiller.best(validation).save("student.keras")

    Reference:
        Zhang et al. 2018, arXiv:1706.00384; all students take their step at once.
    """

    def __init__(
        self,
        students: Sequence[keras.Model],
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        student_outputs: str = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        _check(students)
        # Past Keras, which has not set the model up yet and tracks the students as `student`.
        object.__setattr__(self, "_students", tuple(students))
        super().__init__(
            _together(students),
            None,
            losses,
            student_loss_weight,
            weighting,
            noise,
            combine,
            student_outputs=student_outputs,
            augment=augment,
            on_bad_batch=on_bad_batch,
            name=name,
        )

    def make_objective(self, student: keras.Model, *arguments: Any) -> MutualObjective:
        """What the students learn from each other."""
        losses, _, student_outputs, weighting, noise, combine, _ = arguments
        return MutualObjective(self._students, losses, student_outputs, weighting, noise, combine)

    @property
    def students(self) -> list[keras.Model]:
        """The students, in their order: the products."""
        return list(self._students)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """None but the students themselves."""
        return ()

    def best(
        self,
        x: Any,
        y: Any = None,
        metric: str = "accuracy",
        mode: str | None = None,
        **kwargs: Any,
    ) -> keras.Model:
        """The student that does best on held-out data.

        Args:
            x: As for `evaluate`.
            y: Labels, if `x` holds arrays.
            metric: One of the compiled metrics, or `"loss"`. Defaults to `"accuracy"`.
            mode: `"max"` if more is better, `"min"` if less is. Defaults to `"min"` for `"loss"`
                and to `"max"` for others.
            **kwargs: Other arguments of `evaluate`.

        Returns:
            The student, the first of several that are as good.

        Raises:
            ValueError: When there is no such metric or mode.
        """
        mode = mode or ("min" if metric == "loss" else "max")
        if mode not in ("max", "min"):
            raise ValueError(f"MutualLearning.best: `mode` is 'max' or 'min'. Received: {mode!r}")
        logs = self.evaluate(x, y, return_dict=True, **{"verbose": 0, **kwargs})
        keys = [f"{student.name}_{metric}" for student in self._students]
        if not set(keys) <= set(logs):
            raise ValueError(
                f"MutualLearning.best: there is no metric '{metric}' of each student; there are "
                f"{', '.join(logs)}. Pass metrics to `compile`."
            )
        values = [logs[key] for key in keys]
        return self._students[values.index(max(values) if mode == "max" else min(values))]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures the training; takes what `keras.Model.compile` takes.

        Args:
            optimizer: One optimizer for the weights of all students.
            loss: One loss for all students, or a dict by their names.
            metrics: Metrics, of which each student gets its own, or a dict by their names.
            weighted_metrics: The same, weighed by sample weights.
            **kwargs: All other arguments of `keras.Model.compile`.
        """
        kwargs["metrics"] = self._for_each_student(metrics)
        kwargs["weighted_metrics"] = self._for_each_student(weighted_metrics)
        super().compile(optimizer, loss, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        knowledge: Any = None,
        student_outputs: Any = None,
    ) -> Any:
        """The total loss of a batch; see `Distiller.compute_loss`."""
        y = self._for_each_output(y)
        if student_outputs is not None:
            knowledge = self.objective.teach(student_outputs, y, replica_id())
        return super().compute_loss(
            x, y, y_pred, sample_weight, training, knowledge, student_outputs
        )

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Updates the metrics of each student."""
        return super().compute_metrics(x, self._for_each_output(y), y_pred, sample_weight)

    def set_teachers(self, teachers: Any) -> None:
        """Refuses: the students have each other.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "MutualLearning has no teachers but the students. Use kd.Distiller(student, teachers)."
        )

    def _knowledge(self, *args: Any) -> Knowledge | None:
        return None  # It comes of the students' own pass.

    def _require_teachers(self, x: Any) -> None:
        pass  # They are there.

    def _for_each_student(self, metrics: Any) -> Any:
        if metrics is None or isinstance(metrics, dict):
            return metrics
        return {
            student.name: [_own(m) for m in tree.flatten(metrics)] for student in self._students
        }

    def _for_each_output(self, y: Any) -> dict[str, Any] | None:
        """The labels by student."""
        if y is None or (isinstance(y, dict) and set(y) == set(self.output_names)):
            return y
        parts = tree.flatten(y)
        if len(parts) != 1:
            raise ValueError(
                "MutualLearning: all students learn the same labels, so `y` must be one tensor. "
                f"Received: {len(parts)} of them"
            )
        return dict.fromkeys(self.output_names, parts[0])

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        serialize, objective = keras.saving.serialize_keras_object, self.objective
        return {
            "students": [serialize(student) for student in self._students],
            "losses": objective.pattern,
            "student_loss_weight": float(self.student_loss_weight),
            "weighting": serialize(objective.weighting),
            "noise": serialize(objective.noise),
            "combine": objective.combine,
            "student_outputs": self.student_outputs,
            "augment": serialize(self.augment),
            "on_bad_batch": self.on_bad_batch,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MutualLearning":
        """Makes what was saved."""
        made = keras.saving.deserialize_keras_object
        config["students"] = [made(student, custom_objects) for student in config["students"]]
        for name in ("weighting", "noise", "augment"):
            if config[name] is not None:
                config[name] = made(config[name], custom_objects)
        return cls(**config)


def _together(students: Sequence[keras.Model]) -> keras.Model:
    """One model with an output for each student, in their precision."""
    inputs = built_inputs(students[0])
    outputs = {student.name: tree.flatten(student(inputs)) for student in students}
    several = [name for name, tensors in outputs.items() if len(tensors) != 1]
    if several:
        raise ValueError(
            f"MutualLearning: each student must have one output. Received: {several} with several"
        )
    model = keras.Model(inputs, {name: tensor for name, (tensor,) in outputs.items()})
    model.dtype_policy = students[0].dtype_policy
    return model


def _own(metric: Any) -> Any:
    """A metric of a student's own: an object cannot count for two."""
    if isinstance(metric, keras.metrics.Metric):
        return type(metric).from_config(metric.get_config())
    return metric


def _check(students: Any) -> None:
    if not isinstance(students, (list, tuple)) or len(students) < 2:
        raise ValueError(
            "MutualLearning: `students` must be a list of two or more models. "
            f"Received: students={students!r}"
        )
    for number, student in enumerate(students):
        require_built(student, f"Student {number}")
    names = [student.name for student in students]
    if len(set(names)) < len(names):
        raise ValueError(
            "MutualLearning: each student must have a name of its own: the history goes by them. "
            f"Received: {names}"
        )
    first = input_shapes(students[0])
    for student in students[1:]:
        own = input_shapes(student)
        known = first is not None and own is not None
        if known and (len(own) != len(first) or not all(map(shapes_agree, own, first))):
            raise ValueError(
                "MutualLearning: all students must take the same inputs. Received: "
                f"'{names[0]}' takes {first} and '{student.name}' {own}"
            )
    weights = {}
    for student in students:
        for weight in student.weights:
            other = weights.setdefault(id(weight), student.name)
            if other != student.name:
                raise ValueError(
                    "MutualLearning: each student must have weights of its own. Received: "
                    f"'{other}' and '{student.name}' share '{weight.path}'"
                )
