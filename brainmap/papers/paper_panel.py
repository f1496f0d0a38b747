"""What a panel of a paper is, and the panel that stands where data are missing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from brainmap.common.names import MODALITY_NAMES
from brainmap.report.cortex.values_on_mesh import HEMISPHERE_NAMES
from brainmap.report.figures.colors_and_type import COLUMN, MUTED, TITLE, TITLE_SIZE, figure_title, new_figure, styled
from brainmap.results.collection import Member

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

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from brainmap.papers import PaperPanel
    >>> PaperPanel("2A", "Best layer", "Depth of the layer that predicts a vertex best.", Figure).key
    '2A-best-layer'
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


def with_simulated(text: str, members: Sequence[Member]) -> str:
    """Return a title that says where data are simulated."""
    return f"{text} (simulated)" if any(member.results.simulated for member in members) else text


def one_sided(targets: pd.DataFrame) -> str:
    """Say so where one hemisphere of a map of both has no data."""
    lacking = [name for side, name in HEMISPHERE_NAMES.items() if side not in set(targets.get("hemisphere", ()))]
    return f" {lacking[0]} hemisphere: no data." if len(lacking) == 1 else ""


def grid_views(targets: pd.DataFrame) -> str:
    """Say which hemisphere maps beside each other show, and from where."""
    side = "L" if "L" in set(targets.get("hemisphere", ("L",))) else "R"
    return f" {HEMISPHERE_NAMES[side]} hemisphere: lateral, ventral, flat."


def has(members: Sequence[Member], modality: str, *signals: str) -> bool:
    """Return whether all studies have scores of a modality with these signals."""
    return bool(members) and all(
        modality in m.results.scores and set(signals) <= set(map(str, m.results.scores[modality]["signal"].values))
        for m in members
    )


def no_scores(*modalities: str, signals: Sequence[str] = ()) -> str:
    """Return the sentence for modalities without scores."""
    names = " and ".join(MODALITY_NAMES[modality] for modality in modalities)
    both = ", with activations and gradients" if len(signals) > 1 else ""
    return f"Needs {names} responses in every study shown{both}; this run lacks them."


def no_training(training: Sequence[Member], least: int, *modalities: str, signals: Sequence[str] = ()) -> str:
    """Return the sentence that says what a panel over training lacks; empty where it lacks nothing.

    Parameters
    ----------
    training : sequence of Member
        Checkpoints of one model.
    least : int
        How many of them the panel needs.
    *modalities : str
        Responses that the panel shows.
    signals : sequence of str
        Signals that it shows.
    """
    if len(training) < least:
        number = {2: "two", 3: "three", 4: "four"}[least]
        here = f"only {len(training)}" if training else "none"
        return (
            f"Needs the scores of at least {number} training checkpoints of one model; this run has {here}; "
            "give a folder with them by --checkpoints."
        )
    missing = [modality for modality in modalities if not has(training, modality, *signals)]
    return no_scores(*missing, signals=signals) if missing else ""


def count_of(n: int, noun: str = "subject") -> str:
    """Return a number with its noun, such as ``1 subject`` or ``3 subjects``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def sem_over(n: int, noun: str = "subject") -> str:
    """Say what bars or bands show: ``± SEM over 3 subjects``, or that one has no spread."""
    return f"± SEM over {count_of(n, noun)}" if n > 1 else f"none, there is one {noun}"


def interval_over(unit: str | None) -> str:
    """Say what bars of a statistic show, replicated over subjects or folds (or nothing, or it is not known)."""
    return f"95 % interval over {unit}" if unit else "95 % interval, where there is one"


def n_subjects(members: Sequence[Member], modality: str) -> int:
    """Return the number of subjects of the study that has most of them."""
    return max(int(member.results.scores[modality].sizes["subject"]) for member in members)


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


PAPER_PANELS: dict[str, dict[str, tuple[str, ...]]] = {
    "misalignment": {
        "2A, 2B": ("best_layer_map",),
        "2C, 2D": ("distance_vs_best_layer",),
        "2E, 2F": ("layer_curves",),
        "3": ("model_bars",),
        "4": ("map_grid", "stage_curves"),
        "5": ("scores_vs_step",),
        "6": ("map_grid",),
        "7": ("stage_curves",),
        "S1": ("best_layer_map", "distance_vs_best_layer", "layer_curves"),
        "S2": ("grid_heatmap",),
    },
    "convergence": {
        "2A": ("score_map",),
        "2B": ("signal_curves",),
        "3A": ("best_layer_map",),
        "3B": ("layer_curves",),
        "3C, 3D": ("layer_bars",),
        "3E": ("distance_vs_best_layer",),
        "3F": ("depth_vs_peak_time",),
        "4A–D": ("map_grid", "stage_layer_curves"),
        "4E": ("score_sigmoids",),
        "5A, 5B": ("normalised_curves",),
        "5C": ("half_time_map",),
        "5D": ("window_curves",),
        "5E, 5F": ("scatter_with_fit",),
        "6": ("factor_curves", "factor_scores", "area_key_map", "difference_map", "factor_bars"),
        "7": ("factor_curves", "factor_scores", "area_key_map", "difference_map", "factor_bars"),
        "8": ("property_map", "scatter_with_fit"),
    },
}
"""By study and panel, the functions that draw it."""
