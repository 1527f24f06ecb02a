"""Mask samples without a label in the compiled loss and in the compiled metrics."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_kd.models.keras_compat import get_mask, metric_values, metrics_per_output, set_mask
from keras_kd.models.taps import named_outputs
from keras_kd.training import backend
from keras_kd.training.label_checks import CANNOT_OMIT, per_output
from keras_kd.training.labels import UNLABELED
from keras_kd.training.tf_data import has_known_rank, is_ragged_or_sparse

#: Losses whose labels are probabilities, so that -1 cannot be a label.
_OF_PROBABILITIES = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.KLDivergence,
)
_OF_PROBABILITIES_TOO = (
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.kl_divergence,
)
_MEANS = ("sum_over_batch_size", "mean")


class LabelMasking:
    """Compute a compiled loss and compiled metrics on the labeled samples (or pixels).

    Missing labels are replaced by zeros. The loss gets a Keras mask on the predictions, so it is
    the mean over the labeled samples (0 if there are none), and the metrics get weights of 0. These
    count as missing:

    - NaN, or a row of NaN in labels of the predictions' own shape;
    - a class index of `UNLABELED`;
    - `UNLABELED`, or a row of it, for a loss between probabilities, such as a cross-entropy.

    Args:
        loss: The loss as passed to `compile`, by output or for all.
        names: Names of the outputs.
    """

    def __init__(self, loss: Any, names: Sequence[str]) -> None:
        self.names = list(names)
        self._losses = {name: _resolve(per_output(loss, name, self.names)) for name in names}
        self._ranks: dict[Any, int] = {}

    def loss(
        self, compiled: Any, y: Any, y_pred: Any, sample_weight: Any, share: Any = None
    ) -> Any:
        """Compute the compiled loss of the labeled samples.

        Returns:
            A scalar; under `tf.distribute` this replica's share of it.
        """
        y, masks = self._mask_labels(y, y_pred)
        outputs, partly = named_outputs(y_pred, self.names), False
        shares = {name: _share(outputs[name], share) for name in self.names}
        if not masks:
            return compiled(y, y_pred, self._scale_weights(sample_weight, shares, y_pred))
        for name, mask in masks.items():
            labels = _as_passed_to_loss(per_output(y, name, self.names), outputs[name])
            rank = self._rank(self._losses[name], labels, outputs[name])
            fitting, split = _reduce_rank(mask, rank, f"loss of the output '{name}'")
            partly = partly | split
            outputs[name] = masked = _set_mask(outputs[name], fitting)
            shares[name] = backend.replica_share(_count(get_mask(masked)))[0]
        value = compiled(
            y, _pack_like(y_pred, outputs), self._scale_weights(sample_weight, shares, y_pred)
        )
        # XLA drops the assertion that no value is partly labeled.
        return value if partly is False else ops.where(partly, float("nan"), value)

    def count(self, y: Any, y_pred: Any, size: Any) -> Any:
        """Count the labeled samples.

        Returns:
            Their number, where a partly labeled map counts as a fraction; for several outputs the
            mean; under `tf.distribute` the mean over replicas.
        """
        _, masks = self._mask_labels(y, y_pred)
        if not masks:
            return size
        outputs = named_outputs(y_pred, self.names)
        counts = [backend.replica_share(_count(mask))[1] for mask in masks.values()]
        counts += [ops.cast(size, "float32")] * (len(outputs) - len(counts))
        return sum(counts) / len(counts)

    def update_metrics(self, compiled: Any, y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Update the compiled metrics with the labeled samples."""
        y, masks = self._mask_labels(y, y_pred)
        if not compiled.built:
            with backend.outside_graph():  # The variables do not belong to the step.
                compiled.build(y, y_pred)
        if not masks:
            compiled.update_state(y, y_pred, sample_weight)
            return
        names = {id(value): name for name, value in named_outputs(y_pred, self.names).items()}
        for plain, weighted, labels, prediction in metrics_per_output(compiled, y, y_pred):
            name = names[id(prediction)]
            weight = per_output(sample_weight, name, self.names)
            for metrics, given in ((plain, None), (weighted, weight)):
                for metric in metrics:
                    own = self._metric_weight(metric, labels, prediction, masks.get(name), given)
                    metric.update_state(labels, prediction, sample_weight=own)

    def _mask_labels(self, y: Any, y_pred: Any) -> tuple[Any, dict[str, Any]]:
        """Return the labels with missing ones replaced, and by output a mask of the others."""
        masks = {}
        for name, prediction in named_outputs(y_pred, self.names).items():
            labels = per_output(y, name, self.names)
            if labels is None:
                continue
            known = has_label(labels, prediction.shape, self._of_probabilities(name))
            if known is not None:
                masks[name] = known
                y = _replace_output(y, name, self.names, _fill_missing(labels, known))
        return y, masks

    def _of_probabilities(self, name: str) -> bool:
        loss = self._losses[name]
        return loss is None or isinstance(loss, _OF_PROBABILITIES) or loss in _OF_PROBABILITIES_TOO

    def _rank(self, function: Any, labels: Any, prediction: Any, key: Any = None) -> int:
        """Return the rank of the values of a loss or a metric before the mean."""
        key = id(function) if key is None else key
        if key not in self._ranks:
            rank = len(prediction.shape) - 1
            if function is not None:
                rank = min(rank, _values_rank(function, labels, prediction))
            self._ranks[key] = rank
        return self._ranks[key]

    def _scale_weights(self, sample_weight: Any, shares: dict[str, Any], y_pred: Any) -> Any:
        """Return each output's sample weights, times the replica's share of its labels."""
        if sample_weight is None and all(share is None for share in shares.values()):
            return None
        weights = {}
        for name in named_outputs(y_pred, self.names):
            weight, share = per_output(sample_weight, name, self.names), shares.get(name)
            loss = self._losses[name]
            if isinstance(loss, keras.losses.Loss) and loss.reduction not in _MEANS:
                share = None
            if share is not None:
                weight = share if weight is None else ops.cast(weight, share.dtype) * share
            # A copy: on PyTorch, Keras multiplies the weights of an output by its mask in place.
            weights[name] = weight if weight is None else ops.copy(weight)
        return _pack_like(y_pred, weights)

    def _metric_weight(
        self, metric: Any, labels: Any, prediction: Any, mask: Any, weight: Any
    ) -> Any:
        if mask is None:
            return weight
        rank = len(mask.shape)
        if isinstance(metric, keras.metrics.MeanMetricWrapper):
            values = functools.partial(metric_values, metric)
            rank = self._rank(values, labels, prediction, key=id(metric))
        mask, partly = _reduce_rank(mask, rank, f"metric '{metric.name}'")
        if weight is None and "int" in str(metric.dtype):
            return ops.cast(mask, "int32")  # One that counts warns of floats.
        mask = ops.where(partly, float("nan"), ops.cast(mask, "float32"))
        return mask if weight is None else mask * _to_rank(ops.cast(weight, mask.dtype), rank)


