"""Digests that identify a teacher: of its weights, configuration and preprocessing."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.layouts import data_formats

_LENGTH = 16
#: Replaces unknown sizes when a preprocessing is run on samples.
_SIZE = 32


@dataclass(frozen=True)
class Fingerprint:
    """Digests of everything that determines a teacher's outputs.

    Attributes:
        weights: Digest of the shapes, types and bytes of all weights.
        config: Digest of the model's configuration without layer names, and of `outputs`.
        preprocessing: Digest of two preprocessed samples; empty without a preprocessing.
    """

    weights: str
    config: str
    preprocessing: str = ""

    def __str__(self) -> str:
        return "-".join(asdict(self).values())

    @classmethod
    def parse(cls, text: str) -> "Fingerprint":
        """Return the fingerprint from its `str`."""
        return cls(*text.split("-"))

    def differences(self, other: "Fingerprint") -> list[str]:
        """Return the names of the parts in which two fingerprints differ."""
        own, others = asdict(self), asdict(other)
        return [part for part in own if own[part] != others[part]]


def weights_digest(model: keras.Model) -> str:
    """Return the digest of a model's weights, without seeds and metrics."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(ops.convert_to_numpy(weight))
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.reshape(-1).view("uint8"))
    return digest.hexdigest()[:_LENGTH]


def config_digest(model: keras.Model, *more: Any) -> str:
    """Return the digest of a model's configuration without layer names.

    For a subclassed model without a configuration, it is the digest of the class name.
    """
    described = [f"{type(model).__module__}.{type(model).__qualname__}"]
    with contextlib.suppress(NotImplementedError, TypeError):
        described.append(_without_names(model.get_config()))
    if any("channels_first" in data_formats(layer) for layer in nested_layers(model)):
        more = (*more, "taps with the channels last")  # They were not, in earlier caches.
    return digest_of([described, *more])


def digest_of(value: Any) -> str:
    """Return the digest of a JSON value; other objects are represented by their type."""
    text = json.dumps(value, sort_keys=True, default=lambda other: type(other).__qualname__)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def bytes_digest(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.sha256(content).hexdigest()[:_LENGTH]


def preprocessing_digest(preprocessing: Callable[[Any], Any] | None, inputs: Any) -> str:
    """Return the digest of two fixed samples after a preprocessing; empty without one."""
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
    """Return the configuration with each layer name replaced by its index."""
    numbers: dict[str, str] = {}
    for name in _layer_names(config):
        numbers.setdefault(name, f"#{len(numbers)}")
    return _replace_names(config, numbers)


def _layer_names(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        # A dtype policy has a "name" that must stay.
        if isinstance(config.get("name"), str) and len(config) > 1:
            yield config["name"]
        for value in config.values():
            yield from _layer_names(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _layer_names(value)


def _replace_names(config: Any, numbers: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _replace_names(value, numbers) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_replace_names(value, numbers) for value in config]
    return numbers.get(config, config) if isinstance(config, str) else config
