"""Panels of the section *where*: maps of cortex."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.names import signal_name
from brainmap.common.storage.lazy_arrays import mean_by_layer
from brainmap.data.meshes import MESH_VERTICES
from brainmap.report.cortex.template_meshes import where_to_put
from brainmap.report.cortex.values_on_mesh import FSLR, HEMISPHERES, Cortex, cortex_of
from brainmap.report.figures import heatmaps, maps
from brainmap.report.panels.panel import Panel, above_chance_words, signals_of, suffix_of
from brainmap.report.words import headlines
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results import lookups, nameable
from brainmap.results.study_results import StudyResults

MOST_AREAS = 40


def cortex_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield maps of score, best layer, gain of gradients and noise ceiling, as far as there are data."""
    targets = results.targets("fmri")
    cortex = cortex_of(targets)
    if cortex is None:
        yield from _area_panels(results, targets)
        return
    place = "vertex" if cortex.mesh == FSLR else "mesh_vertex"
    mesh = _drawn_on(targets, cortex)
    n_layers = results.scores["fmri"].sizes["layer"]
    suffix = suffix_of(results, "fmri")
    for signal in signals_of(results, "fmri"):
        _, depth, top = lookups.best_layers(results, signal)
        by_area = _by_area(targets, {"r": top, "best_layer_depth": depth})
        shown = int(np.isfinite(depth).sum())
        which = _which_targets(results, signal, shown, len(targets))
        name = signal_name(signal)
        best = nameable.best_area(results, signal)
        highest = "no area is above chance" if best is None else f"{best[0]} is predicted best"
        yield Panel(
            f"map-score-{signal}",
            "where",
            f"{name}: how well each place is predicted",
            f"Pearson r between predicted and held-out response at each vertex's best of {n_layers} layers, mean over "
            f"splits and subjects. {which} Taking the best layer on the same data flatters r slightly. "
            f"Outlines: {', '.join(maps.LANDMARKS)}.{mesh}",
            f"Inflated cortex coloured by encoding score of {name.lower()}; {highest}.",
            _score_map(top, targets, signal, name + suffix),
            by_area.reset_index(),
            raster=True,
            how=above_chance_words(results, "fmri"),
            heading=name + suffix,
        )
        if not shown:  # an empty map would say nothing
            continue
        yield Panel(
            f"map-layer-{signal}",
            "where",
            f"{name}: which layer predicts best",
            "Depth of the best layer at each vertex, from 0 (first block) to 1 (last block), smoothed over the mesh "
            f"(three passes of neighbour averaging, weight 0.3). {which}{mesh}",
            f"Inflated cortex coloured by the depth of the best layer of {name.lower()}.",
            _layer_map(depth, targets, f"{name}: best layer{suffix}"),
            targets[["hemisphere", place, "roi"]].assign(best_layer_depth=depth, r=top),
            raster=True,
            how=above_chance_words(results, "fmri"),
            heading=f"{name}: best layer{suffix}",
        )
    yield from _residual_map_panel(results, targets, suffix)
    yield from _ceiling_panel(results, targets, suffix)


def _drawn_on(targets: pd.DataFrame, cortex: Cortex) -> str:
    """Say on which mesh vertices are drawn, and what it takes to draw all of them."""
    if cortex.mesh == FSLR:
        return ""
    measured = str(targets["mesh"].iloc[0])
    if measured == cortex.mesh:
        return f" Drawn on {measured}."
    share = MESH_VERTICES[measured] // MESH_VERTICES[cortex.mesh]
    return f" Drawn on {cortex.mesh}: one vertex in {share}; to draw all, {where_to_put(measured)}."


