"""The training loop: teachers, student, losses, one `fit`."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_kd.distillers.fit import build_metrics, fit_arguments, run_fit
from keras_kd.distillers.input_checks import check_batches
from keras_kd.distillers.objective import DistillationObjective, as_shapes
from keras_kd.distillers.summary import distiller_summary
from keras_kd.losses import DistillationLoss
from keras_kd.models.graph import require_built
from keras_kd.models.random_state import seed_states
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import Knowledge, joined_spec, unpack_batch
from keras_kd.teachers.noise import LogitNoise
from keras_kd.teachers.teacher import Teacher
from keras_kd.teachers.weighting import Weighting
from keras_kd.training.augmentation import Augmentation, as_augmentation, augment_batch
from keras_kd.training.class_weights import ClassWeights
from keras_kd.training.distribution import (
    check_strategy,
    fill_empty_replica,
    global_mean,
    per_replica,
    replica_id,
    replica_share,
    synchronize_statistics,
)
from keras_kd.training.finite_checks import (
    ON_BAD_BATCH,
    batch_values,
    finite_assertions,
    teacher_values,
)
from keras_kd.training.graph_errors import readable_errors
from keras_kd.training.hyperparameters import Hyperparameter, hyperparameters
from keras_kd.training.keras_compat import ReplicatedModel, stack_logs
from keras_kd.training.label_checks import check_labels, sparse_classes
from keras_kd.training.labels import UNLABELED
from keras_kd.training.loss_trackers import LossTrackers, batch_size
from keras_kd.training.masking import LabelMasking


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(ReplicatedModel):
    """Trains a student from labels and from one or several frozen teachers.

    A `keras.Model`: `compile`, `fit`, `evaluate`, `predict`, callbacks and checkpoints work as for
    any other. Each step runs every teacher once, outside the gradient tape, and the student once.
    The total loss is

        student_loss_weight · student_loss + Σ weight · distillation_loss + regularisation

    where `student_loss` is the compiled loss on the labels. The history holds `loss`,
    `student_loss`, each distillation loss under its name (before its weight) and the compiled
    metrics. Sample and class weights weigh every part; where a sample has several weights (one for
    each pixel), their mean weighs its distillation losses. `evaluate` and validation run the
    student alone: their `loss` is the compiled loss and the regularisation, and no teacher runs.

    A sample may have no label: `kd.UNLABELED` (-1) as its class index, or a row of NaN in one-hot
    labels (or NaN for a single output; for a cross-entropy -1 will do there too). The compiled loss
    is the mean over the samples (or pixels) that have one, 0 where none has, and the metrics count
    these alone; the distillation losses take all samples. A loss or metric that gives one value for
    a whole batch cannot leave samples out, and refuses such a batch.

    Args:
        student: The model to train, built: Functional, Sequential or subclassed.
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either.
        losses: A `kd.losses.DistillationLoss`, its name, or a list of either. Defaults to
            `kd.losses.SoftTargets()`.
        student_loss_weight: Weight of the compiled loss, a hyperparameter. Defaults to 0.5.
        weighting: How much each of several teachers counts for each sample, one of
            `kd.weighting`. Defaults to `kd.weighting.Uniform()`.
        noise: A `kd.noise.LogitNoise` on what the teachers say. Defaults to `None`.
        combine: How several teachers become one lesson: `"losses"` takes each loss for each teacher
            and weighs the values; `"probabilities"` and `"logits"` blend the teachers' outputs by
            their weights into one target. Hints are always taken for each teacher. Defaults to
            `"losses"`.
        class_names: Names of the student's classes, in order, for teachers that name theirs.
            Defaults to `None`.
        student_outputs: What the student's outputs are: `"logits"`, `"probabilities"` or `"auto"`,
            which reads it off the model. Defaults to `"auto"`.
        augment: What makes the student's view of a batch while it trains: a Keras layer, a list of
            them, or a function of x; drawn anew in each step, not in `evaluate` and `predict`. It
            sees x alone, so it must leave the labels true. Defaults to `None`.
        same_view: Whether the teachers see that view too, instead of x as it is. Defaults to
            `False`.
        on_bad_batch: What to do where a batch, or what a teacher says of it, has NaN or infinite
            values: `"raise"` an error that names it, or `"skip"` the batch, which then leaves no
            trace but `skipped_batches` in the history. Defaults to `"raise"`.
        name: Name of the model.

    Raises:
        TypeError: When student or teacher is not a `keras.Model`.
        ValueError: When a model is not built, a tap does not exist, teacher and student do not fit
            or a weight is negative.

    Example:
        >>> distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(temperature=4))
        >>> distiller.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> history = distiller.fit(train, validation_data=validation, epochs=20)
        >>> distiller.student.save("student.keras")
    """

    student_loss_weight = Hyperparameter()

    def __init__(
        self,
        student: keras.Model,
        teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
        losses: str | DistillationLoss | Sequence[str | DistillationLoss] | None = None,
        student_loss_weight: float = 0.5,
        weighting: Weighting | None = None,
        noise: LogitNoise | None = None,
        combine: str = "losses",
        class_names: Sequence[str] | None = None,
        student_outputs: str = "auto",
        augment: Augmentation | Sequence[keras.layers.Layer] | None = None,
        same_view: bool = False,
        on_bad_batch: str = "raise",
        name: str | None = None,
    ) -> None:
        require_built(student, "The student")
        if on_bad_batch not in ON_BAD_BATCH:
            raise ValueError(
                f"Distiller: `on_bad_batch` must be one of {ON_BAD_BATCH}. "
                f"Received: on_bad_batch={on_bad_batch!r}"
            )
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                "Distiller trains on the TensorFlow backend (the losses run on any): set "
                f"KERAS_BACKEND=tensorflow. Received: {keras.config.backend()!r}"
            )
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        self.student = student
        self.student_loss_weight = student_loss_weight
        self.student_outputs = student_outputs
        self.objective = self.make_objective(
            student, losses, teachers, student_outputs, weighting, noise, combine, class_names
        )
        self.augment = as_augmentation(augment)
        self.same_view = same_view
        self.on_bad_batch = on_bad_batch
        drawing = isinstance(self.augment, keras.layers.Layer)
        self.seed_states = seed_states([student, self.augment] if drawing else [student])
        self._decide_xla()
        self._trackers = LossTrackers(["loss", "student_loss", *self.objective.names])
        self._class_weights = None
        self.built = True

    def make_objective(self, student: keras.Model, *arguments: Any) -> DistillationObjective:
        """What the student learns from its teachers; `kd.compression` has another way to taps."""
        return DistillationObjective(student, *arguments)

    @property
    def distillation_losses(self) -> list[DistillationLoss]:
        """The distillation losses."""
        return self.objective.terms

    @property
    def projectors(self) -> dict[str, keras.layers.Layer]:
        """By loss (and teacher, where there are several): the trained maps between the taps."""
        return self.objective.projectors

    @property
    def hyperparameters(self) -> dict[str, keras.Variable]:
        """By path, as the schedulers take it: the scalars that may change while training."""
        return {
            f"{prefix}{name}": variable
            for prefix, owner in self._owners().items()
            for name, variable in hyperparameters(owner).items()
        }

    def set_hyperparameter(self, path: str, value: float) -> None:
        """Changes a hyperparameter, also between two compiled steps.

        Args:
            path: One of `hyperparameters`, such as `"soft_targets.temperature"`.
            value: The new value.

        Raises:
            KeyError: When there is none of that path.
            ValueError: When the value is out of its range.
        """
        for prefix, owner in self._owners().items():
            for name in hyperparameters(owner):
                if f"{prefix}{name}" == path:
                    setattr(owner, name, value)
                    return
        raise KeyError(
            f"There is no hyperparameter '{path}'; there are {list(self.hyperparameters)}"
        )

    def _owners(self) -> dict[str, Any]:
        losses = zip(self.objective.names, self.objective.terms, strict=True)
        owners = {"": self, **{f"{name}.": loss for name, loss in losses}}
        return (
            owners if self.objective.noise is None else {**owners, "noise.": self.objective.noise}
        )

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """The teachers, frozen; a distiller loaded from a file has none until they are set."""
        return self.objective.ensemble.teachers if self.objective.ensemble else ()

    # A property's setter would not do: Keras tracks whatever is assigned to an attribute.
    def set_teachers(
        self, teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher]
    ) -> None:
        """Sets the teachers, e.g. of a distiller that was loaded from a file, to train on.

        Args:
            teachers: As in the constructor.

        Raises:
            TypeError: When one is neither a `keras.Model` nor a `kd.Teacher`.
            ValueError: When they do not fit the student or the losses.
        """
        projectors = self.objective.projectors
        with self.distribute_strategy.scope():
            self.objective.set_teachers(teachers)
        self._decide_xla()
        self.train_function = None  # The compiled step holds the teachers that it was made with.
        if self.objective.projectors is not projectors:
            self.compiled = False  # The optimizer does not know the new projectors.

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """Configures the training; takes what `keras.Model.compile` takes.

        Args:
            optimizer: As for `keras.Model.compile`.
            loss: The loss on the labels; `None` means that labels are not used.
            **kwargs: All other arguments of `keras.Model.compile`.
        """
        if self.on_bad_batch == "skip" and kwargs.get("steps_per_execution", 1) != 1:
            raise ValueError(
                "Distiller: on_bad_batch='skip' looks at each step, so `steps_per_execution` must "
                f"be 1. Received: steps_per_execution={kwargs['steps_per_execution']}"
            )
        # Keras keeps an earlier loss and earlier metrics where there are none now.
        self._compile_loss = self._compile_metrics = None
        super().compile(optimizer, loss, **kwargs)
        student = self.objective.student
        self._allowed_labels = sparse_classes(loss, student.output_shapes)
        self._label_masking = LabelMasking(loss, student.output_names)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a distiller that was loaded from a file, its optimizer's state to come."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the student."""
        return self.student(unpack_batch(inputs)[0], training=training)

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the student (and the projectors); takes what `keras.Model.fit` takes.

        Args:
            x: As for `keras.Model.fit`: a `tf.data.Dataset` of (x, y) or (x, y, sample_weight)
                batches, arrays, ...
            y: Labels, if `x` holds arrays.
            batch_size: Samples of a batch, if `x` holds arrays.
            *args: The other arguments of `keras.Model.fit`, in its order.
            **kwargs: The same by name.

        Returns:
            The `History`.

        Raises:
            ValueError: When integer labels are out of range, there is no teacher to learn from, or
                a loss that relates samples is given them one at a time.
        """
        self._check_before_training(x, batch_size)
        given = fit_arguments(x, y, batch_size, *args, **kwargs)
        if y is None and given.get("sample_weight") is not None:
            # Keras drops the weights of samples that have no label.
            given["y"] = np.full(len(tree.flatten(x)[0]), UNLABELED)
        # Keras would look up what an unlabelled sample weighs among the classes.
        self._use_class_weights(given.pop("class_weight", None), given)
        if self.compiled:
            self._check_shapes(x, given.get("y"), given.get("sample_weight"))
            names = self.objective.student.output_names
            given["x"] = check_labels(x, y, self._allowed_labels, names)
            with self.distribute_strategy.scope():
                build_metrics(self._compile_metrics, x, given.get("y"), self.objective.student)
        return run_fit(self, super().fit, given, self.on_bad_batch)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the student alone; takes and returns what `keras.Model.evaluate` does."""
        with readable_errors():
            return super().evaluate(*args, **kwargs)

    def _use_class_weights(self, weights: dict[int, float] | None, given: dict[str, Any]) -> None:
        if weights is not None:
            shapes = self.objective.student.output_shapes
            weights = ClassWeights(weights, list(shapes.values()), given.get("sample_weight"))
        if weights != self._class_weights:
            self.train_function = None  # The compiled step holds the weights it was made with.
        self._class_weights = weights

    def _check_before_training(self, x: Any, batch_size: int | None) -> None:
        if not self.trainable_variables:
            raise ValueError(
                f"'{self.name}' has nothing to train: all layers of the student are frozen."
            )
        check_strategy(self)
        self._require_teachers(x)
        relating = [loss.name for loss in self.distillation_losses if loss.relates_samples]
        if relating and _one_at_a_time(x, batch_size):
            raise ValueError(
                f"{relating} relate the samples of a batch to each other, so a batch needs two or "
                "more of them, better 32. Received: batches of 1"
            )

    def _check_shapes(self, *data: Any) -> None:
        student = self.student if self.augment is None else None
        labelled, shapes = self._compile_loss is not None, self.objective.student.output_shapes
        check_batches(data, student, labelled, shapes, sparse=bool(self._allowed_labels))

    def _require_teachers(self, x: Any) -> None:
        if self.distillation_losses and not self.teachers:
            raise ValueError(
                f"'{self.name}' has no teachers (a file holds none). Call "
                "`distiller.set_teachers(...)` before training goes on."
            )
        lesson = joined_spec(x)
        if lesson is not None and self.teachers:
            self.objective.ensemble.locate_teacher_outputs(lesson.teacher_outputs, lesson.x)
        elif any(teacher.is_cached for teacher in self.teachers):
            raise ValueError(
                f"'{self.name}' has teachers that are only on disk, so it learns from a data set "
                "with their knowledge in it. Pass `cache.join(dataset)` to `fit`."
            )

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: teach, forward, losses, gradients, metrics."""
        lesson, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, teacher_outputs = unpack_batch(lesson)
        skips = self.on_bad_batch == "skip"
        # XLA would drop the assertions, and refuses metrics that are made after them.
        looked_at = {} if self.jit_compile else batch_values(x, y, sample_weight)
        with tf.control_dependencies(finite_assertions(looked_at, together=skips)):
            if self._class_weights is not None:
                sample_weight = self._class_weights.of(y, sample_weight)
            view = augment_batch(self.augment, x)
            knowledge = self._knowledge(
                view if self.same_view else x, y, self._recalled(teacher_outputs, x)
            )
            with tf.control_dependencies(self._said_checks(knowledge) if skips else []):
                return self._learn(x, y, sample_weight, view, knowledge)

    def _learn(self, x: Any, y: Any, sample_weight: Any, view: Any, knowledge: Any) -> dict:
        """The rest of a step, when the teachers have spoken."""
        view, cut = fill_empty_replica(view)
        with tf.GradientTape() as tape:
            y_pred, student_outputs = cut(self.objective.student(view))
            loss = self.compute_loss(x, y, y_pred, sample_weight, True, knowledge, student_outputs)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        with tf.control_dependencies([self._teachers_finite(loss, knowledge)]):
            gradients = [None if g is None else tf.identity(g) for g in gradients]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        share, average = replica_share(batch_size(x))
        synchronize_statistics(self._flatten_layers(), share)
        self._trackers.update("loss", global_mean(loss), average)
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return stack_logs({**logs, **self._trackers.results(self._shown())})

    def _knowledge(self, x: Any, y: Any, teacher_outputs: Sequence[Any] | None) -> Knowledge | None:
        """What the teachers say of the batch, `None` while they do not teach."""
        return self.objective.teach(x, y, replica_id(), teacher_outputs)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates the student alone."""
        lesson, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x, _ = unpack_batch(lesson)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        average = replica_share(batch_size(x))[1]
        labelled = self._label_masking.count(y, y_pred, average)
        self._trackers.update("loss", global_mean(loss), labelled)
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return stack_logs({**logs, **self._trackers.results(self._shown(training=False))})

    def _shown(self, training: bool = True) -> list[str]:
        """The losses that have a value: those that the progress bar and the history show."""
        names = ["loss"] if self._compile_loss is None else ["loss", "student_loss"]
        return [*names, *self.objective.names] if training else names

    def _recalled(self, teacher_outputs: Any, x: Any) -> list[dict[Tap, Any]] | None:
        """What each teacher said of the batch, where a cache brought it along."""
        if teacher_outputs is None or self.objective.ensemble is None:
            return None
        if self.augment is not None and self.same_view:
            raise ValueError(
                "Distiller: a cache holds what the teachers said of the inputs as they are; they "
                "cannot see the student's view. Received: same_view=True"
            )
        with tf.init_scope():  # The weights of a live teacher are looked at here, once.
            found = self.objective.ensemble.locate_teacher_outputs(teacher_outputs, x)
        return [{tap: teacher_outputs[k][t] for tap, (k, t) in places.items()} for places in found]

    def _said_checks(self, knowledge: Knowledge | None) -> list[Any]:
        """Assertions on what each teacher said, before anything is learned from it."""
        teacher_outputs = {}
        named = zip(self.teachers, knowledge.outputs if knowledge else (), strict=False)
        for teacher, outputs in named:
            teacher_outputs |= teacher_values(teacher.name, list(outputs.values()))
        return finite_assertions(teacher_outputs, together=True)

    def _decide_xla(self) -> None:
        """XLA runs no .tflite file, nothing across replicas, and drops what makes a step skip."""
        alone = self.distribute_strategy.num_replicas_in_sync == 1
        runs = all(teacher.supports_jit for teacher in self.teachers)
        self.supports_jit = runs and alone and self.on_bad_batch == "raise"

    def _teachers_finite(self, loss: Any, knowledge: Knowledge | None) -> Any:
        """Names the teacher whose NaN or infinity the loss has; nothing is looked at where not."""

        def look() -> Any:
            named = zip(self.teachers, knowledge.outputs if knowledge else (), strict=False)
            for teacher, outputs in named:
                finite_assertions(teacher_values(teacher.name, list(outputs.values())))
            return tf.constant(True)

        return tf.cond(tf.math.is_finite(loss), lambda: tf.constant(True), look)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        knowledge: Knowledge | None = None,
        student_outputs: dict[Tap, Any] | None = None,
    ) -> Any:
        """The total loss of a batch.

        Args:
            x: The batch.
            y: Labels, or `None`.
            y_pred: The student's outputs.
            sample_weight: Sample weights, or `None`.
            training: Whether the parts are weighted for training. Defaults to `True`.
            knowledge: What the teachers say of the batch; `None` leaves them out.
            student_outputs: The student's taps, if there is knowledge.

        Returns:
            A scalar: under `tf.distribute` this replica's share of it.
        """
        size = batch_size(x)
        share, average = replica_share(size)
        terms = []
        if self._compile_loss is not None:
            hard = self._label_masking.loss(self._compile_loss, y, y_pred, sample_weight, share)
            labelled = self._label_masking.count(y, y_pred, average)
            self._trackers.update("student_loss", global_mean(hard), labelled)
            weight = ops.cast(self.student_loss_weight, hard.dtype) if training else 1.0
            terms.append(hard * weight)
        for i, loss in enumerate(self.distillation_losses if knowledge else ()):
            mean = self.objective.term(i, knowledge, student_outputs, y, sample_weight)
            self._trackers.update(self.objective.names[i], mean, size)
            terms.append(per_replica(mean * ops.cast(loss.weight, mean.dtype), share))
        terms.extend(per_replica(ops.sum(term)) for term in self.losses)
        if len(terms) == 1:
            return terms[0]
        return ops.sum(terms) if terms else ops.zeros(())

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Updates the compiled metrics with the samples that have a label."""
        if self._compile_metrics is not None:
            self._label_masking.update_metrics(self._compile_metrics, y, y_pred, sample_weight)
        return self.get_metrics_result()

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs: Keras names losses and metrics by them."""
        return self.objective.student.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that Keras resets at the start of each epoch."""
        loss, *others = self._trackers.metrics
        # Keras's own tracker of the loss would stand beside ours under the same name.
        compiled = [metric for metric in super().metrics if metric.name != "loss"]
        return [loss, *compiled, *others]

    def get_metrics_result(self) -> dict[str, Any]:
        """The compiled metrics; the steps add the losses."""
        own = {tracker.name for tracker in self._trackers.metrics}
        logs = super().get_metrics_result()
        return {name: value for name, value in logs.items() if name not in own}

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        # The logs of a step are the mean of the replicas' results, however many samples each has.
        found = {**self.get_metrics_result(), **self._trackers.results(self._trackers.names)}
        return {name: found.get(name, value) for name, value in logs.items()}

    def summary(self, print_fn: Callable[[str], None] = print, **kwargs: Any) -> None:
        """Prints teachers, student, projectors and losses, a row each.

        Args:
            print_fn: Called with each line. Defaults to `print`.
            **kwargs: Arguments of `keras.Model.summary`, for the student's own table; it is
                printed where any is given.
        """
        distiller_summary(self, print_fn)
        if kwargs:
            self.student.summary(print_fn=print_fn, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor; of the teachers, only the shapes at their taps."""
        return {
            "student": keras.saving.serialize_keras_object(self.student),
            "losses": [keras.saving.serialize_keras_object(x) for x in self.distillation_losses],
            "student_loss_weight": float(self.student_loss_weight),
            "weighting": _serialized(self.objective.weighting),
            "noise": _serialized(self.objective.noise),
            "combine": self.objective.combine,
            "class_names": self.objective.class_names,
            "student_outputs": self.student_outputs,
            "augment": _serialized(self.augment),
            "same_view": self.same_view,
            "on_bad_batch": self.on_bad_batch,
            "teacher_shapes": self.objective.teacher_shapes,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Makes the distiller that was saved; its teachers have to be set before it trains on."""
        shapes = config.pop("teacher_shapes")
        config["student"] = keras.saving.deserialize_keras_object(config["student"], custom_objects)
        for name in ("weighting", "noise", "augment"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        distiller = cls(**config, teachers=None)
        if shapes is not None:
            # The projectors must be there before their weights are loaded.
            distiller.objective.connect([[as_shapes(shape) for shape in taps] for taps in shapes])
        return distiller


def _serialized(part: Any) -> dict[str, Any] | None:
    return None if part is None else keras.saving.serialize_keras_object(part)


def _one_at_a_time(x: Any, batch_size: int | None) -> bool:
    if isinstance(x, tf.data.Dataset):
        first = tree.flatten(x.element_spec)[0].shape
        return bool(first.rank) and first[0] == 1
    return batch_size == 1
