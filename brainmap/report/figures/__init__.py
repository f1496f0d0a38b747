"""One function a figure: plain results in, a matplotlib figure out. Nothing is shown, no global state is touched.

:data:`PAPER_PANELS` says which function draws which panel of the two studies that brainmap reproduces.
"""

from __future__ import annotations

from brainmap.report.figures.bars import (
    factor_bars,
    factor_scores,
    layer_bars,
    model_bars,
    residual_bars,
)
from brainmap.report.figures.controls import controls_dots
from brainmap.report.figures.curves import layer_curves, residual_curve, signal_curves, window_curves
from brainmap.report.figures.heatmaps import grid_heatmap, layer_time_heatmap
from brainmap.report.figures.maps import (
    area_map,
    best_layer_map,
    ceiling_map,
    difference_map,
    half_time_map,
    property_map,
    residual_map,
    score_map,
    vertex_map,
)
from brainmap.report.figures.scatter import depth_vs_peak_time, distance_vs_best_layer, scatter_with_fit
from brainmap.report.figures.sheet import contact_sheet, study_contact_sheet, study_overview
from brainmap.report.figures.stages import map_grid, stage_curves
from brainmap.report.figures.topographies import sensor_maps
from brainmap.report.figures.training import factor_curves, normalised_curves, score_sigmoids, scores_vs_step

PAPER_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "misalignment": {
        "2A, 2B": ("best_layer_map",),
        "2C, 2D": ("distance_vs_best_layer",),
        "2E, 2F": ("layer_curves",),
        "3": ("model_bars",),
        "4": ("map_grid", "stage_curves"),
        "5": ("scores_vs_step",),
        "6": ("map_grid",),
        "7": ("stage_curves",),
        "S1": ("best_layer_map", "distance_vs_best_layer", "layer_curves"),
        "S2": ("grid_heatmap",),
    },
    "convergence": {
        "2A": ("score_map",),
        "2B": ("signal_curves",),
        "3A": ("best_layer_map",),
        "3B": ("layer_curves",),
        "3C, 3D": ("layer_bars",),
        "3E": ("distance_vs_best_layer",),
        "3F": ("depth_vs_peak_time",),
        "4A–D": ("map_grid", "stage_curves"),
        "4E": ("score_sigmoids",),
        "5A, 5B": ("normalised_curves",),
        "5C": ("half_time_map",),
        "5D": ("window_curves",),
        "5E, 5F": ("scatter_with_fit",),
        "6": ("factor_curves", "factor_scores", "difference_map", "factor_bars"),
        "7": ("factor_curves", "factor_scores", "difference_map", "factor_bars"),
        "8": ("property_map", "scatter_with_fit"),
    },
}
"""By study and panel, the functions that draw it."""

__all__ = [
    "PAPER_PANELS",
    "area_map",
    "best_layer_map",
    "ceiling_map",
    "contact_sheet",
    "controls_dots",
    "depth_vs_peak_time",
    "difference_map",
    "distance_vs_best_layer",
    "factor_bars",
    "factor_curves",
    "factor_scores",
    "grid_heatmap",
    "half_time_map",
    "layer_bars",
    "layer_curves",
    "layer_time_heatmap",
    "map_grid",
    "model_bars",
    "normalised_curves",
    "property_map",
    "residual_bars",
    "residual_curve",
    "residual_map",
    "scatter_with_fit",
    "score_map",
    "score_sigmoids",
    "scores_vs_step",
    "sensor_maps",
    "signal_curves",
    "stage_curves",
    "study_contact_sheet",
    "study_overview",
    "vertex_map",
    "window_curves",
]
