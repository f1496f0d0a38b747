"""Training dynamics: when, in the course of training, a score has gained half of what it gains, or has half its end.

Raugel et al. 2025 write "half of its final value", but their curves are normalised between the first checkpoint (0) and
the last (1). Half of the final value depends on what the untrained model scores: three curves of one shape and one
midpoint, from 0 to .09, from .03 to .09 and from .09 to .155, have half times that differ by a factor of two, and the
third has none. Half of the gain is the same step for all three. Both are here: ``baseline="zero"`` and ``"first"``.

Intervals are made over the unit of replication of an order (:mod:`brainmap.hierarchy.replication`): subjects where
there are five or more, else folds. Resampled units give the standard error of the half time of their mean curve; that
of folds is larger by √(2(K − 1)/(K − 2)), as in the t test over folds, since folds share training data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from brainmap.common.errors import InputError
from brainmap.hierarchy.replication import unit_scores
from brainmap.hierarchy.resampling import Resampling, interval, mean_of, resampled
from brainmap.hierarchy.training_sigmoids import fitted_sigmoid, scanned_sigmoids, sigmoid
from brainmap.statistics.tests_of_means import LEAST

FloatArray = NDArray[np.float64]
Baseline = Literal["zero", "first"]
Unit = Literal["subjects", "folds"]
BASELINES = {"first": "half of the gain from the first checkpoint to the last", "zero": "half of the final value"}
"""What a half time is half of."""


@dataclass(frozen=True)
class HalfTime:
    """Half time of one curve of scores over training.

    Attributes
    ----------
    step, low, high : float
        Training step at which the curve reaches half, with interval; NaN where ``failure``.
    fraction : float
        The same as a fraction of the last step.
    start, final : float
        Scores at the first and the last checkpoint: of the fitted sigmoid, or measured where the half time is
        interpolated.
    fit_r2 : float
        Share of the curve's variance that the sigmoid explains.
    failure : str
        Empty, or why there is no half time.
    curve : tuple of float, optional
        The sigmoid ``floor + gain / (1 + exp(−slope · ln(step / middle)))`` as (floor, gain, middle, slope); None where
        the half time is not read off one.
    method : str
        ``sigmoid``, or ``interpolated`` for curves that do not look like one; empty where there is no half time.
    baseline : {'zero', 'first'}
        Half of what: of the final score, or of the gain.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import half_time
    >>> steps = np.array([1, 3, 10, 30, 100, 300, 1000])
    >>> rise = half_time(steps, 0.3 / (1 + np.exp(-3 * np.log(steps / 30))))
    >>> round(rise.step), rise.failure
    (30, '')
    """

    step: float
    low: float
    high: float
    fraction: float
    start: float
    final: float
    fit_r2: float
    failure: str = ""
    curve: tuple[float, float, float, float] | None = None
    method: str = ""
    baseline: Baseline = "zero"

    @property
    def gain(self) -> float:
        """Final minus first score; negative where the score falls over training."""
        return self.final - self.start

    @property
    def level(self) -> float:
        """Score that counts as half."""
        return (self.start + self.final) / 2 if self.baseline == "first" else self.final / 2

    def __repr__(self) -> str:
        if self.failure:
            return f"<HalfTime: none, {self.failure}>"
        return f"<HalfTime: step {self.step:.3g} [{self.low:.3g}, {self.high:.3g}], {self.fraction:.2%} of training>"


@dataclass(frozen=True)
class DynamicsOptions:
    """Settings of half times.

    Parameters
    ----------
    minimum_r2 : float
        A sigmoid that explains less of the curve is a failure (``baseline="zero"``), or makes room for interpolation.
    minimum_final : float
        ``baseline="zero"``: a final score below (in units of the score) is a failure: half of nothing has no time.
    minimum_gain : float
        ``baseline="first"``: the same of the size of the gain.
    resampling : Resampling
        Of the interval, over units of replication.

    Examples
    --------
    >>> from brainmap.hierarchy import DynamicsOptions, Resampling
    >>> DynamicsOptions(minimum_final=0.01, resampling=Resampling(n=200)).minimum_r2
    0.5
    """

    minimum_r2: float = 0.5
    minimum_final: float = 0.0
    minimum_gain: float = 0.0
    resampling: Resampling = field(default_factory=lambda: Resampling(n=200))


def half_time(
    steps: ArrayLike,
    scores: ArrayLike,
    *,
    over: Unit = "subjects",
    baseline: Baseline = "zero",
    options: DynamicsOptions | None = None,
) -> HalfTime:
    """Find the training step at which a score reaches half, on a sigmoid in log step.

    Parameters
    ----------
    steps : array-like, (n_steps,)
        Training steps in increasing order. Step 0 is placed at half of the first step above 0 on the logarithmic axis.
    scores : array-like, (n_steps,) or (n_units, n_steps)
        Score at each step; units are those over which the interval is made: subjects (mean over folds), or folds (mean
        over subjects).
    over : {'subjects', 'folds'}
        What units are. Over subjects the interval holds for other subjects and these photographs; over three folds or
        more for other photographs and these subjects.
    baseline : {'zero', 'first'}
        ``zero``: half of the final score, the words of Raugel et al. 2025; it depends on what the untrained model
        scores. ``first``: half of the gain from the first checkpoint to the last, as their figures are normalised; it
        does not change when a constant is added to the scores or they are multiplied.
    options : DynamicsOptions, optional
        Settings.

    Returns
    -------
    HalfTime
        With ``failure`` instead of numbers where there is none. ``zero``: the score never rises, is already half its
        final value at the first checkpoint, or does not look like a sigmoid. ``first``: it does not change; a score
        that falls has a half time, too (half of the loss), and a curve that does not look like a sigmoid, such as one
        that dips or overshoots, has that of the monotone curve nearest to it (isotonic regression in the direction of
        the gain), interpolated between checkpoints on the logarithmic axis. The interval is made on that axis from
        resampled units; resamples that change in the other direction have none, and it is NaN if fewer than nine in ten
        resamples have one.

    Raises
    ------
    InputError
        For fewer than four steps, steps that do not increase, or another baseline.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import half_time
    >>> steps = np.geomspace(100, 1_000_000, 9)
    >>> trained = 1 / (1 + (12_000 / steps) ** 2)
    >>> [round(half_time(steps, 0.03 + 0.06 * trained, baseline=b).step, -1) for b in ("first", "zero")]
    [12000.0, 6930.0]
    """
    options = options or DynamicsOptions()
    if baseline not in BASELINES:
        raise InputError(f"A half time's baseline is 'first' or 'zero', not {baseline!r}.")
    if over not in get_args(Unit):
        raise InputError(f"The interval of a half time is made over 'subjects' or 'folds', not {over!r}.")
    axis, last = _log_axis(steps)
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.shape[1] != len(axis):
        raise InputError(f"There are {len(axis)} steps but scores of shape {rows.shape}.")
    scored = np.isfinite(rows).any(axis=1)
    rows = rows[scored] if scored.any() else rows  # units without any score are none
    fit = _fit(axis, mean_of(rows), baseline, options)
    if fit.failure or len(rows) < (LEAST["folds"] if over == "folds" else 2) or options.resampling.n == 0:
        return _on_steps(fit, np.nan, np.nan, last)

    def statistic(means: FloatArray) -> FloatArray:
        places = np.full(len(means), np.nan)
        known = np.flatnonzero(np.isfinite(means).all(axis=1) & (np.ptp(means, axis=1) > 0))
        for number, parameters, fit_r2 in zip(known, *scanned_sigmoids(axis, means[known]), strict=True):
            other = _half_of(axis, means[number], parameters, fit_r2, (baseline, options))
            places[number] = other.step if other.gain * fit.gain > 0 else np.nan
        return places

    draws = resampled(rows, statistic, options.resampling)
    low = high = np.nan
    if np.isfinite(draws).mean() >= 0.9:
        shared = 2.0 * (len(rows) - 1) / (len(rows) - 2) if over == "folds" else 1.0
        draws = fit.step + np.sqrt(shared) * (draws - fit.step)
        low, high = (float(x) for x in interval(fit.step, draws, len(rows), options.resampling.confidence))
    return _on_steps(fit, low, high, last)


def half_times(
    scores: xr.DataArray,
    *,
    unit: str = "target",
    step: str = "step",
    baseline: Baseline = "zero",
    options: DynamicsOptions | None = None,
) -> pd.DataFrame:
    """Half time of every unit (area, time window, layer).

    Parameters
    ----------
    scores : xr.DataArray
        Scores with dimensions ``step`` (its coordinate: training steps), ``unit``, and optionally subject and split;
        intervals are made over five subjects or more, else over three folds or more, else not.
    unit, step : str
        Names of the dimensions.
    baseline : {'zero', 'first'}
        Half of what, see :func:`half_time`.
    options : DynamicsOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        ``unit``, ``half_time``, ``low``, ``high``, ``fraction``, ``start``, ``final``, ``fit_r2``, ``failure``,
        ``method``, ``baseline``, ``over`` (what the interval is made over: subjects, folds, or nothing).

    Raises
    ------
    InputError
        If the scores are no DataArray, a dimension or the coordinate of steps is missing, or there is another one.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> from brainmap.hierarchy import half_times
    >>> steps = np.array([1, 3, 10, 30, 100, 300, 1000])
    >>> scores = np.stack([0.3 / (1 + np.exp(-3 * np.log(steps / middle))) for middle in (20, 100)], axis=1)
    >>> curves = xr.DataArray(scores, dims=("step", "roi"), coords={"step": steps, "roi": ["V1", "IT"]})
    >>> half_times(curves, unit="roi")["half_time"].round().tolist()
    [20.0, 100.0]
    """
    if not isinstance(scores, xr.DataArray):
        raise InputError(f"Half times need scores as an xarray.DataArray, not {type(scores).__name__}.")
    if unit not in scores.dims or step not in scores.dims or step not in scores.coords:
        raise InputError(f"Half times need dims {unit!r} and {step!r} with a coordinate; got {tuple(scores.dims)}.")
    values, over = unit_scores(scores, unit, step)
    names = scores[unit].values if unit in scores.coords else np.arange(values.shape[1])
    rows = []
    for number, name in enumerate(names):
        fit = half_time(scores[step].values, values[:, number], over=_unit(over), baseline=baseline, options=options)
        more = {key: value for key, value in vars(fit).items() if key not in ("step", "curve")}
        rows.append({"unit": name, "half_time": fit.step, **more, "over": over})
    return pd.DataFrame(rows)


def _unit(replicated: str) -> Unit:
    """What rows are; a single one, where nothing is replicated, may have either name."""
    return "folds" if replicated == "folds" else "subjects"


def _log_axis(steps: ArrayLike) -> tuple[FloatArray, float]:
    try:
        values = np.asarray(steps, dtype=np.float64)
    except (TypeError, ValueError):
        first = str(np.ravel(np.asarray(steps, dtype=object))[0])
        raise InputError(f"Training steps must be numbers, such as 0, 100, 400; the first is {first!r}.") from None
    if (
        values.ndim != 1
        or len(values) < 4
        or not (np.diff(values) > 0).all()
        or not 0 <= values[0] <= values[-1] < np.inf
    ):
        raise InputError(f"Half times need at least four training steps in increasing order, got {values.tolist()}.")
    shifted = np.where(values == 0, values[values > 0][0] / 2.0, values)
    return np.log(shifted), float(values[-1])


def _failed(
    reason: str, baseline: Baseline, start: float = np.nan, final: float = np.nan, fit: float = np.nan
) -> HalfTime:
    return HalfTime(np.nan, np.nan, np.nan, np.nan, start, final, fit, reason, baseline=baseline)


def _fit(x: FloatArray, y: FloatArray, baseline: Baseline, options: DynamicsOptions) -> HalfTime:
    """Half time on the logarithmic axis (in ``step``), or the reason why there is none."""
    if not np.isfinite(y).all():
        return _failed("a score is missing", baseline)
    if np.ptp(y) == 0:
        return _failed("the score does not change", baseline, float(y[0]), float(y[-1]))
    return _half_of(x, y, *fitted_sigmoid(x, y), (baseline, options))


def _half_of(
    x: FloatArray, y: FloatArray, parameters: FloatArray, fit_r2: float, how: tuple[Baseline, DynamicsOptions]
) -> HalfTime:
    """Where a curve has half, on its sigmoid or, of ``first``, between checkpoints."""
    baseline, options = how
    start, final = (float(value) for value in sigmoid(x[[0, -1]], parameters))
    if baseline == "first":
        like_sigmoid = fit_r2 >= options.minimum_r2 and (final - start) * (y[-1] - y[0]) > 0
        if not like_sigmoid:
            return _interpolated(x, y, fit_r2, options)
        if abs(final - start) <= options.minimum_gain:
            return _failed(_no_gain(final - start, options), baseline, start, final, fit_r2)
        level = (start + final) / 2
    else:
        if failure := _why_not(start, final, fit_r2, options):
            return _failed(failure, baseline, start, final, fit_r2)
        level = final / 2
    floor, gain, middle, log_slope = (float(value) for value in parameters)
    place = float(np.clip(middle + special.logit((level - floor) / gain) / np.exp(log_slope), x[0], x[-1]))
    curve = (floor, gain, float(np.exp(middle)), float(np.exp(log_slope)))
    return HalfTime(place, np.nan, np.nan, np.nan, start, final, fit_r2, "", curve, "sigmoid", baseline)


def _interpolated(x: FloatArray, y: FloatArray, fit_r2: float, options: DynamicsOptions) -> HalfTime:
    """Where the monotone curve nearest to the scores has half of their gain, straight lines between checkpoints."""
    start, final = float(y[0]), float(y[-1])
    if abs(final - start) <= options.minimum_gain:
        return _failed(_no_gain(final - start, options), "first", start, final, fit_r2)
    sign = 1.0 if final > start else -1.0
    monotone = np.asarray(optimize.isotonic_regression(sign * y).x)  # starts at or below the first score, ends above
    level = sign * (start + final) / 2
    after = int(np.argmax(monotone >= level))
    place = float(np.interp(level, monotone[after - 1 : after + 1], x[after - 1 : after + 1]))
    return HalfTime(place, np.nan, np.nan, np.nan, start, final, fit_r2, "", None, "interpolated", "first")


def _no_gain(gain: float, options: DynamicsOptions) -> str:
    return f"the score gains {gain:.3g} over training, of which no half is taken (at least {options.minimum_gain:g})"


def _why_not(start: float, final: float, fit_r2: float, options: DynamicsOptions) -> str:
    if final <= options.minimum_final:
        return f"the final score ({final:.3g}) is not above {options.minimum_final:g}"
    if final <= start:
        return "the score does not rise over training"
    if fit_r2 < options.minimum_r2:
        return f"a sigmoid explains only {fit_r2:.0%} of the curve"
    if start >= final / 2:
        return "the first checkpoint already has half of the final score"
    return ""


def _on_steps(fit: HalfTime, low: float, high: float, last: float) -> HalfTime:
    """Back from the logarithmic axis."""
    step = float(np.exp(fit.step))
    return replace(fit, step=step, low=float(np.exp(low)), high=float(np.exp(high)), fraction=step / last)
