"""Every panel of Study B (Raugel et al. 2025): encoding, spatial and temporal score, training, size, image type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmap.papers import paper_tables, training_scores
from brainmap.papers.control_panels import paper_control_panels
from brainmap.papers.factor_panels import SIZES, TYPES, factor_panels
from brainmap.papers.half_time_panels import ACTIVATION, PERCENT, figure_5, figure_8
from brainmap.papers.misalignment import best_layer_panel, distance_panel
from brainmap.papers.paper_panel import (
    PaperPanel,
    absent_panel,
    grid_views,
    has,
    interval_over,
    n_subjects,
    no_scores,
    no_training,
    one_sided,
    sem_over,
    with_simulated,
)
from brainmap.report import figures
from brainmap.report.cortex.values_on_mesh import HEMISPHERES, cortex_of, load_cortex, on_vertices
from brainmap.report.figures.map_scales import depth_scale, score_scale
from brainmap.report.panels.order_gain_controls import order_words
from brainmap.report.words import headlines
from brainmap.results import collection_tables, lookups
from brainmap.results.collection import Collection, Member
from brainmap.results.lookups import stimulus_span

NO_PAIR = "Needs the scores of untrained weights and of a later checkpoint of one model; this run has not both."


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

    Examples
    --------
    >>> from brainmap.papers import convergence_panels
    >>> from brainmap.results.collection import Collection
    >>> [panel.number for panel in convergence_panels(Collection([]))][:3]
    ['2A', '2B', '3A']
    """
    training = collection_tables.ordered_by_step(collection.part("training"))
    main = collection_tables.end_of_training(collection) or list(collection)[:1]
    panels = list(_figures_2_and_3(main))
    panels += _figure_4(training, main)
    panels += figure_5(training)
    panels += [*factor_panels(SIZES, collection), *factor_panels(TYPES, collection)]
    panels += figure_8(training, properties or {})
    panels += paper_control_panels(main)
    return panels


def _figures_2_and_3(main: Sequence[Member]) -> Iterator[PaperPanel]:
    """Panels of one study, or none; each needs one kind of responses only."""
    panels: tuple[tuple[str, str, str, Callable[[Member], PaperPanel]], ...] = (
        ("2A", "fmri", "Encoding score of each vertex", _score_map),
        ("2B", "meg", "MEG: score over time", _meg_curve),
        ("3A", "fmri", "Best layer of each vertex", lambda member: best_layer_panel("3A", member, ACTIVATION)),
        ("3B", "meg", "MEG: normalised score of each layer", _normalised_curves),
        ("3C", "fmri", "Layers in three areas", _area_bars),
        ("3D", "meg", "Layers in three time windows", _window_bars),
        ("3E", "fmri", "Best layer and distance", lambda member: distance_panel("3E", member, ACTIVATION)),
        ("3F", "meg", "Layer depth and T_max", _temporal),
    )
    for number, modality, title, make in panels:
        yield make(main[0]) if has(main, modality) else absent_panel(number, title, no_scores(modality))


def _score_map(member: Member) -> PaperPanel:
    title, results = "Encoding score of each vertex", member.results
    return PaperPanel(
        "2A", title,
        "Best layer of each vertex, mean over splits and subjects; last row: cortex laid flat; grey: not "
        f"significant.{one_sided(results.targets('fmri'))}",
        lambda: figures.score_map(
            lookups.best_layers(results, ACTIVATION)[2], results.targets("fmri"), ACTIVATION,
            title=with_simulated(title, [member]), hemispheres=HEMISPHERES, flat=True,
        ),
    )  # fmt: skip


