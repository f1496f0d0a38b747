"""Noise that resembles itself from row to row made white, before signs are flipped: generalised least squares.

Groups of rows may hold noise of any covariance as long as nothing is regressed out; the noise that a baseline absorbs
is drawn anew under a working covariance, and that of blocks in time is autoregressive. ``z_t = x_t − ρ x_{t−1}``, of
responses and features alike, leaves the relation between them as it is and makes such noise independent (as the
first-level models of SPM and nilearn do).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.row_groups import RowGroups

FloatArray = NDArray[np.float64]
CORRELATIONS = np.linspace(0.0, 0.95, 20)
SLOW = 0.9
MOST_TARGETS = 256  # that ρ is estimated from, evenly spaced


class TimeFilter:
    """``z_t = x_t − ρ x_{t−1}`` in the order of presentation, within recordings.

    Parameters
    ----------
    groups : RowGroups
        Order and recordings of the rows.
    correlation : float
        ρ.
    """

    def __init__(self, groups: RowGroups, correlation: float) -> None:
        self.correlation = correlation
        order = np.argsort(np.asarray(groups.place))
        stretch = np.asarray(groups.stretch)
        self.first = np.ones(len(order), dtype=bool)  # rows that nothing precedes
        self.before = np.arange(len(order))
        self.order = np.concatenate([order[stretch[order] == code] for code in np.unique(stretch)])
        same = stretch[self.order[1:]] == stretch[self.order[:-1]]
        self.before[self.order[1:][same]] = self.order[:-1][same]
        self.first[self.order[1:][same]] = False

    def __call__(self, values: NDArray[Any]) -> FloatArray:
        """Filter rows, (n, ...)."""
        array = np.asarray(values, dtype=np.float64)
        rho = self.correlation
        result: FloatArray = array - rho * array[self.before]
        result[self.first] = np.sqrt(1.0 - rho**2) * array[self.first]
        return result

    def covariance(self, values: FloatArray) -> FloatArray:
        """Multiply by the covariance of the noise, ρ^|lag| within a recording, (n, k)."""
        result = np.empty_like(values)
        ordered, first = values[self.order], self.first[self.order]
        forward, backward = np.empty_like(ordered), np.empty_like(ordered)
        total = np.zeros(values.shape[1])
        for row in range(len(ordered)):
            total = ordered[row] + (0.0 if first[row] else self.correlation * total)
            forward[row] = total
        total = np.zeros(values.shape[1])
        for row in range(len(ordered) - 1, -1, -1):
            total = ordered[row] + self.correlation * total
            backward[row] = total
            if first[row]:
                total = np.zeros(values.shape[1])
        result[self.order] = forward + backward - ordered
        return result

    def lagged(self, values: FloatArray) -> FloatArray:
        """Values of the row before, 0 where there is none."""
        result: FloatArray = np.where(self.first[:, None], 0.0, values[self.before])
        return result


class Filtered:
    """Responses that are filtered when some of their columns are read."""

    def __init__(self, values: Any, time_filter: TimeFilter) -> None:
        self.values, self.filter, self.shape, self.dtype = (
            values,
            time_filter,
            tuple(values.shape),
            np.dtype(np.float64),
        )

    def __getitem__(self, key: Any) -> FloatArray:
        """Read ``[:, columns]``."""
        rows, columns = key
        result: FloatArray = self.filter(np.asarray(self.values[:, columns], dtype=np.float64))[rows]
        return result


def noise_correlation(subjects: list[Any], rows: NDArray[np.intp], removed: FloatArray, groups: RowGroups) -> float:
    """Autocorrelation ρ of what a baseline leaves of responses: that of the slowest tenth of the targets.

    A filter that is too strong for a target makes its test careful, one that is too weak makes it promise too much.

    Parameters
    ----------
    subjects : list of array-like, (n, n_targets)
        Responses.
    rows : ndarray of int, (n_used,)
        Rows that are used.
    removed : ndarray, (n_used, k)
        Orthonormal baseline, which absorbs slow noise before fast noise; that is reckoned with.
    groups : RowGroups
        Order and recordings of all rows.

    Returns
    -------
    float
        Of a grid from 0 to .95, the ρ whose expected first autocovariance over variance, after the baseline is
        regressed out, is nearest to what is found.
    """
    used = groups.take(rows)
    still = TimeFilter(used, 0.0)
    found: list[FloatArray] = []
    for values in subjects:
        columns = np.unique(np.linspace(0, values.shape[1] - 1, min(values.shape[1], MOST_TARGETS)).astype(int))
        block = np.asarray(values[:, columns], dtype=np.float64)[rows]
        spread = block.std(axis=0)
        block = (block - block.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
        rest = block - removed @ (removed.T @ block)
        squares = np.sum(rest**2, axis=0)
        found.append(np.sum(rest * still.lagged(rest), axis=0)[squares > 0] / squares[squares > 0])
    ratios = np.concatenate(found)
    slow = float(np.quantile(ratios, SLOW)) if len(ratios) else 0.0
    expected = [_expected_ratio(TimeFilter(used, rho), removed) for rho in CORRELATIONS]
    return float(CORRELATIONS[np.argmin(np.abs(np.array(expected) - slow))])


def _expected_ratio(noise: TimeFilter, removed: FloatArray) -> float:
    """``tr(R S R L) / tr(R S R)`` for R = I − UU', S the covariance of the noise and L the shift by one row."""
    weighted, shifted = noise.covariance(removed), noise.lagged(removed)
    middle, across = removed.T @ weighted, removed.T @ shifted
    n_pairs = float((~noise.first).sum())
    covariance = noise.correlation * n_pairs - np.sum(weighted * noise.lagged(removed))
    covariance -= np.sum(noise.lagged(weighted) * removed) - np.sum(middle * across)
    variance = len(removed) - np.trace(middle)
    return float(covariance / variance)
