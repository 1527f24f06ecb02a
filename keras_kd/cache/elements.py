"""The elements of data: inputs, keys and the rest, and what the teachers of a cache get."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import tree

from keras_kd.cache.reader import Reader
from keras_kd.teachers.knowledge import CacheError, Keyed

#: `augment(x, seed) -> x` for one sample; seed is int64 (2,), as for `tf.random.stateless_*`.
Augment = Callable[[Any, Any], Any]


class TeacherBatch(NamedTuple):
    """A batch for the teachers.

    Attributes:
        x: The inputs. With V views per sample, the views of a sample are consecutive.
        keys: int64 (batch,), the samples' keys.
        digests: int64 (batch,), or (batch, V), digests of the inputs.
    """

    x: Any
    keys: Any
    digests: Any

    def select(self, chosen: np.ndarray, views: int) -> Any:
        """Return the inputs of the samples for which `chosen` is true."""
        chosen = chosen.repeat(views)
        return tree.map_structure(lambda part: np.asarray(part)[chosen], self.x)


@dataclass(frozen=True)
class Source:
    """The data that a cache is built from.

    Attributes:
        x: Specification of the inputs.
        batched: Whether they are batches, and not single samples.
        batches: The batches for the teachers, which can be read again.
        inputs: Specification of the inputs of such a batch.
        example: Returns the inputs of such a batch.
    """

    x: Any
    batched: bool
    batches: Iterable[TeacherBatch]
    inputs: Any
    example: Callable[[], Any]


def split_element(element: Any) -> tuple[Any, tuple]:
    """Return the inputs of a data set's element, or of its specification, and the rest."""
    return (element[0], element[1:]) if type(element) is tuple else (element, ())


def split_key(x: Any) -> tuple[Any, Any]:
    """Return the inputs without their key, and the key or `None`."""
    return (x.x, x.key) if isinstance(x, Keyed) else (x, None)


def check_augment(reader: Reader, augment: Augment | None) -> None:
    """Reject an augmentation that a cache was not built with.

    Raises:
        CacheError: If it is missing or not allowed.
        TypeError: If it is not a function.
    """
    schema, owner = reader.manifest.schema, f"KnowledgeCache '{reader.folder}'"
    if augment is not None and not callable(augment):
        raise TypeError(f"{owner}: `augment` must be a function. Received: augment={augment!r}")
    if (schema.views > 1) != (augment is not None):
        reason = (
            f"it has {schema.views} views of each sample, so pass the `augment` that made them"
            if schema.views > 1
            else "it was built without views, so its samples cannot be augmented. Build it with "
            "`views` and `augment`"
        )
        raise CacheError(f"{owner}: {reason}. Received: augment={augment!r}")
