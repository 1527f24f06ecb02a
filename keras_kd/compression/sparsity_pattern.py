"""Patterns of zeros: single weights, blocks, or m zeros in each n consecutive weights."""

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_kd.compression.kernels import Kernel

_POOLINGS = ("avg", "max")


@dataclass(frozen=True)
class SparsityPattern:
    """Which weights become zero together.

    Attributes:
        target: The fraction of zeros in a kernel, `None` with `m_by_n`.
        m_by_n: Zeros in each n consecutive weights along the input channels, or `None`.
        block_size: Height (input channels) and width (output channels) of a block.
        block_pooling: The magnitude of a block, `"avg"` or `"max"`.
    """

    target: float | None
    m_by_n: tuple[int, int] | None
    block_size: tuple[int, int]
    block_pooling: str

    def obstacle(self, kernel: Kernel) -> str:
        """Return why a kernel cannot have the pattern; empty if it can."""
        if self.m_by_n is not None and kernel.inputs is None:
            return "m of n requires a layer with input channels"
        if self.block_size != (1, 1) and _matrix_axes(kernel) is None:
            return "blocks require a matrix, or a layer with input channels"
        return ""

    def mask(self, kernel: Kernel, weights: Any, sparsity: Any) -> Any:
        """Return which weights of a kernel remain.

        Args:
            kernel: The kernel.
            weights: Its weights.
            sparsity: The fraction of zeros, a scalar of float32; not used with `m_by_n`.
        """
        magnitudes = ops.abs(weights)
        if self.m_by_n is None and self.block_size == (1, 1):
            return _keep_largest(magnitudes, sparsity)
        order = [axis for axes in _matrix_axes(kernel) for axis in axes]
        transposed = ops.transpose(magnitudes, order)
        sizes = [math.prod(magnitudes.shape[a] for a in axes) for axes in _matrix_axes(kernel)]
        matrices = ops.reshape(transposed, sizes)
        kept = self._mask_m_by_n(matrices) if self.m_by_n else self._mask_blocks(matrices, sparsity)
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return ops.transpose(ops.reshape(kept, transposed.shape), inverse)

    def _mask_m_by_n(self, matrices: Any) -> Any:
        """Return which weights of matrices of shape (number, inputs, outputs) remain."""
        zeros, length = self.m_by_n
        number, inputs, outputs = matrices.shape
        rows = ops.transpose(matrices, (0, 2, 1))
        rows = ops.pad(rows, [[0, 0], [0, 0], [0, -inputs % length]])
        largest = ops.top_k(ops.reshape(rows, (-1, length)), length - zeros, sorted=False)[1]
        kept = ops.sum(ops.one_hot(largest, length, dtype="int32"), axis=1) > 0
        kept = ops.reshape(kept, (number, outputs, -1))[:, :, :inputs]
        return ops.transpose(kept, (0, 2, 1))

    def _mask_blocks(self, matrices: Any, sparsity: Any) -> Any:
        """Return which weights of matrices of shape (number, inputs, outputs) remain."""
        height, width = self.block_size
        _, rows, columns = matrices.shape
        magnitudes = _pool(matrices, self.block_size, ops.max)
        if self.block_pooling == "avg":
            sizes = _pool(ops.ones_like(matrices[:1]), self.block_size, ops.sum)
            magnitudes = _pool(matrices, self.block_size, ops.sum) / sizes
        kept = _keep_largest(magnitudes, sparsity)
        kept = ops.repeat(ops.repeat(kept, height, axis=1), width, axis=2)
        return kept[:, :rows, :columns]


def as_pattern(sparsity: Any, block_size: Any, block_pooling: str) -> SparsityPattern:
    """Return the pattern of the arguments of `prune`.

    Raises:
        ValueError: If an argument is out of range, or there are two structures.
    """
    m_by_n = isinstance(sparsity, tuple | list)
    if m_by_n:
        valid = len(sparsity) == 2 and all(isinstance(x, int) for x in sparsity)
        valid = valid and 0 < sparsity[0] < sparsity[1]
    else:
        valid = isinstance(sparsity, int | float) and 0 <= sparsity < 1
    if not valid:
        raise ValueError(
            "`sparsity` must be a fraction in [0, 1), or (m, n) with 0 < m < n for m zeros in each "
            f"n consecutive weights. Received: sparsity={sparsity!r}"
        )
    blocks = tuple(block_size)
    if len(blocks) != 2 or not all(isinstance(x, int) and x > 0 for x in blocks):
        raise ValueError(
            f"`block_size` must be a height and a width. Received: block_size={block_size!r}"
        )
    if m_by_n and blocks != (1, 1):
        raise ValueError(
            "Choose one structure: blocks, or m zeros in each n weights. "
            f"Received: sparsity={sparsity}, block_size={block_size}"
        )
    if block_pooling not in _POOLINGS:
        raise ValueError(
            f"`block_pooling` must be one of {_POOLINGS}. Received: block_pooling={block_pooling!r}"
        )
    target = None if m_by_n else float(sparsity)
    return SparsityPattern(target, tuple(sparsity) if m_by_n else None, blocks, block_pooling)


def _matrix_axes(kernel: Kernel) -> tuple[tuple[int, ...], ...] | None:
    """Return the axes of a kernel that count, form the rows, and form the columns of matrices."""
    rank = len(kernel.variable.shape)
    if kernel.inputs is None:
        return ((), (0,), (1,)) if rank == 2 else None
    matrix = (*kernel.inputs, *kernel.outputs)
    return tuple(a for a in range(rank) if a not in matrix), kernel.inputs, kernel.outputs


def _keep_largest(magnitudes: Any, sparsity: Any) -> Any:
    """Return where magnitudes are among the largest, as tensorflow-model-optimization counts."""
    size = math.prod(magnitudes.shape)
    kept = ops.maximum(ops.round(ops.cast(size, "float32") * (1 - sparsity)), 1)
    ordered = ops.sort(ops.reshape(magnitudes, (-1,)))
    return magnitudes >= ops.take(ordered, size - ops.cast(kept, "int32"))


def _pool(matrices: Any, block_size: tuple[int, int], reduce: Any) -> Any:
    """Reduce each block of matrices of magnitudes; blocks at an edge may be smaller."""
    (height, width), (number, rows, columns) = block_size, matrices.shape
    padded = ops.pad(matrices, [[0, 0], [0, -rows % height], [0, -columns % width]])
    shape = (number, -(-rows // height), height, -(-columns // width), width)
    return reduce(ops.reshape(padded, shape), axis=(2, 4))
