"""What every panel is, and words that panels share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from brainmap.report.words import headlines
from brainmap.results.study_results import StudyResults

SECTIONS = ("where", "when", "order", "beyond", "controls")
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
    """

    key: str
    section: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]
    table: pd.DataFrame | None = None
    raster: bool = False


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


def in_brackets(text: str) -> str:
    """Return text in brackets after a space; empty stays empty."""
    return f" ({text})" if text else ""


def suffix_of(results: StudyResults, modality: str) -> str:
    """Return what a figure title ends with: the modality, and whether it is simulated."""
    return f" ({headlines.modality_phrase(results, modality)})"
