"""Study B, figures 6 (model size) and 7 (image type): the same panels for either factor, drawn from its levels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from brainmap.hierarchy import HalfTime, factor_table, mixed_models
from brainmap.hierarchy.mixed_models import LevelTest
from brainmap.papers import factor_levels, paper_tables
from brainmap.papers.factor_levels import ACTIVATION, SCORES
from brainmap.papers.paper_panel import PaperPanel, absent_panel, count_of, has, sem_over, with_simulated
from brainmap.papers.training_scores import FIGURES, drawn_curve
from brainmap.report import figures
from brainmap.report.cortex.values_on_mesh import HEMISPHERES, cortex_of, load_cortex
from brainmap.report.words.p_and_numbers import format_p
from brainmap.results.collection import Collection, Member


@dataclass(frozen=True)
class Factor:
    """A factor that Study B varies.

    Attributes
    ----------
    part : str
        Part of the study file that holds its levels, and option of the command line.
    number, title, noun : str
        Number of the figure, and what the factor is called.
    paper : str
        Levels of the paper.
    driver : str
        What the model that drives the sample's simulated brains is in this respect.
    ordered : bool
        Whether the levels have an order, in which they are then given.
    """

    part: str
    number: str
    title: str
    noun: str
    paper: str
    driver: str
    ordered: bool


SIZES = Factor("sizes", "6", "Model size", "size", "DINOv3 S, B, L and G", "width 96", ordered=True)
TYPES = Factor(
    "types",
    "7",
    "Image type",
    "image type",
    "human-centred, satellite and cellular images",
    "photographs",
    ordered=False,
)


def factor_panels(factor: Factor, collection: Collection) -> list[PaperPanel]:
    """Return the panels of one factor: scores over training, final scores, map and bars of areas.

    Parameters
    ----------
    factor : Factor
        Model size or image type.
    collection : Collection
        Studies; those of the part ``factor.part`` count.

    Returns
    -------
    list of PaperPanel
        Of A to D at least one each; with fewer than two levels each says what to supply, and how.
    """
    levels = factor_levels.levels_of(collection, factor.part)
    sentence = unusable(factor, levels)
    if sentence:
        what = ("scores over training", "final scores", "key of the areas", "areas")
        return [
            absent_panel(f"{factor.number}{letter}", f"{factor.title}: {word}", sentence)
            for letter, word in zip("ABCD", what, strict=True)
        ]
    scores = factor_levels.level_scores(levels)
    finals = {level: members[-1] for level, members in levels.items()}
    return [
        _curves(factor, scores, levels),
        _final_scores(factor, scores, finals),
        *_areas(factor, finals),
    ]


DRIVER = (
    "The simulated brains are driven by dino-tiny, of width 96 and trained on photographs: "
    "an advantage of {} is built in."
)
"""Of the sample, see :func:`brainmap.study.inputs.sample_drive`; ``{}`` is the level that is like it."""


def built_in(factor: Factor, members: Sequence[Member]) -> str:
    """Say what drives simulated brains, which decides what the factor finds; empty where responses are real."""
    if not any(member.results.simulated for member in members):
        return ""
    return " " + DRIVER.format(factor.driver)


def unusable(factor: Factor, levels: Mapping[str, Sequence[Member]]) -> str:
    """Return the sentence that says what to supply for a factor, and how; empty where the levels can be compared."""
    if len(levels) > 1:
        return factor_levels.repeated_step(levels)
    here = f"here is only {next(iter(levels))}" if levels else "here is none"
    order = ", from small to large" if factor.ordered else ""
    return (
        f"Needs models of at least two {factor.noun}s (the paper: {factor.paper}); {here}. Give each{order}, by "
        f"--{factor.part} NAME=FOLDER, a folder with its training checkpoints."
    )


def _members(levels: Mapping[str, Sequence[Member]]) -> list[Member]:
    return [member for members in levels.values() for member in members]


def _curves(factor: Factor, scores: pd.DataFrame, levels: Mapping[str, Sequence[Member]]) -> PaperPanel:
    number, title = f"{factor.number}A", f"{factor.title}: scores over training"
    table = scores.dropna(subset=["step"])
    if table.groupby("level")["step"].nunique().max() < 2 or table.empty:
        return absent_panel(
            number, title, f"Needs training checkpoints of each {factor.noun}; here is one step of each. Give folders "
            f"with checkpoints named by their step: --{factor.part} NAME=FOLDER.",
        )  # fmt: skip
    halves = factor_levels.level_half_times(table, FIGURES)
    fits = {
        (SCORES[score], level): drawn_curve(half, _steps_of(table, score, level))
        for (score, level), half in halves.items()
        if not half.failure
    }
    drawn = _named(factor_levels.over_subjects(table, ["score", "level", "step"]))
    return PaperPanel(
        number, title,
        f"Mean over {count_of(_count(table))}; lines: {sem_over(_count(table))}. {SCORE_WORDS} Curves: sigmoids in log "
        f"step, where one fits; else dotted. {_half_time_words(halves)}{built_in(factor, _members(levels))}",
        lambda: figures.factor_curves(
            drawn, fits, ordered=factor.ordered, title=with_simulated(title, _members(levels))
        ),
    )  # fmt: skip


SCORE_WORDS = (
    "Encoding: best layer; fMRI: vertices significant with the last checkpoint of any level, MEG: at the best time. "
    "Spatial score: r of best layer and distance from V1; temporal score: r of depth and T_max; both by subject."
)


def _steps_of(table: pd.DataFrame, score: str, level: str) -> np.ndarray:
    rows = table[(table["score"] == score) & (table["level"] == level)]
    return rows["step"].to_numpy(dtype=float)


def _half_time_words(halves: Mapping[tuple[str, str], HalfTime]) -> str:
    if not halves:
        return f"Half times need {factor_levels.MINIMUM_STEPS} checkpoints."
    by_score: dict[str, list[str]] = {}
    for (score, level), half in halves.items():
        by_score.setdefault(score, []).append(f"{level}: none" if half.failure else f"{level}: {half.step:,.0f}")
    lists = "; ".join(f"{SCORES[score]} ({', '.join(words)})" for score, words in by_score.items())
    return f"Half times (diamonds; half of the gain), in steps: {lists}."


def _named(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(score=table["score"].map(SCORES))


def _count(table: pd.DataFrame) -> int:
    return int(table["subject"].nunique())


def _final_scores(factor: Factor, scores: pd.DataFrame, finals: Mapping[str, Member]) -> PaperPanel:
    number, title = f"{factor.number}B", f"{factor.title}: final scores"
    table = scores[scores["final"]]
    if table.empty:
        return absent_panel(number, title, "Needs scores of activations; the studies of these levels have none.")
    by_score = {str(score): rows for score, rows in table.groupby("score", sort=False)}
    tests = {score: mixed_models.compare_levels(rows, ordered=factor.ordered) for score, rows in by_score.items()}
    pairs = {SCORES[score]: differing_neighbours(rows, list(finals)) for score, rows in by_score.items()}
    notes = {SCORES[score]: format_p(test.p) for score, test in tests.items() if test is not None}
    drawn = _named(factor_levels.over_subjects(table, ["score", "level"]))
    return PaperPanel(
        number, title,
        f"Last checkpoint of each {factor.noun}, mean over {count_of(_count(table))}; lines: "
        f"{sem_over(_count(table))}. {SCORE_WORDS} {_test_words(tests, factor)} Brackets: neighbours that differ with "
        f"p < .001, paired over subjects.{built_in(factor, list(finals.values()))}",
        lambda: figures.factor_scores(
            drawn, notes, brackets=pairs, ordered=factor.ordered, title=with_simulated(title, list(finals.values()))
        ),
    )  # fmt: skip


def differing_neighbours(table: pd.DataFrame, levels: Sequence[str], *, below: float = 1e-3) -> list[tuple[str, str]]:
    """Return pairs of neighbouring levels that the mixed model of the two tells apart.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of one score of :func:`brainmap.papers.factor_levels.level_scores`: ``level``, ``subject``, ``r``.
    levels : sequence of str
        All levels in their order.
    below : float
        Highest p, without correction, as the paper's brackets have it.

    Returns
    -------
    list of (str, str)
    """
    pairs = []
    for first, second in itertools.pairwise(levels):
        test = mixed_models.compare_levels(table[table["level"].isin([first, second])], ordered=True)
        if test is not None and test.p < below:
            pairs.append((first, second))
    return pairs


def _test_words(tests: Mapping[str, LevelTest | None], factor: Factor) -> str:
    known = {SCORES[score]: test for score, test in tests.items() if test is not None}
    if not known:
        return "Not tested: too few subjects."
    lists = "; ".join(f"{name}: {factor_levels.words_of_test(test)}" for name, test in known.items())
    return f"p: {QUESTION[factor.ordered].format(factor.noun)} (mixed model, tested over subjects). {lists}."


QUESTION = {True: "does the score change from each {0} to the next?", False: "does the score depend on the {0}?"}


def _areas(factor: Factor, finals: Mapping[str, Member]) -> Iterator[PaperPanel]:
    numbers = {f"{factor.number}C": "key of the areas", f"{factor.number}D": "areas"}
    members = list(finals.values())
    sentence = ""
    if not has(members, "fmri", ACTIVATION):
        sentence = "Needs fMRI responses; the studies of these levels have none."
    elif len({m.results.scores["fmri"].sizes["target"] for m in members}) > 1:
        sentence = "Needs the same fMRI targets for all levels; the studies of these levels differ in them."
    if sentence:
        for number, word in numbers.items():
            yield absent_panel(number, f"{factor.title}: {word}", sentence)
        return
    yield _key(factor, finals)
    yield _map(factor, finals)
    yield _area_bars(factor, finals)


def significant_areas(members: Sequence[Member]) -> list[str]:
    """Return the areas that any study predicts in at least one significant target."""
    mask = factor_levels.common_targets(members)
    names = np.array(list(map(str, members[0].results.scores["fmri"]["roi"].values)))
    kept = names if mask is None else names[mask]
    return sorted(set(kept.tolist()) - {""})


def level_difference(factor: Factor, scores: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Return what the map shows, dims (area): last minus first size, or first image type minus the mean of the others.

    Returns
    -------
    difference : xr.DataArray
        Mean over subjects.
    words : str
        What is subtracted from what.
    """
    mean = scores.mean("subject")
    names = [str(name) for name in mean["level"].values]
    if factor.ordered or len(names) == 2:
        minuend, subtrahend = (names[-1], names[0]) if factor.ordered else (names[0], names[1])
        return mean.sel(level=minuend, drop=True) - mean.sel(level=subtrahend, drop=True), f"{minuend} − {subtrahend}"
    others = mean.isel(level=slice(1, None)).mean("level")
    return mean.isel(level=0, drop=True) - others, f"{names[0]} − mean of {' and '.join(names[1:])}"


