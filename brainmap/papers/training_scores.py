"""Scores over training as Study B's figures 4E, 5 and 8 normalise them, and their half times."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.hierarchy import DynamicsOptions, HalfTime, Resampling, distance_to, half_time
from brainmap.hierarchy.half_times import Baseline, Unit
from brainmap.hierarchy.replication import unit_scores
from brainmap.hierarchy.resampling import mean_of
from brainmap.hierarchy.training_sigmoids import sigmoid
from brainmap.papers.factor_levels import spatial_by_subject, temporal_by_subject
from brainmap.results.collection import Member
from brainmap.results.collection_tables import significant_targets, subject_scores

FIGURES: Baseline = "first"
"""Half times as Study B draws them: its curves start at 0; its text says half of the final value ("zero")."""


def cells_over_training(members: Sequence[Member], modality: str, by: str, names: Sequence[Any] = ()) -> xr.DataArray:
    """Best layer's score (layers: highest mean) of each area or time at each checkpoint.

    Returns
    -------
    xr.DataArray
        Dims (step, subject, split, unit), as :func:`brainmap.hierarchy.half_times` takes it.
    """
    parts = []
    for member in members:
        r = member.results.scores[modality]["r"].isel(signal=0)
        labels = np.asarray(r[by].values)
        units = list(names) if len(names) else sorted(set(labels.tolist()))
        stacked = [r.isel(target=np.flatnonzero(labels == unit)).mean("target", skipna=True) for unit in units]
        both = xr.concat(stacked, "unit").assign_coords(unit=units)
        best = both.mean(("subject", "split")).argmax("layer")
        parts.append(both.isel(layer=best).drop_vars(["layer", "depth", "signal"], errors="ignore"))
    steps = [member.step for member in members]
    return xr.concat(parts, "step").assign_coords(step=steps).transpose("step", "subject", "split", "unit")


def windows_over_training(members: Sequence[Member], width: float = 0.08) -> xr.DataArray:
    """The same for windows of the MEG response after onset; ``unit`` is the window's centre in s."""
    times = np.asarray(sorted(set(members[0].results.targets("meg")["time"].astype(float))))
    fine = cells_over_training(members, "meg", "time", times.tolist())
    window = np.floor(times / width).astype(int)
    centres, parts = [], []
    for number in np.unique(window[times > 0]):
        chosen = np.flatnonzero(window == number)
        centres.append(round(float(times[chosen].mean()), 4))
        parts.append(fine.isel(unit=chosen).mean("unit"))
    return xr.concat(parts, "unit").assign_coords(unit=centres).transpose("step", "subject", "split", "unit")


def normalised(cells: xr.DataArray) -> pd.DataFrame:
    """Score of every unit as a share of its gain in training: 0 at the first checkpoint, 1 at the last.

    Returns
    -------
    pandas.DataFrame
        ``step``, ``unit``, ``value``, ``low``, ``high`` (± SEM over subjects, on the same scale). Units that gain less
        than a tenth of what the best gains are left out: a share of nothing says nothing.
    """
    subjects = cells.mean("split").transpose("step", "unit", "subject")
    mean = subjects.mean("subject")
    gain = mean.isel(step=-1) - mean.isel(step=0)
    gain = gain.where((gain > 0) & (gain >= 0.1 * gain.max()))
    share = (mean - mean.isel(step=0)) / gain
    n = subjects.sizes["subject"]
    sem = subjects.std("subject", ddof=1) / np.sqrt(n) / gain if n > 1 else 0.0 * share
    table = xr.Dataset({"value": share, "low": share - sem, "high": share + sem}).to_dataframe().reset_index()
    return table[["step", "unit", "value", "low", "high"]].dropna(subset=["value"])


def in_percent(table: pd.DataFrame, last: float) -> pd.DataFrame:
    """Give ``step`` in % of the last step."""
    return table.assign(step=100.0 * table["step"].astype(float) / last)


