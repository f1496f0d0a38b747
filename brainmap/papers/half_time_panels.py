"""Study B, figures 5 and 8: when areas and moments are learned, and what that has to do with the cortex."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.errors import InputError
from brainmap.hierarchy import agreement
from brainmap.papers import paper_tables, training_scores
from brainmap.papers.paper_panel import (
    PaperPanel,
    absent_panel,
    data_word,
    interval_over,
    no_training,
    sem_over,
    with_simulated,
)
from brainmap.papers.property_maps import BESIDE, PROPERTIES
from brainmap.report import figures
from brainmap.report.cortex.values_on_mesh import cortex_of
from brainmap.results import lookups
from brainmap.results.collection import Member
from brainmap.results.lookups import stimulus_span

ACTIVATION = "activation"
PERCENT, HALF = "Training (% of all steps)", "Half time (% of training)"


def figure_5(training: Sequence[Member]) -> Iterator[PaperPanel]:
    """Panels 5A–F: areas (A, C, E) need fMRI, time windows (B, D, F) need MEG."""
    space, time = _half_times_in_space(training), _half_times_in_time(training)
    for in_space, in_time in zip(space, time, strict=True):  # 5A, 5B, 5C, …
        yield from (in_space, in_time)


def _half_times_in_space(training: Sequence[Member]) -> list[PaperPanel]:
    """Panels 5A, 5C and 5E, which need fMRI."""
    if lacking := no_training(training, 4, "fmri"):
        return [absent_panel(number, "Half times of areas", lacking) for number in ("5A", "5C", "5E")]
    targets = training[-1].results.targets("fmri")
    names = [name for name in paper_tables.ROIS_B if name in set(targets["roi"])]
    areas = training_scores.cells_over_training(training, "fmri", "roi", names)
    near = {
        str(name): float(value) for name, value in training_scores.area_distances(training[-1]).reindex(names).items()
    }
    half = training_scores.area_half_times(training)
    return [
        _share_panel("5A", areas, near, ("Distance from V1 (mm)", "Areas over training"), training),
        _half_time_map(half, training),
        _half_time_scatter("5E", half[half["unit"].isin(names)], near, training),
    ]


def _half_times_in_time(training: Sequence[Member]) -> list[PaperPanel]:
    """Panels 5B, 5D and 5F, which need MEG."""
    if lacking := no_training(training, 4, "meg"):
        return [absent_panel(number, "Half times of MEG windows", lacking) for number in ("5B", "5D", "5F")]
    windows = training_scores.windows_over_training(training)
    centres = {str(unit): float(unit) for unit in windows["unit"].values}
    half = training_scores.training_half_times(windows, training_scores.FIGURES)
    return [
        _share_panel("5B", windows, centres, ("Time window (s)", "MEG windows over training"), training),
        _half_time_curve(half, training),
        _half_time_scatter("5F", half, {unit: float(unit) for unit in half["unit"]}, training),
    ]


def _share_panel(
    number: str, cells: xr.DataArray, values: Mapping[str, float], words: tuple[str, str], training: Sequence[Member]
) -> PaperPanel:
    table = training_scores.in_percent(training_scores.normalised(cells), float(training[-1].step or 1))
    table["unit"] = table["unit"].astype(str)
    known = {name: float(value) for name, value in values.items() if np.isfinite(value)}
    table = table[table["unit"].isin(list(known))]
    if table.empty:
        return absent_panel(number, words[1], "No area or window gains anything from the first checkpoint to the last.")
    return PaperPanel(
        number, words[1],
        "Score at the best layer: 0 at the first checkpoint, 1 at the last; dashed: half of the gain. "
        f"Bands: {sem_over(cells.sizes['subject'])}. Left out: what gains less than a tenth of the most.",
        lambda: figures.normalised_curves(
            table, known, group="unit", label=words[0], title=with_simulated(words[1], training), xlabel=PERCENT
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
        f"When the score has half of its gain in training, {len(known)} of {len(table)} areas; {why}.",
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
    mean = lookups.averaged_over(results, "meg", "time").sel(signal=ACTIVATION).mean("subject")
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
    order = agreement(rows["x"], rows["percent"]).as_attrs()
    if space:
        order |= paper_tables.against_distance(rows.set_index("unit")["percent"])
    made = f"; p: {order['p_method']}" if "p_method" in order else ""
    labels = ("Distance from V1 (mm)" if space else "Time after onset (s)", HALF)
    names = rows["unit"].astype(str).tolist() if space else None
    return PaperPanel(
        number, title,
        f"One point per {'area' if space else 'window'}; {_failures(table)}. Bars: "
        f"{interval_over(table['over'].iloc[0])}, cut at the axes. Line: least squares{made}.",
        lambda: figures.scatter_with_fit(
            rows["x"].to_numpy(float), rows["percent"].to_numpy(float), labels=labels, names=names,
            statistics={str(k): v for k, v in order.items()}, title=with_simulated(title, training),
            interval=rows[["percent_low", "percent_high"]].to_numpy(float).T,
        ),
    )  # fmt: skip


def _failures(table: pd.DataFrame) -> str:
    failed = table.loc[table["failure"].astype(str) != "", "failure"].astype(str)
    if failed.empty:
        return "every one has a half time"
    kinds = failed.str.replace(r"[\d.]+%?|\(.*?\)", "", regex=True).str.split().str.join(" ").value_counts()
    return f"{len(failed)} of {len(table)} have none (most often: {kinds.index[0]})"


def figure_8(training: Sequence[Member], properties: Mapping[str, pd.Series]) -> Iterator[PaperPanel]:
    """Each property of the cortex as a map, and the half times against it: of the paper's areas, and of all."""
    lacking = no_training(training, 4, "fmri")
    half = pd.DataFrame()
    if not lacking:
        half = training_scores.area_half_times(training).dropna(subset=["percent"]).set_index("unit")
    given = {kind: label for kind, label in BESIDE.items() if kind in properties}
    for kind, label in {**PROPERTIES, **given}.items():
        title = f"Half time and {label.split(' (')[0].lower()}"
        if lacking or kind not in properties:
            where = f"give it by --maps {kind}=FILE, or a folder with files named after their kinds"
            yield absent_panel("8", title, lacking or f"Needs a map of {label.lower()} on the fsLR-32k mesh; {where}.")
            continue
        values = {str(area): float(value) for area, value in properties[kind].items() if np.isfinite(value)}
        yield _property_map(kind, label, values, training)
        chosen = [area for area in paper_tables.ROIS_B if area in half.index and area in values]
        every = [area for area in half.index if area in values]
        for areas, words in ((chosen, "the paper's areas"), (every, "all areas")):
            yield _property_scatter(f"{title}, {words}", (label, HALF), areas, values, half, training)


