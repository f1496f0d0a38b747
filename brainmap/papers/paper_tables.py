"""From studies to what the papers' panels show: averages and look-ups on :class:`StudyResults`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.hierarchy import temporal_hierarchy, time_courses
from brainmap.results import lookups
from brainmap.results.collection import Member
from brainmap.results.collection_tables import RESIDUAL, _mean_and_sem, scores_over_training
from brainmap.results.study_results import StudyResults

WINDOWS = {"0.08–0.13 s": (0.08, 0.13), "0.13–0.18 s": (0.13, 0.18), "0.50–0.55 s": (0.5, 0.55)}
AREAS_B = ("V1", "FFC", "44")
ROIS_B = (
    *("V1", "V2", "V3", "V4", "FFC", "TPOJ2", "TPOJ1", "TE2p", "STV", "TE1p", "IFJp", "IFJa", "44", "IFSp", "IFSa"),
)
FACTOR_AREAS = (*ROIS_B[:-2], "45", *ROIS_B[-2:])
"""Areas of Study B's figures 6 and 7."""


def course(results: StudyResults, signal: str, *, layer: int | None = -1) -> pd.DataFrame:
    """Time course of one layer (or the mean over layers), mean over sensors, ± SEM over subjects, with its marks."""
    scores = lookups.averaged_over(results, "meg", "time").sel(signal=signal)
    values = (scores.mean("layer") if layer is None else scores.isel(layer=layer)).transpose("subject", "time").values
    marks = lookups.time_marks(results, signal)
    table = _mean_and_sem(values, scores["time"].values)
    if marks is not None and layer is not None:
        table["significant"] = marks.isel(layer=layer).values.astype(bool)
    return table


def residual_course(results: StudyResults) -> pd.DataFrame | None:
    """What gradients add over time, with its interval and marks."""
    table = results.residual.get("meg")
    if table is None:
        return None
    renamed = table.rename(columns={"unit": "time", "delta": "r"})
    return renamed[["time", "r", "low", "high", "significant"]].sort_values("time").reset_index(drop=True)


