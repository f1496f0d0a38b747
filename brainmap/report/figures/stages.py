"""Three signals side by side, and over stages of training. Study A: figures 4, 6 and 7. Study B: figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from brainmap.common.names import signal_name
from brainmap.report.cortex.flat_meshes import flat_cortex
from brainmap.report.cortex.mesh_raster import View, paint
from brainmap.report.cortex.values_on_mesh import Cortex, area_borders, load_cortex
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    FAINT,
    INK,
    MUTED,
    TITLE,
    TITLE_SIZE,
    figure_title,
    new_figure,
    round_ticks,
    signal_color,
    styled,
)
from brainmap.report.figures.curves import MARKS_LABEL, TIME_LABEL, mark_runs, mark_stimulus
from brainmap.report.figures.map_scales import MapScale
from brainmap.report.figures.maps import LANDMARKS, flat_share

_PIXELS_PER_MM = 1.6


@styled
def stage_curves(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    *,
    stimulus: tuple[float, float] | None = None,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw one panel of time courses per stage, one curve per signal. Study A 4 (one stage) and 7.

    Parameters
    ----------
    panels : mapping of str to mapping of str to pd.DataFrame
        Stage → signal → table with ``time``, ``r``, ``low``, ``high`` and optionally ``significant``.
    stimulus : tuple of float, optional
        When the photograph was shown, in s; shaded where it is told.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        One column wide for one stage, else 1.75 columns; one scale for all.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.report.figures import stage_curves
    >>> table = pd.DataFrame({"time": np.linspace(-0.1, 0.5, 13), "r": 0.1})
    >>> table = table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02)
    >>> figure = stage_curves({"step 0": {"activation": table}, "step 1000": {"activation": table}})
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
    round_ticks(axes[0])
    axes[len(axes) // 2].set_xlabel(TIME_LABEL)
    figure_title(figure, title)
    handles = [axes[0].plot([], [], color=signal_color(name), lw=1.7)[0] for name in signals]
    labels = [signal_name(name) for name in signals]
    if marked:
        handles.append(axes[0].plot([], [], color=MUTED, lw=2.6, solid_capstyle="butt")[0])
        labels.append(MARKS_LABEL)
    figure.legend(handles, labels, loc="outside lower center", ncols=2 if len(panels) == 1 else 4)
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
    cortex: Cortex | None = None,
    flat: bool = False,
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
    cortex : Cortex, optional
        The mesh; fsLR-32k by default.
    flat : bool
        Also draw the cortex laid flat, last in every cell, where the template's flat mesh is at hand.

    Returns
    -------
    Figure
        One column wide for two maps a row, else 1.75 columns. Rows with a single map stand side by side.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.report.figures import map_grid
    >>> from brainmap.report.figures.map_scales import score_scale
    >>> values = np.linspace(0, 0.3, 32492)
    >>> rows = {"Activations": (score_scale(values, "activation"), {"trained": {"L": values}})}
    >>> figure = map_grid(rows, views=["lateral"])
    """
    cortex = cortex or load_cortex()
    borders = area_borders(set(LANDMARKS), cortex)
    columns = list(dict.fromkeys(name for _, cells in rows.values() for name in cells))
    in_line = len(columns) == 1
    n_columns, n_rows = (len(rows), 1) if in_line else (len(columns), len(rows))
    laid = flat_cortex(cortex) if flat else None
    pictures = {
        (row, name): _cell(maps, scale, (cortex, laid), borders, views)
        for row, (scale, cells) in rows.items()
        for name, maps in cells.items()
    }
    tallest = max(image.shape[0] / image.shape[1] for image in pictures.values())
    grid = _Grid(COLUMN if n_columns < 3 else 1.75 * COLUMN, (n_rows, n_columns), tallest)
    figure = new_figure(grid.width, grid.height)
    figure.set_layout_engine("none")
    if title:
        figure.text(0.08 / grid.width, 1 - 0.06 / grid.height, title, fontsize=TITLE_SIZE, color=TITLE, va="top")
    for i, (row, (scale, cells)) in enumerate(rows.items()):
        for j, name in enumerate(columns):
            line, column = (0, i) if in_line else (i, j)
            if name in cells:
                ax = figure.add_axes(grid.place(line, column))
                ax.imshow(pictures[row, name], interpolation="lanczos", aspect="equal")
                ax.set_axis_off()
            if line == 0:
                figure.text(*grid.above(column), row if in_line else name, ha="center", fontsize=8.5)
        if in_line:
            _scale_bar(figure, scale, grid, (0, i))
        else:
            figure.text(*grid.beside(i), row, rotation=90, va="center", ha="center", fontsize=8.5)
            _scale_bar(figure, scale, grid, (i, 0))
    return figure


