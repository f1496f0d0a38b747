"""The unit of replication of an order: subjects where there are five or more, else the folds of these subjects.

*Five subjects or more*: the statistic of the subjects' mean scores over its standard error, in Student's t. The error
is the larger of two: from the spread of single subjects' statistics, and from leaving out each subject in turn (the
jackknife; Miller, Patterson and Ulrich 1998, for latencies). Peaks of single subjects are noisy: their spread alone is
too small where a layer peaks anywhere in all of them. Random are the subjects; the photographs are held fixed.

*Fewer*: the same over folds (mean over subjects), with the mean of the two variances (the larger would call hardly
anything), enlarged for folds that share training data as in :func:`brainmap.statistics.tests_of_means.folds_t`. A fold
is a group of photographs that no other fold tests; random are the photographs, and the result holds for these subjects.

Subject × fold is no unit: subjects who saw the same photographs share what these did by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from brainmap.common.errors import InputError
from brainmap.hierarchy.resampling import mean_of
from brainmap.statistics.tests_of_means import LEAST, sign_flip_p

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]
LEAST_SUBJECTS, LEAST_FLIPPED = 5, 6
HOW = {
    "subjects": "two-sided t test of the {what} over {n} subjects (standard error: from their spread or the jackknife, "
    "the larger), the photographs held fixed",
    "folds": "two-sided t test of the {what} over {n} folds (groups of photographs; standard error: from their spread "
    "and the jackknife), for these subjects",
    "": "no p: an order needs 5 subjects or 3 folds",
}


@dataclass(frozen=True)
class OverUnits:
    """A statistic with its test and interval over units of replication.

    Attributes
    ----------
    value, low, high : float
        Statistic of the mean over units, and its interval, NaN without replication.
    p : float
        Two-sided p of zero.
    flip_p : float
        The same by flipping the signs of subjects' statistics, from six subjects on; else NaN.
    unit : {'subjects', 'folds', ''}
        What is replicated, '' where nothing is.
    n_units : int
        How many.
    """

    value: float
    low: float
    high: float
    p: float
    flip_p: float
    unit: str
    n_units: int

    def how(self, what: str) -> str:
        """Say how p was made, for a statistic of this name."""
        return HOW[self.unit].format(n=self.n_units, what=what)


def unit_scores(scores: xr.DataArray, *rest: str) -> tuple[FloatArray, str]:
    """Average scores to one row per unit of replication.

    Parameters
    ----------
    scores : xr.DataArray
        Dims among subject and split, and ``rest``.
    *rest : str
        Dimensions of a row, in this order.

    Returns
    -------
    rows : ndarray, (n_units, ...)
    unit : {'subjects', 'folds', ''}
        '' where there are fewer than five subjects and three folds: the only row is then the mean.

    Raises
    ------
    InputError
        If a dimension is missing or unexpected.
    """
    extra = [d for d in scores.dims if d not in ("subject", "split", *rest)]
    absent = [d for d in rest if d not in scores.dims]
    if extra or absent:
        raise InputError(f"Scores must have dims among subject, split, {', '.join(rest)}; got {tuple(scores.dims)}.")
    size = {name: scores.sizes.get(name, 1) for name in ("subject", "split")}
    first, *others = rest
    unit, n, axis = "", 1, -1
    if size["subject"] >= LEAST_SUBJECTS:
        unit, n, axis = "subjects", size["subject"], 1
    elif size["split"] >= LEAST["folds"]:
        unit, n, axis = "folds", size["split"], 0
    rows = np.empty((n, *(scores.sizes[dim] for dim in rest)))
    for place in range(scores.sizes[first]):  # one layer is read at a time
        part = scores.isel({first: place}).load()
        part = part.expand_dims([d for d in size if d not in part.dims]).transpose("subject", "split", *others)
        cells = part.values.astype(np.float64)
        rows[:, place] = mean_of(cells.reshape(-1, *cells.shape[2:]))[None] if axis < 0 else mean_of(cells, axis)
    return rows, unit


def over_units(rows: FloatArray, statistic: Statistic, unit: str, confidence: float = 0.95) -> OverUnits:
    """Test a statistic against zero.

    Parameters
    ----------
    rows : ndarray, (n_units, ...)
        From :func:`unit_scores`.
    statistic : callable
        Maps scores (m, ...) to m numbers.
    unit : {'subjects', 'folds', ''}
        From :func:`unit_scores`.
    confidence : float
        Coverage of the interval.
    """
    return tested_over_units(statistic(variants(rows, unit)), len(rows), unit, confidence)


def variants(rows: FloatArray, unit: str) -> FloatArray:
    """Rows of which :func:`tested_over_units` needs the statistic: each unit, their mean, and means without each."""
    if not unit:
        return rows
    return np.concatenate([rows, mean_of(rows)[None], _without_each(rows)])


def tested_over_units(values: FloatArray, n: int, unit: str, confidence: float = 0.95) -> OverUnits:
    """Test a statistic of the :func:`variants` of n units against zero."""
    each = values[:n]
    if not unit:
        return OverUnits(float(each[0]), np.nan, np.nan, np.nan, np.nan, unit, n)
    value, error = float(values[n]), float(_standard_error(each, values[n + 1 :], unit))
    if value == 0 and error == 0:  # peaks that never move: nothing is known of how far they might
        error = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2.0 * stats.t.sf(np.abs(np.float64(value) / error), n - 1)
    half = float(stats.t.ppf((1.0 + confidence) / 2.0, n - 1) * error)
    flips = unit == "subjects" and n >= LEAST_FLIPPED and np.isfinite(each).all()
    flip_p = sign_flip_p(each) if flips else np.nan
    return OverUnits(value, value - half, value + half, float(p), flip_p, unit, n)


def limits(
    rows: FloatArray, statistic: Statistic, unit: str, confidence: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Intervals of statistics of the mean, such as T_max of every layer: low and high, (n,)."""
    value = statistic(mean_of(rows)[None])[0]
    if not unit:
        return np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    error = _standard_error(statistic(rows), statistic(_without_each(rows)), unit)
    half = stats.t.ppf((1.0 + confidence) / 2.0, len(rows) - 1) * error
    return value - half, value + half


def _without_each(rows: FloatArray) -> FloatArray:
    return np.stack([mean_of(np.delete(rows, number, axis=0)) for number in range(len(rows))])


def _standard_error(each: FloatArray, without: FloatArray, unit: str) -> FloatArray:
    """Standard error from the spread of units and from the jackknife; see the module's description."""
    n = len(each)
    spread, jackknife = each.var(axis=0, ddof=1) / n, without.var(axis=0) * (n - 1)
    if unit == "folds":
        return np.asarray(np.sqrt((spread + jackknife) * (n - 1) / (n - 2)))
    return np.asarray(np.sqrt(np.maximum(spread, jackknife)))
