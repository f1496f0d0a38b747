"""What may be named: areas, moments, layers and peaks above chance by the study's own test, after all corrections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from brainmap.common.names import LEVEL
from brainmap.results.lookups import averaged_over, significance_of
from brainmap.results.study_results import StudyResults

Q = "q"  # coordinate of the marks: p corrected over all signals, layers and targets (or times) of a modality


def naming_levels(studies: Sequence[StudyResults]) -> list[dict[str, float]]:
    """Return the level at which cells of each study and modality may be named on one page.

    A page draws its words from several families of tests: the modalities of all its studies. A family is chosen by
    Benjamini–Hochberg over the families' smallest corrected p; with R of m chosen, cells of a chosen family are
    named at level × R / m (Benjamini & Bogomolov 2014). Where no response is predicted anywhere, a page names something
    with a probability of at most the level.

    Parameters
    ----------
    studies : sequence of StudyResults
        All that the page shows.

    Returns
    -------
    list of dict of str to float
        Modality → level, for each study; 0 where nothing may be named, absent where nothing was tested.
    """
    least: dict[tuple[int, str], float] = {}
    for number, results in enumerate(studies):
        for modality in results.modalities:
            q = _corrected(results, modality)
            if q is not None:
                known = q.values[np.isfinite(q.values)]
                least[number, modality] = float(known.min()) if known.size else 1.0
    ordered, m = sorted(least.values()), len(least)
    chosen = max((k for k, p in enumerate(ordered, 1) if p <= LEVEL * k / m), default=0)
    level = LEVEL * chosen / max(m, 1)
    return [
        {modality: level if p <= level else 0.0 for (number, modality), p in least.items() if number == i}
        for i in range(len(studies))
    ]


def named_cells(results: StudyResults, modality: str, signal: str, level: float | None = None) -> xr.DataArray | None:
    """Return which layers and targets (or times) of a signal may be named, None where nothing was tested.

    Parameters
    ----------
    results : StudyResults
        A study.
    modality, signal : str
        Which scores.
    level : float, optional
        Of the corrected p, from :func:`naming_levels`; that of a page with this study alone by default.

    Returns
    -------
    DataArray of bool or None
        Dims ``(layer, target)`` or ``(layer, time)``.
    """
    marks = significance_of(results, modality, signal)
    if marks is None:
        return None
    if level is None:
        level = naming_levels([results])[0].get(modality, 0.0)
    q = _corrected(results, modality)
    assert q is not None
    if "signal" in q.dims:
        q = q.sel(signal=signal)
    cells = marks.drop_vars(Q, errors="ignore").astype(bool) & (q <= level)
    if "layer" not in cells.dims:
        cells = cells.expand_dims(layer=results.scores[modality]["layer"].values)
    return cells.transpose("layer", ...)


def predicts(
    results: StudyResults, modality: str | None, signal: str | None = None, level: float | None = None
) -> bool:
    """Return whether anything of a modality may be named, of one signal or of any."""
    if modality is None or modality not in results.modalities:
        return False
    names = [str(name) for name in results.scores[modality]["signal"].values] if signal is None else [signal]
    cells = [named_cells(results, modality, name, level) for name in names]
    return any(cell is not None and bool(cell.any()) for cell in cells)


def best_area(results: StudyResults, signal: str, level: float | None = None) -> tuple[str, np.ndarray, str] | None:
    """Return the best-predicted area among those with a target that may be named, None where there is none.

    Returns
    -------
    area : str
    values : ndarray, (n_subjects,)
        Mean r over the area at the layer that predicts it best: the highest of all layers.
    layer : str
        That layer.
    """
    cells = named_cells(results, "fmri", signal, level)
    if cells is None or "target" not in cells.dims or not cells.any():
        return None
    r = averaged_over(results, "fmri", "roi").sel(signal=signal).transpose("subject", "layer", "roi")
    places = np.asarray(results.scores["fmri"]["roi"].values)
    allowed = np.stack([cells.values[:, places == area].any(axis=1) for area in r["roi"].values], axis=1)
    return _highest(r, allowed, "roi")


def best_moment(
    results: StudyResults, signal: str, level: float | None = None, modality: str | None = None
) -> tuple[float, np.ndarray, str] | None:
    """Return the time of the highest score among the moments that may be named, the score per subject, and the layer.

    Returns
    -------
    tuple or None
        As of :func:`best_area`, with the time in s; r is the mean over sensors.
    """
    modality = modality or results.timed
    cells = None if modality is None else named_cells(results, modality, signal, level)
    if modality is None or cells is None or not cells.any():
        return None
    if "target" in cells.dims:
        cells = cells.assign_coords(time=("target", results.scores[modality]["time"].values)).groupby("time").any()
    r = averaged_over(results, modality, "time").sel(signal=signal).transpose("subject", "layer", "time")
    highest = _highest(r, cells.transpose("layer", "time").values, "time")
    return None if highest is None else (float(highest[0]), *highest[1:])


def counts(results: StudyResults, modality: str, signal: str) -> tuple[int, int]:
    """Return how many layers × targets (or times) of a signal may be named, and how many were tested."""
    cells = named_cells(results, modality, signal)
    return (0, 0) if cells is None else (int(cells.sum()), int(cells.size))


def _highest(r: xr.DataArray, allowed: np.ndarray, place: str) -> tuple[str, np.ndarray, str] | None:
    mean = np.where(allowed, r.mean("subject", skipna=True).values, np.nan)
    if not np.isfinite(mean).any():
        return None
    layer, where = np.unravel_index(np.nanargmax(mean), mean.shape)
    return str(r[place].values[where]), r.values[:, layer, where], str(r["layer"].values[layer])


def _corrected(results: StudyResults, modality: str) -> xr.DataArray | None:
    """Return the corrected p of all cells; of marks that came without, those of every map alone (0 or 1)."""
    marks = results.significance.get(modality)
    if marks is None:
        return None
    if Q in marks.coords:
        return marks[Q].drop_vars(Q)
    return xr.where(marks.astype(bool), 0.0, 1.0)
