"""Small p values from the tail of a permutation distribution: a generalised Pareto distribution fitted to it.

Counting says of a score that one of ten thousand permutations beat no more than that p lies near 1e-4; whether it was
none or two is chance. The largest null scores follow a generalised Pareto distribution, whose smooth tail says more
(Winkler et al. 2016, NeuroImage 141; Knijnenburg et al. 2009, Bioinformatics 25). Of a thousand permutations it says
less than counting (in three of ten cases p = 0 at a true 1e-4), and beyond 1e-4 it extrapolates: hence the bounds here.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PERMUTATIONS = 10_000
TAIL = 250  # largest null scores that are kept of each unit
SIZES = (250, 200, 150, 100)  # that are fitted, the first whose fit is good
FEW = 10  # exceedances from which counting is as good
MOST_DOUBT = 4.0  # variance of log p beyond which the fit says nothing
# 5 % points of the Anderson–Darling statistic of a fitted tail by its shape, from 600 fits to true tails at each
# (Choulakian & Stephens 2001 tabulate the like)
SHAPES, CRITICAL = (-0.5, -0.3, 0.0, 0.2), (1.27, 1.06, 1.01, 0.88)


def largest_scores(kept: NDArray[np.floating], null: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the largest null scores so far.

    Parameters
    ----------
    kept : ndarray, (n_kept, n_units)
        Of earlier permutations.
    null : ndarray, (n_permutations, n_units)
        Of these permutations.

    Returns
    -------
    ndarray, (TAIL + 1 at most, n_units)
        In no order.
    """
    together = np.concatenate([kept, np.nan_to_num(null, nan=-np.inf)])
    surplus = len(together) - (TAIL + 1)
    return together if surplus <= 0 else np.partition(together, surplus, axis=0)[surplus:]


def tail_p(
    observed: NDArray[np.floating], tails: NDArray[np.floating], p: NDArray[np.floating], n_permutations: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Replace counted p values by those of a fitted tail, where few permutations exceed and the fit is good.

    Parameters
    ----------
    observed : ndarray, (n_units,)
        Scores.
    tails : ndarray, (TAIL + 1, n_units)
        Largest null scores of each unit.
    p : ndarray, (n_units,)
        Counted p values, (exceeding + 1) / (n_permutations + 1).
    n_permutations : int
        Permutations.

    Returns
    -------
    p : ndarray, (n_units,)
        Never below 1 / (n_permutations + 1).
    fitted : ndarray of bool, (n_units,)
        Where a tail was used.
    """
    best, fitted = np.array(p, dtype=np.float64), np.zeros(len(p), dtype=bool)
    few = np.isfinite(observed) & (np.round(best * (n_permutations + 1)) - 1 < FEW)
    for unit in np.flatnonzero(few):
        estimate = _fitted(float(observed[unit]), np.sort(tails[:, unit])[::-1], n_permutations)
        if estimate is not None:
            best[unit], fitted[unit] = max(estimate, 1 / (n_permutations + 1)), True
    return best, fitted


def _fitted(observed: float, largest: NDArray[Any], n_permutations: int) -> float | None:
    """P of a score by the tail of the null scores, sorted downwards; None where no tail fits or reaches it."""
    from scipy.stats import genpareto

    for size in SIZES:
        if size >= len(largest) or not np.isfinite(largest[size]):
            continue
        threshold = (largest[size - 1] + largest[size]) / 2
        exceedances = largest[:size] - threshold
        if not exceedances[0] > 0 or observed <= threshold:
            return None  # ties, or not in the tail at all
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                shape, _, scale = genpareto.fit(exceedances, floc=0)
            except (ValueError, RuntimeError, FloatingPointError):
                continue
        good = _anderson_darling(genpareto.cdf(exceedances, shape, scale=scale))
        if not good <= np.interp(shape, SHAPES, CRITICAL):
            continue
        if shape <= -0.5:  # no asymptotic variance
            return None
        beyond = float(genpareto.sf(observed - threshold, shape, scale=scale))
        if not beyond > 0:
            return None
        doubt = _variance(observed - threshold, float(shape), float(scale), size)
        if doubt > MOST_DOUBT:
            return None
        return min(1.0, size / n_permutations * beyond * float(np.exp(doubt / 2)))
    return None


def _variance(y: float, shape: float, scale: float, n: int) -> float:
    """Variance of the logarithm of a tail's survival function at y, by the delta method (Smith 1984).

    A p that errs by a factor either way is too often small: with log p̂ ~ N(log p, v), p̂ ≤ α has chance α exp(v / 2),
    which the estimate is multiplied by.
    """
    z = y / scale
    if abs(shape) < 1e-4:
        by_shape, by_scale = z**2 / 2, z / scale
    else:
        inside = 1 + shape * z
        by_shape = np.log(inside) / shape**2 - z / (shape * inside)
        by_scale = z / (scale * inside)
    cross = -scale * by_shape * by_scale
    return float((1 + shape) / n * ((1 + shape) * by_shape**2 + 2 * cross + 2 * scale**2 * by_scale**2))


def _anderson_darling(quantiles: NDArray[np.floating]) -> float:
    """Anderson–Darling statistic of values whose distribution function is given at each; large is a bad fit."""
    z = np.sort(np.clip(quantiles, 1e-12, 1 - 1e-12))
    n = len(z)
    return float(-n - np.mean((2 * np.arange(1, n + 1) - 1) * (np.log(z) + np.log1p(-z[::-1]))))
