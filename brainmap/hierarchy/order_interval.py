"""Interval of a correlation with a known order, such as that of depth and T_max, or of distance and best layer.

T_max and best layers are maxima of noisy curves. Resampling blurs a mean that noise has blurred already. The bootstrap
of a resample shows by how much: what the second helping of noise does, relative to the first, tells what the first did
to the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmap.common.random_purposes import EXCHANGED_ERRORS, RESAMPLED_CELLS, SECOND_ERRORS
from brainmap.hierarchy.resampling import Resampling, mean_of, resampled_means

FloatArray = NDArray[np.float64]
# True correlations that are tried, evenly on Fisher's z scale where limits lie.
GRID = np.concatenate([[-1.0], np.tanh(np.linspace(-4.5, 4.5, 361)), [1.0]])


@dataclass(frozen=True, eq=False)
class Draws:
    """A statistic of a mean, and of the mean with resampled noise added once and twice.

    Attributes
    ----------
    value : ndarray, (n,)
        Statistic of the mean.
    once, twice : ndarray, (n_draws, n)
        At the mean plus one, and plus two independent bootstrap errors.
    """

    value: FloatArray
    once: FloatArray
    twice: FloatArray


def draw(rows: FloatArray, statistic: Callable[[FloatArray], FloatArray], resampling: Resampling) -> Draws:
    """Statistic of the mean of rows with resampled noise added once, and twice.

    Parameters
    ----------
    rows : ndarray, (n_cells, ...)
        Scores; NaN is ignored.
    statistic : callable
        Maps means (n_draws, ...) to values (n_draws, n).
    resampling : Resampling
        Number and seed; with none, or one cell, there are no draws.

    Returns
    -------
    Draws
        Value (n,), draws (n_draws, n); errors are enlarged by √(n / (n − 1)).
    """
    mean = mean_of(rows)
    value = np.asarray(statistic(mean[None]))[0]
    once, twice = [np.empty((0, *value.shape))], [np.empty((0, *value.shape))]
    for first, two in zip(_errors(rows, resampling), _errors(rows, resampling, SECOND_ERRORS), strict=True):
        once.append(np.asarray(statistic(mean + first)))
        twice.append(np.asarray(statistic(mean + first + two)))
    return Draws(value, np.concatenate(once), np.concatenate(twice))


def _errors(rows: FloatArray, resampling: Resampling, purpose: int = RESAMPLED_CELLS) -> Iterator[FloatArray]:
    """Bootstrap errors of the mean, enlarged by √(n / (n − 1)); (≤ n, ...) at a time."""
    if resampling.n and len(rows) > 1:
        mean, scale = mean_of(rows), np.sqrt(len(rows) / (len(rows) - 1.0))
        for means in resampled_means(rows, resampling, purpose):
            yield scale * (means - mean)


def order_interval(
    draws: Draws, reference: FloatArray, resampling: Resampling, *, rounding: float = 0.0
) -> tuple[float, float]:
    """Interval of the correlation with an exactly known order, which noise of the values pulls towards zero.

    Parameters
    ----------
    draws : Draws
        Noisy values (n,), such as T_max of layers, and their draws (n_draws, n); draws with a NaN are left out.
    reference : ndarray, (n,)
        What they are correlated with, such as the depth of the layers.
    resampling : Resampling
        Confidence and seed.
    rounding : float
        Step to which the true values are rounded (best layers are). Noise replaces rounding: its variance step² / 12
        (Sheppard) is not expected to remain in noisy values, and is unknown to them.

    Returns
    -------
    low, high : float
        The true correlations which, blurred by the noise, would give one as low or as high as that observed in more
        than (1 − confidence) / 2 of the cases. The noise is the first bootstrap step, times what that is of the second
        (root mean squares), and exchanged at random between values: the noise of one value, seen around its noisy self,
        is known too poorly. Near ±1 one limit is ±1 itself, and the interval covers more than it says.
    """
    values = draws.value
    if len(draws.once) == 0 or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return np.nan, np.nan
    known = np.asarray(np.isfinite(draws.once + draws.twice).all(axis=1))
    if known.sum() < len(known) / 2:
        return np.nan, np.nan
    first, second = (_centred(x[known]) for x in (draws.once - values, draws.twice - draws.once))
    total = np.sum(second**2)
    scale = np.sqrt(np.sum(first**2) / total) if total > 0 else 1.0
    upper = (1 + resampling.confidence) / 2
    rng = np.random.default_rng([resampling.seed, EXCHANGED_ERRORS])
    errors = scale * rng.permuted(first, axis=1)
    axis = _centred(reference) / np.linalg.norm(_centred(reference))
    along = rounding / np.sqrt(12) * rng.standard_normal(len(errors))
    shares = _share_below(_centred(values), axis, errors, along, (len(values) - 1) * rounding**2 / 12)
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
