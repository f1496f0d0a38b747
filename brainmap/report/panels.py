"""Which figures a study gets, with captions, alternative texts and the table behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.report import summary
from brainmap.report.cortex import HEMISPHERES, can_map, load_cortex
from brainmap.report.figures import bars, curves, heatmaps, maps, scatter, topographies
from brainmap.report.results import MODALITY_NAMES, StudyResults
from brainmap.report.style import format_p, format_score, signal_name

SECTIONS = ("where", "when", "order", "beyond", "controls")
_SIGNALS = ("activation", "gradient")


@dataclass(frozen=True)
class Panel:
    """One figure of a study.

    Attributes
    ----------
    key : str
        Name for files and anchors.
    section : str
        One of :data:`SECTIONS`.
    title, caption, alt : str
        Words for a reader, and for a reader who cannot see the figure.
    draw : callable
        Returns the figure.
    table : pd.DataFrame, optional
        The numbers that are drawn, if they are few.
    raster : bool
        Whether the figure is a picture (surfaces, topographies) rather than lines.
    """

    key: str
    section: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    table: pd.DataFrame | None = None
    raster: bool = False


def study_panels(results: StudyResults) -> list[Panel]:
    """Return the panels that the results have data for, in reading order."""
    found: list[Panel] = []
    if "fmri" in results.modalities:
        found += _cortex_panels(results)
    if "meg" in results.modalities:
        found += _meg_panels(results)
    found += _order_panels(results)
    found += _residual_panels(results)
    found += _control_panels(results)
    return sorted(found, key=lambda panel: SECTIONS.index(panel.section))


def missing_panels(results: StudyResults) -> dict[str, str]:
    """Return, by section, what cannot be shown and why; nothing is left out silently."""
    notes: dict[str, str] = {}
    if "fmri" not in results.modalities:
        notes["where"] = "This study has no fMRI scores, so there are no maps of cortex."
    elif not can_map(results.targets("fmri"), load_cortex()):
        notes["where"] = "The fMRI targets carry no vertices of the fsLR-32k mesh, so they cannot be drawn on a surface."
    if "meg" not in results.modalities:
        notes["when"] = "This study has no MEG scores, so there are no time courses."
    if not any(panel.section == "order" for panel in study_panels(results)):
        notes["order"] = "The hierarchy was not computed in this study."
    if not results.residual:
        notes["beyond"] = "The gain of gradients over activations was not computed in this study."
    if not results.controls:
        notes["controls"] = "No control feature spaces were computed in this study."
    return notes


def how_significant(results: StudyResults, key: str) -> str:
    """Return how the p values of one statistic were made, as the provenance says."""
    made = results.provenance.get("p_values")
    if isinstance(made, dict):
        made = made.get(key)
    return str(made) if made else "method not recorded"


def stimulus_span(results: StudyResults) -> tuple[float, float] | None:
    """Return when the photograph was shown, in s, if the study knows."""
    duration = results.provenance.get("stimulus_duration")
    return (0.0, float(duration)) if duration else None


def _signals(results: StudyResults, modality: str) -> list[str]:
    present = {str(name) for name in results.scores[modality]["signal"].values}
    return [name for name in _SIGNALS if name in present] + sorted(present - set(_SIGNALS))


def _suffix(results: StudyResults, modality: str) -> str:
    return f" ({summary.modality_phrase(results, modality)})"


# --- where -----------------------------------------------------------------------------------------------------------


def _cortex_panels(results: StudyResults) -> Iterator[Panel]:
    targets = results.targets("fmri")
    if not can_map(targets, load_cortex()):
        return
    n_layers = results.scores["fmri"].sizes["layer"]
    suffix = _suffix(results, "fmri")
    for signal in _signals(results, "fmri"):
        _, depth, top = summary.best_layers(results, signal)
        by_area = _by_area(targets, {"r": top, "best_layer_depth": depth})
        shown = int(np.isfinite(top).sum())
        which = _which_targets(results, signal, shown, len(targets))
        name = signal_name(signal)
        best = by_area["r"].idxmax() if by_area["r"].notna().any() else "no area"
        yield Panel(
            f"map-score-{signal}",
            "where",
            f"{name}: how well each place is predicted",
            f"Pearson r between predicted and held-out response at each vertex's best of {n_layers} layers, mean over "
            f"splits and subjects. {which} Taking the best layer on the same data flatters r slightly. "
            "Outlines: V1, V4, MT, FFC.",
            f"Inflated cortex coloured by encoding score of {name.lower()}; the highest area mean is in {best}.",
            _score_map(top, targets, signal, name + suffix),
            by_area.reset_index(),
            raster=True,
        )
        yield Panel(
            f"map-layer-{signal}",
            "where",
            f"{name}: which layer predicts best",
            "Depth of the best layer at each vertex, from 0 (first block) to 1 (last block), smoothed over the mesh "
            f"(three passes of neighbour averaging, weight 0.3). {which}",
            f"Inflated cortex coloured by the depth of the best layer of {name.lower()}.",
            _layer_map(depth, targets, f"{name}: best layer{suffix}"),
            raster=True,
        )
    yield from _residual_map_panel(results, targets, suffix)
    yield from _ceiling_panel(results, targets, suffix)


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
        f"Inflated cortex coloured by noise ceiling; the mean over vertices is {format_score(float(np.nanmean(values)))}.",
        lambda: maps.ceiling_map(values, targets, title=f"Noise ceiling{suffix}"),
        _by_area(targets, {"ceiling": values}).reset_index(),
        raster=True,
    )


def _residual_map_panel(results: StudyResults, targets: pd.DataFrame, suffix: str) -> Iterator[Panel]:
    table = results.residual.get("fmri")
    if table is None:
        return
    kept = table["significant"].astype(bool)
    delta = {str(unit): float(value) for unit, value in zip(table["unit"][kept], table["delta"][kept], strict=True)}
    sides = [side for side in HEMISPHERES if side in set(targets["hemisphere"])]
    listed = summary.area_list(list(delta)) or "no area"
    yield Panel(
        "map-residual",
        "where",
        "Where gradients add to activations",
        "Gain in held-out r when gradients join activations, in areas where it is significant "
        f"({how_significant(results, 'residual')}). Other areas stay grey.",
        f"Inflated cortex with the areas in which gradients add significantly: {listed}.",
        lambda: maps.residual_map(delta, title=f"{signal_name('residual')}{suffix}", hemispheres=sides),
        raster=True,
    )


def _score_map(values: np.ndarray, targets: pd.DataFrame, signal: str, title: str) -> Callable[[], Figure]:
    return lambda: maps.score_map(values, targets, signal, title=title)


def _layer_map(values: np.ndarray, targets: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: maps.best_layer_map(values, targets, title=title)


def _by_area(targets: pd.DataFrame, values: dict[str, np.ndarray]) -> pd.DataFrame:
    table = pd.DataFrame({"roi": targets["roi"].to_numpy(), **values})
    return table.groupby("roi", sort=False).mean()


def _which_targets(results: StudyResults, signal: str, shown: int, total: int) -> str:
    if summary.significance_of(results, "fmri", signal) is None:
        return f"All {total:,} vertices are shown: this study made no test per vertex."
    return (
        f"{shown:,} of {total:,} vertices are significant and shown ({how_significant(results, 'fmri')})."
        if shown
        else f"None of {total:,} vertices is significant ({how_significant(results, 'fmri')})."
    )


# --- when ------------------------------------------------------------------------------------------------------------


def _meg_panels(results: StudyResults) -> Iterator[Panel]:
    scores = summary.averaged_over(results, "meg", "time")
    suffix = _suffix(results, "meg")
    stimulus = stimulus_span(results)
    span = f" Shaded: photograph shown (0 to {stimulus[1]:g} s)." if stimulus else ""
    for signal in _signals(results, "meg"):
        name = signal_name(signal)
        yield _curves_panel(results, scores.sel(signal=signal), signal, name + suffix, span)
    for signal in _signals(results, "meg"):
        yield _heatmap_panel(results, scores.sel(signal=signal).mean("subject"), signal, suffix)
    for signal in _signals(results, "meg"):
        yield from _topography_panel(results, signal, suffix)


def _peaks(results: StudyResults, signal: str) -> np.ndarray | None:
    """Return T_max by layer in the order of the scores."""
    table = summary.hierarchy_table(results, "temporal", signal)
    if table is None:
        return None
    by_layer = dict(zip(table["layer"].astype(str), table["t_max"].astype(float), strict=True))
    return np.array([by_layer.get(str(layer), np.nan) for layer in results.scores["meg"]["layer"].values])


def _curves_panel(results: StudyResults, scores: xr.DataArray, signal: str, title: str, span: str) -> Panel:
    marks, peaks = summary.time_marks(results, signal), _peaks(results, signal)
    depths = results.depths("meg")
    n = scores.sizes["subject"]
    time, _, layer = summary.best_moment(results, signal)
    caption = f"Mean over sensors, one curve per layer; bands ± SEM over {n} subject{'s' if n > 1 else ''}.{span}"
    if peaks is not None:
        caption += " Triangles: peak time Tmax, the middle of the window in which a curve exceeds 95 % of its maximum."
    if marks is not None:
        caption += f" Bars below: significant times ({how_significant(results, 'meg')})."
    return Panel(
        f"meg-curves-{signal}",
        "when",
        f"{signal_name(signal)}: when each layer predicts",
        caption,
        f"Encoding score over time for each layer of {signal_name(signal).lower()}; the highest value is at "
        f"{1000 * time:.0f} ms in {summary.layer_name(layer)}.",
        lambda: curves.layer_curves(
            scores, depths, significance=marks, peaks=peaks, stimulus=stimulus_span(results), title=title
        ),
        scores.mean("subject").transpose("time", "layer").to_pandas().reset_index(),
    )


def _heatmap_panel(results: StudyResults, scores: xr.DataArray, signal: str, suffix: str) -> Panel:
    marks, peaks = summary.time_marks(results, signal), _peaks(results, signal)
    caption = "The same scores as a map of layer and time."
    caption += " Dots: Tmax." if peaks is not None else ""
    caption += " Outline: significant." if marks is not None else ""
    caption += " Grey bar on top: photograph shown." if stimulus_span(results) else ""
    name = signal_name(signal)
    return Panel(
        f"meg-layers-{signal}",
        "when",
        f"{name}: layer by time",
        caption,
        f"Heat map of the encoding score of {name.lower()}, layers from shallow (bottom) to deep (top), over time.",
        lambda: heatmaps.layer_time_heatmap(
            scores, signal, significance=marks, peaks=peaks, stimulus=stimulus_span(results), title=name + suffix
        ),
    )


def _topography_panel(results: StudyResults, signal: str, suffix: str) -> Iterator[Panel]:
    targets = results.targets("meg")
    sensors = list(dict.fromkeys(targets["sensor"].astype(str)))
    if np.isfinite(topographies.sensor_positions(sensors)[:, 0]).sum() < 8:
        return
    r = results.mean_r("meg").sel(signal=signal).mean("subject", skipna=True)
    n_layers = r.sizes["layer"]
    chosen = sorted({0, n_layers // 2, n_layers - 1})
    peaks = _peaks(results, signal)
    times = np.unique(targets["time"])
    panels, captions = [], []
    for layer in chosen:
        one = pd.DataFrame({"sensor": targets["sensor"].astype(str), "time": targets["time"], "r": r.values[layer]})
        by_time = one.groupby("time")["r"].mean()
        wanted = peaks[layer] if peaks is not None and np.isfinite(peaks[layer]) else by_time.idxmax()
        time = times[np.argmin(np.abs(times - wanted))]
        panels.append(one[one["time"] == time].set_index("sensor")["r"].reindex(sensors).to_numpy())
        captions.append(f"{summary.layer_name(str(r['layer'].values[layer]))}\n{1000 * time:.0f} ms")
    values = xr.DataArray(np.stack(panels), dims=("panel", "sensor"), coords={"sensor": sensors})
    name = signal_name(signal)
    yield Panel(
        f"meg-sensors-{signal}",
        "when",
        f"{name}: sensors at the peaks",
        "Scores over the helmet, seen from above (nose up), for a shallow, a middle and a deep layer, each at the sample "
        "nearest to its own T_max; one colour scale.",
        f"Three sensor maps of the encoding score of {name.lower()} at {', '.join(c.splitlines()[1] for c in captions)}.",
        lambda: topographies.topographies(values, captions, signal, title=name + suffix),
        raster=True,
    )


# --- order -----------------------------------------------------------------------------------------------------------


def _order_panels(results: StudyResults) -> Iterator[Panel]:
    kinds: tuple[tuple[str, str, Callable[..., Figure]], ...] = (
        ("spatial", "fmri", scatter.distance_vs_best_layer),
        ("temporal", "meg", scatter.depth_vs_peak_time),
    )
    for kind, modality, draw in kinds:
        for signal in _SIGNALS:
            table = summary.hierarchy_table(results, kind, signal)
            if table is not None:
                yield _scatter_panel(results, table, (kind, modality, signal), draw)


def _scatter_panel(
    results: StudyResults, table: pd.DataFrame, which: tuple[str, str, str], draw: Callable[..., Figure]
) -> Panel:
    kind, modality, signal = which
    name = signal_name(signal)
    words = {
        "spatial": (
            f"{name}: best layer and distance from V1",
            f"One point per area ({len(table)}). Distance is between the centres of the areas.",
        ),
        "temporal": (
            f"{name}: latency and layer depth",
            f"One point per layer ({len(table)}), bars: interval of Tmax.",
        ),
    }[kind]
    r, p = table.attrs.get("r", np.nan), table.attrs.get("p", np.nan)
    made = how_significant(results, kind)
    line = "Line: least squares with its 95 % bootstrap band."
    return Panel(
        f"order-{kind}-{signal}",
        "order",
        words[0],
        f"{words[1]} {line} In brackets: 95 % interval of r. p: {made}.",
        f"Scatter plot; r = {format_score(float(r))}, {format_p(float(p))}.",
        lambda: draw(table, signal, title=name + _suffix(results, modality)),
        table,
    )


# --- beyond activations ----------------------------------------------------------------------------------------------


def _residual_panels(results: StudyResults) -> Iterator[Panel]:
    truth: dict[str, Any] = results.truth or {}
    made = how_significant(results, "residual")
    planted_areas = [str(area) for area in truth.get("residual_areas", [])]
    window = truth.get("residual_window")
    if "fmri" in results.residual:
        table = results.residual["fmri"]
        units = summary.residual_units(results, "fmri")
        diamonds = " Diamonds: areas with a planted effect." if planted_areas else ""
        yield Panel(
            "residual-areas",
            "beyond",
            "What gradients add, area by area",
            f"Gain in held-out r, with its interval. Green: significant ({made}).{diamonds}",
            f"Bars of the gain per area; significant in {summary.area_list(units) or 'no area'}.",
            lambda: bars.residual_bars(
                table, planted=planted_areas, title=signal_name("residual") + _suffix(results, "fmri")
            ),
            table,
        )
    if "meg" in results.residual:
        series = results.residual["meg"]
        span = (float(window[0]), float(window[1])) if window is not None else None
        bracket = " Bracket: planted window." if span else ""
        yield Panel(
            "residual-times",
            "beyond",
            "What gradients add, over time",
            f"Gain in held-out r (mean over sensors), with its interval. Bar below: significant times ({made}).{bracket}",
            f"Curve of the gain over time; significant at {summary.format_windows(summary.residual_windows(results))}.",
            lambda: curves.residual_curve(
                series,
                window=span,
                stimulus=stimulus_span(results),
                title=signal_name("residual") + _suffix(results, "meg"),
            ),
            series,
        )


def _control_panels(results: StudyResults) -> Iterator[Panel]:
    for modality, table in results.controls.items():
        if modality not in MODALITY_NAMES or not len(table):
            continue
        spaces = summary.area_list([str(s) for s in table["space"]], most=12)
        yield Panel(
            f"controls-{modality}",
            "controls",
            f"{MODALITY_NAMES[modality]}: compared with simple feature spaces",
            "Mean held-out r over targets, with its 95 % interval. An effect of gradients that their norm or the loss "
            "value alone explains is not one.",
            f"Mean score and interval of {spaces}.",
            _controls_figure(table, "Feature spaces" + _suffix(results, modality)),
            table,
        )


def _controls_figure(table: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: bars.controls_dots(table, title=title)
