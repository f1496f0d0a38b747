"""Intervals for peak times, their order and their lag: a studentised bootstrap with normal noise.

T_max is where a noisy curve happens to be highest. Noise that is added to the mean shows how far it moves, but not
rightly: a peak that noise has blurred once moves more, on a plateau less, when it is blurred again, and where a peak is
far off its error is often estimated large as well. So data are drawn from a truth that looks like the data without
their noise, everything is estimated anew, and there one sees how many errors an estimate is from its truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from brainmap.common import random_purposes
from brainmap.hierarchy.resampling import Resampling, mean_of

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
DATA_SETS, DRAWS = 200, 100  # data drawn in place of the data, and means drawn in each


@dataclass(frozen=True, eq=False)
class DataSets:
    """A statistic of the data, and of data drawn from a known truth, each with what noise does to it.

    Attributes
    ----------
    estimate, draws : ndarray, (n,), (n_draws, n)
        Of the data; at their mean plus noise with the covariance of their cells.
    truth : ndarray, (n,)
        Of the truth from which data sets are drawn.
    estimates, data_set_draws : ndarray, (n_data_sets, n), (n_data_sets, n_draws, n)
        Of each data set; at its mean plus noise with the covariance of its own cells.
    n_units : int
        Cells or subjects.
    confidence : float
        Coverage.
    """

    estimate: FloatArray
    draws: FloatArray
    truth: FloatArray
    estimates: FloatArray
    data_set_draws: FloatArray
    n_units: int
    confidence: float = 0.95

    def map(self, change: Statistic) -> DataSets:
        """Apply a function of the values, which are on the last axis."""
        return DataSets(
            change(self.estimate),
            change(self.draws),
            change(self.truth),
            change(self.estimates),
            change(self.data_set_draws),
            self.n_units,
            self.confidence,
        )

    def half_widths(self) -> FloatArray:
        """Half the interval of every value, (n,): its standard error times the quantile of |estimate − truth| / error.

        The error is the standard deviation of draws; the quantile is that of the data sets, at the rank of a Monte
        Carlo test, and its mean over all values is used, for one value's own is rough. NaN without draws.
        """
        return self._reach(self._ratios())

    def limits(self, *, centred: bool = False) -> tuple[FloatArray, FloatArray]:
        """Interval of every value: low and high, (n,).

        Parameters
        ----------
        centred : bool
            Move it by the median of (estimate − truth) / error in the data sets, mean over all values: for a statistic
            that noise shifts to one side.
        """
        ratios, shift = self._ratios(), np.zeros(self.estimate.shape)
        if centred and ratios.size:
            middle = float(np.nanmedian(ratios, axis=0).mean())
            ratios, shift = ratios - middle, middle * _spread(self.draws)
        half = self._reach(ratios)
        return self.estimate - shift - half, self.estimate - shift + half

    def _ratios(self) -> FloatArray:
        """(estimate − truth) / error in every data set, (n_data_sets, n), of values that are known in some."""
        errors, distance = _spread(self.data_set_draws), self.estimates - self.truth
        ratios = np.divide(distance, errors, out=np.full(distance.shape, np.nan), where=errors > 0)
        return ratios[:, np.isfinite(ratios).any(axis=0)] if len(ratios) else ratios[:, :0]

    def _reach(self, ratios: FloatArray) -> FloatArray:
        own, n = _spread(self.draws), len(ratios)
        if ratios.size == 0:
            return np.where(own == 0, 0.0, np.nan)  # draws that never differ
        rank = min(int(np.ceil((n + 1) * self.confidence)), n)
        return np.asarray(np.nanquantile(np.abs(ratios), (rank - 1) / max(n - 1, 1), axis=0).mean() * own)

    def interval(self) -> tuple[float, float, float]:
        """Interval and test of the only value: low, high, and two-sided p that the true value is zero.

        p is Student's, with the error that the interval implies: below 1 − confidence where it does not hold zero.
        """
        value, half = self.estimate[0], self.half_widths()[0]
        reach = stats.t.ppf((1 + self.confidence) / 2, self.n_units - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2.0 * stats.t.sf(reach * np.abs(value) / half, self.n_units - 1)
        return float(value - half), float(value + half), float(p)


def draw_data_sets(rows: FloatArray, truth: FloatArray, statistic: Statistic, resampling: Resampling) -> DataSets:
    """Draw data like the rows from a truth, and the noise of every mean.

    Parameters
    ----------
    rows : ndarray, (n_cells, ...)
        Scores; NaN is ignored.
    truth : ndarray, (...)
        What takes the place of the unknown noiseless mean.
    statistic : callable
        Maps means (n_draws, ...) to values (n_draws, n).
    resampling : Resampling
        Seed and confidence; 200 data sets with 100 draws each, or ``n`` if that is less.

    Returns
    -------
    DataSets
        Of the statistic. For a linear one the interval is Student's, but for the chance of drawing: noise is normal,
        with the covariance of the cells, and so is that of each data set's cells. (Means over the 15 cells of three
        subjects and five folds nearly are normal; cells drawn with replacement repeat, and few of them hardly vary.)
    """
    off, n = _deviations(rows), len(rows)
    n_draws, n_data_sets = (min(most, resampling.n) if n > 1 else 0 for most in (DRAWS, DATA_SETS))
    rng = np.random.default_rng([resampling.seed, random_purposes.DATA_SETS])
    directions = rng.standard_normal((n_draws, n)) / np.sqrt(max(n * (n - 1.0), 1.0))

    def around(centre: FloatArray, cells: FloatArray) -> FloatArray:
        means = centre + _combined(directions @ (cells - cells.mean(axis=0)), off)
        return np.asarray(statistic(np.concatenate([centre[None], means])))

    data = around(mean_of(rows), np.eye(n))
    data_sets = [around(truth + _combined(cells.mean(axis=0), off), cells) for cells in _cells(rng, n, n_data_sets)]
    every = np.stack(data_sets) if data_sets else np.empty((0, *data.shape))
    expected = np.asarray(statistic(truth[None]))[0]
    return DataSets(data[0], data[1:], expected, every[:, 0], every[:, 1:], n, resampling.confidence)


def _cells(rng: np.random.Generator, n: int, n_data_sets: int) -> Iterator[FloatArray]:
    """Cells of data sets as combinations (n, n) of the deviations of the data's cells, with their covariance."""
    for _ in range(n_data_sets):
        yield rng.standard_normal((n, n)) / np.sqrt(n - 1.0)


def _deviations(rows: FloatArray) -> FloatArray:
    """Deviations from the mean, (n_cells, ...); 0 where unknown, and enlarged for what fewer cells know less well."""
    known = np.isfinite(rows)
    n, count = len(rows), known.sum(axis=0)
    scale = np.sqrt(n * (n - 1.0) / np.maximum(count * (count - 1.0), 1.0))
    return np.asarray(np.where(known, rows - mean_of(rows), 0.0) * scale)


def _combined(weights: FloatArray, rows: FloatArray) -> FloatArray:
    return np.asarray((weights @ rows.reshape(len(rows), -1)).reshape(*weights.shape[:-1], *rows.shape[1:]))


def _spread(draws: FloatArray) -> FloatArray:
    """Standard deviation over the last axis but one, ignoring NaN."""
    middle = mean_of(draws, axis=-2)[..., None, :]
    return np.asarray(np.sqrt(mean_of((draws - middle) ** 2, axis=-2)))
