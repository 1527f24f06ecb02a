"""The training loop: teachers, student, losses, one `fit`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops, tree

from keras_kd.distribution import global_mean, per_replica
from keras_kd.hyperparameters import Hyperparameter
from keras_kd.labels import checked_labels, per_output, refused, sample_weights, sparse_classes
from keras_kd.losses import DistillationLoss, SoftTargets
from keras_kd.losses import get as get_loss
from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.models.graph import input_shapes, require_built
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.summary import distiller_summary
from keras_kd.teachers.committee import Committee
from keras_kd.teachers.knowledge import Knowledge
from keras_kd.teachers.teacher import Teacher, WatchedTeacher, as_teachers


@keras.saving.register_keras_serializable(package="keras_kd")
class Distiller(keras.Model):
    """Trains a student from labels and from one or several frozen teachers.

    A `keras.Model`: `compile`, `fit`, `evaluate`, `predict`, callbacks and checkpoints work as for
    any other. Each step runs every teacher once, outside the gradient tape, and the student once.
    The total loss is

        student_loss_weight · student_loss + Σ weight · distillation_loss + regularisation

    where `student_loss` is the compiled loss on the labels. The history holds `loss`,
    `student_loss`, each distillation loss under its name (before its weight) and the compiled
    metrics. `evaluate` and validation run the student alone: their `loss` is the compiled loss and
    the regularisation, and no teacher runs.

    Args:
        student: The model to train, built: Functional, Sequential or subclassed.
        teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either. With several, each
            loss is the mean over the teachers.
        losses: A `kd.losses.DistillationLoss`, its name, or a list of either. Defaults to
            `kd.losses.SoftTargets()`.
        student_loss_weight: Weight of the compiled loss, a hyperparameter. Defaults to 0.1.
        student_outputs: What the student's outputs are: `"logits"`, `"probabilities"` or `"auto"`,
            which reads it off the model. Defaults to `"auto"`.
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
        student_loss_weight: float = 0.1,
        student_outputs: str = "auto",
        name: str | None = None,
    ) -> None:
        require_built(student, "The student")
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                "Distiller trains on the TensorFlow backend (the losses run on any): set "
                f"KERAS_BACKEND=tensorflow. Received: {keras.config.backend()!r}"
            )
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        self.student = student
        self.student_loss_weight = student_loss_weight
        self.student_outputs = student_outputs
        self.distillation_losses = _as_losses(losses)
        for loss in self.distillation_losses:
            loss.choose_taps(as_teachers(teachers)[0].model if teachers else None, student)
        #: By loss (and teacher, where there are several): the trained maps between the taps.
        self.projectors = {}
        taps = tree.flatten([_student_tap(loss) for loss in self.distillation_losses])
        self._tapped = TappedModel(student, taps, outputs=student_outputs, training=True)
        self._loss_names = _unique(loss.name for loss in self.distillation_losses)
        self._trackers = _Trackers(["loss", "student_loss", *self._loss_names])
        self._teacher_shapes = None
        self._committee = None
        self.built = True
        if teachers is not None:
            self.set_teachers(teachers)

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """The teachers, frozen; a distiller loaded from a file has none until they are set."""
        return self._committee.teachers if self._committee else ()

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
        taps = [_teacher_tap(loss) for loss in self.distillation_losses]
        committee = Committee(as_teachers(teachers), tree.flatten(taps))
        if taps and not committee.members:
            raise ValueError(
                "Distiller: with distillation losses there must be at least one teacher; pass "
                "`losses=[]` to train from labels alone. Received: teachers=[]"
            )
        for member in committee.members:
            _check_inputs(member, self.student)
            for loss, tap in zip(self.distillation_losses, taps, strict=True):
                for place in tree.flatten(tap):
                    loss.check_head(member.activations.get(place), member.shapes[place])
        self._connect([[_each(tap, member.shapes) for tap in taps] for member in committee.members])
        self._committee = committee

    def _connect(self, teacher_shapes: Sequence[Sequence[tuple]]) -> None:
        """Makes the projectors for teachers whose taps have these shapes, by teacher and loss."""
        if self._teacher_shapes == teacher_shapes:
            return
        projectors = {}
        for k, shapes in enumerate(teacher_shapes):
            for i, loss in enumerate(self.distillation_losses):
                student_shape = _each(_student_tap(loss), self._tapped.shapes)
                projector = loss.make_projector(shapes[i], student_shape)
                if projector is not None:
                    projector.build(student_shape)
                    projectors[self._key(i, k, len(teacher_shapes))] = projector
        self.projectors = projectors
        self._teacher_shapes = teacher_shapes

    def _key(self, loss: int, teacher: int, teachers: int) -> str:
        name = self._loss_names[loss]
        return name if teachers == 1 else f"{name}/teacher_{teacher}"

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Runs the student."""
        return self.student(inputs, training=training)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> keras.callbacks.History:
        """Trains the student (and the projectors); takes what `keras.Model.fit` takes.

        Args:
            x: As for `keras.Model.fit`: a `tf.data.Dataset` of (x, y) or (x, y, sample_weight)
                batches, arrays, ...
            y: Labels, if `x` holds arrays.
            **kwargs: All other arguments of `keras.Model.fit`.

        Returns:
            The `History`.

        Raises:
            ValueError: When integer labels are out of range, there is no teacher to learn from, or
                a loss that relates samples is given them one at a time.
        """
        if self.distillation_losses and not self.teachers:
            raise ValueError(
                f"'{self.name}' has no teachers (a file holds none). Call "
                "`distiller.set_teachers(...)` before training goes on."
            )
        relating = [loss.name for loss in self.distillation_losses if loss.relates_samples]
        if relating and _one_at_a_time(x, kwargs.get("batch_size")):
            raise ValueError(
                f"{relating} relate the samples of a batch to each other, so a batch needs two or "
                "more of them, better 32. Received: batches of 1"
            )
        if self.compiled:
            allowed = sparse_classes(
                self.get_compile_config().get("loss"), self._tapped.output_shapes
            )
            x = checked_labels(x, y, allowed, self._tapped.output_names)
        try:
            return super().fit(x, y, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            ours = refused(error)
            if ours is None:
                raise
            raise ours from None

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: teach, forward, losses, gradients, metrics."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        knowledge = self._committee(x) if self._committee else Knowledge(())
        with tf.GradientTape() as tape:
            y_pred, seen = self._tapped(x)
            loss = self.compute_loss(x, y, y_pred, sample_weight, True, knowledge, seen)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(
            zip(tape.gradient(scaled, variables), variables, strict=True)
        )
        self._trackers.update("loss", global_mean(loss), _batch_size(x))
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, **self._trackers.results(self._shown())}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates the student alone."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._trackers.update("loss", global_mean(loss), _batch_size(x))
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, **self._trackers.results(self._shown(training=False))}

    def _shown(self, training: bool = True) -> list[str]:
        """The losses that have a value: those that the progress bar and the history show."""
        names = ["loss"] if self._compile_loss is None else ["loss", "student_loss"]
        return [*names, *self._loss_names] if training else names

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
        knowledge: Knowledge | None = None,
        seen: dict[Tap, Any] | None = None,
    ) -> Any:
        """The total loss of a batch.

        Args:
            x: The batch.
            y: Labels, or `None`.
            y_pred: The student's outputs.
            sample_weight: Sample weights, or `None`.
            training: Whether the parts are weighted for training. Defaults to `True`.
            knowledge: What the teachers say of the batch; `None` leaves them out.
            seen: The student's taps, if there is knowledge.

        Returns:
            A scalar: under `tf.distribute` this replica's share of it.
        """
        size = _batch_size(x)
        terms = []
        if self._compile_loss is not None:
            hard = self._compile_loss(y, y_pred, sample_weight)
            self._trackers.update("student_loss", global_mean(hard), size)
            weight = ops.cast(self.student_loss_weight, hard.dtype) if training else 1.0
            terms.append(hard * weight)
        for i, loss in enumerate(self.distillation_losses if knowledge else ()):
            mean = self._distillation_loss(i, knowledge, seen, y, sample_weight)
            self._trackers.update(self._loss_names[i], mean, size)
            terms.append(per_replica(mean * ops.cast(loss.weight, mean.dtype)))
        terms.extend(per_replica(ops.sum(term)) for term in self.losses)
        if len(terms) == 1:
            return terms[0]
        return ops.sum(terms) if terms else ops.zeros(())

    def _distillation_loss(
        self, i: int, knowledge: Knowledge, seen: dict[Tap, Any], y: Any, sample_weight: Any
    ) -> Any:
        """The mean of one distillation loss over the samples and the teachers."""
        loss, names = self.distillation_losses[i], self._tapped.output_names
        teachers = len(knowledge.outputs)
        tap = tree.flatten(_student_tap(loss))[0].name
        labels = per_output(y, tap, names)
        values = []
        for k, outputs in enumerate(knowledge.outputs):
            projector = self.projectors.get(self._key(i, k, teachers))
            said, answer = _each(_teacher_tap(loss), outputs), _each(_student_tap(loss), seen)
            values.append(loss.compare(projector, said, answer, labels))
        values = values[0] if teachers == 1 else ops.mean(ops.stack(values), axis=0)
        weights = sample_weights(sample_weight, tap, names)
        return ops.mean(values if weights is None else values * ops.cast(weights, values.dtype))

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs: Keras names losses and metrics by them."""
        return self._tapped.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that Keras resets at the start of each epoch."""
        return [*super().metrics, *self._trackers.metrics]

    def get_metrics_result(self) -> dict[str, Any]:
        """The compiled metrics; the steps add the losses."""
        own = {tracker.name for tracker in self._trackers.metrics}
        logs = super().get_metrics_result()
        return {name: value for name, value in logs.items() if name not in own}

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
            "student_outputs": self.student_outputs,
            "teacher_shapes": self._teacher_shapes,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Makes the distiller that was saved; its teachers have to be set before it trains on."""
        shapes = config.pop("teacher_shapes")
        config["student"] = keras.saving.deserialize_keras_object(config["student"], custom_objects)
        distiller = cls(**config, teachers=None)
        if shapes is not None:
            # The projectors must be there before their weights are loaded.
            distiller._connect([[_as_shapes(shape) for shape in taps] for taps in shapes])
        return distiller


