"""Class weights: what a sample weighs by its label, also where it has none."""

from collections.abc import Sequence
from typing import Any

from keras import ops, tree

from keras_kd.training.labels import UNLABELED, class_indices


class ClassWeights:
    """Turns `class_weight` into sample weights inside the step, for data of every kind.

    Keras does it while it reads the data: there a row of NaN would weigh what class 0 weighs, and
    -1 would be looked up among the classes.

    Args:
        weights: From class index to weight; a class that is not in it weighs 1, as does a sample
            without a label, unless `kd.UNLABELED` is in it.
        shapes: Shapes of the student's outputs.
        sample_weight: The sample weights that are given beside, to refuse them.

    Raises:
        ValueError: When there are several outputs or sample weights too, or there is no such class.
    """

    def __init__(
        self, weights: dict[int, float], shapes: Sequence[tuple], sample_weight: Any = None
    ) -> None:
        if len(shapes) != 1:
            raise ValueError(
                "`class_weight` is for students with one output; pass `sample_weight` by output. "
                f"Received: class_weight={weights}"
            )
        self.shape = tuple(shapes[0])
        classes = max(self.shape[-1], 2)
        wrong = [key for key in weights if key not in range(UNLABELED, classes)]
        if wrong:
            raise ValueError(
                f"`class_weight`: the student's classes are 0 to {classes - 1}. "
                f"Received: class_weight={weights}"
            )
        _refuse_both(sample_weight)
        #: By class, and at the end what a sample without a label weighs.
        self.table = [float(weights.get(c, 1.0)) for c in [*range(classes), UNLABELED]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassWeights) and other.table == self.table

    __hash__ = None

    def apply(self, y: Any, sample_weight: Any = None) -> Any:
        """The weight of each label, (batch, ...).

        Raises:
            ValueError: When there are no labels, or there are sample weights too.
        """
        _refuse_both(sample_weight)
        if y is None:
            raise ValueError("`class_weight` needs labels. Received: y=None")
        target, last = class_indices(tree.flatten(y)[0], self.shape), len(self.table) - 1
        known = ops.logical_and(target >= 0, target < last)
        return ops.take(ops.convert_to_tensor(self.table), ops.where(known, target, last))


def _refuse_both(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise ValueError("Pass either `class_weight` or `sample_weight`, not both.")
