"""What a panel of a paper is, and the panel that stands where data are missing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from brainmap.report.collection import Member
from brainmap.report.style import COLUMN, MUTED, TITLE, TITLE_SIZE, figure_title, new_figure, styled

SIMULATED, REAL = "simulated", "real"


@dataclass(frozen=True)
class PaperPanel:
    """One panel of a published figure.

    Attributes
    ----------
    number : str
        Number in the paper, such as ``2A``.
    title, caption : str
        What it shows, and how to read it.
    draw : callable
        Returns the figure; for a missing panel, one that says what is missing.
    missing : str
        Empty, or the sentence that says which data are absent.
    """

    number: str
    title: str
    caption: str
    draw: Callable[[], Figure]
    missing: str = ""

    @property
    def key(self) -> str:
        """File name: number and title without anything that a file system minds."""
        words = "".join(c if c.isalnum() else " " for c in self.title.lower()).split()
        return "-".join([self.number.replace(" ", ""), *words[:6]])


def data_word(members: Sequence[Member]) -> str:
    """Return ``simulated`` or ``real``, as the responses of the studies are."""
    kinds = {SIMULATED if member.results.simulated else REAL for member in members}
    return " and ".join(sorted(kinds))


def absent_panel(number: str, title: str, sentence: str) -> PaperPanel:
    """Return a panel whose data are missing: it is drawn, and says so."""
    return PaperPanel(number, title, sentence, lambda: absent_figure(title, sentence), sentence)


@styled
def absent_figure(title: str, sentence: str) -> Figure:
    """Draw an empty panel that says which data are missing.

    Parameters
    ----------
    title : str
        What the panel would show.
    sentence : str
        Which data are missing.

    Returns
    -------
    Figure
        One column wide.
    """
    figure = new_figure(COLUMN, 2.0)
    figure_title(figure, title)
    ax = figure.add_subplot()
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    style = "round,pad=0,rounding_size=0.03"
    box = FancyBboxPatch((0.01, 0.02), 0.98, 0.96, boxstyle=style, fc="#f5f6f8", ec=MUTED, lw=0.8, ls=(0, (4, 3)))
    ax.add_patch(box)
    ax.text(0.5, 0.83, "not drawn: data are missing", ha="center", va="top", fontsize=TITLE_SIZE, color=TITLE)
    lines = "\n".join(textwrap.wrap(sentence, 58)[:7])
    ax.text(0.5, 0.6, lines, ha="center", va="top", fontsize=7.8, color=MUTED, linespacing=1.35)
    return figure
