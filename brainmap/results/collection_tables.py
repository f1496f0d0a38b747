"""Collection tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.results import lookups
from brainmap.results.collection import Collection, Member
from brainmap.results.study_results import StudyResults

RESIDUAL = "residual"
MODEL_FREE = ("pixels", "gabor", "gabor energy", "texture", "category")  # controls that know the photographs only
SUBJECT_GAIN = "delta "  # begins the name of a residual table's column with one subject's gain


def score_table(
    results: StudyResults, modality: str, *, layer: str = "last", targets: np.ndarray | None = None
) -> pd.DataFrame:
    """Return one score per signal as Study A's figures 3 and 5 define it, with its spread over subjects.

    Parameters
    ----------
    results : StudyResults
        A study.
    modality : {'fmri', 'meg', 'eeg', …}
        fMRI: mean over the targets that are significant in any signal or layer (all targets where none is).
        Others: the mean over sensors, at the time at which the mean over subjects is highest.
    layer : {'last', 'best'}
        The deepest layer, or the layer with the highest mean.
    targets : ndarray of bool, (n_targets,), optional
        fMRI targets to average over in place of the study's own significant ones: studies that are compared need the
        same, or the weaker one is averaged over its luckiest targets.

    Returns
    -------
    pandas.DataFrame
        ``signal`` (``activation``, ``gradient``, ``residual``), ``layer``, ``r``, ``low``, ``high`` (± SEM over
        subjects; for the residual as ``spread`` says, see :func:`residual_row`), ``significant`` (see
        :func:`significant_somewhere`), ``n``.
    """
    rows: list[dict[str, Any]] = []
    for signal in (str(name) for name in results.scores[modality]["signal"].values):
        values, name = subject_scores(results, modality, signal, layer=layer, targets=targets)
        sem = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
        mean = float(np.nanmean(values))
        row = {"signal": signal, "layer": name, "r": mean, "low": mean - sem, "high": mean + sem, "spread": "sem"}
        rows.append(row | {"significant": significant_somewhere(results, modality, signal, name), "n": len(values)})
    residual = residual_row(results, modality, targets=targets)
    return pd.DataFrame(rows + ([residual] if residual is not None else []))


def residual_row(results: StudyResults, modality: str, *, targets: np.ndarray | None = None) -> dict[str, Any] | None:
    """Return the gain of gradients: mean over targets (fMRI), or at the best time (MEG, EEG); None where not computed.

    Of fMRI, ``targets`` are those of :func:`score_table`; studies of earlier versions kept no gains of targets, and
    have the mean over areas.

    ``low`` and ``high`` are ± SEM over subjects where the study kept each subject's gain (``spread`` is then ``sem``);
    else, or with one subject, its 95 % interval over photographs (``interval``).
    """
    table = results.residual.get(modality)
    if table is None or not len(table):
        return None
    if modality in results.gains:
        mask = significant_targets(results, modality) if targets is None else targets
        gains = results.gains[modality].isel(target=np.flatnonzero(mask)).mean("target", skipna=True)
        mean, low, high = (float(gains[name]) for name in ("delta", "low", "high"))
        each = gains["delta_subject"].values.astype(float)
    else:
        rows = table if modality == "fmri" else table.iloc[[int(table["delta"].to_numpy().argmax())]]
        mean, low, high = (float(rows[name].mean()) for name in ("delta", "low", "high"))
        each = gain_by_subject(rows)
    if len(each) > 1:
        sem = float(each.std(ddof=1) / np.sqrt(len(each)))
        low, high = mean - sem, mean + sem
    row = {"signal": RESIDUAL, "layer": residual_layers(results), "r": mean, "low": low, "high": high}
    row["spread"] = "sem" if len(each) > 1 else "interval"
    significant = significant_somewhere(results, modality, RESIDUAL)
    return row | {"significant": significant, "n": results.scores[modality].sizes["subject"]}


def significant_somewhere(results: StudyResults, modality: str, signal: str, layer: str | None = None) -> bool | None:
    """Say whether a signal is above chance at any vertex (fMRI) or time after onset (M/EEG), by the study's own test.

    A score that is read off the best time, or averaged over significant vertices, cannot be tested itself: it is high
    by selection. The study's test corrects over the whole map or time course instead, so that a layer without any
    effect has a mark in one study of twenty at most.

    Parameters
    ----------
    results : StudyResults
        A study.
    modality : {'fmri', 'meg', 'eeg', …}
        Which responses.
    signal : str
        ``activation``, ``gradient``, or ``residual``: then any area (fMRI) or time (MEG, EEG) of the family-wise test.
    layer : str, optional
        Layer whose map or time course counts, the deepest by default; of no meaning for the residual.

    Returns
    -------
    bool or None
        None where the study tested nothing.
    """
    if signal == RESIDUAL:
        table = results.residual.get(modality)
        if table is None:
            return None
        kept = table if modality == "fmri" else table[table["unit"].astype(float) > 0]
        return bool(kept["significant"].astype(bool).any())
    marks = lookups.significance_of(results, modality, signal)
    if marks is None:
        return None
    if "layer" in marks.dims:
        marks = marks.isel(layer=-1) if layer is None else marks.sel(layer=layer)
    if "time" in marks.dims:
        marks = marks.isel(time=np.flatnonzero(marks["time"].values > 0))
    return bool(marks.any())


def residual_layers(results: StudyResults) -> str:
    """Return of which layers the activations and gradients behind the residual are: ``all`` or ``last``."""
    return str((results.provenance.get("config") or {}).get("residual_layers", "all"))


def residual_over(members: Sequence[Member]) -> str:
    """Say over which activations gradients gain: those of all layers, or of the last one."""
    kinds = {residual_layers(member.results) for member in members}
    words = {"all": "the activations of all layers", "last": "the activations of the last layer"}
    return " or ".join(text for name, text in words.items() if name in kinds)


def gain_by_subject(rows: pd.DataFrame) -> np.ndarray:
    """Return the mean over rows of a residual table of each subject's own gain; empty where the study kept none."""
    columns = [name for name in rows.columns if str(name).startswith(SUBJECT_GAIN)]
    return rows[columns].mean().to_numpy(float)


