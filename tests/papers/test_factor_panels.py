"""Model size and image type (Study B, figures 6 and 7): the panels draw the numbers that were planted."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from papers.factor_members import HALF, LATE, SIZES, STEPS, TYPES, factor_collection, factor_members, rise, scaled
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from brainmap.hierarchy.mixed_models import compare_areas, compare_levels
from brainmap.papers import convergence_panels, paper_numbers
from brainmap.papers.factor_levels import SCORES, area_scores, level_scores, levels_of, words_of_test
from brainmap.papers.factor_panels import SIZES as SIZE
from brainmap.papers.factor_panels import TYPES as TYPE
from brainmap.papers.factor_panels import (
    area_colors,
    differing_neighbours,
    factor_panels,
    level_difference,
    significant_areas,
)
from brainmap.papers.paper_panel import PaperPanel
from brainmap.report.figures import factor_scores
from brainmap.report.words.p_and_numbers import format_p
from brainmap.results.collection import Collection
from brainmap.results.collection_tables import score_table, significant_targets
from brainmap.results.study_results import StudyResults


@pytest.fixture(scope="module")
def base(results_maker) -> StudyResults:
    return results_maker(every=20, n_sensors=60, n_subjects=4)


@pytest.fixture(scope="module")
def factors(base) -> Collection:
    return factor_collection(base)


@pytest.fixture(scope="module")
def noisy(base) -> Collection:
    return factor_collection(base, np.random.default_rng(1))


def panel(collection: Collection, number: str) -> PaperPanel:
    factor = SIZE if number[0] == "6" else TYPE
    return next(found for found in factor_panels(factor, collection) if found.number == number)


def bars(figure: Figure, axes: int = 0) -> np.ndarray:
    return np.array([p.get_height() for p in figure.axes[axes].patches if isinstance(p, Rectangle)])


def test_four_panels_for_each_factor(factors):
    found = [p for p in convergence_panels(factors) if p.number[0] in "67"]
    assert [p.number for p in found] == ["6A", "6B", "6C", "6C", "6D", "7A", "7B", "7C", "7C", "7D"]
    assert not any(p.missing for p in found)


@pytest.mark.parametrize("number", ["6A", "7A"])
def test_curves_are_the_scores_over_training_and_diamonds_the_half_times(factors, base, number):
    gains = SIZES if number == "6A" else TYPES
    figure = panel(factors, number).draw()
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(SCORES.values())
    meg = float(score_table(base, "meg", layer="best").set_index("signal").loc["activation", "r"])
    ax = figure.axes[1]
    dots = [line for line in ax.lines if len(line.get_xdata()) == len(STEPS) and line.get_linestyle() == "None"]
    assert len(dots) == len(gains)
    for line, (level, gain) in zip(dots, gains.items(), strict=True):
        expected = [meg * gain * rise(step, HALF[level]) for step in STEPS]
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-4)
    diamonds = [c for c in ax.collections if isinstance(c, PathCollection)]
    x, y = np.concatenate([c.get_offsets() for c in diamonds]).T
    np.testing.assert_allclose(10**x, [HALF[level] for level in gains], rtol=0.04)
    middle = {level: (rise(0, HALF[level]) + rise(6400, HALF[level])) / 2 for level in gains}  # half of the gain
    np.testing.assert_allclose(y, [middle[level] * meg * gain for level, gain in gains.items()], rtol=0.01)
    spatial = [line.get_ydata() for line in figure.axes[2].lines if line.get_linestyle() == "None"]
    for values, level in zip(spatial, gains, strict=True):
        turned = np.array([rise(step, HALF[level]) > 0.5 for step in STEPS])
        assert (values[turned] > 0.9).all() and (values[~turned] < -0.9).all()


def test_panels_of_simulated_brains_say_what_drives_them(factors, base):
    real = copy.copy(base)
    real.provenance = base.provenance | {"simulated": False}
    measured = factor_members(real, "sizes", SIZES)
    for factor, built_in in ((SIZE, "width 96"), (TYPE, "photographs")):
        shown = [found for found in factor_panels(factor, factors) if not found.title.endswith("key of the areas")]
        assert len(shown) == 4
        assert all(f"an advantage of {built_in} is built in." in found.caption for found in shown)
    assert not any("simulated" in found.caption for found in factor_panels(SIZE, Collection(tuple(measured))))


def test_bars_are_the_means_over_subjects_at_the_last_checkpoint(noisy):
    found = levels_of(noisy, "sizes")
    assert list(found) == ["S", "B", "L"] and [m.step for m in found["B"]] == list(STEPS)
    mask = np.any([significant_targets(members[-1].results, "fmri") for members in found.values()], axis=0)
    rows = [score_table(m[-1].results, "fmri", layer="best", targets=mask).set_index("signal") for m in found.values()]
    shown = panel(noisy, "6B")
    figure = shown.draw()
    np.testing.assert_allclose(bars(figure), [row.loc["activation", "r"] for row in rows], rtol=1e-6)
    low, high = np.array([segment[:, 1] for segment in figure.axes[0].collections[0].get_segments()]).T
    np.testing.assert_allclose(low, [row.loc["activation", "low"] for row in rows], rtol=1e-6)
    np.testing.assert_allclose(high, [row.loc["activation", "high"] for row in rows], rtol=1e-6)
    test = compare_levels(level_scores(found).query("final and score == 'fmri'"), ordered=True)
    assert figure.axes[0].get_title(loc="left") == f"Encoding, fMRI · {format_p(test.p)}" and test.p < 0.05
    assert f"Encoding, fMRI: {words_of_test(test)}" in shown.caption and "t(3) = " in words_of_test(test)
    types = panel(noisy, "7B")
    assert "does the score depend on the image type?" in types.caption and "Encoding, MEG: F(2, " in types.caption


def test_the_mixed_model_finds_the_planted_difference(noisy, base):
    scores = level_scores(levels_of(noisy, "sizes"))
    table = scores[scores["final"] & (scores["score"] == "meg")]
    test = compare_levels(table, ordered=True)
    meg = float(score_table(base, "meg", layer="best").set_index("signal").loc["activation", "r"])
    ends = [meg * SIZES[level] * rise(6400, HALF[level]) for level in ("S", "L")]
    row = test.model.effects.set_index("term").loc["rank"]
    assert row["estimate"] == pytest.approx((ends[1] - ends[0]) / 2, abs=0.02 * meg)
    assert row["low"] < (ends[1] - ends[0]) / 2 < row["high"]
    slopes = table.pivot(index="subject", columns="level", values="r").eval("(L - S) / 2")
    assert row["estimate"] == pytest.approx(slopes.mean(), rel=1e-4)
    assert test.p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue, rel=1e-3)  # one slope per subject


def test_the_interaction_is_that_of_repeated_measures():
    rng = np.random.default_rng(3)
    values = 0.1 + 0.03 * rng.standard_normal((6, 1, 1)) + 0.02 * rng.standard_normal((6, 1, 4))
    values = values + 0.006 * rng.standard_normal((6, 3, 1)) + 0.005 * rng.standard_normal((6, 3, 4))
    values[:, 2, 3] += 0.012
    coords = {"subject": list("abcdef"), "level": ["S", "B", "L"], "area": ["V1", "V2", "V4", "FFC"]}
    scores = xr.DataArray(values, dims=("subject", "level", "area"), coords=coords, name="r")
    table = AnovaRM(scores.to_dataframe().reset_index(), "r", "subject", within=["level", "area"]).fit().anova_table
    found = compare_areas(scores, ordered=False)
    assert found.kind == "F" and found.statistic == pytest.approx(table.loc["level:area", "F Value"])
    assert table.loc["level:area", "Pr > F"] <= found.p < 0.05  # with as many degrees of freedom, or fewer
    pair = scores.isel(level=[0, 2], area=[0, 3])
    gains = (pair.isel(level=1) - pair.isel(level=0)).diff("area").values.ravel()
    for ordered in (True, False):
        assert compare_areas(pair, ordered=ordered).p == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    frame = scores.isel(subject=[0], area=0).to_dataframe().reset_index()
    assert compare_levels(frame, ordered=True) is None and compare_areas(scores.isel(subject=[0]), ordered=True) is None


def test_few_subjects_raise_no_false_alarm():
    rng = np.random.default_rng(4)
    names = pd.MultiIndex.from_product([list("abc"), ["S", "B", "L"]], names=["subject", "level"])
    alarms = {"levels": 0, "areas": 0}
    for _ in range(120):
        subject, own = 0.02 * rng.standard_normal((3, 1, 1)), 0.004 * rng.standard_normal((3, 3, 1))
        values = 0.1 + subject + own + 0.02 * rng.standard_normal((3, 1, 8)) + 0.006 * rng.standard_normal((3, 3, 8))
        table = pd.DataFrame({"r": values.mean(axis=2).ravel()}, index=names).reset_index()
        alarms["levels"] += compare_levels(table, ordered=True).p < 0.05
        alarms["areas"] += compare_areas(xr.DataArray(values, dims=("subject", "level", "area")), ordered=True).p < 0.05
    assert max(alarms.values()) <= 14  # 6 expected of 120; 15 or more have a probability of .001


def test_areas_show_where_size_helps_more(factors, base):
    finals = {level: members[-1] for level, members in levels_of(factors, "sizes").items()}
    names = significant_areas(list(finals.values()))
    scores = area_scores(finals, names)
    gain, words = level_difference(SIZE, scores)
    assert words == "L − S"
    first = area_scores({"base": factor_members(base, "sizes", {"S": 1.0}, steps=[None])[0]}, names)
    plain = first.isel(level=0).mean("subject")
    big, small = rise(6400, HALF["L"]), rise(6400, HALF["S"])
    share = xr.where(plain["area"] == LATE, 1.4 * big - small, 1.2 * big - small)
    np.testing.assert_allclose(gain.values, (plain * share).values, rtol=1e-4)
    share = gain / plain
    assert float(share.sel(area=LATE)) > 1.9 * float(share.drop_sel(area=LATE).max())
    shown = panel(factors, "6D")
    assert shown.caption.count("p < .001") == 2
    figure = shown.draw()
    height, areas = bars(figure), [text.get_text() for text in figure.axes[0].get_xticklabels()]
    expected = area_scores(finals, areas).mean("subject").values
    np.testing.assert_allclose(height.reshape(3, len(areas)), expected, rtol=1e-6)

    types = {level: members[-1] for level, members in levels_of(factors, "types").items()}
    scores = area_scores(types, ["V1", "44"])
    gain, words = level_difference(TYPE, scores)
    mean = scores.mean("subject").values
    assert words == "human − mean of satellite and cellular"
    np.testing.assert_allclose(gain.values, mean[0] - mean[1:].mean(axis=0))
    key = panel(factors, "7C").draw()
    names = [text.get_text() for text in key.legends[0].get_texts()]
    assert names == areas and "45" in areas
    colors = area_colors(areas)
    assert len(set(colors.values())) == len(areas) <= 16
    squares = [line for line in panel(factors, "7D").draw().axes[0].lines if line.get_marker() == "s"]
    assert [line.get_color() for line in squares] == list(colors.values())


def test_brackets_join_neighbours_that_differ(noisy):
    rng = np.random.default_rng(0)
    own = 0.02 * rng.standard_normal(8)[:, None] + 0.0005 * rng.standard_normal((8, 3))
    values = 0.1 + own + np.array([0.0, 0.0004, 0.01])  # only the last step is larger than its noise
    table = pd.DataFrame(
        [(s, level, values[s, i]) for s in range(8) for i, level in enumerate("SBL")], columns=["subject", "level", "r"]
    )
    p = [stats.ttest_rel(values[:, i + 1], values[:, i]).pvalue for i in range(2)]
    assert p[1] < 1e-3 < p[0] and differing_neighbours(table, list("SBL")) == [("B", "L")]
    assert differing_neighbours(table[table["subject"] == 0], list("SBL")) == []
    rows = pd.DataFrame(
        {"score": "Encoding", "level": list("SBL"), "r": [1, 2, 3], "low": [1, 2, 3], "high": [1, 2, 3]}
    )
    axes = factor_scores(rows, brackets={"Encoding": [("B", "L")]}).axes[0]
    (bracket,) = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert bracket.get_xdata().min() > 1 and bracket.get_xdata().max() < 2 and bracket.get_ydata().min() > 3


def test_registered_models_have_final_scores_but_no_curves(base):
    members = factor_members(base, "sizes", {"S": 1.0, "B": 1.1}, steps=[None])
    panels = {p.number: p for p in factor_panels(SIZE, Collection(tuple(members)))}
    assert "here is one step of each" in panels["6A"].missing and "--sizes NAME=FOLDER" in panels["6A"].missing
    assert not any(panels[number].missing for number in ("6B", "6C", "6D"))
    heights = bars(panels["6B"].draw(), 1)
    assert heights[1] / heights[0] == pytest.approx(1.1, rel=1e-4)


def test_levels_may_be_a_grid_of_models(base):
    members = factor_members(base, "sizes", {"S": 1.0, "B": 1.1}, steps=[None])
    for member in members:
        member.parts["sizes"].pop("level")
    assert list(levels_of(Collection(tuple(members)), "sizes")) == ["tiny-S", "tiny-B"]


def test_without_two_levels_each_panel_says_what_to_supply(base):
    one = Collection(tuple(factor_members(base, "types", {"human": 1.0}, steps=[0, 100])))
    for found in factor_panels(TYPE, one):
        sentence = found.missing
        assert "here is only human" in sentence and "--types NAME=FOLDER" in sentence
        assert "human-centred, satellite and cellular" in sentence
    assert "here is none" in panel(one, "6A").missing and "from small to large" in panel(one, "6A").missing
    table = paper_numbers("convergence", one).set_index("panel")
    assert table.loc["7", "here"] == "—" and table.loc["7", "data"].startswith("absent: Needs models")


def test_levels_that_differ_in_more_than_the_step_are_refused(base):
    members = factor_members(base, "sizes", {"S": 1.0, "B": 1.1}, steps=[0, 100, 100, 400])
    for found in factor_panels(SIZE, Collection(tuple(members))):
        assert found.missing == "Needs one study for each level and step; 'S' has several of one: S-0 and more."


def test_few_checkpoints_are_drawn_without_half_times(base):
    few = Collection(tuple(factor_members(base, "sizes", {"S": 1.0, "B": 1.1}, steps=[0, 400, 6400])))
    shown = panel(few, "6A")
    assert "Half times need 4 checkpoints" in shown.caption
    figure = shown.draw()
    assert not any(isinstance(c, PathCollection) for ax in figure.axes for c in ax.collections)
    assert "half time" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_meg_alone_has_two_scores_and_no_areas(results_maker):
    meg = results_maker(n_sensors=60, n_subjects=2, modalities=("meg",))
    collection = Collection(tuple(factor_members(meg, "sizes", {"S": 1.0, "B": 1.1})))
    panels = {p.number: p for p in factor_panels(SIZE, collection)}
    assert len(panels["6A"].draw().axes) == len(panels["6B"].draw().axes) == 2
    assert "Needs fMRI responses" in panels["6C"].missing and "Needs fMRI responses" in panels["6D"].missing
    row = paper_numbers("convergence", collection).set_index("panel").loc["6"]
    assert "(MEG" in row["here"] and row["n"] == "2 subjects"


def test_numbers_stand_beside_the_published_ones(factors):
    table = paper_numbers("convergence", factors).set_index("quantity")
    row = table.loc["Size G / L / B / S"]
    assert row["paper"] == ".107 / .105 / .101 / .096" and row["data"] == "simulated" and row["n"] == "4 subjects"
    heights = bars(panel(factors, "6B").draw())
    said = [float(part.split()[1]) for part in row["here"].split(" (")[0].replace(" .", " 0.").split(", ")]
    np.testing.assert_allclose(said, heights, atol=0.0006)
    assert table.loc["Image type human / satellite / cellular", "here"].startswith("human .")


def test_areas_without_a_place_on_the_cortex_are_no_map(base):
    renamed = scaled(base, 1.0, 1.0)
    renamed.scores["fmri"] = renamed.scores["fmri"].assign_coords(
        roi=("target", np.char.add("own-", base.scores["fmri"]["roi"].values.astype(str)))
    )
    members = factor_members(renamed, "sizes", {"S": 1.0, "B": 1.1}, steps=[None])
    panels = {p.number: p for p in factor_panels(SIZE, Collection(tuple(members)))}
    assert "areas of HCP-MMP1" in panels["6C"].missing and "Needs the areas V1" in panels["6D"].missing
