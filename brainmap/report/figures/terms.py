"""Which loss does the brain follow? Unique variance of the terms of a loss, by area and over time, in one picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    MUTED,
    corner_note,
    figure_title,
    new_figure,
    round_ticks,
    styled,
)
from brainmap.report.figures.curves import TIME_LABEL, mark_runs, mark_stimulus

_COLORS = ("#00589c", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#5b6878", "#d55e00", "#1b2430")
_LABEL = "Unique variance (gain in R²)"


@styled
def loss_terms(
    areas: pd.DataFrame | None = None,
    times: pd.DataFrame | None = None,
    *,
    most: int = 14,
    stimulus: tuple[float, float] | None = None,
    title: str = "Unique variance of each term of the loss",
) -> Figure:
    """Draw what the gradient of each term of a loss explains beyond the others: areas above, time below.

    Parameters
    ----------
    areas, times : pd.DataFrame, optional
        Columns ``term``, ``unit`` (area, or time in s), ``unique``, ``low``, ``high``, ``significant``; one of the two
        at least.
    most : int
        Areas shown: those where some term is significant, then those with the largest unique variance.
    stimulus : tuple of float, optional
        When the photograph was shown, in s.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide. Filled dots, and bars below the curves, are significant.

    Raises
    ------
    InputError
        If there is neither.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import loss_terms
    >>> table = pd.DataFrame({"term": ["dino", "ibot"], "unit": "V1", "unique": [0.02, 0.0]})
    >>> table = table.assign(low=table["unique"] - 0.01, high=table["unique"] + 0.01, significant=[True, False])
    >>> loss_terms(table).savefig("terms.png")
    """
    given = [table for table in (areas, times) if table is not None]
    if not given:
        raise InputError("Terms of the loss are drawn by area or over time; give one of the two tables.")
    names = list(dict.fromkeys(name for table in given for name in table["term"].astype(str)))
    colors = {name: _COLORS[number % len(_COLORS)] for number, name in enumerate(names)}
    heights = []
    if areas is not None:
        chosen = _areas(areas, most)
        heights.append(0.75 + len(chosen) * (0.1 + 0.07 * len(names)))
    if times is not None:
        heights.append(2.5)
    figure = new_figure(COLUMN, sum(heights) + 0.55)
    axes = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights))
    if areas is not None:
        _draw_areas(axes[0], areas, chosen, colors)
    if times is not None:
        _draw_times(axes[-1], times, colors, stimulus)
    figure_title(figure, title)
    handles = [axes[0].plot([], [], "o", ms=5, color=color, label=name)[0] for name, color in colors.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(names)))
    return figure


def _areas(table: pd.DataFrame, most: int) -> list[str]:
    """Areas that are shown, those of the largest unique variance first."""
    by_area = table.assign(unit=table["unit"].astype(str)).groupby("unit", sort=False)
    rank = by_area.agg(found=("significant", "any"), largest=("unique", "max"))
    kept = rank.sort_values(["found", "largest"], ascending=False)
    return kept.index[: max(most, int(rank["found"].sum()))].tolist()


def _draw_areas(ax: Axes, table: pd.DataFrame, chosen: list[str], colors: dict[str, str]) -> None:
    step = 0.7 / max(1, len(colors))
    for number, (name, color) in enumerate(colors.items()):
        own = table[table["term"] == name]
        own = own.set_index(own["unit"].astype(str)).reindex(chosen)
        y = np.arange(len(chosen)) + (number - (len(colors) - 1) / 2) * step
        found = own["significant"].eq(True).to_numpy()
        ax.hlines(y, own["low"], own["high"], color=color, lw=0.9, alpha=0.7)
        ax.plot(own["unique"][found], y[found], "o", ms=4.6, color=color)
        ax.plot(own["unique"][~found], y[~found], "o", ms=4.2, mfc="white", mec=color, mew=0.9)
    ax.axvline(0, color=MUTED, lw=0.7, zorder=0)
    ax.set_yticks(np.arange(len(chosen)), chosen)
    ax.set(xlabel=_LABEL, ylim=(len(chosen) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    hidden = table["unit"].nunique() - len(chosen)
    if hidden:
        corner_note(ax, f"+ {hidden} areas, none significant")


def _draw_times(ax: Axes, table: pd.DataFrame, colors: dict[str, str], stimulus: tuple[float, float] | None) -> None:
    low, high = min(0.0, float(table["low"].min())), max(1e-6, float(table["high"].max()))
    step = 0.06 * (high - low)
    mark_stimulus(ax, stimulus)
    for number, (name, color) in enumerate(colors.items()):
        own = table[table["term"] == name].sort_values("unit")
        time = own["unit"].to_numpy(dtype=float)
        ax.fill_between(time, own["low"], own["high"], color=color, alpha=0.15, lw=0)
        ax.plot(time, own["unique"], color=color, lw=1.5)
        mark_runs(ax, time, own["significant"].to_numpy(dtype=bool), low - (1 + number) * step, color)
    ax.axhline(0, color=MUTED, lw=0.7, zorder=0)
    times = table["unit"].to_numpy(dtype=float)
    ax.set_ylim(low - (1.5 + len(colors)) * step, high + step)
    round_ticks(ax)
    ax.set(xlabel=TIME_LABEL, ylabel=_LABEL, xlim=(times.min(), times.max()))
