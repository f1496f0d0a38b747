"""Panels of scores as a share of the noise ceiling, where a study asks for them; the raw ones stand in other panels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.names import signal_name
from brainmap.report.figures import curves, heatmaps
from brainmap.report.panels.panel import Panel, signals_of, suffix_of
from brainmap.results.study_results import StudyResults

MOST_AREAS = 40


def share_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield areas × layers (fMRI) and courses of layers (MEG, EEG), divided by the noise ceiling."""
    if results.normalise != "ceiling":
        return
    for modality in (name for name in results.modalities if name in results.ceilings):
        normalised = results.normalised(modality)
        for signal in signals_of(results, modality):
            mine = normalised.sel(signal=signal)
            if "time" in mine.coords:
                yield _courses(results, mine, modality, signal)
            elif "roi" in mine.coords and (mine["roi"].astype(str) != "").any():
                yield _areas(results, mine, modality, signal)


def counted_words(normalised: xr.Dataset, minimum: float) -> str:
    """Say what was left out and what exceeded its ceiling; nothing is set to 1 unsaid."""
    masked, exceeding = int(normalised["masked"].sum()), int(normalised["exceeds"].sum())
    return (
        f"Each score divided by its target's noise ceiling. {masked:,} of {normalised['masked'].size:,} ceilings are "
        f"below {minimum:g} and left out; {exceeding:,} of {normalised['exceeds'].size:,} scores exceed their ceiling, "
        "which is an estimate too, and count as 1. Raw scores are in the other panels."
    )


def _by_area(scores: xr.DataArray) -> pd.DataFrame:
    """Mean over subjects and targets of each area: areas × layers."""
    mean = scores.mean("subject", skipna=True).transpose("target", "layer")
    table = pd.DataFrame(mean.values, columns=mean["layer"].values)
    return table.groupby(mean["roi"].values.astype(str)).mean()


def _areas(results: StudyResults, mine: xr.Dataset, modality: str, signal: str) -> Panel:
    table = _by_area(mine["r_normalised"])
    table = table.drop(index="", errors="ignore").dropna(how="all")
    kept = table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index[:MOST_AREAS]]
    grid = xr.DataArray(kept.to_numpy(), dims=("roi", "layer"), coords={"roi": kept.index, "layer": kept.columns})
    beside = _by_area(mine["r"]).loc[kept.index]
    name, suffix = signal_name(signal), suffix_of(results, modality)
    heading = f"{name}: share of the noise ceiling{suffix}"
    return Panel(
        f"share-{modality}-{signal}",
        "where",
        f"{name}: share of the noise ceiling, by area",
        counted_words(mine, normalised_minimum(mine)),
        f"Areas by layers, coloured by the share of the noise ceiling that {name.lower()} reach.",
        _grid(grid, signal, heading),
        kept.add_suffix(" (share)").join(beside.add_suffix(" (r)")).reset_index(names="roi"),
        heading=heading,
    )


def _courses(results: StudyResults, mine: xr.Dataset, modality: str, signal: str) -> Panel:
    share = mine["r_normalised"].groupby("time").mean(skipna=True).transpose("subject", "layer", "time")
    raw = mine["r"].groupby("time").mean(skipna=True).mean("subject").transpose("time", "layer").to_pandas()
    name, suffix = signal_name(signal), suffix_of(results, modality)
    heading = f"{name}: share of the noise ceiling{suffix}"
    table = share.mean("subject", skipna=True).transpose("time", "layer").to_pandas()
    return Panel(
        f"share-{modality}-{signal}",
        "when",
        f"{name}: share of the noise ceiling over time",
        f"Mean over sensors, one curve per layer. {counted_words(mine, normalised_minimum(mine))}",
        f"Curves over time of the share of the noise ceiling that {name.lower()} reach.",
        lambda: curves.layer_curves(share, results.depths(modality), title=heading),
        table.add_suffix(" (share)").join(raw.add_suffix(" (r)")).reset_index(names="time"),
        heading=heading,
    )


def normalised_minimum(normalised: xr.Dataset) -> float:
    """Smallest ceiling that a score was divided by."""
    return float(normalised.attrs["minimum_ceiling"])


def _grid(grid: xr.DataArray, signal: str, title: str) -> Callable[[], Figure]:
    return lambda: heatmaps.layer_area_heatmap(grid, signal, title=title)
