"""Sigmoids in log step, fitted to curves of scores over training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

FloatArray = NDArray[np.float64]
MOST_GAIN = 3.0  # of a sigmoid, in units of the spread of the scores
SCAN, ZOOMS = (61, 21), 5  # middles and slopes that are tried for resamples, and how often closer by


def sigmoid(x: FloatArray, parameters: FloatArray) -> FloatArray:
    """Value at places on the logarithmic axis; parameters: floor, gain, middle, logarithm of the slope."""
    floor, gain, middle, log_slope = parameters
    curve: FloatArray = floor + gain * special.expit(np.exp(log_slope) * (x - middle))
    return curve


def fitted_sigmoid(x: FloatArray, y: FloatArray) -> tuple[FloatArray, float]:
    """Parameters of the sigmoid nearest to a curve, and the share of its variance that this explains."""
    spread = float(np.ptp(y))
    scaled = y / spread  # the tolerances of the fit are absolute: without this, scores below .001 end at the guess
    (low_x, high_x), (low_slope, high_slope) = _limits(x)
    low = [scaled.min() - 1, -MOST_GAIN, low_x, low_slope]
    high = [scaled.max() + 1, MOST_GAIN, high_x, high_slope]
    best = None
    for centre in np.quantile(x, [0.2, 0.4, 0.6, 0.8]):
        guess = np.clip([scaled[0], scaled[-1] - scaled[0], centre, np.log(6.0 / (x[-1] - x[0]))], low, high)
        result = optimize.least_squares(lambda p: sigmoid(x, p) - scaled, guess, bounds=(low, high))
        best = result if best is None or result.cost < best.cost else best
    assert best is not None
    parameters: FloatArray = best.x
    parameters[:2] *= spread
    error = float(np.sum((sigmoid(x, parameters) - y) ** 2))
    return parameters, 1.0 - error / float(np.sum((y - y.mean()) ** 2))


def _limits(x: FloatArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the middle of a sigmoid and the logarithm of its slope may lie."""
    width = float(x[-1] - x[0])
    return (float(x[0]) - width / 2, float(x[-1]) + width / 2), (
        float(np.log(0.5 / width)),
        float(np.log(50.0 / width)),
    )


def scanned_sigmoids(x: FloatArray, curves: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nearest sigmoids of many curves at once: a grid of middles and slopes, closed in on where each fits best.

    Floor and gain are linear, and follow from middle and slope. To a ten thousandth of the axis the same as
    :func:`fitted_sigmoid`, in a hundredth of the time.

    Returns
    -------
    parameters : ndarray, (n_curves, 4)
    fit_r2 : ndarray, (n_curves,)
    """
    limits = np.array(_limits(x))
    centred = curves - curves.mean(axis=1, keepdims=True)
    total = np.maximum((centred**2).sum(axis=1), 1e-300)
    most = MOST_GAIN * np.ptp(curves, axis=1)[:, None]
    steps = (limits[:, 1] - limits[:, 0]) / (np.array(SCAN) - 1)
    tried = [np.linspace(low, high, int(n)) for (low, high), n in zip(limits.tolist(), SCAN, strict=True)]
    places = np.stack(np.meshgrid(*tried, indexing="ij"), axis=-1).reshape(1, -1, 2)
    for _ in range(ZOOMS + 1):
        shapes = special.expit(np.exp(places[..., 1:]) * (x - places[..., :1]))  # (1 or n_curves, places, steps)
        shapes = shapes - shapes.mean(axis=-1, keepdims=True)
        size = np.maximum((shapes**2).sum(axis=-1), 1e-300)
        gain = np.einsum("ck,cpk->cp", centred, np.broadcast_to(shapes, (len(curves), *shapes.shape[1:]))) / size
        explained = np.where(np.abs(gain) <= most, gain**2 * size, -1.0)
        best = explained.argmax(axis=1)[:, None]
        found = np.take_along_axis(np.broadcast_to(places, (len(curves), *places.shape[1:])), best[..., None], axis=1)
        kept = np.take_along_axis(gain, best, axis=1)[:, 0]
        r2 = np.take_along_axis(explained, best, axis=1)[:, 0] / total
        steps = steps / 4.0
        near = np.stack(np.meshgrid(*[np.arange(-4, 5) * step for step in steps], indexing="ij"), axis=-1)
        places = np.clip(found + near.reshape(1, -1, 2), limits[:, 0], limits[:, 1])
    middle, log_slope = found[:, 0].T
    share = special.expit(np.exp(log_slope)[:, None] * (x - middle[:, None])).mean(axis=1)
    return np.stack([curves.mean(axis=1) - kept * share, kept, middle, log_slope], axis=1), r2
