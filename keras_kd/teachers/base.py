"""Base class of all teachers."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_kd.files import text_fields
from keras_kd.models.declaration import Declaration, check_declaration
from keras_kd.models.inputs import ModelInputs
from keras_kd.models.keras_compat import unwrap_message
from keras_kd.models.taps import Tap
from keras_kd.models.task import Evidence
from keras_kd.teachers.fingerprint import Fingerprint


class BaseTeacher(abc.ABC):
    """Base class of all teachers, whatever runs them.

    Args:
        name: Name in messages.
        classes: As for `Teacher`.
        outputs: As for `Teacher`.
        preprocessing: As for `Teacher`.

    Raises:
        TypeError: If `classes` is not a list, or `preprocessing` is not a callable.
        ValueError: If `outputs` is unknown.
    """

    #: The Keras model that runs, or `None` if the outputs come from elsewhere.
    model: keras.Model | None = None
    #: The Keras model whose layers may be passed as taps, or `None`.
    original: keras.Model | None = None
    #: Whether its outputs are stored in a `KnowledgeCache` and it cannot run.
    is_cached = False
    #: Whether XLA can compile it.
    supports_jit = True

    def __init__(
        self,
        name: str,
        classes: Sequence[int | str | None] | None,
        outputs: Declaration,
        preprocessing: Callable[[Any], Any] | None,
    ) -> None:
        check_declaration(outputs, f"Teacher '{name}': `outputs`")
        if preprocessing is not None and not callable(preprocessing):
            raise TypeError(
                f"Teacher '{name}': `preprocessing` must be a callable on x or None. "
                f"Received: preprocessing={preprocessing!r}"
            )
        if isinstance(classes, str) or not isinstance(classes, (Sequence, np.ndarray, type(None))):
            raise TypeError(
                f"Teacher '{name}': `classes` must be a list of the student's classes, by "
                f"index or by name. Received: classes={classes!r}"
            )
        self.name = name
        self.classes = None if classes is None else list(classes)
        self.outputs = outputs if isinstance(outputs, str) else dict(outputs)
        self.preprocessing = preprocessing

    def __repr__(self) -> str:
        fields = {"name": self.name, "parameters": self.parameters, "outputs": self.outputs}
        return text_fields(type(self).__name__, {**fields, "classes": self.classes})

    @property
    def parts(self) -> tuple["BaseTeacher", ...]:
        """The teachers that run: itself, or one for each output."""
        return (self,)

    def unused_outputs(self, taps: Sequence[Tap]) -> list[str]:
        """Return the outputs whose teacher has none of the taps; see `OutputTeachers`."""
        return []

    @property
    def has_preprocessing(self) -> bool:
        """Whether it, or the teacher of one of its outputs, has a preprocessing."""
        return any(part.preprocessing is not None for part in self.parts)

    def prepare(self, x: Any) -> Any:
        """Return what a model gets of a batch after the preprocessing, which there must be."""
        return self.preprocess(x)

    def preprocess(self, x: Any) -> Any:
        """Return a batch after the preprocessing, or unchanged without one.

        Raises:
            ValueError: If the preprocessing fails on a dict batch, all of which it gets.
        """
        if self.preprocessing is None:
            return x
        try:
            return self.preprocessing(x)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            if not isinstance(x, dict):
                raise
            raise ValueError(
                f"Teacher '{self.name}': its `preprocessing` raised {type(error).__name__} for a "
                f"dict batch with the keys {sorted(x)}. It gets the whole batch, so let it take "
                f"the entry it needs, such as preprocessing=lambda x: layer(x[{min(x)!r}]). "
                f"Cause: {unwrap_message(error)}"
            ) from error

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of its model and of its preprocessing, each once."""
        parts = (self.model, self.preprocessing)
        layers = [part for part in parts if isinstance(part, keras.layers.Layer)]
        return list({id(v): v for layer in layers for v in layer.variables}.values())

    @property
    @abc.abstractmethod
    def parameters(self) -> int:
        """Number of its weights, counted as scalars."""

    @property
    @abc.abstractmethod
    def output_names(self) -> list[str]:
        """Names of its outputs, in order."""

    @property
    @abc.abstractmethod
    def inputs(self) -> ModelInputs | None:
        """Its inputs; `None` if they are unknown."""

    def check_batch(self, x: Any) -> None:
        """Reject a dict batch, or its specification, that lacks what the teacher takes.

        Raises:
            ValueError: If a key is missing and there is no preprocessing, which might add it.
        """
        if self.inputs is not None and self.preprocessing is None:
            self.inputs.parts(x, f"Teacher '{self.name}'")

    @property
    def input_count(self) -> int:
        """Number of its inputs; 1 if they are unknown."""
        return 1 if self.inputs is None else len(self.inputs.shapes)

    @abc.abstractmethod
    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Return the digests that identify the teacher."""

    def evidence(self) -> dict[str, Evidence]:
        """Return what is known of each of its outputs: declaration, compiled loss and head.

        Raises:
            ValueError: If the outputs come from elsewhere.
        """
        raise ValueError(
            f"Teacher '{self.name}' has no model that can run here: its outputs are stored. Pass "
            "the live teacher."
        )

    @abc.abstractmethod
    def watch(self, taps: Sequence[Tap]) -> Any:
        """Return a callable that maps a batch to a dict from tap to tensor.

        The callable has `teacher`, and `shapes`, `activations` and `kinds` by tap, as
        `TappedModel`.

        Raises:
            ValueError: If a tap does not exist or its logits cannot be determined.
        """
