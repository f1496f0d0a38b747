"""Temporal hierarchy: the time a layer predicts best, against its depth; onsets, peaks, and the lag between signals."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse, stats

from brainmap.common.errors import InputError
from brainmap.hierarchy.agreement import correlate
from brainmap.hierarchy.replication import limits, over_units, unit_scores
from brainmap.hierarchy.resampling import mean_of
from brainmap.hierarchy.t_max_and_onset import onset_latency, peak_window_time

FloatArray = NDArray[np.float64]
LONGEST = 60.0  # seconds; longer "epochs" are in milliseconds


@dataclass(frozen=True)
class TemporalOptions:
    """Settings of the temporal hierarchy.

    Parameters
    ----------
    share : float
        T_max is the mean of the times at which a curve reaches this share of its maximum (0.95 in Raugel et al. 2025).
    onset_share : float
        A curve's onset is where it first reaches this share of the way from its baseline to its maximum and stays there
        for ``onset_samples``; the crossing is interpolated linearly.
    onset_samples : int
        Samples in a row.
    confidence : float
        Coverage of all intervals.

    Examples
    --------
    >>> from brainmap.hierarchy import TemporalOptions
    >>> TemporalOptions(share=0.9).onset_share
    0.5
    """

    share: float = 0.95
    onset_share: float = 0.5
    onset_samples: int = 2
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InputError(f"The confidence must lie between 0 and 1, not {self.confidence}.")
        if not 0 < self.share <= 1 or not 0 < self.onset_share < 1 or self.onset_samples < 1:
            raise InputError("Shares of the maximum must lie in (0, 1], and an onset needs at least one sample.")


def time_courses(scores: xr.DataArray) -> xr.DataArray:
    """Average scores over sensors: the coordinate ``time`` of ``target`` becomes a dimension, sorted.

    Raises
    ------
    InputError
        If the scores are no DataArray, or their targets have no time, or one that cannot be in seconds.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import time_courses
    >>> time_courses(brainmap.open_run("brainmap_runs/demo").mean_r("meg")).dims
    ('subject', 'signal', 'layer', 'time')
    """
    if not isinstance(scores, xr.DataArray):
        raise InputError(f"A temporal hierarchy needs scores as an xarray.DataArray, not {type(scores).__name__}.")
    if "time" not in scores.coords:
        raise InputError("Scores need the coordinate 'time' (s) on 'target' to speak of a temporal hierarchy.")
    latest = float(np.abs(scores["time"].values).max())
    if latest > LONGEST:
        raise InputError(f"Times reach {latest:g}; they must be in seconds, and these look like milliseconds.")
    if "time" in scores.dims:
        return scores.transpose(..., "time")
    ordered = scores.transpose(..., "target")
    moments, place = np.unique(ordered["time"].values, return_inverse=True)
    sensors = sparse.csr_matrix((np.ones(len(place)), (np.arange(len(place)), place)))
    mean = np.full((*ordered.shape[:-1], len(moments)), np.nan)
    for outer in np.ndindex(ordered.shape[:-2]):  # one block is read at a time
        values = np.atleast_2d(ordered[outer].values.astype(np.float64))
        known = np.isfinite(values)
        total, count = np.where(known, values, 0.0) @ sensors, known.astype(np.float64) @ sensors
        np.divide(total, count, out=mean[outer].reshape(total.shape), where=count > 0)
    coords = {name: coord for name, coord in ordered.coords.items() if "target" not in coord.dims}
    return xr.DataArray(mean, dims=(*ordered.dims[:-1], "time"), coords=coords | {"time": moments})


def temporal_hierarchy(scores: xr.DataArray, *, options: TemporalOptions | None = None) -> pd.DataFrame:
    """Relate the depth of a layer to the time it predicts best (the *temporal score* of Raugel et al. 2025).

    Parameters
    ----------
    scores : xr.DataArray
        r of one signal, dims among (subject, layer, split, target), coordinates ``depth`` on ``layer`` and ``time`` (s)
        on ``target`` (or a dimension ``time``).
    options : TemporalOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        One row per layer: ``layer``, ``depth``, ``t_max``, ``low``, ``high`` (s), ``peak`` (highest mean score),
        ``t_peak`` (its time), ``onset``, ``onset_low``, ``onset_high`` (s), all of the mean curve.
        ``attrs``: ``r``, ``p`` and ``rho``, ``rho_p`` of depth and T_max, as published: p takes layers for independent,
        which neighbours that share noise are not, so no verdict rests on it. ``slope`` of T_max over depth (s from
        depth 0 to 1) with ``slope_low``, ``slope_high`` and ``slope_p``, by a t test over subjects (five or more) or
        over folds, :mod:`brainmap.hierarchy.replication`; ``slope_flip_p`` by sign flips, from six subjects on;
        ``unit``, ``n_units`` and ``p_method`` say which.

    Raises
    ------
    InputError
        If fewer than four layers have a T_max.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import temporal_hierarchy
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load().sel(signal="activation")
    >>> table = temporal_hierarchy(r)
    >>> bool(table.attrs["r"] > 0.5), table.columns[:3].tolist()
    (True, ['layer', 'depth', 't_max'])
    """
    options = options or TemporalOptions()
    courses = time_courses(scores)
    times = courses["time"].values.astype(float)
    depth = _depths(courses)
    rows, unit = unit_scores(courses, "layer", "time")
    mean = _mean_curves(courses)
    t_max = _t_max(mean, times, options)
    known = np.isfinite(t_max)
    if known.sum() < 4:
        raise InputError(f"layers that predict anything after onset: {known.sum()}; 4 are needed for an order")
    after = np.where(times > 0, mean, -np.inf)
    table = pd.DataFrame({"layer": courses["layer"].values, "depth": depth, "t_max": t_max})
    table["low"], table["high"] = limits(rows, lambda x: _t_max(x, times, options), unit, options.confidence)
    table["peak"], table["t_peak"] = after.max(axis=1), times[after.argmax(axis=1)]
    table["onset"] = _onset(mean, times, options)
    early, late = limits(rows, lambda x: _onset(x, times, options), unit, options.confidence)
    table["onset_low"], table["onset_high"] = early, late
    test = over_units(
        rows[:, known], lambda x: slopes(_t_max(x, times, options), depth[known]), unit, options.confidence
    )
    table.attrs = {**_published(depth[known], t_max[known]), "slope": test.value}
    table.attrs |= {"slope_low": test.low, "slope_high": test.high, "slope_p": test.p}
    table.attrs |= {"slope_flip_p": test.flip_p, "unit": test.unit, "n_units": test.n_units}
    table.attrs["p_method"] = test.how("slope of T_max over depth")
    return table


@dataclass(frozen=True)
class Lag:
    """How much later one signal peaks than another.

    Attributes
    ----------
    lag, low, high : float
        Mean over layers of the difference of T_max (s), and its interval.
    by_layer : pandas.DataFrame
        ``layer``, ``depth``, ``lag``, ``low``, ``high`` (s).
    p : float
        Two-sided, that the mean lag is zero: a t test over subjects (five or more) or folds.
    flip_p : float
        The same by sign flips, from six subjects on.
    unit : {'subjects', 'folds', ''}
        What is replicated (:mod:`brainmap.hierarchy.replication`).
    n_units : int
        How many.
    p_method : str
        How p was made.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import peak_lag
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load()
    >>> lag = peak_lag(r.sel(signal="gradient"), r.sel(signal="activation"))
    >>> len(lag.to_frame()) == r.sizes["layer"]
    True
    """

    lag: float
    low: float
    high: float
    by_layer: pd.DataFrame
    p: float
    flip_p: float
    unit: str
    n_units: int
    p_method: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table by layer, the mean in ``attrs``."""
        table = self.by_layer.copy()
        table.attrs = {name: value for name, value in vars(self).items() if name != "by_layer"}
        return table

    def __repr__(self) -> str:
        low, high = 1000 * self.low, 1000 * self.high
        return f"<Lag {1000 * self.lag:+.0f} ms [{low:+.0f}, {high:+.0f}] over {len(self.by_layer)} layers>"


