"""Published numbers beside the measured ones: ``quantity | paper | here | n | data``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import MODALITY_NAMES
from brainmap.hierarchy.half_times import training_half_times
from brainmap.hierarchy.mixed_models import compare_levels
from brainmap.papers import paper_tables
from brainmap.papers.convergence import NO_PAIR, early_and_late
from brainmap.papers.factor_levels import level_scores, levels_of, words_of_test
from brainmap.papers.factor_panels import SIZES, TYPES, Factor, unusable
from brainmap.papers.half_time_panels import ACTIVATION, PROPERTIES
from brainmap.papers.misalignment import NO_MODEL, PAPER_MODELS
from brainmap.papers.paper_panel import count_of, data_word, has, no_scores, no_training
from brainmap.report.words import headlines, p_and_numbers
from brainmap.report.words.p_and_numbers import format_p, format_score
from brainmap.results import collection_tables, lookups, nameable
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import RESIDUAL, significant_somewhere
from brainmap.study.analysis.orders_and_hypotheses import judged_hypotheses

Row = dict[str, str]
CHANCE = "nothing above chance"
COLUMNS = ("panel", "quantity", "paper", "here", "n", "data")


def paper_numbers(
    study: str, collection: Collection, properties: Mapping[str, pd.Series] | None = None
) -> pd.DataFrame:
    """Return the table of published and measured numbers.

    Parameters
    ----------
    study : {'misalignment', 'convergence'}
        Which paper.
    collection : Collection
        Studies of the preset of that name.
    properties : mapping of str to pandas.Series, optional
        Cortical properties by area.

    Returns
    -------
    pandas.DataFrame
        ``panel``, ``quantity``, ``paper``, ``here``, ``n``, ``data`` (``simulated``, ``real``, or which are absent).
    """
    training = collection_tables.ordered_by_step(collection.part("training"))
    if study == "misalignment":
        rows = list(_misalignment(collection, training))
    elif study == "convergence":
        rows = list(_convergence(collection, training, properties or {}))
    else:
        raise InputError(f"there is no table of numbers for '{study}'; choose misalignment or convergence")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(panel: str, quantity: str, paper: str, here: str, n: str, members: Sequence[Member]) -> Row:
    return {"panel": panel, "quantity": quantity, "paper": paper, "here": here, "n": n, "data": data_word(members)}


def _absent(panel: str, quantity: str, paper: str, sentence: str) -> Row:
    row = {"panel": panel, "quantity": quantity, "paper": paper, "here": "—", "n": "0"}
    return row | {"data": f"absent: {sentence}"}


def _subjects(member: Member, modality: str) -> str:
    return count_of(int(member.results.scores[modality].sizes["subject"]))


# -- Study A ----------------------------------------------------------------------------------------------------------


def _misalignment(collection: Collection, training: Sequence[Member]) -> Iterator[Row]:
    models = [m for m in collection.part("models") if m.settings.get("weights") != "untrained"]
    main = training[-1] if training else (models[0] if models else None)
    if main is None:
        yield _absent("all", "all", "", NO_MODEL)
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
            yield _absent(panel, quantity, paper, "fMRI scores of four areas or more")
        else:
            yield _row(panel, quantity, paper, _order_text(table.attrs), f"{len(table)} areas", [main])


def _order_text(a: Mapping[Any, Any]) -> str:
    """A correlation over areas or layers, with its interval and all that is known of its p."""
    text = f"r = {format_score(a['r'])}"
    if "low" in a and "high" in a:
        text += f" [{format_score(a['low'])}, {format_score(a['high'])}]"
    other = [f"; {name} {format_p(a[f'{name}_p'])}" for name in ("spin", "slope") if f"{name}_p" in a]
    text += f" ({format_p(a['p'])}{''.join(other)})"
    if "rho" not in a:
        return text
    spins = f"; spin {format_p(a['spin_rho_p'])}" if "spin_rho_p" in a else ""
    return text + f", ρ = {format_score(a['rho'])} ({format_p(a['rho_p'])}{spins})"


def _meg_rows(main: Member) -> Iterator[Row]:
    results = main.results
    if not has([main], "meg", "activation", "gradient"):
        yield _absent("2E", "MEG scores", "", "MEG responses")
        return
    for signal, panel, paper in (
        ("activation", "2E", "every layer peaks near r = .079; shallow early, deep late"),
        ("gradient", "2F", "all layers peak together, when the last forward layer peaks; shallow layers peak lower"),
    ):
        word = "forward" if signal == "activation" else "backward"
        if not nameable.predicts(results, "meg", signal):
            n = _subjects(main, "meg")
            yield _row(panel, f"MEG {word}: height and time of the peaks", paper, CHANCE, n, [main])
            continue
        table = paper_tables.temporal_table(results, signal)
        if table is None:
            yield _absent(panel, f"MEG {signal}s", paper, "four layers that predict something after onset")
            continue
        first, last = (1000 * float(table["t_max"].iloc[i]) for i in (0, -1))
        tops = lookups.averaged_over(results, "meg", "time").sel(signal=signal).mean("subject").max("time").values
        low, high = float(np.nanmin(tops)), float(np.nanmax(tops))
        here = (
            f"peaks {format_score(low, 3)} to {format_score(high, 3)}; Tmax {first:.0f} ms (first layer) to {last:.0f} "
        )
        here += f"ms (last); depth and Tmax: r = {format_score(float(table.attrs['r']))}"
        yield _row(panel, f"MEG {word}: height and time of the peaks", paper, here, f"{len(table)} layers", [main])


def _residual_rows(main: Member) -> Iterator[Row]:
    windows_paper = "significant, best 0.5–1.7 s after onset"
    if "meg" in main.results.residual:
        windows = lookups.residual_windows(main.results) if headlines.gains(main.results, "meg") else []
        here = f"significant at {p_and_numbers.format_windows(windows)}" if windows else "significant at no time"
        yield _row("4", "Residual, MEG", windows_paper, here, _subjects(main, "meg"), [main])
    else:
        yield _absent("4", "Residual, MEG", windows_paper, "MEG responses, activations and gradients")
    areas_paper = "significant, best in ventromedial and lateral-occipitotemporal cortex"
    if "fmri" in main.results.residual:
        table = main.results.residual["fmri"].sort_values("delta", ascending=False)
        above = table["significant"].astype(bool) & nameable.predicts(main.results, "fmri")
        hits = table[above]["unit"].astype(str).tolist()
        here = f"significant in {len(hits)} of {len(table)} areas"
        here += f", largest in {headlines.area_list(hits, most=6)}" if hits else ""
        yield _row("4", "Residual, fMRI", areas_paper, here, f"{len(table)} areas", [main])
    else:
        yield _absent("4", "Residual, fMRI", areas_paper, "fMRI responses, activations and gradients")


def _training_rows(training: Sequence[Member]) -> Iterator[Row]:
    growth, peak = "forward and backward grow ~ log(iteration)", "residual peaks at 10,000 iterations, then falls"
    if len(training) < 3:
        yield _absent("5", "Scores over training", f"{growth}; {peak}", "three training checkpoints or more")
        return
    for modality, word in (("meg", "MEG"), ("fmri", "fMRI")):
        if not has(training, modality, "activation", "gradient"):
            yield _absent("5", f"{word} over training", f"{growth}; {peak}", f"{word} responses")
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
        yield _row("5", f"{word} over training", growth, "; ".join(parts), n, training)
        if RESIDUAL in table:
            steps = table.index.to_numpy(int)
            top = int(steps[int(np.nanargmax(table[RESIDUAL].to_numpy(float)))])
            here = f"highest at step {top:,} of {steps.max():,}"
            yield _row("5", f"{word} residual over training", peak, here, f"{len(table)} checkpoints", training)


def _models_row(models: Sequence[Member]) -> Row:
    paper = f"forward, backward and residual significant in each of {len(PAPER_MODELS)}"
    have = [modality for modality in ("meg", "fmri") if has(models, modality, "activation", "gradient")]
    if not have:
        return _absent("3", "Models", paper, "models with trained weights, activations and gradients")
    parts = []
    for signal, word in (("activation", "forward"), ("gradient", "backward"), (RESIDUAL, "residual")):
        significant = [all(significant_somewhere(m.results, modality, signal) for modality in have) for m in models]
        parts.append(f"{word} in {sum(significant)}")
    names = ", ".join(str(m.settings["model"]) for m in models)
    where = " and ".join(MODALITY_NAMES[modality] for modality in have)
    here = f"significant somewhere in {where} (corrected): {', '.join(parts)} of {len(models)} ({names})"
    return _row("3", "Models in which each signal is significant", paper, here, f"{len(models)} models", models)


def _hypothesis_rows(main: Member) -> Iterator[Row]:
    published = {
        1: "1: gradients map onto brain responses: yes",
        2: "2: gradients peak later than activations: no",
        3: "3: activations bottom-up (yes), gradients top-down (no)",
    }
    try:
        table = judged_hypotheses(main.results)
    except InputError as error:
        yield _absent("text", "Hypotheses", "; ".join(published.values()), str(error))
        return
    for row in table.to_dict("records"):
        digits = 3 if row["unit"] == "s" else 2
        effect, low, high = (format_score(float(row[name]), digits) for name in ("effect", "low", "high"))
        here = f"{row['verdict']}: {effect} [{low}, {high}] {row['unit']}" + (f"; {row['note']}" if row["note"] else "")
        modality = str(row["modality"])
        quantity = f"{MODALITY_NAMES[modality]}: {row['prediction']}"
        yield _row("text", quantity, published[int(row["hypothesis"])], here, _subjects(main, modality), [main])


# -- Study B ----------------------------------------------------------------------------------------------------------


def _convergence(
    collection: Collection, training: Sequence[Member], properties: Mapping[str, pd.Series]
) -> Iterator[Row]:
    if not training:
        yield _absent("all", "all", "", NO_MODEL)
        yield from _factor_rows(collection)
        return
    main = training[-1]
    yield from _area_rows(main)
    yield from _when_rows(main)
    for kind, panel, paper in (("spatial", "3E", ".38 (p < 1e-6)"), ("temporal", "3F", ".96 (p < 1e-12)")):
        table = lookups.hierarchy_table(main.results, kind, ACTIVATION)
        if table is None:
            yield _absent(panel, f"{kind.capitalize()} score", paper, "scores of four areas or layers")
        else:
            unit = "areas" if kind == "spatial" else "layers"
            yield _row(
                panel, f"{kind.capitalize()} score", paper, _order_text(table.attrs), f"{len(table)} {unit}", [main]
            )
    yield from _trained_rows(training)
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
            yield _absent(factor.number, quantity, paper, sentence)
            continue
        scores = level_scores(levels)
        modality = "fmri" if "fmri" in set(scores["score"]) else "meg"
        table = scores[scores["final"] & (scores["score"] == modality)]
        if table.empty:
            yield _absent(factor.number, quantity, paper, "scores of activations")
            continue
        by_level = table.groupby("level", sort=False)["r"]
        means = zip(by_level.mean().items(), by_level.sem(), strict=True)
        here = ", ".join(f"{level} {format_score(r, 3)} ± {format_score(sem, 3)}" for (level, r), sem in means)
        test = compare_levels(table, ordered=factor.ordered)
        here += f" ({MODALITY_NAMES[modality]}" + (f"; {words_of_test(test)})" if test is not None else ")")
        n = count_of(int(table["subject"].nunique()))
        yield _row(factor.number, quantity, paper, here, n, [members[-1] for members in levels.values()])


def _area_rows(main: Member) -> Iterator[Row]:
    published = {"best vertex": ".45 ± .039", "MT": ".34 ± .026", "VMV2": ".28 ± .025"}
    if not has([main], "fmri"):
        yield _absent("2A", "fMRI scores", ", ".join(published.values()), "fMRI responses")
        return
    r = main.results.mean_r("fmri").isel(signal=0).max("layer")
    names = np.asarray(main.results.scores["fmri"]["roi"].values).astype(str)
    for place, paper in published.items():
        if place == "best vertex" and not nameable.predicts(main.results, "fmri", ACTIVATION):
            yield _row("2A", f"fMRI, {place}: r ± SEM", paper, CHANCE, _subjects(main, "fmri"), [main])
            continue
        if place == "best vertex":
            values = r.isel(target=int(np.nanargmax(r.mean("subject").values))).values
        elif place in names:
            values = r.isel(target=np.flatnonzero(names == place)).mean("target").values
        else:
            yield _absent("2A", f"fMRI, {place}", paper, f"the area {place}")
            continue
        here = f"{format_score(float(values.mean()))} {p_and_numbers.spread(values)}"
        yield _row("2A", f"fMRI, {place}: r ± SEM", paper, here, _subjects(main, "fmri"), [main])


def _when_rows(main: Member) -> Iterator[Row]:
    if not has([main], "meg"):
        yield _absent("2B", "MEG scores", "", "MEG responses")
        return
    results = main.results
    best = nameable.best_moment(results, ACTIVATION)
    n = _subjects(main, "meg")
    if best is None:
        for quantity, paper in (("highest r ± SEM", ".09 ± .017"), ("onset", "rises at about 70 ms")):
            yield _row("2B", f"MEG: {quantity}", paper, CHANCE, n, [main])
        yield _row("3F", "T_max, shallowest to deepest layer", ".12 s to .39 s (read off)", CHANCE, n, [main])
        return
    time, values, _ = best
    here = f"{format_score(float(values.mean()), 3)} {p_and_numbers.spread(values)} at {1000 * time:.0f} ms"
    yield _row("2B", "MEG: highest r ± SEM", ".09 ± .017", here, n, [main])
    onset = paper_tables.onset_of(results)
    here = f"{1000 * onset:.0f} ms (half of the way up)" if np.isfinite(onset) else "none: no layer rises and stays up"
    yield _row("2B", "MEG: onset", "rises at about 70 ms", here, n, [main])
    marks = lookups.time_marks(results, ACTIVATION)
    times = None if marks is None else marks["time"].values[marks.any("layer").values & (marks["time"].values > 0)]
    last = "never" if times is None or not len(times) else f"last at {times.max():.2f} s"
    epoch = float(results.targets("meg")["time"].max())
    yield _row("2B", "MEG: significant until", "to the end (3 s)", f"{last} (epochs end at {epoch:.1f} s)", n, [main])
    table = paper_tables.temporal_table(results)
    if table is not None:
        here = f"{table['t_max'].iloc[0]:.2f} s to {table['t_max'].iloc[-1]:.2f} s"
        yield _row("3F", "T_max, shallowest to deepest layer", ".12 s to .39 s (read off)", here, n, [main])


def _trained_rows(training: Sequence[Member]) -> Iterator[Row]:
    pair = list(early_and_late(training).values())
    if len(pair) < 2 or not has(pair, "fmri"):
        yield _absent("4", "Untrained and trained", ".03 → .09", NO_PAIR if len(pair) < 2 else no_scores("fmri"))
        return
    table, _ = paper_tables.three_scores([pair[0], training[-1]]) if len(training) > 1 else (pd.DataFrame(), {})
    means = [float(m.results.mean_r("fmri").isel(signal=0).max("layer").mean()) for m in (pair[0], training[-1])]
    here = f"{format_score(means[0], 3)} → {format_score(means[1], 3)}"
    n = _subjects(pair[0], "fmri")
    yield _row("4", "Mean over vertices, untrained → trained", ".03 → .09", here, n, [pair[0], training[-1]])
    untrained = table[table["step"] == 0]
    first = dict(zip(untrained["score"].astype(str), untrained["raw"].astype(float), strict=True))
    text = ", ".join(f"{kind} {format_score(first[kind])}" for kind in ("spatial", "temporal") if kind in first)
    yield _row("4", "Untrained spatial and temporal score", "negative", text or "not computed", n, [pair[0]])


def _half_time_rows(training: Sequence[Member]) -> Iterator[Row]:
    published = {"temporal": ".7 %", "encoding": "2 %", "spatial": "4 %"}
    lacking = no_training(training, 4, "fmri", "meg")
    last = float(training[-1].step or 1)
    fits = {} if lacking else paper_tables.three_scores(training)[1]
    for kind, paper in published.items():
        if lacking:
            yield _absent("4E", f"Half time, {kind} score", paper, lacking)
            continue
        here = f"{100 * fits[kind]['half_time'] / last:.1f} %" if kind in fits else "none (no sigmoid fits)"
        yield _row("4E", f"Half time, {kind} score", paper, here, f"{len(training)} checkpoints", training)
    yield from _half_time_orders(training)


def _half_time_orders(training: Sequence[Member]) -> Iterator[Row]:
    from brainmap.hierarchy import agreement, distance_to

    for panel, modality, quantity, paper in (
        ("5E", "fmri", "Half time and distance to V1", "r = .91"),
        ("5F", "meg", "Half time and MEG window", "r = .84"),
    ):
        if lacking := no_training(training, 4, modality):
            yield _absent(panel, quantity, paper, lacking)
            continue
        if modality == "fmri":
            targets = training[-1].results.targets("fmri")
            table = paper_tables.area_half_times(training)
            table = table[table["unit"].isin(paper_tables.ROIS_B)]  # as in the panel, compared with all areas
            x = distance_to(targets).reindex(table["unit"]).to_numpy()
        else:
            table = training_half_times(paper_tables.windows_over_training(training))
            x = table["unit"].to_numpy(float)
        known = np.isfinite(x) & table["percent"].notna().to_numpy()
        if known.sum() < 4:
            yield _absent(panel, quantity, paper, f"four half times; only {int(known.sum())} of {len(table)} have one")
            continue
        order = agreement(x[known], table["percent"].to_numpy()[known]).as_attrs()
        if modality == "fmri":
            order |= paper_tables.spins_of(table[known].set_index("unit")["percent"])
        yield _row(panel, quantity, paper, _order_text(order), f"{order['n']} of {len(table)}", training)


def _property_rows(training: Sequence[Member], properties: Mapping[str, pd.Series]) -> Iterator[Row]:
    published = {"expansion": ".88", "thickness": ".77", "timescale": ".71", "myelin": "−.85"}
    lacking = no_training(training, 4, "fmri")
    table = None
    if not lacking and properties:
        table = paper_tables.area_half_times(training).set_index("unit")
    for key, r in published.items():
        quantity, paper = f"Half time and {key}", f"r = {r} (p fits n = 10 areas)"
        if table is None or key not in properties:
            sentence = lacking or f"a map of {PROPERTIES[key].lower()}; give its folder by --maps"
            yield _absent("8", quantity, paper, sentence)
            continue
        try:
            comparison = paper_tables.against_property(table["percent"], properties[key])
        except InputError as error:
            yield _absent("8", quantity, paper, f"four areas with a half time: {error}")
            continue
        row = _row("8", quantity, paper, _order_text(comparison), f"{comparison['n']:.0f} areas", training)
        yield row | {"data": f"half times {row['data']}, property real"}