def area_colors(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each of the paper's areas, the same in map and bars."""
    wheel = colormaps["tab20"]
    return {name: to_hex(wheel(i)) for i, name in enumerate(paper_tables.FACTOR_AREAS) if name in names}


def _key(factor: Factor, finals: Mapping[str, Member]) -> PaperPanel:
    number, title = f"{factor.number}C", f"{factor.title}: key of the areas"
    members = list(finals.values())
    targets = members[0].results.targets("fmri")
    cortex = cortex_of(targets) or load_cortex()
    names = paper_tables.known_areas(members[0].results, paper_tables.FACTOR_AREAS)
    colors = area_colors([name for name in names if name in set(cortex.names.values())])
    if not colors:
        return absent_panel(number, title, "Needs areas of HCP-MMP1 to draw on; the targets have none of them.")
    sides = [side for side in HEMISPHERES if side in set(targets.get("hemisphere", ()))] or list(HEMISPHERES)
    return PaperPanel(
        number, title,
        f"The {len(colors)} areas of the bars beside it; the paper has {len(paper_tables.FACTOR_AREAS)}.",
        lambda: figures.area_key_map(colors, title=title, hemispheres=sides, cortex=cortex),
    )  # fmt: skip


def _map(factor: Factor, finals: Mapping[str, Member]) -> PaperPanel:
    number, title = f"{factor.number}C", f"{factor.title}: difference by area"
    members = list(finals.values())
    names = significant_areas(members)
    targets = members[0].results.targets("fmri")
    cortex = cortex_of(targets) or load_cortex()
    if not set(cortex.names.values()) & set(names):
        return absent_panel(number, title, "Needs areas of HCP-MMP1 to draw on; the targets have none of them.")
    gain, words = level_difference(factor, factor_levels.area_scores(finals, names))
    values = dict(zip(names, gain.values.astype(float).tolist(), strict=True))
    sides = [side for side in HEMISPHERES if side in set(targets.get("hemisphere", ()))] or list(HEMISPHERES)
    return PaperPanel(
        number, title,
        f"Difference of the score at each area's best layer, {words}; mean over subjects. Grey: no vertex significant "
        f"with any {factor.noun}.{built_in(factor, members)} The paper does not show this map.",
        lambda: figures.difference_map(
            values, f"Difference in r, {words}", title=with_simulated(title, members), hemispheres=sides,
            cortex=cortex,
        ),
    )  # fmt: skip


def _area_bars(factor: Factor, finals: Mapping[str, Member]) -> PaperPanel:
    number, title = f"{factor.number}D", f"{factor.title}: areas"
    members = list(finals.values())
    names = paper_tables.known_areas(members[0].results, paper_tables.FACTOR_AREAS)
    if not names:
        return absent_panel(
            number, title, f"Needs the areas {', '.join(paper_tables.FACTOR_AREAS)}; the targets have none of them."
        )
    scores = factor_levels.area_scores(finals, names)
    table = factor_table(scores, ["area", "level"]).rename(columns={"mean": "r"})
    sem = table["sem"].fillna(0.0)
    drawn = table.assign(low=table["r"] - sem, high=table["r"] + sem).dropna(subset=["r"])
    over = scores.mean("area").rename("r").to_dataframe().reset_index()
    main = mixed_models.compare_levels(over, ordered=factor.ordered)
    interaction = mixed_models.compare_areas(scores, ordered=factor.ordered)
    tested = (
        f" Mean of these areas: {factor_levels.words_of_test(main)} (mixed model, tested over subjects)."
        if main is not None
        else ""
    )
    if interaction is not None:
        words = factor_levels.words_of_test(interaction, digits=1)
        tested += f" {factor.noun.capitalize()} × area: {words} (repeated measures, Huynh–Feldt)."
    return PaperPanel(
        number, title,
        f"Best layer of each area at the last checkpoint; lines: {sem_over(scores.sizes['subject'])}.{tested}"
        f"{built_in(factor, members)}",
        _bars(drawn, factor, with_simulated(title, members)),
    )  # fmt: skip


def _bars(table: pd.DataFrame, factor: Factor, title: str) -> Callable[[], Figure]:
    colors = area_colors(list(table["area"].astype(str)))
    return lambda: figures.factor_bars(
        table, "level", by="area", ordered=factor.ordered, group_colors=colors, title=title
    )
