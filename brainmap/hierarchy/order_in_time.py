"""Temporal hierarchy: the time a layer predicts best, against its depth; onsets, peaks, and the lag between signals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from brainmap.common.errors import InputError
from brainmap.hierarchy.agreement import agreement
from brainmap.hierarchy.order_interval import draw, order_interval
from brainmap.hierarchy.peak_time_intervals import draw_data_sets
from brainmap.hierarchy.resampling import Resampling, cells, mean_of
from brainmap.hierarchy.shared_shape import shared_shape
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
    resampling : Resampling
        Of all intervals.

    Examples
    --------
    >>> from brainmap.hierarchy import TemporalOptions
    >>> TemporalOptions(share=0.9).onset_share
    0.5
    """

    share: float = 0.95
    onset_share: float = 0.5
    onset_samples: int = 2
    resampling: Resampling = field(default_factory=lambda: Resampling(n=1000))

    def __post_init__(self) -> None:
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
    values = ordered.values.reshape(-1, len(place)).astype(np.float64)
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0) @ sensors, known.astype(np.float64) @ sensors
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    coords = {name: coord for name, coord in ordered.coords.items() if "target" not in coord.dims}
    dims = (*ordered.dims[:-1], "time")
    return xr.DataArray(mean.reshape(*ordered.shape[:-1], -1), dims=dims, coords=coords | {"time": moments})


def temporal_hierarchy(
    scores: xr.DataArray, *, options: TemporalOptions | None = None, seed: int | None = None
) -> pd.DataFrame:
    """Relate the depth of a layer to the time it predicts best (the *temporal score* of Raugel et al. 2025).

    Parameters
    ----------
    scores : xr.DataArray
        r of one signal, dims among (subject, layer, split, target), coordinates ``depth`` on ``layer`` and ``time`` (s)
        on ``target`` (or a dimension ``time``).
    options : TemporalOptions, optional
        Settings.
    seed : int, optional
        Seed of the resamples, in place of that in ``options``.

    Returns
    -------
    pandas.DataFrame
        One row per layer: ``layer``, ``depth``, ``t_max``, ``low``, ``high`` (s), ``peak`` (highest mean score),
        ``t_peak`` (its time), ``onset``, ``onset_low``, ``onset_high`` (s). Intervals are over subject × fold cells, or
        subjects. ``attrs``: ``r`` of depth and T_max with its interval ``low``, ``high`` over the same cells; ``p``
        over layers, ``rho``, ``rho_p``; ``layers_low``, ``layers_high`` (over layers); ``slope`` (s from depth 0 to 1)
        with ``slope_low``, ``slope_high``, ``slope_p``; ``p_method``. Noise lowers ``r``; its interval says what the
        noiseless one may be (:mod:`brainmap.hierarchy.order_interval`), and lies mostly above. It goes below (above)
        zero where that of the slope does, and only there: noise that neighbouring layers share makes smooth trends,
        which only the slope's, from layers resampled together, knows. So does ``slope_p``, the test of an order; ``p``
        does not: it takes layers for independent.

    Raises
    ------
    InputError
        If fewer than four layers have a T_max.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import Resampling, TemporalOptions, temporal_hierarchy
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load().sel(signal="activation")
    >>> table = temporal_hierarchy(r, options=TemporalOptions(resampling=Resampling(n=50)))
    >>> bool(table.attrs["r"] > 0.5), table.columns[:3].tolist()
    (True, ['layer', 'depth', 't_max'])
    """
    options = options or TemporalOptions()
    plan = options.resampling if seed is None else _reseeded(options.resampling, seed)
    courses = time_courses(scores)
    times = courses["time"].values.astype(float)
    depth = _depths(courses)
    rows = cells(courses, "layer", "time", over=plan.over)
    mean = mean_of(rows)
    both = draw_data_sets(rows, _noiseless(mean, times, options), lambda means: _latencies(means, times, options), plan)
    data_sets, onsets = both.map(lambda x: x[..., : len(depth)]), both.map(lambda x: x[..., len(depth) :])
    t_max = data_sets.estimate
    known = np.isfinite(t_max)
    if known.sum() < 4:
        raise InputError(f"layers that predict anything after onset: {known.sum()}; 4 are needed for an order")
    after = np.where(times > 0, mean, -np.inf)
    table = pd.DataFrame({"layer": courses["layer"].values, "depth": depth, "t_max": t_max})
    table["low"], table["high"] = data_sets.limits()
    table["peak"], table["t_peak"] = after.max(axis=1), times[after.argmax(axis=1)]
    # Noise raises the maximum, and with it the level that a curve has to reach: onsets come late.
    table["onset"], (table["onset_low"], table["onset_high"]) = onsets.estimate, onsets.limits(centred=True)
    order = agreement(depth, t_max, seed=plan.seed)
    attrs = order.as_attrs() | {"layers_low": order.low, "layers_high": order.high}
    weights = _slope_weights(depth[known])
    slope = data_sets.map(lambda x: x[..., known] @ weights[:, None])
    attrs["slope"] = float(slope.estimate[0])
    slope_low, slope_high, attrs["slope_p"] = slope.interval()
    noise = draw(rows, lambda means: peak_window_time(means[:, known], times, options.share), plan)
    low, high = order_interval(noise, depth[known], plan)
    # Slope and r have one sign: where the one may be zero so may the other, where not, neither.
    attrs["low"] = min(low, 0.0) if slope_low <= 0 else max(low, 0.0)
    attrs["high"] = max(high, 0.0) if slope_high >= 0 else min(high, 0.0)
    attrs["slope_low"], attrs["slope_high"] = slope_low, slope_high
    attrs["p_method"] = "two-sided t test of Pearson r over layers"
    table.attrs = attrs
    return table


