"""The compiled loss and the compiled metrics of the labeled samples (or pixels, or elements)."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_kd.models.graph import first_line
from keras_kd.models.keras_compat import (
    get_mask,
    losses_per_output,
    metric_values,
    metrics_per_output,
    without_mask,
)
from keras_kd.models.taps import named_outputs
from keras_kd.training import backend
from keras_kd.training.element_metrics import is_mean_over_elements, takes_element_weights
from keras_kd.training.label_checks import CANNOT_OMIT
from keras_kd.training.labels import (
    Labels,
    OutputLabels,
    mask_weights,
    per_output,
    row_axis,
)

_MEANS = ("sum_over_batch_size", "mean")


class LabelMasking:
    """Compute a compiled loss and compiled metrics on the known labels of a batch.

    The loss is the mean over the labeled samples (or pixels), 0 if there are none. If single
    elements of rows may be missing, it is the mean over all known elements of the batch: with none
    missing that equals the mean over the samples of the mean over each row, as in Keras. Metrics
    get weights of 0 for what is missing.

    Args:
        channel_axes: The axis of the channels (or classes) of each output, by name.
    """

    def __init__(self, channel_axes: dict[str, int]) -> None:
        self.names = list(channel_axes)
        self._channel_axes = channel_axes

    def loss(
        self,
        compiled: Any,
        labels: Labels,
        y_pred: Any,
        sample_weight: Any,
        share: Any = None,
        track: bool = True,
    ) -> Any:
        """Compute the compiled loss.

        Args:
            compiled: The compiled loss.
            labels: The labels.
            y_pred: The predictions, in the structure of the model.
            sample_weight: Sample weights, for all outputs or by output, or `None`.
            share: This replica's share of the samples, as `replica_share` returns it.
            track: Whether the history of each output's loss is updated. Defaults to `True`.

        Returns:
            A scalar; under `tf.distribute` this replica's share of it.
        """
        outputs = named_outputs(y_pred, self.names)
        values = []
        for loss, weight, tracker, prediction in losses_per_output(
            compiled, _filled(labels, y_pred, outputs), y_pred
        ):
            name = _name_of(prediction, outputs)
            found = labels.outputs.get(name)
            if found is None:
                raise ValueError(
                    f"A loss is compiled for the output '{name}', so labels are required for it. "
                    f"Received: labels for {list(labels.outputs)}"
                )
            given = per_output(sample_weight, name, self.names)
            value = self._output_loss(name, loss, found, prediction, given, share)
            if tracker is not None and track:
                size = ops.shape(prediction)[0] if found.known is None else found.count
                tracker.update_state(
                    backend.global_mean(value), sample_weight=backend.replica_share(size)[1]
                )
            values.append(value if weight is None else value * weight)
        return functools.reduce(ops.add, values)

    def update_metrics(
        self, compiled: Any, labels: Labels, y_pred: Any, sample_weight: Any
    ) -> None:
        """Update the compiled metrics; the arguments are those of `loss`."""
        outputs = named_outputs(y_pred, self.names)
        y = _filled(labels, y_pred, outputs)
        if not compiled.built:
            with backend.outside_graph():  # The variables do not belong to the step.
                compiled.build(y, y_pred)
        weights = [per_output(sample_weight, name, self.names) for name in labels.outputs]
        whole = not any(
            _lacks_axes(weight, outputs[name])
            or self._is_beside_channels(name, weight, outputs[name])
            for name, weight in zip(labels.outputs, weights, strict=True)
        )
        if whole and all(found.known is None for found in labels.outputs.values()):
            compiled.update_state(y, y_pred, sample_weight)
            return
        for plain, weighted, _, prediction in metrics_per_output(compiled, y, y_pred):
            name = _name_of(prediction, outputs)
            given = per_output(sample_weight, name, self.names)
            for metrics, weight in ((plain, None), (weighted, given)):
                for metric in metrics:
                    self._update_metric(name, metric, labels.outputs[name], prediction, weight)

    def _output_loss(
        self,
        name: str,
        loss: keras.losses.Loss,
        found: OutputLabels,
        prediction: Any,
        weight: Any,
        share: Any,
    ) -> Any:
        """Compute the loss of one output."""
        if found.known is None:
            return self._whole_loss(name, loss, found, prediction, weight, share)
        mask, is_mean = get_mask(prediction), loss.reduction in _MEANS
        labels, known, values = found.filled, found.known, None
        if found.per_element:
            labels, prediction, weight = self._expand(name, loss, labels, prediction, weight)
        rank = 0  # Of a loss that returns only its mean.
        if type(loss).__call__ is keras.losses.Loss.__call__:
            with self._explained(name, loss, labels, prediction):
                values = loss.call(*_as_passed_to_loss(loss, labels, prediction))
            rank = min(len(known.shape), len(values.shape))
        known, partly = _reduce_rank(known, rank, f"loss of the output '{name}'")
        if mask is not None:
            known = ops.logical_and(known, _to_rank(mask, rank))
            prediction = without_mask(prediction)  # The mask is in the weights.
        known_weights, total = _weights_and_total(found, known)
        share = backend.replica_share(total)[0]
        if not rank:
            with self._explained(name, loss, labels, prediction):
                value = loss(labels, prediction, _multiply(weight, share if is_mean else None))
            value = value * known_weights
        elif is_mean:
            # The reciprocal of the total has no gradient, unlike a division by it.
            weights = known_weights * ops.divide_no_nan(1.0, total)
            values = ops.convert_to_tensor(values, loss.dtype) * _multiply(weights, weight)
            value = backend.per_replica(ops.sum(values), share)
        else:
            value = loss(labels, prediction, _multiply(known_weights, weight))
        # XLA drops the assertion that no value is partly labeled.
        return value if partly is False else ops.where(partly, float("nan"), value)

    def _whole_loss(
        self,
        name: str,
        loss: keras.losses.Loss,
        found: OutputLabels,
        prediction: Any,
        weight: Any,
        share: Any,
    ) -> Any:
        """Compute the loss of one output of which no label can be missing."""
        labels, mask = found.filled, get_mask(prediction)
        if found.per_element and self._is_beside_channels(name, weight, prediction):
            labels, prediction, weight = self._expand(name, loss, labels, prediction, weight)
        if mask is not None:
            share = backend.replica_share(ops.sum(mask_weights(mask)))[0]
        if _lacks_axes(weight, prediction) and type(loss).__call__ is keras.losses.Loss.__call__:
            with self._explained(name, loss, labels, prediction):
                values = loss.call(*_as_passed_to_loss(loss, labels, prediction))
            weight = _to_rank(weight, len(values.shape))
        share = share if loss.reduction in _MEANS else None
        with self._explained(name, loss, labels, prediction):
            return loss(labels, prediction, _multiply(weight, share))

    @contextlib.contextmanager
    def _explained(
        self, name: str, loss: keras.losses.Loss, labels: Any, prediction: Any
    ) -> Iterator[None]:
        """Say which loss of which output failed on what."""
        try:
            yield
        except (ValueError, TypeError) as error:
            order = ""
            if len(self.names) > 1:
                order = f"; several losses in the order of the outputs, {self.names}, or by name"
            raise ValueError(
                f"The loss '{loss.name}' of the output '{name}' cannot be computed: "
                f"{first_line(error)} Pass labels that fit the loss and the output{order}. "
                f"Received: labels of shape {_shape(labels)} and outputs of shape "
                f"{_shape(prediction)}"
            ) from error

    def _expand(
        self, name: str, loss: Any, labels: Any, prediction: Any, weight: Any
    ) -> tuple[Any, Any, Any]:
        """Return labels, predictions and weights for which a loss returns each element's value."""
        if self._is_beside_channels(name, weight, prediction):
            weight = ops.expand_dims(weight, self._channel_axes[name])
        axis = row_axis(loss)
        return ops.expand_dims(labels, axis), ops.expand_dims(prediction, axis), weight

    def _is_beside_channels(self, name: str, weight: Any, prediction: Any) -> bool:
        """Whether a weight per position is given for channels that are not on the last axis."""
        rank = len(prediction.shape)
        return (
            weight is not None
            and self._channel_axes[name] != rank - 1
            and len(weight.shape) == rank - 1
        )

    def _update_metric(
        self, name: str, metric: Any, found: OutputLabels, prediction: Any, weight: Any
    ) -> None:
        """Update one metric with the known labels of an output."""
        labels, known, partly = found.filled, found.known, False
        if known is None:
            if self._is_beside_channels(name, weight, prediction) and is_mean_over_elements(metric):
                labels, prediction, weight = self._expand(name, None, labels, prediction, weight)
            if _lacks_axes(weight, prediction) and isinstance(
                metric, keras.metrics.MeanMetricWrapper
            ):
                values = metric_values(metric, labels, prediction)
                weight = _to_rank(weight, len(values.shape))
            metric.update_state(labels, prediction, sample_weight=weight)
            return
        what, mask, values = f"metric '{metric.name}'", get_mask(prediction), None
        if found.per_element and is_mean_over_elements(metric):
            labels, prediction, weight = self._expand(name, None, labels, prediction, weight)
        elif found.per_element and not takes_element_weights(metric):
            known, partly = _reduce_rank(known, len(known.shape) - 1, what, "whole row of labels")
        if type(metric).update_state is keras.metrics.MeanMetricWrapper.update_state:
            values = ops.convert_to_tensor(metric_values(metric, labels, prediction), metric.dtype)
            rank = min(len(known.shape), len(values.shape))
            known, split = _reduce_rank(known, rank, what)
            partly = partly | split
        if mask is not None and known.shape:
            known = ops.logical_and(known, _to_rank(mask, len(known.shape)))
        weights, total = _weights_and_total(found, known)
        if partly is not False:
            weights = ops.where(partly, float("nan"), weights)
        elif values is not None and weight is None and len(values.shape) == len(known.shape) == 1:
            # What `Mean.update_state` does, with half the operations.
            metric.total.assign_add(ops.sum(values * ops.cast(weights, values.dtype)))
            metric.count.assign_add(ops.cast(total, values.dtype))
            return
        if weight is None and "int" in str(metric.dtype):
            weights = ops.cast(known, "int32")  # A metric that counts warns of floats.
        weights = _multiply(weights, weight)
        if values is not None:
            keras.metrics.Mean.update_state(metric, values, weights)
        else:
            metric.update_state(labels, prediction, sample_weight=weights)


