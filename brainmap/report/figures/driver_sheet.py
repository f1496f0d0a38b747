"""The photographs that drive an area most, in a row: an in-silico localiser to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brainmap.report.figures.colors_and_type import INK, new_figure, styled
from brainmap.report.words.p_and_numbers import format_score

_CELL, _ROW = 1.05, 1.42  # inches


@styled
def driver_sheet(table: pd.DataFrame, photographs: Sequence[NDArray[np.uint8]], *, title: str = "") -> Figure:
    """Show the photographs of each area (or sensor) in the order of their predicted responses.

    Parameters
    ----------
    table : pandas.DataFrame
        ``area`` (or ``sensor``), ``rank``, ``name``, ``response`` and ``z``, as ``FittedEncoder.drivers`` makes it.
    photographs : sequence of ndarray, (height, width, 3)
        Of every row of the table.
    title : str
        Above the sheet.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from brainmap.report.figures import driver_sheet
    >>> table = pd.DataFrame({"area": "FFC", "rank": [1, 2], "name": list("ab"), "response": [4, 3], "z": [2, 1]})
    >>> driver_sheet(table, [np.zeros((8, 8, 3), np.uint8)] * 2).savefig("drivers.png")
    """
    column = table.columns[0]
    areas = list(dict.fromkeys(table[column]))
    widest = int(table["rank"].max())
    width, height = widest * _CELL + 0.2, len(areas) * _ROW + (0.4 if title else 0.1)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    for number, row in enumerate(table.to_dict("records")):
        line = areas.index(row[column])
        top = height - (0.4 if title else 0.1) - line * _ROW
        left = 0.1 + (int(row["rank"]) - 1) * _CELL
        if row["rank"] == 1:
            figure.text(left / width, top / height, str(row[column]), va="top", fontsize=8, weight="bold", color=INK)
        side = _CELL - 0.08
        ax = figure.add_axes((left / width, (top - 0.2 - side) / height, side / width, side / height))
        ax.imshow(photographs[number])
        ax.set_axis_off()
        ax.set_title(f"z = {format_score(float(row['z']), 1)}", fontsize=6, pad=1, y=-0.13)
    if title:
        figure.text(0.1 / width, 1 - 0.08 / height, title, va="top", fontsize=8, color=INK)
    return figure
