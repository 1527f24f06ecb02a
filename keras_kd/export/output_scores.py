"""Score one output over batches: decide its task, count, and compare it with the Keras model."""

from typing import Any

import numpy as np

from keras_kd.export.score_counters import ClassCounter, ValueCounter, YesNoCounter
from keras_kd.export.scores import Score
from keras_kd.models.output_evidence import OutputTask
from keras_kd.models.task import task_from_labels
from keras_kd.training.label_arrays import LabelFormError

# Floors of the spread that differences are divided by: for a column beside its own size and beside
# the size of all columns; in a file of floats, below them is the rounding of the computation.
_FLOORS, _FLOAT_FLOORS = (1e-3, 1e-4), (1e-2, 1e-2)
# Floors for any values, and for probabilities.
_ABSOLUTE_FLOOR, _PROBABILITY_FLOOR = 1e-6, 1e-2
_CONSTANT = 1e-6
_COMPARISONS = ("agreement", "divergence")


class OutputScores:
    """Accumulates the scores of one output over batches.

    Args:
        output: What the values of the output are. If only the labels tell the task, those of the
            first batch decide it, and different ones later are an error.
        threshold: Decision threshold of yes-or-no outputs. Defaults to `None`: 0.5 for
            probabilities, 0 for logits.
        indices: Whether the file returns class numbers. Defaults to `False`.
        ignore_class: A label that is not counted. Defaults to `None`.
        lenient: Whether labels may belong to something else: then `unused` tells why they do not
            count. Defaults to `False`.
        features: Whether the output is a hidden layer, whose units are used together. Defaults to
            `False`.
        floats: Whether the file computes in floats (float32 or float16). Defaults to `False`.
    """

    def __init__(
        self,
        output: OutputTask,
        threshold: float | None = None,
        indices: bool = False,
        ignore_class: int | None = None,
        lenient: bool = False,
        features: bool = False,
        floats: bool = False,
    ) -> None:
        self.output = output
        #: Why the labels are not counted, `None` if they are.
        self.unused: str | None = None
        self._threshold = threshold
        self._indices = indices
        self._ignore_class = ignore_class
        self._lenient = lenient
        self._counter: ClassCounter | YesNoCounter | ValueCounter | None = None
        self._waiting: list[tuple] = []
        self._features = features
        self._differences = Differences(_FLOAT_FLOORS if floats else _FLOORS)
        if indices or output.task:
            self._counter = self._make_counter("classes" if indices else output.task)

    def add(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        """Add a batch: outputs of the file, labels, outputs of the model."""
        expected = None if expected is None else _with_units(expected)
        values = values if self._indices else _with_units(values)
        if not self._indices and expected is not None:
            self._differences.add(values.astype("float64"), expected.astype("float64"))
        labels = None if self.unused else labels
        try:
            self._count(values, labels, expected)
        except LabelFormError as error:
            if not self._lenient:
                raise
            self.unused = str(error)
            # Labels of something else do not tell the task either.
            task = self.output.task
            self._counter = self._make_counter(task) if task else None
            self._count(values, None, expected)

    def score(self) -> Score:
        """Return the scores of all batches."""
        fields: dict[str, Any] = {}
        counter = self._counter
        if counter is not None:
            self._require_better_than_constant()
            fields = {"task": counter.task, **counter.scores()}
            if self.unused:
                kept = ("task", *_COMPARISONS)
                fields = {name: value for name, value in fields.items() if name in kept}
        # Classes are compared with each other, so that their common spread counts.
        common = self._features or fields.get("task") == "classes"
        fields |= self._differences.scores(bool(self.output.probabilities), common)
        return Score(**fields)

    def _count(
        self, values: np.ndarray, labels: np.ndarray | None, expected: np.ndarray | None
    ) -> None:
        if self._counter is None:
            task = self._find_task(values, labels)
            if task is None:
                # A batch of missing labels waits for one that tells the task.
                self._waiting += [] if labels is None else [(values, labels, expected)]
                return
            self._counter = self._make_counter(task)
            for batch in self._waiting:
                self._counter.add(*batch)
        self._counter.add(values, labels, expected)

    def _find_task(self, values: np.ndarray, labels: np.ndarray | None) -> str | None:
        """Return the task that the labels tell; declared units without labels are classes."""
        if labels is None:
            return "classes" if self.output.declared else None
        task = task_from_labels(labels, values.shape)
        if task == "values" and self.output.declared:
            return "labels"  # Whose counter rejects these labels.
        missing = labels.dtype.kind == "f" and np.isnan(labels).all()
        if task is None and not missing:
            raise LabelFormError(
                f"Output '{self.output.name}': expected class numbers, or labels of the shape "
                f"{values.shape} of its values. Received: labels of shape {labels.shape} and dtype "
                f"{labels.dtype}."
            )
        return task

    def _make_counter(self, task: str) -> ClassCounter | YesNoCounter | ValueCounter:
        name, probabilities = self.output.name, self.output.probabilities
        if task == "classes":
            return ClassCounter(name, probabilities, self._indices, self._ignore_class)
        if task == "values":
            return ValueCounter(name)
        return YesNoCounter(name, task, probabilities, self._threshold, self._ignore_class)

    def _require_better_than_constant(self) -> None:
        """Do not count labels that may belong to something else: nothing but they tells the task.

        If the model predicts them no better than the most frequent one does, they tell nothing.
        """
        weak = self._lenient and not self._indices and self.output.task is None
        if not weak or self.unused or self._counter.task not in ("classes", "binary"):
            return
        scores = self._counter.scores()
        if scores["model_accuracy"] is not None and not self._counter.is_better_than_constant:
            self.unused = (
                f"Output '{self.output.name}': the model predicts {scores['model_accuracy']:.1%} "
                "of the labels, no better than the most frequent label does, so they may belong to "
                "something else. If they do not, compile the model with its loss."
            )


class Differences:
    """Differences of an output from the Keras model's, by column (the units of the last axis).

    Args:
        floors: Floors of the spread of a column, beside its own size and that of all columns.
    """

    def __init__(self, floors: tuple[float, float] = _FLOORS) -> None:
        self._floors = floors
        self._max = 0.0
        #: By column: values, absolute and squared differences, the model's values, their squares.
        self._sums: np.ndarray | float = 0.0

    def add(self, values: np.ndarray, expected: np.ndarray) -> None:
        """Add a batch, in float64."""
        distance = np.abs(values - expected)
        self._max = float(np.maximum(self._max, distance.max()))  # Propagates NaN.
        parts = (np.ones_like(distance), distance, distance**2, expected, expected**2)
        columns = [part.reshape(-1, values.shape[-1]).sum(0) for part in parts]
        self._sums = self._sums + np.stack(columns)

    def scores(self, probabilities: bool, common: bool) -> dict[str, Any]:
        """Return the fields of a `Score`, none without batches.

        Args:
            probabilities: Whether the values are probabilities, whose scale is known.
            common: Whether the columns have a common scale.
        """
        if np.ndim(self._sums) == 0:
            return {}
        count, distances, squares = self._sums[:3]
        scale = self._common_spread() if common else self._spreads(probabilities)
        error = np.sqrt(squares / count)
        relative = error / np.maximum(scale, _ABSOLUTE_FLOOR)
        worst = int(np.argmax(np.nan_to_num(relative, nan=np.inf)))
        return {
            "max_difference": self._max,
            "mean_difference": float(distances.sum() / count.sum()),
            "relative_difference": float(relative[worst]),
            "worst_column": worst,
        }

    def _common_spread(self) -> Any:
        """Return the standard deviation of all values."""
        count, total, total_squares = self._sums[[0, 3, 4]].sum(1)
        return np.sqrt(np.maximum(total_squares / count - (total / count) ** 2, 0))

    def _spreads(self, probabilities: bool) -> np.ndarray:
        """Return the standard deviation of each column, with floors; see `Score`."""
        count, total, total_squares = self._sums[[0, 3, 4]]
        size = np.sqrt(total_squares / count)
        spread = np.sqrt(np.maximum(total_squares / count - (total / count) ** 2, 0))
        own, common = self._floors
        scale = np.where(spread > _CONSTANT * size, np.maximum(spread, own * size), size)
        common = common * np.sqrt(total_squares.sum() / count.sum())
        return np.maximum(scale, _PROBABILITY_FLOOR if probabilities else common)


def _with_units(values: np.ndarray) -> np.ndarray:
    """Return an output with a last axis, also if it is one number per sample."""
    return values[:, None] if values.ndim == 1 else values
