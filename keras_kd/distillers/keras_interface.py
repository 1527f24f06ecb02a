"""What a distiller offers as a Keras model that stands for its student."""

from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from keras_kd.distillers.fit import check_ragged
from keras_kd.distillers.input_checks import batch_specs
from keras_kd.distillers.objective import Objective
from keras_kd.distillers.summary import distiller_summary
from keras_kd.files import text_fields
from keras_kd.models.inputs import call_model
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.training import backend
from keras_kd.training.label_checks import check_labels
from keras_kd.training.labels import LabelReader
from keras_kd.training.loss_trackers import LossTrackers
from keras_kd.training.text import readable_text_errors, text_arrays
from keras_kd.training.tf_data import dense_spec


class KerasInterface(backend.StepModel):
    """The methods of `keras.Model` in which a distiller stands for its student.

    Attributes:
        student: The model that is trained.
        objective: The distillation losses and the source of their targets.
    """

    product = "its student, `distiller.student`"
    student: keras.Model
    objective: Objective
    _trackers: LossTrackers
    _label_losses: tuple[str, ...]
    _label_reader: LabelReader
    #: Reads the labels in the form that `fit` takes, to check their range.
    _range_reader: LabelReader

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        #: The ranks of the labels that a compiled step was traced with.
        self._ranks: dict[str, list[int]] = {}

    def __repr__(self) -> str:
        if "objective" not in vars(self):
            return super().__repr__()  # Not yet initialized.
        teachers = [teacher.name for teacher in self.objective.teachers]
        fields = {"name": self.name, "student": self.student.name, "teachers": teachers}
        return text_fields(type(self).__name__, {**fields, "losses": list(self.objective.names)})

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the student."""
        return call_model(self.student, unpack_batch(inputs)[0], training=training)

    def target_models(self) -> list[keras.Model | None]:
        """Return the frozen models that the targets come from; `None` for one that does not run.

        A run that is resumed with others would be another run.
        """
        return []

    @property
    def label_loss_names(self) -> tuple[str, ...]:
        """Names in the history of the losses on labels; the weight of `x` is `self.x_weight`."""
        return self._label_losses

    def training_layers(self) -> list[tuple[str, keras.layers.Layer, str]]:
        """Return the layers that are used in training only: role, layer, and loss or tap."""
        return [("projector", layer, key) for key, layer in self.objective.projectors.items()]

    @property
    def output_names(self) -> list[str]:
        """Names of the student's outputs, after which Keras names losses and metrics."""
        return self.objective.student.output_names

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that Keras resets at the start of each epoch."""
        compiled = [m for m in super().metrics if m.name != "loss"]  # Keras tracks it as well.
        return [*self._trackers.metrics, *compiled]

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student alone; see `keras.Model.evaluate`."""
        x = text_arrays(x)
        check_ragged({"x": x})
        self.retrace_for_other_ranks("test_function", x, y)
        with backend.readable_errors(), readable_text_errors():
            return super().evaluate(check_labels(x, y, self._range_reader), y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the student; see `keras.Model.predict`."""
        with readable_text_errors():
            return super().predict(text_arrays(x), *args, **kwargs)

    def listed_results(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the results that Keras lists: the loss and the compiled metrics."""
        others = set(self._trackers.names) - {"loss"}
        return {name: value for name, value in logs.items() if name not in others}

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Run one step on a batch; see `keras.Model.train_on_batch`."""
        x = text_arrays(x)
        with backend.readable_errors():
            return super().train_on_batch(
                check_labels(x, y, self._range_reader), y, *args, **kwargs
            )

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the student on a batch; see `keras.Model.test_on_batch`."""
        x = text_arrays(x)
        with backend.readable_errors():
            return super().test_on_batch(check_labels(x, y, self._range_reader), y, *args, **kwargs)

    def retrace_for_other_ranks(self, function: str, x: Any, y: Any) -> None:
        """Forget a compiled step if the labels have another rank than those it was traced with.

        TensorFlow would trace it for labels of any rank, which nothing can read.

        Args:
            function: `"train_function"` or `"test_function"`.
            x: As for `keras.Model.fit`.
            y: Labels, if `x` holds arrays.
        """
        found = batch_specs(x, y)
        parts = [] if found is None else tree.flatten(found[1])
        ranks = [len(part.shape) for part in parts if dense_spec(part) is not None]
        if ranks and self._ranks.setdefault(function, ranks) != ranks:
            self._ranks[function] = ranks
            setattr(self, function, None)

    def summary(self, print_fn: Callable[[str], None] = print, **kwargs: Any) -> None:
        """Print the models, their taps, the losses with their weights, and the parameters.

        Args:
            print_fn: Called with each line. Defaults to `print`.
            **kwargs: Arguments of `keras.Model.summary`; if there are any, the student's own table
                is printed too.
        """
        distiller_summary(self, print_fn)
        if kwargs:
            self.student.summary(print_fn=print_fn, **kwargs)
