"""The base class of all distillers: the step, `compile`, `fit`, metrics and hyperparameters."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.distillers.evaluation import AGREEMENT, Evaluation
from keras_kd.distillers.fit import build_metrics, fit_arguments, run_fit
from keras_kd.distillers.input_checks import has_single_samples
from keras_kd.distillers.labels_first_schedule import with_labels_first
from keras_kd.distillers.mixed_images import (
    LabelWeight,
    check_labels_kept,
    check_mixing,
    labels_of_view,
)
from keras_kd.distillers.objective import Objective
from keras_kd.distillers.student_methods import warn_about_own_steps
from keras_kd.losses import DistillationLoss
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.random_state import seed_states
from keras_kd.models.taps import Tap
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import joined_spec, unpack_batch
from keras_kd.training import backend
from keras_kd.training.augmentation import Augmentation, as_augmentation, augment_batch
from keras_kd.training.class_weights import ClassWeights
from keras_kd.training.finite_checks import ON_BAD_BATCH, batch_values, teacher_values
from keras_kd.training.hyperparameters import HyperparameterPaths
from keras_kd.training.keywords import explain_keywords
from keras_kd.training.label_checks import check_labels, require_class_axis
from keras_kd.training.label_masking import LabelMasking
from keras_kd.training.labels import UNLABELED, LabelReader, Labels
from keras_kd.training.loss_trackers import LossTrackers, batch_size
from keras_kd.training.text import text_arrays


class BaseDistiller(HyperparameterPaths, Evaluation):
    """Base class of `Distiller`, `SelfDistiller`, `MutualLearning` and `DeepSupervision`.

    It owns the training step, `compile`, `fit`, the metrics and the hyperparameters. Subclasses
    pass in an objective, which says where the targets come from. A step has two phases: *prepare*
    checks the batch and runs the frozen teachers, outside the gradient tape; *commit* runs the
    student once and updates all state. A bad batch fails before anything is changed or drawn.

    Args:
        student: The model to train, built.
        objective: The distillation losses and the source of their targets.
        student_loss_weight: Weight of the compiled loss, a hyperparameter.
        label_losses: Names in the history of the losses on labels. Defaults to `student_loss`.
        augment: As for `Distiller`. Defaults to `None`.
        same_view: As for `Distiller`. Defaults to `False`.
        on_bad_batch: As for `Distiller`. Defaults to `"raise"`.
        name: Name of the model. Defaults to `None`.

    Raises:
        ValueError: If an argument is out of range, or the Keras backend cannot do what it asks.
    """

    student_loss_weight = LabelWeight()

    def __init__(
        self,
        student: keras.Model,
        objective: Objective,
        student_loss_weight: float,
        label_losses: Sequence[str] = ("student_loss",),
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        same_view: bool = False,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        if on_bad_batch not in ON_BAD_BATCH:
            raise ValueError(
                f"{type(self).__name__}: `on_bad_batch` must be one of {ON_BAD_BATCH}. "
                f"Received: on_bad_batch={on_bad_batch!r}"
            )
        backend.check_on_bad_batch(type(self).__name__, on_bad_batch)
        augment = as_augmentation(augment)
        check_mixing(augment, same_view, objective.terms, type(self).__name__)
        for one in objective.students:
            warn_about_own_steps(one, type(self).__name__)
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        self.student = student
        self.student_loss_weight = student_loss_weight
        self.objective = objective
        self.augment = augment
        self.same_view = same_view
        self.on_bad_batch = on_bad_batch
        drawing = isinstance(self.augment, keras.layers.Layer)
        self.seed_states = seed_states([student, self.augment] if drawing else [student])
        self._decide_xla()
        self._label_losses = tuple(label_losses)
        self._trackers = LossTrackers(["loss", *label_losses, *objective.names])
        self._label_reader = self._range_reader = LabelReader(None, objective.student.output_shapes)
        self._label_masking = LabelMasking(objective.student.output_axes)
        self._class_weights = None
        self.built = True

    @property
    def distillation_losses(self) -> list[DistillationLoss]:
        """The distillation losses."""
        return list(self.objective.terms)

    @property
    def projectors(self) -> dict[str, keras.layers.Layer]:
        """The trained maps between taps, by loss (and teacher, if there are several)."""
        return self.objective.projectors

    @property
    def teachers(self) -> tuple[BaseTeacher, ...]:
        """The frozen teachers; a distiller loaded from a file has none until they are set."""
        return self.objective.teachers

    @property
    def read_only_variables(self) -> list[keras.Variable]:
        """The variables that a step reads and does not change; no file holds the teachers'."""
        own = {id(variable) for variable in self.variables}
        frozen = [v for teacher in self.teachers for v in teacher.variables if id(v) not in own]
        return [*frozen, *self.hyperparameters.values()]

    def hyperparameter_owners(self) -> dict[str, Any]:
        """Return the objects that have hyperparameters, by the prefix of their paths."""
        losses = zip(self.objective.names, self.objective.terms, strict=True)
        owners = {"": self, **{f"{name}.": loss for name, loss in losses}}
        noise = self.objective.noise
        return owners if noise is None else {**owners, "noise.": noise}

    @explain_keywords()
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
            optimizer: A name or an optimizer. Defaults to `"rmsprop"`.
            loss: The loss on the labels. Defaults to `None`: labels are not used.
            loss_weights: Weights of the losses of several outputs. Defaults to `None`.
            metrics: Metrics on the labels. Defaults to `None`.
            weighted_metrics: Metrics that use the sample weights. Defaults to `None`.
            run_eagerly: Whether to run the step without compiling it. Defaults to `False`.
            steps_per_execution: Number of steps per call of the compiled step. Defaults to `1`.
            jit_compile: Whether XLA compiles the step. Defaults to `"auto"`, where it can.
            auto_scale_loss: Whether to scale the loss under `mixed_float16`. Defaults to `True`.

        Raises:
            ValueError: If bad batches are to be skipped and `steps_per_execution` is not 1, a loss
                over the classes reads another axis than theirs, or `augment` mixes labeled images.
        """
        if self.on_bad_batch == "skip" and steps_per_execution != 1:
            raise ValueError(
                f"{type(self).__name__}: on_bad_batch='skip' checks each step, so it needs "
                f"steps_per_execution=1. Received: steps_per_execution={steps_per_execution}"
            )
        if loss is not None and float(self.student_loss_weight) > 0:
            check_labels_kept(self.augment, type(self).__name__)
        student = self.objective.student
        require_class_axis(loss, student.output_shapes, student.output_axes)
        self.objective.set_tasks(loss)
        only_evaluated = [AGREEMENT] if loss is None else []
        names = ["loss", *self._label_losses, *self.objective.names, *only_evaluated]
        self._trackers = LossTrackers(names)
        super().compile(
            optimizer,
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )
        tasks = {name: self.objective.task_of_labels(name) for name in student.output_names}
        reader = LabelReader(loss, student.output_shapes, tasks, student.output_axes)
        self._label_reader = self._range_reader = reader
        self._label_masking = LabelMasking(student.output_axes)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train the student and the projectors; accepts the arguments of `keras.Model.fit`.

        Args:
            x: As for `keras.Model.fit`: a `tf.data.Dataset` of (x, y) or (x, y, sample_weight)
                batches, arrays, ...
            y: Labels, if `x` holds arrays.
            batch_size: Samples per batch, if `x` holds arrays.
            *args: The other arguments of `keras.Model.fit`, in its order.
            **kwargs: The same by name.

        Returns:
            The `History`.

        Raises:
            ValueError: If integer labels are out of range, there is no teacher to learn from, or
                a loss that relates samples gets batches of one sample.
        """
        x = text_arrays(x)
        self._check_before_training(x, batch_size)
        given = fit_arguments(x, y, batch_size, *args, **kwargs)
        if y is None and given.get("sample_weight") is not None:
            # Keras drops the weights of samples that have no label.
            given["y"] = np.full(len(tree.flatten(x)[0]), UNLABELED)
        class_weights = given.pop("class_weight", None)
        if self.compiled:
            self._check_shapes(x, given.get("y"), given.get("sample_weight"))
            given["x"] = check_labels(x, y, self._range_reader)
            if (validation := given.get("validation_data")) is not None:
                given["validation_data"] = self._check_validation(text_arrays(validation))
            with backend.strategy_scope(self):
                build_metrics(self.compiled_metrics_fn, x, given.get("y"), self.objective.student)
        self.retrace_for_other_ranks("train_function", x, given.get("y"))
        given["callbacks"] = with_labels_first(self, given)
        skips, drawn = self.on_bad_batch == "skip", self._drawn_before_teachers()
        # Keras would look up the weight of an unlabeled sample among the classes.
        with self._use_class_weights(class_weights, given.get("sample_weight")):
            return run_fit(self, super().fit, given, skips, drawn)

    def _drawn_before_teachers(self) -> list[keras.Variable]:
        """Return the random states that a step draws from before it has checked the teachers."""
        layer = isinstance(self.augment, keras.layers.Layer)
        return list(self.augment.variables) if layer and self.same_view else []

    @contextlib.contextmanager
    def _use_class_weights(
        self, weights: dict[int, float] | None, sample_weight: Any
    ) -> Iterator[None]:
        """Weight the classes in the steps of one `fit`."""
        if weights is None:
            yield
            return
        shapes, students = self.objective.student.output_shapes, len(self.objective.students)
        task = next(iter(self._label_reader.outputs.values())).task
        self._class_weights = ClassWeights(weights, shapes, sample_weight, task, students)
        # A compiled step holds the weights it was made with.
        unweighted, self.train_function = self.train_function, None
        try:
            yield
        finally:
            self._class_weights, self.train_function = None, unweighted

    def _check_before_training(self, x: Any, batch_size: int | None) -> None:
        if not self.trainable_variables:
            raise ValueError(
                f"'{self.name}' has nothing to train: all layers of the student are frozen."
            )
        backend.check_strategy(self)
        self.objective.check_data(joined_spec(x), self.name)
        self.compare_preprocessing(x)
        relating = [loss.name for loss in self.distillation_losses if loss.relates_samples]
        if relating and has_single_samples(x, batch_size):
            raise ValueError(
                f"{relating} relate the samples of a batch to each other, so a batch needs two or "
                "more of them, better 32. Received: batches of 1"
            )

    def training_step(self, data: Any) -> dict[str, Any]:
        """Run one step: prepare the batch and the teachers, then commit."""
        inputs, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, joined = unpack_batch(inputs)
        labels = labels_of_view(self.augment, self.read_labels(y))
        skips = self.on_bad_batch == "skip"
        # XLA of TensorFlow rejects metrics that are made after assertions.
        checked = {} if self.drops_assertions else batch_values(x, labels, sample_weight)
        with backend.after(backend.finite_assertions(checked, together=skips)):
            if self._class_weights is not None:
                sample_weight = self._class_weights.apply(labels.given, sample_weight)
            view = augment_batch(self.augment, x)
            teacher_x = view if self.same_view else x
            outputs = self.objective.run_teachers(teacher_x, self._select_joined(joined, x))
            checked = self._teacher_values(outputs) if skips else {}
            with backend.after(backend.finite_assertions(checked, together=True)):
                knowledge = self.objective.teach_before(outputs, labels.given, x=x)
                return self.commit(x, labels, sample_weight, view, knowledge)

    def read_labels(self, y: Any) -> Labels:
        """Read the labels of a batch, once per step: which are missing, and what replaces them."""
        return self._label_reader.read(y)

    def commit(
        self, x: Any, y: Labels, sample_weight: Any, view: Any, knowledge: Any
    ) -> dict[str, Any]:
        """Run the student on its view, update it and all other state, and return the logs."""

        def forward(inputs: Any, cut: Callable[[Any], Any]) -> tuple[Any, Any]:
            y_pred, student_outputs = cut(self.objective.student(inputs))
            loss = self.compute_loss(x, y, y_pred, sample_weight, True, knowledge, student_outputs)
            return y_pred, loss

        def require(loss: Any) -> list[Any]:
            outputs = knowledge.outputs if knowledge else ()
            return backend.check_if_not_finite(loss, lambda: self._teacher_values(outputs))

        y_pred, _ = backend.gradient_step(self, view, forward, require)
        backend.synchronize_statistics(nested_layers(self), backend.replica_share(batch_size(x))[0])
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return backend.stack_logs(self._trackers.select(logs, self._logged_losses()))

    def _logged_losses(self) -> list[str]:
        """Return the names of the losses that have a value, in the order of the history."""
        on_labels = [] if self.compiled_loss_fn is None else self._label_losses
        return ["loss", *on_labels, *self.objective.names]

    def _teacher_values(self, outputs: Sequence[dict[Tap, Any]] | None) -> dict[str, Any]:
        """Return the outputs of each teacher for `finite_assertions`."""
        names = [teacher.name for teacher in self.teachers]
        return teacher_values(names, [list(taps.values()) for taps in outputs or ()])

    def _decide_xla(self) -> None:
        """Disable XLA where it cannot run: .tflite files, several replicas, skipped steps."""
        with backend.strategy_scope(self):
            single = backend.replicas() == 1
        compiles = (
            backend.SUPPORTS_JIT
            and single
            and all(teacher.supports_jit for teacher in self.teachers)
        )
        self.supports_jit = compiles and self.on_bad_batch == "raise"

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
        """Compute the total loss of a batch.

        Args:
            x: The batch.
            y: Labels, or `None`.
            y_pred: The student's outputs.
            sample_weight: Sample weights, or `None`.
            training: Whether the parts are weighted for training. Defaults to `True`.
            knowledge: The targets from frozen teachers, or `None`.
            student_outputs: The student's taps, in training.

        Returns:
            A scalar: under `tf.distribute` this replica's share of it.
        """
        labels, size = self.read_labels(y), batch_size(x)
        share, average = backend.replica_share(size)
        labeled = backend.replica_share(labels.count(size))[1]
        terms, batch = [], {}
        for name, value, weight in self.label_losses(
            labels, y_pred, sample_weight, share, student_outputs
        ):
            batch[name] = (backend.global_mean(value), labeled)
            terms.append(value * ops.cast(weight, value.dtype) if training else value)
        if knowledge is None and student_outputs is not None:
            outputs, number = student_outputs, backend.replica_id()
            knowledge = self.objective.teach_during(outputs, labels.given, number, training)
        for i, loss in enumerate(self.distillation_losses if knowledge else ()):
            mean = self.objective.term(i, knowledge, student_outputs, labels.given, sample_weight)
            batch[self.objective.names[i]] = (mean, size)
            terms.append(backend.per_replica(mean * ops.cast(loss.weight, mean.dtype), share))
        terms.extend(
            backend.per_replica(ops.sum(term) if term.shape else term) for term in self.losses
        )
        # `add` and not `sum`: the terms of float64 models may have different types.
        total = functools.reduce(ops.add, terms) if terms else ops.zeros(())
        of_all = training or knowledge is not None
        batch["loss"] = (backend.global_mean(total), average if of_all else labeled)
        self._trackers.update(batch)
        return total

    def label_losses(
        self, labels: Labels, y_pred: Any, sample_weight: Any, share: Any, student_outputs: Any
    ) -> list[tuple[str, Any, Any]]:
        """Return the losses on the labels, each as its name, its value and its weight."""
        if self.compiled_loss_fn is None:
            return []
        compiled = self.compiled_loss_fn
        value = self._label_masking.loss(compiled, labels, y_pred, sample_weight, share)
        return [("student_loss", value, self.student_loss_weight)]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the compiled metrics with the labeled samples."""
        if self.compiled_metrics_fn is not None:
            labels, compiled = self.read_labels(y), self.compiled_metrics_fn
            self._label_masking.update_metrics(compiled, labels, y_pred, sample_weight)
        return self.get_metrics_result()