def has_label(labels: Any, shape: Sequence[int | None], of_probabilities: bool = False) -> Any:
    """Return a mask of the present labels.

    Args:
        labels: Class indices (batch, ...) or (batch, ..., 1), or values of the predictions' shape.
        shape: Shape of the predictions, (batch, ..., classes).
        of_probabilities: Whether labels that are not class indices are probabilities. Defaults to
            `False`.

    Returns:
        Boolean tensor (batch, ...), or `None` if none can be missing.
    """
    if is_ragged_or_sparse(labels):
        return None
    labels = ops.convert_to_tensor(labels)
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if not has_known_rank(labels) or dtype in ("bool", "string") or dtype.startswith("uint"):
        return None
    if len(labels.shape) == len(shape) and labels.shape[-1] == 1:
        labels = labels[..., 0]
    whole_rows = len(labels.shape) == len(shape)
    if not whole_rows and len(labels.shape) != len(shape) - 1:
        return None
    missing = []
    if "float" in dtype:
        missing.append(ops.isnan(labels))
    if of_probabilities or (not whole_rows and shape[-1] != 1):
        missing.append(ops.equal(labels, UNLABELED))
    if not missing:
        return None
    missing = functools.reduce(ops.logical_or, missing)
    return ops.logical_not(ops.all(missing, axis=-1) if whole_rows else missing)


