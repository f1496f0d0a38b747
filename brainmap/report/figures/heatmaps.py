"""Scores over two ordered dimensions. Layer × time; Study A: figure S2 (PCA dimension × projection dimension)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from brainmap.common.names import signal_name
from brainmap.report.figures.colors_and_type import COLUMN, INK, MUTED, new_figure, signal_cmap, styled, value_bar
from brainmap.report.figures.curves import TIME_LABEL


@styled
def layer_time_heatmap(
    scores: xr.DataArray,
    signal: str,
    *,
    significance: xr.DataArray | None = None,
    peaks: Sequence[float] | np.ndarray | None = None,
    stimulus: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Draw scores of every layer at every time.

    Parameters
    ----------
    scores : xr.DataArray
        Dims ``(layer, time)``; mean over sensors and subjects.
    signal : str
        Decides the hue.
    significance : xr.DataArray, optional
        Bool, same dims; everything outside the outline is not significant.
    peaks : sequence of float, optional
        T_max of each layer in s, drawn as dots.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide; shallow layers at the bottom.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.hierarchy import time_courses
    >>> from brainmap.report.figures import layer_time_heatmap
    >>> r = brainmap.open_run("brainmap_runs/demo").mean_r("meg").sel(signal="gradient").mean("subject")
    >>> figure = layer_time_heatmap(time_courses(r), "gradient")
    """
    figure = new_figure(COLUMN, 2.7)
    ax = figure.add_subplot()
    values = scores.transpose("layer", "time").values
    time = scores["time"].values
    half = np.median(np.diff(time)) / 2
    rows = np.arange(len(values))
    edges = np.r_[time - half, time[-1] + half]
    high = float(np.nanmax(values))
    mesh = ax.pcolormesh(
        edges, np.r_[rows - 0.5, rows[-1] + 0.5], values, cmap=signal_cmap(signal), vmin=0, vmax=high, rasterized=True
    )
    if significance is not None and significance.any() and not significance.all():
        _outline(ax, significance.transpose("layer", "time").values, edges)
    if peaks is not None:
        ax.scatter(peaks, rows, s=15, color="white", edgecolor=INK, lw=0.8, zorder=4)
    ax.axvline(0, color=INK, lw=0.8, ls=(0, (3, 2)))
    if stimulus is not None:
        ax.plot(
            stimulus,
            [1.012] * 2,
            transform=ax.get_xaxis_transform(),
            color=MUTED,
            lw=3,
            clip_on=False,
            solid_capstyle="butt",
        )
    names = [str(name) for name in scores["layer"].values]
    shown = rows[:: max(1, len(rows) // 6)]
    ax.set_yticks(shown, [names[i].replace("block.", "block ") for i in shown])
    ax.set(xlabel=TIME_LABEL, xlim=(edges[0], edges[-1]))
    ax.set_title(title or signal_name(signal), pad=11)  # room for the bar that marks the photograph
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    value_bar(figure, mesh, ax, "Encoding score r", extend="min" if values.min() < 0 else "neither")
    return figure


@styled
def grid_heatmap(
    scores: xr.DataArray,
    *,
    labels: tuple[str, str],
    title: str = "",
    signal: str = "activation",
    colorbar_label: str = "Encoding score r",
) -> Figure:
    """Draw a grid of scores with the number in each cell. Study A S2 (robustness to the two dimensions).

    Parameters
    ----------
    scores : xr.DataArray
        Two dims: rows and columns, with coordinates; where there is a coordinate ``sem`` on both, the standard error
        of each cell is written below its score. Cells without a score (NaN) stay empty.
    labels : tuple of str
        Words beside the rows and under the columns.
    title : str
        Title.
    signal : str
        Decides the hue; signed values get a diverging map.
    colorbar_label : str
        What is shown.

    Returns
    -------
    Figure
        One column wide; the largest value is outlined.

    Examples
    --------
    >>> import xarray as xr
    >>> from brainmap.report.figures import grid_heatmap
    >>> scores = xr.DataArray([[0.1, 0.2], [0.15, 0.25]])
    >>> scores = scores.rename(dim_0="projection", dim_1="pca").assign_coords(projection=[50, 800], pca=[25, 300])
    >>> figure = grid_heatmap(scores, labels=("Projection", "Components"))
    """
    figure = new_figure(COLUMN, 2.9)
    ax = figure.add_subplot()
    values = scores.values.astype(float)
    signed = np.nanmin(values) < 0
    bound = np.nanmax(np.abs(values)) or 1.0
    style = {"cmap": "RdBu_r", "norm": TwoSlopeNorm(0, -bound, bound)} if signed else {"cmap": signal_cmap(signal)}
    image = ax.imshow(values, aspect="auto", origin="lower", **style)
    rows, columns = scores.dims
    ax.set_xticks(range(scores.sizes[columns]), [str(v) for v in scores[columns].values])
    ax.set_yticks(range(scores.sizes[rows]), [str(v) for v in scores[rows].values])
    ax.set(ylabel=labels[0], xlabel=labels[1], title=title)
    for (i, j), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
        ax.text(
            j,
            i,
            _cell_words(value, float(scores["sem"].values[i, j]) if "sem" in scores.coords else np.nan),
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else INK,
        )
    best = np.unravel_index(np.nanargmax(values), values.shape)
    ax.add_patch(_cell(int(best[0]), int(best[1])))
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    value_bar(figure, image, ax, colorbar_label)
    return figure


def _cell_words(value: float, sem: float) -> str:
    """Score of a cell, and its standard error where there is one."""
    text = f"{value:.3f}".replace("0.", ".", 1)
    return text if not np.isfinite(sem) else f"{text}\n±{f'{sem:.3f}'.replace('0.', '.', 1)}"


def _cell(row: int, column: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, lw=1.6)


def _outline(ax: Axes, mask: np.ndarray, edges: np.ndarray) -> None:
    """Draw the border of a mask along the edges of its cells."""
    segments = []
    padded = np.pad(mask.astype(int), 1)
    for i, j in np.argwhere(np.diff(padded, axis=0)[:, 1:-1]):
        segments.append([(edges[j], i - 0.5), (edges[j + 1], i - 0.5)])
    for i, j in np.argwhere(np.diff(padded, axis=1)[1:-1]):
        segments.append([(edges[j], i - 0.5), (edges[j], i + 0.5)])
    ax.add_collection(LineCollection(segments, colors=INK, linewidths=0.8, capstyle="round"))


@styled
def layer_area_heatmap(scores: xr.DataArray, signal: str, *, title: str = "") -> Figure:
    """Draw scores of every layer in every area.

    Parameters
    ----------
    scores : xr.DataArray
        Dims ``(roi, layer)``; mean over targets, subjects and splits. Areas are drawn from top to bottom.
    signal : str
        Decides the hue.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide, as tall as the areas need; the best layer of each area carries a dot.
    """
    values = scores.transpose("roi", "layer").values.astype(float)
    n_areas, n_layers = values.shape
    figure = new_figure(COLUMN, 1.1 + 0.17 * max(n_areas, 6))
    ax = figure.add_subplot()
    high = max(float(np.nanmax(values)), 1e-6)
    image = ax.imshow(values, aspect="auto", cmap=signal_cmap(signal), vmin=0, vmax=high, interpolation="nearest")
    known = np.isfinite(values).any(axis=1)
    best = np.where(np.isfinite(values), values, -np.inf).argmax(axis=1)
    ax.scatter(best[known], np.flatnonzero(known), s=15, color="white", edgecolor=INK, lw=0.8, zorder=4)
    shown = np.arange(n_layers)[:: max(1, n_layers // 6)]
    names = [str(name).rsplit(".", 1)[-1] for name in scores["layer"].values]
    ax.set_xticks(shown, [names[i] for i in shown])
    ax.set_yticks(range(n_areas), [str(name) for name in scores["roi"].values])
    ax.set(xlabel="Layer", title=title or signal_name(signal))
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    value_bar(figure, image, ax, "Encoding score r", extend="min")
    return figure
