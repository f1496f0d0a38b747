"""Decompositions that do not give up."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def left_singular(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Left singular vectors and singular values of a finite matrix.

    LAPACK's fast algorithm (divide and conquer) fails on rare matrices with many equal or vanishing singular values;
    the slower one (QR iteration) then takes over.

    Parameters
    ----------
    matrix : ndarray, (n, d)

    Returns
    -------
    left : ndarray, (n, min(n, d))
    singular : ndarray, (min(n, d),)
        Largest first.
    """
    try:
        left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:
        left, singular, _ = scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
    return left, singular
