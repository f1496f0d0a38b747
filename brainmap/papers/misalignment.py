"""Every panel of Study A (Raugel et al. 2026): gradients and activations against fMRI and MEG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from brainmap.common.names import signal_name
from brainmap.papers import paper_tables
from brainmap.papers.control_panels import paper_control_panels
from brainmap.papers.paper_panel import (
    PaperPanel,
    absent_panel,
    grid_views,
    has,
    n_subjects,
    no_scores,
    no_training,
    one_sided,
    sem_over,
    with_simulated,
)
from brainmap.report import figures
from brainmap.report.cortex.values_on_mesh import HEMISPHERES, Cortex, cortex_of, load_cortex, on_areas, on_vertices
from brainmap.report.figures.map_scales import MapScale, gain_scale, score_scale
from brainmap.report.figures.maps import LANDMARKS
from brainmap.report.panels.order_gain_controls import order_words
from brainmap.report.words.p_and_numbers import STARS
from brainmap.results import collection_tables, lookups
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import RESIDUAL, residual_over, residual_spread
from brainmap.results.lookups import stimulus_span

SIGNALS = ("activation", "gradient")
PAPER_MODELS = ("DINOv3-S", "ViT-MAE", "ViT-L/16", "ConvNeXt-L", "ResNet-50", "OWL-ViT", "CLIP", "SigLIP 2")
NO_MODEL = "Needs one study with trained weights, activations and gradients; this run has none."
MEANS = {
    "fmri": "Mean over subjects and over the vertices that are significant {where}{residual}.",
    "meg": "Mean over subjects at the time with the highest score, which is above 0 by this choice alone.",
}
SHORT = {"activation": "Forward", "gradient": "Backward", "residual": "Residual"}


def misalignment_panels(collection: Collection) -> list[PaperPanel]:
    """Return the panels of Study A in the order of the paper.

    Parameters
    ----------
    collection : Collection
        Studies of the preset ``misalignment``: parts ``training``, ``models`` and ``robustness``.

    Returns
    -------
    list of PaperPanel
        All of them; a panel whose data are absent says which.

    Examples
    --------
    >>> from brainmap.papers import misalignment_panels
    >>> from brainmap.results.collection import Collection
    >>> [panel.number for panel in misalignment_panels(Collection([]))][:3]
    ['2A', '2B', '2C']
    """
    training = collection_tables.ordered_by_step(collection.part("training"))
    models = [m for m in collection.part("models") if m.settings.get("weights") != "untrained"]
    main = collection_tables.end_of_training(collection) or models[:1]
    panels = list(_figure_2(main[0]) if main else _absent_2())
    panels += _figure_3(models or main)
    panels += _figure_4(models or main)
    panels += _figure_5(training)
    panels += _figures_6_and_7(training)
    panels += _figure_s1(models)
    panels += _figure_s2(collection.part("robustness"))
    panels += paper_control_panels(models or main)
    return panels


def best_layer_panel(number: str, member: Member, signal: str) -> PaperPanel:
    """Panel: map of the best layer, smoothed as in Study A. A 2A–B; B 3A."""
    title = f"{SHORT[signal]}: best layer of each vertex"
    results = member.results
    return PaperPanel(
        number,
        title,
        "Depth of the best layer, smoothed over the mesh (three passes of neighbour averaging, weight 0.3); grey: not "
        "significant. Last row: cortex laid flat. "
        f"Outlines: {', '.join(LANDMARKS)}.{one_sided(results.targets('fmri'))}",
        lambda: figures.best_layer_map(
            lookups.best_layers(results, signal)[1],
            results.targets("fmri"),
            title=with_simulated(title, [member]),
            hemispheres=HEMISPHERES,
            flat=True,
        ),
    )


def distance_panel(number: str, member: Member, signal: str) -> PaperPanel:
    """Panel: distance from V1 against best layer. A 2C–D; B 3E."""
    title = f"{SHORT[signal]}: best layer and distance"
    table = lookups.hierarchy_table(member.results, "spatial", signal)
    if table is None:
        return absent_panel(number, title, "Needs at least four areas with coordinates and significant scores.")
    return PaperPanel(
        number,
        title,
        f"One point per area ({len(table)}). {order_words(table)}",
        lambda: figures.distance_vs_best_layer(table, signal, title=with_simulated(title, [member])),
    )


def curves_panel(number: str, member: Member, signal: str) -> PaperPanel:
    """Panel: r(t) of every layer. A 2E–F."""
    title = f"{SHORT[signal]}: MEG score by layer"
    results = member.results
    scores = lookups.averaged_over(results, "meg", "time").sel(signal=signal)
    return PaperPanel(
        number,
        title,
        f"One curve per layer, mean over sensors; bands: {sem_over(scores.sizes['subject'])}; rows below: "
        "times at which a layer is above chance (p < .05, false discovery rate over time). Grey: photograph shown.",
        lambda: figures.layer_curves(
            scores, results.depths("meg"), significance=lookups.time_marks(results, signal),
            stimulus=stimulus_span(results), title=with_simulated(title, [member]),
        ),
    )  # fmt: skip


def _figure_2(member: Member) -> Iterator[PaperPanel]:
    for makers, modality, numbers in (
        (best_layer_panel, "fmri", ("2A", "2B")),
        (distance_panel, "fmri", ("2C", "2D")),
        (curves_panel, "meg", ("2E", "2F")),
    ):
        for number, signal in zip(numbers, SIGNALS, strict=True):
            if has([member], modality, signal):
                yield makers(number, member, signal)
            else:
                yield absent_panel(number, f"{SHORT[signal]}", no_scores(modality, signals=SIGNALS))


def _absent_2() -> Iterator[PaperPanel]:
    for number in ("2A", "2B", "2C", "2D", "2E", "2F"):
        yield absent_panel(number, "Where and when each layer predicts", NO_MODEL)


def _figure_3(models: Sequence[Member]) -> Iterator[PaperPanel]:
    have = [str(m.settings["model"]) for m in models]
    absent = f"The paper has eight models ({', '.join(PAPER_MODELS)}); here are the {len(have)} with weights at hand."
    for modality, word in (("meg", "MEG"), ("fmri", "fMRI")):
        title = f"Models, last layer: {word}"
        if not has(models, modality, *SIGNALS):
            yield absent_panel("3", title, no_scores(modality, signals=SIGNALS) if models else NO_MODEL)
            continue
        table = collection_tables.models_table(models, modality)
        yield PaperPanel(
            "3",
            title,
            f"{_mean_words(models, modality, 'with any of the models')} Lines: "
            f"{sem_over(n_subjects(models, modality))}; residual: gain of gradients over {residual_over(models)}"
            f"{_spread(table)}. {STARS} {absent}",
            _bars(table, with_simulated(title, models)),
        )


def _mean_words(members: Sequence[Member], modality: str, where: str) -> str:
    """Say over what scores are means; gains of gradients once were kept by area only."""
    return MEANS[modality].format(where=where, residual="" if by_vertex(members) else " (residual: over all areas)")


def _spread(table: pd.DataFrame) -> str:
    said = residual_spread(table)
    return f", {said}" if said else ""


def _bars(table: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: figures.model_bars(table, title=title)


def _figure_4(models: Sequence[Member]) -> Iterator[PaperPanel]:
    which = f"{len(models)} models" if len(models) > 1 else "one model"
    over = ", mean over subjects" + (" and models" if len(models) > 1 else "")
    title = f"Last layer, {which}: where"
    if has(models, "fmri", *SIGNALS):
        yield PaperPanel(
            "4",
            title,
            f"Score of the last layer, and gain of gradients over {residual_over(models)} {gain_words(models)}{over}, "
            "also of models in which a place is not significant; grey: significant in none."
            f"{grid_views(models[0].results.targets('fmri'))}",
            lambda: _maps({"": models}, with_simulated(title, models)),
        )
    else:
        yield absent_panel("4", title, no_scores("fmri", signals=SIGNALS) if models else NO_MODEL)
    title_when = f"Last layer, {which}: when"
    if has(models, "meg", *SIGNALS):
        band = sem_over(len(models), "model") if len(models) > 1 else sem_over(n_subjects(models, "meg"))
        yield PaperPanel(
            "4",
            title_when,
            f"Residual: gain of gradients over {residual_over(models)}. Bands: {band} (residual of one model: its 95 % "
            "interval). Bars below: p < .05, corrected over time, in every model.",
            lambda: figures.stage_curves(
                {"": paper_tables.mean_courses(models)}, stimulus=stimulus_span(models[0].results),
                title=with_simulated(title_when, models),
            ),
        )  # fmt: skip
    else:
        yield absent_panel("4", title_when, no_scores("meg", signals=SIGNALS) if models else NO_MODEL)


def _maps(stages: dict[str, Sequence[Member]], title: str) -> Figure:
    """Rows: forward, backward, residual; columns: stages."""
    first = next(iter(stages.values()))[0].results
    targets = first.targets("fmri")
    cortex = cortex_of(targets) or load_cortex()
    sides = [side for side in ("L", "R") if side in set(targets["hemisphere"])]
    rows = {}
    for signal in SIGNALS:
        values = {name: _mean_map(members, signal) for name, members in stages.items()}
        scale = score_scale(np.concatenate(list(values.values())), signal)
        cells = {name: on_vertices(value, targets, cortex) for name, value in values.items()}
        rows[SHORT[signal]] = (scale, cells)
    rows[SHORT[RESIDUAL]] = _gain_row(stages, targets, cortex, sides)
    return figures.map_grid(rows, title=title, cortex=cortex, flat=True)


def _mean_map(members: Sequence[Member], signal: str) -> np.ndarray:
    """Mean over all models of the last layer's map; NaN where it is significant in none of them."""
    maps_of = [paper_tables.last_layer_map(member.results, signal) for member in members]
    return paper_tables.mean_where_any([r for r, _ in maps_of], [shown for _, shown in maps_of])


