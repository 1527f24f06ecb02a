"""What tells one teacher from another: its weights, its configuration, its preprocessing."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

_LENGTH = 16
#: Sizes that are not known are taken as this when a preprocessing is tried.
_SIZE = 32


@dataclass(frozen=True)
class Fingerprint:
    """Digests of what decides a teacher's answers.

    Attributes:
        weights: Of the shapes, types and bytes of all weights.
        config: Of the model's configuration (names of layers do not count) and of how it is read.
        preprocessing: Of what the preprocessing makes of two samples; empty without one.
    """

    weights: str
    config: str
    preprocessing: str = ""

    def __str__(self) -> str:
        return "-".join(asdict(self).values())

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """The fingerprint that `str` gave."""
        return cls(*text.split("-"))

    def differences(self, other: "Fingerprint") -> list[str]:
        """In which parts two fingerprints differ."""
        own, others = asdict(self), asdict(other)
        return [part for part in own if own[part] != others[part]]


def weights_digest(model: keras.Model) -> str:
    """The digest of a model's weights, seeds and metrics left out."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(ops.convert_to_numpy(weight))
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.reshape(-1).view("uint8"))
    return digest.hexdigest()[:_LENGTH]


def config_digest(model: keras.Model, *more: Any) -> str:
    """The digest of a model's configuration, whatever its layers are called.

    Args:
        model: The model.
        *more: What else decides its answers, as plain values.

    Returns:
        A digest. Of a subclassed model without a configuration, the class is all that counts.
    """
    described = [f"{type(model).__module__}.{type(model).__qualname__}"]
    with contextlib.suppress(NotImplementedError, TypeError):
        described.append(_without_names(model.get_config()))
    return digest_of([described, *more])


def digest_of(value: Any) -> str:
    """The digest of a structure of plain values; others count by their type."""
    text = json.dumps(value, sort_keys=True, default=lambda other: type(other).__qualname__)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def bytes_digest(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()[:_LENGTH]


def preprocessing_digest(preprocessing: Callable[[Any], Any] | None, inputs: Any) -> str:
    """The digest of what a preprocessing makes of two samples, always the same ones.

    Args:
        preprocessing: A callable on a batch, or `None`.
        inputs: What it takes: a structure of things with a shape (batch first) and a dtype.

    Returns:
        A digest, empty without a preprocessing.
    """
    if preprocessing is None:
        return ""
    digest = hashlib.sha256()
    for part in tree.flatten(preprocessing(tree.map_structure(_samples, inputs))):
        digest.update(np.ascontiguousarray(ops.convert_to_numpy(part)).tobytes())
    return digest.hexdigest()[:_LENGTH]


def _samples(spec: Any) -> Any:
    shape = (2, *(_SIZE if size is None else size for size in tuple(spec.shape)[1:]))
    kind = keras.backend.standardize_dtype(spec.dtype)
    if kind == "string":
        return ops.convert_to_tensor(np.full(shape, "a sample of text"))
    values = np.random.default_rng(0).uniform(size=shape)
    return ops.convert_to_tensor(values * 255 if kind == "uint8" else values, kind)


def _without_names(config: Any) -> Any:
    """The configuration with each layer's name replaced by its number in order."""
    numbers: dict[str, str] = {}
    for name in _names(config):
        numbers.setdefault(name, f"#{len(numbers)}")
    return _renamed(config, numbers)


def _names(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        # A data type's policy has a name too, which does count.
        if isinstance(config.get("name"), str) and len(config) > 1:
            yield config["name"]
        for value in config.values():
            yield from _names(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _names(value)


def _renamed(config: Any, numbers: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(value, numbers) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(value, numbers) for value in config]
    return numbers.get(config, config) if isinstance(config, str) else config
