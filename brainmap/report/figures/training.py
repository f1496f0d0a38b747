"""Scores while a model is trained. Study A: figure 5. Study B: figures 4E, 5A–B, 6 and 7 (curves)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from brainmap.common.names import signal_name
from brainmap.report.figures.bars import level_colors, small_axes
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    INK,
    MUTED,
    depth_cmap,
    figure_title,
    new_figure,
    round_ticks,
    signal_color,
    styled,
    value_bar,
)

STEP_LABEL = "Training step"
SHARE_LABEL = "Share of the gain in training"
_MARKERS = ("o", "s", "^", "v", "P", "X")


@styled
def scores_vs_step(
    table: pd.DataFrame,
    *,
    series: str = "signal",
    ordered: bool = True,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw scores against training step on a logarithmic axis. Study A 5.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``step``, ``series``, ``r``, ``low``, ``high`` (mean ± SE over subjects). Step 0 is drawn at the left
        edge, behind a break of the axis.
    series : str
        Column that separates the curves; signals get their own colour.
    ordered : bool
        Whether other series have an order (areas by distance) or not; decides their colours.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import scores_vs_step
    >>> table = pd.DataFrame({"step": [0, 10, 100], "signal": "activation", "r": [0.05, 0.1, 0.2]})
    >>> figure = scores_vs_step(table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02))
    """
    figure = new_figure(COLUMN, 2.8)
    ax = figure.add_subplot()
    names = list(dict.fromkeys(table[series].astype(str)))
    palette = level_colors(len(names), ordered=ordered)
    place = _log_places(ax, table["step"].to_numpy(float))
    for i, name in enumerate(names):
        rows = table[table[series].astype(str) == name].sort_values("step")
        color = signal_color(name) if series == "signal" else palette[i]
        x = place(rows["step"].to_numpy(float))
        ax.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.18, lw=0)
        ax.plot(
            x,
            rows["r"],
            color=color,
            lw=1.6,
            marker="o",
            ms=3.6,
            mec="white",
            mew=0.6,
            label=signal_name(name) if series == "signal" else name,
        )
    ax.axhline(0, color=MUTED, lw=0.7)
    round_ticks(ax)
    ax.set(xlabel=STEP_LABEL, ylabel=ylabel, title=title)
    figure.legend(loc="outside lower center", ncols=min(4, len(names)))
    return figure


@styled
def score_sigmoids(
    table: pd.DataFrame, fits: Mapping[str, Mapping[str, Any]], *, title: str = "", xlabel: str = STEP_LABEL
) -> Figure:
    """Draw encoding, spatial and temporal score against training with their sigmoid fits. Study B 4E.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``step``, ``score`` (``encoding``, ``spatial``, ``temporal``), ``value`` (0 at the first checkpoint, 1
        at the last) and optionally ``low``, ``high``.
    fits : mapping of str to mapping
        Score to ``half_time``, the step at which the curve has half, and ``level``, the value that counts as half;
        optionally ``low`` and ``high`` of the half time, and the fitted curve as arrays ``steps`` and ``values``.
        Without a curve (an interpolated half time) there is a dotted line from checkpoint to checkpoint; scores
        without a half time are absent.
    title, xlabel : str
        Text; steps may be in % of training.

    Returns
    -------
    Figure
        One column wide; diamonds are half times.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import score_sigmoids
    >>> table = pd.DataFrame({"step": [1, 10, 100, 1000], "score": "encoding", "value": [0.1, 0.4, 0.9, 1.0]})
    >>> curve = {"steps": [1, 4, 15, 60, 1000], "values": [0, 0.2, 0.5, 0.8, 1]}
    >>> fits = {"encoding": curve | {"half_time": 15, "level": 0.5}}
    >>> figure = score_sigmoids(table, fits)
    """
    figure = new_figure(COLUMN, 2.8)
    ax = figure.add_subplot()
    names = list(dict.fromkeys(table["score"].astype(str)))
    colors = level_colors(len(names), ordered=False)
    place = _log_places(ax, table["step"].to_numpy(float))
    for color, name in zip(colors, names, strict=True):
        rows = table[table["score"].astype(str) == name].sort_values("step")
        x = place(rows["step"].to_numpy(float))
        if {"low", "high"} <= set(rows.columns):
            ax.vlines(x, rows["low"], rows["high"], color=color, lw=0.9, alpha=0.6)
        ax.scatter(x, rows["value"], color=color, s=18, edgecolor="white", lw=0.6, zorder=3)
        fit = fits.get(name)
        _fitted(ax, rows["step"].to_numpy(float), rows["value"].to_numpy(float), fit, place, color)
        ax.plot([], [], color=color, lw=1.5, label=name.capitalize() + (" (no half time)" if fit is None else ""))
    ax.axhline(0.5, color=MUTED, lw=0.8, ls=(0, (4, 3)))
    ax.set(xlabel=xlabel, ylabel=SHARE_LABEL, title=title)
    figure.legend(loc="outside lower center", ncols=len(names) if len(fits) == len(names) else 2)
    return figure