def _gain_row(
    stages: dict[str, Sequence[Member]], targets: pd.DataFrame, cortex: Cortex, sides: Sequence[str]
) -> tuple[MapScale, dict[str, dict[str, np.ndarray]]]:
    """Gain of gradients vertex by vertex; by area for studies that kept no vertices."""
    if all(by_vertex(members) for members in stages.values()):
        values = {name: _mean_vertex_gain(members) for name, members in stages.items()}
        scale = score_scale(np.concatenate(list(values.values())), RESIDUAL, "Gain in r")
        return scale, {name: on_vertices(value, targets, cortex) for name, value in values.items()}
    gains = {name: _mean_gain(members) for name, members in stages.items()}
    scale = gain_scale(np.array([value for gain in gains.values() for value in gain.values()]))
    return scale, {name: on_areas(gain, cortex, sides) for name, gain in gains.items()}


def by_vertex(members: Sequence[Member]) -> bool:
    """Whether all studies know what gradients add at each vertex."""
    return all("fmri" in member.results.gains for member in members)


def gain_words(members: Sequence[Member]) -> str:
    """Say of what the gain is shown and how it was tested."""
    vertices = "by vertex (p < .05, false discovery rate over vertices)"
    return vertices if by_vertex(members) else "by area (only areas with p < .05, family-wise)"


