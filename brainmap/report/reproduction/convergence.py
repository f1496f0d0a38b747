"""Every panel of Study B (Raugel et al. 2025): encoding, spatial and temporal score, training, size, image type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.errors import InputError
from brainmap.hierarchy import SpinOptions, agreement, compare_properties, cortex_areas, distance_to
from brainmap.report import figures, summary
from brainmap.report.collection import Collection, Member
from brainmap.report.cortex import cortex_of, load_cortex, on_vertices
from brainmap.report.figures.maps import depth_scale, score_scale
from brainmap.report.panels.base import stimulus_span
from brainmap.report.reproduction import data
from brainmap.report.reproduction.base import PaperPanel, absent_panel, data_word
from brainmap.report.reproduction.factors import SIZES, TYPES, factor_panels
from brainmap.report.reproduction.misalignment import (
    best_layer_panel,
    distance_panel,
    has,
    with_simulated,
)

PROPERTIES = {
    "expansion": "Cortical expansion",
    "thickness": "Thickness (mm)",
    "timescale": "Intrinsic timescale",
    "myelin": "Myelin (T1w/T2w)",
}
NO_TRAINING = "Needs at least four training checkpoints of one model with fMRI and MEG scores."
ACTIVATION = "activation"


def convergence_panels(collection: Collection, properties: Mapping[str, pd.Series] | None = None) -> list[PaperPanel]:
    """Return the panels of Study B in the order of the paper.

    Parameters
    ----------
    collection : Collection
        Studies of the preset ``convergence``: part ``training``, and where they were given ``sizes`` and ``types``.
    properties : mapping of str to pandas.Series, optional
        Cortical properties by area (``expansion``, ``thickness``, ``timescale``, ``myelin``).

    Returns
    -------
    list of PaperPanel
        All of them; a panel whose data are absent says which.
    """
    training = data.ordered_by_step(collection.part("training"))
    main = training[-1:] or list(collection)[:1]
    panels = list(_figures_2_and_3(main[0])) if main else []
    panels += _figure_4(training)
    panels += _figure_5(training)
    panels += [*factor_panels(SIZES, collection), *factor_panels(TYPES, collection)]
    panels += _figure_8(training, properties or {})
    return panels


def _figures_2_and_3(member: Member) -> Iterator[PaperPanel]:
    if has([member], "fmri"):
        yield _score_map(member)
    else:
        yield absent_panel("2A", "Encoding score of each vertex", "Needs fMRI responses; this study has none.")
    if has([member], "meg"):
        yield _meg_curve(member)
    else:
        yield absent_panel("2B", "MEG: score over time", "Needs MEG responses; this study has none.")
    if has([member], "fmri"):
        yield best_layer_panel("3A", member, ACTIVATION)
    if has([member], "meg"):
        yield _normalised_curves(member)
    if has([member], "fmri"):
        yield _area_bars(member)
    if has([member], "meg"):
        yield _window_bars(member)
    if has([member], "fmri"):
        yield distance_panel("3E", member, ACTIVATION)
    if has([member], "meg"):
        yield _temporal(member)


def _score_map(member: Member) -> PaperPanel:
    title, results = "Encoding score of each vertex", member.results
    return PaperPanel(
        "2A", title, "Best layer of each vertex, mean over splits and subjects; grey: not significant.",
        lambda: figures.score_map(
            summary.best_layers(results, ACTIVATION)[2], results.targets("fmri"), ACTIVATION,
            title=with_simulated(title, [member]),
        ),
    )  # fmt: skip


def _meg_curve(member: Member) -> PaperPanel:
    title, results = "MEG: score over time", member.results
    courses = summary.averaged_over(results, "meg", "time").sel(signal=ACTIVATION)
    best = int(courses.mean("subject").max("time").argmax("layer"))
    marks = summary.time_marks(results, ACTIVATION)
    shown = None if marks is None else {ACTIVATION: marks.isel(layer=best).values}
    return PaperPanel(
        "2B", title,
        f"Layer with the highest peak ({summary.layer_name(str(courses['layer'].values[best]))}), mean over sensors ± "
        "SEM over subjects. Bar below: p < .05, false discovery rate over time.",
        lambda: figures.signal_curves(
            {ACTIVATION: courses.isel(layer=best)}, significance=shown, stimulus=stimulus_span(results),
            title=with_simulated(title, [member]),
        ),
    )  # fmt: skip


def _normalised_curves(member: Member) -> PaperPanel:
    title, results = "MEG: normalised score of each layer", member.results
    table = data.temporal_table(results)
    peaks = None if table is None else table["t_max"].to_numpy(float)
    return PaperPanel(
        "3B", title,
        "R̃ = R / max R of each layer's mean curve; bands: ± SEM over subjects; triangles: T_max, the middle of the "
        "window in which R̃ ≥ 95 %.",
        lambda: figures.layer_curves(
            data.normalised_courses(results), results.depths("meg"), peaks=peaks, stimulus=stimulus_span(results),
            title=with_simulated(title, [member]), ylabel="Normalised score R / max R",
        ),
    )  # fmt: skip


def _area_bars(member: Member) -> PaperPanel:
    title, results = "Layers in three areas", member.results
    tables = {area: data.layer_area_bars(results, area) for area in data.AREAS_B}
    known = {area: table for area, table in tables.items() if table is not None}
    if not known:
        return absent_panel("3C", title, f"Needs the areas {', '.join(data.AREAS_B)}; the targets have none of them.")
    return PaperPanel(
        "3C", title, "Score of each layer as a share of the best (outlined); ± SEM over subjects.",
        lambda: figures.layer_bars(known, title=with_simulated(title, [member])),
    )  # fmt: skip


def _window_bars(member: Member) -> PaperPanel:
    title, results = "Layers in three time windows", member.results
    tables = {name: data.layer_course_bars(results, span) for name, span in data.WINDOWS.items()}
    return PaperPanel(
        "3D", title, "Score of each layer as a share of the best (outlined); ± SEM over subjects.",
        lambda: figures.layer_bars(tables, title=with_simulated(title, [member])),
    )  # fmt: skip


def _temporal(member: Member) -> PaperPanel:
    title = "Layer depth and T_max"
    table = data.temporal_table(member.results)
    if table is None:
        return absent_panel("3F", title, "Needs at least four layers that predict something after onset.")
    return PaperPanel(
        "3F", title.replace("T_max", "Tmax"),
        "One point per layer; bars: 95 % interval over subject × fold; line: least squares with its bootstrap band.",
        lambda: figures.depth_vs_peak_time(
            table, ACTIVATION, title=with_simulated("Layer depth and peak time", [member])
        ),
    )  # fmt: skip


def early_and_late(training: Sequence[Member]) -> dict[str, Member]:
    """Return untrained weights and the checkpoint nearest to 68 % of training, under their names."""
    if len(training) < 2 or training[0].step != 0:
        return {}
    last = int(training[-1].step or 0)
    late = min(training[1:], key=lambda member: abs(int(member.step or 0) - 0.68 * last))
    return {"0 %": training[0], f"{100 * int(late.step or 0) / last:.0f} % of training": late}


def _figure_4(training: Sequence[Member]) -> Iterator[PaperPanel]:
    pair = early_and_late(training)
    members = list(pair.values())
    if not pair or not has(members, "fmri") or not has(members, "meg"):
        for number in ("4A", "4B", "4C", "4D", "4E"):
            yield absent_panel(number, "Before and after training", NO_TRAINING)
        return
    where = "Before and after training: score and best layer"
    yield PaperPanel(
        "4A, 4C", where, "Upper row: score at the best layer; lower row: its depth; grey: not significant.",
        lambda: _training_maps(pair, with_simulated(where, members)),
    )  # fmt: skip
    when = "Before and after training: MEG"
    yield PaperPanel(
        "4B, 4D", when, "Last layer, mean over sensors ± SEM over subjects. Bar below: p < .05, FDR over time.",
        lambda: figures.stage_curves(
            {name: {ACTIVATION: data.course(m.results, ACTIVATION)} for name, m in pair.items()},
            stimulus=stimulus_span(members[0].results), title=with_simulated(when, members),
        ),
    )  # fmt: skip
    scores = "Three scores over training"
    if len(training) < 4:
        yield absent_panel("4E", scores, NO_TRAINING)
        return
    table, fits = data.three_scores(training)
    yield PaperPanel(
        "4E", scores,
        "Share of the final value; curves: sigmoids in log step, where one fits; diamonds: half times. Untrained "
        "weights stand left of the first step.",
        lambda: figures.score_sigmoids(table, fits, title=with_simulated(scores, training)),
    )  # fmt: skip


def _training_maps(pair: Mapping[str, Member], title: str) -> Figure:
    found = {name: summary.best_layers(member.results, ACTIVATION) for name, member in pair.items()}
    targets = {name: member.results.targets("fmri") for name, member in pair.items()}
    cortex = cortex_of(next(iter(targets.values()))) or load_cortex()
    scale = score_scale(np.concatenate([top for _, _, top in found.values()]), ACTIVATION)
    score = {name: on_vertices(top, targets[name], cortex) for name, (_, _, top) in found.items()}
    depth = {name: on_vertices(value, targets[name], cortex) for name, (_, value, _) in found.items()}
    return figures.map_grid({"Score": (scale, score), "Best layer": (depth_scale(), depth)}, title=title, cortex=cortex)


def _figure_5(training: Sequence[Member]) -> Iterator[PaperPanel]:
    numbers = ("5A", "5B", "5C", "5D", "5E", "5F")
    if len(training) < 4 or not has(training, "fmri") or not has(training, "meg"):
        for number in numbers:
            yield absent_panel(number, "Half times", NO_TRAINING)
        return
    last = training[-1]
    targets = last.results.targets("fmri")
    names = [name for name in data.ROIS_B if name in set(targets["roi"])]
    areas = data.cells_over_training(training, "fmri", "roi", names)
    distance = _distances(last).reindex(names)
    near = {str(name): float(value) for name, value in distance.items()}
    yield _share_panel("5A", areas, near, ("Distance from V1 (mm)", "Areas over training"), training)
    windows = data.windows_over_training(training)
    centres = {str(unit): float(unit) for unit in windows["unit"].values}
    yield _share_panel("5B", windows, centres, ("Time window (s)", "MEG windows over training"), training)
    everywhere = data.cells_over_training(training, "fmri", "roi", sorted(set(targets["roi"].astype(str)) - {""}))
    area_half, window_half = data.training_half_times(everywhere), data.training_half_times(windows)
    yield _half_time_map(area_half, training)
    yield _half_time_curve(window_half, training)
    yield _half_time_scatter("5E", area_half[area_half["unit"].isin(names)], near, training)
    times = {unit: float(unit) for unit in window_half["unit"]}
    yield _half_time_scatter("5F", window_half, times, training)


def _share_panel(
    number: str, cells: xr.DataArray, values: Mapping[str, float], words: tuple[str, str], training: Sequence[Member]
) -> PaperPanel:
    table = data.normalised(cells)
    table["unit"] = table["unit"].astype(str)
    known = {name: float(value) for name, value in values.items() if np.isfinite(value)}
    table = table[table["unit"].isin(list(known))]
    if table.empty:
        return absent_panel(number, words[1], "No area or window has a positive score at the last checkpoint.")
    return PaperPanel(
        number, words[1], "Score at the best layer as a share of that at the last checkpoint; dashed: 50 %. Windows: "
        "those that reach a tenth of the highest score.",
        lambda: figures.normalised_curves(
            table, known, group="unit", label=words[0], title=with_simulated(words[1], training)
        ),
    )  # fmt: skip


def _half_time_map(table: pd.DataFrame, training: Sequence[Member]) -> PaperPanel:
    title = "Half time of each area"
    known = table.dropna(subset=["percent"])
    why = _failures(table)
    if len(known) < 2:
        return absent_panel("5C", title, f"Fewer than two areas have a half time: {why}.")
    values = dict(zip(known["unit"].astype(str), known["percent"].astype(float), strict=True))
    return PaperPanel(
        "5C", title,
        f"Step at which the score reaches half of its final value, {len(known)} of {len(table)} areas; {why}.",
        lambda: figures.half_time_map(
            values, title=with_simulated(title, training), hemispheres=_sides(training),
            cortex=cortex_of(training[-1].results.targets("fmri")),
        ),
    )  # fmt: skip


def _sides(training: Sequence[Member]) -> list[str]:
    present = set(training[-1].results.targets("fmri")["hemisphere"])
    return [side for side in ("L", "R") if side in present]


def _half_time_curve(table: pd.DataFrame, training: Sequence[Member]) -> PaperPanel:
    title = "Half time along the MEG response"
    known = table.dropna(subset=["percent"])
    if len(known) < 2:
        return absent_panel("5D", title, f"Fewer than two windows have a half time: {_failures(table)}.")
    results = training[-1].results
    mean = summary.averaged_over(results, "meg", "time").sel(signal=ACTIVATION).mean("subject")
    curve = mean.max("layer")
    centres = table["unit"].to_numpy(float)
    nearest = np.abs(curve["time"].values[:, None] - centres).argmin(axis=1)
    reach = np.abs(curve["time"].values - centres[nearest]) <= 0.5 * float(np.median(np.diff(centres))) + 1e-9
    values = np.where(reach, table["percent"].to_numpy(float)[nearest], np.nan)
    return PaperPanel(
        "5D", title,
        f"Best layer of the last checkpoint; colour: half time of the window; grey: none ({_failures(table)}).",
        lambda: figures.window_curves(
            curve, values, title=with_simulated(title, training), stimulus=stimulus_span(results)
        ),
    )  # fmt: skip


def _half_time_scatter(
    number: str, table: pd.DataFrame, values: Mapping[Any, float], training: Sequence[Member]
) -> PaperPanel:
    space = number == "5E"
    title = "Half time and distance from V1" if space else "Half time and time window"
    rows = table.assign(x=[values.get(unit, np.nan) for unit in table["unit"]]).dropna(subset=["x", "percent"])
    if len(rows) < 4:
        sentence = f"Needs four areas or windows with a half time, here are {len(rows)}: {_failures(table)}."
        return absent_panel(number, title, sentence)
    found = agreement(rows["x"], rows["percent"])
    labels = ("Distance from V1 (mm)" if space else "Time after onset (s)", "Half time (% of training)")
    names = rows["unit"].astype(str).tolist() if space else None
    return PaperPanel(
        number, title,
        f"One point per {'area' if space else 'window'}; {_failures(table)}. Line with its 95 % bootstrap band.",
        lambda: figures.scatter_with_fit(
            rows["x"].to_numpy(float), rows["percent"].to_numpy(float), labels=labels, names=names,
            statistics={str(k): v for k, v in found.as_attrs().items()}, title=with_simulated(title, training),
        ),
    )  # fmt: skip


def _failures(table: pd.DataFrame) -> str:
    failed = table.loc[table["failure"].astype(str) != "", "failure"].astype(str)
    if failed.empty:
        return "every one has a half time"
    kinds = failed.str.replace(r"[\d.]+%?|\(.*?\)", "", regex=True).str.split().str.join(" ").value_counts()
    return f"{len(failed)} of {len(table)} have none (most often: {kinds.index[0]})"


def _distances(member: Member) -> pd.Series:
    targets = member.results.targets("fmri")
    if not {"x", "y", "z"} <= set(targets.columns):
        return pd.Series(dtype=float)
    return distance_to(targets)


def _figure_8(training: Sequence[Member], properties: Mapping[str, pd.Series]) -> Iterator[PaperPanel]:
    if len(training) < 4 or not has(training, "fmri"):
        for key, label in PROPERTIES.items():
            yield absent_panel("8", f"Half time and {key}", f"{NO_TRAINING} Label of the axis: {label}.")
        return
    names = sorted(set(training[-1].results.targets("fmri")["roi"].astype(str)) - {""})
    table = data.training_half_times(data.cells_over_training(training, "fmri", "roi", names))
    known = table.dropna(subset=["percent"]).set_index("unit")["percent"]
    for key, label in PROPERTIES.items():
        if key not in properties:
            where = "give a folder with its map by --maps"
            yield absent_panel(
                "8", f"Half time and {key}", f"Needs a map of {label.lower()} by HCP-MMP1 area; {where}."
            )
            continue
        yield from _property_panels(key, label, properties[key], known, training)


def _property_panels(
    key: str, label: str, values: pd.Series, half: pd.Series, training: Sequence[Member]
) -> Iterator[PaperPanel]:
    shown = {str(area): float(value) for area, value in values.items() if np.isfinite(value)}
    yield PaperPanel(
        "8", f"Map of {key}", f"{label}, mean of each area (measured).",
        lambda: figures.property_map(shown, label, title=f"{label} (measured)", hemispheres=_sides(training)),
    )  # fmt: skip
    title = f"Half time and {key}"
    both = [area for area in half.index if area in shown]
    try:
        row = compare_properties(half.loc[both], {key: values}, cortex_areas(), options=SpinOptions(500)).iloc[0]
    except InputError as error:
        yield absent_panel("8", title, f"Needs more areas with a half time: {error}")
        return
    statistics = {name: float(row[name]) for name in ("r", "low", "high", "rho")} | {"p": float(row["spin_p"])}
    yield PaperPanel(
        "8", title,
        "One point per area with a half time; p: spin test (500 rotations). The property is measured, half times are "
        f"{data_word(training)}.",
        _scatter(both, shown, half, (label, "Half time (% of training)"), statistics, with_simulated(title, training)),
    )  # fmt: skip


def _scatter(
    areas: Sequence[str],
    values: Mapping[str, float],
    half: pd.Series,
    labels: tuple[str, str],
    statistics: Mapping[str, float],
    title: str,
) -> Callable[[], Figure]:
    x = np.array([values[area] for area in areas])
    y = half.loc[list(areas)].to_numpy(float)
    return lambda: figures.scatter_with_fit(x, y, labels=labels, names=list(areas), statistics=statistics, title=title)
