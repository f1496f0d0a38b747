"""Three signals side by side, and over stages of training. Study A: figures 4, 6 and 7. Study B: figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from brainmap.report.cortex import Cortex, area_borders, load_cortex
from brainmap.report.figures.curves import TIME_LABEL, mark_runs, mark_stimulus
from brainmap.report.figures.maps import LANDMARKS, MapScale
from brainmap.report.style import COLUMN, FAINT, MUTED, figure_title, new_figure, signal_color, signal_name, styled
from brainmap.report.surface import View, paint

_PIXELS_PER_MM = 1.6
MARKS_NOTE = "bars below the curves: p < .05, corrected over time"


@styled
def stage_curves(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    *,
    stimulus: tuple[float, float] | None = (0.0, 0.5),
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw one panel of time courses per stage, one curve per signal. Study A 4 (one stage) and 7.

    Parameters
    ----------
    panels : mapping of str to mapping of str to pd.DataFrame
        Stage → signal → table with ``time``, ``r``, ``low``, ``high`` and optionally ``significant``.
    stimulus : tuple of float, optional
        When the photograph was shown, in s.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        One column wide for one stage, else 1.75 columns; one scale for all.
    """
    figure = new_figure(COLUMN if len(panels) == 1 else 1.75 * COLUMN, 2.9)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    tables = [table for panel in panels.values() for table in panel.values()]
    low = min(0.0, *(float(table["low"].min()) for table in tables)) * 1.05
    high = max(float(table["high"].max()) for table in tables) * 1.1
    signals = list(dict.fromkeys(signal for panel in panels.values() for signal in panel))
    marked = any("significant" in table and table["significant"].any() for table in tables)
    step = 0.05 * (high - low)
    for ax, (stage, panel) in zip(axes, panels.items(), strict=True):
        _signals(ax, panel, signals, low - 0.6 * step, step)
        mark_stimulus(ax, stimulus, label=ax is axes[0])
        if len(panels) > 1:
            ax.set_title(stage, fontsize=8.5)
        ax.set_ylim(low - (len(signals) + 0.8) * step if marked else low - step, high)
    axes[0].set_ylabel(ylabel)
    figure.supxlabel(TIME_LABEL, fontsize=8.5)
    figure_title(figure, title)
    handles = [axes[0].plot([], [], color=signal_color(name), lw=1.7)[0] for name in signals]
    labels = [signal_name(name) for name in signals]
    if marked:
        handles.append(axes[0].plot([], [], color=MUTED, lw=2.6, solid_capstyle="butt")[0])
        labels.append("p < .05, corrected over time")
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(panels) == 1 else 4, handlelength=1.4)
    return figure


def _signals(ax: Axes, panel: Mapping[str, pd.DataFrame], signals: Sequence[str], below: float, step: float) -> None:
    for row, signal in enumerate(signals):
        if signal not in panel:
            continue
        table, color = panel[signal], signal_color(signal)
        time = table["time"].to_numpy(float)
        ax.fill_between(time, table["low"], table["high"], color=color, alpha=0.18, lw=0)
        ax.plot(time, table["r"], color=color, lw=1.5)
        if "significant" in table:
            mark_runs(ax, time, table["significant"].to_numpy(bool), below - row * step, color)
        ax.set_xlim(time[0], time[-1])


