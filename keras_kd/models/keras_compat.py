"""Every use of a Keras internal (a name with `_`), each with the reason why it is needed.

A test per function compares it with the public behavior it stands for and fails when Keras changes;
it also names the public API that would replace it.
"""

import collections
import contextlib
import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops, tree
from keras.src.backend.common import global_state
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.data_adapters.torch_data_loader_adapter import TorchDataLoaderAdapter

#: What Keras writes around the message of an error in the `call` of a layer; AutoGraph indents it.
_RAISED_IN_A_LAYER = re.compile(
    r"Exception encountered when calling .*?\n\s*\x1b\[1m(.*)\x1b\[0m\s*Arguments received by ",
    re.DOTALL,
)


def unwrap_message(error: Exception) -> str:
    """Return an error's message without the arguments that Keras adds if a layer raises it."""
    found = _RAISED_IN_A_LAYER.search(str(error))
    return found[1] if found else str(error)


def is_loader(value: Any) -> bool:
    """Whether `fit` takes a value as a loader of Grain or PyTorch; Keras tells it nowhere else."""
    return data_adapters.is_grain_dataset(value) or data_adapters.is_torch_dataloader(value)


def loader_length(loader: Any) -> int | None:
    """Return the number of batches of a loader, or `None` if `fit` does not know it either."""
    if data_adapters.is_torch_dataloader(loader):
        return TorchDataLoaderAdapter(loader).num_batches
    return None


class BatchAdapter(DataAdapter):
    """Batches that can be read again, as data for `fit`; Keras has no public base class."""

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Return an iterator over tuples."""
        return (batch if type(batch) is tuple else (batch,) for batch in self)

    def get_jax_iterator(self) -> Iterator[Any]:
        """Return the same for the loop of JAX."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self) -> Any:
        """Return a loader of tensors for the loop of PyTorch."""
        return data_adapter_utils.get_torch_dataloader(self.get_numpy_iterator())


def get_mask(value: Any) -> Any:
    """Return the Keras mask of a tensor, or `None`; Keras has no public getter."""
    return get_keras_mask(value)


def set_mask(value: Any, mask: Any) -> Any:
    """Set the Keras mask of a tensor and return the tensor; Keras has no public setter."""
    set_keras_mask(value, mask)
    return value


def copy_mask(source: Any, value: Any) -> Any:
    """Set the Keras mask of one tensor, if it has one, on another and return that."""
    mask = get_mask(source)
    return value if mask is None else set_mask(value, mask)


def without_mask(value: Any) -> Any:
    """Return a tensor without its Keras mask."""
    return value if get_mask(value) is None else keras.ops.copy(value)


def detach(value: Any) -> Any:
    """Return a tensor without its gradient, and with its Keras mask."""
    return copy_mask(value, keras.ops.stop_gradient(value))


def made_by(tensor: keras.KerasTensor) -> tuple[Any, list[keras.KerasTensor]]:
    """Return the layer or operation that made a symbolic tensor, and its symbolic inputs.

    Tensors that Keras makes to infer shapes have neither: `(None, [])`.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None:
        return None, []
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, node.arguments.keras_tensors


def nested_layers(model: keras.layers.Layer, include_self: bool = True) -> list[keras.layers.Layer]:
    """Return all layers of a model, those inside other layers too; `Model.layers` is flat."""
    return list(model._flatten_layers(include_self=include_self))


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers that a layer holds itself; only models list theirs in public."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def functional_of(model: keras.Model) -> keras.Model:
    """Return the Functional model that a Functional or built Sequential model runs."""
    return model._functional if isinstance(model, keras.Sequential) else model


def run_graph(functional: keras.Model, inputs: Any, call: Callable[..., Any]) -> Any:
    """Run the graph of a Functional model with `call(layer, *args, **kwargs)` at every node."""
    return functional._run_through_graph(inputs, call_fn=call)


@contextlib.contextmanager
def fresh_names() -> Iterator[None]:
    """Number the default names of layers from the start, whatever the process made before.

    Keras can only forget all its state, with `keras.backend.clear_session`.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def metric_values(metric: keras.metrics.MeanMetricWrapper, labels: Any, outputs: Any) -> Any:
    """Return the values whose mean a metric is."""
    return metric._fn(labels, outputs, **metric._fn_kwargs)


def metric_function(metric: keras.metrics.MeanMetricWrapper) -> tuple[Any, dict[str, Any]]:
    """Return the function whose mean a metric is, and its arguments by name."""
    return metric._fn, metric._fn_kwargs


def losses_per_output(compiled: Any, y: Any, y_pred: Any) -> list[tuple[Any, Any, Any, Any]]:
    """Return the compiled losses with their outputs.

    Args:
        compiled: The compiled loss.
        y: The labels, in the structure of the predictions.
        y_pred: The predictions.

    Returns:
        For each loss the loss itself, its weight or `None`, the metric that Keras tracks it with or
        `None`, and the prediction it belongs to.
    """
    if not compiled.built:
        compiled.build(y, y_pred)
    structure = compiled._y_pred_build_structure
    if not isinstance(y_pred, type(structure)) and tree.is_nested(structure):
        y_pred = tree.pack_sequence_as(structure, tree.flatten(y_pred))
    trackers = compiled.metrics or [None] * len(compiled._flat_losses)
    rows = []
    for (path, loss, weight, _), tracker in zip(compiled._flat_losses, trackers, strict=True):
        prediction = functools.reduce(operator.getitem, path, y_pred)
        rows.append((loss, weight, tracker, prediction))
    return rows


