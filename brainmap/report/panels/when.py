"""Panels of the section *when*: scores over time, by layer and by sensor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from brainmap.common.names import signal_name
from brainmap.report.figures import curves, heatmaps
from brainmap.report.panels.panel import Panel, above_chance_words, signals_of, suffix_of
from brainmap.report.panels.sensors import topography_panels
from brainmap.report.words import headlines
from brainmap.results import lookups, nameable
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults


def time_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield curves by layer, layer by time, and sensors at the peaks, for each signal."""
    modality = results.timed
    assert modality is not None
    scores = lookups.averaged_over(results, modality, "time")
    suffix = suffix_of(results, modality)
    stimulus = stimulus_span(results)
    span = f" Shaded: photograph shown (0 to {stimulus[1]:g} s)." if stimulus else ""
    for signal in signals_of(results, modality):
        name = signal_name(signal)
        yield _curves_panel(results, scores.sel(signal=signal), signal, name + suffix, span)
    for signal in signals_of(results, modality):
        yield _heatmap_panel(results, scores.sel(signal=signal).mean("subject"), signal, suffix)
    for signal in signals_of(results, modality):
        yield from topography_panels(results, signal, suffix, _peaks(results, signal))


def _peaks(results: StudyResults, signal: str) -> np.ndarray | None:
    """Return T_max by layer in the order of the scores; None where no moment is above chance: noise has no peak."""
    table = lookups.hierarchy_table(results, "temporal", signal)
    if table is None or not nameable.predicts(results, results.timed, signal):
        return None
    by_layer = dict(zip(table["layer"].astype(str), table["t_max"].astype(float), strict=True))
    return np.array([by_layer.get(str(layer), np.nan) for layer in results.scores[str(results.timed)]["layer"].values])


def _curves_panel(results: StudyResults, scores: xr.DataArray, signal: str, title: str, span: str) -> Panel:
    marks, peaks = lookups.time_marks(results, signal), _peaks(results, signal)
    depths = results.depths(str(results.timed))
    n = scores.sizes["subject"]
    best = nameable.best_moment(results, signal)
    highest = (
        "no moment is above chance"
        if best is None
        else f"the highest value is at {1000 * best[0]:.0f} ms in {headlines.layer_name(best[2])}"
    )
    bands = f"bands ± SEM over {n} subjects" if n > 1 else "one subject"
    caption = f"Mean over sensors{', one curve per layer' if len(depths) > 1 else ''}; {bands}.{span}"
    if peaks is not None:
        caption += " Triangles: peak time Tmax, the middle of the window in which a curve exceeds 95 % of its maximum."
    if marks is not None:
        caption += " Bars below: times above chance."
    return Panel(
        f"{results.timed}-curves-{signal}",
        "when",
        f"{signal_name(signal)}: when each layer predicts",
        caption,
        f"Encoding score over time for each layer of {signal_name(signal).lower()}; {highest}.",
        lambda: curves.layer_curves(
            scores, depths, significance=marks, peaks=peaks, stimulus=stimulus_span(results), title=title
        ),
        curves_table(scores, depths),
        how=above_chance_words(results, str(results.timed)) if marks is not None else "",
        heading=title,
    )


def curves_table(scores: xr.DataArray, depths: np.ndarray) -> pd.DataFrame:
    """Return scores (subject, layer, time) as a table: ``subject``, ``layer``, ``depth``, ``time`` (s), ``r``."""
    values = scores.transpose("subject", "layer", "time")
    times = values["time"].values
    people, layers = ([str(name) for name in values[dim].values] for dim in ("subject", "layer"))
    index = pd.MultiIndex.from_product([people, layers, times], names=list(values.dims))
    table = pd.DataFrame({"r": values.values.ravel()}, index=index).reset_index()
    table.insert(2, "depth", np.tile(np.repeat(depths, len(times)), len(people)))
    return table


def _by_time(scores: xr.DataArray) -> pd.DataFrame:
    """Return scores (layer, time) as a table: one row per time, one column per layer."""
    return pd.DataFrame(
        scores.transpose("time", "layer").values,
        index=pd.Index(scores["time"].values, name="time"),
        columns=[str(name) for name in scores["layer"].values],
    ).reset_index()


def _heatmap_panel(results: StudyResults, scores: xr.DataArray, signal: str, suffix: str) -> Panel:
    marks, peaks = lookups.time_marks(results, signal), _peaks(results, signal)
    caption = "The same scores as a map of layer and time."
    caption += " Dots: Tmax." if peaks is not None else ""
    caption += " Outline: above chance." if marks is not None else ""
    caption += " Grey bar on top: photograph shown." if stimulus_span(results) else ""
    name = signal_name(signal)
    return Panel(
        f"{results.timed}-layers-{signal}",
        "when",
        f"{name}: layer by time",
        caption,
        f"Heat map of the encoding score of {name.lower()}, layers from shallow (bottom) to deep (top), over time.",
        lambda: heatmaps.layer_time_heatmap(
            scores, signal, significance=marks, peaks=peaks, stimulus=stimulus_span(results), title=name + suffix
        ),
        _by_time(scores),
        how=above_chance_words(results, str(results.timed)) if marks is not None else "",
        heading=name + suffix,
    )
