"""Studies that differ in one factor (model size, image type): scores of each level, half times and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.hierarchy import DynamicsOptions, HalfTime, Resampling, best_layer, half_time, peak_window_time
from brainmap.hierarchy.half_times import Baseline
from brainmap.hierarchy.mixed_models import LevelTest
from brainmap.report.words.p_and_numbers import format_p, format_score
from brainmap.results import lookups
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import significant_with_any, subject_scores
from brainmap.results.study_results import StudyResults

ACTIVATION = "activation"
SCORES = {
    "fmri": "Encoding, fMRI",
    "meg": "Encoding, MEG",
    "spatial": "Spatial score",
    "temporal": "Temporal score",
}
"""The scores of Study B's figures 6 and 7, as the panels call them."""
MINIMUM_STEPS = 4  # of a sigmoid


def levels_of(collection: Collection, part: str) -> dict[str, list[Member]]:
    """Return the studies of each level in the order of training; finished training without a step comes last.

    The level of a study is what the part calls ``level``, or else its model.
    """
    by_level: dict[str, list[Member]] = {}
    for member in collection.part(part):
        varied = member.parts[part]
        level = varied.get("level", varied.get("model"))
        if level is not None:
            by_level.setdefault(str(level), []).append(member)
    return {
        level: sorted(members, key=lambda member: inf if member.step is None else member.step)
        for level, members in by_level.items()
    }


def repeated_step(levels: Mapping[str, Sequence[Member]]) -> str:
    """Return a sentence about the first level with several studies of one step, which no panel could tell apart."""
    for level, members in levels.items():
        steps = [member.step for member in members]
        if len(set(steps)) < len(steps):
            return (
                f"Needs one study for each level and step; '{level}' has several of one: {members[0].label} and more."
            )
    return ""


def common_targets(members: Sequence[Member]) -> np.ndarray | None:
    """Return the fMRI targets that are significant with any study; None where studies have other targets."""
    studies = [member.results for member in members if "fmri" in member.results.scores]
    if len({results.scores["fmri"].sizes["target"] for results in studies}) != 1:
        return None
    return significant_with_any(studies, "fmri")


def level_scores(levels: Mapping[str, Sequence[Member]]) -> pd.DataFrame:
    """Return every score of every subject at every step of every level.

    Parameters
    ----------
    levels : mapping of str to sequence of Member
        From :func:`levels_of`.

    Returns
    -------
    pandas.DataFrame
        ``score`` (``fmri`` and ``meg``: r at the best layer, fMRI over targets that are significant with the last
        checkpoint of any level, MEG at the best time; ``spatial``; ``temporal``), ``level``, ``step`` (NaN where it is
        not known), ``final`` (bool: last study of its level), ``subject``, ``r``. Scores that a study lacks are absent.
    """
    targets = common_targets([members[-1] for members in levels.values()])
    rows = []
    for level, members in levels.items():
        for member in members:
            place = {"level": level, "step": np.nan if member.step is None else float(member.step)}
            for score, values in _scores_of(member.results, targets).items():
                last = {"score": score, **place, "final": member is members[-1]}
                rows += [{**last, "subject": name, "r": value} for name, value in values.items()]
    return pd.DataFrame(rows, columns=["score", "level", "step", "final", "subject", "r"])


def _scores_of(results: StudyResults, targets: np.ndarray | None) -> dict[str, dict[str, float]]:
    """Scores by subject."""
    scores: dict[str, dict[str, float]] = {}
    for modality, order in (("fmri", spatial_by_subject), ("meg", temporal_by_subject)):
        if modality not in results.scores or ACTIVATION not in results.scores[modality]["signal"].values:
            continue
        names = list(map(str, results.scores[modality]["subject"].values))
        values, _ = subject_scores(results, modality, ACTIVATION, layer="best", targets=targets)
        scores[modality] = dict(zip(names, values.tolist(), strict=True))
        by_subject = order(results)
        if by_subject:
            scores["spatial" if modality == "fmri" else "temporal"] = by_subject
    return {name: scores[name] for name in SCORES if name in scores}


