"""Panels that the papers lack: gradients beside their norm, the loss and shuffled photographs, and simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from brainmap.common.names import MODALITY_NAMES
from brainmap.papers.paper_panel import PaperPanel, absent_panel, has, no_scores, with_simulated
from brainmap.report import figures
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import controls_table

NUMBER = "Controls"
CAPTION = (
    "Mean held-out r over all targets with its 95 % interval; activations and gradients: best layer. An effect of "
    "gradients that their norm, the loss value or the gradients of other photographs explain is not one; pixels, Gabor "
    "energy and category labels know no model."
)


def paper_control_panels(members: Sequence[Member]) -> Iterator[PaperPanel]:
    """Yield one panel for fMRI and one for MEG: each study beside the feature spaces that must not explain it.

    Parameters
    ----------
    members : sequence of Member
        Studies with the weights that the comparison is about.
    """
    for modality in ("fmri", "meg"):  # those of the papers
        title = f"Simple feature spaces, {MODALITY_NAMES[modality]}"
        table = controls_table(Collection(tuple(members)), modality)
        if table is None:
            sentence = "The studies of this run have no control feature spaces."
            yield absent_panel(NUMBER, title, sentence if has(members, modality) else no_scores(modality))
            continue
        if table["study"].where(table["study"] != "").nunique() == 1:  # one study: every space on a row of its own
            table = table.drop(columns="study")
        yield PaperPanel(NUMBER, title, CAPTION, _dots(table, with_simulated(title, members)))


def _dots(table: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: figures.controls_dots(table, title=title)
