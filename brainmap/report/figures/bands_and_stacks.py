"""What bands of features explain alone and together, and how targets weigh the layers of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainmap.report.figures.colors_and_type import (
    COLUMN,
    FAINT,
    INK,
    MUTED,
    corner_note,
    figure_title,
    new_figure,
    round_ticks,
    signal_cmap,
    signal_color,
    styled,
    value_bar,
)
from brainmap.report.figures.control_dots import CONTROL_NAMES, SIGNALS, space_name
from brainmap.report.figures.curves import TIME_LABEL, mark_stimulus

SHARED, TOTAL = "shared", "total"
R2_LABEL = "Explained variance (held-out R²)"
_SPARE = ("#cc79a7", "#56b4e9", "#e69f00", "#7a5195", "#8c6d31")  # for bands that are no signal
_LETTERS = 26  # of the name of a band in a legend


@styled
def band_dots(table: pd.DataFrame, *, most: int = 12, title: str = "") -> Figure:
    """Draw what each band explains alone in each area, and what bands share, with intervals.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``kind`` (a band, ``shared`` or ``total``), ``unit`` (area), ``r2``, ``low``, ``high``.
    most : int
        Areas shown: those in which all bands together explain most.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide; grey bars are what all bands explain together.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import band_dots
    >>> rows = [("activation", "V1", 0.1), ("gradient", "V1", 0.02), ("shared", "V1", 0.05), ("total", "V1", 0.17)]
    >>> table = pd.DataFrame(rows, columns=["kind", "unit", "r2"])
    >>> figure = band_dots(table.assign(low=table["r2"] - 0.01, high=table["r2"] + 0.01))
    """
    total = table[table["kind"] == TOTAL].set_index("unit")["r2"].sort_values(ascending=False, kind="stable")
    units = list(total.index[:most])
    kinds = [kind for kind in dict.fromkeys(table["kind"]) if kind != TOTAL]
    colors = _colors(kinds)
    tall = 0.1 + 0.075 * len(kinds)  # inches an area
    figure = new_figure(COLUMN, 1.15 + tall * len(units) + 0.15 * -(-(len(kinds) + 1) // 2))
    ax = figure.add_subplot()
    ax.barh(range(len(units)), total[units], height=0.86, color=FAINT, zorder=0, label="all together")
    for number, kind in enumerate(kinds):
        rows = table[table["kind"] == kind].set_index("unit").loc[units]
        y = np.arange(len(units)) + (number - (len(kinds) - 1) / 2) * 0.8 / len(kinds)
        ax.hlines(y, rows["low"], rows["high"], color=colors[kind], lw=1.3)
        marker = "D" if kind == SHARED else "o"
        ax.scatter(
            rows["r2"], y, s=16, color=colors[kind], marker=marker, edgecolor="white", lw=0.5, zorder=3,
            label=_name(kind),
        )  # fmt: skip
    ax.axvline(0, color=MUTED, lw=0.7)
    ax.set_yticks(range(len(units)), [str(unit) for unit in units])
    ax.set(xlabel=R2_LABEL, ylim=(len(units) - 0.4, -0.6))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    figure_title(figure, title)
    if len(total) > len(units):
        corner_note(ax, f"+ {len(total) - len(units)} areas in the table")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def band_curves(table: pd.DataFrame, *, stimulus: tuple[float, float] | None = None, title: str = "") -> Figure:
    """Draw what each band explains alone at each time, and what bands share, with intervals.

    Parameters
    ----------
    table : pd.DataFrame
        As for :func:`band_dots`; units are times in s.
    stimulus : tuple of float, optional
        When the photograph was shown, in s.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide; the grey line is what all bands explain together.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import band_curves
    >>> rows = [(k, t, 0.1 * t) for k in ("activation", "pixels", "shared", "total") for t in (0.1, 0.2, 0.3)]
    >>> table = pd.DataFrame(rows, columns=["kind", "unit", "r2"])
    >>> figure = band_curves(table.assign(low=table["r2"] - 0.01, high=table["r2"] + 0.01))
    """
    kinds = list(dict.fromkeys(table["kind"]))
    colors = _colors([kind for kind in kinds if kind != TOTAL]) | {TOTAL: "#a3adba"}
    figure = new_figure(COLUMN, 2.75 + 0.15 * -(-len(kinds) // 2))
    ax = figure.add_subplot()
    for kind in [TOTAL, *(kind for kind in kinds if kind != TOTAL)]:
        rows = table[table["kind"] == kind].sort_values("unit")
        if kind != TOTAL:
            ax.fill_between(rows["unit"], rows["low"], rows["high"], color=colors[kind], alpha=0.2, lw=0)
        style = {TOTAL: "-", SHARED: (0, (4, 1.5))}.get(kind, "-")
        ax.plot(rows["unit"], rows["r2"], color=colors[kind], lw=1.4, ls=style, label=_name(kind))
    mark_stimulus(ax, stimulus)
    times = np.unique(table["unit"])
    ax.set(xlim=(times[0], times[-1]), xlabel=TIME_LABEL, ylabel=R2_LABEL)
    round_ticks(ax)
    figure_title(figure, title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def stack_weights(
    weights: xr.DataArray,
    depths: Sequence[float] | np.ndarray,
    *,
    best: Sequence[float] | np.ndarray | None = None,
    signal: str = "activation",
    title: str = "",
) -> Figure:
    """Draw how each area, or each time, weighs the layers of a stack.

    Parameters
    ----------
    weights : xr.DataArray
        Dims ``(layer, unit)``; each unit's weights add up to one. Units are areas, in the order to be drawn, or times.
    depths : sequence of float, (n_layers,)
        Depth of each layer, ascending. The line is the mean depth under the weights.
    best : sequence of float, (n_units,), optional
        Depth of the layer that predicts best alone, drawn as a cross.
    signal : str
        Decides the hue.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide, more with many areas; shallow layers at the bottom.

    Examples
    --------
    >>> import xarray as xr
    >>> from brainmap.report.figures import stack_weights
    >>> coords = {"layer": ["block.0", "block.1"], "unit": ["V1", "FFC"]}
    >>> weights = xr.DataArray([[0.8, 0.3], [0.2, 0.7]], dims=("layer", "unit"), coords=coords)
    >>> stack_weights(weights, [0.0, 1.0], best=[0.0, 1.0]).savefig("weights.png")
    """
    values, depths = weights.transpose("layer", "unit").values, np.asarray(depths, dtype=float)
    timed = np.issubdtype(weights["unit"].dtype, np.number)
    times = np.asarray(weights["unit"].values, dtype=float) if timed else np.arange(values.shape[1])
    figure = new_figure(COLUMN if timed else max(COLUMN, 1.4 + 0.17 * values.shape[1]), 3.1 if timed else 3.35)
    ax = figure.add_subplot()
    half = np.median(np.diff(times)) / 2 if len(times) > 1 else 0.5
    edges, rows = np.r_[times - half, times[-1] + half], np.arange(len(depths))
    cmap: Colormap = signal_cmap(signal)
    mesh = ax.pcolormesh(edges, np.r_[rows - 0.5, rows[-1] + 0.5], values, cmap=cmap, vmin=0, rasterized=True)
    mean = np.interp(depths @ values, depths, rows)
    line: dict[str, Any] = {"color": INK, "lw": 1.2, "label": "mean depth under the weights"}
    ax.plot(times, mean, **(line if timed else line | {"ls": "", "marker": "o", "ms": 4, "mec": "white"}))
    if best is not None:
        at = np.interp(np.asarray(best, dtype=float), depths, rows)
        ax.plot(times, at, ls="", marker="x", ms=4, mew=1.2, color="#e69f00", label="best layer alone")
    names = [str(name) for name in weights["layer"].values]
    shown = rows[:: max(1, len(rows) // 6)]
    ax.set_yticks(shown, [names[i].replace("block.", "block ") for i in shown])
    if timed:
        ax.set(xlabel=TIME_LABEL, xlim=(edges[0], edges[-1]))
        ax.axvline(0, color=INK, lw=0.8, ls=(0, (3, 2)))
    else:
        ax.set_xticks(times, [str(unit) for unit in weights["unit"].values], rotation=90, fontsize=7)
        ax.tick_params(axis="x", length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    value_bar(figure, mesh, ax, "Weight")
    figure_title(figure, title)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def band_name(band: str) -> str:
    """Return a band as it is written in words: ``Activations, block 3``, ``Activations of dino-tiny (untrained)``."""
    what, _, model = band.partition(" of ")
    space, _, layers = what.partition(":")
    words = space_name(space) if space in SIGNALS or space.lower() in CONTROL_NAMES else space
    if layers:
        words += ", " + "/".join(layers.split("/")).replace("block.", "block ")
    name, _, weights = model.partition("@")
    return words + (f" of {name}" if name else "") + (f" ({weights})" if weights else "")


def _name(kind: str) -> str:
    if kind in (SHARED, TOTAL):
        return {SHARED: "shared by two or more", TOTAL: "all together"}[kind]
    name = band_name(kind)
    return name if len(name) <= _LETTERS else name.replace(" of ", "\nof ")


def _colors(kinds: Sequence[str]) -> dict[str, str]:
    """A colour for each band: a signal its own where no other band is of that signal."""
    spare = iter(_SPARE)
    used: set[str] = set()
    colors = {}
    for kind in kinds:
        signal = kind.partition(":")[0].partition(" of ")[0]
        if kind == SHARED:
            colors[kind] = MUTED
        elif signal in SIGNALS and signal not in used:
            used.add(signal)
            colors[kind] = signal_color(signal)
        else:
            colors[kind] = next(spare)
    return colors
