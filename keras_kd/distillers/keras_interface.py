"""What a distiller offers as a Keras model that stands for its student."""

from collections.abc import Callable
from typing import Any

import keras

from keras_kd.distillers.objective import Objective
from keras_kd.distillers.summary import distiller_summary
from keras_kd.models.inputs import call_model
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training import backend
from keras_kd.training.loss_trackers import LossTrackers


class KerasInterface(backend.StepModel):
    """The methods of `keras.Model` in which a distiller stands for its student.

    Attributes:
        student: The model that is trained.
        objective: The distillation losses and the source of their targets.
    """

    student: keras.Model
    objective: Objective
    _trackers: LossTrackers

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the student."""
        return call_model(self.student, unpack_batch(inputs)[0], training=training)

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs, after which Keras names losses and metrics."""
        return self.objective.student.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that Keras resets at the start of each epoch."""
        loss, *others = self._trackers.metrics
        compiled = [m for m in super().metrics if m.name != "loss"]  # Keras tracks it as well.
        return [loss, *compiled, *others]

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the compiled metrics; the steps add the losses."""
        own = {tracker.name for tracker in self._trackers.metrics}
        logs = super().get_metrics_result()
        return {name: value for name, value in logs.items() if name not in own}

    def epoch_results(self) -> dict[str, Any]:
        """Return the results of the compiled metrics and of all losses."""
        return {**self.get_metrics_result(), **self._trackers.results(self._trackers.names)}

    def summary(self, print_fn: Callable[[str], None] = print, **kwargs: Any) -> None:
        """Print a table of teachers, student, projectors and losses.

        Args:
            print_fn: Called with each line. Defaults to `print`.
            **kwargs: Arguments of `keras.Model.summary`; if there are any, the student's own table
                is printed too.
        """
        distiller_summary(self, print_fn)
        if kwargs:
            self.student.summary(print_fn=print_fn, **kwargs)
