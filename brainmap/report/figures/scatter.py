"""Two quantities against each other. Study A: figures 2C–D. Study B: figures 3E–F, 5E–F, 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from brainmap.common.names import signal_name
from brainmap.report.figures.colors_and_type import COLUMN, INK, MUTED, depth_colors, new_figure, signal_color, styled
from brainmap.report.words.p_and_numbers import format_score, order_p

LANDMARKS = ("V1", "V2", "V4", "MT", "FFC", "TPOJ1", "44", "IFSa", "PH", "TE1p")
LONGEST_LINE = 54  # characters of small type that fit above a column, in the widest of the fonts


@styled
def scatter_with_fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    labels: tuple[str, str],
    color: str = INK,
    names: Sequence[str] | None = None,
    statistics: Mapping[str, Any] | None = None,
    title: str = "",
    interval: np.ndarray | None = None,
) -> Figure:
    """Draw points, a least-squares line, and the statistics that were computed.

    Parameters
    ----------
    x, y : np.ndarray of shape (n,)
        Values; pairs with NaN are left out.
    labels : tuple of str
        Words under x and beside y, with units.
    color : str
        Colour of points and line.
    names : sequence of str, optional
        Name of each point; landmarks among them are written beside their point.
    statistics : mapping, optional
        ``r``, ``p``, ``low``, ``high``, ``rho``, ``rho_p``, as far as known; ``slope_p`` is shown in place of p. Only
        shown, never computed here.
    title : str
        Title.
    interval : np.ndarray of shape (2, n), optional
        Lower and upper end of each y, drawn as bars; the axes are those of the points, longer bars are cut.

    Returns
    -------
    Figure
        One column wide. Study B 5E–F and 8 are this figure with half times.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.report.figures import scatter_with_fit
    >>> x = np.linspace(0, 120, 20)
    >>> figure = scatter_with_fit(x, x / 150, labels=("Distance from V1 (mm)", "Best layer"), statistics={"r": 1.0})
    """
    figure = new_figure(COLUMN, 2.95)
    ax = figure.add_subplot()
    x, y = np.asarray(x, float), np.asarray(y, float)
    _points(ax, x, y, color=color)
    ax.set(xlabel=labels[0], ylabel=labels[1], title=title)
    if interval is not None:
        limits = ax.get_ylim()
        ax.vlines(x, *interval, color=color, alpha=0.3, lw=1.0, zorder=2)
        ax.set_ylim(limits)
    _statistics(figure, ax, statistics, len(x))
    _name_landmarks(ax, x, y, names)
    return figure


@styled
def distance_vs_best_layer(table: pd.DataFrame, signal: str, *, title: str = "") -> Figure:
    """Draw the best layer of each area against its distance from V1. Study A 2C–D; Study B 3E.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``roi``, ``distance_mm``, ``best_layer`` (depth in [0, 1]) and optionally ``low``, ``high``, drawn as
        bars; statistics in ``attrs``.
    signal : str
        Decides colour and title.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide; one point per area.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import distance_vs_best_layer
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> distance_vs_best_layer(run.hierarchy["spatial"]["activation"], "activation").savefig("order.png")
    """
    figure = new_figure(COLUMN, 2.95)
    ax = figure.add_subplot()
    x, y = table["distance_mm"].to_numpy(float), table["best_layer"].to_numpy(float)
    line = _points(ax, x, y, color=signal_color(signal))
    if {"low", "high"} <= set(table.columns):
        ax.vlines(x, table["low"], table["high"], color=signal_color(signal), alpha=0.35, lw=1.0, zorder=2)
    ax.set(xlabel="Distance from V1 (mm)", ylabel="Best layer (depth)", title=title or signal_name(signal))
    ax.set_ylim(min(-0.06, *(line - 0.03)), max(1.06, *(line + 0.03)))
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 shallow", ".25", ".5", ".75", "1 deep"])
    _statistics(figure, ax, attributes(table), int(np.isfinite(x + y).sum()), unit="areas")
    _name_landmarks(ax, x, y, [str(name) for name in table["roi"]])
    return figure


@styled
def depth_vs_peak_time(table: pd.DataFrame, signal: str, *, title: str = "") -> Figure:
    """Draw T_max of each layer against its depth. Study B 3F; Study A's temporal order, forward and backward.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``depth``, ``t_max`` (s) and optionally ``low``, ``high``; statistics in ``attrs``.
    signal : str
        Decides title and line colour; points are coloured by depth.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide; one point per layer, bars are the interval given in the table.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import depth_vs_peak_time
    >>> run = brainmap.open_run("brainmap_runs/demo")
    >>> depth_vs_peak_time(run.hierarchy["temporal"]["activation"], "activation").savefig("order.png")
    """
    figure = new_figure(COLUMN, 2.95)
    ax = figure.add_subplot()
    x, y = table["depth"].to_numpy(float), 1000 * table["t_max"].to_numpy(float)
    colors = depth_colors(x)
    if {"low", "high"} <= set(table.columns):
        low, high = (1000 * table[name].to_numpy(float) for name in ("low", "high"))
        ax.vlines(x, low, high, color=colors, lw=1.4, zorder=3)
    _fit(ax, x, y, signal_color(signal))
    ax.scatter(x, y, c=colors, s=30, edgecolor="white", lw=0.7, zorder=4)
    ax.set(xlabel="Layer depth", ylabel=r"T$_\mathrm{max}$ after onset (ms)", title=title or signal_name(signal))
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0\nshallow", ".25", ".5", ".75", "1\ndeep"])
    low_y, high_y = ax.get_ylim()
    if high_y - low_y < 120:  # layers that peak together must look as if they did
        middle = (low_y + high_y) / 2
        ax.set_ylim(middle - 80, middle + 80)
    _statistics(figure, ax, attributes(table), int(np.isfinite(x + y).sum()), unit="layers")
    return figure


def attributes(table: pd.DataFrame) -> dict[str, Any]:
    """Return the statistics that travel with a table."""
    return {str(key): value for key, value in table.attrs.items()}


def _points(ax: Axes, x: np.ndarray, y: np.ndarray, *, color: str) -> np.ndarray:
    """Draw points and line; return the heights of the line's ends."""
    line = _fit(ax, x, y, color)
    ax.scatter(x, y, color=color, s=20, alpha=0.75, edgecolor="white", lw=0.6, zorder=3)
    return line