@dataclass(frozen=True)
class Lag:
    """How much later one signal peaks than another.

    Attributes
    ----------
    lag, low, high : float
        Mean over layers of the difference of T_max (s) and its interval.
    by_layer : pandas.DataFrame
        ``layer``, ``depth``, ``lag``, ``low``, ``high`` (s).
    n_cells : int
        Cells (or subjects) resampled.
    p : float
        Two-sided, that the mean lag is zero.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import Resampling, TemporalOptions, peak_lag
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load()
    >>> options = TemporalOptions(resampling=Resampling(n=50))
    >>> lag = peak_lag(r.sel(signal="gradient"), r.sel(signal="activation"), options=options)
    >>> len(lag.to_frame()) == r.sizes["layer"]
    True
    """

    lag: float
    low: float
    high: float
    by_layer: pd.DataFrame
    n_cells: int
    p: float

    def to_frame(self) -> pd.DataFrame:
        """Return the table by layer, the mean in ``attrs``."""
        table = self.by_layer.copy()
        table.attrs = {"lag": self.lag, "low": self.low, "high": self.high, "p": self.p, "n_cells": self.n_cells}
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
        Positive if ``later`` peaks later. Both signals are resampled together, so that noise they share cancels.

    Raises
    ------
    InputError
        If the signals do not have the same shape.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import Resampling, TemporalOptions, peak_lag
    >>> r = brainmap.open_run("brainmap_runs/demo").scores["meg"]["r"].load()
    >>> options = TemporalOptions(resampling=Resampling(n=50))
    >>> peak_lag(r.sel(signal="gradient"), r.sel(signal="activation"), options=options).lag > 0  # gradients later
    True
    """
    options = options or TemporalOptions()
    first, second = time_courses(earlier), time_courses(later).transpose(*time_courses(earlier).dims)
    if first.shape != second.shape:
        raise InputError(
            f"The lag of two signals needs equal shapes; got {dict(first.sizes)} and {dict(second.sizes)}."
        )
    times = first["time"].values.astype(float)
    plan = options.resampling
    rows = np.stack([cells(x, "layer", "time", over=plan.over) for x in (first, second)], axis=1)

    def statistic(means: FloatArray) -> FloatArray:
        t_max = peak_window_time(means, times, options.share)
        return np.asarray(t_max[:, 1] - t_max[:, 0])

    data_sets = draw_data_sets(rows, _noiseless(mean_of(rows), times, options), statistic, plan)
    by_layer, (layer_low, layer_high) = data_sets.estimate, data_sets.limits()
    mean = data_sets.map(lambda x: mean_of(x, axis=-1)[..., None])
    low, high, p = mean.interval()
    table = pd.DataFrame({"layer": first["layer"].values, "depth": _depths(first), "lag": by_layer})
    table = table.assign(low=layer_low, high=layer_high)
    return Lag(float(mean.estimate[0]), low, high, table, len(rows), p)


def _depths(courses: xr.DataArray) -> FloatArray:
    if "depth" not in courses.coords:
        raise InputError("Scores need the coordinate 'depth' (0 to 1) on 'layer' to speak of a hierarchy.")
    return courses["depth"].values.astype(np.float64)


def _reseeded(plan: Resampling, seed: int) -> Resampling:
    return Resampling(plan.n, plan.over, plan.confidence, seed)


def _noiseless(means: FloatArray, times: FloatArray, options: TemporalOptions) -> FloatArray:
    """Shared shape of layers, (..., n_layers, n_times); a layer to which it would give no peak keeps its own."""
    fitted = shared_shape(means, times)
    peaks = np.isfinite(peak_window_time(fitted, times, options.share))
    return np.where(peaks[..., None], fitted, means)


def _latencies(means: FloatArray, times: FloatArray, options: TemporalOptions) -> FloatArray:
    """T_max of every layer, then every onset, (..., 2 × n_layers)."""
    onset = onset_latency(means, times, share=options.onset_share, samples=options.onset_samples)
    return np.concatenate([peak_window_time(means, times, options.share), onset], axis=-1)


def _slope_weights(depth: FloatArray) -> FloatArray:
    """Weights of T_max that give the seconds from depth 0 to depth 1 by least squares."""
    centred = depth - depth.mean()
    weights: FloatArray = centred / np.sum(centred**2)
    return weights
