"""Teacher-Class Network: each student of an ensemble mimics one chunk of a representation."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_kd.distillers.fit import fit_arguments, run_fit
from keras_kd.losses import DistillationLoss
from keras_kd.models.inputs import call_model
from keras_kd.models.random_state import seed_states
from keras_kd.teacher_class.assembly import assemble_from_files, assemble_students
from keras_kd.teacher_class.basis import split_representation
from keras_kd.teacher_class.chunks import make_chunks
from keras_kd.teacher_class.discriminators import make_discriminators
from keras_kd.teacher_class.losses import (
    TeacherClassLosses,
    get_mimicry_loss,
    labels_or_zeros,
    require_no_compiled_loss,
)
from keras_kd.teacher_class.representation import Representation, make_representation
from keras_kd.teacher_class.stem import check_stem, require_stem
from keras_kd.teacher_class.steps import EnsembleSteps
from keras_kd.teacher_class.students import (
    Models,
    build_students,
    require_fit,
    require_list_or_builder,
    require_separable,
    student_numbers,
)
from keras_kd.teacher_class.task_term import make_task_loss, make_task_term
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.teachers.teacher import Teacher
from keras_kd.training import backend


@keras.saving.register_keras_serializable(package="keras_kd")
class TeacherClass(EnsembleSteps):
    """Train an ensemble of students, each to mimic one chunk of a teacher's representation.

    A `keras.Model`: `compile(optimizer)`, `fit(x)` or `fit(dataset)`, callbacks and checkpoints
    work as for any other. The representation is the output of the teacher's `layer`: a vector
    (batch, units), or a map (batch, ..., channels), which is split by channels. Each step runs the
    teacher once, outside the gradient tape, and each student once. Labels are not used, sample
    weights are. On data from `KnowledgeCache.join` that store the layer, no teacher runs.
    The history holds `loss` (the sum over the students, with weights and regularization) and
    `student_0`, ..., the mimicry loss of each before its weight. `evaluate` and validation compute
    the same values, so they run the teacher too. `predict` returns a list of student outputs.

    By default the students mimic the input of the layer's activation, and `assemble` applies it.
    With `mimic="output"`, as in the authors' code, they mimic the layer's output, and `assemble`
    applies the activation to the student outputs if applying it twice equals applying it once (true
    for ReLU, not for tanh). Let the students end without activation.

    The students do not depend on each other and can be trained on separate machines: `only=[2]`
    with the same seed, data and other arguments gives student 2 the weights of the joint `fit`
    (except under `mixed_float16`, where all students share one loss scale).

    Args:
        teacher: The trained teacher, a `keras.Model` or a `kd.Teacher`, or `cache.teachers[0]` of a
            `kd.KnowledgeCache`. It is never changed and is in no checkpoint.
        layer: The layer or its name, `outer/inner` inside a nested model. It must be on every path
            to the teacher's output. To use a layer inside a network with skip connections, with
            `assemble(head=None)`, pass the teacher cut there: `keras.Model(inputs, layer.output)`.
        students: A built model for each chunk, or a builder f(chunk size) -> model.
        n: Number of students, for a builder without `chunks`. Defaults to the number of `students`.
        chunks: Sizes of the chunks, or lists of unit indices. Defaults to `n` of equal size.
        split: `"contiguous"`, `"correlated"` to group units that correlate on `data`, or `"pca"` to
            mimic chunks of the principal components on `data`, each with about the same variance;
            `assemble` then rotates back. Defaults to `"contiguous"`.
        data: Samples for `"correlated"` and `"pca"`: arrays or batches. Defaults to `None`.
        mimic: `"preactivation"` or `"output"`, see above. `"auto"` is `"output"` with a teacher
            of a cache, which stores outputs, and without activation. Defaults to `"auto"`.
        loss: A `kd.losses.DistillationLoss` between a chunk and its student's output, or its name.
            Defaults to `kd.losses.ChunkMimicry()`.
        discriminators: For adversarial mimicry: a built model for each chunk that ends in one logit
            or sigmoid, or a builder f(chunk size) -> model. They train in the same `fit`, and the
            history also holds `adversarial_0`, ... and `discriminator_0`, .... Defaults to `None`.
        discriminator_optimizer: Their optimizer. Defaults to `"adam"`.
        adversarial_weight: Weight of the adversarial loss, a hyperparameter. Defaults to `0.1`.
        only: Numbers of the students to train here; the others need not be passed. Defaults to all.
        name: Name of the model. Defaults to `None`.
        task_weight: Weight of a second loss, a hyperparameter (`task_loss.weight`): the divergence
            (`kd.losses.SoftTargets` at temperature 1) from the teacher's outputs, after the frozen
            head of the teacher, with the chunk replaced by the output of its student. It needs the
            teacher's model and no labels. The history also holds `task_0`, .... Defaults to `0.0`,
            without.
        stem: A built model of the teacher's inputs that runs once: the students, built for its one
            output, receive that. It trains with the sum of their losses, so that they cannot be
            trained separately. Defaults to `None`, each student takes the inputs.

    Raises:
        TypeError: If `teacher`, `students` or `loss` has the wrong type.
        ValueError: If the layer does not exist, is neither a vector nor a map, or is not on every
            path to the teacher's output; if the chunks do not add up; or if students do not fit
            their chunks or the teacher's inputs, share weights or are not built.

    Example:
        >>> small = lambda size: keras.Sequential([keras.Input((28, 28, 1)), ..., Dense(size)])
        >>> students = kd.TeacherClass(teacher, "dense_1", small, n=4)
        >>> students.compile("adam")
        >>> students.fit(train, epochs=20)
        >>> model = students.assemble()

    Reference:
        Malik et al. 2020, arXiv:2004.03281.
    """

    product = "the assembled model, `teacher_class.assemble()`, or one of its students"

    def __init__(
        self,
        teacher: keras.Model | Teacher,
        layer: str,
        students: Models,
        n: int | None = None,
        chunks: Sequence[int] | Sequence[Sequence[int]] | None = None,
        split: str = "contiguous",
        data: Any = None,
        mimic: str = "auto",
        loss: str | DistillationLoss | None = None,
        discriminators: Models | None = None,
        discriminator_optimizer: Any = "adam",
        adversarial_weight: float = 0.1,
        only: Sequence[int] | None = None,
        name: str | None = None,
        task_weight: float = 0.0,
        stem: keras.Model | None = None,
    ) -> None:
        require_list_or_builder(students, "students")
        representation = None if teacher is None else make_representation(teacher, layer, mimic)
        if n is None and chunks is None and only is None and isinstance(students, (list, tuple)):
            n = len(students)
        chunks, basis = split_representation(representation, chunks, n, split, data)
        numbers = student_numbers(only, len(chunks))
        models = build_students(representation, students, chunks, numbers, stem is not None)
        super().__init__(name=name, dtype=models[0].dtype_policy, autocast=False)
        self.layer_name = layer if representation is None else representation.layer
        self.mimic = mimic if representation is None else representation.mimic
        self.chunks = chunks
        self.numbers = numbers
        self.basis = basis
        self.stem = require_stem(stem, models, numbers, len(chunks))
        self.students = models
        self.mimicry = get_mimicry_loss(loss)
        # Checkpoints are keyed by the name of this attribute.
        self.adversary = make_discriminators(
            discriminators, discriminator_optimizer, adversarial_weight, chunks, numbers, models
        )
        self.task_loss = make_task_loss(task_weight)
        self._prepare_steps()
        self._set_representation(representation)
        self.built = True

    def _prepare_steps(self) -> None:
        self.seed_states = seed_states([*self.trained_models, *self.discriminators])
        self._class_losses = TeacherClassLosses(
            self.mimicry,
            self.adversary,
            self.numbers,
            self.trained_models,
            self.chunks,
            self.task_loss,
        )
        self.supports_jit = backend.SUPPORTS_JIT and backend.replicas() == 1  # As XLA needs it.

    def _set_representation(self, representation: Representation | None) -> None:
        if representation is not None:
            if self.stem is not None:
                check_stem(representation.teacher, self.stem)
            self._class_losses.task = make_task_term(self.task_loss, representation, self.basis)
        self.representation = representation

    @property
    def discriminators(self) -> list[keras.Model]:
        """The discriminators, one per student; empty without adversarial mimicry."""
        return [] if self.adversary is None else self.adversary.discriminators

    # Not a property setter: Keras tracks the models that are assigned to attributes.
    def set_teacher(self, teacher: keras.Model | Teacher) -> None:
        """Set the teacher, which a saved file does not hold.

        Args:
            teacher: As for the constructor.

        Raises:
            TypeError: If it is neither a `keras.Model` nor a `kd.Teacher`.
            ValueError: If it does not fit the students.
        """
        with backend.strategy_scope(self):
            representation = make_representation(teacher, self.layer_name, self.mimic)
        make_chunks(representation, self.chunks, len(self.chunks), "contiguous", None)
        on_stem = self.stem is not None
        require_fit(representation, self.students, self.numbers, self.chunks, on_stem)
        self._set_representation(representation)
        # The compiled steps hold the previous teacher.
        self.train_function = self.test_function = None

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        """Run the students; return a list of outputs (batch, ..., units of the chunk)."""
        inputs = unpack_batch(inputs)[0]
        if self.stem is not None:
            inputs = call_model(self.stem, inputs, training=training)
        return [call_model(student, inputs, training=training) for student in self.students]

    def fit(
        self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Train the students and discriminators; accepts the arguments of `keras.Model.fit`.

        Args:
            x: Arrays, or a `tf.data.Dataset` of x, (x, y) or (x, y, sample_weight) batches. On
                `cache.join(dataset)` of a `kd.KnowledgeCache` no teacher runs.
            y: Not used.
            *args: The other arguments of `keras.Model.fit`, in its order.
            **kwargs: The same by name.

        Returns:
            The `History`.

        Raises:
            ValueError: If there is no teacher or it returns NaN, a cache is from another teacher,
                `compile` received a loss or metrics, or an optimizer has a `global_clipnorm`.
        """
        if self.compiled:
            require_no_compiled_loss(self.get_compile_config())
            own = [] if self.adversary is None else [self.adversary.optimizer]
            require_separable([self.optimizer, *own])
        backend.check_strategy(self)
        self._require_teacher()
        given = fit_arguments(x, labels_or_zeros(y, **kwargs), *args, **kwargs)
        self.representation.require_data(x, given.get("validation_data"))
        return run_fit(self, super().fit, given)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Run the teacher, and return the losses as `keras.Model.evaluate` does.

        Args:
            x: As for `fit`.
            y: Not used.
            *args: The other arguments of `keras.Model.evaluate`, in its order.
            **kwargs: The same by name.

        Raises:
            ValueError: If there is no teacher or it returns NaN, or a cache has another one.
        """
        self._require_teacher()
        if self.step_owner is None:  # `fit` has checked its validation data.
            self.representation.require_data(x)
        with backend.readable_errors():
            return super().evaluate(x, labels_or_zeros(y, **kwargs), *args, **kwargs)

    def target_models(self) -> list[keras.Model]:
        """Return the teacher's model; see `KerasInterface`."""
        return [] if self.representation is None else [self.representation.teacher.model]

    def assemble(
        self, head: str | keras.layers.Layer | None = "teacher", name: str | None = None
    ) -> keras.Model:
        """Connect the students in parallel in one Functional model.

        Its single input feeds all students, or the stem and its output them; their outputs are
        concatenated in the order of the teacher's units, followed by the activation of the
        teacher's layer (see `mimic`) and the head. It holds the students and the stem themselves
        and nothing of the teacher.

        Args:
            head: `"teacher"` for a trainable copy of the part of the teacher after the layer,
                verified to reproduce the teacher's outputs; a Keras layer or model; or `None` to
                return the representation. Defaults to `"teacher"`.
            name: Name of the model. Defaults to this model's name + `"_assembled"`.

        Returns:
            A Functional `keras.Model`, uncompiled.

        Raises:
            TypeError: If `head` is none of these.
            ValueError: If a student is missing (`only`), or there is no teacher.
        """
        self._require_teacher()
        if len(self.students) < len(self.chunks):
            raise ValueError(
                f"'{self.name}' has the students {self.numbers} of {len(self.chunks)}. Save each "
                "to a file and call `TeacherClass.assemble_from`."
            )
        name = name or f"{self.name}_assembled"
        parts = (self.students, self.chunks, self.representation, head)
        return assemble_students(*parts, name=name, stem=self.stem, basis=self.basis)

    @classmethod
    def assemble_from(
        cls,
        teacher: keras.Model | Teacher,
        layer: str,
        files: Sequence[str | os.PathLike | keras.Model | None],
        chunks: Sequence[int] | Sequence[Sequence[int]] | None = None,
        split: str = "contiguous",
        data: Any = None,
        mimic: str = "auto",
        head: str | keras.layers.Layer | None = "teacher",
        name: str = "teacher_class",
        stem: str | os.PathLike | keras.Model | None = None,
    ) -> keras.Model:
        """Assemble students that were trained separately.

        A missing student is reported in a warning, and the mean of the teacher's chunk over `data`
        replaces its output.

        Args:
            teacher: As for the constructor, like `layer`, `chunks`, `split` and `mimic`.
            layer: The teacher's layer.
            files: For each chunk the `.keras` file of its student, or the model; `None`, or a file
                that does not exist, if the student is missing.
            chunks: As in training. Defaults to one per file, of equal size.
            split: As in training. Defaults to `"contiguous"`.
            data: Samples: for `split="correlated"` and `"pca"` those of training, and required if a
                student is missing. Defaults to `None`.
            mimic: As in training; `"auto"` only if that makes no difference. Defaults to `"auto"`.
            head: As for `assemble`. Defaults to `"teacher"`.
            name: Name of the model. Defaults to `"teacher_class"`.
            stem: The stem of training, or its `.keras` file. Defaults to `None`.

        Returns:
            A Functional `keras.Model`, uncompiled.

        Raises:
            TypeError: If `files` or `head` has the wrong type.
            ValueError: If one is missing without `data`, does not fit, or all are missing.

        Example:
            >>> files = ["student_0.keras", "student_1.keras", None, "student_3.keras"]
            >>> model = kd.TeacherClass.assemble_from(teacher, "dense_1", files, data=images)
        """
        arguments = (chunks, split, data, mimic, head, name, stem)
        return assemble_from_files(teacher, layer, files, *arguments)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, without the teacher."""
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
        if self.basis is not None:
            config["split"] = "pca"
        if self.stem is not None:
            config["stem"] = serialize(self.stem)
        if self.task_loss is not None:
            config["task_weight"] = float(self.task_loss.weight)
        if self.adversary is not None:
            config["discriminators"] = [serialize(model) for model in self.discriminators]
            config["discriminator_optimizer"] = serialize(self.adversary.optimizer)
            config["adversarial_weight"] = float(self.adversary.weight)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TeacherClass":
        """Create a saved ensemble; call `set_teacher` before it trains."""
        deserialize = keras.saving.deserialize_keras_object
        for name in ("students", "discriminators"):
            if name in config:
                config[name] = [deserialize(model, custom_objects) for model in config[name]]
        for name in ("stem", "discriminator_optimizer"):
            if name in config:
                config[name] = deserialize(config[name], custom_objects)
        return cls(None, **config)

    def _require_teacher(self) -> None:
        if self.representation is None:
            raise ValueError(
                f"'{self.name}' has no teacher, because files do not hold one. Call "
                "`set_teacher(...)` before you train, evaluate or assemble it."
            )
        if self.basis is not None:
            self.basis.require_fitted()
