"""The steps of a Teacher-Class Network: teacher, students, losses, updates, running means."""

from collections.abc import Callable
from typing import Any

import keras

from keras_kd.models.keras_compat import nested_layers
from keras_kd.teacher_class.losses import TeacherClassLosses
from keras_kd.teacher_class.summary import SummaryModel
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training import backend
from keras_kd.training.finite_checks import batch_values, teacher_values
from keras_kd.training.label_checks import sample_weights
from keras_kd.training.loss_trackers import batch_size


class EnsembleSteps(SummaryModel):
    """A model that trains students, each on its chunk, and then their discriminators."""

    _class_losses: TeacherClassLosses

    def training_step(self, data: Any) -> dict[str, Any]:
        """Run one step of the students, then one of the discriminators, if there are any."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        inputs = unpack_batch(x)[0]
        with backend.after(self._assertions(batch_values(inputs, None, weights))):
            return self._commit(x, inputs, sample_weights(weights, None, ["students"]))

    def _commit(self, x: Any, inputs: Any, weights: Any) -> dict[str, Any]:
        """Update students and discriminators and return the logs."""
        values = self._teacher_values(x)

        def forward(inputs: Any, cut: Callable[[Any], Any]) -> tuple[Any, Any]:
            outputs = cut(self(inputs, training=True))
            loss = self._class_losses.total(values, outputs, weights, batch_size(x), training=True)
            return outputs, loss

        outputs, _ = backend.gradient_step(self, inputs, forward)
        self._class_losses.train_discriminators(values, outputs, weights, batch_size(x))
        backend.synchronize_statistics(nested_layers(self), backend.replica_share(batch_size(x))[0])
        return backend.stack_logs(self._class_losses.results(training=True))

    def evaluation_step(self, data: Any) -> dict[str, Any]:
        """Compute the mimicry of each student; the teacher runs, the discriminators do not."""
        x, _, weights = keras.utils.unpack_x_y_sample_weight(data)
        values, weights = self._teacher_values(x), sample_weights(weights, None, ["students"])
        outputs = self(x, training=False)
        self._class_losses.total(values, outputs, weights, batch_size(x), training=False)
        return backend.stack_logs(self._class_losses.results(training=False))

    def _teacher_values(self, x: Any) -> Any:
        """Return the representation, live or from a cache, in the basis of the students."""
        values = self.representation(x)
        named = teacher_values([self.representation.teacher.name], [values])
        values = backend.require_before(self._assertions(named), values)
        return values if self.basis is None else self.basis.rotate(values)

    def _assertions(self, named: dict[str, Any]) -> list[Any]:
        """Return assertions, unless the step drops them: no optimizer variables are made after."""
        return [] if self.drops_assertions else backend.finite_assertions(named)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables of stem and students; the discriminators have their own optimizer."""
        return [v for model in self.trained_models for v in model.trainable_variables]

    @property
    def trained_models(self) -> list[keras.Model]:
        """The stem, if there is one, and the students."""
        return [*([] if self.stem is None else [self.stem]), *self.students]

    @property
    def other_variables(self) -> list[keras.Variable]:
        """The variables of the discriminators' optimizer, which a step changes too."""
        return [] if self.adversary is None else self.adversary.optimizer.variables

    @property
    def read_only_variables(self) -> list[keras.Variable]:
        """The variables that a step reads and does not change; no file holds the teacher's."""
        frozen = [] if self.representation is None else self.representation.teacher.variables
        return [*frozen, *self._class_losses.hyperparameters]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means, which Keras resets at the start of each epoch."""
        return self._class_losses.trackers.metrics
