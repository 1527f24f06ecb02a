"""Forward hooks: capture the inputs and outputs of some layers while the model itself runs.

For the time of a call, the `call` (or the `activation`) of a hooked layer is replaced by a wrapper
that records its arguments and result. The model runs once and computes the same values.
"""

import functools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from keras import ops, tree

from keras_kd.models.graph import with_activation

_lock = threading.Lock()
_installed: dict[tuple[int, str], int] = {}


class _ActiveRecorders(threading.local):
    """The active recorders of this thread: under `tf.distribute` each replica has its own."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


_active = _ActiveRecorders()


@dataclass(frozen=True, eq=False)
class Hook:
    """A tensor to capture.

    Attributes:
        layer: A layer or operation of the model.
        target: `"output"` or `"input"` of its call, or `"preactivation"`, the input of its
            activation.
        index: Position of the tensor in the output, as a flat list. Defaults to 0.
        position: Which of the layer's calls it is, in the order in which they run. Defaults to 0.
        calls: How often the layer runs in one call of the model. Defaults to 1.
    """

    layer: Any
    target: str
    index: int = 0
    position: int = 0
    calls: int = 1

    @property
    def owner(self) -> Any:
        """The object whose attribute is replaced."""
        return with_activation(self.layer) if self.target == "preactivation" else self.layer

    @property
    def attribute(self) -> str:
        """The name of the replaced attribute."""
        return "activation" if self.target == "preactivation" else "call"


class Recorder:
    """Context manager that captures the tensors of some hooks in this thread.

    Args:
        hooks: What to capture.

    Example:
        >>> with Recorder([hook]) as recorder:
        ...     model(x)
        >>> recorder.value(hook)
    """

    def __init__(self, hooks: Iterable[Hook]) -> None:
        self.hooks = tuple(hooks)
        self.captured: dict[tuple[int, str], list[tuple[Any, Any]]] = {}

    def __enter__(self) -> "Recorder":
        for hook in self.hooks:
            _install(hook)
        _active.recorders.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.recorders.remove(self)
        for hook in self.hooks:
            _remove(hook)

    def value(self, hook: Hook) -> Any:
        """Return the captured tensor.

        Raises:
            ValueError: If the layer did not run as often as expected.
        """
        captured = self.captured.get((id(hook.owner), hook.attribute), [])
        if hook.owner is not hook.layer:
            # A layer in a `TimeDistributed` runs once per time step.
            steps = len(captured) // hook.calls
            own = captured[hook.position * steps : (hook.position + 1) * steps]
            return ops.stack([inputs for inputs, _ in own], axis=1)
        if len(captured) != hook.calls:
            raise ValueError(
                f"The layer '{hook.layer.name}' ran {len(captured)} times in one call of the "
                f"model, where {hook.calls} was expected, so its output is ambiguous. Tap a layer "
                "that runs once."
            )
        inputs, outputs = captured[hook.position]
        return tree.flatten(outputs)[hook.index] if hook.target == "output" else inputs


def _install(hook: Hook) -> None:
    """Replace the attribute by a recording wrapper, which concurrent replicas share."""
    owner, attribute = hook.owner, hook.attribute
    key = (id(owner), attribute)
    with _lock:
        _installed[key] = _installed.get(key, 0) + 1
        if _installed[key] > 1:
            return
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def record(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            inputs = args[0] if args else next(iter(kwargs.values()), None)
            for recorder in _active.recorders:
                recorder.captured.setdefault(key, []).append((inputs, outputs))
            return outputs

        # Bypasses `__setattr__`: Keras and TensorFlow track what is assigned to a layer.
        owner.__dict__[attribute] = record


def _remove(hook: Hook) -> None:
    owner, attribute = hook.owner, hook.attribute
    key = (id(owner), attribute)
    with _lock:
        _installed[key] -= 1
        if _installed[key]:
            return
        del _installed[key]
        if attribute == "call":
            del owner.__dict__["call"]  # The method of the class is visible again.
        else:
            owner.__dict__[attribute] = owner.__dict__[attribute].__wrapped__