def _fill_missing(labels: Any, known: Any) -> Any:
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) > len(known.shape):
        known = ops.expand_dims(known, -1)
    return ops.where(known, labels, ops.zeros_like(labels))


def _share(prediction: Any, share: Any) -> Any:
    """Return a replica's share of the values of an output: of its unmasked steps, if masked.

    If all replicas have equally many samples, `share` is `None`; their masks may still differ.
    """
    mask = get_mask(prediction)
    return share if mask is None else backend.replica_share(ops.sum(ops.cast(mask, "float32")))[0]


def _set_mask(prediction: Any, mask: Any) -> Any:
    """Return a copy of the prediction with the mask."""
    own = get_mask(prediction)
    if own is not None:
        mask = ops.logical_and(mask, _to_rank(own, len(mask.shape)))
    # A copy: the distillation losses read masks too, and they use all samples.
    return set_mask(ops.copy(prediction), mask)


def _count(mask: Any) -> Any:
    """Count the samples that a mask keeps; pixels count as fractions."""
    mask = ops.cast(mask, "float32")
    axes = tuple(range(1, len(mask.shape)))
    return ops.sum(ops.mean(mask, axis=axes) if axes else mask)


def _reduce_rank(mask: Any, rank: int, what: str) -> tuple[Any, Any]:
    """Return the mask for values of lower rank, and whether one of them is only partly labeled."""
    axes = tuple(range(rank, len(mask.shape)))
    if not axes:
        return mask, False
    every, some = ops.all(mask, axis=axes), ops.any(mask, axis=axes)
    partly = ops.any(every != some)
    one = "whole batch" if rank == 0 else "whole sample"
    fine = backend.assertion(ops.logical_not(partly), f"The {what} {CANNOT_OMIT.format(one)}")
    return backend.require_before(fine, every), partly


def _to_rank(values: Any, rank: int) -> Any:
    """Return weights or a mask with the given rank."""
    while len(values.shape) > rank and values.shape[-1] == 1:
        values = values[..., 0]
    while len(values.shape) < rank:
        values = ops.expand_dims(values, -1)
    return values


def _as_passed_to_loss(labels: Any, prediction: Any) -> Any:
    """Return labels as Keras passes them to a loss: floats, and (batch, 1) for one unit."""
    labels = ops.cast(labels, keras.config.floatx())
    one = prediction.shape[-1] == 1 and len(labels.shape) == len(prediction.shape) - 1
    return ops.expand_dims(labels, -1) if one else labels


def _values_rank(function: Any, labels: Any, prediction: Any) -> int:
    if isinstance(function, keras.losses.Loss):
        if type(function).call is keras.losses.Loss.call:
            return 0  # It overrides `__call__`, so it returns only its mean.
        function = function.call
    return len(ops.convert_to_tensor(function(labels, prediction)).shape)


def _resolve(loss: Any) -> Any:
    """Return the loss of one output as Keras resolves it, or `None`."""
    if loss is None or str(loss).lower() in ("crossentropy", "ce"):
        return None
    return keras.losses.get(loss)


def _replace_output(structure: Any, name: str, names: Sequence[str], value: Any) -> Any:
    """Return the labels with those of one output replaced."""
    if isinstance(structure, dict):
        return {**structure, name: value}
    if isinstance(structure, (list, tuple)):
        changed = list(structure)
        changed[names.index(name)] = value
        return type(structure)(changed)
    return value


def _pack_like(y_pred: Any, values: dict[str, Any]) -> Any:
    """Arrange values by output in the structure of the predictions."""
    if isinstance(y_pred, dict):
        return values
    if isinstance(y_pred, (list, tuple)):
        return type(y_pred)(values.values())
    return next(iter(values.values()))