def residual_spread(table: pd.DataFrame) -> str:
    """Say what ``low`` and ``high`` of the residual are in a table of :func:`score_table` (or several, joined)."""
    kinds = set(table.loc[table["signal"] == RESIDUAL, "spread"])
    words = {"sem": "± SEM over subjects", "interval": "its 95 % interval over photographs"}
    return " or, where a study kept no gains of subjects, ".join(words[kind] for kind in words if kind in kinds)


def controls_table(collection: Collection, modality: str) -> pd.DataFrame | None:
    """Return mean scores over all targets of every study's best layers and of its control feature spaces.

    Controls that are made of a study's own gradients stay with it. Those that know no model (pixels, Gabor energy,
    category labels) are given once for all studies with the most common score; studies that differ in their data,
    splits or reduction of dimensions keep their own.

    Returns
    -------
    pandas.DataFrame or None
        ``study`` (empty for a control that studies share), ``space``, ``r``, ``low``, ``high``; None where no study has
        any.
    """
    parts = []
    for member, name in zip(collection, collection.names(), strict=True):
        table = member.results.controls.get(modality)
        if table is not None and len(table):
            parts.append(table.assign(study=name)[["study", "space", "r", "low", "high"]])
    if not parts:
        return None
    joined = pd.concat(parts, ignore_index=True)
    shared = []
    for space in dict.fromkeys(joined["space"]):
        rows = joined[joined["space"] == space]
        scores = rows["r"].round(6)
        common = rows[scores == scores.value_counts().index[0]]
        if space.lower() in MODEL_FREE and (len(common) > 1 or len(rows) == 1):
            shared.append(common.head(1).assign(study=""))
            joined = joined.drop(index=common.index)
    return pd.concat([joined, *shared], ignore_index=True)


def significant_targets(results: StudyResults, modality: str) -> np.ndarray:
    """Return which targets any signal and layer predicts above chance, (n_targets,); all where there is none."""
    return significant_with_any([results], modality)


def significant_with_any(studies: Sequence[StudyResults], modality: str) -> np.ndarray:
    """Return which targets are significant with any of the studies, (n_targets,); all where none has such a target.

    A study that predicts nothing above chance adds nothing, or the targets of the others would no longer be chosen.
    """
    mask = np.zeros(studies[0].scores[modality].sizes["target"], dtype=bool)
    for results in studies:
        marks = results.significance.get(modality)
        if marks is not None and "target" in marks.dims:
            mask |= np.asarray(marks.any([dim for dim in marks.dims if dim != "target"]).values, dtype=bool)
    return mask if mask.any() else ~mask


