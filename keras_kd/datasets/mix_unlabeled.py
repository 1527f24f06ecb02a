"""Mix labeled and unlabeled samples in one data set."""

from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_kd.losses.distillation_loss import shapes_agree
from keras_kd.training.labels import UNLABELED

_unpack = keras.utils.unpack_x_y_sample_weight


def mix_unlabeled(
    labeled: tf.data.Dataset, unlabeled: tf.data.Dataset, ratio: float
) -> tf.data.Dataset:
    """Mix labeled and unlabeled samples in each batch, for `Distiller.fit`.

    A batch contains the samples of one batch of `labeled` and `ratio` times as many unlabeled
    samples, evenly interleaved. Their labels are `kd.UNLABELED` for integer labels and NaN for
    floating-point labels, for each of several outputs. An epoch is one pass over the longer data
    set, usually `unlabeled`; the other one is repeated, and the last batch is filled up. The result
    is as deterministic as the two data sets: shuffle them, with a seed, before you mix them.

    Args:
        labeled: Batches (x, y) or (x, y, sample_weight).
        unlabeled: Batches of x, or (x, y) or (x, y, sample_weight), whose y is ignored. The samples
            are counted in an extra pass unless the batches have the required size already.
        ratio: Number of unlabeled samples per labeled sample, such as 7.

    Returns:
        A data set of batches (x, y), or (x, y, sample_weight) if one of the two has weights; the
        weights of the other are 1. One-hot integers become float32 and unsigned integers int32,
        because they cannot represent a missing label.

    Raises:
        TypeError: If one of them is not a `tf.data.Dataset`.
        ValueError: If one of them is not batched or is empty, their inputs differ, `labeled` has no
            labels, or `ratio` is not positive.

    Example:
        >>> labeled = kd.datasets.load("mnist", "train[:500]", batch_size=32)
        >>> unlabeled = kd.datasets.load("mnist", "train[500:]", batch_size=224)
        >>> distiller.fit(kd.mix_unlabeled(labeled, unlabeled, ratio=7), epochs=20)
    """
    _check(labeled, unlabeled, ratio)
    first, other = (next(iter(data.take(1)), None) for data in (labeled, unlabeled))
    if first is None or other is None:
        raise ValueError("mix_unlabeled: one of the two data sets is empty.")
    size = _batch_size(first)
    unlabeled_size = max(1, round(ratio * size))
    form = _BatchForm(*_unpack(first)[1:], _unpack(other)[2])
    lengths = [int(data.cardinality()) for data in (labeled, unlabeled)]
    steps = list(lengths)
    if lengths[1] > 0 and _batch_size(other) != unlabeled_size:
        sizes = unlabeled.map(lambda *batch: _batch_size(batch))
        steps[1] = -(-int(sizes.reduce(0, lambda total, one: total + one)) // unlabeled_size)
    labeled = labeled.map(form.convert_labeled).repeat().rebatch(size)
    unlabeled = unlabeled.map(form.convert_unlabeled)
    if tf.data.UNKNOWN_CARDINALITY not in lengths:
        unlabeled = unlabeled.repeat()
    mixed = tf.data.Dataset.zip(labeled, unlabeled.rebatch(unlabeled_size))
    finite = max(steps) > 0 and tf.data.UNKNOWN_CARDINALITY not in lengths
    if finite:
        # Before the parallel map, which prefetches: it could begin the next repetition, so that the
        # order of the next epoch would depend on timing.
        mixed = mixed.take(max(steps))
    mixed = mixed.map(_interleave, tf.data.AUTOTUNE)
    if finite:
        # Keras reads the number of steps from the cardinality, which `rebatch` drops.
        mixed = mixed.apply(tf.data.experimental.assert_cardinality(max(steps)))
    return mixed.prefetch(tf.data.AUTOTUNE)


class _BatchForm:
    """Dtypes and shapes of labels and weights in the mixture.

    Args:
        labels: Labels of a labeled batch.
        weights: Weights of a labeled batch, or `None`.
        unlabeled_weights: Weights of an unlabeled batch, or `None`.
    """

    def __init__(self, labels: Any, weights: Any, unlabeled_weights: Any) -> None:
        self.labels = tree.map_structure(lambda part: tf.cast(part, _label_dtype(part)), labels)
        self.weights = unlabeled_weights if weights is None else weights

    def convert_labeled(self, x: Any, y: Any, weights: Any = None) -> tuple:
        """Convert a labeled batch to the form of the mixture."""
        y = tree.map_structure(lambda part, like: tf.cast(part, like.dtype), y, self.labels)
        return self._pack(x, y, weights)

    def convert_unlabeled(self, *batch: Any) -> tuple:
        """Convert an unlabeled batch to the form of the mixture."""
        x, _, weights = _unpack(batch)

        def missing(like: tf.Tensor) -> tf.Tensor:
            return _fill(like, batch, float("nan") if like.dtype.is_floating else UNLABELED)

        return self._pack(x, tree.map_structure(missing, self.labels), weights)

    def _pack(self, x: Any, y: Any, weights: Any) -> tuple:
        if self.weights is None:
            return x, y
        if weights is None:
            return x, y, tree.map_structure(lambda like: _fill(like, x, 1), self.weights)
        cast = tree.map_structure(lambda w, like: tf.cast(w, like.dtype), weights, self.weights)
        return x, y, cast


def _label_dtype(labels: tf.Tensor) -> tf.DType:
    """Return the dtype of labels that can represent a missing label."""
    if labels.dtype.is_floating:
        return labels.dtype
    if labels.dtype == tf.string:
        raise ValueError("mix_unlabeled: labels must be numbers. Received: labels of type string")
    if labels.shape.rank > 1 and labels.shape[-1] > 1:
        values = labels.numpy().astype("int64")
        if ((values == 0) | (values == 1)).all() and (values.sum(axis=-1) == 1).all():
            return tf.float32  # One-hot.
    return tf.int32 if labels.dtype.is_unsigned or labels.dtype.is_bool else labels.dtype


def _fill(like: tf.Tensor, batch: Any, value: float) -> tf.Tensor:
    """Return a constant tensor with the batch size of `batch` and the other sizes of `like`."""
    return tf.fill([_batch_size(batch), *like.shape[1:]], tf.cast(value, like.dtype))


def _batch_size(batch: Any) -> Any:
    first = tree.flatten(batch)[0]
    return int(first.shape[0]) if tf.executing_eagerly() else tf.shape(first)[0]


def _interleave(labeled: tuple, unlabeled: tuple) -> tuple:
    """Interleave two batches evenly, so that each replica of `tf.distribute` gets its share."""
    sizes = _batch_size(labeled), _batch_size(unlabeled)
    positions = [(tf.range(n, dtype=tf.float64) + 0.5) / tf.cast(n, tf.float64) for n in sizes]
    order = tf.argsort(tf.concat(positions, 0), stable=True)
    return tree.map_structure(
        lambda one, other: tf.gather(tf.concat([one, other], 0), order), labeled, unlabeled
    )


def _check(labeled: Any, unlabeled: Any, ratio: float) -> None:
    for name, data in (("labeled", labeled), ("unlabeled", unlabeled)):
        _require_batches(name, data)
    x, y, _ = _unpack(labeled.element_spec)
    if y is None:
        raise ValueError(
            "mix_unlabeled: `labeled` must contain batches (x, y) or (x, y, sample_weight). "
            "Received: no labels"
        )
    one, other = (_describe_inputs(part) for part in (x, _unpack(unlabeled.element_spec)[0]))
    if len(one) != len(other) or not all(map(_inputs_agree, one, other)):
        raise ValueError(
            "mix_unlabeled: the inputs of both data sets must have the same structure, shapes and "
            f"dtypes. Received: labeled={one} and unlabeled={other}"
        )
    if not ratio > 0:
        raise ValueError(
            "mix_unlabeled: `ratio`, the number of unlabeled samples per labeled sample, must be "
            f"positive. Received: ratio={ratio}"
        )


def _require_batches(name: str, data: Any) -> None:
    if not isinstance(data, tf.data.Dataset):
        raise TypeError(
            f"mix_unlabeled: `{name}` must be a tf.data.Dataset, such as "
            "tf.data.Dataset.from_tensor_slices((x, y)).batch(32). "
            f"Received: {type(data).__name__}"
        )
    shapes = [tuple(part.shape) for part in tree.flatten(data.element_spec)]
    sizes = {shape[0] for shape in shapes if shape} - {None}
    if not all(shapes) or len(sizes) > 1:
        raise ValueError(
            f"mix_unlabeled: `{name}` must be batched: call `.batch(...)` on it. "
            f"Received: elements of shapes {shapes}"
        )


def _describe_inputs(x: Any) -> list[tuple[str, tuple, tf.DType]]:
    """Return path, shape and dtype of each input."""
    flat = tree.flatten_with_path(x)
    return [(str(path), tuple(part.shape), part.dtype) for path, part in flat]


def _inputs_agree(one: tuple, other: tuple) -> bool:
    return one[0] == other[0] and shapes_agree(one[1], other[1]) and one[2] == other[2]