def training_half_times(cells: xr.DataArray, baseline: Baseline = "zero") -> pd.DataFrame:
    """Half time of every unit (area or window) in % of training, with its interval over subjects (from five) or folds.

    A handful of checkpoints says little about four parameters: noise has a half time in one of three cases, but hardly
    ever one whose resamples agree. A half time therefore counts only with an interval, and only where there is
    something to halve: the score of the last checkpoint (``first``: the gain) reaches a tenth of the highest.

    Parameters
    ----------
    cells : xr.DataArray
        Scores, dims (unit, subject, split, step).
    baseline : {'zero', 'first'}
        Half of what, see :func:`half_time`.

    Returns
    -------
    pandas.DataFrame
        As :func:`brainmap.hierarchy.half_times`, and ``percent``, ``percent_low``, ``percent_high``; these three are
        NaN where there is no half time that counts, and ``failure`` then says why.
    """
    values, over = unit_scores(cells, "unit", "step")
    steps = tuple(float(step) for step in cells["step"].values)
    mean = mean_of(values)
    whole = mean[:, -1] - mean[:, 0] if baseline == "first" else mean[:, -1]
    reaches = whole >= 0.1 * np.nanmax(whole, initial=0.0)
    if baseline == "first":
        reaches &= whole > 0
    of_what = {"zero": "final score", "first": "gain"}[baseline]
    none, failure = np.nan, f"the {of_what} is below a tenth of the highest"
    too_low = HalfTime(none, none, none, none, none, none, none, failure, baseline=baseline)
    unit: Unit = "folds" if over == "folds" else "subjects"
    fits = []
    for number, high in enumerate(reaches):
        rows = np.ascontiguousarray(values[:, number])
        fits.append(_half_time(steps, rows.tobytes(), unit, baseline) if high else too_low)
    table = pd.DataFrame([vars(fit) for fit in fits]).drop(columns="curve").rename(columns={"step": "half_time"})
    table.insert(0, "unit", cells["unit"].values)
    missing = (
        "the half time has no interval" if over else "it has no interval, which needs five subjects or three folds"
    )
    table.loc[(table["failure"] == "") & table["low"].isna(), "failure"] = missing
    share = {"percent": "half_time", "percent_low": "low", "percent_high": "high"}
    counts = table["failure"] == ""
    percent = {name: (100.0 / steps[-1] * table[of]).where(counts) for name, of in share.items()}
    return table.assign(over=over, **percent)


@functools.lru_cache(maxsize=4096)  # several panels and numbers ask for the same areas
def _half_time(steps: tuple[float, ...], values: bytes, over: Unit, baseline: Baseline) -> HalfTime:
    """Half time of one area or window from the bytes of its scores, (n_units, n_steps) float64."""
    rows = np.frombuffer(values).reshape(-1, len(steps))
    options = DynamicsOptions(resampling=Resampling(n=100))
    return half_time(steps, rows, over=over, baseline=baseline, options=options)


def area_half_times(training: Sequence[Member], baseline: Baseline = FIGURES) -> pd.DataFrame:
    """Half time of every area, see :func:`training_half_times`; the part of them that counts depends on all of them."""
    names = sorted(set(training[-1].results.targets("fmri")["roi"].astype(str)) - {""})
    return training_half_times(cells_over_training(training, "fmri", "roi", names), baseline)


def area_distances(member: Member) -> pd.Series:
    """Distance of every area from V1 in mm; empty where the targets have no places."""
    targets = member.results.targets("fmri")
    if not {"hemisphere", "x", "y", "z"} <= set(targets.columns):
        return pd.Series(dtype=float)
    return distance_to(targets)


def three_scores(members: Sequence[Member]) -> xr.DataArray:
    """Study B 4E: encoding, spatial and temporal score of every subject at every checkpoint.

    Returns
    -------
    xr.DataArray
        Dims (score, subject, step), NaN where a subject has no score at a checkpoint. Encoding: best layer, mean over
        the vertices that are significant at the last checkpoint.
    """
    targets = significant_targets(members[-1].results, "fmri")
    names = list(map(str, members[-1].results.scores["fmri"]["subject"].values))
    names += [str(name) for name in members[-1].results.scores["meg"]["subject"].values if str(name) not in names]
    scores = np.full((3, len(names), len(members)), np.nan)
    for step, member in enumerate(members):
        values, _ = subject_scores(member.results, "fmri", "activation", layer="best", targets=targets)
        subjects = map(str, member.results.scores["fmri"]["subject"].values)
        kinds = (dict(zip(subjects, values, strict=True)), spatial_by_subject(member.results))
        for row, by_subject in enumerate((*kinds, temporal_by_subject(member.results))):
            for subject, value in by_subject.items():
                scores[row, names.index(subject), step] = value
    steps = [int(member.step or 0) for member in members]
    coords = {"score": ["encoding", "spatial", "temporal"], "subject": names, "step": steps}
    return xr.DataArray(scores, dims=("score", "subject", "step"), coords=coords)


