"""What every panel is, and words that panels share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.text import Text

from brainmap.report.figures.colors_and_type import figure_settings
from brainmap.report.words import headlines
from brainmap.results.study_results import StudyResults

SECTIONS = ("where", "when", "order", "beyond", "together", "controls")
SIGNALS = ("activation", "gradient")


@dataclass(frozen=True)
class Panel:
    """One figure of a study.

    Attributes
    ----------
    key : str
        Name for files and anchors.
    section : str
        One of :data:`SECTIONS`.
    title, caption, alt : str
        Words for a reader, and for a reader who cannot see the figure.
    draw : callable
        Returns the figure.
    table : pd.DataFrame, optional
        The numbers that are drawn, if they are few.
    raster : bool
        Whether the figure is a picture (surfaces, topographies) rather than lines.
    how : str
        The statistical small print: how what is marked was tested.
    heading : str
        Title inside the figure, which a page that shows ``title`` leaves out.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.panels import study_panels
    >>> panel = study_panels(brainmap.open_run("brainmap_runs/demo"))[0]
    >>> panel.section, panel.caption != ""
    ('where', True)
    """

    key: str
    section: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    table: pd.DataFrame | None = None
    raster: bool = False
    how: str = ""
    heading: str = ""

    @property
    def measured(self) -> str:
        """What was measured, as the title inside the figure ends with it in brackets: ``simulated EEG``."""
        found = re.search(r"\(([^()]*)\)$", self.heading)
        return "" if found is None else found.group(1)

    def draw_untitled(self) -> Figure:
        """Return the figure without the title inside it."""
        figure = self.draw()
        for text in figure.findobj(Text):
            if self.heading and text.get_text() == self.heading:
                text.set_text("")
        trim_top(figure)
        return figure


def trim_top(figure: Figure, pad: float = 0.06) -> None:
    """Take away what is empty at the top of a figure whose parts stand at places of their own (``pad`` in inches)."""
    engine = figure.get_layout_engine()
    if engine is not None and not isinstance(engine, PlaceHolderLayoutEngine):
        return  # it fills its height by itself
    width, height = figure.get_size_inches()
    with matplotlib.rc_context(figure_settings()):
        top = float(figure.get_tightbbox().y1)
    kept = min(height, top + pad)
    for ax in figure.axes:
        box = ax.get_position(original=True)
        ax.set_position((box.x0, box.y0 * height / kept, box.width, box.height * height / kept))
    for text in figure.texts:
        text.set_y(text.get_position()[1] * height / kept)
    figure.set_size_inches(width, kept)


def how_significant(results: StudyResults, key: str) -> str:
    """Return how the p values of one statistic were made, as the provenance says; empty where it does not.

    A key such as ``spatial`` also finds ``spatial hierarchy``.
    """
    made = results.provenance.get("p_values")
    if isinstance(made, dict):
        made = made.get(key) or next((text for name, text in made.items() if key in str(name).lower()), None)
    return str(made) if made else ""


def signals_of(results: StudyResults, modality: str) -> list[str]:
    """Return the signals that a modality was scored with, activations first."""
    present = {str(name) for name in results.scores[modality]["signal"].values}
    return [name for name in SIGNALS if name in present] + sorted(present - set(SIGNALS))


def above_chance_words(results: StudyResults, key: str) -> str:
    """Return how "above chance" was tested, as a sentence for the small print; empty where it was not."""
    made = how_significant(results, key)
    return f"Above chance: {made.rstrip('.')}." if made else ""


def suffix_of(results: StudyResults, modality: str) -> str:
    """Return what a figure title ends with: the modality, and whether it is simulated."""
    return f" ({headlines.modality_phrase(results, modality)})"
