"""The numbers of a report, taken out of the results: averages and look-ups, no new statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.names import LEVEL
from brainmap.results.study_results import SCORE_DIMS, StudyResults


def averaged_over(results: StudyResults, modality: str, by: str) -> xr.DataArray:
    """Average r over splits and over the targets that share a coordinate.

    Parameters
    ----------
    results : StudyResults
        Results.
    modality : str
        Such as ``fmri`` or ``meg``.
    by : str
        Target coordinate to keep, such as ``time`` (averages over sensors) or ``roi``.

    Returns
    -------
    xr.DataArray
        Dims ``(subject, signal, layer, by)``; targets without a score do not count.
    """
    r = results.scores[modality]["r"].transpose(*SCORE_DIMS)
    labels, index = np.unique(np.asarray(results.scores[modality][by].values), return_inverse=True)
    mean = np.full((*r.shape[:3], len(labels)), np.nan)
    for place in np.ndindex(r.shape[:3]):  # one layer is read at a time
        row = r[place].mean("split", skipna=True).values.astype(float)
        known = np.isfinite(row)
        total = np.bincount(index, np.where(known, row, 0.0), len(labels))
        count = np.bincount(index, known.astype(float), len(labels))
        np.divide(total, count, out=mean[place], where=count > 0)
    coords = {name: r[name].values for name in ("subject", "signal", "layer")}
    return xr.DataArray(mean, dims=("subject", "signal", "layer", by), coords={**coords, by: labels})


def best_layers(results: StudyResults, signal: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best layer of each fMRI target from the mean over subjects and splits.

    Returns
    -------
    tuple of np.ndarray, each of shape (n_targets,)
        Number of the best layer (−1 where no layer has a score), its depth, and r there. Targets that are not
        significant at their best layer have NaN in the last two; where no target is, r is that of all.
    """
    r = results.group_r("fmri", signal).values
    known = np.isfinite(r).any(axis=0)
    best = np.where(known, np.argmax(np.where(np.isfinite(r), r, -np.inf), axis=0), -1)
    top = np.take_along_axis(r, np.maximum(best, 0)[None], axis=0)[0]
    shown = known & _significant_at(results, signal, best)
    depth = np.where(shown, results.depths("fmri")[best], np.nan)
    return best, depth, np.where(shown if shown.any() else known, top, np.nan)


def _significant_at(results: StudyResults, signal: str, layer: np.ndarray) -> np.ndarray:
    marks = significance_of(results, "fmri", signal)
    if marks is None or "target" not in marks.dims:
        return np.ones(len(layer), dtype=bool)
    if "layer" not in marks.dims:
        return marks.values.astype(bool)
    marks = marks.transpose("layer", "target")
    return np.take_along_axis(marks.values.astype(bool), np.maximum(layer, 0)[None], axis=0)[0]


def significance_of(results: StudyResults, modality: str, signal: str) -> xr.DataArray | None:
    """Return the significance marks of one signal, or None where the study made none."""
    marks = results.significance.get(modality)
    if marks is None:
        return None
    if "signal" in marks.dims:
        if signal not in marks["signal"].values:
            return None
        marks = marks.sel(signal=signal)
    return marks


def time_marks(results: StudyResults, signal: str) -> xr.DataArray | None:
    """Return marks over time with dims ``(layer, time)``, or None where they are by target or absent."""
    marks = None if results.timed is None else significance_of(results, results.timed, signal)
    return marks if marks is not None and set(marks.dims) == {"layer", "time"} else None


def hierarchy_table(results: StudyResults, kind: str, signal: str) -> pd.DataFrame | None:
    """Return the table of one hierarchy (``spatial``, ``temporal``) for one signal, or None where there is none."""
    part = results.hierarchy.get(kind)
    if isinstance(part, Mapping):
        table = part.get(signal)
    elif isinstance(part, pd.DataFrame) and "signal" in part:
        table = part[part["signal"] == signal]
    else:
        table = part if signal == "activation" else None
    return table if isinstance(table, pd.DataFrame) and len(table) else None


def residual_units(results: StudyResults, modality: str) -> list[Any]:
    """Return the areas or times at which gradients add significantly, in the order of the table."""
    table = results.residual.get(modality)
    return [] if table is None else table.loc[table["significant"].astype(bool), "unit"].tolist()


def beyond_nonlinear(results: StudyResults, modality: str) -> list[Any] | None:
    """Return those of :func:`residual_units` that hold beyond nonlinear features of the activations, too.

    None where that was not tested.
    """
    table = results.residual.get(modality)
    if table is None or "p_beyond_nonlinear" not in table:
        return None
    level = float(table.attrs.get("alpha", LEVEL))
    held = table["significant"].astype(bool) & (table["p_beyond_nonlinear"] <= level)
    return table.loc[held, "unit"].tolist()


def time_runs(times: list[float], step: float) -> list[tuple[float, float]]:
    """Join neighbouring time samples into windows ``(first, last)`` in s."""
    runs: list[tuple[float, float]] = []
    for time in sorted(float(t) for t in times):
        if runs and time - runs[-1][1] < 1.5 * step:
            runs[-1] = (runs[-1][0], time)
        else:
            runs.append((time, time))
    return runs


def residual_windows(results: StudyResults) -> list[tuple[float, float]]:
    """Return the time windows in which gradients add significantly to activations."""
    return windows_of(results, residual_units(results, results.timed or ""))


def windows_of(results: StudyResults, times: list[Any]) -> list[tuple[float, float]]:
    """Join those moments of the residual that follow each other into windows ``(first, last)`` in s."""
    table = results.residual.get(results.timed or "")
    if table is None or len(table) < 2:
        return []
    return time_runs(times, float(np.median(np.diff(np.sort(table["unit"].to_numpy(float))))))


def main_signal(results: StudyResults, modality: str | None) -> str | None:
    """Return the signal that headlines are about: activations if they were scored, None where nothing has a score.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.results import main_signal
    >>> main_signal(brainmap.open_run("brainmap_runs/demo"), "fmri")
    'activation'
    """
    if modality not in results.modalities:
        return None
    r = results.scores[modality]["r"]
    names = [str(name) for name in r["signal"].values]
    for name in sorted(names, key=lambda name: name != "activation"):
        mine = r.sel(signal=name)
        if any(np.isfinite(mine.isel(layer=layer).values).any() for layer in range(r.sizes["layer"])):
            return name
    return None


def stimulus_span(results: StudyResults) -> tuple[float, float] | None:
    """Return when the photograph was shown, in s, if the study knows."""
    duration = results.provenance.get("stimulus_duration")
    return (0.0, float(duration)) if duration else None