@dataclass(frozen=True)
class _Grid:
    """Places of the maps of :func:`map_grid`, in inches and in shares of the figure."""

    width: float
    shape: tuple[int, int]
    tallest: float
    left: float = 0.3
    head: float = 0.6
    foot: float = 0.56

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a cell."""
        wide = (self.width - self.left - 0.08) / self.shape[1] - 0.08
        return wide, wide * self.tallest

    @property
    def height(self) -> float:
        """Height of the figure."""
        return self.head + self.shape[0] * (self.cell[1] + self.foot)

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Left and upper edge of a cell, in inches from the lower left."""
        top = self.height - self.head - row * (self.cell[1] + self.foot)
        return self.left + column * (self.cell[0] + 0.08), top

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Axes of a cell."""
        (left, top), (wide, tall) = self.corner(row, column), self.cell
        return left / self.width, (top - tall) / self.height, wide / self.width, tall / self.height

    def above(self, column: int) -> tuple[float, float]:
        """Where the title of a column goes."""
        left, top = self.corner(0, column)
        return (left + self.cell[0] / 2) / self.width, (top + 0.06) / self.height

    def beside(self, row: int) -> tuple[float, float]:
        """Where the title of a row goes."""
        return 0.14 / self.width, (self.corner(row, 0)[1] - self.cell[1] / 2) / self.height


def _cell(
    maps: Mapping[str, np.ndarray],
    scale: MapScale,
    meshes: tuple[Cortex, Cortex | None],
    borders: Mapping[str, np.ndarray],
    views: Sequence[View],
) -> np.ndarray:
    """Views of one hemisphere below each other, on a transparent canvas; the last on the flat mesh, if there is one."""
    cortex, laid = meshes
    side = "L" if "L" in maps else next(iter(maps))
    norm = Normalize(scale.low, scale.high, clip=True)
    style = {"cmap": scale.cmap, "norm": norm, "areas": borders[side]}
    mesh, pixels = cortex.meshes[side], _PIXELS_PER_MM
    images = [paint(mesh, maps[side], view, pixels_per_mm=pixels, **style) for view in views]  # type: ignore[arg-type]
    if laid is not None:
        pixels *= flat_share(mesh, laid.meshes[side])
        images.append(paint(laid.meshes[side], maps[side], "flat", pixels_per_mm=pixels, **style))  # type: ignore[arg-type]
    width = max(image.shape[1] for image in images)
    canvas = np.zeros((sum(image.shape[0] for image in images) + 8 * (len(images) - 1), width, 4))
    canvas[..., :3] = 1.0
    top = 0
    for image in images:
        left = (width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        top += image.shape[0] + 8
    return canvas


def _scale_bar(figure: Figure, scale: MapScale, grid: _Grid, place: tuple[int, int]) -> None:
    """Colour bar below a map, its label under it."""
    left, top = grid.corner(*place)
    long = min(1.3, grid.cell[0] - 0.5)
    start, y = left + (grid.cell[0] - long) / 2, top - grid.cell[1] - 0.14
    bar = figure.add_axes((start / grid.width, y / grid.height, long / grid.width, 0.07 / grid.height))
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
    bar.set_xlabel(scale.label, labelpad=4 if scale.ends else 0, fontsize=7.5, color=INK)
