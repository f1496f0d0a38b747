"""Symmetric matrices over images whose blocks of one group are zero and that annihilate given signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def remove(basis: FloatArray, x: FloatArray) -> FloatArray:
    """Project x onto the orthogonal complement of an orthonormal basis (twice: one pass leaves rounding errors).

    Parameters
    ----------
    basis : ndarray, (n, k)
        Orthonormal columns.
    x : ndarray, (n, d)
        What to project.

    Returns
    -------
    ndarray, (n, d)
    """
    for _ in range(2):
        x = x - basis @ (basis.T @ x)
    return x


def block_sums(matrix: FloatArray, blocks: Sequence[slice]) -> FloatArray:
    """Sum a matrix over pairs of blocks; pairs of a block with itself become zero.

    Parameters
    ----------
    matrix : ndarray, (n, n)
        Any matrix.
    blocks : sequence of slice
        Contiguous, covering all rows in order.

    Returns
    -------
    ndarray, (n_blocks, n_blocks)
    """
    starts = [block.start for block in blocks]
    sums: FloatArray = np.add.reduceat(np.add.reduceat(matrix, starts, axis=0), starts, axis=1)
    np.fill_diagonal(sums, 0.0)
    return sums


def hollow(
    matrix: FloatArray, basis: FloatArray, blocks: Sequence[slice], *, tolerance: float = 1e-5, max_iter: int = 500
) -> FloatArray:
    """Project a symmetric matrix M with ``M basis = 0`` onto those that also have zero diagonal blocks.

    Parameters
    ----------
    matrix : ndarray, (n, n)
        Symmetric, annihilating ``basis``.
    basis : ndarray, (n, k)
        Orthonormal columns U.
    blocks : sequence of slice
        Contiguous blocks, covering all rows in order.
    tolerance : float
        Relative size of the diagonal blocks at which the iteration stops.
    max_iter : int
        Most iterations.

    Returns
    -------
    ndarray, (n, n)
        ``M − R C R`` with ``R = I − U U'`` and C block-diagonal such that the diagonal blocks vanish: the nearest such
        matrix in Frobenius norm. C solves a positive semi-definite linear system, here by conjugate gradients; a step
        costs O(n k (k + block size)).
    """
    index = _padded_index(blocks)
    parts = np.where(index[..., None] >= 0, basis[index], 0.0)  # (blocks, largest block, k)
    valid = (index[:, :, None] >= 0) & (index[:, None, :] >= 0)
    residual = np.where(valid, matrix[index[:, :, None], index[:, None, :]], 0.0)
    solution, step = np.zeros_like(residual), residual.copy()
    size = first = float(np.vdot(residual, residual))
    for _ in range(max_iter):
        if size <= tolerance**2 * first:
            break
        image = _diagonal_blocks(parts, step)
        length = size / float(np.vdot(step, image))
        solution += length * step
        residual -= length * image
        size, previous = float(np.vdot(residual, residual)), size
        step = residual + size / previous * step
    full = np.zeros_like(matrix)
    for block, c in zip(blocks, solution, strict=True):
        width = block.stop - block.start
        full[block, block] = c[:width, :width]
    result = matrix - remove(basis, remove(basis, full).T)
    for block in blocks:
        result[block, block] = 0.0
    return result


def _padded_index(blocks: Sequence[slice]) -> NDArray[np.intp]:
    """Rows of each block, −1 beyond its end, (n_blocks, largest block): blocks then go through one batched product."""
    index = np.full((len(blocks), max(block.stop - block.start for block in blocks)), -1, dtype=np.intp)
    for row, block in zip(index, blocks, strict=True):
        row[: block.stop - block.start] = np.arange(block.start, block.stop)
    return index


def _diagonal_blocks(parts: FloatArray, c: FloatArray) -> FloatArray:
    """Diagonal blocks of R C R for a block-diagonal symmetric C, both as (n_blocks, size, size)."""
    flat = parts.reshape(-1, parts.shape[2])
    product = c @ parts
    middle = flat.T @ product.reshape(flat.shape)
    half = product @ parts.transpose(0, 2, 1)
    around = (flat @ middle).reshape(parts.shape) @ parts.transpose(0, 2, 1)
    blocks: FloatArray = c - half - half.transpose(0, 2, 1) + around
    return blocks
