"""A rotated basis of the representation: the principal components, which the students mimic."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_kd.losses.distillation_loss import at_least_float32
from keras_kd.models.keras_compat import copy_mask
from keras_kd.teacher_class.chunks import make_chunks
from keras_kd.teacher_class.representation import Representation
from keras_kd.teachers.knowledge import unpack_batch


def split_representation(
    representation: Representation | None, chunks: Any, n: int | None, split: str, data: Any
) -> tuple[list[list[int]], "Basis | None"]:
    """Return the units (or components) of each chunk, and the basis of `split="pca"`.

    Args:
        representation: The representation. Without it, as for a model that is loaded from a file,
            `chunks` list their units, and the weights of the basis are loaded later.
        chunks: As for `TeacherClass`, like `n`, `split` and `data`.
        n: Number of chunks.
        split: How the units are split.
        data: Samples for the split.

    Raises:
        ValueError: If the chunks do not add up, or the split has no data.
    """
    if representation is None:
        return chunks, Basis(sum(map(len, chunks))) if split == "pca" else None
    if split != "pca":
        return make_chunks(representation, chunks, n, split, data), None
    if data is None:
        raise ValueError(
            "TeacherClass: split='pca' needs samples to compute the principal components of the "
            "teacher's representation. Pass them as `data`. Received: data=None"
        )
    basis = Basis(representation.units)
    variances = basis.fit(*representation.covariance(data))
    return make_chunks(representation, chunks, n, split, data, variances), basis


class Basis(keras.layers.Layer):
    """The mean of a representation and the rotation to its principal components.

    Both are fixed weights, so files and checkpoints of the students hold them.

    Args:
        units: Number of units of the representation.
    """

    def __init__(self, units: int) -> None:
        super().__init__(name="basis", dtype="float32", autocast=False, trainable=False)
        fixed = {"initializer": "zeros", "trainable": False, "aggregation": "only_first_replica"}
        self.mean = self.add_weight(shape=(units,), name="mean", **fixed)
        self.rotation = self.add_weight(shape=(units, units), name="rotation", **fixed)
        self.built = True

    def fit(self, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Set the basis; return the variance of each component, in decreasing order.

        Raises:
            ValueError: If a value is not finite.
        """
        if not np.isfinite(covariance).all():
            raise ValueError(
                "TeacherClass: split='pca' found NaN or infinite values in the teacher's "
                "representation of `data`. Pass samples without them."
            )
        variances, vectors = np.linalg.eigh(covariance)
        variances, vectors = variances[::-1], vectors[:, ::-1]
        # The sign of an eigenvector is arbitrary: choose it, so that each fit gives the same.
        signs = np.sign(np.cos(np.arange(1, len(mean) + 1)) @ vectors)
        self.mean.assign(mean)
        self.rotation.assign(vectors * np.where(signs == 0, 1, signs))
        return np.maximum(variances, 0)

    def require_fitted(self) -> None:
        """Reject a basis whose weights are not loaded.

        Raises:
            ValueError: If it has no rotation.
        """
        if not np.any(ops.convert_to_numpy(self.rotation)):
            raise ValueError(
                "TeacherClass: split='pca' has no principal components, because the ensemble was "
                "created from a config. Load its weights, or create it with a teacher and `data`."
            )

    def rotate(self, values: Any) -> Any:
        """Return the components (batch, ..., units) of the representation."""
        x = at_least_float32(values)
        mean, rotation = (ops.cast(weight, x.dtype) for weight in (self.mean, self.rotation))
        return copy_mask(values, ops.matmul(x - mean, rotation))

    def restore(self, components: Any) -> Any:
        """Return the representation of some components."""
        x = at_least_float32(components)
        mean, rotation = (ops.cast(weight, x.dtype) for weight in (self.mean, self.rotation))
        return copy_mask(components, ops.matmul(x, ops.transpose(rotation)) + mean)

    def restoring_layer(self) -> keras.layers.Layer:
        """Return a dense layer that computes `restore`, with weights of its own."""
        mean, rotation = (ops.convert_to_numpy(weight) for weight in (self.mean, self.rotation))
        layer = keras.layers.Dense(len(mean), name="rotation")
        layer.build((None, len(mean)))
        layer.set_weights([rotation.T, mean])
        return layer


def require_components(
    basis: Basis, representation: Representation, data: Any, chunks: Any, run: Callable[[Any], list]
) -> None:
    """Reject a student that was trained in another basis: its error is as large as of a constant.

    Args:
        basis: The basis of `data`.
        representation: The representation.
        data: Samples.
        chunks: The components of each student.
        run: A function from a batch to the output of each student, `None` if it is missing.

    Raises:
        ValueError: If a student does not reproduce its components.
    """
    errors, variances = np.zeros(representation.units), np.zeros(representation.units)
    for x in representation.batches(data):
        target = ops.convert_to_numpy(basis.rotate(representation(x))).astype("float64")
        found = np.zeros_like(target)
        for chunk, output in zip(chunks, run(unpack_batch(x)[0]), strict=True):
            found[..., chunk] = 0 if output is None else ops.convert_to_numpy(output)
        positions = tuple(range(target.ndim - 1))
        errors += np.square(target - found).sum(positions)
        variances += np.square(target).sum(positions)
    for number, chunk in enumerate(chunks):
        error, variance = errors[chunk], variances[chunk]
        # A component of opposite sign has about four times the error of a constant.
        opposite = (error > 2 * variance) & (variance > 0.01 * variance.sum())
        if error.sum() > variance.sum() or opposite.any():
            raise ValueError(
                f"TeacherClass.assemble_from: student {number} does not reproduce its principal "
                "components on `data`: it was trained with other `data`, `chunks` or `mimic`, or "
                "not at all. Pass those of its training, or None for the student. Received: "
                f"squared error {error.sum():.3g} at variance {variance.sum():.3g}"
            )


def rotated_means(basis: Basis | None, means: np.ndarray) -> np.ndarray:
    """Return the means of the units, or those of the components of a basis."""
    return means if basis is None else ops.convert_to_numpy(basis.rotate(means[None]))[0]
