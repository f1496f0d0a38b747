"""Two quantities against each other. Study A: figures 2C–D. Study B: figures 3E–F, 5E–F, 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmap.report.style import (
    COLUMN,
    INK,
    MUTED,
    depth_colors,
    format_p,
    format_score,
    new_figure,
    signal_color,
    signal_name,
    styled,
)

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
) -> Figure:
    """Draw points, a least-squares line with its 95 % bootstrap band, and the statistics that were computed.

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
        ``r``, ``p``, ``low``, ``high``, ``rho``, ``rho_p``, as far as known. Only shown, never computed here.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide. Study B 5E–F and 8 are this figure with half times.
    """
    figure = new_figure(COLUMN, 2.95)
    ax = figure.add_subplot()
    _points(ax, np.asarray(x, float), np.asarray(y, float), color=color, names=names)
    ax.set(xlabel=labels[0], ylabel=labels[1], title=title)
    _statistics(figure, ax, statistics, len(x))
    return figure


@styled
def distance_vs_best_layer(table: pd.DataFrame, signal: str, *, title: str = "") -> Figure:
    """Draw the best layer of each area against its distance from V1. Study A 2C–D; Study B 3E.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``roi``, ``distance_mm``, ``best_layer`` (depth in [0, 1]); statistics in ``attrs``.
    signal : str
        Decides colour and title.
    title : str
        Title, the signal's name by default.

    Returns
    -------
    Figure
        One column wide; one point per area.
    """
    figure = new_figure(COLUMN, 2.95)
    ax = figure.add_subplot()
    x, y = table["distance_mm"].to_numpy(float), table["best_layer"].to_numpy(float)
    _points(ax, x, y, color=signal_color(signal), names=[str(name) for name in table["roi"]])
    ax.set(xlabel="Distance from V1 (mm)", ylabel="Best layer (depth)", title=title or signal_name(signal))
    ax.set_ylim(-0.06, 1.06)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 shallow", ".25", ".5", ".75", "1 deep"])
    _statistics(figure, ax, attributes(table), int(np.isfinite(x + y).sum()), unit="areas")
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


def _points(ax: Axes, x: np.ndarray, y: np.ndarray, *, color: str, names: Sequence[str] | None) -> None:
    _fit(ax, x, y, color)
    ax.scatter(x, y, color=color, s=20, alpha=0.75, edgecolor="white", lw=0.6, zorder=3)
    if names is None:
        return
    shown = [i for i, name in enumerate(names) if (len(names) <= 16 or name in LANDMARKS) and np.isfinite(x[i] + y[i])]
    place_labels(ax, x, y, {i: str(names[i]) for i in shown})


def place_labels(ax: Axes, x: np.ndarray, y: np.ndarray, names: Mapping[int, str]) -> None:
    """Write names beside their points where they touch neither points nor each other; names without room are left out.

    Parameters
    ----------
    ax : Axes
        Axes with final limits or autoscaled ones.
    x, y : np.ndarray of shape (n,)
        All points, labelled or not.
    names : mapping of int to str
        Point number to name.
    """
    ax.autoscale_view()
    span = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    inches = np.array([COLUMN * 0.8, 2.3])  # axes of a one-column figure; only ratios matter
    points = np.column_stack([x, y]) / span * inches * 72
    origin = np.array([ax.get_xlim()[0], ax.get_ylim()[0]]) / span * inches * 72
    boxes: list[tuple[float, float, float, float]] = []
    for i, name in names.items():
        width, height = 4.2 * len(name) + 1, 7.5
        options = [(4, 2.5), (4, -9), (-4 - width, 2.5), (-4 - width, -9), (-width / 2, 5), (-width / 2, -12)]
        for dx, dy in options:
            left, bottom = points[i] + (dx, dy)
            box = (left, bottom, left + width, bottom + height)
            others = np.delete(points, i, axis=0)
            hit = (
                (others[:, 0] > box[0] - 3)
                & (others[:, 0] < box[2] + 3)
                & (others[:, 1] > box[1] - 3)
                & (others[:, 1] < box[3] + 3)
            )
            outside = box[0] < origin[0] + 1 or box[1] < origin[1] + 1
            if (
                outside
                or hit.any()
                or any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in boxes)
            ):
                continue
            boxes.append(box)
            ax.annotate(
                name, (x[i], y[i]), xytext=(dx, dy), textcoords="offset points", fontsize=7, color=INK, zorder=5
            )
            break


def _fit(ax: Axes, x: np.ndarray, y: np.ndarray, color: str, *, resamples: int = 400) -> None:
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) < 3 or np.ptp(x) == 0:
        return
    grid = np.linspace(x.min(), x.max(), 60)
    rng = np.random.default_rng(0)
    lines = []
    for rows in rng.integers(0, len(x), (resamples, len(x))):
        if np.ptp(x[rows]) > 0:
            lines.append(np.polyval(np.polyfit(x[rows], y[rows], 1), grid))
    low, high = np.percentile(lines, [2.5, 97.5], axis=0)
    ax.fill_between(grid, low, high, color=color, alpha=0.13, lw=0, zorder=1)
    ax.plot(grid, np.polyval(np.polyfit(x, y, 1), grid), color=color, lw=1.5, zorder=2)


def _statistics(
    figure: Figure, ax: Axes, statistics: Mapping[str, Any] | None, n: int, *, unit: str = "points"
) -> None:
    """Write r with interval and p, and rho, above the axes where no point can be hidden."""
    if not statistics or "r" not in statistics:
        return
    text, rank = f"r = {format_score(float(statistics['r']))}", ""
    if "low" in statistics and "high" in statistics:
        text += f" [{format_score(float(statistics['low']))}, {format_score(float(statistics['high']))}]"
    if "p" in statistics:
        text += f", {format_p(float(statistics['p']))}"
    if "rho" in statistics:
        rank = f"ρ = {format_score(float(statistics['rho']))}"
        if "rho_p" in statistics:
            rank += f", {format_p(float(statistics['rho_p']))}"
    parts = [part for part in (text, rank, f"n = {n} {unit}") if part]
    text = " · ".join(parts)
    if two_lines := len(text) > LONGEST_LINE:
        text = f"{parts[0]}\n{' · '.join(parts[1:])}"
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=30 if two_lines else 19)
    ax.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", fontsize=7.8, color=MUTED
    )
