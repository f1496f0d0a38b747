"""Panels of the section *together*: bands and stacks of layers, of studies that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.figures import bands_and_stacks
from brainmap.report.figures.bands_and_stacks import band_name
from brainmap.report.panels.panel import Panel, suffix_of
from brainmap.report.words import headlines
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults
from brainmap.results.together_tables import bands_table, stack_table

MOST_AREAS = 24


def together_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield unique and shared variance of bands, and weights of stacks, by modality."""
    for modality, together in results.together.items():
        if modality in results.modalities and "explained" in together:
            yield _bands_panel(results, modality, together)
        elif modality in results.modalities and "weight" in together:
            for signal in map(str, together["signal"].values):
                yield _stack_panel(results, modality, signal)


def _bands_panel(results: StudyResults, modality: str, together: xr.Dataset) -> Panel:
    table = bands_table(results, modality)
    kinds = [str(kind) for kind in together["kind"].values[:-2]]
    heading = "Unique and shared variance" + suffix_of(results, modality)
    timed = modality != "fmri"
    names = headlines.area_list([band_name(kind) for kind in kinds], most=5)
    mean = {kind: float(together["explained"].sel(kind=kind).mean()) for kind in kinds}
    return Panel(
        f"together-{modality}-bands",
        "together",
        f"{MODALITY_NAMES[modality]}: what each band explains {'over time' if timed else 'by area'}",
        f"Alone: held-out R² of all bands less that of all but this one. Shared: what two bands or more explain "
        f"alike. Bands: {names}. With 95 % intervals; below zero a band costs more than it brings.",
        f"{'Curves' if timed else 'Dots'} of unique and shared variance; mean unique variance: "
        + ", ".join(f"{band_name(kind)} {value:.3f}" for kind, value in mean.items())
        + ".",
        _bands_figure(results, table, timed, heading),
        table,
        how=f"Each band has a penalty of its own. Intervals: {together.attrs['interval']}, each by itself, not "
        "corrected for their number; penalties as they were chosen.",
        heading=heading,
    )


def _bands_figure(results: StudyResults, table: pd.DataFrame, timed: bool, heading: str) -> Callable[[], Figure]:
    if timed:
        return lambda: bands_and_stacks.band_curves(table, stimulus=stimulus_span(results), title=heading)
    return lambda: bands_and_stacks.band_dots(table, title=heading)


def _stack_panel(results: StudyResults, modality: str, signal: str) -> Panel:
    table = stack_table(results, modality, signal)
    heading = f"{signal_name(signal)}: weights of layers{suffix_of(results, modality)}"
    depths = results.depths(modality)
    layers = [str(name) for name in results.scores[modality]["layer"].values]
    what = "time" if modality != "fmri" else "area"
    rows = table
    if what == "area":
        rows = table.nlargest(MOST_AREAS, "r").sort_values("depth", kind="stable")
    more = f" The {len(rows)} of {len(table)} areas that the stack predicts best." if len(rows) < len(table) else ""
    weights = xr.DataArray(
        rows[layers].to_numpy().T, dims=("layer", "unit"), coords={"layer": layers, "unit": rows["unit"].to_numpy()}
    )
    return Panel(
        f"together-{modality}-stack-{signal}",
        "together",
        f"{signal_name(signal)}: how each {what} weighs the layers ({MODALITY_NAMES[modality]})",
        f"All layers predict together, each target with weights of its own that add up to one (mean over the targets "
        f"of {'an area' if what == 'area' else 'a time'}). Dots or line: mean depth under the weights; crosses: the "
        f"layer that predicts best alone.{more}",
        f"Weights of {len(layers)} layers by {what}; mean depth {float(np.mean(rows['depth'])):.2f}.",
        lambda: bands_and_stacks.stack_weights(
            weights, depths, best=rows["best_depth"].to_numpy(), signal=signal, title=heading
        ),
        table,
        how="Weights: convex combination of layers with the least squared error in inner folds (Lin et al. 2023). No "
        "test is made of them: where nothing is predicted they say nothing, see r in the table.",
        heading=heading,
    )
