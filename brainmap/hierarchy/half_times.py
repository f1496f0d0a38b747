"""Training dynamics: when, in the course of training, a score reaches half of its final value."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from brainmap.common.errors import InputError
from brainmap.hierarchy.resampling import Resampling, interval, mean_of, resampled

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class HalfTime:
    """Half time of one curve of scores over training.

    Attributes
    ----------
    step, low, high : float
        Training step at which the fitted curve reaches half of its final value, with interval; NaN where ``failure``.
    fraction : float
        The same as a fraction of the last step.
    start, final : float
        Fitted scores at the first and the last checkpoint.
    fit_r2 : float
        Share of the curve's variance that the sigmoid explains.
    failure : str
        Empty, or why there is no half time.
    curve : tuple of float, optional
        The sigmoid ``floor + gain / (1 + exp(−slope · ln(step / middle)))`` as (floor, gain, middle, slope); None where
        nothing was fitted.

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
        A sigmoid that explains less of the curve is a failure.
    minimum_final : float
        A final score below (in units of the score) is a failure: half of nothing has no time.
    resampling : Resampling
        Of the interval, over cells (subject × fold).

    Examples
    --------
    >>> from brainmap.hierarchy import DynamicsOptions, Resampling
    >>> DynamicsOptions(minimum_final=0.01, resampling=Resampling(n=200)).minimum_r2
    0.5
    """

    minimum_r2: float = 0.5
    minimum_final: float = 0.0
    resampling: Resampling = field(default_factory=lambda: Resampling(n=200))


def half_time(steps: ArrayLike, scores: ArrayLike, *, options: DynamicsOptions | None = None) -> HalfTime:
    """Fit a sigmoid in log step and find where it reaches half of its final value.

    Parameters
    ----------
    steps : array-like, (n_steps,)
        Training steps in increasing order. Step 0 is placed at half of the first step above 0 on the logarithmic axis.
    scores : array-like, (n_steps,) or (n_cells, n_steps)
        Score at each step; cells are subjects × folds, from which the interval is made.
    options : DynamicsOptions, optional
        Settings.

    Returns
    -------
    HalfTime
        With ``failure`` instead of numbers where the score never rises, is already half its final value at the first
        checkpoint, falls back, or does not look like a sigmoid. The interval is made on the logarithmic axis from
        resampled cells; it is NaN if fewer than nine in ten resamples have a half time.

    Raises
    ------
    InputError
        For fewer than four steps, or steps that do not increase.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import half_time
    >>> steps = np.array([1, 3, 10, 30, 100, 300, 1000])
    >>> half_time(steps, np.zeros(7)).failure != ""  # nothing that is learned has no half time
    True
    """
    options = options or DynamicsOptions()
    axis, last = _log_axis(steps)
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.shape[1] != len(axis):
        raise InputError(f"There are {len(axis)} steps but scores of shape {rows.shape}.")
    curve = mean_of(rows)
    fit = _fit(axis, curve, options)
    if fit.failure or len(rows) < 2 or options.resampling.n == 0:
        return _on_steps(fit, np.nan, np.nan, last)

    def statistic(means: FloatArray) -> FloatArray:
        return np.array([_fit(axis, mean, options, near=fit).step for mean in means])

    draws = resampled(rows, statistic, options.resampling)
    low = high = np.nan
    if np.isfinite(draws).mean() >= 0.9:
        low, high = (float(x) for x in interval(fit.step, draws, len(rows), options.resampling.confidence))
    return _on_steps(fit, low, high, last)


def half_times(
    scores: xr.DataArray, *, unit: str = "target", step: str = "step", options: DynamicsOptions | None = None
) -> pd.DataFrame:
    """Half time of every unit (area, time window, layer).

    Parameters
    ----------
    scores : xr.DataArray
        Scores with dimensions ``step`` (its coordinate: training steps), ``unit``, and optionally subject and split.
    unit, step : str
        Names of the dimensions.
    options : DynamicsOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        ``unit``, ``half_time``, ``low``, ``high``, ``fraction``, ``start``, ``final``, ``fit_r2``, ``failure``.

    Raises
    ------
    InputError
        If the scores are no DataArray, or a dimension or the coordinate of steps is missing.

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
    rest = [d for d in scores.dims if d not in (unit, step)]
    values = scores.transpose(unit, *rest, step).values.astype(np.float64)
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    names = scores[unit].values if unit in scores.coords else np.arange(len(values))
    rows = []
    for name, cells in zip(names, values, strict=True):
        fit = half_time(scores[step].values, cells, options=options)
        more = {key: value for key, value in vars(fit).items() if key not in ("step", "curve")}
        rows.append({"unit": name, "half_time": fit.step, **more})
    return pd.DataFrame(rows)


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


