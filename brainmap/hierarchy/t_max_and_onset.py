"""When a curve peaks, and when it rises: T_max by the share of its maximum, and the onset."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def peak_window_time(curve: NDArray[np.floating], times: NDArray[np.floating], share: float = 0.95) -> Any:
    """T_max: mean of the time during which a curve reaches a share of its maximum.

    Parameters
    ----------
    curve : ndarray, (..., n_times)
        Score over time.
    times : ndarray, (n_times,)
        Seconds from onset.
    share : float
        Share of the maximum, 0.95 in Raugel et al. 2025.

    Returns
    -------
    float or ndarray, (...)
        Seconds; NaN where a curve never rises above zero after onset. Times before onset do not count. Between samples
        the curve is a straight line: a mean of sampling times only would move in steps of half a sample, as coarse as
        the differences between layers at 30 Hz.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import peak_window_time
    >>> times = np.arange(-0.1, 0.5, 0.01)
    >>> round(float(peak_window_time(np.exp(-(((times - 0.2) / 0.05) ** 2)), times)), 2)
    0.2
    """
    after = np.asarray(times) > 0
    axis = np.asarray(times, dtype=np.float64)[after]
    values = np.asarray(curve, dtype=np.float64)[..., after]
    shape = values.shape[:-1]
    values = np.where(np.isfinite(values), values, -np.inf).reshape(int(np.prod(shape)), len(axis))
    top = values.max(axis=-1, initial=-np.inf)
    above = values - np.where(top > 0, share * top, np.inf)[:, None]
    high, step = above > 0, np.diff(axis)
    curves, pieces = np.nonzero(high[:, :-1] | high[:, 1:])
    first, last = above[curves, pieces], above[curves, pieces + 1]
    # What part of a straight piece is above: |above| of its upper end over that of both, if they are on two sides.
    part = (np.maximum(first, 0.0) + np.maximum(last, 0.0)) / (np.abs(first) + np.abs(last))
    middle = np.abs((first < 0) - 0.5 * part)  # a piece that rises through the level is above at its end
    length = part * step[pieces]
    total = np.bincount(curves, length, minlength=len(values))
    moment = np.bincount(curves, length * (axis[pieces] + middle * step[pieces]), minlength=len(values))
    mean = np.divide(moment, total, out=np.full(len(values), np.nan), where=total > 0)
    alone = ~np.isfinite(mean) & (top > 0)
    if alone.any():  # a single sample without neighbours
        mean[alone] = axis[values[alone].argmax(axis=-1)]
    result = np.where(top > 0, mean, np.nan).reshape(shape)
    return float(result) if result.ndim == 0 else result


def onset_latency(
    curve: NDArray[np.floating], times: NDArray[np.floating], *, share: float = 0.5, samples: int = 2
) -> Any:
    """Time at which a curve first reaches a share of the way from baseline to maximum.

    Parameters
    ----------
    curve : ndarray, (..., n_times)
        Score over time.
    times : ndarray, (n_times,)
        Seconds from onset; the mean over times ≤ 0 is the baseline (0 if there are none).
    share : float
        Share of the way. A fractional latency is far less sensitive to noise than the first significant sample.
    samples : int
        Samples in a row that must reach it.

    Returns
    -------
    float or ndarray, (...)
        Seconds, interpolated between samples; NaN where a curve never rises above its baseline or does not stay.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import onset_latency
    >>> times = np.arange(-0.1, 0.5, 0.01)
    >>> round(float(onset_latency(np.clip(times - 0.1, 0, 0.1), times)), 2)
    0.15
    """
    values, axis = np.nan_to_num(np.asarray(curve, dtype=np.float64)), np.asarray(times, dtype=np.float64)
    before, after = axis <= 0, np.flatnonzero(axis > 0)
    base = values[..., before].mean(axis=-1) if before.any() else np.zeros(values.shape[:-1])
    top = values[..., after].max(axis=-1)
    level = base + share * (top - base)
    above = values[..., after] >= level[..., None]
    held = above.copy()
    for shift in range(1, samples):
        held[..., :-shift] &= above[..., shift:]
        held[..., -shift:] = False
    first = held.argmax(axis=-1)
    here = after[first]
    there = np.maximum(here - 1, 0)
    high = np.take_along_axis(values, here[..., None], axis=-1)[..., 0]
    low = np.take_along_axis(values, there[..., None], axis=-1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.clip((level - low) / (high - low), 0.0, 1.0)
    part = np.where(np.isfinite(part) & (here > there), part, 1.0)
    latency = axis[there] + part * (axis[here] - axis[there])
    result = np.where(held.any(axis=-1) & (top > base), latency, np.nan)
    return float(result) if result.ndim == 0 else result
