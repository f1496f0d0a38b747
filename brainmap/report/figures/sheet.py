"""Many figures on one sheet, to see at a glance what a study looks like."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from brainmap.report.style import COLUMN, INK, new_figure, save_figure, styled

if TYPE_CHECKING:
    from brainmap.report.results import StudyResults

_CELL = 3.2  # inches a column
_GAP = 0.25
_DPI = 110


@styled
def contact_sheet(figures: Mapping[str, Figure], *, columns: int = 4, title: str = "") -> Figure:
    """Put figures on one sheet, each under its name, in columns of equal width.

    Parameters
    ----------
    figures : mapping of str to Figure
        Name to figure, in reading order.
    columns : int
        Number of columns; every figure goes where there is most room, one much wider than a column takes two.
    title : str
        Title of the sheet.

    Returns
    -------
    Figure
        The sheet; the figures on it are pictures.
    """
    columns = max(1, min(columns, len(figures)))
    pictures = {name: _thumbnail(figure) for name, figure in figures.items()}
    heights = [0.0] * columns
    places = {}
    for (name, picture), figure in zip(pictures.items(), figures.values(), strict=True):
        span = 2 if columns > 1 and figure.get_size_inches()[0] > 1.4 * COLUMN else 1
        tops = [max(heights[k : k + span]) for k in range(columns - span + 1)]
        column = int(np.argmin(np.round(tops, 1)))
        wide = span * _CELL + (span - 1) * _GAP
        tall = wide * picture.shape[0] / picture.shape[1]
        places[name] = (column, tops[column], wide, tall)
        heights[column : column + span] = [tops[column] + tall + 0.34] * span
    width, height = columns * (_CELL + _GAP) + _GAP, max(heights) + (0.6 if title else 0.2)
    sheet = new_figure(width, height)
    sheet.set_layout_engine("none")
    top = height - (0.5 if title else 0.1)
    for name, (column, offset, wide, tall) in places.items():
        left, y = _GAP + column * (_CELL + _GAP), top - offset
        sheet.text(left / width, (y - 0.05) / height, name, va="top", fontsize=8.5, weight="bold", color=INK)
        ax = sheet.add_axes((left / width, (y - 0.24 - tall) / height, wide / width, tall / height))
        ax.imshow(pictures[name], aspect="auto", interpolation="antialiased")
        ax.set_axis_off()
    if title:
        sheet.text(0.25 / width, 1 - 0.14 / height, title, va="top", fontsize=13, weight="bold", color=INK)
    return sheet


def study_contact_sheet(results: StudyResults, *, columns: int = 4) -> Figure:
    """Draw every figure that the report of a study shows on one sheet."""
    from brainmap.report.methods import report_title
    from brainmap.report.panels import study_panels

    title = report_title(results) + (" (simulated data)" if results.simulated else "")
    return contact_sheet({panel.title: panel.draw() for panel in study_panels(results)}, columns=columns, title=title)


def study_overview(results: StudyResults) -> Figure:
    """Draw the three figures that say most about a study side by side, for a README or a slide."""
    from brainmap.report.panels import study_panels

    panels = {panel.key: panel for panel in study_panels(results)}
    wanted = ("map-layer-activation", "meg-curves-activation", "order-spatial-activation", "residual-times")
    chosen = [panels[key] for key in wanted if key in panels][:3] or list(panels.values())[:3]
    return contact_sheet({panel.title: panel.draw() for panel in chosen}, columns=3)


def _thumbnail(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    save_figure(figure, buffer, format="png", dpi=2 * _DPI)
    return np.asarray(Image.open(buffer).convert("RGB"))
