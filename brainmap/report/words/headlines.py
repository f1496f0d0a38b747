"""Headlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainmap.common.names import MODALITY_NAMES, signal_name
from brainmap.report.words.p_and_numbers import format_score, format_windows, order_p, spread, two_methods
from brainmap.results import nameable
from brainmap.results.lookups import hierarchy_table, main_signal, residual_units, residual_windows
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
    muted : bool
        Nothing above chance stands behind it: shown in grey.
    """

    question: str
    value: str
    uncertainty: str
    note: str
    signal: str
    muted: bool = False


NOTHING_TO_ORDER = "no layer predicts anything above chance"


def headlines(results: StudyResults) -> list[Headline]:
    """Return the numbers at the top of the report, as far as the results hold them."""
    cards: list[Headline] = []
    signal = main_signal(results, "fmri")
    if signal is not None:
        cards.append(_score_headline(results, "Best-predicted area", "fmri", signal))
    signal = main_signal(results, results.timed)
    if signal is not None and results.timed is not None:
        cards.append(_score_headline(results, "Best-predicted moment", results.timed, signal))
    for kind, question, note in (
        ("spatial", "Order in space", "best layer of an area against its distance from V1"),
        ("temporal", "Order in time", "latency of a layer against its depth"),
    ):
        table = hierarchy_table(results, kind, "activation")
        if table is None or "r" not in table.attrs:
            continue
        if nameable.predicts(results, ordered_modality(results, kind), "activation"):
            cards.append(_order_headline(question, dict(table.attrs), note))
        else:
            cards.append(Headline(question, "not judged", NOTHING_TO_ORDER, note, "activation", muted=True))
    if "fmri" in results.residual:
        units = gains(results, "fmri")
        total = len(results.residual["fmri"])
        value, listed, note = f"{len(units)} of {total}", area_list(units) or "no area", _family_note(results)
        cards.append(Headline("Areas where gradients add", value, listed, note, "residual", muted=not units))
    if results.timed in results.residual:
        windows = residual_windows(results) if gains(results, str(results.timed)) else []
        value, gain = (format_windows(windows, most=1), _gain(results)) if windows else ("never", "no significant gain")
        note = _family_note(results)
        cards.append(Headline("Times when gradients add", value, gain, note, "residual", muted=not windows))
    return cards


def ordered_modality(results: StudyResults, kind: str) -> str | None:
    """Return the modality whose order a hierarchy is about: ``spatial`` that of fMRI, ``temporal`` the timed one."""
    return "fmri" if kind == "spatial" else results.timed


def gains(results: StudyResults, modality: str) -> list[Any]:
    """Return the areas or times at which gradients add; none where no signal predicts anything above chance."""
    return residual_units(results, modality) if nameable.predicts(results, modality) else []


def layer_name(layer: str) -> str:
    """Return a layer as written in a sentence: ``block.3`` becomes ``block 3``."""
    return layer.replace(".", " ")


def moment_words(time: float) -> str:
    """Return a moment (s) as text: ``150 ms after onset``."""
    return f"{abs(1000 * time):.0f} ms {'before' if time < 0 else 'after'} onset"


def area_list(units: list[Any], *, most: int = 5) -> str:
    """Return area names as text, such as ``FFC, PH and 3 more``."""
    names = [str(unit) for unit in units]
    if len(names) > most:
        return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def modality_phrase(results: StudyResults, modality: str) -> str:
    """Return the name of a modality, with *simulated* before it where it is."""
    return ("simulated " if results.simulated else "") + MODALITY_NAMES[modality]


def _family_note(results: StudyResults) -> str:
    level = format_score(float(results.provenance.get("alpha_level") or 0.05))
    return f"gain in held-out r over activations, family-wise p < {level}"


def _gain(results: StudyResults) -> str:
    table = results.residual[str(results.timed)]
    shown = table[table["significant"].astype(bool)]
    top = shown.iloc[int(shown["delta"].to_numpy().argmax())]
    return f"up to {format_score(top['delta'], 3)} [{format_score(top['low'], 3)}, {format_score(top['high'], 3)}]"


def _score_headline(results: StudyResults, question: str, modality: str, signal: str) -> Headline:
    """Return the best area or moment; the r beside it is the highest of all layers, which its note says."""
    n_layers = results.scores[modality].sizes["layer"]
    name = signal_name(signal).lower()
    if modality == "fmri":
        best = nameable.best_area(results, signal)
    else:
        moment = nameable.best_moment(results, signal)
        best = None if moment is None else (f"{1000 * moment[0]:.0f} ms", *moment[1:])
    if best is None:
        value, line = chance_words(results, modality, signal)
        return Headline(question, value, line, f"{name} of {n_layers} layers", signal, muted=True)
    where, values, layer = best
    mean = float(np.nanmean(values))
    uncertainty = f"r = {format_score(mean, 2 if mean >= 0.1 else 3)} {spread(values)}"
    note = f"{name} of {layer_name(layer)}" + (f", the highest of {n_layers} layers" if n_layers > 1 else "")
    note += f"; ± SEM over {len(values)} subjects" if len(values) > 1 else ""
    return Headline(question, where, uncertainty, note, signal)


def chance_words(results: StudyResults, modality: str, signal: str) -> tuple[str, str]:
    """Return a card's value and line where nothing may be named: that nothing is above chance, or was not tested."""
    tested = nameable.counts(results, modality, signal)[1]
    if not tested:
        return "not tested", "no test of the scores against chance was made"
    unit = "vertices" if modality == "fmri" else "moments"
    n_layers = results.scores[modality].sizes["layer"]
    return "none above chance", f"0 of {n_layers} layers × {tested // n_layers:,} {unit}"


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
        note + ("; interval and p are of two methods, and disagree" if two_methods(statistics) else ""),
        "activation",
    )
