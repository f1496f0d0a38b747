"""Intervals from resampled scores: cells of subject × fold, or whole subjects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from brainmap.errors import InputError

FloatArray = NDArray[np.float64]
Unit = Literal["cell", "subject"]
CELL_PURPOSE = 51
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Parameters
    ----------
    n : int
        Resamples; 0 for none (intervals are then NaN).
    over : {'cell', 'subject'}
        'cell': subject × fold scores are exchanged freely; the interval speaks about measurement noise, for these
        subjects. 'subject': whole subjects; it also speaks about other subjects, and needs several.
    confidence : float
        Coverage.
    seed : int
        Seed.
    """

    n: int = 1000
    over: Unit = "cell"
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 0 or not 0 < self.confidence < 1 or self.over not in ("cell", "subject"):
            raise InputError("Resampling needs n ≥ 0, a confidence in (0, 1), and over='cell' or 'subject'.")


def cells(scores: xr.DataArray, *rest: str, over: Unit = "cell") -> FloatArray:
    """Bring scores to (n_cells, *rest), one row per subject × fold (or per subject, averaged over folds).

    Raises
    ------
    InputError
        If a dimension is missing or unexpected.
    """
    extra = [d for d in scores.dims if d not in ("subject", "split", *rest)]
    absent = [d for d in rest if d not in scores.dims]
    if extra or absent:
        raise InputError(f"Scores must have dims among subject, split, {', '.join(rest)}; got {tuple(scores.dims)}.")
    if over == "subject" and "split" in scores.dims:
        scores = scores.mean("split", skipna=True)
    first = [d for d in ("subject", "split") if d in scores.dims]
    ordered = scores.transpose(*first, *rest).values.astype(np.float64)
    return ordered.reshape(-1, *ordered.shape[len(first) :])


def mean_of(rows: FloatArray) -> FloatArray:
    """Mean over the first axis, ignoring NaN; NaN where nothing is known."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


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
    n = len(rows)
    rng = np.random.default_rng([resampling.seed, CELL_PURPOSE])
    weights = rng.multinomial(n, np.full(n, 1.0 / n), size=resampling.n).astype(np.float64)
    flat = rows.reshape(n, -1)
    known = np.isfinite(flat)
    filled = np.where(known, flat, 0.0)
    complete = bool(known.all())
    step = max(1, int(CHUNK_BYTES / (8 * flat.shape[1])))
    parts = []
    for start in range(0, resampling.n, step):
        w = weights[start : start + step]
        count = float(n) if complete else w @ known
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (w @ filled) / count
        parts.append(np.asarray(statistic(means.reshape(len(w), *rows.shape[1:]))))
    return np.concatenate(parts) if parts else np.empty((0,))


def interval(
    estimate: FloatArray | float,
    draws: FloatArray,
    n_units: int,
    confidence: float = 0.95,
    *,
    correlation: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Bootstrap interval that allows for few units, and for the bias of correlations.

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
    correlation : bool
        The statistic is a correlation of orders; it is handled on Fisher's z scale.

    Returns
    -------
    low, high : ndarray
        Latencies and slopes: estimate ± t times the bootstrap's standard error. Correlations: expanded percentiles
        (Hesterberg 2015) joined with their reflection about the estimate, and widened by the shift of the resamples'
        mean: noise pulls correlations of orders towards zero, in the data and once more in the resamples, so that
        either interval alone misses (measured: ``docs/statistics.md``).
    """
    value = np.asarray(estimate, dtype=np.float64)
    if len(draws) == 0 or n_units < 2:
        return np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    reach = np.sqrt(n_units / (n_units - 1)) * stats.t.ppf((1 + confidence) / 2, n_units - 1)
    known = np.isfinite(draws)
    nothing = ~known.any(axis=0)  # where no draw is known, nothing is known of the interval either
    draws = np.where(nothing, 0.0, draws)
    if not correlation:
        half = np.where(nothing, np.nan, reach * np.nanstd(draws, axis=0))
        return value - half, value + half
    z, drawn = (np.arctanh(np.clip(x, -0.999999, 0.999999)) for x in (value, draws))
    tail = float(stats.norm.sf(reach))
    low, high = np.nanquantile(drawn, [tail, 1.0 - tail], axis=0)
    bias = np.where(nothing, np.nan, np.abs(np.nanmean(drawn, axis=0) - z))
    return np.tanh(np.minimum(low, 2 * z - high) - bias), np.tanh(np.maximum(high, 2 * z - low) + bias)
