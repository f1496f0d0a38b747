"""Many figures on one sheet, to see at a glance what a study looks like."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from brainmap.report.figures.colors_and_type import COLUMN, INK, new_figure, save_figure, styled

_CELL = 3.2  # inches a column
_TALLEST = 4.4  # inches; of a figure that takes two columns twice that
_GAP, _LABEL = 0.25, 0.34
_DPI = 110


@styled
def contact_sheet(
    figures: Mapping[str, Figure],
    *,
    columns: int = 4,
    title: str = "",
    pictures: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Put figures on one sheet, each under its name, at the highest free place from left to right.

    Parameters
    ----------
    figures : mapping of str to Figure
        Name to figure, in reading order.
    columns : int
        Width of the sheet, in figures as wide as a journal's column; wider ones take two, and tall ones shrink.
    title : str
        Title of the sheet.
    pictures : mapping of str to ndarray, optional
        Pixels, (height, width, 3), of figures that have been drawn before; drawing takes most of the time.

    Returns
    -------
    Figure
        The sheet; the figures on it are pictures.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from brainmap.report.figures import contact_sheet
    >>> contact_sheet({"a": Figure((4, 3)), "b": Figure((4, 3))}, columns=2).savefig("sheet.png")
    """
    columns = max(1, min(columns, len(figures)))
    drawn = {} if pictures is None else pictures
    pictures = {name: drawn[name] if name in drawn else _thumbnail(figure) for name, figure in figures.items()}
    places = {}
    below = [0.0] * columns  # where each column is free
    for (name, picture), figure in zip(pictures.items(), figures.values(), strict=True):
        span = 2 if columns > 1 and figure.get_size_inches()[0] > 1.4 * COLUMN else 1
        ratio = picture.shape[0] / picture.shape[1]
        wide = min(span * (_CELL + _GAP) - _GAP, span * _TALLEST / ratio)
        column = min(range(columns - span + 1), key=lambda first: max(below[first : first + span]))
        offset = max(below[column : column + span])
        below[column : column + span] = [offset + wide * ratio + _LABEL] * span
        places[name] = (column * (_CELL + _GAP), offset, wide, wide * ratio)
    width, height = columns * (_CELL + _GAP) + _GAP, max(below) + (0.6 if title else 0.2)
    sheet = new_figure(width, height)
    sheet.set_layout_engine("none")
    top = height - (0.5 if title else 0.1)
    for name, (across, down, wide, tall) in places.items():
        left, y = _GAP + across, top - down
        sheet.text(left / width, (y - 0.05) / height, name, va="top", fontsize=8.5, weight="bold", color=INK)
        ax = sheet.add_axes((left / width, (y - 0.24 - tall) / height, wide / width, tall / height))
        ax.imshow(pictures[name], aspect="auto", interpolation="antialiased")
        ax.set_axis_off()
    if title:
        sheet.text(0.25 / width, 1 - 0.14 / height, title, va="top", fontsize=13, weight="bold", color=INK)
    return sheet


def _thumbnail(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format="png", dpi=2 * _DPI)
    return np.asarray(Image.open(buffer).convert("RGB"))