def peak_lag(later: xr.DataArray, earlier: xr.DataArray, *, options: TemporalOptions | None = None) -> Lag:
    """Difference of T_max between two signals, such as gradients and activations, layer by layer and on average.

    Parameters
    ----------
    later, earlier : xr.DataArray
        r of each signal as in :func:`temporal_hierarchy`, same subjects, splits, layers and times.
    options : TemporalOptions, optional
        Settings.

    Returns
    -------
    Lag
        Positive if ``later`` peaks later. Lags are taken within a subject or fold: noise that signals share cancels.

    Raises
    ------
    InputError
        If the signals do not have the same shape.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import peak_lag
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load()
    >>> peak_lag(r.sel(signal="gradient"), r.sel(signal="activation")).lag > 0  # gradients later
    True
    """
    options = options or TemporalOptions()
    first, second = time_courses(earlier), time_courses(later).transpose(*time_courses(earlier).dims)
    if first.shape != second.shape:
        raise InputError(
            f"The lag of two signals needs equal shapes; got {dict(first.sizes)} and {dict(second.sizes)}."
        )
    times = first["time"].values.astype(float)
    (early, unit), (late, _) = (unit_scores(signal, "layer", "time") for signal in (first, second))
    rows = np.stack([early, late], axis=1)

    def lags(curves: FloatArray) -> FloatArray:
        t_max = _t_max(curves, times, options)
        return np.asarray(t_max[:, 1] - t_max[:, 0])

    low, high = limits(rows, lags, unit, options.confidence)
    table = pd.DataFrame({"layer": first["layer"].values, "depth": _depths(first)})
    table = table.assign(lag=lags(mean_of(rows)[None])[0], low=low, high=high)
    test = over_units(rows, lambda x: mean_of(lags(x), axis=-1), unit, options.confidence)
    units = (test.p, test.flip_p, test.unit, test.n_units, test.how("mean lag of T_max"))
    return Lag(test.value, test.low, test.high, table, *units)


