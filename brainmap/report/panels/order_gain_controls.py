"""Panels of the sections *order*, *beyond activations* and *controls*: statements with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.figures import bars, control_dots, curves, scatter
from brainmap.report.panels.panel import SIGNALS, Panel, above_chance_words, how_significant, suffix_of
from brainmap.report.words import headlines, p_and_numbers
from brainmap.report.words.p_and_numbers import format_p, format_score
from brainmap.results import lookups
from brainmap.results.collection_tables import residual_layers
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults


def order_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield the spatial and temporal hierarchy of each signal."""
    kinds: tuple[tuple[str, str | None, Callable[..., Figure]], ...] = (
        ("spatial", "fmri", scatter.distance_vs_best_layer),
        ("temporal", results.timed, scatter.depth_vs_peak_time),
    )
    for kind, modality, draw in kinds:
        for signal in SIGNALS:
            table = lookups.hierarchy_table(results, kind, signal)
            if table is not None and modality in results.modalities:
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
    made = str(table.attrs.get("p_method") or how_significant(results, kind))
    heading = name + suffix_of(results, modality)
    return Panel(
        f"order-{kind}-{signal}",
        "order",
        words[0],
        f"{words[1]} {order_caption(table)}",
        f"Scatter plot; {p_and_numbers.order_text(table.attrs)}.",
        lambda: draw(table, signal, title=heading),
        table,
        how=order_test(table, made),
        heading=heading,
    )


def order_words(table: pd.DataFrame, made: str = "") -> str:
    """Say what the line, the brackets and p of a hierarchy's scatter are.

    Parameters
    ----------
    table : pandas.DataFrame
        Hierarchy, statistics in ``attrs``.
    made : str
        How p was made; ``attrs["p_method"]`` by default.
    """
    return " ".join(filter(None, (order_caption(table), order_test(table, made))))


def order_caption(table: pd.DataFrame) -> str:
    """Say what the line and the brackets of a hierarchy's scatter are, and why interval and p may disagree."""
    text = "Line: least squares." + (" In brackets: 95 % interval of r." if "low" in table.attrs else "")
    return " ".join(filter(None, (text, p_and_numbers.two_methods(table.attrs))))


def order_test(table: pd.DataFrame, made: str = "") -> str:
    """Say how p of a hierarchy was made; parameters as of :func:`order_words`."""
    made = made or str(table.attrs.get("p_method", ""))
    text = f"p: {made}." if made else ""
    return " ".join(filter(None, (text, slope_words(table), map_words(table)))).strip()


def slope_words(table: pd.DataFrame) -> str:
    """Test of an order in time, beside p that takes layers for independent; empty where there is none."""
    attrs = table.attrs
    if not np.isfinite(attrs.get("slope_p", np.nan)):
        return ""
    slope, low, high = (f"{1000 * float(attrs[name]):.0f}" for name in ("slope", "slope_low", "slope_high"))
    text = f"From the first to the last layer Tmax changes by {slope} ms [{low}, {high}]"
    flips = f"; sign flips: {format_p(float(attrs['slope_flip_p']))}" if _known(attrs, "slope_flip_p") else ""
    return f"{text}{flips}; with layers taken for independent {format_p(float(attrs['p']))}."


def map_words(table: pd.DataFrame) -> str:
    """What stands beside the test of an order in space: along the mesh, over subjects or folds, areas independent."""
    attrs = table.attrs
    parts = []
    if _known(attrs, "areas_p"):
        parts.append(f"with areas taken for independent {format_p(float(attrs['areas_p']))}")
    if _known(attrs, "unit_p"):
        words = tuple(format_score(float(attrs[name])) for name in ("unit_r", "unit_low", "unit_high"))
        unit = f"over {attrs['n_units']} {attrs['unit']}, these areas given"
        parts.append(f"{unit}, r = {words[0]} [{words[1]}, {words[2]}], {format_p(float(attrs['unit_p']))}")
    if _known(attrs, "geodesic_p"):
        r, p = format_score(float(attrs["geodesic_r"])), format_p(float(attrs["geodesic_p"]))
        parts.append(f"distance along the mesh, from the edge of V1, instead: r = {r}, {p}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _known(attrs: Mapping[Any, Any], name: str) -> bool:
    return bool(np.isfinite(attrs.get(name, np.nan)))


def _baseline_words(results: StudyResults) -> str:
    """Say what a significant gain may be besides one of gradients."""
    if any(lookups.beyond_nonlinear(results, modality) is not None for modality in results.residual):
        return "In the table: p of the nonlinear features themselves, and of gradients beyond them."
    return (
        "The baseline is linear in the activations: where they act nonlinearly, other functions of them may pass, too "
        "(residual_control: nonlinear tests for it)."
    )


def residual_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield what gradients add to activations, by area and over time."""
    truth: dict[str, Any] = results.truth or {}
    made = " ".join(part for part in (above_chance_words(results, "residual"), _baseline_words(results)) if part)
    over = "activations of the last layer" if residual_layers(results) == "last" else "activations of all layers"
    planted_areas = [str(area) for area in truth.get("residual_areas", [])]
    window = truth.get("residual_window")
    if "fmri" in results.residual:
        table = results.residual["fmri"]
        units = headlines.gains(results, "fmri")
        diamonds = " Diamonds: areas with a planted effect." if planted_areas else ""
        yield Panel(
            "residual-areas",
            "beyond",
            "What gradients add, area by area",
            f"Gain in held-out r over {over}, with its interval. Green: above chance.{diamonds}",
            f"Bars of the gain per area; significant in {headlines.area_list(units) or 'no area'}.",
            lambda: bars.residual_bars(
                table, planted=planted_areas, title=signal_name("residual") + suffix_of(results, "fmri")
            ),
            table,
            how=made,
            heading=signal_name("residual") + suffix_of(results, "fmri"),
        )
    timed = results.timed
    if timed is not None and timed in results.residual:
        series = results.residual[timed]
        span = (float(window[0]), float(window[1])) if window is not None else None
        bracket = " Bracket: planted window." if span else ""
        significant = p_and_numbers.format_windows(
            lookups.residual_windows(results) if headlines.gains(results, timed) else []
        )
        yield Panel(
            "residual-times",
            "beyond",
            "What gradients add, over time",
            f"Gain in held-out r over {over} (mean over sensors), with its interval. "
            f"Bar below: times above chance.{bracket}",
            f"Curve of the gain over time; significant at {significant}.",
            lambda: curves.residual_curve(
                series,
                window=span,
                stimulus=stimulus_span(results),
                title=signal_name("residual") + suffix_of(results, timed),
            ),
            series,
            how=made,
            heading=signal_name("residual") + suffix_of(results, timed),
        )


def control_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield the comparison with control feature spaces, by modality."""
    for modality, table in results.controls.items():
        if modality not in results.modalities or not len(table):
            continue
        spaces = headlines.area_list([str(s) for s in table["space"]], most=12)
        yield Panel(
            f"controls-{modality}",
            "controls",
            f"{MODALITY_NAMES[modality]}: compared with simple feature spaces",
            "Mean held-out r over targets, with its 95 % interval. An effect of gradients that their norm, the loss "
            "value or the gradients of other photographs explain is not one.",
            f"Mean score and interval of {spaces}.",
            _controls_figure(table, "Feature spaces" + suffix_of(results, modality)),
            table,
            heading="Feature spaces" + suffix_of(results, modality),
        )


def _controls_figure(table: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: control_dots.controls_dots(table, title=title)
