"""The taps of a student that runs in tf_keras."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from keras_kd.compression.tfmot import imports as legacy_keras
from keras_kd.compression.tfmot.wrapper import Shell
from keras_kd.models.graph import Call
from keras_kd.models.hooks import Hook
from keras_kd.models.taps import Tap, TappedModel


class LegacyTapped(TappedModel):
    """Shows the taps of the Keras 3 model where they are in the tf_keras model that stands for it.

    Args:
        shell: The tf_keras model, ready for Keras 3.
        model: The Keras 3 model that it came from.
        taps: The places to show.
        outputs: As for `TappedModel`.
        training: As for `TappedModel`.

    Raises:
        ValueError: As for `TappedModel`, and when a tap is no place of the tf_keras model.
    """

    def __init__(
        self,
        shell: Shell,
        model: keras.Model,
        taps: Sequence[Tap],
        outputs: str = "auto",
        training: bool = False,
    ) -> None:
        super().__init__(model, taps, outputs, training)
        self._shell = shell
        hooks = [source.hook for source in self.sources.values() if source.hook]
        self._shown = {id(hook): i for i, hook in enumerate(hooks)}
        shell.layer.show([self._located(hook) for hook in hooks])

    def run(self, inputs: Any, hooks: Sequence[Hook]) -> tuple[Any, Any]:
        """Runs the tf_keras model once; see `TappedModel.run`."""
        shell = self._shell
        values = shell.layer(shell.bridged.front(inputs), training=self.training, taps=True)
        count = len(shell.layer.legacy.outputs)
        outputs = tree.pack_sequence_as(shell.model.output, values[:count])
        return outputs, lambda hook: values[count + self._shown[id(hook)]]

    def _located(self, hook: Hook) -> Any:
        """The tensor of the tf_keras model at which a value of the Keras 3 model is found."""
        calls = self._shell.bridged.graph.calls.values()
        call = next(c for cs in calls for c in cs if c.layer is hook.layer)
        links = self._shell.bridged.layers.get(call.path)
        if links is None or (hook.target == "preactivation" and len(links) < 2):
            raise ValueError(
                f"The tap at '{call.path}' of '{self.model.name}' cannot be reached in tf_keras. "
                "Tap another layer; for the logits, make the softmax a layer of its own."
            )
        if hook.target == "input":
            return self._made_by(self._shell.bridged.graph.maker(call.inputs[0]), call.inputs[0])
        if hook.target == "preactivation":
            return self._output(links[0].name, 0, 1, 0)
        return self._made_by(call, call.outputs[0])

    def _made_by(self, call: Call, tensor: keras.KerasTensor) -> Any:
        """What stands for a tensor that a call made."""
        graph, links = self._shell.bridged.graph, self._shell.bridged.layers[call.path]
        if not links:  # Fused into the layer before it.
            (source,) = call.inputs
            return self._made_by(graph.maker(source), source)
        calls = graph.calls[call.path]
        which = next(i for i, other in enumerate(calls) if other is call)
        return self._output(links[-1].name, which, len(calls), _position(call, tensor))

    def _output(self, name: str, which: int, calls: int, position: int) -> Any:
        layer = next(x for x in self._shell.layer.legacy.layers if original_name(x) == name)
        # A layer that a copied model took over has the nodes of both models, the old ones first.
        node = layer.inbound_nodes[len(layer.inbound_nodes) - calls + which]
        return tree.flatten(node.outputs)[position]


def original_name(layer: Any) -> str:
    """The name of a layer before tensorflow-model-optimization wrapped it."""
    foreign = type(layer).__module__.startswith("tensorflow_model_optimization")
    wraps = foreign and isinstance(layer, legacy_keras.tf_keras().layers.Wrapper)
    return layer.layer.name if wraps else layer.name


def _position(call: Call, tensor: keras.KerasTensor) -> int:
    return next(i for i, output in enumerate(call.outputs) if output is tensor)
