"""Labelled and unlabelled samples in one data set."""

from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.training.labels import UNLABELED


def mix_unlabeled(
    labeled: tf.data.Dataset, unlabeled: tf.data.Dataset, ratio: float
) -> tf.data.Dataset:
    """Mixes labelled and unlabelled samples in each batch, for `Distiller.fit`.

    A batch holds as many labelled samples as a batch of `labeled`, and `ratio` times as many
    unlabelled ones, evenly between them. The label of these is none, in the form of the labels:
    `kd.UNLABELED` for integers, NaN for floats, for each of several outputs. An epoch goes once
    through the longer of the two, mostly the unlabelled samples, while the other is repeated; its
    last batch is filled up. Nothing is drawn here, so the result is as deterministic as the two
    data sets are: what is shuffled, and with which seed, is for them to say.

    Args:
        labeled: Batches (x, y) or (x, y, sample_weight).
        unlabeled: Batches of x, or (x, y) or (x, y, sample_weight) whose y is not looked at. They
            are counted once, in a pass of its own, unless they come in batches of the wanted size.
        ratio: Unlabelled samples for each labelled one, such as 7.

    Returns:
        A data set of batches (x, y), or (x, y, sample_weight) where one of the two has weights; the
        samples of the other then weigh 1. One-hot integers and unsigned integers, which have no
        way to say that there is no label, become float32 and int32.

    Raises:
        TypeError: When one is no `tf.data.Dataset`.
        ValueError: When one is not batched or empty, the inputs of the two differ, `labeled` has no
            labels, or `ratio` is not above 0.

    Example:
        >>> labeled = kd.datasets.load("mnist", "train[:500]", batch_size=32)
        >>> unlabeled = kd.datasets.load("mnist", "train[500:]", batch_size=224)
        >>> distiller.fit(kd.mix_unlabeled(labeled, unlabeled, ratio=7), epochs=20)
    """
    _check(labeled, unlabeled, ratio)
    first, other = (next(iter(data.take(1)), None) for data in (labeled, unlabeled))
    if first is None or other is None:
        raise ValueError("mix_unlabeled: one of the two data sets is empty.")
    size, other_size = _size(first), _size(other)
    wanted = max(1, round(ratio * size))
    form = _Form(*unpack_elements(first)[1:], unpack_elements(other)[2])
    known = [int(data.cardinality()) for data in (labeled, unlabeled)]
    steps = [known[0], known[1]]
    if known[1] > 0 and other_size != wanted:
        samples = unlabeled.map(lambda *batch: _size(batch)).reduce(
            0, lambda one, other: one + other
        )
        steps[1] = -(-int(samples) // wanted)
    labeled = labeled.map(form.with_labels).repeat().rebatch(size)
    unlabeled = unlabeled.map(form.without_labels)
    if tf.data.UNKNOWN_CARDINALITY not in known:
        unlabeled = unlabeled.repeat()
    both = tf.data.Dataset.zip(labeled, unlabeled.rebatch(wanted))
    ends = max(steps) > 0 and tf.data.UNKNOWN_CARDINALITY not in known
    if ends:
        # Before the parallel map, which reads ahead: it would begin the next repetition, or not,
        # and the next epoch's order would depend on how busy the machine is.
        both = both.take(max(steps))
    both = both.map(_interleaved, tf.data.AUTOTUNE)
    if ends:
        # Keras wants to know how long an epoch is, and rebatching forgets it.
        both = both.apply(tf.data.experimental.assert_cardinality(max(steps)))
    return both.prefetch(tf.data.AUTOTUNE)


class _Form:
    """What labels and weights look like in the mixture.

    Args:
        labels: Labels of one batch.
        weights: Its weights, or `None`.
        others: Weights of one batch of unlabelled samples, or `None`.
    """

    def __init__(self, labels: Any, weights: Any, others: Any) -> None:
        self.labels = tree.map_structure(lambda part: tf.cast(part, _with_none(part)), labels)
        self.weights = others if weights is None else weights

    def with_labels(self, x: Any, y: Any, weights: Any = None) -> tuple:
        """A labelled batch in the form of the mixture."""
        y = tree.map_structure(lambda part, like: tf.cast(part, like.dtype), y, self.labels)
        return self._batch(x, y, weights)

    def without_labels(self, *batch: Any) -> tuple:
        """An unlabelled batch in the form of the mixture."""
        x, _, weights = unpack_elements(batch)

        def none(like: tf.Tensor) -> tf.Tensor:
            return _filled(like, batch, float("nan") if like.dtype.is_floating else UNLABELED)

        return self._batch(x, tree.map_structure(none, self.labels), weights)

    def _batch(self, x: Any, y: Any, weights: Any) -> tuple:
        if self.weights is None:
            return x, y
        if weights is None:
            return x, y, tree.map_structure(lambda like: _filled(like, x, 1), self.weights)
        return (
            x,
            y,
            tree.map_structure(lambda w, like: tf.cast(w, like.dtype), weights, self.weights),
        )


def unpack_elements(batch: Any) -> tuple[Any, Any, Any]:
    """The parts (x, y, sample_weight) of a batch, `None` where it has none."""
    return keras.utils.unpack_x_y_sample_weight(batch)


def _with_none(labels: tf.Tensor) -> tf.DType:
    """The type of labels in which there is a way to say that there is none."""
    if labels.dtype.is_floating:
        return labels.dtype
    if labels.dtype == tf.string:
        raise ValueError("mix_unlabeled: labels must be numbers. Received: labels of type string")
    if labels.shape.rank > 1 and labels.shape[-1] > 1:
        values = labels.numpy().astype("int64")
        if ((values == 0) | (values == 1)).all() and (values.sum(axis=-1) == 1).all():
            return tf.float32  # One-hot.
    return tf.int32 if labels.dtype.is_unsigned or labels.dtype.is_bool else labels.dtype


def _filled(like: tf.Tensor, batch: Any, value: float) -> tf.Tensor:
    """As many of a value as the batch has samples, otherwise shaped like a tensor."""
    return tf.fill([_size(batch), *like.shape[1:]], tf.cast(value, like.dtype))


def _size(batch: Any) -> Any:
    first = tree.flatten(batch)[0]
    return int(first.shape[0]) if tf.executing_eagerly() else tf.shape(first)[0]


def _interleaved(labeled: tuple, unlabeled: tuple) -> tuple:
    """One batch of both, evenly mixed: under `tf.distribute` each replica gets its share."""
    sizes = _size(labeled), _size(unlabeled)
    places = [(tf.range(n, dtype=tf.float64) + 0.5) / tf.cast(n, tf.float64) for n in sizes]
    order = tf.argsort(tf.concat(places, 0), stable=True)
    return tree.map_structure(
        lambda one, other: tf.gather(tf.concat([one, other], 0), order), labeled, unlabeled
    )


def _check(labeled: Any, unlabeled: Any, ratio: float) -> None:
    for name, data in (("labeled", labeled), ("unlabeled", unlabeled)):
        if not isinstance(data, tf.data.Dataset):
            raise TypeError(
                f"mix_unlabeled: `{name}` must be a tf.data.Dataset, such as "
                "tf.data.Dataset.from_tensor_slices((x, y)).batch(32). "
                f"Received: {type(data).__name__}"
            )
        shapes = [tuple(part.shape) for part in tree.flatten(data.element_spec)]
        if not all(shapes) or not all(_fits(shape[0], shapes[0][0]) for shape in shapes):
            raise ValueError(
                f"mix_unlabeled: `{name}` must be batched: call `.batch(...)` on it. "
                f"Received: elements of shapes {shapes}"
            )
    x, y, _ = unpack_elements(labeled.element_spec)
    if y is None:
        raise ValueError(
            "mix_unlabeled: `labeled` must hold batches (x, y) or (x, y, sample_weight). "
            "Received: no labels"
        )
    one, other = (_shapes(part) for part in (x, unpack_elements(unlabeled.element_spec)[0]))
    if len(one) != len(other) or not all(map(_alike, one, other)):
        raise ValueError(
            "mix_unlabeled: the inputs of both data sets must be alike. "
            f"Received: {one} with labels and {other} without"
        )
    if not ratio > 0:
        raise ValueError(
            "mix_unlabeled: `ratio`, the unlabelled samples for each labelled one, must be above "
            f"0. Received: ratio={ratio}"
        )


def _shapes(x: Any) -> list[tuple[str, tuple, tf.DType]]:
    """Path, shape and type of each input."""
    flat = tree.flatten_with_path(x)
    return [(str(path), tuple(part.shape), part.dtype) for path, part in flat]


def _alike(one: tuple, other: tuple) -> bool:
    return one[0] == other[0] and shapes_agree(one[1], other[1]) and one[2] == other[2]


def _fits(one: int | None, other: int | None) -> bool:
    return one == other or one is None or other is None