@styled
def map_grid(
    rows: Mapping[str, tuple[MapScale, Mapping[str, Mapping[str, np.ndarray]]]],
    *,
    views: Sequence[View] = ("lateral", "ventral"),
    title: str = "",
) -> Figure:
    """Draw maps of cortex in rows and columns, one colour scale per row. Study A 4 and 6; Study B 4.

    Parameters
    ----------
    rows : mapping of str to (MapScale, mapping of str to mapping of str to np.ndarray)
        Row title → its scale, and column title → hemisphere → one value per vertex of the mesh.
    views : sequence of str
        Views below each other in every cell.
    title : str
        Title.

    Returns
    -------
    Figure
        As wide as its columns.
    """
    cortex = load_cortex()
    borders = area_borders(set(LANDMARKS), cortex)
    columns = list(dict.fromkeys(name for _, cells in rows.values() for name in cells))
    cell_width, gap = (1.95 if len(columns) > 1 else 2.3), 0.72
    pictures = {
        row: {name: _cell(maps, scale, cortex, borders, views) for name, maps in cells.items()}
        for row, (scale, cells) in rows.items()
    }
    tallest = max(image.shape[0] / image.shape[1] for cells in pictures.values() for image in cells.values())
    cell_height = cell_width * tallest
    width, height = 0.35 + len(columns) * (cell_width + 0.1), 0.62 + len(rows) * (cell_height + gap)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    if title:
        figure.text(0.08 / width, 1 - 0.06 / height, title, fontsize=9.5, color="#3c4757", va="top")
    for i, (row, (scale, _)) in enumerate(rows.items()):
        top = height - 0.62 - i * (cell_height + gap)
        figure.text(0.1 / width, (top - cell_height / 2) / height, row, rotation=90, va="center", fontsize=8.5)
        for j, name in enumerate(columns):
            left = 0.33 + j * (cell_width + 0.1)
            if i == 0 and len(columns) > 1:
                figure.text((left + cell_width / 2) / width, (top + 0.08) / height, name, ha="center", fontsize=8.5)
            if name not in pictures[row]:
                continue
            place = (left / width, (top - cell_height) / height, cell_width / width, cell_height / height)
            ax = figure.add_axes(place)
            ax.imshow(pictures[row][name], interpolation="lanczos", aspect="equal")
            ax.set_axis_off()
        _scale_bar(figure, scale, (width, height), top - cell_height - 0.14)
    return figure


def _cell(
    maps: Mapping[str, np.ndarray],
    scale: MapScale,
    cortex: Cortex,
    borders: Mapping[str, np.ndarray],
    views: Sequence[View],
) -> np.ndarray:
    """Views of one hemisphere below each other, on a transparent canvas."""
    side = "L" if "L" in maps else next(iter(maps))
    norm = Normalize(scale.low, scale.high, clip=True)
    style = {"cmap": scale.cmap, "norm": norm, "areas": borders[side], "pixels_per_mm": _PIXELS_PER_MM}
    images = [paint(cortex.meshes[side], maps[side], view, **style) for view in views]  # type: ignore[arg-type]
    width = max(image.shape[1] for image in images)
    canvas = np.zeros((sum(image.shape[0] for image in images) + 8 * (len(images) - 1), width, 4))
    canvas[..., :3] = 1.0
    top = 0
    for image in images:
        left = (width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        top += image.shape[0] + 8
    return canvas


def _scale_bar(figure: Figure, scale: MapScale, size: tuple[float, float], top: float) -> None:
    """Colour bar of one row, with its label to the right."""
    width, height = size
    bar = figure.add_axes((0.4 / width, (top - 0.075) / height, min(1.2, width - 0.8) / width, 0.075 / height))
    mappable = ScalarMappable(Normalize(scale.low, scale.high), scale.cmap)
    colorbar = figure.colorbar(mappable, cax=bar, orientation="horizontal", extend=scale.extend, extendfrac=0.03)
    colorbar.outline.set_edgecolor(FAINT)
    colorbar.outline.set_linewidth(0.5)
    colorbar.set_ticks([scale.low, scale.high])
    labels = [f"{scale.low:.3g}", f"{scale.high:.3g}"]
    if scale.ends:
        labels = [f"{labels[0]} {scale.ends[0]}", f"{labels[1]} {scale.ends[1]}"]
    colorbar.set_ticklabels(labels)
    bar.tick_params(length=2, pad=1.5, labelsize=7)
    bar.annotate(
        scale.label, (1, 0.5), xycoords="axes fraction", xytext=(12, 0), textcoords="offset points", va="center",
        fontsize=7.5, annotation_clip=False,
    )  # fmt: skip
