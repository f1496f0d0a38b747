"""Scores of activations and gradients beside those of feature spaces that know little about the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brainmap.common.names import signal_name
from brainmap.report.figures.colors_and_type import (
    COLUMN,
    CONTROL_COLOR,
    INK,
    MUTED,
    figure_title,
    new_figure,
    signal_color,
    styled,
)

CONTROL_NAMES = {
    "pixels": "Pixels",
    "gabor": "Gabor energy",
    "gabor energy": "Gabor energy",
    "texture": "Texture statistics",
    "category": "Category labels",
    "gradient norm": "Gradient norm only",
    "gradient_norm": "Gradient norm only",
    "loss": "Loss value only",
    "shuffled gradients": "Gradients of other photographs",
}
SIGNALS = ("activation", "gradient")
LONGEST_NAME = 24  # characters beside axes one column wide
_MARKERS = {"activation": "o", "gradient": "o", "gradient norm": "^", "loss": "s", "shuffled gradients": "D"}
_SPARE = "vPX<>"  # for controls of which this file has not heard
_ROW = 0.24  # inches a space
_GREYS = {"gradient norm": INK, "loss": MUTED, "shuffled gradients": "#a3adba"}


@styled
def controls_dots(table: pd.DataFrame, *, title: str = "Compared with simple feature spaces") -> Figure:
    """Draw the mean score of each feature space with its interval: activations and gradients above the controls.

    Parameters
    ----------
    table : pd.DataFrame
        Columns ``space``, ``r``, ``low``, ``high``. A space is ``activation``, ``gradient`` or a control. With a column
        ``study`` each study has one row that holds its own spaces; spaces with an empty study follow, one a row.
    title : str
        Title.

    Returns
    -------
    Figure
        One column wide, more where names of studies are long.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainmap.report.figures import controls_dots
    >>> table = pd.DataFrame({"space": ["activation", "pixels"], "r": [0.2, 0.1]})
    >>> figure = controls_dots(table.assign(low=table["r"] - 0.02, high=table["r"] + 0.02))
    """
    studies = table["study"].astype(str) if "study" in table else pd.Series("", index=table.index)
    names = [name for name in dict.fromkeys(studies) if name]
    spaces = table["space"].astype(str)
    own = sorted(dict.fromkeys(spaces[studies != ""]), key=lambda space: [*_MARKERS, space].index(space))
    shared = table[(studies == "").to_numpy()]
    height = 0.16 + 0.065 * len(own)
    long = max(map(len, names), default=0) > LONGEST_NAME
    tall = 0.95 + height * len(names) + _ROW * len(shared) + (0.5 if names else 0)
    figure = new_figure(1.6 * COLUMN if long else COLUMN, tall)
    ax = figure.add_subplot()
    ax.axvline(0, color=MUTED, lw=0.7)
    markers = _MARKERS | dict(zip((s for s in own if s not in _MARKERS), _SPARE, strict=False))
    for place, study in enumerate(names):
        rows = table[(studies == study).to_numpy()]
        if place % 2 == 0:
            ax.axhspan(place - 0.5, place + 0.5, color="#f5f6f8", lw=0, zorder=0)
        offsets = {space: (i - (len(own) - 1) / 2) * 0.8 / max(len(own), 1) for i, space in enumerate(own)}
        for row in rows.to_dict("records"):
            space = str(row["space"])
            _dot(ax, row, place + offsets[space], markers.get(space, "o"), size=20 if len(own) > 1 else 34)
    step = _ROW / height if names else 1.0  # of the axis, on which a study takes 1
    below = len(names) - 0.5 + step * (0.5 + np.arange(len(shared)))
    for place, row in zip(below, shared.to_dict("records"), strict=True):
        _dot(ax, row, place, "o", size=34, stem=True)
    labels = [*names, *(space_name(str(space)) for space in shared["space"])]
    ax.set_yticks([*range(len(names)), *below], labels)
    figure_title(figure, title)  # over the names as well, which may be long
    ax.set(xlabel="Mean encoding score r", ylim=(len(names) - 0.4 + step * len(shared), -0.6))
    ax.xaxis.set_major_locator(MaxNLocator(5))  # small scores have long numbers
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if names:
        handles = [
            ax.plot([], [], ls="", marker=markers.get(space, "o"), color=_color(space), ms=5, mec="white")[0]
            for space in own
        ]
        figure.legend(handles, [space_name(space) for space in own], loc="outside lower center", ncols=2)
    return figure


def space_name(space: str) -> str:
    """Return a feature space as it is written in figures."""
    return signal_name(space) if space in SIGNALS else CONTROL_NAMES.get(space.lower(), space)


def _color(space: str) -> str:
    return signal_color(space) if space in SIGNALS else _GREYS.get(space, CONTROL_COLOR)


def _dot(ax: Axes, row: Mapping[Any, Any], y: float, marker: str, *, size: float, stem: bool = False) -> None:
    """One space: a dot on its interval, and where it has a row of its own a stem from zero."""
    color = _color(str(row["space"])) if not stem or str(row["space"]) in SIGNALS else CONTROL_COLOR
    if stem:
        ax.hlines(y, 0, row["r"], color=color, lw=1.0, alpha=0.45)
    ax.hlines(y, row["low"], row["high"], color=color, lw=2.2 if stem else 1.4)
    ax.scatter(row["r"], y, color=color, marker=marker, s=size, zorder=3, edgecolor="white", lw=0.8 if stem else 0.5)
