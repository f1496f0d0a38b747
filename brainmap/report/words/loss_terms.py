"""Which loss do the responses follow? One sentence that says no more than the test of the terms supports."""

from __future__ import annotations

from typing import Any

import numpy as np

from brainmap.report.words import headlines, p_and_numbers
from brainmap.results import lookups, nameable
from brainmap.results.study_results import StudyResults

NAMES = {"dino": "DINO", "ibot": "iBOT", "koleo": "KoLeo", "gram": "Gram anchoring", "sigreg": "SIGReg"}


def term_name(term: str) -> str:
    """Return a term as written in a sentence: ``ibot at patch`` becomes ``iBOT at patch``.

    Examples
    --------
    >>> from brainmap.report.words.loss_terms import term_name
    >>> term_name("ibot at patch")
    'iBOT at patch'
    """
    name, at, role = term.partition(" at ")
    return NAMES.get(name, name) + at + role


def beyond_words(results: StudyResults) -> str:
    """Return what stands beside each term in the test."""
    config: Any = results.provenance.get("config") or {}
    return "the other terms and the activations" if "activation" in config.get("signals", ()) else "the other terms"


def terms_sentence(results: StudyResults) -> str:
    """Say, term by term, where or when its gradient explains responses beyond the others; empty where not tested.

    Areas and moments are those with family-wise p at the study's level, of responses that some signal predicts above
    chance.
    """
    parts: dict[str, list[str]] = {}
    for modality, table in results.terms.items():
        shown = nameable.predicts(results, modality)
        for term, own in table.groupby("term", sort=False):
            units = own.loc[own["significant"].astype(bool), "unit"].tolist() if shown else []
            parts.setdefault(str(term), [])
            step = float(np.median(np.diff(own["unit"]))) if len(own) > 1 and modality != "fmri" else 0.0
            if units and modality == "fmri":
                parts[str(term)].append(f"in {len(units)} of {len(own)} areas ({headlines.area_list(units)})")
            elif units:
                windows = p_and_numbers.format_windows(lookups.time_runs(units, step))
                parts[str(term)].append(f"at {windows}")
    if not parts:
        return ""
    found = {term: places for term, places in parts.items() if places}
    kind = "simulated responses" if results.simulated else "responses"
    beyond = beyond_words(results)
    if not found:
        names = headlines.area_list([term_name(term) for term in parts])
        return f"No term of the loss ({names}) explains {kind} beyond {beyond}, after correction."
    each = "; ".join(f"{term_name(term)} {' and '.join(places)}" for term, places in found.items())
    absent = [term_name(term) for term in parts if term not in found]
    rest = f"; {headlines.area_list(absent)} nowhere" if absent else ""
    return f"Of the terms of the loss, the gradient of each explains {kind} beyond {beyond}: {each}{rest}."
