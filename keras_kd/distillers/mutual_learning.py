"""Deep mutual learning: several students that teach each other while they train."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.base import BaseDistiller
from keras_kd.distillers.mutual_objective import MutualObjective
from keras_kd.distillers.shared_inputs import find_other_inputs
from keras_kd.distillers.student_outputs import StudentOutputs
from keras_kd.losses import DistillationLoss
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import require_built
from keras_kd.models.inputs import call_model, merge_inputs
from keras_kd.models.taps import TappedModel, named_outputs
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.augmentation import Augmentation
from keras_kd.training.keywords import explain_keywords
from keras_kd.training.labels import LabelReader, Labels


@keras.saving.register_keras_serializable(package="keras_kd")
class MutualLearning(BaseDistiller):
    """Train two or more students at once, each with the others as teachers.

    Each step runs each student once. Its outputs, without gradient, are the targets of the others:
    the total loss is the sum over the students of

        student_loss_weight · student_loss + Σ weight · distillation_loss

    with the others' values averaged, or weighted by `weighting`. `compile` takes one loss for all,
    and metrics for each; the history holds `NAME_loss` (on the labels), `NAME_accuracy` and so on
    by the students' names, and `student_loss`, their sum. Samples may have no label. `predict`
    returns a dict by student.

    Students with several outputs have the same names of outputs. Labels, losses, metrics and
    weights are then given by output, for all students, and results are named `STUDENT_OUTPUT`.

    Args:
        students: Two or more built models of any kind, with different names, the same inputs and
            the same outputs, or one output each.
        losses: As for `Distiller`, for each student. Defaults to `None`, by the task.
        student_loss_weight: As for `Distiller`. Defaults to `1.0`, as in the paper.
        weighting: Weights of the other students, as for `Distiller`.
        noise: As for `Distiller`.
        combine: As for `Distiller`: with `"probabilities"` the target is the mean of the others.
            Defaults to `"losses"`.
        student_outputs: As for `Distiller`; a dict is by the students' names.
        augment: As for `Distiller`; all students get the same view.
        on_bad_batch: As for `Distiller`.
        name: Name of the model. Defaults to `None`.

    Raises:
        TypeError: If a student is not a `keras.Model`.
        ValueError: If there are fewer than two, two have the same name, or they do not match.

    Example:
        >>> distiller = kd.MutualLearning([small, large], kd.losses.SoftTargets(1.0))
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> distiller.fit(train, validation_data=validation, epochs=20)
        >>> distiller.best(validation).save("student.keras")

    Reference:
        Zhang et al. 2018, arXiv:1706.00384; all students are updated in the same step.
    """

    product = "one of its students, `distiller.students`"

    @explain_keywords()
    def __init__(
        self,
        students: Sequence[keras.Model],
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 1.0,
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        student_outputs: Declaration = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        _check(students)
        super().__init__(
            _join_students(students),
            MutualObjective(students, losses, student_outputs, weighting, noise, combine),
            student_loss_weight,
            augment=augment,
            on_bad_batch=on_bad_batch,
            name=name,
        )

    @property
    def students(self) -> list[keras.Model]:
        """The students, in their order: the products."""
        return self.objective.students

    def best(
        self,
        x: Any,
        y: Any = None,
        metric: str = "accuracy",
        mode: str | None = None,
        **kwargs: Any,
    ) -> keras.Model:
        """Return the student with the best metric on held-out data.

        Args:
            x: As for `evaluate`.
            y: Labels, if `x` holds arrays.
            metric: One of the compiled metrics, or `"loss"`. Defaults to `"accuracy"`.
            mode: `"max"` if higher is better, `"min"` if lower is. Defaults to `"min"` for `"loss"`
                and to `"max"` for others.
            **kwargs: Other arguments of `evaluate`.

        Returns:
            The student, the first of several that are equal.

        Raises:
            ValueError: If there is no such metric or mode.
        """
        mode = mode or ("min" if metric == "loss" else "max")
        if mode not in ("max", "min"):
            raise ValueError(
                f"MutualLearning.best: `mode` must be 'max' or 'min'. Received: mode={mode!r}"
            )
        logs = self.evaluate(x, y, return_dict=True, **{"verbose": 0, **kwargs})
        keys = [f"{student.name}_{metric}" for student in self.students]
        if not set(keys) <= set(logs):
            raise ValueError(
                f"MutualLearning.best: there is no metric '{metric}' of each student; there are "
                f"{', '.join(logs)}. Pass metrics to `compile`."
            )
        values = [logs[key] for key in keys]
        return self.students[values.index(max(values) if mode == "max" else min(values))]

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure the training; takes the arguments of `keras.Model.compile`, in its order.

        Args:
            optimizer: One optimizer for the weights of all students.
            loss: One loss for all students, or a dict by their names; for students with several
                outputs by output, as the other arguments.
            loss_weights: Weights of the students' losses, by their names. Defaults to `None`.
            metrics: Metrics, of which each student gets its own, or a dict by their names.
            weighted_metrics: The same, weighted by sample weights.
            run_eagerly: As for `Distiller`, like the others.
            steps_per_execution: Defaults to `1`.
            jit_compile: Defaults to `"auto"`.
            auto_scale_loss: Defaults to `True`.
        """
        super().compile(
            optimizer,
            self._outputs.for_each(loss),
            self._outputs.for_each(loss_weights),
            self._copy_for_students(metrics),
            self._copy_for_students(weighted_metrics),
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )
        first = self.objective.objectives[0]
        own = self._outputs.of_student(first.student.model.name, self._outputs.for_each(loss))
        if self._outputs.several:
            shapes, axes = first.student.output_shapes, first.student.output_axes
            self._range_reader = LabelReader(own, shapes, first.tasks, axes)

    def read_labels(self, y: Any) -> Labels:
        """Read the labels, which are the same for each student; see `BaseDistiller`."""
        return y if isinstance(y, Labels) else super().read_labels(self._labels_by_student(y))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Compute the total loss of a batch, with the weights of each output for each student."""
        sample_weight = self._outputs.for_each(sample_weight)
        return super().compute_loss(x, y, y_pred, sample_weight, *args, **kwargs)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the metrics of each student, with the weights of each output."""
        return super().compute_metrics(x, y, y_pred, self._outputs.for_each(sample_weight))

    @property
    def _outputs(self) -> StudentOutputs:
        return self.objective.student.outputs

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Run each student; return their outputs by name."""
        x, _ = unpack_batch(inputs)
        named = [
            (
                one.model,
                named_outputs(call_model(one.model, x, training=training), one.output_names),
            )
            for one in (objective.student for objective in self.objective.objectives)
        ]
        return _join_outputs(self._outputs, named)

    def _copy_for_students(self, metrics: Any) -> Any:
        if metrics is None or isinstance(metrics, dict):
            return self._outputs.for_each(metrics, _copy_metrics)
        return {name: _copy_metrics(metrics) for name in self.output_names}

    def _labels_by_student(self, y: Any) -> dict[str, Any] | None:
        """Return the same labels for each student."""
        if y is None or (isinstance(y, dict) and set(y) == set(self.output_names)):
            return y
        if self._outputs.several:
            return self._outputs.for_each(y)
        parts = tree.flatten(y)
        if len(parts) != 1:
            raise ValueError(
                "MutualLearning: all students learn the same labels, so `y` must be one tensor. "
                f"Received: {len(parts)} of them"
            )
        return dict.fromkeys(self.output_names, parts[0])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        serialize, objective = keras.saving.serialize_keras_object, self.objective
        return {
            "students": [serialize(student) for student in self.students],
            "losses": objective.pattern,
            "student_loss_weight": float(self.student_loss_weight),
            "weighting": serialize(objective.weighting),
            "noise": serialize(objective.noise),
            "combine": objective.combine,
            "student_outputs": objective.student_outputs,
            "augment": serialize(self.augment),
            "on_bad_batch": self.on_bad_batch,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MutualLearning":
        """Create the distiller that was saved."""
        made = keras.saving.deserialize_keras_object
        config["students"] = [made(student, custom_objects) for student in config["students"]]
        for name in ("weighting", "noise", "augment"):
            if config[name] is not None:
                config[name] = made(config[name], custom_objects)
        return cls(**config)


def _join_students(students: Sequence[keras.Model]) -> keras.Model:
    """Return one model with the outputs of all students, in their precision."""
    inputs = merge_inputs(students)
    named = [(student, _named(student, call_model(student, inputs))) for student in students]
    names = StudentOutputs({student.name: list(outputs) for student, outputs in named})
    model = keras.Model(inputs, _join_outputs(names, named))
    model.dtype_policy = students[0].dtype_policy
    return model


def _named(student: keras.Model, outputs: Any) -> dict[str, Any]:
    """Return the outputs of a student by name."""
    names, flat = TappedModel(student, []).output_names, tree.flatten(outputs)
    if len(names) != len(flat):
        raise ValueError(
            f"MutualLearning: the outputs of student '{student.name}' must have different names. "
            f"Received: {len(flat)} outputs with the names {names}"
        )
    return named_outputs(outputs, names)


def _join_outputs(
    names: StudentOutputs, named: Sequence[tuple[keras.Model, dict[str, Any]]]
) -> dict[str, Any]:
    found = {student.name: outputs for student, outputs in named}
    places = {name: names.find(name) for name in names.names}
    return {name: found[student][output] for name, (student, output) in places.items()}


def _copy_metrics(metrics: Any) -> list[Any]:
    return [_copy_metric(metric) for metric in tree.flatten(metrics)]


def _copy_metric(metric: Any) -> Any:
    """Return a separate metric: one object cannot count for two students."""
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
            "MutualLearning: the students must have different names, which the history uses. "
            f"Received: {names}"
        )
    difference = find_other_inputs(students)
    if difference is not None:
        raise ValueError(
            f"MutualLearning: all students must take the same inputs. Received: {difference}"
        )
    weights = {}
    for student in students:
        for weight in student.weights:
            other = weights.setdefault(id(weight), student.name)
            if other != student.name:
                raise ValueError(
                    "MutualLearning: the students must not share weights. Received: "
                    f"'{other}' and '{student.name}' share '{weight.path}'"
                )
