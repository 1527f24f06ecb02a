"""What some layers take and give, noted while the model itself runs.

For the time of a call the watched layer's `call` (or the activation it holds) is replaced by one
that notes and passes on, so that whatever the model does is done, once, by the model.
"""

import functools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from keras import ops

from keras_kd.models.graph import with_activation

_lock = threading.Lock()
_installed: dict[tuple[int, str], int] = {}


class _Here(threading.local):
    """The recorders at work in this thread: under `tf.distribute` each replica has its own."""

    def __init__(self) -> None:
        self.recorders: list[Recorder] = []


_here = _Here()


@dataclass(frozen=True, eq=False)
class Watch:
    """One thing to note.

    Attributes:
        layer: A layer or operation of the model.
        what: `"output"` or `"input"` of its call, or its `"preactivation"`: what its activation is
            applied to.
    """

    layer: Any
    what: str

    @property
    def owner(self) -> Any:
        """The object whose attribute is replaced."""
        return with_activation(self.layer) if self.what == "preactivation" else self.layer

    @property
    def attribute(self) -> str:
        """Its name."""
        return "activation" if self.what == "preactivation" else "call"


class Recorder:
    """Notes what is watched while its `with` block runs, in this thread.

    Args:
        watches: What to note.

    Example:
        >>> with Recorder([watch]) as recorder:
        ...     model(x)
        >>> recorder.value(watch)
    """

    def __init__(self, watches: Iterable[Watch]) -> None:
        self.watches = tuple(watches)
        self.noted: dict[tuple[int, str], list[tuple[Any, Any]]] = {}

    def __enter__(self) -> "Recorder":
        for watch in self.watches:
            _install(watch)
        _here.recorders.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.recorders.remove(self)
        for watch in self.watches:
            _remove(watch)

    def value(self, watch: Watch) -> Any:
        """What was noted.

        Raises:
            ValueError: When the layer ran more or less than once.
        """
        noted = self.noted.get((id(watch.owner), watch.attribute), [])
        if watch.owner is not watch.layer:
            return ops.stack([taken for taken, _ in noted], axis=1)  # A wrapped layer: each step.
        if len(noted) != 1:
            raise ValueError(
                f"The layer '{watch.layer.name}' ran {len(noted)} times in one call of the model, "
                "so it is no single place. Tap a layer that runs once."
            )
        taken, given = noted[0]
        return given if watch.what == "output" else taken


def _install(watch: Watch) -> None:
    """Replaces the attribute by one that notes; replicas that run at once share it."""
    owner, attribute = watch.owner, watch.attribute
    key = (id(owner), attribute)
    with _lock:
        _installed[key] = _installed.get(key, 0) + 1
        if _installed[key] > 1:
            return
        original = getattr(owner, attribute)

        @functools.wraps(original)
        def noting(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            taken = args[0] if args else next(iter(kwargs.values()), None)
            for recorder in _here.recorders:
                recorder.noted.setdefault(key, []).append((taken, outputs))
            return outputs

        # Past `__setattr__`: Keras and TensorFlow track what is assigned to a layer.
        owner.__dict__[attribute] = noting


def _remove(watch: Watch) -> None:
    owner, attribute = watch.owner, watch.attribute
    key = (id(owner), attribute)
    with _lock:
        _installed[key] -= 1
        if _installed[key]:
            return
        del _installed[key]
        if attribute == "call":
            del owner.__dict__["call"]  # The class's own shows again.
        else:
            owner.__dict__[attribute] = owner.__dict__[attribute].__wrapped__
