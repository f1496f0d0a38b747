"""Intervals from resampled rows of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import RESAMPLED_CELLS

FloatArray = NDArray[np.float64]
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Parameters
    ----------
    n : int
        Resamples; 0 for none (intervals are then NaN).
    confidence : float
        Coverage.
    seed : int
        Seed.

    Examples
    --------
    >>> from brainmap.hierarchy import Resampling
    >>> Resampling(n=2000).confidence
    0.95
    """

    n: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 0 or not 0 < self.confidence < 1:
            raise InputError("Resampling needs n ≥ 0 and a confidence in (0, 1).")


def mean_of(rows: FloatArray, axis: int = 0) -> FloatArray:
    """Mean over an axis, the first by default, ignoring NaN; NaN where nothing is known."""
    known = np.isfinite(rows)
    count = known.sum(axis=axis)
    total = np.where(known, rows, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def spread_of(draws: FloatArray) -> FloatArray:
    """Standard deviation over the first axis, ignoring NaN: of draws, the bootstrap's standard error."""
    return np.asarray(np.sqrt(mean_of((draws - mean_of(draws)) ** 2)))


def resampled(rows: FloatArray, statistic: Callable[[FloatArray], FloatArray], resampling: Resampling) -> FloatArray:
    """Statistic of the mean over resampled rows.

    Parameters
    ----------
    rows : ndarray, (n_cells, ...)
        Scores; NaN is ignored.
    statistic : callable
        Maps means (n_draws, ...) to values (n_draws, ...).
    resampling : Resampling
        Number and seed.

    Returns
    -------
    ndarray, (n, ...)
    """
    parts = [np.asarray(statistic(means)) for means in resampled_means(rows, resampling)]
    return np.concatenate(parts) if parts else np.empty((0,))


def resampled_means(rows: FloatArray, resampling: Resampling) -> Iterator[FloatArray]:
    """Means over resampled rows, (≤ n, ...) at a time."""
    n = len(rows)
    rng = np.random.default_rng([resampling.seed, RESAMPLED_CELLS])
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=resampling.n).astype(np.float64)
    flat = rows.reshape(n, -1)
    known = np.isfinite(flat)
    filled = np.where(known, flat, 0.0)
    complete = bool(known.all())
    step = max(1, int(CHUNK_BYTES / (8 * flat.shape[1])))
    for start in range(0, resampling.n, step):
        w = weights[start : start + step]
        count = float(n) if complete else w @ known
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (w @ filled) / count
        yield means.reshape(len(w), *rows.shape[1:])


def interval(
    estimate: FloatArray | float, draws: FloatArray, n_units: int, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Bootstrap interval that allows for few units: the estimate ± t times the bootstrap's standard error.

    Parameters
    ----------
    estimate : float or ndarray
        Statistic of the data.
    draws : ndarray, (n_draws, ...)
        Statistic of the resamples; NaN draws are ignored.
    n_units : int
        Resampled units: a bootstrap of n units is too narrow by √((n − 1)/n), and a normal interval by the tails of t.
    confidence : float
        Coverage.

    Returns
    -------
    low, high : float or ndarray
        NaN where no draw is known.
    """
    value = np.asarray(estimate, dtype=np.float64)
    if len(draws) == 0 or n_units < 2:
        return np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    reach = np.sqrt(n_units / (n_units - 1)) * stats.t.ppf((1 + confidence) / 2, n_units - 1)
    half = reach * spread_of(draws)
    return value - half, value + half
