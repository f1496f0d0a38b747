"""Headlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.words.p_and_numbers import format_score, format_windows, order_p, spread
from brainmap.results.lookups import (
    best_area,
    best_moment,
    hierarchy_table,
    main_signal,
    residual_units,
    residual_windows,
)
from brainmap.results.study_results import StudyResults


@dataclass(frozen=True)
class Headline:
    """One number with its uncertainty.

    Attributes
    ----------
    question : str
        What the number answers.
    value, uncertainty : str
        The number as text, and its interval or spread.
    note : str
        How to read it.
    signal : str
        Decides the colour.
    """

    question: str
    value: str
    uncertainty: str
    note: str
    signal: str


def headlines(results: StudyResults) -> list[Headline]:
    """Return the numbers at the top of the report, as far as the results hold them."""
    found: list[Headline] = []
    signal = main_signal(results, "fmri")
    if signal is not None:
        area, values, layer = best_area(results, signal)
        found.append(_score_headline("Best-predicted area", area, values, layer, signal))
    signal = main_signal(results, "meg")
    if signal is not None:
        time, values, layer = best_moment(results, signal)
        found.append(_score_headline("Best-predicted moment", f"{1000 * time:.0f} ms", values, layer, signal))
    for kind, question, note in (
        ("spatial", "Order in space", "best layer of an area against its distance from V1"),
        ("temporal", "Order in time", "latency of a layer against its depth"),
    ):
        table = hierarchy_table(results, kind, "activation")
        if table is not None and "r" in table.attrs:
            found.append(_order_headline(question, dict(table.attrs), note))
    if "fmri" in results.residual:
        units = residual_units(results, "fmri")
        total = len(results.residual["fmri"])
        found.append(
            Headline(
                "Areas where gradients add",
                f"{len(units)} of {total}",
                _listed(units),
                _family_note(results),
                "residual",
            )
        )
    if "meg" in results.residual:
        windows = residual_windows(results)
        value = format_windows(windows, most=1) if windows else "never"
        found.append(Headline("Times when gradients add", value, _gain(results), _family_note(results), "residual"))
    return found


def layer_name(layer: str) -> str:
    """Return a layer as written in a sentence: ``block.3`` becomes ``block 3``."""
    return layer.replace(".", " ")


def area_list(units: list[Any], *, most: int = 5) -> str:
    """Return area names as text, such as ``FFC, PH and 3 more``."""
    names = [str(unit) for unit in units]
    if len(names) > most:
        return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def modality_phrase(results: StudyResults, modality: str) -> str:
    """Return the name of a modality, with *simulated* before it where it is."""
    return ("simulated " if results.simulated else "") + MODALITY_NAMES[modality]


def _listed(units: list[Any]) -> str:
    return area_list(units) if units else "no area"


def _family_note(results: StudyResults) -> str:
    level = format_score(float(results.provenance.get("alpha_level") or 0.05))
    return f"gain in held-out r over activations, family-wise p < {level}"


def _gain(results: StudyResults) -> str:
    table = results.residual["meg"]
    shown = table[table["significant"].astype(bool)]
    if not len(shown):
        return "no significant gain"
    top = shown.iloc[int(shown["delta"].to_numpy().argmax())]
    return f"up to {format_score(top['delta'], 3)} [{format_score(top['low'], 3)}, {format_score(top['high'], 3)}]"


def _score_headline(question: str, where: str, values: np.ndarray, layer: str, signal: str) -> Headline:
    mean = float(np.nanmean(values))
    uncertainty = f"r = {format_score(mean, 2 if mean >= 0.1 else 3)} {spread(values)}"
    note = f"{signal_name(signal).lower()} of {layer_name(layer)}"
    note += f"; ± SEM over {len(values)} subjects" if len(values) > 1 else ""
    return Headline(question, where, uncertainty, note, signal)


def _order_headline(question: str, statistics: Mapping[Any, Any], note: str) -> Headline:
    interval = ""
    if "low" in statistics and "high" in statistics:
        interval = (
            f"95 % interval {format_score(float(statistics['low']))} to {format_score(float(statistics['high']))}"
        )
    _, words = order_p(statistics)
    return Headline(
        question,
        f"r = {format_score(float(statistics['r']))}",
        ", ".join(part for part in (interval, words) if part),
        note,
        "activation",
    )