def _mean_vertex_gain(members: Sequence[Member]) -> np.ndarray:
    """Mean over all models of the gain at each vertex that is significant in one of them."""
    gains = [member.results.gains["fmri"] for member in members]
    return paper_tables.mean_where_any(
        [gain["delta"].values.astype(float) for gain in gains],
        [gain["significant"].values.astype(bool) for gain in gains],
    )


def _mean_gain(members: Sequence[Member]) -> dict[str, float]:
    """Mean over all models of the gain of each area that is significant in one of them."""
    tables = [member.results.residual.get("fmri") for member in members]
    known = [table.assign(unit=table["unit"].astype(str)).set_index("unit") for table in tables if table is not None]
    if not known or len(known) < len(tables):
        return {}
    mean = pd.concat([table["delta"] for table in known], axis=1).mean(axis=1, skipna=False)
    shown = pd.concat([table["significant"] for table in known]).astype(bool).groupby(level=0).any()
    return {str(area): float(value) for area, value in mean[shown.reindex(mean.index)].dropna().items()}


def _figure_5(training: Sequence[Member]) -> Iterator[PaperPanel]:
    for modality, word in (("meg", "MEG"), ("fmri", "fMRI")):
        title = f"Training: last layer, {word}"
        if lacking := no_training(training, 2, modality, signals=SIGNALS):
            yield absent_panel("5", title, lacking)
            continue
        table = collection_tables.scores_over_training(training, modality)
        yield PaperPanel(
            "5",
            title,
            f"{_mean_words(training, modality, 'at the last checkpoint')} Bands: "
            f"{sem_over(n_subjects(training, modality))}; residual: gain of gradients over "
            f"{residual_over(training)}{_spread(table)}.",
            _steps(table, with_simulated(title, training)),
        )  # fmt: skip


def _steps(table: pd.DataFrame, title: str) -> Callable[[], Figure]:
    return lambda: figures.scores_vs_step(table, title=title)