def _area_panels(results: StudyResults, targets: pd.DataFrame) -> Iterator[Panel]:
    """Yield areas × layers, where there is no surface to draw on."""
    named = targets["roi"].astype(str)
    if not (named != "").any():
        return
    suffix = suffix_of(results, "fmri")
    r = results.scores["fmri"]["r"]
    for signal in signals_of(results, "fmri"):
        values = mean_by_layer(r.sel(signal=signal)).transpose("target", "layer").values
        table = pd.DataFrame(values, columns=r["layer"].values).groupby(named.to_numpy()).mean()
        table = table.drop(index="", errors="ignore")
        kept = table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index[:MOST_AREAS]]
        grid = xr.DataArray(kept.to_numpy(), dims=("roi", "layer"), coords={"roi": kept.index, "layer": kept.columns})
        best = nameable.best_area(results, signal)
        highest = "no area is above chance" if best is None else f"{best[0]} is predicted best"
        which = "all areas" if len(kept) == len(table) else f"the {MOST_AREAS} best predicted of {len(table)} areas"
        name = signal_name(signal)
        yield Panel(
            f"areas-{signal}",
            "where",
            f"{name}: how well each area is predicted",
            f"Pearson r between predicted and held-out response, mean over the targets of an area, splits and "
            f"subjects; {which}, the best predicted on top. Dot: best layer.",
            f"Areas by layers, coloured by encoding score of {name.lower()}; {highest}.",
            _area_map(grid, signal, name + suffix),
            kept.reset_index(names="roi"),
            heading=name + suffix,
        )


def _area_map(grid: xr.DataArray, signal: str, title: str) -> Callable[[], Figure]:
    return lambda: heatmaps.layer_area_heatmap(grid, signal, title=title)


def _ceiling_panel(results: StudyResults, targets: pd.DataFrame, suffix: str) -> Iterator[Panel]:
    ceiling = results.ceilings.get("fmri")
    if ceiling is None or "target" not in ceiling.dims:
        return
    others = [dim for dim in ceiling.dims if dim != "target"]
    values = ceiling.mean(others).values.astype(float)
    divided = "are" if results.provenance.get("ceiling_normalised") else "are not"
    yield Panel(
        "map-ceiling",
        "where",
        "How well a place could be predicted",
        f"Noise ceiling of r at each vertex, mean over subjects. Scores in this report {divided} divided by it.",
        f"Inflated cortex coloured by noise ceiling; the mean is {format_score(float(np.nanmean(values)))}.",
        lambda: maps.ceiling_map(values, targets, title=f"Noise ceiling{suffix}"),
        _by_area(targets, {"ceiling": values}).reset_index(),
        raster=True,
        heading=f"Noise ceiling{suffix}",
    )


def _residual_map_panel(results: StudyResults, targets: pd.DataFrame, suffix: str) -> Iterator[Panel]:
    table = results.residual.get("fmri")
    if table is None or not table["significant"].any():  # the bars say the same better than an empty map
        return
    kept = table["significant"].astype(bool)
    delta = {str(unit): float(value) for unit, value in zip(table["unit"][kept], table["delta"][kept], strict=True)}
    sides = [side for side in HEMISPHERES if side in set(targets["hemisphere"])]
    listed = headlines.area_list(list(delta)) or "no area"
    yield Panel(
        "map-residual",
        "where",
        "Where gradients add to activations",
        "Gain in held-out r when gradients join activations, in areas where it is above chance. Other areas stay grey.",
        f"Inflated cortex with the areas in which gradients add significantly: {listed}.",
        lambda: maps.residual_map(
            delta, title=f"{signal_name('residual')}{suffix}", hemispheres=sides, cortex=cortex_of(targets)
        ),
        table,
        raster=True,
        how=above_chance_words(results, "residual"),
        heading=f"{signal_name('residual')}{suffix}",
    )


def _score_map(values: np.ndarray, targets: pd.DataFrame, signal: str, title: str) -> Callable[[], Figure]:
    return lambda: maps.score_map(values, targets, signal, title=title)


def _layer_map(values: np.ndarray, targets: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: maps.best_layer_map(values, targets, title=title)


def _by_area(targets: pd.DataFrame, values: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"roi": targets["roi"].to_numpy(), **values})
    return table.groupby("roi", sort=False).mean()


def _which_targets(results: StudyResults, signal: str, shown: int, total: int) -> str:
    if lookups.significance_of(results, "fmri", signal) is None:
        return f"All {total:,} vertices are shown: this study made no test per vertex."
    return (
        f"{shown:,} of {total:,} vertices are above chance and shown."
        if shown
        else f"None of {total:,} vertices is above chance; r is shown all the same, and means nothing in itself."
    )
