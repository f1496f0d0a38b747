"""Scores of areas, layers, models and controls side by side.

Study A: figure 3. Study B: figures 3C–D, 6 and 7 (bars).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from brainmap.common.names import as_names, signal_name
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    INK,
    MUTED,
    corner_note,
    depth_colors,
    figure_title,
    new_figure,
    round_ticks,
    signal_color,
    styled,
)

_LEVELS = ("#cc79a7", "#56b4e9", "#e69f00", "#5b6878", "#f0e442")  # the rest of the Okabe–Ito palette
_LETTERS = 44  # fit in one line under a figure of one column


@styled
def residual_bars(
    table: pd.DataFrame,
    *,
    planted: Sequence[str] = (),
    most: int = 16,
    title: str = "Gradients beyond activations, by area",
) -> Figure:
    """Draw what gradients add to activations in each area, largest first.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``unit`` (area), ``delta``, ``low``, ``high``, ``significant``.
    planted : sequence of str
        Areas in which a simulation planted an effect; marked with a ring.
    most : int
        Areas shown: all significant and planted ones, then the largest, up to this number.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide; filled bars are significant.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.figures import residual_bars
    >>> residual_bars(brainmap.open_run("brainmap_runs/demo").residual["fmri"]).savefig("gain.png")
    """
    table = table.assign(_kept=table["significant"] | table["unit"].astype(str).isin(as_names(planted)))
    chosen = pd.concat(
        [table[table["_kept"]], table[~table["_kept"]].nlargest(max(0, most - int(table["_kept"].sum())), "delta")]
    )
    chosen = chosen.sort_values("delta", ascending=False)
    figure = new_figure(COLUMN, 0.95 + 0.165 * len(chosen))
    ax = figure.add_subplot()
    y = np.arange(len(chosen))
    color = signal_color("residual")
    significant = chosen["significant"].to_numpy(bool)
    ax.barh(y[significant], chosen["delta"][significant], height=0.68, color=color)
    ax.barh(y[~significant], chosen["delta"][~significant], height=0.68, color="#d9dee5")
    ax.hlines(y, chosen["low"], chosen["high"], color=INK, lw=0.9)
    ax.axvline(0, color=MUTED, lw=0.7)
    units = chosen["unit"].astype(str).tolist()
    ax.set_yticks(y, units)
    for place, unit in enumerate(units):
        if unit in set(planted):
            ax.plot(1.01, place, "D", ms=4.2, color=INK, transform=ax.get_yaxis_transform(), clip_on=False)
    ax.set(xlabel="Gain in r over activations", title=title, ylim=(len(chosen) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    hidden = len(table) - len(chosen)
    if hidden:
        corner_note(ax, f"+ {hidden} areas, none significant")
    return figure


@styled
def model_bars(table: pd.DataFrame, *, title: str = "", ylabel: str = "Encoding score r") -> Figure:
    """Draw scores of several models, one bar per signal. Study A 3.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``model``, ``signal``, ``r``, ``low``, ``high`` and optionally ``significant`` (True gets a star).
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        Two columns wide above four models.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import model_bars
    >>> table = pd.DataFrame({"model": ["DINOv3", "MAE"], "signal": "activation", "r": [0.2, 0.15]})
    >>> figure = model_bars(table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02))
    """
    models = list(dict.fromkeys(table["model"].astype(str)))
    signals = list(dict.fromkeys(table["signal"].astype(str)))
    figure = new_figure(COLUMN if len(models) <= 4 else 1.75 * COLUMN, 2.9)
    ax = figure.add_subplot()
    width = 0.8 / len(signals)
    for offset, signal in enumerate(signals):
        rows = (
            table[table["signal"] == signal]
            .set_index(table["model"][table["signal"] == signal].astype(str))
            .reindex(models)
        )
        x = np.arange(len(models)) + (offset - (len(signals) - 1) / 2) * width
        ax.bar(x, rows["r"], width * 0.9, color=signal_color(signal), label=signal_name(signal))
        ax.vlines(x, rows["low"], rows["high"], color=INK, lw=0.9)
        if "significant" in rows:
            starred = rows["significant"].eq(True).to_numpy() & np.isfinite(rows["high"].to_numpy(float))
            for place, high in zip(x[starred], rows["high"][starred], strict=True):
                ax.annotate(
                    "*", (place, high), xytext=(0, -1), textcoords="offset points", ha="center", fontsize=9, va="bottom"
                )
    ax.axhline(0, color=MUTED, lw=0.7)
    slanted = len(models) > 4 or len(models) * max(map(len, models)) > _LETTERS
    ax.set_xticks(
        range(len(models)),
        models,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        rotation_mode="anchor",
    )
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel=ylabel, title=title)
    ax.set_ylim(top=ax.get_ylim()[1] * 1.08)
    round_ticks(ax)
    figure.legend(loc="outside lower center", ncols=len(signals))
    return figure


@styled
def layer_bars(
    panels: Mapping[str, pd.DataFrame], *, title: str = "", ylabel: str = "Encoding score r (normalised)"
) -> Figure:
    """Draw the score of each layer, one panel per area or time window. Study B 3C (areas) and 3D (windows).

    Parameters
    ----------
    panels : mapping of str to pd.DataFrame
        Panel title (``V1``, ``0.08–0.13 s``) to a table with ``depth``, ``r``, ``low``, ``high``; NaN is no bar.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        One column wide; the best layer is outlined.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.report.figures import layer_bars
    >>> table = pd.DataFrame({"depth": np.linspace(0, 1, 4), "r": [0.2, 0.4, 0.3, 0.1]})
    >>> figure = layer_bars({"V1": table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02)})
    """
    figure = new_figure(COLUMN, 2.2)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (name, table) in zip(axes, panels.items(), strict=True):
        depth, r = table["depth"].to_numpy(float), table["r"].to_numpy(float)
        width = 0.85 * float(np.median(np.diff(depth))) if len(depth) > 1 else 0.5
        best = int(np.nanargmax(r)) if np.isfinite(r).any() else -1
        edges = [INK if i == best else "none" for i in range(len(r))]
        ax.bar(depth, r, width, color=depth_colors(depth), edgecolor=edges, lw=1.0)
        ax.vlines(depth, table["low"], table["high"], color=INK, lw=0.7)
        ax.set_title(name, fontsize=8.5, loc="center", weight="normal")
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        ax.axhline(0, color=MUTED, lw=0.7)
    axes[0].set_ylabel(ylabel)
    figure.supxlabel("Layer depth", fontsize=8.5)
    figure_title(figure, title)
    return figure


@styled
def factor_bars(
    table: pd.DataFrame,
    factor: str,
    *,
    by: str | None = None,
    ordered: bool = True,
    group_colors: Mapping[str, str] | None = None,
    title: str = "",
    ylabel: str = "Encoding score r",
) -> Figure:
    """Draw a score for each level of a factor, optionally within areas. Study B 6 (model size) and 7 (image type).

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``factor`` (levels in order of appearance), ``r``, ``low``, ``high``, and ``by`` if given.
    factor, by : str
        Column of the levels and of the groups.
    ordered : bool
        Whether the levels have an order (sizes) or not (image types); decides the colours.
    group_colors : mapping of str to str, optional
        Colour of each group in a map of areas; a square of it stands under the group's bars.
    title, ylabel : str
        Text.

    Returns
    -------
    Figure
        One column wide, two when there are more than five groups.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import factor_bars
    >>> table = pd.DataFrame({"size": ["S", "B", "L"], "r": [0.1, 0.15, 0.17]})
    >>> figure = factor_bars(table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02), "size")
    """
    levels = list(dict.fromkeys(table[factor].astype(str)))
    groups = [""] if by is None else list(dict.fromkeys(table[by].astype(str)))
    figure = new_figure(COLUMN if len(groups) <= 5 else 1.75 * COLUMN, 2.7)
    ax = figure.add_subplot()
    colors = level_colors(len(levels), ordered=ordered)
    width = 0.8 / len(levels)
    for i, level in enumerate(levels):
        rows = table[table[factor].astype(str) == level]
        rows = rows if by is None else rows.set_index(rows[by].astype(str)).reindex(groups)
        x = np.arange(len(groups)) + (i - (len(levels) - 1) / 2) * width
        ax.bar(x, rows["r"], 0.9 * width, color=colors[i], label=level)
        ax.vlines(x, rows["low"], rows["high"], color=INK, lw=0.9)
    if by is None:
        ax.set_xticks((np.arange(len(levels)) - (len(levels) - 1) / 2) * width, levels)
    else:
        slanted = len(groups) > 5
        ax.set_xticks(range(len(groups)), groups, rotation=35 if slanted else 0, ha="right" if slanted else "center",
                      rotation_mode="anchor")  # fmt: skip
        ax.set_xlim(-0.6, len(groups) - 0.4)
        figure.legend(loc="outside lower center", ncols=len(levels))
    ax.tick_params(axis="x", length=0, pad=3 if group_colors is None else 9)
    for place, group in enumerate(groups if group_colors else []):
        ax.plot(place, -0.035, "s", ms=5, color=(group_colors or {}).get(group, MUTED), clip_on=False,
                transform=ax.get_xaxis_transform())  # fmt: skip
    _tight_bars(ax, table)
    round_ticks(ax)
    ax.set(ylabel=ylabel, title=title)
    return figure


@styled
def factor_scores(
    table: pd.DataFrame,
    notes: Mapping[str, str] | None = None,
    *,
    brackets: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    ordered: bool = True,
    title: str = "",
) -> Figure:
    """Draw several scores of each level of a factor, each on its own axes. Study B 6B (model size) and 7B (image type).

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``score`` (title of its axes), ``level``, ``r``, ``low``, ``high`` (mean ± SEM over subjects).
    notes : mapping of str to str, optional
        Score → words beside its title, such as the p value of its test.
    brackets : mapping of str to sequence of (str, str), optional
        Score → pairs of levels that differ; a bracket joins their bars.
    ordered : bool
        Whether the levels have an order (sizes) or not (image types); decides the colours.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide, two axes a row.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import factor_scores
    >>> table = pd.DataFrame({"score": "Encoding", "level": ["S", "B"], "r": [0.1, 0.2]})
    >>> table = table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02)
    >>> figure = factor_scores(table, {"Encoding": "p = .01"})
    """
    scores, levels = (list(dict.fromkeys(table[name].astype(str))) for name in ("score", "level"))
    figure, axes = small_axes(len(scores), sharex=True)
    colors = level_colors(len(levels), ordered=ordered)
    for ax, score in zip(axes, scores, strict=True):
        rows = table[table["score"] == score].set_index("level").reindex(levels)
        ax.bar(range(len(levels)), rows["r"], 0.7, color=colors)
        ax.vlines(range(len(levels)), rows["low"], rows["high"], color=INK, lw=0.9)
        note = (notes or {}).get(score, "")
        ax.set_title(score + (f" · {note}" if note else ""), fontsize=8.5)
        slanted = sum(map(len, levels)) > 16  # side by side they would touch
        ax.set_xticks(range(len(levels)), levels, rotation=30 if slanted else 0, ha="right" if slanted else "center",
                      rotation_mode="anchor")  # fmt: skip
        ax.tick_params(axis="x", length=0)
        _tight_bars(ax, rows)
        for number, pair in enumerate((brackets or {}).get(score, ())):
            _bracket(ax, [levels.index(level) for level in pair], number)
        round_ticks(ax)
    for ax in axes[::2]:
        ax.set_ylabel("Score r")
    figure.align_ylabels()
    figure_title(figure, title)
    return figure


def _bracket(ax: Axes, places: Sequence[int], number: int) -> None:
    """Join two bars above the axes' contents; the one after the other stands a little higher."""
    low, high = ax.get_ylim()
    if number == 0:
        high += 0.17 * (high - low)
        ax.set_ylim(low, high)
    y = high - (0.06 if number % 2 else 0.1) * (high - low)
    tip = 0.025 * (high - low)
    left, right = min(places) + 0.08, max(places) - 0.08
    ax.plot([left, left, right, right], [y - tip, y, y, y - tip], color=INK, lw=0.9)
    ax.text((left + right) / 2, y - 0.4 * tip, "***", ha="center", va="bottom", fontsize=7, color=INK)


def small_axes(n: int, *, sharex: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure one column wide with n axes, two a row."""
    n_rows = -(-n // 2)
    figure = new_figure(COLUMN, 1.0 + 1.5 * n_rows)
    axes = figure.subplots(n_rows, min(n, 2), sharex=sharex, squeeze=False).ravel().tolist()
    for spare in axes[n:]:
        spare.remove()
    return figure, axes[:n]


def level_colors(n: int, *, ordered: bool = True) -> list[str]:
    """Return colours for the levels of a factor, none of them a signal's: greys if ordered, else distinct hues."""
    if ordered:
        return [to_hex(str(round(value, 3))) for value in np.linspace(0.78, 0.36, n)]
    return [_LEVELS[i % len(_LEVELS)] for i in range(n)]


def _tight_bars(ax: Axes, table: pd.DataFrame) -> None:
    ax.axhline(0, color=MUTED, lw=0.7)
    ax.set_ylim(min(0.0, float(table["low"].min()) * 1.1), float(table[["r", "high"]].max().max()) * 1.12)
