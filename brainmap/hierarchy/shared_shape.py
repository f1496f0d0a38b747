"""Time courses of layers as one shape, shifted and scaled: what they may look like without their noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ROUNDS = 4  # of aligning and averaging; shifts hardly change after two
PER_SAMPLE = 4  # shifts that are tried
REACH = 3  # the largest shift is the epoch divided by this


def shared_shape(curves: FloatArray, times: FloatArray) -> FloatArray:
    """Fit the mean shape of all curves to each, at the shift and size that suit it best (Woody 1967).

    Parameters
    ----------
    curves : ndarray, (..., n_layers, n_times)
        Mean scores; layers of one signal share a shape. NaN counts as 0.
    times : ndarray, (n_times,)
        Seconds.

    Returns
    -------
    ndarray, (..., n_layers, n_times)
        Fitted curves: the noise of a layer's own is averaged away, its latency kept. A curve that the shape fits
        nowhere with positive size stays as it is.
    """
    filled = np.nan_to_num(np.asarray(curves, dtype=np.float64))
    if filled.ndim > 2:
        return np.stack([shared_shape(signal, times) for signal in filled])
    if len(times) < 2:
        return filled
    step = float(np.median(np.diff(times))) / PER_SAMPLE
    reach = int((times[-1] - times[0]) / (REACH * step))
    tried: FloatArray = step * np.arange(-reach, reach + 1, dtype=np.float64)
    shift: FloatArray = np.zeros(len(filled))
    for _ in range(ROUNDS):
        shape = _shifted(filled, -shift, times).mean(axis=0)
        candidates = _shifted(np.tile(shape, (len(tried), 1)), tried, times)
        size = np.maximum(np.sum(candidates**2, axis=1), np.finfo(float).tiny)
        fit = np.maximum(filled @ candidates.T, 0.0) ** 2 / size
        best = tried[fit.argmax(axis=1)]
        shift = np.asarray(best - best.mean())
    shape = _shifted(filled, -shift, times).mean(axis=0)
    fitted = _shifted(np.tile(shape, (len(filled), 1)), shift, times)
    size = np.maximum(np.sum(fitted**2, axis=1), np.finfo(float).tiny)
    share = np.sum(filled * fitted, axis=1) / size
    return np.where((share > 0)[:, None], share[:, None] * fitted, filled)


def _shifted(curves: FloatArray, by: FloatArray, times: FloatArray) -> FloatArray:
    """Curves later by so many seconds, interpolated; edges are held."""
    return np.stack([np.interp(times - late, times, curve) for curve, late in zip(curves, by, strict=True)])