def _name_landmarks(ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str] | None) -> None:
    """Name all points, or the landmarks among many; last, when limits and size of the axes are final."""
    if names is None:
        return
    shown = [i for i, name in enumerate(names) if (len(names) <= 16 or name in LANDMARKS) and np.isfinite(x[i] + y[i])]
    place_labels(ax, x, y, {i: str(names[i]) for i in shown})


def place_labels(ax: Axes, x: np.ndarray, y: np.ndarray, names: Mapping[int, str]) -> None:
    """Write names beside their points where they touch no point, no line and no other name, and stay inside the axes.

    Names without room are left out.

    Parameters
    ----------
    ax : Axes
        Axes with final limits, in a figure with nothing more to come: its layout is computed here.
    x, y : np.ndarray of shape (n,)
        All points, labelled or not.
    names : mapping of int to str
        Point number to name.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.autoscale_view()
    figure.draw_without_rendering()  # axes have their size only now
    scale = 72.0 / figure.dpi
    frame = np.asarray(ax.get_window_extent().extents) * scale

    def in_points(places: np.ndarray) -> np.ndarray:
        return np.asarray(ax.transData.transform(places)) * scale

    points = in_points(np.column_stack([x, y]))
    lines = [in_points(_along(line)) for line in ax.lines]
    boxes: list[np.ndarray] = []
    for i, name in names.items():
        obstacles = np.vstack([np.delete(points, i, axis=0), *lines])
        box = _free_place(points[i], (4.4 * len(name) + 1, 7.0), obstacles, boxes, frame)
        if box is not None:
            boxes.append(box)
            shift = tuple(box[:2] - points[i])
            ax.annotate(name, (x[i], y[i]), xytext=shift, textcoords="offset points", fontsize=7, color=INK, zorder=5)


def _along(line: Line2D) -> np.ndarray:
    """Points of a line, dense enough that a name cannot slip between two of them."""
    x, y = np.asarray(line.get_xydata(), float).T
    steps, dense = np.arange(len(x)), np.linspace(0, len(x) - 1, 60)
    return np.column_stack([np.interp(dense, steps, x), np.interp(dense, steps, y)])


def _free_place(
    point: np.ndarray, size: tuple[float, float], obstacles: np.ndarray, boxes: list[np.ndarray], frame: np.ndarray
) -> np.ndarray | None:
    """First box (left, bottom, right, top) beside a point, in typographic points, that touches nothing; else None."""
    width = size[0]
    places = [(4, 2.5), (4, -9), (-4 - width, 2.5), (-4 - width, -9), (-width / 2, 5), (-width / 2, -12)]
    for shift in places:
        corner = point + shift
        box = np.concatenate([corner, corner + size])
        inside = (box[:2] >= frame[:2] + 1).all() and (box[2:] <= frame[2:] + 1).all()
        hit = ((obstacles > box[:2] - 3) & (obstacles < box[2:] + 3)).all(axis=1).any()
        overlaps = any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in boxes)
        if inside and not hit and not overlaps:
            return box
    return None


def _fit(ax: Axes, x: np.ndarray, y: np.ndarray, color: str) -> np.ndarray:
    """Draw the line of least squares, to guide the eye; return the heights of its ends, none where there is no line.

    It has no band: areas and layers are not independent, and how sure one may be is what the printed interval says.
    """
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) < 3 or np.ptp(x) == 0:
        return np.empty(0)
    ends = np.array([x.min(), x.max()])
    heights = np.polyval(np.polyfit(x, y, 1), ends)
    ax.plot(ends, heights, color=color, lw=1.5, zorder=2)
    return np.asarray(heights)


def _statistics(
    figure: Figure, ax: Axes, statistics: Mapping[str, Any] | None, n: int, *, unit: str = "points"
) -> None:
    """Write r with interval and p, and rho, above the axes where no point can be hidden."""
    if not statistics or "r" not in statistics:
        return
    text, rank = f"r = {format_score(float(statistics['r']))}", ""
    if "low" in statistics and "high" in statistics:
        text += f" [{format_score(float(statistics['low']))}, {format_score(float(statistics['high']))}]"
    text = ", ".join(filter(None, (text, order_p(statistics)[1])))
    if "rho" in statistics:
        rho = f"ρ = {format_score(float(statistics['rho']))}"
        rank = ", ".join(filter(None, (rho, order_p(statistics, "rho_p")[1])))
    parts = [part for part in (text, rank, f"n = {n} {unit}") if part]
    text = " · ".join(parts)
    if two_lines := len(text) > LONGEST_LINE:
        text = f"{parts[0]}\n{' · '.join(parts[1:])}"
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=30 if two_lines else 19, wrap=True)
    ax.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", fontsize=7.8, color=MUTED
    )