def _depths(courses: xr.DataArray) -> FloatArray:
    if "depth" not in courses.coords:
        raise InputError("Scores need the coordinate 'depth' (0 to 1) on 'layer' to speak of a hierarchy.")
    return courses["depth"].values.astype(np.float64)


def _mean_curves(courses: xr.DataArray) -> FloatArray:
    """Mean over subjects and folds, (n_layers, n_times)."""
    others = [dim for dim in courses.dims if dim in ("subject", "split")]
    return np.asarray(courses.mean(others, skipna=True).transpose("layer", "time").values, dtype=np.float64)


def _t_max(curves: FloatArray, times: FloatArray, options: TemporalOptions) -> FloatArray:
    """T_max of every curve, (..., n_layers)."""
    return np.asarray(peak_window_time(curves, times, options.share))


def _onset(curves: FloatArray, times: FloatArray, options: TemporalOptions) -> FloatArray:
    return np.asarray(onset_latency(curves, times, share=options.onset_share, samples=options.onset_samples))


def slopes(t_max: FloatArray, depth: FloatArray) -> FloatArray:
    """Least-squares slope of T_max over depth (s from depth 0 to 1), (..., n_layers) → (...).

    A layer that predicts nothing (NaN) takes the mean of the other layers there: it says nothing of an order.
    """
    known = np.where(np.isfinite(t_max), t_max, mean_of(t_max, axis=-1)[..., None])
    centred = depth - depth.mean()
    return np.asarray(known @ centred / np.sum(centred**2))


def _published(depth: FloatArray, t_max: FloatArray) -> dict[Hashable, Any]:
    """Correlations of depth and T_max with the p that takes layers for independent; NaN where all peak together."""
    if not np.isfinite(correlate(depth, t_max)):
        return {**dict.fromkeys(("r", "p", "rho", "rho_p"), np.nan), "n": len(depth)}
    (r, p), (rho, rho_p) = stats.pearsonr(depth, t_max), stats.spearmanr(depth, t_max)
    return {"r": float(r), "p": float(p), "rho": float(rho), "rho_p": float(rho_p), "n": len(depth)}
