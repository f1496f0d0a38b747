"""How well one order follows another: correlation with an interval."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from brainmap.errors import InputError


@dataclass(frozen=True)
class Agreement:
    """Correlation of two orders.

    Attributes
    ----------
    r, p : float
        Pearson correlation and two-sided p (t distribution, n − 2 degrees of freedom).
    rho, rho_p : float
        Spearman correlation and its p.
    low, high : float
        Percentile bootstrap interval of ``r`` over the pairs.
    n : int
        Number of pairs.
    """

    r: float
    p: float
    rho: float
    rho_p: float
    low: float
    high: float
    n: int

    def as_attrs(self) -> dict[Hashable, Any]:
        """Return the numbers as a dictionary, for ``DataFrame.attrs``."""
        return dict(asdict(self).items())


def agreement(
    x: ArrayLike, y: ArrayLike, *, n_bootstrap: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Agreement:
    """Correlate two measures of the same units.

    Parameters
    ----------
    x, y : array-like, (n,)
        One pair per unit (area, layer); pairs with a NaN are left out.
    n_bootstrap : int
        Resamples of units for the interval.
    confidence : float
        Coverage of the interval.
    seed : int
        Seed of the resamples.

    Returns
    -------
    Agreement
        All NaN when either measure does not vary.

    Raises
    ------
    InputError
        If fewer than four pairs remain.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    keep = np.isfinite(a) & np.isfinite(b)
    a, b = a[keep], b[keep]
    n = len(a)
    if n < 4:
        raise InputError(f"a correlation of orders needs at least 4 units with values, got {n}")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        nan = float("nan")
        return Agreement(nan, nan, nan, nan, nan, nan, n)
    r, p = stats.pearsonr(a, b)
    rho, rho_p = stats.spearmanr(a, b)
    index = np.random.default_rng([seed, 21]).integers(0, n, (n_bootstrap, n))
    drawn_a, drawn_b = a[index], b[index]
    drawn_a = drawn_a - drawn_a.mean(1, keepdims=True)
    drawn_b = drawn_b - drawn_b.mean(1, keepdims=True)
    norm = np.sqrt((drawn_a**2).sum(1) * (drawn_b**2).sum(1))
    resampled = (drawn_a * drawn_b).sum(1)[norm > 0] / norm[norm > 0]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Agreement(float(r), float(p), float(rho), float(rho_p), float(low), float(high), n)