def _fitted(
    ax: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    fit: Mapping[str, Any] | None,
    place: _LogPlaces,
    color: str,
) -> None:
    """Draw the sigmoid, or a dotted line where there is none, and the half time as a diamond with its interval."""
    if fit is not None and "values" in fit:
        ax.plot(np.log10(fit["steps"]), fit["values"], color=color, lw=1.4)
    else:
        ax.plot(place(steps), values, color=color, lw=1.1, ls=(0, (1, 1.5)))
    if fit is None:
        return
    half, level = np.log10(fit["half_time"]), fit["level"]
    if np.isfinite(fit.get("low", np.nan)):
        ax.hlines(level, np.log10(fit["low"]), np.log10(fit["high"]), color=INK, lw=0.9, zorder=4)
    ax.scatter(half, level, marker="D", color=color, s=25, edgecolor=INK, lw=0.9, zorder=4)


@styled
def factor_curves(
    table: pd.DataFrame, fits: Mapping[tuple[str, str], Mapping[str, Any]], *, ordered: bool = True, title: str = ""
) -> Figure:
    """Draw several scores against training, one curve per level of a factor. Study B 6A (model size), 7A (image type).

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``score`` (title of its axes), ``level``, ``step``, ``r``, ``low``, ``high`` (mean ± SEM over subjects).
    fits : mapping of (str, str) to mapping
        (score, level) → curve as in :func:`score_sigmoids`, in units of the score. Levels without a sigmoid get a
        dotted line from checkpoint to checkpoint.
    ordered : bool
        Whether the levels have an order (sizes) or not (image types); decides the colours.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide, two axes a row; diamonds are half times.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import factor_curves
    >>> table = pd.DataFrame({"level": ["S", "S", "B", "B"], "step": [1, 100] * 2, "r": [0, 0.1, 0, 0.2]})
    >>> table = table.assign(score="Encoding")
    >>> figure = factor_curves(table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02), {})
    """
    scores, levels = (list(dict.fromkeys(table[name].astype(str))) for name in ("score", "level"))
    figure, axes = small_axes(len(scores), sharex=True)
    colors = level_colors(len(levels), ordered=ordered)
    steps = table["step"].to_numpy(float)
    for ax, score in zip(axes, scores, strict=True):
        place = _log_places(ax, steps, most=3)
        for i, level in enumerate(levels):
            rows = table[(table["score"] == score) & (table["level"] == level)].sort_values("step")
            if len(rows):
                look = (colors[i], _MARKERS[i % len(_MARKERS)])
                _level_curve(ax, rows, fits.get((score, level)), place, look)
        ax.set_title(score, fontsize=8.5)
        ax.margins(y=0.12)
        if table.loc[table["score"] == score, "low"].min() < 0:
            ax.axhline(0, color=MUTED, lw=0.7, zorder=1)
        round_ticks(ax)
    for ax in axes[-2:]:
        ax.set_xlabel(STEP_LABEL)
    for ax in axes[::2]:
        ax.set_ylabel("Score r")
    figure.align_ylabels()
    figure_title(figure, title)
    handles = [
        Line2D([], [], color=colors[i], marker=_MARKERS[i % len(_MARKERS)], ms=4, lw=1.4, label=level)
        for i, level in enumerate(levels)
    ]
    if fits:
        handles.append(Line2D([], [], color="white", marker="D", mec=INK, ms=4.5, lw=0, label="half time"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)))
    return figure


