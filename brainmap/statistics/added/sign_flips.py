"""Null distribution of a statistic over pairs of groups: signs of whole groups are flipped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainmap.common.random_purposes import FLIPS

FloatArray = NDArray[np.float64]


def flip_signs(sums: FloatArray, n_flips: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return the standardised statistic (n_units,), and the same under the flips (n_flips, n_units)."""
    n_units, n_penalties, n_blocks, _ = sums.shape
    rng = np.random.default_rng([seed, FLIPS])
    signs = rng.choice(np.array([-1.0, 1.0]), size=(n_flips, n_blocks))
    # Var(s'Qs) = 2 ΣQ² over the flips, for symmetric Q with zero diagonal.
    spread = np.sqrt(2.0 * (sums**2).sum(axis=(2, 3)))
    spread = np.where(spread > 0, spread, np.inf)
    statistic = (sums.sum(axis=(2, 3)) / spread).max(axis=1)  # no sign flipped
    null = np.full((n_flips, n_units), -np.inf)
    for unit, penalty in np.ndindex(n_units, n_penalties):
        flipped = ((signs @ sums[unit, penalty]) * signs).sum(axis=1) / spread[unit, penalty]
        np.maximum(null[:, unit], flipped, out=null[:, unit])
    return statistic, null


def flip_p(statistic: FloatArray, null: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Return p of each unit, and over the family by the maximum; of statistics, (n_units,), and flips, (…, n_units)."""
    p = (1 + (null >= statistic).sum(axis=0)) / (1 + len(null))
    p_fwer = (1 + (null.max(axis=1)[:, None] >= statistic).sum(axis=0)) / (1 + len(null))
    return p, p_fwer
