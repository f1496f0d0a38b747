"""Cortical surfaces. Study A: figures 2A–B, 4, 6. Study B: figures 2A, 3A, 4, 5C, 6, 7, 8 (left panels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from brainmap.report.cortex import HEMISPHERE_NAMES, HEMISPHERES, Cortex, area_borders, load_cortex, on_areas, on_vertices
from brainmap.report.style import COLUMN, FAINT, INK, MUTED, depth_cmap, new_figure, signal_cmap, signal_name, styled
from brainmap.report.surface import View, paint, smooth

VIEWS: tuple[View, ...] = ("lateral", "medial", "ventral")
_PIXELS_PER_MM = 2.6
_GAP_MM = 6.0
LANDMARKS = ("V1", "V4", "MT", "FFC")


@dataclass(frozen=True)
class MapScale:
    """Colours of a map and the words on its colour bar.

    Attributes
    ----------
    cmap : Colormap
        Colours.
    low, high : float
        Values at the ends of the colour bar.
    label : str
        What is shown, with its unit.
    extend : str
        ``neither``, ``min``, ``max`` or ``both``, as in matplotlib.
    ends : tuple of str, optional
        Words under the ends of the colour bar, such as ``("shallow", "deep")``.
    """

    cmap: Colormap
    low: float
    high: float
    label: str
    extend: str = "neither"
    ends: tuple[str, str] | None = None


def score_scale(values: np.ndarray, signal: str, label: str = "Encoding score r") -> MapScale:
    """Return the scale of a score map: the hue of the signal, from 0 to a round number near the 99th percentile."""
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 99)) if len(finite) else 1.0
    step = 10.0 ** np.floor(np.log10(max(top, 1e-3))) / 2
    high = float(np.ceil(top / step) * step)
    return MapScale(signal_cmap(signal), 0.0, high, label, extend="both" if np.any(finite < 0) else "max")


def depth_scale(label: str = "Best layer (depth)") -> MapScale:
    """Return the scale of layer depth, 0 (input) to 1 (output)."""
    return MapScale(depth_cmap(), 0.0, 1.0, label, ends=("shallow", "deep"))


@styled
def vertex_map(
    values: np.ndarray,
    targets: pd.DataFrame,
    scale: MapScale,
    *,
    title: str = "",
    views: Sequence[View] = VIEWS,
    smoothing: int = 0,
) -> Figure:
    """Draw one value per target on the inflated cortex, both hemispheres.

    Parameters
    ----------
    values : np.ndarray of shape (n_targets,)
        Values; NaN (for instance: not significant) leaves the cortex grey.
    targets : pd.DataFrame
        Columns ``hemisphere`` and ``vertex`` (fsLR-32k), and ``roi`` for outlines of areas.
    scale : MapScale
        Colours and their label.
    title : str
        Title above the map.
    views : sequence of str
        Rows of the figure.
    smoothing : int
        Passes of neighbour averaging with weight 0.3; Study A, figure 2, uses 3.

    Returns
    -------
    Figure
        One column wide.
    """
    cortex = load_cortex()
    maps = on_vertices(np.asarray(values, dtype=float), targets, cortex)
    if smoothing:
        maps = {side: smooth(full, cortex.meshes[side].faces, passes=smoothing) for side, full in maps.items()}
    return _map_figure(maps, scale, cortex, title=title, views=views)


@styled
def area_map(
    values: Mapping[str, float], scale: MapScale, *, title: str = "", views: Sequence[View] = VIEWS
) -> Figure:
    """Draw one value per HCP-MMP1 area on the inflated cortex; areas without a value stay grey.

    Parameters
    ----------
    values : mapping of str to float
        Area (``V1``; ``L_V1`` for one side) to value.
    scale : MapScale
        Colours and their label.
    title : str
        Title above the map.
    views : sequence of str
        Rows of the figure.

    Returns
    -------
    Figure
        One column wide.
    """
    cortex = load_cortex()
    return _map_figure(on_areas(values, cortex), scale, cortex, title=title, views=views)


def score_map(values: np.ndarray, targets: pd.DataFrame, signal: str, *, title: str = "") -> Figure:
    """Draw an encoding score per target in the colour of its signal. Study B 2A; Study A 4 and 6."""
    return vertex_map(values, targets, score_scale(values, signal), title=title or signal_name(signal))


def best_layer_map(
    depths: np.ndarray, targets: pd.DataFrame, *, title: str = "Best layer", smoothing: int = 3
) -> Figure:
    """Draw the depth of the best layer per target. Study A 2A–B (smoothed over the mesh); Study B 3A."""
    return vertex_map(depths, targets, depth_scale(), title=title, smoothing=smoothing)


def residual_map(delta: Mapping[str, float], *, title: str = "") -> Figure:
    """Draw what gradients add to activations, by area. Study A 4 and 6, right panels."""
    values = np.array([value for value in delta.values() if np.isfinite(value)])
    scale = score_scale(np.clip(values, 0, None), "residual", "Gain in r over activations")
    return area_map(delta, scale, title=title or signal_name("residual"))


def _map_figure(
    maps: Mapping[str, np.ndarray], scale: MapScale, cortex: Cortex, *, title: str, views: Sequence[View]
) -> Figure:
    norm = Normalize(scale.low, scale.high, clip=True)
    borders = area_borders(set(LANDMARKS), cortex)
    sides = [side for side in HEMISPHERES if side in maps]
    rows = [
        [
            paint(
                cortex.meshes[side],
                maps[side],
                view,
                cmap=scale.cmap,
                norm=norm,
                areas=borders[side],
                pixels_per_mm=_PIXELS_PER_MM,
            )
            for side in sides
        ]
        for view in views
    ]
    canvas, centres = _mosaic(rows)
    height, width = canvas.shape[:2]
    figure_height = COLUMN * height / width + 0.85
    figure = new_figure(COLUMN, figure_height)
    ax = figure.add_axes((0.01, 0.52 / figure_height, 0.98, COLUMN * 0.98 * height / width / figure_height))
    figure.set_layout_engine("none")
    ax.imshow(canvas, interpolation="lanczos", aspect="equal")
    ax.set_axis_off()
    for side, x in zip(sides, centres, strict=True):
        ax.text(x, -6, HEMISPHERE_NAMES[side], ha="center", va="bottom", color=MUTED, fontsize=8)
    if title:
        figure.text(0.02, 1 - 0.06 / figure_height, title, weight="bold", fontsize=9.5, va="top")
    _color_bar(figure, scale, norm, figure_height)
    return figure


def _mosaic(rows: list[list[np.ndarray]]) -> tuple[np.ndarray, list[float]]:
    """Put views on one transparent canvas at one scale: columns are hemispheres, rows are views."""
    gap = int(_GAP_MM * _PIXELS_PER_MM)
    widths = [max(row[column].shape[1] for row in rows) for column in range(len(rows[0]))]
    heights = [max(image.shape[0] for image in row) for row in rows]
    canvas = np.zeros((sum(heights) + gap * (len(rows) - 1), sum(widths) + gap * (len(widths) - 1), 4))
    canvas[..., :3] = 1.0
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for image, width in zip(row, widths, strict=True):
            y, x = top + (height - image.shape[0]) // 2, left + (width - image.shape[1]) // 2
            canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
            left += width + gap
        top += height + gap
    starts = np.cumsum([0, *[width + gap for width in widths[:-1]]])
    return canvas, [float(start + width / 2) for start, width in zip(starts, widths, strict=True)]


def _color_bar(figure: Figure, scale: MapScale, norm: Normalize, figure_height: float) -> None:
    bar = figure.add_axes((0.27, 0.36 / figure_height, 0.46, 0.085 / figure_height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), scale.cmap)
    colorbar = figure.colorbar(mappable, cax=bar, orientation="horizontal", extend=scale.extend, extendfrac=0.03)
    colorbar.outline.set_edgecolor(FAINT)  # type: ignore[operator]
    colorbar.outline.set_linewidth(0.5)  # type: ignore[operator]
    middle = (scale.low + scale.high) / 2
    colorbar.set_ticks([scale.low, middle, scale.high])
    labels = [f"{value:.3g}" for value in (scale.low, middle, scale.high)]
    if scale.ends:
        labels[0], labels[2] = f"{labels[0]} {scale.ends[0]}", f"{labels[2]} {scale.ends[1]}"
    colorbar.set_ticklabels(labels)
    bar.tick_params(length=2, pad=1.5, labelsize=7.5)
    bar.set_xlabel(scale.label, labelpad=1, color=INK, fontsize=8.5)


def hide_axes(ax: Axes) -> None:
    """Remove ticks and spines of axes that only hold a picture."""
    ax.set_axis_off()
