"""Class weights as sample weights, also for samples without a label."""

from collections.abc import Mapping
from typing import Any

from keras import ops, tree

from keras_kd.models.task import MEANINGS
from keras_kd.training.labels import UNLABELED, class_indices


class ClassWeights:
    """Convert `class_weight` to sample weights inside the step, for any kind of data.

    Keras converts it while it reads the data: there, a row of NaN would get the weight of class 0,
    and -1 would be looked up among the classes.

    Args:
        weights: From class index to weight; other classes have weight 1, and so do samples without
            a label unless `kd.UNLABELED` is a key.
        shapes: Shape of each output, by name.
        sample_weight: Sample weights, which are rejected beside class weights.
        task: The task of the output, `None` if it is not known. Defaults to `None`.
        students: Number of students, which learn the same labels. Defaults to `1`.

    Raises:
        ValueError: If a student has several outputs, there are sample weights too, no such class,
            or the output has no classes.
    """

    def __init__(
        self,
        weights: dict[int, float],
        shapes: Mapping[str, tuple],
        sample_weight: Any = None,
        task: str | None = None,
        students: int = 1,
    ) -> None:
        if len(shapes) != students:
            raise ValueError(
                "`class_weight` is for students with one output; pass `sample_weight` by output. "
                f"Received: class_weight={weights}"
            )
        if task in ("labels", "values"):
            raise ValueError(
                f"`class_weight` is for classes, and the student's output is {MEANINGS[task]}. "
                f"Pass `sample_weight` instead. Received: class_weight={weights}"
            )
        self.shapes = dict(shapes)
        classes = max(2, *(shape[-1] for shape in self.shapes.values()))
        wrong = [key for key in weights if key not in range(UNLABELED, classes)]
        if wrong:
            raise ValueError(
                f"`class_weight`: the student's classes are 0 to {classes - 1}. "
                f"Received: class_weight={weights}"
            )
        _reject_both(sample_weight)
        #: Weight by class, and last that of a sample without a label.
        self.table = [float(weights.get(c, 1.0)) for c in [*range(classes), UNLABELED]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassWeights) and other.table == self.table

    __hash__ = None

    def apply(self, y: Any, sample_weight: Any = None) -> Any:
        """Return the weight of each label, (batch, ...); of several students by output.

        Raises:
            ValueError: If there are no labels, or there are sample weights too.
        """
        _reject_both(sample_weight)
        if y is None:
            raise ValueError("`class_weight` needs labels. Received: y=None")
        if len(self.shapes) > 1:
            return {name: self._weigh(y[name], shape) for name, shape in self.shapes.items()}
        return self._weigh(tree.flatten(y)[0], *self.shapes.values())

    def _weigh(self, y: Any, shape: tuple) -> Any:
        target, last = class_indices(y, shape), len(self.table) - 1
        known = ops.logical_and(target >= 0, target < last)
        return ops.take(ops.convert_to_tensor(self.table), ops.where(known, target, last))


def _reject_both(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise ValueError("Pass either `class_weight` or `sample_weight`, not both.")
