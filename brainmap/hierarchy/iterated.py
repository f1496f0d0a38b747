"""Intervals for orders of peak times, from a bootstrap of the bootstrap.

T_max is where a noisy curve happens to be highest. Resampling adds noise to a mean that has noise already, and a peak
that noise has blurred once moves more (or, on a plateau, less) when it is blurred again. The bootstrap of a resample
shows by how much: what the second helping of noise does, relative to the first, tells what the first did to the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.hierarchy.resampling import Resampling, mean_of, resampled_means

FloatArray = NDArray[np.float64]
SECOND, EXCHANGE = 53, 54
# True correlations that are tried, evenly on Fisher's z scale where limits lie.
GRID = np.concatenate([[-1.0], np.tanh(np.linspace(-4.5, 4.5, 361)), [1.0]])


@dataclass(frozen=True, eq=False)
class Noise:
    """A statistic with resampled noise added once and twice.

    Attributes
    ----------
    once, twice : ndarray, (n_draws, ...)
        From :func:`iterated`.
    n_units : int
        Resampled cells or subjects.
    confidence : float
        Coverage.
    rounding : float
        Step on which the values lie (0 if they are continuous).
    seed : int
        Seed.
    """

    once: FloatArray
    twice: FloatArray
    n_units: int
    confidence: float = 0.95
    rounding: float = 0.0
    seed: int = 0

    def take(self, index: Any) -> Noise:
        """Noise of some of the values."""
        once, twice = (
            x[(slice(None), *(index if isinstance(index, tuple) else (index,)))] if len(x) else x
            for x in (self.once, self.twice)
        )
        return replace(self, once=once, twice=twice)

    def mean(self) -> Noise:
        """Noise of the mean of the values, NaN ignored."""
        once, twice = (mean_of(x.T) if len(x) else x for x in (self.once, self.twice))
        return replace(self, once=once, twice=twice)

    def project(self, weights: FloatArray) -> Noise:
        """Noise of a weighted sum of the values."""
        once, twice = (x @ weights if len(x) else x for x in (self.once, self.twice))
        return replace(self, once=once, twice=twice)


def iterated(
    rows: FloatArray, statistic: Callable[[FloatArray], FloatArray], resampling: Resampling
) -> tuple[FloatArray, FloatArray]:
    """Statistic of the mean with resampled noise added once, and twice.

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
    once, twice : ndarray, (n, ...)
        At the mean plus one, and plus two independent bootstrap errors; errors are enlarged by √(n / (n − 1)).
    """
    if resampling.n == 0 or len(rows) < 2:
        return np.empty((0,)), np.empty((0,))
    mean, scale = mean_of(rows), np.sqrt(len(rows) / (len(rows) - 1.0))
    once, twice = [], []
    for first, second in zip(resampled_means(rows, resampling), resampled_means(rows, resampling, SECOND), strict=True):
        blurred = mean + scale * (first - mean)
        once.append(np.asarray(statistic(blurred)))
        twice.append(np.asarray(statistic(blurred + scale * (second - mean))))
    return np.concatenate(once), np.concatenate(twice)


def iterated_interval(estimate: float, noise: Noise) -> tuple[float, float]:
    """Interval estimate ± t · S₁² / S₂, from the root mean squares of the first and the second step.

    Parameters
    ----------
    estimate : float
        Statistic of the data.
    noise : Noise
        Of the statistic, draws (n_draws,); NaN draws are ignored.

    Returns
    -------
    low, high : float
        S₁ is the root mean square distance of the resamples from the estimate, S₂ that of their resamples from them;
        S₁² / S₂ continues the series backwards, to the distance of the estimate from the truth.
    """
    steps = (noise.once - estimate) ** 2, (noise.twice - noise.once) ** 2
    if len(noise.once) == 0 or not all(np.isfinite(step).any() for step in steps):
        return np.nan, np.nan
    first, second = (float(np.sqrt(np.nanmean(step))) for step in steps)
    half = float(stats.t.ppf((1 + noise.confidence) / 2, noise.n_units - 1)) * first
    half *= first / second if second > 0 else 1.0
    return estimate - half, estimate + half


def layers_interval(estimates: FloatArray, noise: Noise) -> tuple[FloatArray, FloatArray]:
    """Interval of every value of a kind, such as the T_max of every layer.

    Parameters
    ----------
    estimates : ndarray, (n,)
        Values of the data.
    noise : Noise
        Of the values, draws (n_draws, n); NaN draws are ignored.

    Returns
    -------
    low, high : ndarray, (n,)
        Estimate ± t times the larger of the bootstrap's standard error and S₁² / S₂. S₁ / S₂ is that of all values
        together, and only widens: one value's own is too rough to make an interval narrower.
    """
    if len(noise.once) == 0:
        return np.full(estimates.shape, np.nan), np.full(estimates.shape, np.nan)
    spread = mean_of((noise.once - mean_of(noise.once)) ** 2)
    first, second = mean_of((noise.once - estimates) ** 2), mean_of((noise.twice - noise.once) ** 2)
    total = np.nansum(second)
    ratio = np.nansum(first) / total if total > 0 else 1.0
    half = np.sqrt(np.maximum(spread, first * ratio)) * stats.t.ppf((1 + noise.confidence) / 2, noise.n_units - 1)
    return estimates - half, estimates + half


def order_interval(values: FloatArray, reference: FloatArray, noise: Noise) -> tuple[float, float]:
    """Interval of the correlation with an exactly known order, which noise of the values pulls towards zero.

    Parameters
    ----------
    values, reference : ndarray, (n,)
        Noisy values (T_max of layers) and what they are correlated with (their depth).
    noise : Noise
        Of the values, draws (n_draws, n); draws with a NaN are left out. Noise replaces rounding: the variance
        step² / 12 (Sheppard) of the true values is not expected to remain in noisy ones, and is unknown to them.

    Returns
    -------
    low, high : float
        The true correlations which, blurred by the noise, would give one as low or as high as that observed in more
        than (1 − confidence) / 2 of the cases. The noise is the first bootstrap step, scaled as in
        :func:`iterated_interval` and exchanged at random between values: the noise of one value, seen around its noisy
        self, is known too poorly. Near ±1 one limit is ±1 itself, and the interval covers more than it says.
    """
    if len(noise.once) == 0 or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return np.nan, np.nan
    known = np.asarray(np.isfinite(noise.once + noise.twice).all(axis=1))
    if known.sum() < len(known) / 2:
        return np.nan, np.nan
    first, second = (_centred(x[known]) for x in (noise.once - values, noise.twice - noise.once))
    total = np.sum(second**2)
    scale = np.sqrt(np.sum(first**2) / total) if total > 0 else 1.0
    upper = (1 + noise.confidence) / 2
    scale *= stats.t.ppf(upper, noise.n_units - 1) / stats.norm.ppf(upper)
    rng = np.random.default_rng([noise.seed, EXCHANGE])
    errors = scale * rng.permuted(first, axis=1)
    axis = _centred(reference) / np.linalg.norm(_centred(reference))
    rounding = noise.rounding / np.sqrt(12) * rng.standard_normal(len(errors))
    shares = _share_below(_centred(values), axis, errors, rounding, (len(values) - 1) * noise.rounding**2 / 12)
    observed = float(_centred(values) @ axis / np.linalg.norm(_centred(values)))
    here = int(np.searchsorted(GRID, observed))
    high = _first_refused(GRID[here:], shares[here:], 1.0 - upper)
    low = -_first_refused(-GRID[:here][::-1], 1.0 - shares[:here][::-1], 1.0 - upper)
    return min(low, observed), max(high, observed)


def _first_refused(grid: FloatArray, shares: FloatArray, tail: float) -> float:
    """Where shares first fall to the tail, interpolated; the end of the range if they never do."""
    refused = np.flatnonzero(shares <= tail)
    if len(refused) == 0:
        return 1.0
    at = int(refused[0])
    if at == 0:
        return float(grid[0])
    part = (shares[at - 1] - tail) / (shares[at - 1] - shares[at])
    return float(grid[at - 1] + part * (grid[at] - grid[at - 1]))


def _share_below(
    values: FloatArray, axis: FloatArray, errors: FloatArray, rounding: FloatArray, rounded: float
) -> FloatArray:
    """For every true correlation on the grid, how often a noisy one falls below that observed.

    ``rounding`` are rounding errors along the axis, and ``rounded`` is their expected square off the axis.
    """
    along = float(values @ axis)
    rest = values - along * axis
    length = float(np.linalg.norm(rest))
    across = rest / length if length > 0 else rest
    noise_along, noise_across = errors @ axis, errors @ across
    noise_off = np.maximum(np.sum(errors**2, axis=1) - noise_along**2, 0.0)
    unbiased = np.sqrt(max(length**2 - float(np.mean(noise_off)), 0.0))
    turn = np.sqrt(1.0 - GRID**2)
    size = np.maximum(GRID * along + turn * unbiased, 0.0)  # the true order of this correlation nearest to the data
    x = (size * GRID)[:, None] + noise_along + rounding
    y = np.sqrt(np.maximum((size * turn) ** 2 - rounded, 0.0))[:, None]
    off = np.maximum(y**2 + 2.0 * y * noise_across + noise_off, 0.0)
    noisy = x / np.sqrt(np.maximum(x**2 + off, 1e-300))
    observed = along / np.hypot(along, length)
    shares: FloatArray = np.mean(noisy < observed, axis=1) + 0.5 * np.mean(noisy == observed, axis=1)
    return shares


def _centred(x: FloatArray) -> FloatArray:
    return x - x.mean(axis=-1, keepdims=True)
