"""Temporal hierarchy: the time a layer predicts best, against its depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.errors import InputError
from brainmap.hierarchy.order import agreement


def time_courses(scores: xr.DataArray) -> xr.DataArray:
    """Average scores over sensors: the coordinate ``time`` of ``target`` becomes a dimension, sorted."""
    courses = scores.groupby("time").mean(skipna=True)
    return courses.transpose(..., "time")


def peak_window_time(curve: NDArray[np.floating], times: NDArray[np.floating], share: float = 0.95) -> float:
    """T_max: mean of the times at which a curve reaches a share of its maximum.

    Parameters
    ----------
    curve : ndarray, (n_times,)
        Score over time.
    times : ndarray, (n_times,)
        Seconds from onset.
    share : float
        Share of the maximum, 0.95 in Raugel et al. 2025.

    Returns
    -------
    float
        Seconds; NaN when the curve never rises above zero after onset. Times before onset do not count.
    """
    usable = (times > 0) & np.isfinite(curve)
    if not usable.any() or curve[usable].max() <= 0:
        return float("nan")
    window = usable & (curve >= share * curve[usable].max())
    return float(times[window].mean())


def temporal_hierarchy(
    scores: xr.DataArray, *, share: float = 0.95, n_bootstrap: int = 1000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Relate the depth of a layer to the time it predicts best (the *temporal score* of Raugel et al. 2025).

    Parameters
    ----------
    scores : xr.DataArray
        r of one signal, dims (subject, layer, split, target), coordinates ``depth`` on ``layer`` and ``time`` (s) on
        ``target``.
    share : float
        See :func:`peak_window_time`.
    n_bootstrap : int
        Resamples of subject × split curves for the intervals of T_max.
    confidence : float
        Coverage of the intervals.
    seed : int
        Seed of the resamples.

    Returns
    -------
    pandas.DataFrame
        One row per layer: ``layer``, ``depth``, ``t_max``, ``low``, ``high`` (s), ``peak`` (highest mean score).
        ``attrs``: ``r``, ``p``, ``rho``, ``rho_p``, ``low``, ``high`` of the correlation of depth and T_max over
        layers, and ``p_method``.

    Raises
    ------
    InputError
        If fewer than four layers have a T_max.
    """
    courses = time_courses(scores).transpose("subject", "split", "layer", "time")
    times = courses["time"].values.astype(float)
    curves = courses.values.reshape(-1, *courses.shape[2:])
    mean = np.nanmean(curves, axis=0)
    t_max = np.array([peak_window_time(curve, times, share) for curve in mean])
    index = np.random.default_rng([seed, 22]).integers(0, len(curves), (n_bootstrap, len(curves)))
    resampled = np.array(
        [[peak_window_time(curve, times, share) for curve in np.nanmean(curves[chosen], axis=0)] for chosen in index]
    )
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(resampled, [tail, 100 - tail], axis=0)
    depth = courses["depth"].values.astype(float)
    if np.isfinite(t_max).sum() < 4:
        raise InputError(
            f"only {np.isfinite(t_max).sum()} layers predict anything after onset; 4 are needed for an order"
        )
    table = pd.DataFrame(
        {
            "layer": courses["layer"].values,
            "depth": depth,
            "t_max": t_max,
            "low": low,
            "high": high,
            "peak": mean.max(1),
        }
    )
    order = agreement(depth, t_max, seed=seed)
    table.attrs = {**order.as_attrs(), "p_method": "two-sided t test of Pearson r over layers"}
    return table