def _property_map(kind: str, label: str, values: Mapping[str, float], training: Sequence[Member]) -> PaperPanel:
    beside = " The paper does not show this map." if kind in BESIDE else ""
    name = label.split(" (")[0]
    return PaperPanel(
        "8", f"Map of {name.lower()}", f"{label}, mean of each area (measured).{beside}",
        lambda: figures.property_map(values, label, title=f"{name} (measured)", hemispheres=_sides(training)),
    )  # fmt: skip


def _property_scatter(
    title: str,
    labels: tuple[str, str],
    areas: Sequence[str],
    values: Mapping[str, float],
    half: pd.DataFrame,
    training: Sequence[Member],
) -> PaperPanel:
    try:
        statistics = paper_tables.against_property(half.loc[list(areas), "percent"], pd.Series(values))
    except InputError as error:
        return absent_panel("8", title, f"Needs more areas with a half time: {error}")
    return PaperPanel(
        "8", title,
        f"One point per area with a half time (half of the gain), {len(areas)}; bars: "
        f"{interval_over(half['over'].iloc[0])}, cut at the axes; "
        f"p: {statistics['p_method']}. The property is measured, half times are "
        f"{data_word(training)}.",
        _scatter(areas, values, half, labels, statistics, with_simulated(title, training)),
    )  # fmt: skip


def _scatter(
    areas: Sequence[str],
    values: Mapping[str, float],
    half: pd.DataFrame,
    labels: tuple[str, str],
    statistics: Mapping[str, Any],
    title: str,
) -> Callable[[], Figure]:
    x = np.array([values[area] for area in areas])
    y, *bars = half.loc[list(areas), ["percent", "percent_low", "percent_high"]].to_numpy(float).T
    return lambda: figures.scatter_with_fit(
        x, y, labels=labels, names=list(areas), statistics=statistics, title=title, interval=np.stack(bars)
    )