class _Trackers:
    """Running means of the losses, weighted by the size of the batch.

    No Keras object, so that no checkpoint holds them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs: Keras names losses and metrics by them."""
        return self._tapped.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def update(self, name: str, value: Any, batch_size: Any) -> None:
        self._means[name].update_state(value, sample_weight=batch_size)

    def results(self, names: Iterable[str]) -> dict[str, Any]:
        return {name: self._means[name].result() for name in names}


def _as_losses(losses: Any) -> list[DistillationLoss]:
    if losses is None:
        return [SoftTargets()]
    several = losses if isinstance(losses, (list, tuple)) else [losses]
    return [get_loss(loss) for loss in several]


def _student_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    return _taps(loss.student_tap, loss.on_logits)


def _teacher_tap(loss: DistillationLoss) -> Tap | list[Tap]:
    return _taps(loss.teacher_tap, loss.on_logits)


def _taps(names: str | Sequence[str] | None, logits: bool) -> Tap | list[Tap]:
    """The tap of a loss, or its taps where it compares several pairs."""
    if isinstance(names, (list, tuple)):
        return [Tap(name, logits) for name in names]
    return Tap(names, logits)


def _each(taps: Tap | list[Tap], found: dict[Tap, Any]) -> Any:
    """What was found at a tap, or a list of it for a list of taps."""
    return [found[tap] for tap in taps] if isinstance(taps, list) else found[taps]


