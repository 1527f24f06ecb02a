"""Fingerprints of what a run depends on: models, data, functions and settings."""

import functools
import hashlib
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_kd.cache.keys import input_digests
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import (
    bytes_digest,
    config_digest,
    weights_digest,
    without_names,
)
from keras_kd.teachers.knowledge import unpack_batch
from keras_kd.teachers.precomputed_teacher import PrecomputedTeacher

#: Samples that are read of a data set, and the most if their order is random.
_FIRST, _MOST = 512, 2**16
#: Stands for content that is not the same when it is read again.
RANDOM = "random"
#: The key of the digests of preprocessed samples, and the number of samples.
_PREPARED, _SAMPLES = "preprocessed samples", 64
_LIBRARIES = ("keras.", "tensorflow.", "tf_keras.", "numpy.")


class Fingerprints:
    """Descriptions of arguments as JSON values, to compare them with those of an earlier call.

    Models and teachers are described by digests of configuration and weights, arrays by a digest,
    Keras objects by their configuration, functions by their code, and data sets by the digest of
    their first samples. Other objects, such as callbacks, are described by their class only.

    A data set is read twice: the first 512 samples, or all if these come in random order and there
    are less than 65,536. What differs, such as an augmented image, is not compared.

    Args:
        data: Training data, on which the preprocessing of teachers is compared.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._known: dict[int, tuple[Any, Any]] = {}

    def describe(self, value: Any) -> Any:
        """Return the description of a value."""
        if isinstance(value, bool | int | float | str | type(None)):
            return value
        if isinstance(value, Mapping):
            return {str(key): self.describe(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.describe(part) for part in value]
        if id(value) not in self._known:
            # The object is kept too: another one could get its number. A function may contain
            # itself, and then is described by its class.
            self._known[id(value)] = (value, type(value).__name__)
            self._known[id(value)] = (value, self._describe_object(value))
        return self._known[id(value)][1]

    @functools.singledispatchmethod
    def _describe_object(self, value: Any) -> Any:
        """Describe an object by its configuration, if it has one, and by its name or class."""
        described = {"class": getattr(value, "__name__", type(value).__name__)}
        if not isinstance(value, type) and callable(getattr(value, "get_config", None)):
            config = keras.saving.serialize_keras_object(value)["config"]
            # Keras numbers default names: the second optimizer is `adam_1`.
            described["config"] = {k: v for k, v in without_names(config).items() if k != "name"}
        if isinstance(value, keras.Layer) and value.weights:
            described["weights"] = weights_digest(value)
        return described

    @_describe_object.register
    def _describe_model(self, model: keras.Model) -> Any:
        return f"{config_digest(model)}-{weights_digest(model)}"

    @_describe_object.register
    def _describe_teacher(self, teacher: BaseTeacher) -> Any:
        fingerprint = str(teacher.fingerprint(input_specs(self._data)))
        described = {"classes": teacher.classes, "teacher": fingerprint}
        if teacher.has_preprocessing:
            described[_PREPARED] = self._describe_preprocessing(teacher)
        return described

    def _describe_preprocessing(self, teacher: BaseTeacher) -> Any:
        """Return the digests of preprocessed samples, `RANDOM` without samples to read again."""
        if self._samples is None:
            return RANDOM
        prepared = teacher.prepare(tree.map_structure(keras.ops.convert_to_tensor, self._samples))
        return [describe_array(keras.ops.convert_to_numpy(x)) for x in tree.flatten(prepared)]

    @functools.cached_property
    def _samples(self) -> Any:
        return read_samples(self._data)

    @_describe_object.register
    def _describe_precomputed(self, teacher: PrecomputedTeacher) -> Any:
        return self.describe([teacher.shapes, teacher.outputs, teacher.classes])

    @_describe_object.register
    def _describe_dataset(self, data: tf.data.Dataset | keras.utils.PyDataset) -> Any:
        return describe_data(data)

    @_describe_object.register
    def _describe_array(self, array: np.ndarray | np.generic | tf.Tensor | keras.Variable) -> Any:
        return describe_array(keras.ops.convert_to_numpy(array))

    @_describe_object.register
    def _describe_partial(self, partial: functools.partial) -> Any:
        return self.describe([partial.func, partial.args, partial.keywords])

    @_describe_object.register
    def _describe_method(self, method: types.MethodType) -> Any:
        return self.describe([method.__func__, method.__self__])

    @_describe_object.register
    def _describe_graph_function(self, function: tf.types.experimental.GenericFunction) -> Any:
        return self.describe(function.python_function)

    @_describe_object.register
    def _describe_function(self, function: types.FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        if name.startswith(_LIBRARIES):
            return name
        values = inspect.getclosurevars(function).nonlocals
        values = {"": function.__defaults__, **(function.__kwdefaults__ or {}), **values}
        code = code_digest(function.__code__)
        return {"name": name, "code": code, "values": self.describe(values)}


def differing_names(found: Mapping[str, Any], described: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts in which two descriptions differ; `"arguments"` by argument."""
    one, other = ({**each, **each.get("arguments", {})} for each in (found, described))
    keys = {*one, *other} - {"arguments"}
    return sorted(key for key in keys if one.get(key, ...) != other.get(key, ...))


def input_specs(data: Any) -> Any:
    """Return the specification of a batch of inputs of training data, `None` for a generator."""
    if isinstance(data, tf.data.Dataset):
        return unpack_batch(keras.utils.unpack_x_y_sample_weight(data.element_spec)[0])[0]
    if isinstance(data, types.GeneratorType):
        return None
    data = data[0] if isinstance(data, keras.utils.PyDataset) else data
    return tree.map_structure(_array_spec, data[0] if isinstance(data, tuple) else data)


