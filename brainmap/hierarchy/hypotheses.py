"""Study A's hypotheses about backpropagation in the brain, as tests with an effect, an interval and a verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.names import TIMED, as_names
from brainmap.common.storage.lazy_arrays import mean_over_targets
from brainmap.hierarchy.cortex_distances import cortex_areas, in_hcp_areas
from brainmap.hierarchy.order_in_space import SpatialOptions, spatial_hierarchy
from brainmap.hierarchy.order_in_time import TemporalOptions, peak_lag, temporal_hierarchy, time_courses
from brainmap.statistics.significance import significance
from brainmap.statistics.tests_of_means import folds_interval, folds_t

SUPPORTED, CONTRADICTED, NEGLIGIBLE, INCONCLUSIVE = "supported", "contradicted", "negligible", "inconclusive"


@dataclass(frozen=True)
class HypothesisOptions:
    """Settings of :func:`evaluate_hypotheses`.

    Parameters
    ----------
    smallest_r, smallest_lag, smallest_order : float
        Smallest effects of interest: a score (r), a lag or a change of T_max from the first to the last layer (s), a
        correlation of an order in space. An interval inside ± the smallest effect is called negligible rather than
        inconclusive.
    spatial, temporal
        Settings of the hierarchies.

    Examples
    --------
    >>> from brainmap.hierarchy import HypothesisOptions
    >>> HypothesisOptions(smallest_lag=0.05).smallest_r
    0.005
    """

    smallest_r: float = 0.005
    smallest_lag: float = 0.02
    smallest_order: float = 0.1
    spatial: SpatialOptions = field(default_factory=SpatialOptions)
    temporal: TemporalOptions = field(default_factory=TemporalOptions)


def verdict(
    low: float, high: float, expected: int, smallest: float, *, p: float | None = None, alpha: float = 0.05
) -> str:
    """Judge a prediction by an interval, or by a test and its interval.

    Parameters
    ----------
    low, high : float
        Interval of the effect.
    expected : {1, -1}
        Predicted sign.
    smallest : float
        Smallest effect of interest.
    p, alpha : float
        Two-sided p of the effect and its level, where a test of its own decides whether there is one.

    Returns
    -------
    str
        'supported': the interval lies on the predicted side of zero. 'contradicted': on the other. 'negligible': it
        holds zero and nothing as large as ``smallest``. 'inconclusive': anything else, an unknown interval included.
        With ``p``, p ≤ alpha says whether there is an effect, and the interval's middle on which side.
    """
    if not (np.isfinite(low) and np.isfinite(high)) or (p is not None and not np.isfinite(p)):
        return INCONCLUSIVE
    if (low > 0 or high < 0) if p is None else p <= alpha:
        return SUPPORTED if (low + high > 0) == (expected > 0) else CONTRADICTED
    return NEGLIGIBLE if max(abs(low), abs(high)) < smallest else INCONCLUSIVE


def evaluate_hypotheses(
    scores: dict[str, xr.Dataset | xr.DataArray],
    targets: dict[str, pd.DataFrame] | None = None,
    *,
    masks: dict[str, NDArray[np.bool_]] | None = None,
    predicting: Mapping[str, Collection[str]] | None = None,
    options: HypothesisOptions | None = None,
) -> pd.DataFrame:
    """Test Study A's three hypotheses on the scores of activations and gradients.

    1. Gradients map onto brain responses. 2. Their mapping peaks later than that of activations. 3. Activations follow
    the hierarchy bottom-up in space and time, gradients top-down (deep layers ↔ early areas, early times).

    Parameters
    ----------
    scores : dict of str to Dataset or DataArray
        By modality ('fmri', and one with sensors and times: 'meg', 'eeg' …): r with dims (subject, signal, layer,
        split, target), signals 'activation' and 'gradient', coordinate ``depth`` on ``layer``.
    targets : dict of str to pandas.DataFrame, optional
        fMRI targets (``roi``, ``hemisphere``, ``x``, ``y``, ``z``); by default taken from the coordinates.
    masks : dict of str to ndarray of bool, (n_targets,), optional
        By signal, the fMRI targets whose order counts, such as those above chance; all by default.
    predicting : mapping of str to collection of str, optional
        Modality → signals that predict it above chance by a test the caller trusts, such as one corrected over all
        layers, targets and modalities. Verdicts that involve another signal are inconclusive, and ``note`` says so.
    options : HypothesisOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        One row per prediction: ``hypothesis`` (1–3), ``prediction``, ``modality``, ``effect``, ``low``, ``high``,
        ``unit``, ``expected`` (sign), ``p``, ``how`` p was made, ``verdict``, ``note``. Predictions
        whose data are absent are left out; ``attrs['absent']`` names them. A signal that predicts nothing has no peak
        and no order in time: unless its score, mean over layers and sensors, is above chance at some moment (test over
        folds, false discovery rate), verdicts about its peaks are inconclusive, and ``note`` says so. Verdicts rest on
        p: of scores by the test over folds; of lag and order in time (the slope of T_max over depth) by the t test over
        subjects, or folds (:mod:`brainmap.hierarchy.replication`); of orders in space by random maps as smooth as that
        of the best layers (:mod:`brainmap.hierarchy.surrogate_maps`).

    Raises
    ------
    InputError
        If neither modality is given or an unknown one, a signal is missing, there are fewer than three splits, or fMRI
        targets have no areas.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import evaluate_hypotheses
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> table = evaluate_hypotheses({"meg": run.scores["meg"]["r"].load()})
    >>> sorted(set(table["hypothesis"]))
    [1, 2, 3]
    """
    options = options or HypothesisOptions()
    told = None if predicting is None else {name: as_names(signals) for name, signals in predicting.items()}
    if not isinstance(scores, Mapping) or not scores or not set(scores) <= {"fmri", *TIMED}:
        given = sorted(map(str, scores)) if isinstance(scores, Mapping) else type(scores).__name__
        raise InputError(f"Hypotheses need scores as a dictionary with 'fmri', 'meg' (or 'eeg') or both; got {given}.")
    arrays = {name: s["r"] if isinstance(s, xr.Dataset) else s for name, s in scores.items()}
    for name, r in arrays.items():
        _check(name, r)
    rows: list[dict[str, Any]] = [_maps_onto_brain(name, r, options) for name, r in arrays.items()]
    for name in arrays:
        if name in TIMED:
            rows += _temporal(name, arrays[name], options)
    if "fmri" in arrays:
        table = (targets or {}).get("fmri")
        table = targets_of(arrays["fmri"]) if table is None else table
        rows += _spatial(arrays["fmri"], table, masks or {}, options)
    if told is not None:
        rows = [_above_chance(row, told[row["modality"]]) for row in rows]
    frame = pd.DataFrame(rows).sort_values("hypothesis", kind="stable").reset_index(drop=True)
    frame.attrs["absent"] = [
        name for name in ("fmri", "meg") if name not in arrays and (name == "fmri" or not set(TIMED) & set(arrays))
    ]
    return frame


def _check(modality: str, r: xr.DataArray) -> None:
    if not isinstance(r, xr.DataArray) or "signal" not in r.dims:
        raise InputError(
            f"The {modality} scores must be an xarray.DataArray, or Dataset with 'r', with dims 'signal', …"
        )
    absent = {"activation", "gradient"} - set(map(str, r["signal"].values))
    if absent:
        raise InputError(f"The {modality} scores lack the signal {sorted(absent)[0]!r}; hypotheses compare both.")
    if r.sizes.get("split", 0) < 3:
        raise InputError(f"Hypotheses take folds as their yardstick: the {modality} scores need 3 splits or more.")


def _row(number: int, prediction: str, modality: str, **more: Any) -> dict[str, Any]:
    smallest, alpha = more.pop("smallest"), more.pop("alpha", None)
    test = {} if alpha is None else {"p": more["p"], "alpha": alpha}
    note = more.pop("note", "")
    outcome = INCONCLUSIVE if note else verdict(more["low"], more["high"], more["expected"], smallest, **test)
    row = {"hypothesis": number, "prediction": prediction, "modality": modality, "p": np.nan, **more}
    return {**row, "verdict": outcome, "note": note}


def _above_chance(row: dict[str, Any], predicting: Collection[str]) -> dict[str, Any]:
    """Take back a verdict about a signal that predicts nothing."""
    silent = [
        signal for signal in ("activation", "gradient") if signal in row["prediction"] and signal not in predicting
    ]
    if not silent:
        return row
    note = row["note"] or f"{' and '.join(f'{signal}s' for signal in silent)} are not shown to be above chance"
    return {**row, "verdict": INCONCLUSIVE, "note": note}


def _maps_onto_brain(modality: str, r: xr.DataArray, options: HypothesisOptions) -> dict[str, Any]:
    """Mean score of the gradients over layers and targets, folds as the yardstick."""
    mean = mean_over_targets(r.sel(signal="gradient")).mean("layer", skipna=True)
    values = mean.mean("subject").values if "subject" in mean.dims else mean.values
    _, p = folds_t(values)
    low, high = folds_interval(values, options.temporal.confidence)
    return _row(
        1,
        "gradients predict responses (mean r over layers and targets)",
        modality,
        effect=float(values.mean()),
        low=float(low),
        high=float(high),
        unit="r",
        expected=1,
        p=float(p),
        how=f"one-sided t test over {len(values)} folds (mean of subjects), corrected for shared training data",
        smallest=options.smallest_r,
    )


def _temporal(modality: str, r: xr.DataArray, options: HypothesisOptions) -> list[dict[str, Any]]:
    forward, backward = r.sel(signal="activation"), r.sel(signal="gradient")
    both = {"activations": forward, "gradients": backward}
    silent = {
        name: "" if above_chance_at_some_time(x) else f"{name} are not above chance at any time"
        for name, x in both.items()
    }
    rows = []
    lag = peak_lag(backward, forward, options=options.temporal)
    alpha = 1.0 - options.temporal.confidence
    shared = {"unit": "s", "alpha": alpha, "smallest": options.smallest_lag}
    numbers: dict[str, Any] = {"effect": lag.lag, "low": lag.low, "high": lag.high, "p": lag.p, "how": lag.p_method}
    name = "gradients peak later than activations (mean lag of T_max over layers)"
    rows.append(_row(2, name, modality, **numbers, **shared, note="; ".join(filter(None, silent.values())), expected=1))
    for signal, scores, sign in (("activations", forward, 1), ("gradients", backward, -1)):
        direction = "deeper layers peak later" if sign > 0 else "deeper layers peak earlier"
        try:
            attrs = temporal_hierarchy(scores, options=options.temporal).attrs
        except InputError as error:
            attrs = dict.fromkeys(_SLOPE, np.nan) | {"p_method": f"no p: {error}"}
        numbers = {key: attrs[name] for name, key in _SLOPE.items()} | {"how": attrs["p_method"]}
        name = f"{signal}: {direction} (slope of T_max over depth)"
        rows.append(_row(3, name, modality, **numbers, **shared, note=silent[signal], expected=sign))
    return rows


_SLOPE = {"slope": "effect", "slope_low": "low", "slope_high": "high", "slope_p": "p"}


def above_chance_at_some_time(r: xr.DataArray) -> bool:
    """Whether the mean over layers and sensors is above chance at some moment."""
    course = time_courses(r).mean("layer", skipna=True).rename(time="target")
    return bool(significance(course, test="folds").significant.any())


def _spatial(
    r: xr.DataArray, targets: pd.DataFrame, masks: dict[str, NDArray[np.bool_]], options: HypothesisOptions
) -> list[dict[str, Any]]:
    rows = []
    cortex = cortex_areas(options.spatial.reference) if in_hcp_areas(targets) else None
    alpha = 1.0 - options.spatial.confidence
    for signal, sign in (("activation", 1), ("gradient", -1)):
        direction = "deeper layers fit areas farther from V1" if sign > 0 else "deeper layers fit areas nearer to V1"
        mine, mask = r.sel(signal=signal), masks.get(signal)
        try:
            attrs = spatial_hierarchy(mine, targets, mask=mask, cortex=cortex, options=options.spatial).attrs
        except InputError as error:
            if mask is None:
                raise
            attrs = dict.fromkeys(("r", "low", "high", "p"), np.nan) | {"p_method": f"no p: {error}"}  # too few areas
        numbers = {"effect": attrs["r"], "low": attrs["low"], "high": attrs["high"], "unit": "r", "p": attrs["p"]}
        numbers |= {"how": attrs["p_method"], "smallest": options.smallest_order, "alpha": alpha}
        name = f"{signal}s: {direction} (best layer against distance)"
        rows.append(_row(3, name, "fmri", **numbers, expected=sign))
    return rows


def targets_of(r: xr.DataArray) -> pd.DataFrame:
    """Return the areas and places of fMRI targets that stand in the coordinates of their scores."""
    names = [n for n in ("roi", "hemisphere", "x", "y", "z") if n in r.coords]
    if "roi" not in names:
        raise InputError(
            "Orders in space need the area of each fMRI target: 'roi', in targets['fmri'] or a coordinate."
        )
    return pd.DataFrame({name: r[name].values for name in names})