def _level_curve(
    ax: Axes, rows: pd.DataFrame, fit: Mapping[str, Any] | None, place: _LogPlaces, look: tuple[str, str]
) -> None:
    """Mean ± SEM at each checkpoint, with the sigmoid and its half time, or a dotted line."""
    x = place(rows["step"].to_numpy(float))
    color, marker = look
    ax.vlines(x, rows["low"], rows["high"], color=color, lw=0.9)
    ax.plot(x, rows["r"], ms=4.5, ls="none", mec="white", mew=0.4, zorder=3, color=color, marker=marker)
    _fitted(ax, rows["step"].to_numpy(float), rows["r"].to_numpy(float), fit, place, color)


@styled
def normalised_curves(
    table: pd.DataFrame,
    values: Mapping[str, float],
    *,
    group: str = "roi",
    label: str = "Distance from V1 (mm)",
    title: str = "",
    xlabel: str = STEP_LABEL,
) -> Figure:
    """Draw normalised scores against training step per area or MEG window, with the 50 % line. Study B 5A–B.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``step``, ``group``, ``value`` (0 at the first checkpoint, 1 at the last) and optionally ``low``,
        ``high``, drawn as a band.
    values : mapping of str to float
        Group to the value that colours it (distance from V1, or centre of the time window).
    group : str
        Column of the groups.
    label, title, xlabel : str
        Text; steps may be in % of training.

    Returns
    -------
    Figure
        One column wide.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import normalised_curves
    >>> table = pd.DataFrame({"step": [1, 10, 100] * 2, "roi": ["V1"] * 3 + ["FFC"] * 3})
    >>> table["value"] = [0.2, 0.9, 1, 0, 0.5, 1]
    >>> figure = normalised_curves(table, {"V1": 0.0, "FFC": 60.0})
    """
    figure = new_figure(COLUMN, 2.7)
    ax = figure.add_subplot()
    norm = Normalize(min(values.values()), max(values.values()))
    place = _log_places(ax, table["step"].to_numpy(float))
    for name, rows in table.groupby(group, sort=False):
        rows = rows.sort_values("step")
        x, color = place(rows["step"].to_numpy(float)), depth_cmap()(norm(values[str(name)]))
        if {"low", "high"} <= set(rows.columns):
            ax.fill_between(x, rows["low"], rows["high"], color=color, alpha=0.08, lw=0)
        ax.plot(x, rows["value"], color=color, lw=1.3)
    ax.axhline(0.5, color=INK, lw=0.8, ls=(0, (4, 3)))
    low, high = float(table["value"].min()), float(table["value"].max())  # wide bands are cut
    ax.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    ax.set(xlabel=xlabel, ylabel=SHARE_LABEL, title=title)
    value_bar(figure, ScalarMappable(norm, depth_cmap()), ax, label)
    return figure


class _LogPlaces:
    """Places of training steps: their logarithm, and step 0 one spacing left of the first positive step."""

    def __init__(self, steps: np.ndarray) -> None:
        positive = np.unique(steps[steps > 0])
        self.logs = np.log10(positive)
        gap = float(np.median(np.diff(self.logs))) if len(self.logs) > 1 else 1.0
        self.zero = float(self.logs.min()) - max(gap, 0.5) if len(self.logs) else 0.0

    def __call__(self, steps: np.ndarray) -> np.ndarray:
        return np.where(steps > 0, np.log10(np.where(steps > 0, steps, 1)), self.zero)


def _log_places(ax: Axes, steps: np.ndarray, most: int = 9) -> _LogPlaces:
    """Ticks at powers of ten, at most so many, and at step 0."""
    place = _LogPlaces(steps)
    low, high = int(np.floor(place.logs.min())), int(np.ceil(place.logs.max()))
    ticks: list[float] = [
        power for power in range(low, high + 1) if place.logs.min() - 0.3 <= power <= place.logs.max() + 0.3
    ]
    if len(ticks) < 2:
        ticks = sorted({round(value, 3) for value in place.logs})
    ticks = ticks[:: -(-len(ticks) // most)]
    names = [f"{10.0**power:,.4g}" if power < 4 else f"{10.0 ** (power - 3):,.0f}k" for power in ticks]
    if (steps == 0).any():
        ticks, names = [place.zero, *ticks], ["0", *names]
    ax.set_xticks(ticks, names)
    return place