def _as_shapes(saved: Sequence) -> Any:
    """A shape, or a list of shapes, from the lists that a file makes of them."""
    if saved and isinstance(saved[0], (list, tuple)):
        return [tuple(shape) for shape in saved]
    return tuple(saved)


def _unique(names: Iterable[str]) -> list[str]:
    """Names made unique: hint, hint_2, hint_3."""
    found = []
    for name in names:
        count = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(name if name not in found else f"{name}_{count + 1}")
    return found


def _one_at_a_time(x: Any, batch_size: int | None) -> bool:
    if isinstance(x, tf.data.Dataset):
        first = tree.flatten(x.element_spec)[0].shape
        return bool(first.rank) and first[0] == 1
    return batch_size == 1


def _batch_size(x: Any) -> Any:
    return ops.shape(next(part for part in tree.flatten(x) if part is not None))[0]


def _check_inputs(member: WatchedTeacher, student: keras.Model) -> None:
    """Refuses a teacher that cannot take what the student takes."""
    if member.teacher.preprocessing is not None:
        return
    one, other = input_shapes(member.teacher.model), input_shapes(student)
    if one is None or other is None:
        return
    if len(one) != len(other) or not all(map(shapes_agree, one, other)):
        raise ValueError(
            f"Teacher '{member.teacher.name}' takes inputs of shape {one} and the student "
            f"'{student.name}' {other}. Give the teacher what turns one into the other: "
            "kd.Teacher(model, preprocessing=...)."
        )