def subject_scores(
    results: StudyResults, modality: str, signal: str, *, layer: str = "last", targets: np.ndarray | None = None
) -> tuple[np.ndarray, str]:
    """Return the score of each subject, (n_subjects,), and the layer it is of; parameters as of :func:`score_table`."""
    if modality == "fmri":
        mask = significant_targets(results, "fmri") if targets is None else targets
        r = results.mean_r("fmri").sel(signal=signal).isel(target=np.flatnonzero(mask))
        by_layer = r.mean("target", skipna=True).transpose("subject", "layer")
        which = -1 if layer == "last" else int(np.nanargmax(by_layer.mean("subject").values))
        return by_layer.values[:, which].astype(float), str(by_layer["layer"].values[which])
    courses = lookups.averaged_over(results, modality, "time").sel(signal=signal).transpose("subject", "layer", "time")
    top = np.nanmax(courses.mean("subject").values, axis=1)
    which = -1 if layer == "last" else int(np.nanargmax(top))
    moment = int(np.nanargmax(courses.mean("subject").values[which]))
    return courses.values[:, which, moment].astype(float), str(courses["layer"].values[which])


def ordered_by_step(collection: Collection) -> list[Member]:
    """Return checkpoints of one model in the order of training; finished training without a step is left out."""
    known = [member for member in collection if member.step is not None]
    return sorted(known, key=lambda member: int(member.step or 0))


def end_of_training(collection: Collection) -> list[Member]:
    """Return the trained study of the part ``training`` as a list of one: its last step, or weights as released."""
    trained = [member for member in collection.part("training") if member.step != 0]
    last = sorted(trained, key=lambda member: np.inf if member.step is None else member.step)
    return last[-1:]


def scores_over_training(members: Sequence[Member], modality: str) -> pd.DataFrame:
    """Study A 5: last layer's score of each signal at each checkpoint; fMRI: the last one's significant targets."""
    targets = significant_targets(members[-1].results, modality) if modality == "fmri" else None
    tables = [score_table(m.results, modality, targets=targets).assign(step=m.step) for m in members]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(low=table["low"].fillna(table["r"]), high=table["high"].fillna(table["r"]))


def models_table(members: Sequence[Member], modality: str) -> pd.DataFrame:
    """Study A 3: one row per model and signal; fMRI: targets that are significant with any of the models."""
    targets = None
    if modality == "fmri":
        targets = significant_with_any([member.results for member in members], "fmri")
    tables = [score_table(m.results, modality, targets=targets).assign(model=str(m.settings["model"])) for m in members]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(low=table["low"].fillna(table["r"]), high=table["high"].fillna(table["r"]))


def robustness(collection: Collection, modality: str, signal: str = "gradient") -> xr.DataArray | None:
    """Study A S2: score over projection and PCA dimension, with its SEM over subjects as coordinate ``sem``.

    None where fewer than two of either dimension were run. Of studies that differ in other settings as well, the
    largest set that does not is taken; cells with more components than the projection has dimensions, which cannot
    exist, are left out (NaN), as those that were not run.
    """
    rows = []
    for member in collection:
        table = score_table(member.results, modality)
        value = table.loc[table["signal"] == signal, ["r", "high"]]
        if len(value) and member.settings.get("projection") and member.settings.get("pca"):
            rest = {name: item for name, item in member.settings.items() if name not in ("pca", "projection")}
            sizes = (member.settings["pca"], member.settings["projection"])
            r, high = value.iloc[0].astype(float)
            rows += [(repr(rest), *sizes, r, high - r)] if sizes[0] <= sizes[1] else []
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["rest", "pca", "projection", "r", "sem"])
    frame = frame[frame["rest"] == frame["rest"].value_counts().index[0]].set_index(["pca", "projection"])
    grid = frame["r"].to_xarray()
    return grid.assign_coords(sem=frame["sem"].to_xarray()) if min(grid.shape) > 1 else None


def _mean_and_sem(values: np.ndarray, axis: np.ndarray) -> pd.DataFrame:
    mean = np.nanmean(values, axis=0)
    sem = np.nanstd(values, axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(mean)
    return pd.DataFrame({"time": axis, "r": mean, "low": mean - sem, "high": mean + sem})