def describe_array(array: np.ndarray) -> str:
    """Return type, shape and digest of an array."""
    array = np.asarray(array)
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return f"{array.dtype} {array.shape} {bytes_digest(content)}"


def describe_data(data: tf.data.Dataset | keras.utils.PyDataset) -> dict[str, Any]:
    """Return structure, number of batches and digests of the first samples, one for each tensor.

    A digest does not depend on the order. It is `RANDOM` if the samples are others when they are
    read again. Of a `PyDataset`, the first batch is read.
    """
    if isinstance(data, keras.utils.PyDataset):
        first, again = (map(describe_array, tree.flatten(data[0])) for _ in range(2))
        return {"batches": len(data), "content": _common(first, again)}
    content, rows = _read_twice(data, _FIRST)
    batches = int(data.cardinality())
    # A random order matters unless all samples are read.
    if RANDOM in content and batches != tf.data.INFINITE_CARDINALITY:
        content, rows = _read_twice(data, _MOST)
        content = content if rows < _MOST else [RANDOM] * len(content)
    return {"structure": str(data.element_spec), "batches": batches, "content": content}


def has_content(description: Any) -> bool:
    """Return whether the content of data is known from their description, at least in part."""
    if isinstance(description, list):
        return all(map(has_content, description))
    if isinstance(description, Mapping):
        return any(part != RANDOM for part in description.get("content", ()))
    return description is None or isinstance(description, str)


def has_preprocessed_samples(description: Any) -> bool:
    """Return whether all teachers with a preprocessing were described by preprocessed samples."""
    if isinstance(description, Mapping):
        known = description.get(_PREPARED) != RANDOM
        return known and all(map(has_preprocessed_samples, description.values()))
    return not isinstance(description, list) or all(map(has_preprocessed_samples, description))


def read_samples(data: Any) -> Any:
    """Return the inputs of samples that are the same when data are read again, `None` without.

    Of a `tf.data.Dataset` they are those with the smallest digests among the first samples, so they
    do not depend on the order.
    """
    if isinstance(data, types.GeneratorType):
        return None
    if isinstance(data, tf.data.Dataset):
        return _read_samples_of_dataset(data)
    if isinstance(data, keras.utils.PyDataset):
        one, again = (_first_samples(data[0]) for _ in range(2))
        pairs = zip(tree.flatten(one), tree.flatten(again), strict=True)
        return one if all(np.array_equal(*map(np.asarray, pair)) for pair in pairs) else None
    return _first_samples(data)


def _first_samples(arrays: Any) -> Any:
    x = arrays[0] if isinstance(arrays, tuple) else arrays
    return tree.map_structure(lambda part: part[:_SAMPLES], unpack_batch(x)[0])


def _read_samples_of_dataset(data: tf.data.Dataset) -> Any:
    if not all(
        isinstance(s, tf.TensorSpec) and s.shape.rank for s in tree.flatten(input_specs(data))
    ):
        return None
    for limit in (_FIRST, _MOST):
        (x, digests), (_, again) = (_samples_by_digest(data, limit) for _ in range(2))
        if np.array_equal(digests, again):
            return x
    return None


def _samples_by_digest(data: tf.data.Dataset, limit: int) -> tuple[Any, np.ndarray]:
    """Return the samples with the smallest digests, and these in order."""
    chosen, found, rows = None, np.zeros(0, "int64"), 0
    for element in data:
        x = unpack_batch(keras.utils.unpack_x_y_sample_weight(element)[0])[0]
        digests = input_digests(x).numpy()
        rows += len(digests)
        x = tree.map_structure(lambda part: part.numpy(), x)
        if chosen is not None:
            x = tree.map_structure(lambda *parts: np.concatenate(parts), chosen, x)
        found = np.concatenate([found, digests])
        order = np.argsort(found, kind="stable")[:_SAMPLES]
        chosen, found = tree.map_structure(lambda part, at=order: part[at], x), found[order]
        if rows >= limit:
            break
    return chosen, found


def _array_spec(array: Any) -> keras.KerasTensor:
    array = np.asarray(array)
    dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
    return keras.KerasTensor((None, *array.shape[1:]), dtype)


def _read_twice(data: tf.data.Dataset, limit: int) -> tuple[list[str], int]:
    """Return the digests that are equal both times, and the number of samples."""
    first, rows = _sample_digests(data, limit)
    return _common(first, _sample_digests(data, limit)[0]), rows


def _common(one: Iterable[str], other: Iterable[str]) -> list[str]:
    return [a if a == b else RANDOM for a, b in zip(one, other, strict=True)]


def _sample_digests(data: tf.data.Dataset, limit: int) -> tuple[list[str], int]:
    """Return the digest of the first samples for each tensor, in any order, and their number."""

    def digest_rows(*element: Any) -> tuple[Any, ...]:
        parts = tf.nest.flatten(element, expand_composites=True)
        return tuple(input_digests(p if p.shape.rank else p[tf.newaxis]) for p in parts)

    found, rows = [], 0
    for parts in data.map(digest_rows):
        found.append([part.numpy() for part in parts])
        rows += len(found[-1][0])
        if rows >= limit:
            break
    columns = [np.sort(np.concatenate(column)) for column in zip(*found, strict=True)]
    return [bytes_digest(column.tobytes()) for column in columns], rows


def code_digest(code: types.CodeType) -> str:
    """Return the digest of a function's code, without its file and lines."""
    parts = [code.co_code.hex(), *code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(code_digest(constant))
        else:
            # The order of a set differs from process to process.
            is_set = isinstance(constant, frozenset)
            parts.append(repr(sorted(map(repr, constant)) if is_set else constant))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