def _weights_and_total(found: OutputLabels, known: Any) -> tuple[Any, Any]:
    """Return a mask of an output as floats, and their sum."""
    if known is found.known:
        return found.mask, found.total
    weights = mask_weights(known)
    return weights, ops.sum(weights)


def _filled(labels: Labels, y_pred: Any, outputs: dict[str, Any]) -> Any:
    """Return the filled labels in the structure of the predictions."""
    found = {name: labels.outputs.get(name) for name in outputs}
    values = {name: None if one is None else one.filled for name, one in found.items()}
    if isinstance(y_pred, dict):
        return values
    if isinstance(y_pred, (list, tuple)):
        return type(y_pred)(values.values())
    return next(iter(values.values()))


def _name_of(prediction: Any, outputs: dict[str, Any]) -> str:
    return next(name for name, output in outputs.items() if output is prediction)


def _shape(value: Any) -> tuple[int | None, ...]:
    return tuple(getattr(value, "shape", ()))


def _lacks_axes(weight: Any, prediction: Any) -> bool:
    """Whether a weight per sample is given for a prediction at several positions.

    Keras does not broadcast it to values of a loss or metric per position.
    """
    return weight is not None and len(weight.shape) == 1 and len(prediction.shape) > 2


def _reduce_rank(mask: Any, rank: int, what: str, one: str | None = None) -> tuple[Any, Any]:
    """Return the mask for values of lower rank, and whether one of them is only partly labeled."""
    axes = tuple(range(rank, len(mask.shape)))
    if not axes:
        return mask, False
    every, some = ops.all(mask, axis=axes), ops.any(mask, axis=axes)
    partly = ops.any(every != some)
    one = one or ("whole batch" if rank == 0 else "whole sample")
    fine = backend.assertion(ops.logical_not(partly), f"The {what} {CANNOT_OMIT.format(one)}")
    return backend.require_before(fine, every), partly


def _multiply(one: Any, other: Any) -> Any:
    """Multiply weights, `None` for none, the one of lower rank per sample."""
    if one is None or other is None:
        return other if one is None else one
    other = ops.cast(other, one.dtype)
    if not other.shape:
        return one * other
    return one * _to_rank(other, len(one.shape))


def _to_rank(values: Any, rank: int) -> Any:
    """Return weights or a mask with the given rank."""
    while len(values.shape) > rank and values.shape[-1] == 1:
        values = values[..., 0]
    while len(values.shape) < rank:
        values = ops.expand_dims(values, -1)
    return values


def _as_passed_to_loss(loss: keras.losses.Loss, labels: Any, prediction: Any) -> tuple[Any, Any]:
    """Return labels and predictions as Keras passes them to a loss; class indices unchanged."""
    if not isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        labels = ops.convert_to_tensor(labels, loss.dtype)
    return labels, ops.convert_to_tensor(prediction, loss.dtype)