def _meg_curve(member: Member) -> PaperPanel:
    title, results = "MEG: score over time", member.results
    courses = lookups.averaged_over(results, "meg", "time").sel(signal=ACTIVATION)
    best = int(courses.mean("subject").max("time").argmax("layer"))
    marks = lookups.time_marks(results, ACTIVATION)
    shown = None if marks is None else {ACTIVATION: marks.isel(layer=best).values}
    return PaperPanel(
        "2B", title,
        f"Layer with the highest peak ({headlines.layer_name(str(courses['layer'].values[best]))}), mean over sensors; "
        f"band: {_sem(member, 'meg')}. Bar below: p < .05, false discovery rate over time.",
        lambda: figures.signal_curves(
            {ACTIVATION: courses.isel(layer=best)}, significance=shown, stimulus=stimulus_span(results),
            title=with_simulated(title, [member]),
        ),
    )  # fmt: skip


def _normalised_curves(member: Member) -> PaperPanel:
    title, results = "MEG: normalised score of each layer", member.results
    table = paper_tables.temporal_table(results)
    peaks = None if table is None else table["t_max"].to_numpy(float)
    return PaperPanel(
        "3B", title,
        f"R̃ = R / max R of each layer's mean curve; bands: {_sem(member, 'meg')}; triangles: T_max, the middle of the "
        "window in which R̃ ≥ 95 %.",
        lambda: figures.layer_curves(
            paper_tables.normalised_courses(results), results.depths("meg"), peaks=peaks,
            stimulus=stimulus_span(results),
            title=with_simulated(title, [member]), ylabel="Normalised score R / max R",
        ),
    )  # fmt: skip


def _area_bars(member: Member) -> PaperPanel:
    title, results = "Layers in three areas", member.results
    tables = {area: paper_tables.layer_area_bars(results, area) for area in paper_tables.AREAS_B}
    known = {area: table for area, table in tables.items() if table is not None}
    if not known:
        return absent_panel(
            "3C", title, f"Needs the areas {', '.join(paper_tables.AREAS_B)}; the targets have none of them."
        )
    return PaperPanel(
        "3C", title,
        f"R̃ = R / max R: score of each layer as a share of that layer's maximum over {_areas_words(member)}; outlined: "
        f"the highest; lines: {_sem(member, 'fmri')}.",
        lambda: figures.layer_bars(known, title=with_simulated(title, [member]), ylabel=OVER_AREAS),
    )  # fmt: skip


def _window_bars(member: Member) -> PaperPanel:
    title, results = "Layers in three time windows", member.results
    tables = {name: paper_tables.layer_course_bars(results, span) for name, span in paper_tables.WINDOWS.items()}
    return PaperPanel(
        "3D", title,
        "R̃ = R / max R: score of each layer as a share of that layer's maximum over time; outlined: the highest; "
        f"lines: {_sem(member, 'meg')}.",
        lambda: figures.layer_bars(tables, title=with_simulated(title, [member]), ylabel=OVER_TIME),
    )  # fmt: skip


OVER_AREAS, OVER_TIME = "R / max R over areas", "R / max R over time"


def _areas_words(member: Member) -> str:
    here = len(paper_tables.known_areas(member.results))
    n = len(paper_tables.ROIS_B)
    return f"the {n} areas of the paper" if here == n else f"those {here} of the paper's {n} areas that hold targets"


def _sem(member: Member, modality: str) -> str:
    return sem_over(n_subjects([member], modality))


def _temporal(member: Member) -> PaperPanel:
    title = "Layer depth and T_max"
    table = paper_tables.temporal_table(member.results)
    if table is None:
        return absent_panel("3F", title, "Needs at least four layers that predict something after onset.")
    return PaperPanel(
        "3F", title.replace("T_max", "Tmax"),
        f"One point per layer; bars: {interval_over(table.attrs.get('unit'))}. {order_words(table)}",
        lambda: figures.depth_vs_peak_time(
            table, ACTIVATION, title=with_simulated("Layer depth and peak time", [member])
        ),
    )  # fmt: skip


