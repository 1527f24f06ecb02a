"""Specifications of inputs: shapes, dtypes, and whether they are single samples or batches."""

from collections.abc import Sequence
from typing import Any

from keras import tree

from keras_kd.models.keras_compat import unwrap_message
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.knowledge import CacheError

Inputs = tuple[tuple[tuple[int | None, ...], str], ...]
#: Errors of a preprocessing that gets a batch of another form than it expects.
_PREPROCESSING_ERRORS = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    NotImplementedError,
)


def sample_inputs(x: Any, batched: bool) -> Inputs:
    """Return the shape and dtype of each tensor of one sample."""
    parts = tree.flatten(x)
    return tuple(
        (tuple(part.shape)[1 if batched else 0 :], getattr(part.dtype, "name", part.dtype))
        for part in parts
    )


def input_names(x: Any) -> tuple[str, ...] | None:
    """Return the keys of a sample's inputs, in the order of `sample_inputs`; `None` without any."""
    return tuple(sorted(x)) if isinstance(x, dict) else None


def select_stored(x: Any, names: Sequence[str] | None, owner: str) -> Any:
    """Return the inputs that a cache was built with, from samples that may have more.

    Raises:
        CacheError: If one is missing.
    """
    if names is None or not isinstance(x, dict):
        return x
    missing = [name for name in names if name not in x]
    if missing:
        raise CacheError(
            f"{owner}: it was built with the inputs {list(names)}, so the samples need {missing}. "
            f"Received: inputs {sorted(x)}"
        )
    return {name: x[name] for name in names}


def is_batched(x: Any, inputs: Inputs, owner: str) -> bool:
    """Return whether inputs are batches of the given samples or single samples.

    Raises:
        CacheError: If they are neither.
    """
    from keras_kd.cache.keys import check_dense

    check_dense(x, owner)
    has_axis = all(part.shape.rank for part in tree.flatten(x))
    if has_axis and _are_compatible(sample_inputs(x, batched=True), inputs):
        return True
    if _are_compatible(sample_inputs(x, batched=False), inputs):
        return False
    raise CacheError(
        f"{owner}: the inputs of one sample must be {_format(inputs)}, as when the cache was "
        f"built, or batches of them. Received: {_format(sample_inputs(x, False))}"
    )


def takes_batches(teachers: Sequence[BaseTeacher], x: Any) -> bool:
    """Return whether a data set's inputs are batches for the teachers or single samples.

    Raises:
        CacheError: If the teachers accept neither.
    """
    from keras_kd.cache.keys import check_dense

    check_dense(x, "KnowledgeCache.build")
    for teacher in teachers:
        teacher.check_batch(x)
    first = teachers[0].parts[0]
    failures, prepared = [], None
    for batched, batch in ((True, x), (False, tree.map_structure(_add_batch_axis, x))):
        try:
            prepared = _prepare(first, batch)
        except _PREPROCESSING_ERRORS as error:
            failures.append(error)
        else:
            if _accepts(first, batch, prepared):
                return batched
    raise CacheError(_not_accepted_message(first, x, prepared, failures)) from (
        failures[0] if failures else None
    )


def _add_batch_axis(spec: Any) -> Any:
    import tensorflow as tf

    return tf.TensorSpec((None, *spec.shape), spec.dtype)


def _prepare(teacher: BaseTeacher, x: Any) -> Any:
    """Return the specification of a batch after the preprocessing of a teacher."""
    if teacher.preprocessing is None:
        return x
    import tensorflow as tf

    prepare = tf.function(teacher.preprocessing, autograph=False)
    return prepare.get_concrete_function(x).structured_outputs


def _accepts(teacher: BaseTeacher, x: Any, prepared: Any) -> bool:
    """Return whether `x` is a batch for a teacher, to which its preprocessing gives `prepared`.

    A preprocessing that reshapes may also take a single sample for a batch, of another size.
    """
    inputs = teacher.inputs
    parts = None if inputs is None else inputs.parts(prepared, f"Teacher '{teacher.name}'")
    if parts is None:
        return all(part.shape.rank and part.shape[0] is None for part in tree.flatten(prepared))
    return (
        len(parts) == len(inputs.shapes)
        and _have_one_size([*tree.flatten(x), *parts])
        and all(
            part.shape.is_compatible_with((None, *shape[1:]))
            for part, shape in zip(parts, inputs.shapes, strict=True)
        )
    )


def _have_one_size(parts: Sequence[Any]) -> bool:
    """Return whether all tensors may have the same number of samples."""
    if any(part.shape.rank == 0 for part in parts):
        return False
    sizes = {part.shape[0] for part in parts if part.shape.rank}
    return len(sizes - {None}) <= 1


def _not_accepted_message(
    teacher: BaseTeacher, x: Any, prepared: Any, failures: Sequence[Exception]
) -> str:
    """Return why a teacher accepts `x` neither as a batch nor as a single sample."""
    received = f"Received: x of {_describe(x)}"
    if prepared is None:
        kind = type(failures[0]).__name__
        cause = unwrap_message(failures[0]).strip().splitlines()[-1].strip()
        entry = f", such as preprocessing=lambda x: layer(x[{min(x)!r}])"
        return (
            f"KnowledgeCache.build: the `preprocessing` of teacher '{teacher.name}' raises {kind} "
            "for x as batches and as single samples. Write one that takes a batch of the whole x"
            f"{entry if isinstance(x, dict) else ''}. {received}. Cause: "
            f"{cause.removeprefix(f'{kind}: ')}"
        )
    if teacher.preprocessing is not None:
        received += f", which the `preprocessing` turns into {_describe(prepared)}"
    return (
        f"KnowledgeCache.build: teacher '{teacher.name}' takes batches of shape "
        f"{teacher.inputs.shapes}, so the data set must return x, (x, y) or (x, y, "
        f"sample_weight) with such x, as single samples or batches. {received}"
    )


def _describe(x: Any) -> str:
    """Return the dtypes and shapes of tensors, by key if they are in a dict."""
    if isinstance(x, dict):
        return ", ".join(f"{key}: {_describe(part)}" for key, part in x.items())
    return ", ".join(f"{part.dtype.name} {tuple(part.shape)}" for part in tree.flatten(x))


def _are_compatible(one: Inputs, other: Inputs) -> bool:
    return len(one) == len(other) and all(
        a[1] == b[1] and len(a[0]) == len(b[0]) and all(map(_fits, a[0], b[0]))
        for a, b in zip(one, other, strict=True)
    )


def _fits(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _format(inputs: Inputs) -> str:
    return ", ".join(f"{dtype} {shape}" for shape, dtype in inputs)
