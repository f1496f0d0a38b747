"""Intervals for peak times and their order, from a bootstrap of the bootstrap.

T_max is where a noisy curve happens to be highest. Resampling adds noise to a mean that has noise already, and a peak
that noise has blurred once moves more (or, on a plateau, less) when it is blurred again. The bootstrap of a resample
shows by how much: what the second helping of noise does, relative to the first, tells what the first did to the truth.
Where a peak is far off its error is often estimated large as well, so that the ratio of the two is not Student's: it is
bootstrapped too, with resamples in the place of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.hierarchy.resampling import CELL_PURPOSE, Resampling, mean_of, resampled_means

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
SECOND, WORLD, WORLD_FIRST, WORLD_SECOND = 53, 55, 56, 57
WORLDS, INNER = 200, 50  # resamples that take the place of the data, and how often each is resampled, twice over


@dataclass(frozen=True, eq=False)
class Draws:
    """A statistic of a mean, and of the mean with resampled noise added once and twice.

    Attributes
    ----------
    value : ndarray, (..., n)
        Statistic of the mean.
    once, twice : ndarray, (..., n_draws, n)
        At the mean plus one, and plus two independent bootstrap errors.
    """

    value: FloatArray
    once: FloatArray
    twice: FloatArray

    def map(self, change: Statistic) -> Draws:
        """Apply a function of the values, which are on the last axis."""
        return Draws(change(self.value), change(self.once), change(self.twice))

    def errors(self) -> FloatArray:
        """Standard errors S₁² / S₂, (..., n), S₁ / S₂ being that of all values together.

        S₁ is the root mean square distance of the first draws from the value, S₂ that of the second from the first;
        S₁² / S₂ continues the series backwards, to the distance of the value from the truth.
        """
        first = mean_of((self.once - self.value[..., None, :]) ** 2, axis=-2)
        second = mean_of((self.twice - self.once) ** 2, axis=-2)
        total = np.nansum(second, axis=-1, keepdims=True)
        ratio = np.nansum(first, axis=-1, keepdims=True) / np.where(total > 0, total, np.inf)
        return np.asarray(np.sqrt(first * ratio))


@dataclass(frozen=True, eq=False)
class Worlds:
    """What resampling does to a statistic of the data, and of resamples in their place.

    Attributes
    ----------
    draws : Draws
        Value (1 + n_worlds, n) and draws (1 + n_worlds, n_draws, n); the first are those of the data. All worlds share
        their bootstrap errors, whose own chance cancels in half widths.
    n_units : int
        Resampled cells or subjects.
    confidence : float
        Coverage.
    """

    draws: Draws
    n_units: int
    confidence: float = 0.95

    def map(self, change: Statistic) -> Worlds:
        """Apply a function of the values, which are on the last axis."""
        return replace(self, draws=self.draws.map(change))

    @property
    def value(self) -> FloatArray:
        """Statistic of the data, (n,)."""
        return self.draws.value[0]

    def half_widths(self) -> FloatArray:
        """Half the interval of every value, (n,): its standard error times the quantile of |resample − value| / error.

        The quantile is the mean over all values (one value's own is rough), and is enlarged by what Student's
        distribution adds to the normal one for few units. NaN without resamples.
        """
        errors = self.draws.errors()
        distance = np.abs(self.draws.value[1:] - self.value)
        ratios = np.divide(distance, errors[1:], out=np.full(distance.shape, np.nan), where=errors[1:] > 0)
        ratios = ratios[:, np.isfinite(ratios).any(axis=0)] if len(ratios) else ratios[:, :0]
        if ratios.size == 0:
            return np.where(errors[0] == 0, 0.0, np.nan)  # resamples that never differ
        upper = (1 + self.confidence) / 2
        few = float(stats.t.ppf(upper, self.n_units - 1) / stats.norm.ppf(upper))
        return few * float(np.nanquantile(ratios, self.confidence, axis=0).mean()) * errors[0]

    def interval(self) -> tuple[float, float, float]:
        """Interval and test of the only value: low, high, and two-sided p that the true value is zero.

        p is Student's, with the error that the interval implies: below 1 − confidence where it does not hold zero.
        """
        value, half = self.value[0], self.half_widths()[0]
        reach = stats.t.ppf((1 + self.confidence) / 2, self.n_units - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2.0 * stats.t.sf(reach * np.abs(value) / half, self.n_units - 1)
        return float(value - half), float(value + half), float(p)


def draw(rows: FloatArray, statistic: Statistic, resampling: Resampling) -> Draws:
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
    return _draws(mean_of(rows), _errors(rows, resampling), _errors(rows, resampling, SECOND), statistic)


def draw_worlds(rows: FloatArray, statistic: Statistic, resampling: Resampling) -> Worlds:
    """Resample the mean of rows, and its resamples likewise.

    Parameters
    ----------
    rows, statistic, resampling
        As in :func:`draw`; 200 resamples take the place of the data, and each is resampled 50 times, if there are as
        many.

    Returns
    -------
    Worlds
        Of the statistic.
    """
    many, few = (replace(resampling, n=min(n, resampling.n)) for n in (WORLDS, INNER))
    first, second = (list(_errors(rows, few, purpose)) for purpose in (WORLD_FIRST, WORLD_SECOND))
    mean = mean_of(rows)
    centres = [mean, *(mean + error for part in _errors(rows, many, WORLD) for error in part)]
    worlds = [_draws(centre, first, second, statistic) for centre in centres]
    value, once, twice = (np.stack([getattr(x, name) for x in worlds]) for name in ("value", "once", "twice"))
    return Worlds(Draws(value, once, twice), len(rows), resampling.confidence)


def _errors(rows: FloatArray, resampling: Resampling, purpose: int = CELL_PURPOSE) -> Iterator[FloatArray]:
    """Bootstrap errors of the mean, enlarged by √(n / (n − 1)); (≤ n, ...) at a time."""
    if resampling.n and len(rows) > 1:
        mean, scale = mean_of(rows), np.sqrt(len(rows) / (len(rows) - 1.0))
        for means in resampled_means(rows, resampling, purpose):
            yield scale * (means - mean)


def _draws(
    centre: FloatArray, first: Iterable[FloatArray], second: Iterable[FloatArray], statistic: Statistic
) -> Draws:
    value = np.asarray(statistic(centre[None]))[0]
    once, twice = [np.empty((0, *value.shape))], [np.empty((0, *value.shape))]
    for one, two in zip(first, second, strict=True):
        once.append(np.asarray(statistic(centre + one)))
        twice.append(np.asarray(statistic(centre + one + two)))
    return Draws(value, np.concatenate(once), np.concatenate(twice))
