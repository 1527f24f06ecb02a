"""A class of students: each mimics one chunk of what the teacher knows."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_kd.distillers.fit import fit_arguments, run_fit
from keras_kd.losses import DistillationLoss
from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.random_state import seed_states
from keras_kd.teacher_class.assembly import assemble_from_files, assemble_students
from keras_kd.teacher_class.chunks import make_chunks
from keras_kd.teacher_class.discriminators import make_discriminators
from keras_kd.teacher_class.losses import TeacherClassLosses, get_mimicry_loss
from keras_kd.teacher_class.representation import make_representation
from keras_kd.teacher_class.students import (
    Models,
    build_students,
    require_fit,
    require_list_or_builder,
    require_separable,
    student_numbers,
)
from keras_kd.teachers.knowledge import joined_spec, unpack_batch
from keras_kd.teachers.teacher import Teacher
from keras_kd.training.distribution import (
    check_strategy,
    replica_share,
    replicas,
    stack_logs,
    synchronize_statistics,
)
from keras_kd.training.finite_checks import batch_values, finite_assertions, teacher_values
from keras_kd.training.graph_errors import readable_errors
from keras_kd.training.label_checks import sample_weights
from keras_kd.training.loss_trackers import batch_size
from keras_kd.training.step import StepModel, gradient_step


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherClass(StepModel):
    """Trains a class of students, each to mimic its chunk of a teacher's representation.

    A `keras.Model`: `compile(optimizer)`, `fit(x)` or `fit(dataset)`, callbacks and checkpoints
    work as for any other. The representation is what the teacher has at `layer`: a vector (batch,
    units), or a map (batch, ..., channels) that is cut by channels. Each step runs the teacher
    once, outside the gradient tape, and each student once. Labels are not used, sample weights are.
    The teacher does not run on what `KnowledgeCache.join` gives, where `layer` was stored.
    The history holds `loss` (the sum over the students, with weights and regularisation) and
    `student_0`, ..., the mimicry of each before its weight. `evaluate` and validation give the same
    numbers, so they run the teacher too. `predict` gives a list: what each student says.

    By default students mimic the layer's output, as the authors' do, and `assemble` applies the
    layer's activation to what they say where it changes nothing of what it made itself (ReLU does
    not, tanh does). With `mimic="preactivation"` they mimic what the layer has before its
    activation, and `assemble` always applies it. Let a student end without an activation.

    Nothing in the step ties one student to another, so each may be trained apart, on a machine of
    its own: `only=[2]` with the same seed, data and other arguments gives student 2 the weights
    that the joint `fit` gives it. (Under `mixed_float16` they share one loss scale.)

    Args:
        teacher: The trained teacher, a `keras.Model` or a `kd.Teacher`, or `cache.teachers[0]` of a
            `kd.KnowledgeCache`. It is never changed and in no checkpoint.
        layer: The layer, `outer/inner` inside a nested model. Whatever the teacher's output depends
            on must pass through it; to take a layer in the middle of a net with skips, for
            `assemble(head=None)`, pass the teacher cut there: `keras.Model(inputs, layer.output)`.
        students: A built model for each chunk, or a builder f(chunk size) -> model.
        n: How many students, for a builder without `chunks`. Defaults to the number of `students`.
        chunks: Sizes of the chunks, or lists of unit indices. Defaults to `n` of equal size.
        split: `"contiguous"`, or `"correlated"`: units that go together on `data` share a chunk.
            Defaults to `"contiguous"`.
        data: Samples for `split="correlated"`: an array, or a `tf.data.Dataset` of batches.
        mimic: `"output"` or `"preactivation"`, as above. Defaults to `"output"`.
        loss: A `kd.losses.DistillationLoss` on a chunk and what mimics it, or its name. Defaults to
            `kd.losses.ChunkMimicry()`.
        discriminators: For adversarial mimicry: a built model for each chunk that ends in one logit
            or sigmoid, or a builder f(chunk size) -> model. Trained in the same `fit`; the history
            shows `adversarial_0`, ... and `discriminator_0`, ... too. Defaults to `None`.
        discriminator_optimizer: Their optimizer. Defaults to `"adam"`.
        adversarial_weight: Weight of the adversarial loss, a hyperparameter. Defaults to 0.1.
        only: Numbers of the students to train, where they are trained apart. `students` (and
            `discriminators`) may then hold these alone. Defaults to `None`, all.
        name: Name of the model.

    Raises:
        TypeError: When teacher, students or loss are no such thing.
        ValueError: When the layer does not exist, is no vector or map, or is not all that the
            teacher's output depends on; when chunks do not add up, or students do not fit them, do
            not take what the teacher takes, share weights or are not built.

    Example:
        >>> small = lambda size: keras.Sequential([keras.Input((28, 28, 1)), ..., Dense(size)])
        >>> students = kd.TeacherClass(teacher, "dense_1", small, n=4)
        >>> students.compile("adam")
        >>> students.fit(train, epochs=20)
        >>> model = students.assemble()

    Reference:
        Malik et al. 2020, arXiv:2004.03281.
    """

    def __init__(
        self,
        teacher: keras.Model | Teacher,
        layer: str,
        students: Models,
        n: int | None = None,
        chunks: Sequence[int] | Sequence[Sequence[int]] | None = None,
        split: str = "contiguous",
        data: Any = None,
        mimic: str = "output",
        loss: str | DistillationLoss | None = None,
        discriminators: Models | None = None,
        discriminator_optimizer: Any = "adam",
        adversarial_weight: float = 0.1,
        only: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        require_list_or_builder(students, "students")
        representation = None if teacher is None else make_representation(teacher, layer, mimic)
        if n is None and chunks is None and only is None and isinstance(students, (list, tuple)):
            n = len(students)
        # A class that was loaded from a file has no teacher yet; its chunks list their units.
        if representation is not None:
            chunks = make_chunks(representation, chunks, n, split, data)
        numbers = student_numbers(only, len(chunks))
        models = build_students(representation, students, chunks, numbers)
        super().__init__(name=name, dtype=models[0].dtype_policy, autocast=False)
        self.layer_name = layer
        self.mimic = mimic
        self.chunks = chunks
        #: Number of each of `students` in the class.
        self.numbers = numbers
        self.students = models
        self.mimicry = get_mimicry_loss(loss)
        self.adversary = make_discriminators(
            discriminators, discriminator_optimizer, adversarial_weight, chunks, numbers, models
        )
        # Keras saves no generator's state of its own accord; as variables of the model they are.
        self.seed_states = seed_states([*models, *self.discriminators])
        self._class_losses = TeacherClassLosses(self.mimicry, self.adversary, numbers)
        self.representation = representation
        self.supports_jit = replicas() == 1  # XLA does not compile across replicas.
        self.built = True

    @property
    def discriminators(self) -> list[keras.Model]:
        """The discriminators, one for each student; none without adversarial mimicry."""
        return [] if self.adversary is None else self.adversary.discriminators

    # A property's setter would not do: Keras tracks whatever is assigned to an attribute.
    def set_teacher(self, teacher: keras.Model | Teacher) -> None:
        """Sets the teacher of a class that was loaded from a file, which holds none.

        Args:
            teacher: As in the constructor.

        Raises:
            TypeError: When it is neither a `keras.Model` nor a `kd.Teacher`.
            ValueError: When it does not fit the students.
        """
        with self.distribute_strategy.scope():
            representation = make_representation(teacher, self.layer_name, self.mimic)
        make_chunks(representation, self.chunks, len(self.chunks), "contiguous", None)
        require_fit(representation, self.students, self.numbers, self.chunks)
        self.representation = representation
        # The compiled steps hold the teacher that they were made with.
        self.train_function = self.test_function = None

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        """Runs each student: a list of what they say, each (batch, ..., units of its chunk)."""
        x, _ = unpack_batch(inputs)
        return [student(x, training=training) for student in self.students]

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains the students (and discriminators); takes what `keras.Model.fit` takes.

        Args:
            x: Arrays, or a `tf.data.Dataset` of x, (x, y) or (x, y, sample_weight) batches. On
                `cache.join(dataset)` of a `kd.KnowledgeCache` no teacher runs.
            y: Not used.
            *args: The other arguments of `keras.Model.fit`, in its order.
            **kwargs: The same by name.

        Returns:
            The `History`.

        Raises:
            ValueError: When there is no teacher or it gives NaN, a cache is of another, `compile`
                was given a loss or metrics, or an optimizer ties the students together by
                `global_clipnorm`.
        """
        if self.compiled:
            self._require_apart()
        check_strategy(self)
        self._require_teacher()
        self.representation.require_data(joined_spec(x))
        given = fit_arguments(x, _labels(y, **kwargs), *args, **kwargs)
        return run_fit(self, super().fit, given)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """The mimicry of each student on some data; it runs the teacher.

        Args:
            x: As for `fit`.
            y: Not used.
            *args: The other arguments of `keras.Model.evaluate`, in its order.
            **kwargs: The same by name.

        Returns:
            As `keras.Model.evaluate`.

        Raises:
            ValueError: When there is no teacher or it gives NaN, or a cache is of another.
        """
        self._require_teacher()
        self.representation.require_data(joined_spec(x))
        with readable_errors():
            return super().evaluate(x, _labels(y, **kwargs), *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the students, then one of the discriminators, if there are any."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        inputs = unpack_batch(x)[0]
        with tf.control_dependencies(self._assertions(batch_values(inputs, None, weights))):
            return self._commit(x, inputs, sample_weights(weights, None, ["students"]))

    def _commit(self, x: Any, inputs: Any, weights: Any) -> dict[str, Any]:
        """Update students and discriminators and return the logs."""
        targets = self._chunk_targets(x)

        def forward(inputs: Any, cut: Callable[[Any], Any]) -> tuple[Any, Any]:
            outputs = cut(self(inputs, training=True))
            return outputs, self._loss(targets, outputs, weights, x, training=True)

        outputs, _ = gradient_step(self, inputs, forward)
        self._class_losses.train_discriminators(targets, outputs, weights, batch_size(x))
        synchronize_statistics(nested_layers(self), replica_share(batch_size(x))[0])
        return stack_logs(self._class_losses.results(training=True))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compute the mimicry of each student; the teacher runs, the discriminators do not."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        targets, weights = self._chunk_targets(x), sample_weights(weights, None, ["students"])
        self._loss(targets, self(x, training=False), weights, x, training=False)
        return stack_logs(self._class_losses.results(training=False))

    def _chunk_targets(self, x: Any) -> list[Any]:
        """Return each student's chunk of the representation, live or from a cache."""
        values = self.representation(x)
        finite = self._assertions(teacher_values(self.representation.teacher.name, values))
        with tf.control_dependencies(finite):
            values = tf.identity(values)
        return [ops.take(values, self.chunks[number], axis=-1) for number in self.numbers]

    def _assertions(self, named: dict[str, Any]) -> list[Any]:
        """Return assertions; XLA drops them, and creates no optimizer variables after them."""
        return [] if self.jit_compile else finite_assertions(named)

    def _loss(self, targets: Any, outputs: Any, weights: Any, x: Any, training: bool) -> Any:
        penalties = [loss for student in self.students for loss in student.losses]
        return self._class_losses.total(
            targets, outputs, weights, penalties, batch_size(x), training
        )

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What the compiled optimizer moves: the students; the discriminators have their own."""
        return [v for student in self.students for v in student.trainable_variables]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that Keras resets at the start of each epoch."""
        return self._class_losses.trackers.metrics

    def assemble(
        self, head: str | keras.layers.Layer | None = "teacher", name: str | None = None
    ) -> keras.Model:
        """Puts the students side by side, in one plain Functional model.

        One input, the students in parallel, their outputs concatenated in the order of the
        teacher's units, the activation of the teacher's layer (see `mimic`), the head. It holds the
        students themselves, so that training it trains them, and nothing of the teacher.

        Args:
            head: `"teacher"`: a trainable copy of what the teacher has after its layer, checked to
                answer as the teacher does where students are perfect. A Keras layer or model: taken
                as it is. `None`: the model gives the representation. Defaults to `"teacher"`.
            name: Name of the model. Defaults to the class's name + `"_assembled"`.

        Returns:
            A Functional `keras.Model`, uncompiled.

        Raises:
            TypeError: When `head` is none of these.
            ValueError: When a student is missing (`only`), or there is no teacher.
        """
        self._require_teacher()
        if len(self.students) < len(self.chunks):
            raise ValueError(
                f"'{self.name}' has the students {self.numbers} of {len(self.chunks)}. Save each "
                "to a file and call `TeacherClass.assemble_from`."
            )
        name = name or f"{self.name}_assembled"
        return assemble_students(self.students, self.chunks, self.representation, head, name=name)

    @classmethod
    def assemble_from(
        cls,
        teacher: keras.Model | Teacher,
        layer: str,
        files: Sequence[str | os.PathLike | keras.Model | None],
        chunks: Sequence[int] | Sequence[Sequence[int]] | None = None,
        split: str = "contiguous",
        data: Any = None,
        mimic: str = "output",
        head: str | keras.layers.Layer | None = "teacher",
        name: str = "teacher_class",
    ) -> keras.Model:
        """Assembles students that were trained apart.

        A student that is lost is reported by a warning; the class works on with its chunk filled by
        the mean that the teacher's chunk has over `data`.

        Args:
            teacher: As in the constructor, as are `layer`, `chunks`, `split` and `mimic`.
            layer: The teacher's layer.
            files: For each chunk the `.keras` file of its student, or the model; `None`, or a file
                that does not exist, where it is lost.
            chunks: As they were in training. Defaults to as many of equal size as there are files.
            split: As it was in training. Defaults to `"contiguous"`.
            data: Samples: for `split="correlated"` the same as in training, and wanted where a
                student is lost. Defaults to `None`.
            mimic: As it was in training. Defaults to `"output"`.
            head: As for `assemble`. Defaults to `"teacher"`.
            name: Name of the model. Defaults to `"teacher_class"`.

        Returns:
            A Functional `keras.Model`, uncompiled.

        Raises:
            TypeError: When `files` or `head` hold something else.
            ValueError: When all are lost, or one is and there are no data, or they do not fit.

        Example:
            >>> files = ["student_0.keras", "student_1.keras", None, "student_3.keras"]
            >>> model = kd.TeacherClass.assemble_from(teacher, "dense_1", files, data=images)
        """
        arguments = (chunks, split, data, mimic, head, name)
        return assemble_from_files(teacher, layer, files, *arguments)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, without the teacher."""
        serialize = keras.saving.serialize_keras_object
        config = {
            "layer": self.layer_name,
            "students": [serialize(student) for student in self.students],
            "chunks": [list(chunk) for chunk in self.chunks],
            "mimic": self.mimic,
            "loss": serialize(self.mimicry),
            "only": list(self.numbers),
            "name": self.name,
        }
        if self.adversary is not None:
            config["discriminators"] = [serialize(model) for model in self.discriminators]
            config["discriminator_optimizer"] = serialize(self.adversary.optimizer)
            config["adversarial_weight"] = float(self.adversary.weight)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TeacherClass":
        """Makes the class that was saved; its teacher has to be set before it trains on."""
        made = keras.saving.deserialize_keras_object
        for name in ("students", "discriminators"):
            if name in config:
                config[name] = [made(model, custom_objects) for model in config[name]]
        for name in ("loss", "discriminator_optimizer"):
            if name in config:
                config[name] = made(config[name], custom_objects)
        return cls(None, **config)

    def _require_teacher(self) -> None:
        if self.representation is None:
            raise ValueError(
                f"'{self.name}' has no teacher (a file holds none). Call "
                "`set_teacher(...)` before it is trained, evaluated or assembled."
            )

    def _require_apart(self) -> None:
        config = self.get_compile_config()
        given = [name for name in ("loss", "metrics", "weighted_metrics") if config.get(name)]
        if given:
            raise ValueError(
                "TeacherClass learns from the teacher alone: `compile` takes an optimizer, and the "
                f"loss is an argument of TeacherClass. Received: {', '.join(given)} in `compile`"
            )
        require_separable([self.optimizer, *([self.adversary.optimizer] if self.adversary else [])])


def _labels(y: Any, sample_weight: Any = None, **_: Any) -> Any:
    """Labels, or zeros for weighted samples that have none: Keras would drop their weights."""
    return np.zeros(len(sample_weight)) if y is None and sample_weight is not None else y