def metrics_per_output(compiled: Any, y: Any, y_pred: Any) -> list[tuple[list, list, Any, Any]]:
    """Return the compiled metrics of each output with its labels and predictions.

    Returns:
        For each output its metrics, its weighted metrics, its labels and its predictions.
    """
    sets = (compiled._flat_metrics, compiled._flat_weighted_metrics)
    rows = zip(*sets, compiled._flatten_y(y), compiled._flatten_y(y_pred), strict=False)
    return [
        (plain.metrics if plain else [], weighted.metrics if weighted else [], labels, prediction)
        for plain, weighted, labels, prediction in rows
    ]


class CompatModel(keras.Model):
    """A `keras.Model` whose `fit` and `evaluate` also run on several workers.

    Keras 3 fails under `MultiWorkerMirroredStrategy`
    (https://github.com/keras-team/keras/issues/20585). Steps must return `stack_logs(logs)`.

    Attributes:
        product: In words, what to pass where a plain model is expected: what this one trains.
    """

    product = "the model that it trains"

    @property
    def compiled_loss_fn(self) -> Any:
        """The compiled loss as Keras resolved it, or `None`."""
        return self._compile_loss

    @property
    def compiled_metrics_fn(self) -> Any:
        """The compiled metrics as Keras resolved them, or `None`."""
        return self._compile_metrics

    def not_plain(self, what: str) -> TypeError:
        """Return the error for this model in place of a plain one.

        Args:
            what: What the plain model is for, as the beginning of a sentence.
        """
        return TypeError(
            f"{what} must be a plain model and not a {type(self).__name__}, which trains one. "
            f"Pass {self.product}. Received: '{self.name}'"
        )

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Reject the export of what is used in training only.

        Raises:
            TypeError: Always; the message says what to export.
        """
        raise self.not_plain("The model to export")

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Configure the model for training; see `keras.Model.compile`."""
        # Keras keeps an earlier loss and earlier metrics where the new call has none.
        self._compile_loss = self._compile_metrics = None
        super().compile(
            optimizer,
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            run_eagerly,
            steps_per_execution,
            jit_compile,
            auto_scale_loss,
        )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a model that was loaded from a file, before its optimizer state is loaded."""
        # Keras does not compile models whose class overrides `compile`.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras reduces a batch over the replicas to learn its shapes. That fails over workers, and
        # reads a data set that shuffles once more than on one device.
        if iterator is not None and self.distribute_strategy.num_replicas_in_sync > 1:
            spec = iterator.data_adapter.get_tf_dataset().element_spec
            data_batch, iterator = tree.map_structure(_none_if_optional, spec), None
        super()._maybe_symbolic_build(iterator, data_batch)

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        # Keras would return the mean of the replicas' logs, whatever their numbers of samples.
        results = self.epoch_results()
        return {name: results.get(name, value) for name, value in logs.items()}

    def _flatten_metrics_in_order(self, logs: dict[str, Any]) -> Any:
        # Keras would list every entry of the logs, and return a number only if there is one.
        return super()._flatten_metrics_in_order(self.listed_results(logs))

    def listed_results(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return what `evaluate` and `train_on_batch` return without `return_dict`."""
        return logs

    def epoch_results(self) -> dict[str, Any]:
        """Return the results of all metrics and loss trackers, by name."""
        return self.get_metrics_result()


def _none_if_optional(spec: Any) -> Any:
    return None if type(spec).__name__ == "OptionalSpec" else spec


@contextlib.contextmanager
def outside_stateless_scope() -> Iterator[None]:
    """Let variables have their own values in a block within a `StatelessScope`."""
    scope = global_state.get_global_attribute("stateless_scope")
    global_state.set_global_attribute("stateless_scope", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("stateless_scope", scope)


@contextlib.contextmanager
def masked_logit(logit: float) -> Iterator[None]:
    """Set what the TensorFlow backend writes at masked logits of an attention or `Softmax`.

    Keras has constants for it, -1e9 or less, which no argument changes.

    Args:
        logit: The logit, within the block.
    """
    from keras.src.backend.tensorflow import nn
    from keras.src.layers.activations import softmax

    attention = keras.layers.Attention
    before = nn._get_large_negative, softmax._large_negative_number, attention._apply_scores

    def apply_scores(
        layer: Any, scores: Any, value: Any, scores_mask: Any = None, training: bool = False
    ) -> Any:
        if scores_mask is not None:
            columns = len(scores_mask.shape) == 2
            mask = ops.expand_dims(scores_mask, -2) if columns else scores_mask
            scores = ops.where(mask, scores, logit)
        return before[2](layer, scores, value, None, training)

    nn._get_large_negative = softmax._large_negative_number = lambda dtype: logit
    attention._apply_scores = apply_scores
    try:
        yield
    finally:
        nn._get_large_negative, softmax._large_negative_number, attention._apply_scores = before


class JaxCompatModel(CompatModel):
    """What the training loop of Keras on JAX offers only to itself."""

    def in_executions(self, step: Callable[[Any, Any], tuple]) -> Callable[[Any, Any], tuple]:
        """Return a function of state and iterator that runs a step `steps_per_execution` times."""
        return self._make_function(step)

    def state_shardings(self, training: bool) -> tuple | None:
        """Return how `keras.distribution` divides each variable of the state, or `None`."""
        if keras.distribution.distribution() is None:
            return None
        trainable, other, optimizer, metrics = self._get_state_sharding_spec()
        return (trainable, other, *([optimizer] if training else []), metrics)

    def keep_state(self, state: tuple) -> None:
        """Let the end of `fit` (or `evaluate`) assign a state to the variables, from which it came.

        If the first step fails, Keras forgets the state, and the model is left without weights.
        """
        names = ["trainable_variables", "non_trainable_variables", "metrics_variables"]
        if len(state) > len(names):
            names.insert(2, "optimizer_variables")
        # Past `__setattr__`, which would track the values one by one.
        self.__dict__["_jax_state"] = dict(zip(names, state, strict=True))
