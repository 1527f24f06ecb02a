"""Taps of a student that runs in tf_keras."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.compression.tfmot.converted_model import original_name
from keras_kd.compression.tfmot.wrapper import WrappedModel
from keras_kd.models.declaration import Declaration
from keras_kd.models.graph import Call
from keras_kd.models.hooks import Hook
from keras_kd.models.taps import Tap, TappedModel


class TfKerasTappedModel(TappedModel):
    """Returns the taps of a Keras 3 model from the tf_keras model that runs in its place.

    Raises:
        ValueError: As for `TappedModel`, and if the tf_keras model has no tensor of a tap.
    """

    trains_model = False

    def __init__(
        self,
        wrapped: WrappedModel,
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: Declaration = "auto",
        training: bool = False,
    ) -> None:
        super().__init__(model, taps, outputs, training)
        self._wrapped = wrapped
        hooks = [source.hook for source in self.sources.values() if source.hook]
        self._positions = {id(hook): i for i, hook in enumerate(hooks)}
        wrapped.layer.set_taps([self._find_tensor(hook) for hook in hooks])

    def run(self, inputs: Any, hooks: Sequence[Hook]) -> tuple[Any, Callable[[Hook], Any]]:
        """Run the tf_keras model once; see `TappedModel.run`."""
        wrapped = self._wrapped
        values = wrapped.layer(
            wrapped.converted.run_front(inputs), training=self.training, taps=True
        )
        count = len(wrapped.layer.tf_keras_model.outputs)
        outputs = tree.pack_sequence_as(wrapped.model.output, values[:count])
        return outputs, lambda hook: values[count + self._positions[id(hook)]]

    def _find_tensor(self, hook: Hook) -> Any:
        """Return the tensor of the tf_keras model that corresponds to a hook of the Keras 3 one."""
        graph = self._wrapped.converted.graph
        call = graph.runs[id(hook.layer)][hook.position]
        if hook.calls > 1:
            raise ValueError(
                f"The layer '{call.path}' of '{self.model.name}' is called {hook.calls} times, and "
                "a single call cannot be tapped in tf_keras. Tap a layer that is called once."
            )
        layers = self._wrapped.converted.layers.get(call.path)
        if layers is None or (hook.target == "preactivation" and len(layers) < 2):
            raise ValueError(
                f"The tap at '{call.path}' of '{self.model.name}' cannot be reached in tf_keras. "
                "Tap another layer; for the logits, make the softmax a separate layer."
            )
        if hook.target == "input":
            return self._find_output(graph.maker(call.inputs[0]), call.inputs[0])
        if hook.target == "preactivation":
            return self._output(layers[0].name, 0, 1, 0)
        return self._find_output(call, call.outputs[hook.index])

    def _find_output(self, call: Call, tensor: keras.KerasTensor) -> Any:
        """Return the tf_keras tensor of an output of a call."""
        graph, layers = self._wrapped.converted.graph, self._wrapped.converted.layers[call.path]
        if not layers:  # Fused into the layer before it.
            (source,) = call.inputs
            return self._find_output(graph.maker(source), source)
        calls = graph.calls[call.path]
        index = next(i for i, other in enumerate(calls) if other is call)
        position = next(i for i, output in enumerate(call.outputs) if output is tensor)
        return self._output(layers[-1].name, index, len(calls), position)

    def _output(self, name: str, index: int, calls: int, position: int) -> Any:
        """Return an output of a call of a tf_keras layer."""
        model = self._wrapped.layer.tf_keras_model
        layer = next(layer for layer in model.layers if original_name(layer) == name)
        # A layer that is part of two models has the nodes of both, those of the original first.
        node = layer.inbound_nodes[len(layer.inbound_nodes) - calls + index]
        return tree.flatten(node.outputs)[position]
