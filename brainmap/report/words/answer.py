"""The answer in plain language: what is above chance, where and when, whose it is, and what to mind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from brainmap.report.words import headlines, p_and_numbers
from brainmap.report.words.loss_terms import terms_sentence
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results import lookups, nameable
from brainmap.results.study_results import StudyResults

FEW_IMAGES = 10  # in a test fold: r of noise has a standard deviation of 1 / √(n − 1), a third
LEAST_SUBJECTS = {"subjects": 3, "wilcoxon": 5}


def plain_answer(results: StudyResults) -> list[str]:
    """Return the findings as a few sentences without jargon; each says *simulated* where the data are.

    An area, a moment or an order is named only where it is above chance by the study's own test
    (:mod:`brainmap.results.nameable`); with nothing above chance the first sentence says so.
    """
    parts = (_prediction(results), _order(results), _gradients(results), terms_sentence(results))
    return [text for text in (*parts, _whose(results), _few_images(results)) if text]


def _prediction(results: StudyResults) -> str:
    signals = {modality: lookups.main_signal(results, modality) for modality in results.modalities}
    scored = {modality: signal for modality, signal in signals.items() if signal is not None}
    if not scored:
        return "No response could be scored."
    model = str(results.provenance.get("model", "the model"))
    subject = f"What {model} computes about a photograph"
    if "activation" not in scored.values():
        subject = f"What {model} would learn from a photograph, its gradients,"
    parts, chance, untested = [], [], []
    for modality, signal in scored.items():
        phrase = headlines.modality_phrase(results, modality)
        named = _named(results, modality, signal)
        if named:
            parts.append(f"{phrase} responses best {named}")
        elif nameable.counts(results, modality, signal)[1]:
            chance.append(f"{phrase} responses at {_tested(results, modality, signal)}")
        else:
            untested.append(phrase)
    sentences = [f"{subject} predicts {' and '.join(parts)}."] if parts else []
    if chance:
        start = f"{subject} does not predict" if not parts else "It does not predict"
        sentences.append(f"{start} {' or '.join(chance)} above chance.")
    if untested:
        start = f"Whether {subject[0].lower()}{subject[1:]} predicts" if not sentences else "Whether it predicts"
        sentences.append(f"{start} {' or '.join(untested)} responses above chance was not tested{_why(results)}.")
    return " ".join(sentences)


def _named(results: StudyResults, modality: str, signal: str) -> str:
    """Return where or when a signal predicts best, with its r, a maximum; empty where nothing is above chance."""
    n_layers = results.scores[modality].sizes["layer"]
    maximum = f", the highest of {n_layers} layers" if n_layers > 1 else ""
    if modality == "fmri":
        area = nameable.best_area(results, signal)
        return "" if area is None else f"in {area[0]} (r = {format_score(float(np.nanmean(area[1])))}{maximum})"
    moment = nameable.best_moment(results, signal)
    if moment is None:
        return ""
    return f"{headlines.moment_words(moment[0])} (r = {format_score(float(np.nanmean(moment[1])), 3)}{maximum})"


def _tested(results: StudyResults, modality: str, signal: str) -> str:
    n_layers = results.scores[modality].sizes["layer"]
    units = nameable.counts(results, modality, signal)[1] // n_layers
    unit = "place" if modality == "fmri" else "moment"
    layers = f"in any of {n_layers} layers" if n_layers > 1 else "in its one layer"
    return f"any of {units:,} {unit}s, {layers}," if units > 1 else f"its one {unit}, {layers},"


def _why(results: StudyResults) -> str:
    made = results.provenance.get("p_values")
    texts = [str(made[m]) for m in results.modalities if m in made] if isinstance(made, Mapping) else []
    reasons = [text.removeprefix("not computed: ").rstrip(".") for text in texts if text.startswith("not computed")]
    return f": {reasons[0]}" if reasons else ""


def _order(results: StudyResults) -> str:
    parts, unclear = [], []
    for kind, brain, rule in (
        ("spatial", "distance from V1", "the farther from V1 the areas it fits best"),
        ("temporal", "latency", "the later the moments it fits best"),
    ):
        table = lookups.hierarchy_table(results, kind, "activation")
        predicted = nameable.predicts(results, headlines.ordered_modality(results, kind), "activation")
        if table is None or "r" not in table.attrs or not predicted:
            continue
        r, p = float(table.attrs["r"]), p_and_numbers.order_p(table.attrs)[0]
        numbers = f"({p_and_numbers.order_text(table.attrs)})"
        if np.isfinite(p) and p < 0.05:
            parts.append(
                f"{rule if r > 0 else rule.replace('farther from', 'nearer to').replace('later', 'earlier')} {numbers}"
            )
        else:
            unclear.append(f"{brain} {numbers}")
    sentences = [f"The deeper a layer, {' and '.join(parts)}."] if parts else []
    if unclear:
        sentences.append(f"There is no reliable relation between the depth of a layer and {' or '.join(unclear)}.")
    return " ".join(sentences)


def _gradients(results: StudyResults) -> str:
    exactness = str(results.provenance.get("exactness", ""))
    kind = "surrogate gradients" if exactness == "surrogate" else "gradients"
    parts = []
    if "fmri" in results.residual and nameable.predicts(results, "fmri"):
        units = headlines.gains(results, "fmri")
        total = len(results.residual["fmri"])
        parts.append(
            f"in {len(units)} of {total} areas ({headlines.area_list(units)})" if units else f"in none of {total} areas"
        )
    if results.timed in results.residual and nameable.predicts(results, results.timed):
        windows = lookups.residual_windows(results)
        parts.append(f"at {p_and_numbers.format_windows(windows)}" if windows else "at no time")
    if not parts:
        return ""
    shown = [name for name in ("fmri", results.timed) if name in results.residual and nameable.predicts(results, name)]
    alone = all(nameable.predicts(results, str(name), "activation") for name in shown)
    added = "adds to that prediction" if alone else "adds to what the activations predict"
    sentence = f"What it would learn from the photograph, its {kind}, {added} {' and '.join(parts)}."
    return " ".join(part for part in (sentence, _beyond_nonlinear(results)) if part)


def _beyond_nonlinear(results: StudyResults) -> str:
    """Say where gradients add beyond random nonlinear features of the activations, too; nothing if not tested."""
    known, parts = {}, []
    for modality in ("fmri", results.timed):
        tested = lookups.beyond_nonlinear(results, str(modality))
        if tested is not None and headlines.gains(results, str(modality)):
            known[str(modality)] = tested
    if known.get("fmri"):
        units = known["fmri"]
        parts.append(f"in {len(units)} areas ({headlines.area_list(units)})" if len(units) > 1 else f"in {units[0]}")
    if known.get(str(results.timed)):
        parts.append(f"at {p_and_numbers.format_windows(lookups.windows_of(results, known[str(results.timed)]))}")
    if not known:
        return ""
    beyond = "Beyond random nonlinear features of the activations"
    if parts:
        return f"{beyond} it still adds {' and '.join(parts)}."
    return f"{beyond} nothing is left above chance: activations that act nonlinearly may explain it as well."


def _whose(results: StudyResults) -> str:
    """Say of whom the finding holds: of these subjects, or of subjects in general, and what the latter would take."""
    named = [modality for modality in results.modalities if nameable.predicts(results, modality)]
    config: Any = results.provenance.get("config") or {}
    tests = {str(config.get("fmri_test" if modality == "fmri" else "meg_test", "")) for modality in named}
    tests.discard("")
    if not tests:
        return ""
    n = max(results.scores[modality].sizes["subject"] for modality in named)
    if tests <= set(LEAST_SUBJECTS):
        return f"This holds for subjects in general, of whom these {n} are a sample."
    kind = "simulated " if results.simulated else ""
    these = f"these {n} {kind}subjects" if n > 1 else f"this one {kind}subject"
    least = LEAST_SUBJECTS["subjects"]
    way = "run again with --test subjects" if n >= least else f"at least {least} subjects and --test subjects"
    return f"This holds for {these}; what holds for people in general takes a test over subjects ({way})."


def _few_images(results: StudyResults) -> str:
    """Warn of test folds in which r means little, with the number of photographs and what to do."""
    folds = [sizes for modality in results.modalities for sizes in _fold_sizes(results, modality)]
    smallest = min(folds, key=min, default=[FEW_IMAGES])
    return few_images_words(min(smallest), sum(smallest)) if min(smallest) < FEW_IMAGES else ""


def few_images_words(least: int, total: int) -> str:
    """Return the warning about test folds of few photographs.

    Parameters
    ----------
    least : int
        Photographs in the smallest test fold.
    total : int
        Photographs of a subject.
    """
    spread = f"±{format_score(1 / np.sqrt(max(least - 1, 1)))}"
    folds = max(min(total // FEW_IMAGES, 5), 2)
    more = f"use fewer folds (--cv {folds}: {total // folds} photographs each)" if total // folds > least else ""
    advice = " or ".join(filter(None, (more, "show more photographs")))
    return (
        f"Caution: the smallest test fold has {least} photographs, where r of pure noise spreads by {spread}; {advice}."
    )


def _fold_sizes(results: StudyResults, modality: str) -> list[list[int]]:
    """Return the photographs of every test fold, a list for each subject whose folds differ from the others'."""
    sizes = results.scores[modality].attrs.get("n_test")
    return [] if sizes is None else [list(map(int, row)) for row in np.atleast_2d(np.asarray(sizes))]