def _figures_6_and_7(training: Sequence[Member]) -> Iterator[PaperPanel]:
    stages = paper_tables.stages_of(training)
    members, why = list(stages.values()), _middle_words(training)
    where, when = "Three stages of training: where", "Three stages of training: when"
    if not (lacking := no_training(training, 3, "fmri", signals=SIGNALS)):
        yield PaperPanel(
            "6",
            where,
            f"Score of the last layer (grey: not significant) and gain of gradients over {residual_over(members)} "
            f"{gain_words(members)}; one scale per row.{grid_views(members[0].results.targets('fmri'))}{why}",
            lambda: _maps({name: [member] for name, member in stages.items()}, with_simulated(where, members)),
        )
    else:
        yield absent_panel("6", where, lacking)
    if not (lacking := no_training(training, 3, "meg", signals=SIGNALS)):
        yield PaperPanel(
            "7",
            when,
            f"Last layer, mean over sensors; residual: gain of gradients over {residual_over(members)}; bands: "
            f"{sem_over(n_subjects(members, 'meg'))} (residual: 95 % interval). Bars below: p < .05, corrected over "
            f"time.{why}",
            lambda: figures.stage_curves(
                {name: paper_tables.signal_courses(member.results) for name, member in stages.items()},
                stimulus=stimulus_span(members[0].results), title=with_simulated(when, members),
            ),
        )  # fmt: skip
    else:
        yield absent_panel("7", when, lacking)


def _middle_words(training: Sequence[Member]) -> str:
    """Say how the stage in the middle was chosen, where several could have been."""
    if len(training) <= 3 or paper_tables.residual_by_step(training).empty:
        return ""
    return " Middle: the checkpoint before the last one at which the residual of figure 5 is highest."


def _figure_s1(models: Sequence[Member]) -> Iterator[PaperPanel]:
    for modality, word, draw in (("fmri", "best layer", _figure_s1_space), ("meg", "MEG by depth", _figure_s1_time)):
        title = f"Figure 2, mean over models: {word}"
        if len(models) < 2:
            here = ", ".join(str(m.settings["model"]) for m in models) or "none"
            sentence = f"Needs two models or more (the paper: {', '.join(PAPER_MODELS)}); here: {here}."
            yield absent_panel("S1", title, sentence)
        elif not has(models, modality, *SIGNALS):
            yield absent_panel("S1", title, no_scores(modality, signals=SIGNALS))
        else:
            for signal in SIGNALS:
                yield from draw(models, signal)


def _figure_s1_space(models: Sequence[Member], signal: str) -> Iterator[PaperPanel]:
    name, n = SHORT[signal], len(models)
    targets = models[0].results.targets("fmri")
    first = f"{name}: best layer, {n} models"
    yield PaperPanel(
        "S1", first, "Depth of the best layer, mean over all models, smoothed as in figure 2; grey: significant in no "
        "model. Where only some models predict a vertex, best layers of the others are noise, and pull to the middle.",
        lambda: figures.best_layer_map(
            paper_tables.mean_depth_map(models, signal), targets, title=with_simulated(first, models),
            hemispheres=HEMISPHERES, flat=True,
        ),
    )  # fmt: skip
    table = paper_tables.mean_spatial(models, signal)
    second = f"{name}, {n} models: distance"
    if table is None:
        yield absent_panel("S1", second, "Needs at least four areas with significant scores in one of the models.")
    else:
        yield PaperPanel(
            "S1", second,
            f"One point per area ({len(table)}): mean of the map beside it; bars: ± SEM over {n} models. "
            f"{order_words(table)}",
            lambda: figures.distance_vs_best_layer(table, signal, title=with_simulated(second, models)),
        )  # fmt: skip


def _figure_s1_time(models: Sequence[Member], signal: str) -> Iterator[PaperPanel]:
    n = len(models)
    scores, depths = paper_tables.depth_courses(models, signal)
    third = f"{SHORT[signal]}: MEG by depth, {n} models"
    yield PaperPanel(
        "S1", third, f"Ten depths, interpolated between the layers of each model; bands: ± SEM over {n} models.",
        lambda: figures.layer_curves(
            scores, depths, stimulus=stimulus_span(models[0].results), title=with_simulated(third, models)
        ),
    )  # fmt: skip


def _figure_s2(collection: Collection) -> Iterator[PaperPanel]:
    members = list(collection)
    for modality, word in (("meg", "MEG"), ("fmri", "fMRI")):
        title = f"Robustness, {signal_name('gradient').lower()}, {word}"
        grid = collection_tables.robustness(collection, modality) if has(members, modality, "gradient") else None
        if grid is None:
            sentence = "Needs studies over at least two projection and two PCA dimensions (part 'robustness')."
            yield absent_panel("S2", title, sentence)
            continue
        yield PaperPanel(
            "S2",
            title,
            "Score of the last layer over the dimensions of random projection and PCA; below it: "
            f"{sem_over(n_subjects(members, modality))}; outlined: the highest. There are no more components than the "
            "projection has dimensions.",
            _grid(grid, with_simulated(title, members)),
        )


def _grid(grid: xr.DataArray, title: str) -> Callable[[], Figure]:
    labels = ("PCA dimension", "Projection dimension")
    return lambda: figures.grid_heatmap(grid, labels=labels, title=title, signal="gradient")
