"""Published and measured numbers of Study A."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES
from brainmap.papers import paper_tables
from brainmap.papers.misalignment import NO_MODEL, PAPER_MODELS
from brainmap.papers.numbers.number_rows import CHANCE, Row, absent_row, number_row, order_words, subjects_words
from brainmap.papers.paper_panel import has
from brainmap.report.words import headlines, p_and_numbers
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results import collection_tables, lookups, nameable
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import RESIDUAL, significant_somewhere
from brainmap.study.analysis.orders_and_hypotheses import judged_hypotheses


def misalignment_numbers(collection: Collection, training: Sequence[Member]) -> Iterator[Row]:
    """Rows of Study A: scores of activations and gradients, their orders, residuals and hypotheses."""
    models = [m for m in collection.part("models") if m.settings.get("weights") != "untrained"]
    main = next(iter(collection_tables.end_of_training(collection) or models), None)
    if main is None:
        yield absent_row("all", "all", "", NO_MODEL)
        return
    yield from _spatial_rows(main)
    yield from _meg_rows(main)
    yield from _residual_rows(main)
    yield from _training_rows(training)
    yield _models_row(models)
    yield from _hypothesis_rows(main)


def _spatial_rows(main: Member) -> Iterator[Row]:
    published = {
        "activation": ("2C", "forward", "r = .35 (p = .005), ρ = .27 (p = .03)"),
        "gradient": ("2D", "backward", "r = −.27 (p = .04), ρ = −.34 (p = .008)"),
    }
    for signal, (panel, word, paper) in published.items():
        quantity = f"fMRI {word}: distance to V1 and best layer"
        table = lookups.hierarchy_table(main.results, "spatial", signal)
        if table is None:
            yield absent_row(panel, quantity, paper, "fMRI scores of four areas or more")
        else:
            yield number_row(panel, quantity, paper, order_words(table.attrs), f"{len(table)} areas", [main])


def _meg_rows(main: Member) -> Iterator[Row]:
    results = main.results
    if not has([main], "meg", "activation", "gradient"):
        yield absent_row("2E", "MEG scores", "", "MEG responses")
        return
    for signal, panel, paper in (
        ("activation", "2E", "every layer peaks near r = .079; shallow early, deep late"),
        ("gradient", "2F", "all layers peak together, when the last forward layer peaks; shallow layers peak lower"),
    ):
        word = "forward" if signal == "activation" else "backward"
        if not nameable.predicts(results, "meg", signal):
            n = subjects_words(main, "meg")
            yield number_row(panel, f"MEG {word}: height and time of the peaks", paper, CHANCE, n, [main])
            continue
        table = paper_tables.temporal_table(results, signal)
        if table is None:
            yield absent_row(panel, f"MEG {signal}s", paper, "four layers that predict something after onset")
            continue
        first, last = (1000 * float(table["t_max"].iloc[i]) for i in (0, -1))
        tops = lookups.averaged_over(results, "meg", "time").sel(signal=signal).mean("subject").max("time").values
        low, high = float(np.nanmin(tops)), float(np.nanmax(tops))
        here = (
            f"peaks {format_score(low, 3)} to {format_score(high, 3)}; Tmax {first:.0f} ms (first layer) to {last:.0f} "
        )
        here += f"ms (last); depth and Tmax: r = {format_score(float(table.attrs['r']))}"
        yield number_row(
            panel, f"MEG {word}: height and time of the peaks", paper, here, f"{len(table)} layers", [main]
        )


def _residual_rows(main: Member) -> Iterator[Row]:
    windows_paper = "significant, best 0.5–1.7 s after onset"
    if "meg" in main.results.residual:
        windows = lookups.residual_windows(main.results) if headlines.gains(main.results, "meg") else []
        table = main.results.residual["meg"]
        best = table["unit"].to_numpy(dtype=float)[np.nanargmax(table["delta"].to_numpy(dtype=float))]
        there = f"{p_and_numbers.format_windows(windows)}, most at {best:.2f} s" if windows else "no time"
        here = f"significant at {there}"
        yield number_row("4", "Residual, MEG", windows_paper, here, subjects_words(main, "meg"), [main])
    else:
        yield absent_row("4", "Residual, MEG", windows_paper, "MEG responses, activations and gradients")
    areas_paper = "significant, best in ventromedial and lateral-occipitotemporal cortex"
    if "fmri" in main.results.residual:
        table = main.results.residual["fmri"].sort_values("delta", ascending=False)
        above = table["significant"].astype(bool) & nameable.predicts(main.results, "fmri")
        hits = table[above]["unit"].astype(str).tolist()
        here = f"significant in {len(hits)} of {len(table)} areas"
        here += f", largest in {headlines.area_list(hits, most=6)}" if hits else ""
        yield number_row("4", "Residual, fMRI", areas_paper, here, f"{len(table)} areas", [main])
    else:
        yield absent_row("4", "Residual, fMRI", areas_paper, "fMRI responses, activations and gradients")


def _training_rows(training: Sequence[Member]) -> Iterator[Row]:
    growth, peak = "forward and backward grow ~ log(iteration)", "residual peaks at 10,000 iterations, then falls"
    if len(training) < 3:
        yield absent_row("5", "Scores over training", f"{growth}; {peak}", "three training checkpoints or more")
        return
    for modality, word in (("meg", "MEG"), ("fmri", "fMRI")):
        if not has(training, modality, "activation", "gradient"):
            yield absent_row("5", f"{word} over training", f"{growth}; {peak}", f"{word} responses")
            continue
        table = collection_tables.scores_over_training(training, modality).pivot(
            index="step", columns="signal", values="r"
        )
        positive = table[table.index > 0]
        logs = np.log10(positive.index.to_numpy(float))
        parts = [
            f"{name}: r with log step = {format_score(float(np.corrcoef(logs, positive[signal])[0, 1]))}"
            for signal, name in (("activation", "forward"), ("gradient", "backward"))
        ]
        n = f"{len(positive)} steps after 0"
        yield number_row("5", f"{word} over training", growth, "; ".join(parts), n, training)
        if RESIDUAL in table:
            steps = table.index.to_numpy(int)
            top = int(steps[int(np.nanargmax(table[RESIDUAL].to_numpy(float)))])
            here = f"highest at step {top:,} of {steps.max():,}"
            yield number_row("5", f"{word} residual over training", peak, here, f"{len(table)} checkpoints", training)


def _models_row(models: Sequence[Member]) -> Row:
    paper = f"forward, backward and residual significant in each of {len(PAPER_MODELS)}"
    have = [modality for modality in ("meg", "fmri") if has(models, modality, "activation", "gradient")]
    if not have:
        return absent_row("3", "Models", paper, "models with trained weights, activations and gradients")
    parts = []
    for signal, word in (("activation", "forward"), ("gradient", "backward"), (RESIDUAL, "residual")):
        significant = [all(significant_somewhere(m.results, modality, signal) for modality in have) for m in models]
        parts.append(f"{word} in {sum(significant)}")
    names = ", ".join(str(m.settings["model"]) for m in models)
    where = " and ".join(MODALITY_NAMES[modality] for modality in have)
    here = f"significant somewhere in {where} (corrected): {', '.join(parts)} of {len(models)} ({names})"
    return number_row("3", "Models in which each signal is significant", paper, here, f"{len(models)} models", models)


def _hypothesis_rows(main: Member) -> Iterator[Row]:
    published = {
        1: "1: gradients map onto brain responses: yes",
        2: "2: gradients peak later than activations: no",
        3: "3: activations bottom-up (yes), gradients top-down (no)",
    }
    try:
        table = judged_hypotheses(main.results)
    except InputError as error:
        yield absent_row("text", "Hypotheses", "; ".join(published.values()), str(error))
        return
    for row in table.to_dict("records"):
        digits = 3 if row["unit"] == "s" else 2
        effect, low, high = (format_score(float(row[name]), digits) for name in ("effect", "low", "high"))
        here = f"{row['verdict']}: {effect} [{low}, {high}] {row['unit']}" + (f"; {row['note']}" if row["note"] else "")
        modality = str(row["modality"])
        quantity = f"{MODALITY_NAMES[modality]}: {row['prediction']}"
        yield number_row(
            "text", quantity, published[int(row["hypothesis"])], here, subjects_words(main, modality), [main]
        )