def _sigmoid(x: FloatArray, parameters: FloatArray) -> FloatArray:
    floor, gain, middle, log_slope = parameters
    curve: FloatArray = floor + gain * special.expit(np.exp(log_slope) * (x - middle))
    return curve


def _failed(reason: str, start: float = np.nan, final: float = np.nan, fit: float = np.nan) -> HalfTime:
    return HalfTime(np.nan, np.nan, np.nan, np.nan, start, final, fit, reason)


def _fit(x: FloatArray, y: FloatArray, options: DynamicsOptions, *, near: HalfTime | None = None) -> HalfTime:
    """Half time on the logarithmic axis (in ``step``), or the reason why there is none."""
    if not np.isfinite(y).all():
        return _failed("a score is missing")
    spread = float(np.ptp(y))
    if spread == 0:
        return _failed("the score does not change", float(y[0]), float(y[-1]))
    width = float(x[-1] - x[0])
    scaled = y / spread  # the tolerances of the fit are absolute: without this, scores below .001 end at the guess
    low = [scaled.min() - 1, -3, x[0] - width / 2, np.log(0.5 / width)]
    high = [scaled.max() + 1, 3, x[-1] + width / 2, np.log(50.0 / width)]
    centres = [near.step] if near is not None else np.quantile(x, [0.2, 0.4, 0.6, 0.8])
    best = None
    for centre in centres:
        guess = np.clip([scaled[0], scaled[-1] - scaled[0], centre, np.log(6.0 / width)], low, high)
        result = optimize.least_squares(lambda p: _sigmoid(x, p) - scaled, guess, bounds=(low, high))
        best = result if best is None or result.cost < best.cost else best
    assert best is not None
    best.x[:2] *= spread
    fitted = _sigmoid(x, best.x)
    fit_r2 = 1.0 - float(np.sum((fitted - y) ** 2) / np.sum((y - y.mean()) ** 2))
    start, final = float(fitted[0]), float(fitted[-1])
    failure = _why_not(start, final, fit_r2, options)
    if failure:
        return _failed(failure, start, final, fit_r2)
    place = float(optimize.brentq(lambda t: float(_sigmoid(np.array(t), best.x)) - final / 2, x[0], x[-1]))
    floor, gain, middle, log_slope = (float(value) for value in best.x)
    curve = (floor, gain, float(np.exp(middle)), float(np.exp(log_slope)))
    return HalfTime(place, np.nan, np.nan, np.nan, start, final, fit_r2, curve=curve)


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
    numbers = (fit.start, fit.final, fit.fit_r2, fit.failure, fit.curve)
    return HalfTime(step, float(np.exp(low)), float(np.exp(high)), step / last, *numbers)


def training_half_times(cells: xr.DataArray) -> pd.DataFrame:
    """Half time of every unit (area or window) in % of training, with its interval over subjects and folds.

    A handful of checkpoints says little about four parameters: noise has a half time in one of three cases, but hardly
    ever one whose resamples agree. A half time therefore counts only with an interval, and only where the score of the
    last checkpoint reaches a tenth of the highest: a share of nothing says nothing.

    Returns
    -------
    pandas.DataFrame
        As :func:`brainmap.hierarchy.half_times`, and ``percent``, ``percent_low``, ``percent_high``; these three are
        NaN where there is no half time that counts, and ``failure`` then says why.
    """
    ordered = cells.transpose("unit", "subject", "split", "step")
    values = np.ascontiguousarray(ordered.values.reshape(ordered.sizes["unit"], -1, ordered.sizes["step"]), float)
    steps = tuple(float(step) for step in ordered["step"].values)
    final = np.nanmean(values[:, :, -1], axis=1)
    reaches = final >= 0.1 * np.nanmax(final)
    fits = [_half_time(steps, unit.tobytes()) if high else _TOO_LOW for unit, high in zip(values, reaches, strict=True)]
    table = pd.DataFrame([vars(fit) for fit in fits]).drop(columns="curve").rename(columns={"step": "half_time"})
    table.insert(0, "unit", ordered["unit"].values)
    table.loc[(table["failure"] == "") & table["low"].isna(), "failure"] = "the half time has no interval"
    share = {"percent": "half_time", "percent_low": "low", "percent_high": "high"}
    counts = table["failure"] == ""
    return table.assign(**{name: (100.0 / steps[-1] * table[of]).where(counts) for name, of in share.items()})


_TOO_LOW = HalfTime(
    np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, "the final score is below a tenth of the highest"
)


@functools.lru_cache(maxsize=2048)  # several panels and numbers ask for the same areas
def _half_time(steps: tuple[float, ...], values: bytes) -> HalfTime:
    """Half time of one unit from the bytes of its scores, (n_cells, n_steps) float64."""
    cells = np.frombuffer(values).reshape(-1, len(steps))
    return half_time(steps, cells, options=DynamicsOptions(resampling=Resampling(n=100)))
