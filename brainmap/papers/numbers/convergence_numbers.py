"""Published and measured numbers of Study B."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES
from brainmap.hierarchy.half_times import Baseline, HalfTime
from brainmap.hierarchy.mixed_models import compare_levels
from brainmap.papers import paper_tables, training_scores
from brainmap.papers.convergence import NO_PAIR, early_and_late
from brainmap.papers.factor_levels import level_scores, levels_of, words_of_test
from brainmap.papers.factor_panels import SIZES, TYPES, Factor, unusable
from brainmap.papers.half_time_panels import ACTIVATION
from brainmap.papers.misalignment import NO_MODEL
from brainmap.papers.numbers.number_rows import CHANCE, Row, absent_row, number_row, order_words, subjects_words
from brainmap.papers.paper_panel import count_of, has, no_scores, no_training
from brainmap.papers.property_maps import PROPERTIES
from brainmap.report.words import p_and_numbers
from brainmap.report.words.p_and_numbers import format_score
from brainmap.results import collection_tables, lookups, nameable
from brainmap.results.collection import Collection, Member


def convergence_numbers(
    collection: Collection, training: Sequence[Member], properties: Mapping[str, pd.Series]
) -> Iterator[Row]:
    """Rows of Study B: orders in space and time, half times, factors, cortical properties."""
    trained = collection_tables.end_of_training(collection)
    if not trained:
        yield absent_row("all", "all", "", NO_MODEL)
        yield from _factor_rows(collection)
        return
    (main,) = trained
    yield from _area_rows(main)
    yield from _when_rows(main)
    for kind, panel, paper in (("spatial", "3E", ".38 (p < 1e-6)"), ("temporal", "3F", ".96 (p < 1e-12)")):
        table = lookups.hierarchy_table(main.results, kind, ACTIVATION)
        if table is None:
            yield absent_row(panel, f"{kind.capitalize()} score", paper, "scores of four areas or layers")
        else:
            unit = "areas" if kind == "spatial" else "layers"
            yield number_row(
                panel, f"{kind.capitalize()} score", paper, order_words(table.attrs), f"{len(table)} {unit}", [main]
            )
    yield from _trained_rows(training, main)
    yield from _half_time_rows(training)
    yield from _factor_rows(collection)
    yield from _property_rows(training, properties)


def _factor_rows(collection: Collection) -> Iterator[Row]:
    published: dict[str, tuple[Factor, str]] = {
        "Size G / L / B / S": (SIZES, ".107 / .105 / .101 / .096"),
        "Image type human / satellite / cellular": (TYPES, "about .105 / .080 / .075 (read off a figure)"),
    }
    for quantity, (factor, paper) in published.items():
        levels = levels_of(collection, factor.part)
        sentence = unusable(factor, levels)
        if sentence:
            yield absent_row(factor.number, quantity, paper, sentence)
            continue
        scores = level_scores(levels)
        modality = "fmri" if "fmri" in set(scores["score"]) else "meg"
        table = scores[scores["final"] & (scores["score"] == modality)]
        if table.empty:
            yield absent_row(factor.number, quantity, paper, "scores of activations")
            continue
        by_level = table.groupby("level", sort=False)["r"]
        means = zip(by_level.mean().items(), by_level.sem(), strict=True)
        here = ", ".join(f"{level} {format_score(r, 3)} ± {format_score(sem, 3)}" for (level, r), sem in means)
        test = compare_levels(table, ordered=factor.ordered)
        here += f" ({MODALITY_NAMES[modality]}" + (f"; {words_of_test(test)})" if test is not None else ")")
        n = count_of(int(table["subject"].nunique()))
        yield number_row(factor.number, quantity, paper, here, n, [members[-1] for members in levels.values()])


def _area_rows(main: Member) -> Iterator[Row]:
    published = {"best vertex": ".45 ± .039", "MT": ".34 ± .026", "VMV2": ".28 ± .025"}
    if not has([main], "fmri"):
        yield absent_row("2A", "fMRI scores", ", ".join(published.values()), "fMRI responses")
        return
    r = main.results.mean_r("fmri").isel(signal=0).max("layer")
    names = np.asarray(main.results.scores["fmri"]["roi"].values).astype(str)
    for place, paper in published.items():
        if place == "best vertex" and not nameable.predicts(main.results, "fmri", ACTIVATION):
            yield number_row("2A", f"fMRI, {place}: r ± SEM", paper, CHANCE, subjects_words(main, "fmri"), [main])
            continue
        if place == "best vertex":
            values = r.isel(target=int(np.nanargmax(r.mean("subject").values))).values
        elif place in names:
            values = r.isel(target=np.flatnonzero(names == place)).mean("target").values
        else:
            yield absent_row("2A", f"fMRI, {place}", paper, f"the area {place}")
            continue
        here = f"{format_score(float(values.mean()))} {p_and_numbers.spread(values)}"
        yield number_row("2A", f"fMRI, {place}: r ± SEM", paper, here, subjects_words(main, "fmri"), [main])


def _when_rows(main: Member) -> Iterator[Row]:
    if not has([main], "meg"):
        yield absent_row("2B", "MEG scores", "", "MEG responses")
        return
    results = main.results
    best = nameable.best_moment(results, ACTIVATION)
    n = subjects_words(main, "meg")
    if best is None:
        for quantity, paper in (("highest r ± SEM", ".09 ± .017"), ("onset", "rises at about 70 ms")):
            yield number_row("2B", f"MEG: {quantity}", paper, CHANCE, n, [main])
        yield number_row("3F", "T_max, shallowest to deepest layer", ".12 s to .39 s (read off)", CHANCE, n, [main])
        return
    time, values, _ = best
    here = f"{format_score(float(values.mean()), 3)} {p_and_numbers.spread(values)} at {1000 * time:.0f} ms"
    yield number_row("2B", "MEG: highest r ± SEM", ".09 ± .017", here, n, [main])
    onset = paper_tables.onset_of(results)
    here = f"{1000 * onset:.0f} ms (half of the way up)" if np.isfinite(onset) else "none: no layer rises and stays up"
    yield number_row("2B", "MEG: onset", "rises at about 70 ms", here, n, [main])
    marks = lookups.time_marks(results, ACTIVATION)
    times = None if marks is None else marks["time"].values[marks.any("layer").values & (marks["time"].values > 0)]
    last = "never" if times is None or not len(times) else f"last at {times.max():.2f} s"
    epoch = float(results.targets("meg")["time"].max())
    yield number_row(
        "2B", "MEG: significant until", "to the end (3 s)", f"{last} (epochs end at {epoch:.1f} s)", n, [main]
    )
    table = paper_tables.temporal_table(results)
    if table is not None:
        here = f"{table['t_max'].iloc[0]:.2f} s to {table['t_max'].iloc[-1]:.2f} s"
        yield number_row("3F", "T_max, shallowest to deepest layer", ".12 s to .39 s (read off)", here, n, [main])


def _trained_rows(training: Sequence[Member], main: Member) -> Iterator[Row]:
    pair = list(early_and_late(training, [main]).values())
    if len(pair) < 2 or not has(pair, "fmri"):
        yield absent_row("4", "Untrained and trained", ".03 → .09", NO_PAIR if len(pair) < 2 else no_scores("fmri"))
        return
    means = [float(m.results.mean_r("fmri").isel(signal=0).max("layer").mean()) for m in (pair[0], main)]
    here = f"{format_score(means[0], 3)} → {format_score(means[1], 3)}"
    n = subjects_words(pair[0], "fmri")
    yield number_row("4", "Mean over vertices, untrained → trained", ".03 → .09", here, n, [pair[0], main])
    orders = {kind: lookups.hierarchy_table(pair[0].results, kind, ACTIVATION) for kind in ("spatial", "temporal")}
    text = ", ".join(f"{kind} {format_score(t.attrs['r'])}" for kind, t in orders.items() if t is not None)
    yield number_row("4", "Untrained spatial and temporal score", "negative", text or "not computed", n, [pair[0]])


def _half_time_rows(training: Sequence[Member]) -> Iterator[Row]:
    published = {"temporal": ".7 %", "encoding": "2 %", "spatial": "4 %"}
    lacking = no_training(training, 4, "fmri", "meg")
    last = float(training[-1].step or 1) if training else 1.0
    scores = None if lacking else training_scores.three_scores(training)
    for baseline, words in HALVES.items():
        fits = {} if scores is None else training_scores.score_half_times(scores, baseline)
        for kind, paper in published.items():
            quantity = f"Half time, {kind} score ({words})"
            if lacking:
                yield absent_row("4E", quantity, paper, lacking)
            else:
                n = f"{len(training)} checkpoints"
                yield number_row("4E", quantity, paper, _half_words(fits.get(kind), last), n, training)
    for baseline in HALVES:
        yield from _half_time_orders(training, baseline)


HALVES: dict[Baseline, str] = {
    "first": "half of the gain, as the figures are normalised",
    "zero": "half of the final value, as the text says",
}
"""What a half time is half of; the panels draw the first."""


def _half_words(fit: HalfTime | None, last: float) -> str:
    """Half time in % of training, with its interval."""
    if fit is None:
        return "none: fewer than four checkpoints have this score"
    if fit.failure:
        return f"none: {fit.failure}"
    words = f"{100 * fit.step / last:.1f} %"
    if np.isfinite(fit.low):
        words += f" [{100 * fit.low / last:.1f}, {100 * fit.high / last:.1f}]"
    return (
        words
        + (", of a score that falls" if fit.gain < 0 else "")
        + (", interpolated" if fit.method == "interpolated" else "")
    )


def _half_time_orders(training: Sequence[Member], baseline: Baseline) -> Iterator[Row]:
    from brainmap.hierarchy import agreement

    for panel, modality, name, paper in (
        ("5E", "fmri", "Half time and distance to V1", "r = .91"),
        ("5F", "meg", "Half time and MEG window", "r = .84"),
    ):
        quantity = f"{name} ({HALVES[baseline]})"
        if lacking := no_training(training, 4, modality):
            yield absent_row(panel, quantity, paper, lacking)
            continue
        if modality == "fmri":
            table = training_scores.area_half_times(training, baseline)
            table = table[table["unit"].isin(paper_tables.ROIS_B)]  # as in the panel, compared with all areas
            x = training_scores.area_distances(training[-1]).reindex(table["unit"]).to_numpy()
        else:
            table = training_scores.training_half_times(training_scores.windows_over_training(training), baseline)
            x = table["unit"].to_numpy(float)
        known = np.isfinite(x) & table["percent"].notna().to_numpy()
        if known.sum() < 4:
            yield absent_row(
                panel, quantity, paper, f"four half times; only {int(known.sum())} of {len(table)} have one"
            )
            continue
        order = agreement(x[known], table["percent"].to_numpy()[known]).as_attrs()
        if modality == "fmri":
            order |= paper_tables.against_distance(table[known].set_index("unit")["percent"])
        yield number_row(panel, quantity, paper, order_words(order), f"{order['n']} of {len(table)}", training)


def _property_rows(training: Sequence[Member], properties: Mapping[str, pd.Series]) -> Iterator[Row]:
    lacking = no_training(training, 4, "fmri")
    published = dict(zip(PROPERTIES, (".88", ".77", ".71", "−.85"), strict=True))
    for baseline, words in HALVES.items():
        half = None
        if not lacking and properties:
            half = training_scores.area_half_times(training, baseline).set_index("unit")["percent"]
        for kind, r in published.items():
            name = PROPERTIES[kind].split(" (")[0].lower()
            quantity, paper = f"Half time and {name} ({words})", f"r = {r} (p fits n = 10 areas)"
            if half is None or kind not in properties:
                yield absent_row("8", quantity, paper, lacking or f"a map of {name}; give it by --maps {kind}=FILE")
                continue
            yield _property_row(quantity, paper, half, properties[kind], training)


def _property_row(quantity: str, paper: str, half: pd.Series, values: pd.Series, training: Sequence[Member]) -> Row:
    """Half times against a property, over the paper's areas and over all."""
    parts, counts = [], []
    for areas, which in (([a for a in paper_tables.ROIS_B if a in half.index], "paper's areas"), (half.index, "all")):
        try:
            comparison = paper_tables.against_property(half.loc[areas], values)
        except InputError:
            parts.append(f"{which}: fewer than four have a half time")
            continue
        parts.append(f"{which}: {order_words(comparison)}")
        counts.append(f"{comparison['n']:.0f}")
    if not counts:
        return absent_row("8", quantity, paper, "four areas with a half time")
    row = number_row("8", quantity, paper, "; ".join(parts), f"{' and '.join(counts)} areas", training)
    return row | {"data": f"half times {row['data']}, property real"}