def spatial_by_subject(results: StudyResults) -> dict[str, float]:
    """Spatial score of each subject: r over areas of the mean depth of the best layer and the distance from V1."""
    table = lookups.hierarchy_table(results, "spatial", ACTIVATION)
    if table is None:
        return {}
    r = results.mean_r("fmri").sel(signal=ACTIVATION)
    names = np.array(list(map(str, results.scores["fmri"]["roi"].values)))
    areas, away = table["roi"].astype(str), table["distance_mm"].to_numpy(float)
    by_subject = {}
    for number, subject in enumerate(map(str, r["subject"].values)):
        depth = pd.Series(best_layer(r.isel(subject=[number])).values).groupby(names).mean()
        by_subject[subject] = _correlation(away, depth.reindex(areas).to_numpy())
    return by_subject


def temporal_by_subject(results: StudyResults) -> dict[str, float]:
    """Temporal score of each subject: r over layers of depth and T_max."""
    courses = lookups.averaged_over(results, "meg", "time").sel(signal=ACTIVATION)
    latest = peak_window_time(courses.transpose("subject", "layer", "time").values, courses["time"].values)
    depths = results.depths("meg")
    if len(depths) < 4:
        return {}
    names = list(map(str, courses["subject"].values))
    return {name: _correlation(depths, row) for name, row in zip(names, latest, strict=True)}


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson r of at least four known pairs; NaN where one of them does not vary."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 4 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    return float(np.corrcoef(x[known], y[known])[0, 1])


def over_subjects(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return mean ± SEM over subjects: the columns of ``by``, ``r``, ``low``, ``high``, ``n``, in the table's order."""
    groups = table.dropna(subset=["r"]).groupby(list(by), sort=False, observed=True, dropna=False)["r"]
    summary = groups.agg(r="mean", sem="sem", n="count").reset_index()
    sem = summary["sem"].fillna(0.0)
    return summary.assign(low=summary["r"] - sem, high=summary["r"] + sem).drop(columns="sem")


def level_half_times(table: pd.DataFrame, baseline: Baseline) -> dict[tuple[str, str], HalfTime]:
    """Return the half time of each score and level with enough checkpoints, from the mean over subjects.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`level_scores`.
    baseline : {'zero', 'first'}
        Half of what, see :func:`brainmap.hierarchy.half_time`.

    Returns
    -------
    dict of (str, str) to HalfTime
        (score, level) → half time in steps, without interval.
    """
    fits = {}
    means = over_subjects(table.dropna(subset=["step"]), ["score", "level", "step"])
    options = DynamicsOptions(resampling=Resampling(n=0))
    for (score, level), rows in means.groupby(["score", "level"], sort=False):
        if len(rows) >= MINIMUM_STEPS:
            ordered = rows.sort_values("step")
            steps, values = ordered["step"].to_numpy(), ordered["r"].to_numpy()
            fits[str(score), str(level)] = half_time(steps, values, baseline=baseline, options=options)
    return fits


def area_scores(finals: Mapping[str, Member], names: Sequence[str]) -> xr.DataArray:
    """Return the score of each area at its best layer for each level, dims (level, subject, area).

    Parameters
    ----------
    finals : mapping of str to Member
        Level → its last study, with fMRI scores.
    names : sequence of str
        Areas.
    """
    parts = []
    for member in finals.values():
        by_layer = lookups.averaged_over(member.results, "fmri", "roi").sel(signal=ACTIVATION, roi=list(names))
        best = by_layer.mean("subject").fillna(-inf).argmax("layer")
        parts.append(by_layer.isel(layer=best).drop_vars(["layer", "signal"]))
    joined = xr.concat(parts, pd.Index(list(finals), name="level"), join="inner")
    return joined.rename(roi="area").transpose("level", "subject", "area")


def words_of_test(test: LevelTest, *, digits: int = 0) -> str:
    """Write a test as in a sentence: size of the effect where it is one number, statistic, p; ``digits`` of the df."""
    df = ", ".join(f"{value:.{digits}f}" for value in test.df)
    words = f"{test.kind}({df}) = {test.statistic:.1f}".replace("-", "−")
    if test.effect is not None:
        gain, low, high = (format_score(value, 3) for value in test.effect)
        words = f"{gain} [{low}, {high}] from each to the next, {words}"
    return f"{words}, {format_p(test.p)}"
