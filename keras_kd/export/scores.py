"""Scores of a file on a data set, by the task of each output, compared with the Keras model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import ShortRepr, results_table, text_fields


@dataclass(frozen=True, repr=False)
class Score(ShortRepr):
    """Scores of one output of a file. What is not defined for its task is `None`.

    Attributes:
        accuracy: Fraction of correct classes or of correct yes-or-no decisions, for several labels
            over all of them; `None` without labels and for numbers.
        agreement: Fraction of classes or decisions equal to the Keras model's; `None` without a
            model, for numbers, and if the task is not known.
        max_difference: Largest absolute difference from the Keras model's output; `None` without a
            model, or if the output is a class index.
        mean_difference: Mean absolute difference.
        relative_difference: Root mean squared difference of a column of the output (a unit of its
            last axis), divided by the standard deviation of the model's; of the worst column. It is
            0 for equal outputs and 1 for a column that is constant at its mean. For classes, and
            for a hidden layer, the standard deviation is that of all columns. A column that is
            constant in the model is divided by its size, and one that is tiny beside the others by
            0.0001 of their size (in float32 and float16, whose rounding is the rest, by 0.01);
            probabilities are divided by at least 0.01, others by 1e-6.
        model_accuracy: Accuracy of the Keras model.
        task: `"classes"`, `"binary"` (one unit), `"labels"` (several independent ones), `"values"`
            (regression), or `None` if it is not known.
        worst_column: The column of `relative_difference`, from 0.
        divergence: Mean KL(model || file) of classes or yes-or-no decisions, in nats.
        auc: Area under the ROC curve of a yes-or-no question.
        exact_match: Fraction of samples of which all labels are correct.
        mae: Mean absolute error of numbers.
        rmse: Root mean squared error of numbers.
        r2: Coefficient of determination R² of numbers, the mean over the columns that vary.
    """

    accuracy: float | None = None
    agreement: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    relative_difference: float | None = None
    model_accuracy: float | None = None
    task: str | None = None
    worst_column: int | None = None
    divergence: float | None = None
    auc: float | None = None
    exact_match: float | None = None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the file loses compared with the Keras model."""
        if self.accuracy is None or self.model_accuracy is None:
            return None
        return 100 * (self.model_accuracy - self.accuracy)


@dataclass(frozen=True)
class Evaluation(HtmlTables):
    """Scores of a file on a data set.

    If there is one output, the attributes of its `Score` are also attributes of the evaluation.

    Attributes:
        samples: Number of samples.
        outputs: The `Score` of each output, by name.
    """

    samples: int
    outputs: dict[str, Score]

    def __repr__(self) -> str:
        if len(self.outputs) == 1:
            return text_fields("Evaluation", {"samples": self.samples, **vars(self._only)})
        lines = [f"  {name}: {score!r}" for name, score in self.outputs.items()]
        return "\n".join([text_fields("Evaluation", {"samples": self.samples}), *lines])

    def html_tables(self) -> Mapping[str, Table]:
        """Return a row of scores for each output."""
        return {f"Evaluation on {self.samples:,} samples": results_table("output", self.outputs)}

    @property
    def accuracy(self) -> float | None:
        """Accuracy of the only output."""
        return self._only.accuracy

    @property
    def agreement(self) -> float | None:
        """Agreement of the only output with the Keras model."""
        return self._only.agreement

    @property
    def max_difference(self) -> float | None:
        """Largest absolute difference of the only output from the Keras model's."""
        return self._only.max_difference

    @property
    def mean_difference(self) -> float | None:
        """Mean absolute difference of the only output from the Keras model's."""
        return self._only.mean_difference

    @property
    def relative_difference(self) -> float | None:
        """Relative difference of the only output from the Keras model's."""
        return self._only.relative_difference

    @property
    def model_accuracy(self) -> float | None:
        """Accuracy of the Keras model at the only output."""
        return self._only.model_accuracy

    @property
    def task(self) -> str | None:
        """Task of the only output."""
        return self._only.task

    @property
    def worst_column(self) -> int | None:
        """Column of the only output that differs most."""
        return self._only.worst_column

    @property
    def divergence(self) -> float | None:
        """Divergence of the only output from the Keras model."""
        return self._only.divergence

    @property
    def auc(self) -> float | None:
        """Area under the ROC curve of the only output."""
        return self._only.auc

    @property
    def exact_match(self) -> float | None:
        """Fraction of samples of which all labels are correct."""
        return self._only.exact_match

    @property
    def mae(self) -> float | None:
        """Mean absolute error of the only output."""
        return self._only.mae

    @property
    def rmse(self) -> float | None:
        """Root mean squared error of the only output."""
        return self._only.rmse

    @property
    def r2(self) -> float | None:
        """R² of the only output."""
        return self._only.r2

    @property
    def drop(self) -> float | None:
        """Percentage points of accuracy that the only output loses."""
        return self._only.drop

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        outputs = {
            name: {**asdict(score), "drop": score.drop} for name, score in self.outputs.items()
        }
        return {"samples": self.samples, "outputs": outputs}

    @property
    def _only(self) -> Score:
        if len(self.outputs) > 1:
            raise ValueError(
                f"Expected one output. Received: an evaluation of {list(self.outputs)}. Read "
                "`evaluation.outputs[name]`."
            )
        return next(iter(self.outputs.values()))