def score_half_times(scores: xr.DataArray, baseline: Baseline = FIGURES) -> dict[str, HalfTime]:
    """Half time of each of :func:`three_scores`, with its interval over subjects; absent with fewer than four steps."""
    fits = {}
    for name in map(str, scores["score"].values):
        rows = scores.sel(score=name).dropna("step", how="all")
        if rows.sizes["step"] >= 4:
            kept = rows.dropna("subject", how="all").transpose("subject", "step")
            fits[name] = half_time(rows["step"].values, kept.values, baseline=baseline)
    return fits


def normalised_scores(
    scores: xr.DataArray, fits: Mapping[str, HalfTime]
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Bring scores and sigmoids to 0 at the first checkpoint and 1 at the last, and steps to % of training.

    Parameters
    ----------
    scores : xr.DataArray
        From :func:`three_scores`.
    fits : mapping of str to HalfTime
        From :func:`score_half_times`.

    Returns
    -------
    table : pandas.DataFrame
        ``step`` (%), ``score``, ``value``, ``low``, ``high`` (± SEM over subjects).
    curves : dict of str to dict
        As :func:`~brainmap.report.figures.score_sigmoids` takes them; scores without a half time are absent.
    """
    last = float(scores["step"].values[-1])
    rows, curves = [], {}
    for name in map(str, scores["score"].values):
        known = scores.sel(score=name).dropna("step", how="all")
        if known.sizes["step"] < 2:
            continue
        mean, sem = known.mean("subject").values, _sem_over(known.transpose("subject", "step").values)
        gain = mean[-1] - mean[0]
        if gain == 0:
            continue
        percent = 100.0 * known["step"].values / last
        for step, value, spread in zip(percent, (mean - mean[0]) / gain, sem / abs(gain), strict=True):
            rows.append({"step": step, "score": name, "value": value, "low": value - spread, "high": value + spread})
        if name in fits and not fits[name].failure:
            drawn = drawn_curve(fits[name], known["step"].values.astype(float))
            curves[name] = normalised_curve(drawn, float(mean[0]), float(gain), last)
    return pd.DataFrame(rows, columns=["step", "score", "value", "low", "high"]), curves


def drawn_curve(half: HalfTime, steps: np.ndarray) -> dict[str, Any]:
    """Half time of a fit and its sigmoid, as :func:`~brainmap.report.figures.score_sigmoids` takes them."""
    found: dict[str, Any] = {"half_time": half.step, "level": half.level, "low": half.low, "high": half.high}
    if half.curve is None:
        return found
    positive = steps[steps > 0]
    fine = np.geomspace(positive.min(), positive.max(), 200)
    floor, gain, middle, slope = half.curve
    values = sigmoid(np.log(fine), np.array([floor, gain, np.log(middle), np.log(slope)]))
    return found | {"steps": fine, "values": values}


def normalised_curve(drawn: dict[str, Any], start: float, gain: float, last: float) -> dict[str, Any]:
    """The same with values as ``(value − start) / gain`` and steps in % of the last."""
    steps, values = ("half_time", "low", "high", "steps"), ("level", "values")
    scaled = {name: drawn[name] * (100.0 / last) for name in steps if name in drawn}
    return scaled | {name: (drawn[name] - start) / gain for name in values if name in drawn}


def _sem_over(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis; 0 where fewer than two are known."""
    n = np.isfinite(values).sum(axis=0)
    spread = np.nanstd(values, axis=0, ddof=1, where=np.isfinite(values) & (n > 1)) if (n > 1).any() else 0.0 * n
    return np.where(n > 1, spread / np.sqrt(np.maximum(n, 1)), 0.0)
