"""Corrections of regression residuals for what the regression absorbed of the noise of each group of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
COMMON = np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
ABSORBED_FLOOR = 0.05  # of an eigenvalue, as a share of what the noise had there


def residual_corrections(removed: FloatArray, blocks: list[slice]) -> tuple[list[list[FloatArray]], FloatArray]:
    """Corrections of each block's residuals, for each strength t in ``COMMON`` of the noise common to a block.

    CR2 with a working covariance (Bell and McCaffrey 2002, Pustejovsky and Tipton 2018): noise of covariance
    ``C = I + t 11'`` in every block leaves residuals of covariance B there, which ``C^½ (C^½ B C^½)^(-½) C^½`` turns
    into C again. Without the common part U takes more from a block's mean than such a correction gives back.

    Parameters
    ----------
    removed : ndarray, (n, k)
        Orthonormal columns U that were regressed out.
    blocks : list of slice
        Groups of images, contiguous, covering all rows in order.

    Returns
    -------
    factors : list (strengths) of list (blocks) of ndarray
    ratio : ndarray, (n_strengths,)
        Expected squares of the blocks' summed residuals over those of all residuals: tells the strength.
    """
    sums = np.stack([removed[block].sum(axis=0) for block in blocks])
    inner = sums.T @ sums  # U' (block-diagonal 11') U
    factors: list[list[FloatArray]] = [[] for _ in COMMON]
    squares = np.zeros((2, len(COMMON)))
    for block, own in zip(blocks, sums, strict=True):
        u, ones = removed[block], np.ones((block.stop - block.start, block.stop - block.start))
        cross = np.repeat((u @ own)[:, None], len(ones), axis=1)
        apart, common = np.eye(len(ones)) - u @ u.T, ones - cross - cross.T + u @ inner @ u.T
        for number, strength in enumerate(COMMON):
            left = apart + strength * common
            root = _power(np.eye(len(ones)) + strength * ones, 0.5)
            factors[number].append(root @ _power(root @ left @ root, -0.5) @ root)
            squares[:, number] += left.sum(), np.trace(left)
    return factors, squares[0] / squares[1]


def _power(matrix: FloatArray, power: float) -> FloatArray:
    """Power of a symmetric matrix, its eigenvalues raised to a floor, for U leaves nothing there."""
    values, vectors = np.linalg.eigh(matrix)
    result: FloatArray = (vectors * np.maximum(values, ABSORBED_FLOOR) ** power) @ vectors.T
    return result
