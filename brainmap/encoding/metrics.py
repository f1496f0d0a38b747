"""Scores of explicit predictions, for estimators that the engine does not know."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONSTANT = 1e-13  # relative spread below which a prediction varies by rounding only


def pearson(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Return the correlation of matching columns; NaN where the truth is constant, 0 where the prediction is.

    Parameters
    ----------
    truth, prediction : array-like, shape (n_rows, n_targets)
    """
    a, b = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    constant = np.ptp(a, axis=0) == 0
    flat = b.var(axis=0) <= (CONSTANT * np.abs(b).max(axis=0, initial=0.0)) ** 2
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r = (a * b).sum(axis=0) / np.where(scale > 0, scale, 1.0)
    return np.where(constant, np.nan, np.where(flat, 0.0, r))


def r_squared(truth: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    """Return the coefficient of determination of matching columns; NaN where the truth is constant.

    Parameters
    ----------
    truth, prediction : array-like, shape (n_rows, n_targets)
    """
    a, b = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    constant = np.ptp(a, axis=0) == 0
    total = ((a - a.mean(axis=0)) ** 2).sum(axis=0)
    return np.where(constant, np.nan, 1.0 - ((a - b) ** 2).sum(axis=0) / np.where(constant, 1.0, total))
