"""The panel of the terms of the loss: which of them the responses follow, by area and over time."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from brainmap.report.figures.terms import loss_terms
from brainmap.report.panels.panel import Panel, above_chance_words
from brainmap.report.words.loss_terms import beyond_words, term_name, terms_sentence
from brainmap.results.lookups import stimulus_span
from brainmap.results.study_results import StudyResults


def term_panels(results: StudyResults) -> Iterator[Panel]:
    """Yield the one panel of the terms of the loss, where a study split it."""
    areas, times = results.terms.get("fmri"), results.terms.get(str(results.timed))
    if areas is None and times is None:
        return
    heading = "Unique variance of each term of the loss" + (" (simulated responses)" if results.simulated else "")
    tables = [table.assign(modality=name) for name, table in results.terms.items()]
    marks = " and ".join(
        text for text, table in (("filled dots", areas), ("bars below the curves", times)) if table is not None
    )
    units = "areas" if times is None else "moments" if areas is None else "areas or moments"
    yield Panel(
        "loss-terms",
        "beyond",
        "Which loss the responses follow",
        f"Gain in held-out R² when the gradient of one term joins {beyond_words(results)}, with its 95 % interval over "
        f"groups of photographs. {marks[0].upper()}{marks[1:]}: above zero, corrected over all terms and "
        f"{units} of a modality. Whether one term explains more than another is not tested.",
        f"Dots and curves of unique variance by term. {terms_sentence(results)}",
        lambda: loss_terms(_named(areas), _named(times), stimulus=stimulus_span(results), title=heading),
        pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0],
        how=above_chance_words(results, "terms"),
        heading=heading,
    )


def _named(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The table with terms as they are written."""
    return None if table is None else table.assign(term=table["term"].map(term_name))