def early_and_late(training: Sequence[Member], main: Sequence[Member]) -> dict[str, Member]:
    """Return untrained weights and the checkpoint nearest to 68 % of training, under their names."""
    if len(training) == 1 and training[0].step == 0 and main and main[0].step is None:  # weights as released
        return {"0 %": training[0], "100 % of training": main[0]}
    if len(training) < 2 or training[0].step != 0:
        return {}
    last = int(training[-1].step or 0)
    late = min(training[1:], key=lambda member: abs(int(member.step or 0) - 0.68 * last))
    return {"0 %": training[0], f"{100 * int(late.step or 0) / last:.0f} % of training": late}


def _figure_4(training: Sequence[Member], main: Sequence[Member]) -> Iterator[PaperPanel]:
    pair = early_and_late(training, main)
    members = list(pair.values())
    where = "Before and after training: score and best layer"
    if pair and has(members, "fmri"):
        yield PaperPanel(
            "4A, 4C", where,
            f"Upper row: score at the best layer; lower row: its depth; grey: not significant."
            f"{grid_views(members[0].results.targets('fmri'))} {_late(pair)}",
            lambda: _training_maps(pair, with_simulated(where, members)),
        )  # fmt: skip
    else:
        yield absent_panel("4A, 4C", where, no_scores("fmri") if pair else NO_PAIR)
    when = "Before and after training: MEG"
    if pair and has(members, "meg"):
        yield PaperPanel(
            "4B, 4D", when,
            f"R̃ = R / max R of every layer's mean curve; bands: {sem_over(n_subjects(members, 'meg'))}. {_late(pair)}",
            lambda: figures.stage_layer_curves(
                {name: paper_tables.normalised_courses(m.results) for name, m in pair.items()},
                members[0].results.depths("meg"), stimulus=stimulus_span(members[0].results),
                title=with_simulated(when, members), ylabel="R / max R",
            ),
        )  # fmt: skip
    else:
        yield absent_panel("4B, 4D", when, no_scores("meg") if pair else NO_PAIR)
    scores = "Three scores over training"
    if lacking := no_training(training, 4, "fmri", "meg"):
        yield absent_panel("4E", scores, lacking)
        return
    by_subject = training_scores.three_scores(training)
    table, curves = training_scores.normalised_scores(by_subject, training_scores.score_half_times(by_subject))
    if table.empty:
        yield absent_panel("4E", scores, "No score changes from the first checkpoint to the last.")
        return
    yield PaperPanel(
        "4E", scores,
        f"0: first checkpoint, 1: last; lines: {sem_over(by_subject.sizes['subject'])}, each scored alone. Curves: "
        "sigmoids in log step, dotted where none fits; diamonds: half of the gain, with 95 % intervals over subjects. "
        "Untrained weights stand left of the first step.",
        lambda: figures.score_sigmoids(table, curves, title=with_simulated(scores, training), xlabel=PERCENT),
    )  # fmt: skip


def _late(pair: Mapping[str, Member]) -> str:
    """Say so where no checkpoint is near to the 68 % of training that the paper shows."""
    late = list(pair)[-1]
    near = abs(float(late.split(" ")[0]) - 68.0) <= 5.0
    return "" if near else f"The paper shows 68 %; the checkpoint nearest to that is at {late}."


def _training_maps(pair: Mapping[str, Member], title: str) -> Figure:
    best = {name: lookups.best_layers(member.results, ACTIVATION) for name, member in pair.items()}
    targets = {name: member.results.targets("fmri") for name, member in pair.items()}
    cortex = cortex_of(next(iter(targets.values()))) or load_cortex()
    scale = score_scale(np.concatenate([top for _, _, top in best.values()]), ACTIVATION)
    score = {name: on_vertices(top, targets[name], cortex) for name, (_, _, top) in best.items()}
    depth = {name: on_vertices(value, targets[name], cortex) for name, (_, value, _) in best.items()}
    rows = {"Score": (scale, score), "Best layer": (depth_scale(), depth)}
    return figures.map_grid(rows, title=title, cortex=cortex, flat=True)