def signal_courses(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Last layer's course of each signal, and the residual's."""
    courses = {str(name): course(results, str(name)) for name in results.scores["meg"]["signal"].values}
    residual = residual_course(results)
    return courses | ({RESIDUAL: residual} if residual is not None else {})


def mean_courses(members: Sequence[Member]) -> dict[str, pd.DataFrame]:
    """Average the signals' courses over models, ± SEM over models; marks where every model is significant."""
    each = [signal_courses(member.results) for member in members]
    if len(each) == 1:
        return each[0]
    averaged = {}
    for signal in each[0]:
        tables = [courses[signal] for courses in each if signal in courses]
        table = _mean_and_sem(np.stack([t["r"].to_numpy(float) for t in tables]), tables[0]["time"].to_numpy())
        if all("significant" in t for t in tables):
            table["significant"] = np.all([t["significant"].to_numpy(bool) for t in tables], axis=0)
        averaged[signal] = table
    return averaged


def last_layer_map(results: StudyResults, signal: str) -> tuple[np.ndarray, np.ndarray]:
    """Score of the last layer at every fMRI target, mean over subjects and splits, and where it is significant."""
    r = results.group_r("fmri", signal).isel(layer=-1).values.astype(float)
    marks = lookups.significance_of(results, "fmri", signal)
    if marks is None or "target" not in marks.dims:
        return r, np.ones(len(r), dtype=bool)
    shown = marks.isel(layer=-1).values if "layer" in marks.dims else marks.values
    return r, shown.astype(bool)


def mean_where_any(maps: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over models of every target that is significant in one of them, NaN elsewhere; each (n_targets,).

    Masking each model's map before averaging would leave, vertex by vertex, the mean of those that happen to pass.
    """
    mean: np.ndarray = np.where(np.any(shown, axis=0), np.mean(maps, axis=0), np.nan)
    return mean


def temporal_table(results: StudyResults, signal: str = "activation") -> pd.DataFrame | None:
    """Return the temporal hierarchy of a signal."""
    return lookups.hierarchy_table(results, "temporal", signal)


def normalised_by(scores: xr.DataArray, dim: str) -> xr.DataArray:
    """Study B's R̃ = R / max R: scores of each layer divided by the highest of its mean over subjects along a dimension.

    A layer whose highest mean is not above 0 has none (NaN).
    """
    top = scores.mean("subject").max(dim)
    return scores / top.where(top > 0)


def normalised_courses(results: StudyResults) -> xr.DataArray:
    """Study B 3B, 4B, 4D: R̃(t), each layer's course divided by its maximum over time; dims (subject, layer, time)."""
    scores = lookups.averaged_over(results, "meg", "time").isel(signal=0)
    return normalised_by(scores, "time").transpose("subject", "layer", "time")


def layer_course_bars(results: StudyResults, span: tuple[float, float]) -> pd.DataFrame:
    """Study B 3D: mean of R̃(t) of every layer in a time window, ± SEM over subjects."""
    courses = normalised_courses(results)
    times = courses["time"].values
    inside = np.flatnonzero((times >= span[0] - 1e-9) & (times <= span[1] + 1e-9))
    if not len(inside):  # slower sampling than the window: the sample nearest to its middle
        inside = np.array([int(np.argmin(np.abs(times - np.mean(span))))])
    return _layer_bars(courses.isel(time=inside).mean("time"), results.depths("meg"))


def known_areas(results: StudyResults, areas: Sequence[str] = ROIS_B) -> list[str]:
    """Return those of some areas that hold fMRI targets, in the order given."""
    present = set(np.asarray(results.scores["fmri"]["roi"].values).astype(str).tolist())
    return [area for area in areas if area in present]


def layer_area_bars(results: StudyResults, area: str) -> pd.DataFrame | None:
    """Study B 3C: score of every layer in an area as a share of that layer's maximum over the paper's 15 areas.

    Returns
    -------
    pandas.DataFrame or None
        ``depth``, ``r``, ``low``, ``high`` (± SEM over subjects); None without the area.
    """
    names = known_areas(results)
    if area not in names:
        return None
    scores = lookups.averaged_over(results, "fmri", "roi").isel(signal=0).sel(roi=names)
    return _layer_bars(normalised_by(scores, "roi").sel(roi=area), results.depths("fmri"))


def stages_of(training: Sequence[Member]) -> dict[str, Member]:
    """Return the first checkpoint, one in between and the last, under their names.

    In between the one where the residual is highest, as Study A's peaks before the end of training: of MEG, or of fMRI
    where that is all there is; without a residual the one in the middle.
    """
    if len(training) < 3:
        return {}
    between = training[1:-1]
    gains = residual_by_step(training).reindex([member.step for member in between])
    middle = between[int(np.argmax(gains.fillna(-np.inf)))] if gains.notna().any() else training[len(training) // 2]
    chosen = [training[0], middle, training[-1]]
    return {f"step {member.step:,}" if member.step else "untrained": member for member in chosen}


def residual_by_step(training: Sequence[Member]) -> pd.Series:
    """Return the gain of gradients by step, the same that figure 5 draws; empty where the studies have none."""
    for modality in ("meg", "fmri"):
        if all(modality in member.results.scores for member in training):
            table = scores_over_training(training, modality)
            rows = table[table["signal"] == RESIDUAL].dropna(subset=["r"])
            if len(rows):
                return rows.set_index("step")["r"]
    return pd.Series(dtype=float)


def mean_depth_map(members: Sequence[Member], signal: str) -> np.ndarray:
    """Depth of the best layer at every target, mean over all models; NaN where it is significant in none."""
    maps, shown = [], []
    for member in members:
        best, depth, _ = lookups.best_layers(member.results, signal)
        maps.append(np.where(best >= 0, member.results.depths("fmri")[best], np.nan))
        shown.append(np.isfinite(depth))
    return mean_where_any(maps, shown)


def _shown_depths(member: Member, signal: str, members: Sequence[Member]) -> pd.Series:
    """Depth of a model's best layer at the targets of the mean map; NaN elsewhere."""
    best = lookups.best_layers(member.results, signal)[0]
    shown = np.isfinite(mean_depth_map(members, signal)) & (best >= 0)
    return pd.Series(np.where(shown, member.results.depths("fmri")[best], np.nan))


def mean_spatial(members: Sequence[Member], signal: str) -> pd.DataFrame | None:
    """Mean of :func:`mean_depth_map` in every area of the models' spatial hierarchies, against distance from V1."""
    from brainmap.hierarchy import agreement

    tables = [lookups.hierarchy_table(member.results, "spatial", signal) for member in members]
    known = [table.set_index("roi")["distance_mm"] for table in tables if table is not None]
    if not known:
        return None
    roi = members[0].results.targets("fmri")["roi"].astype(str).to_numpy()
    depth = pd.Series(mean_depth_map(members, signal)).groupby(roi).mean().rename("best_layer")
    each = [_shown_depths(member, signal, members).groupby(roi).mean() for member in members]
    sem = pd.concat(each, axis=1).sem(axis=1).rename("sem")
    distance = pd.concat(known).groupby(level=0).mean().rename("distance_mm")
    mean = pd.concat([distance, depth, sem], axis=1, join="inner").dropna(subset=["distance_mm", "best_layer"])
    mean = mean.rename_axis("roi").reset_index()
    mean = mean.assign(low=mean["best_layer"] - mean["sem"], high=mean["best_layer"] + mean["sem"]).drop(columns="sem")
    if len(mean) < 4:
        return None
    mean.attrs = agreement(mean["distance_mm"], mean["best_layer"]).as_attrs()
    mean.attrs |= against_distance(mean.set_index("roi")["best_layer"])
    return mean


def against_distance(values: pd.Series) -> dict[Hashable, Any]:
    """Test values of areas against their distance from V1; empty for areas HCP-MMP1 does not have."""
    from brainmap.hierarchy import cortex_areas

    away = cortex_areas().groupby("roi")["distance_mm"].mean()
    if not set(values.index) <= set(away.index):
        return {}
    found = against_property(values, away)
    return {name: found[name] for name in ("low", "high", "p", "rho_low", "rho_high", "rho_p", "areas_p", "p_method")}


def against_property(values: pd.Series, measured: pd.Series) -> dict[str, Any]:
    """Values of areas against a property of the cortex, as :func:`brainmap.hierarchy.compare_properties`.

    Raises
    ------
    InputError
        If fewer than four areas have both.
    """
    from brainmap.hierarchy import compare_properties, cortex_areas

    both = values[measured.reindex(values.index).notna()].dropna()
    row = compare_properties(both, {"property": measured}, cortex_areas()).iloc[0]
    return {str(name): row[name] for name in row.index if name != "property"}


def depth_courses(members: Sequence[Member], signal: str, n: int = 10) -> tuple[xr.DataArray, np.ndarray]:
    """Courses at evenly spaced depths, one row per model (dim ``subject``): models differ in their number of layers."""
    grid = np.linspace(0, 1, n)
    rows = []
    for member in members:
        scores = lookups.averaged_over(member.results, "meg", "time").sel(signal=signal).mean("subject")
        values = scores.transpose("layer", "time").values
        depth = member.results.depths("meg")
        rows.append(np.stack([np.interp(grid, depth, column) for column in values.T], axis=1))
    times = lookups.averaged_over(members[0].results, "meg", "time")["time"].values
    stacked = xr.DataArray(np.stack(rows), dims=("subject", "layer", "time"), coords={"time": times})
    return stacked, grid


def onset_of(results: StudyResults) -> float:
    """Return the onset latency of the mean over layers, in s."""
    courses = time_courses(results.scores["meg"]["r"].isel(signal=0))
    try:
        table = temporal_hierarchy(courses)
    except ValueError:
        return float("nan")
    return float(table["onset"].min())


def _layer_bars(shares: xr.DataArray, depths: np.ndarray) -> pd.DataFrame:
    return _mean_and_sem(shares.transpose("subject", "layer").values, depths).rename(columns={"time": "depth"})
