"""Digests that identify a teacher: of its weights, configuration and preprocessing."""

import contextlib
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_kd.models.keras_compat import nested_layers
from keras_kd.models.layouts import data_formats

_LENGTH = 16
#: Replaces unknown sizes when a preprocessing is run on made-up samples.
_SIZE = 32
#: The least number of values of each kind.
_VALUES = 64
#: The first letter of a digest on made-up samples of all kinds; earlier versions had one kind.
_VERSION = "s"
#: Ranges of made-up integers, and made-up texts, by kind.
_INTEGERS = ((0, 2), (0, 10), (0, 256), (0, 32_000), (-1_000_000, 1_000_000))
_TEXTS = (
    ["a sample of text", "another sample"],
    ["A Sample of TEXT, <b>with</b> 2 tags &amp; signs!", "  caf\u00e9\t\u4e16\u754c\n"],
    ["0", "7", "12"],
    ["-1.5", "2.25e3", "0.125"],
    ["", "the", "2024-02-29 23:59:59"],
)
#: Number of kinds: how often a fingerprint runs a preprocessing.
KINDS = len(_TEXTS)


@dataclass(frozen=True)
class Fingerprint:
    """Digests of everything that determines a teacher's outputs.

    Attributes:
        weights: Digest of the shapes, types and bytes of all weights.
        config: Digest of the model's configuration without layer names, and of `outputs`.
        preprocessing: Digest of preprocessed samples; empty without a preprocessing.
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
        differing = [part for part in own if own[part] != others[part]]
        made_by = {value[0] for value in (self.preprocessing, other.preprocessing) if value}
        if "preprocessing" in differing and len(made_by) > 1 and _VERSION in made_by:
            differing[-1] += " (or the version of keras_kd, which compares it more strictly)"
        return differing


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
        described.append(without_names(model.get_config()))
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
    """Return the digest of made-up samples after a preprocessing; empty without one.

    The samples are of several magnitudes: fractions, pixels, standardized values, small integers,
    and numbers up to 60,000 of both signs. Two preprocessings that differ on data in any of these
    ranges have different digests. All that fail on every made-up sample have the same one: only
    the samples of a data set tell them apart; see `cache.prepared`.
    """
    if preprocessing is None:
        return ""
    digest = hashlib.sha256()
    for kind in range(KINDS):
        samples = _make_samples(inputs, kind)
        try:
            parts = [ops.convert_to_numpy(part) for part in tree.flatten(preprocessing(samples))]
        except Exception:  # A table without such an index, or text that is no number.
            digest.update(b"fails")
            continue
        for part in parts:
            digest.update(f"{part.shape}{part.dtype}".encode())
            digest.update(_canonical_bytes(part))
    return f"{_VERSION}{digest.hexdigest()[:_LENGTH]}"


def _make_samples(inputs: Any, kind: int) -> Any:
    """Return made-up samples; those of an input of a dict do not depend on the other inputs."""
    samples = []
    for path, spec in tree.flatten_with_path(inputs):
        seed = [kind, zlib.crc32(str(path).encode())] if path else kind
        samples.append(_samples(spec, kind, np.random.default_rng(seed)))
    return tree.pack_sequence_as(inputs, samples)


def _samples(spec: Any, kind: int, rng: np.random.Generator) -> Any:
    """Return made-up samples of an input, of one of several kinds."""
    sides = [_SIZE if size is None else size for size in tuple(spec.shape)[1:]]
    shape = (max(2, -(-_VALUES // math.prod(sides))), *sides)
    dtype = keras.backend.standardize_dtype(spec.dtype)
    if dtype == "string":
        return ops.convert_to_tensor(rng.choice(_TEXTS[kind], shape))
    if dtype == "bool":
        values = rng.random(shape) < 0.5
    elif dtype == "uint8":
        values = rng.integers(0, 256, shape)
    elif "int" in dtype:
        low, high = _INTEGERS[kind]
        values = rng.integers(0 if dtype.startswith("u") else low, high, shape)
    else:
        values = _numbers(kind, shape, rng)
    return ops.convert_to_tensor(values, dtype)


def _numbers(kind: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind < 2:
        return rng.random(shape) * (1, 255)[kind]
    if kind < 4:
        return rng.normal(size=shape) if kind == 2 else rng.integers(-2, 3, shape) * 1.0
    return rng.choice([-1, 1], shape) * 10 ** rng.uniform(-3, 4.78, shape)


def _canonical_bytes(part: np.ndarray) -> bytes:
    """Return the bytes of an array; the bits of a NaN depend on the operation."""
    if part.dtype.kind == "f":
        part = np.where(np.isnan(part), np.array(np.nan, part.dtype), part)
    return repr(part.tolist()).encode() if part.dtype == object else part.tobytes()


def without_names(config: Any) -> Any:
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
