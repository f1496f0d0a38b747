"""What panels, tables and captions of a reproduction claim is what the results say: stars, means, modalities."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from PIL import Image

from brainmap.papers import convergence_panels, misalignment, misalignment_panels, paper_numbers, paper_tables
from brainmap.papers.panels_on_disk import save_sheet
from brainmap.report import figures
from brainmap.report.figures import colors_and_type
from brainmap.report.figures.map_scales import gain_scale
from brainmap.report.page.comparison_data import comparison_table
from brainmap.report.page.comparison_page import write_comparison
from brainmap.results import collection_tables
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import controls_table, score_table, significant_somewhere, significant_with_any
from brainmap.results.study_results import StudyResults

STEPS = (0, 100, 400, 1600, 6400)


def changed(results: StudyResults, **parts: object) -> StudyResults:
    """The same results with other parts."""
    other = copy.copy(results)
    for name, value in parts.items():
        setattr(other, name, value)
    return other


def silent(results: StudyResults) -> StudyResults:
    """The same scores, but no test found anything."""
    return changed(
        results,
        significance={name: marks & False for name, marks in results.significance.items()},
        residual={name: table.assign(significant=False) for name, table in results.residual.items()},
    )


def two_models(first: StudyResults, second: StudyResults) -> list[Member]:
    parts: dict[str, dict] = {"models": {}}
    return [Member(name, {"model": name}, results, parts) for name, results in (("a", first), ("b", second))]


def training(results: StudyResults) -> Collection:
    members = []
    for step in STEPS:
        gain = 1.0 / (1.0 + np.exp(-2.0 * (np.log(max(step, 50)) - np.log(400.0))))
        grown = changed(results, scores={name: s.assign(r=s["r"] * gain) for name, s in results.scores.items()})
        members.append(Member(f"step {step}", {"model": "m", "weights": step}, grown, {"training": {}}, step))
    return Collection(tuple(members), title="Training")


# -- stars ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_no_star_without_significance(small_results, modality):
    models = two_models(small_results, silent(small_results))
    table = collection_tables.models_table(models, modality)
    assert table["significant"].tolist() == [True] * 3 + [False] * 3
    figure = figures.model_bars(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["*"] * 3
    left = [text.xy[0] for text in figure.axes[0].texts]
    assert max(left) < 0.5  # all on the first model, though the second has the same scores
    row = paper_numbers("misalignment", Collection(tuple(models))).set_index("quantity")
    here = row.loc["Models in which each signal is significant", "here"]
    assert "forward in 1, backward in 1, residual in 1 of 2" in here and "MEG and fMRI" in here


def test_a_star_is_that_of_the_last_layer_after_onset(small_results):
    marks = small_results.significance["meg"] & False
    before, after = marks.copy(), marks.copy()
    before.loc[{"layer": "block.11", "time": -0.2}] = True
    after.loc[{"layer": "block.11", "time": 0.2, "signal": "gradient"}] = True
    other = marks.copy()
    other.loc[{"layer": "block.3", "time": 0.2}] = True
    studies = [changed(small_results, significance={"meg": marks}) for marks in (before, after, other)]
    found = [[significant_somewhere(study, "meg", s) for s in ("activation", "gradient")] for study in studies]
    assert found == [[False, False], [False, True], [False, False]]
    assert significant_somewhere(changed(small_results, significance={}), "meg", "activation") is None
    untested = changed(small_results, significance={}, residual={})
    assert not score_table(untested, "meg")["significant"].eq(True).any()


# -- means over models ------------------------------------------------------------------------------------------------


def test_mean_map_of_two_models_is_the_mean(small_results):
    half = {"fmri": small_results.scores["fmri"].assign(r=0.5 * small_results.scores["fmri"]["r"])}
    few = small_results.significance["fmri"].copy()
    few[..., 40:] = False
    none = few & False
    first = changed(small_results, significance={"fmri": few})
    second = changed(small_results, scores=small_results.scores | half, significance={"fmri": none})
    r = small_results.mean_r("fmri").sel(signal="gradient").mean("subject").isel(layer=-1).values
    shown = misalignment._mean_map(two_models(first, second), "gradient")
    marked = few.sel(signal="gradient").isel(layer=-1).values
    assert marked.sum() > 10
    np.testing.assert_allclose(shown[marked], 0.75 * r[marked], rtol=1e-5)  # not r, that of the first model
    assert np.isnan(shown[~marked]).all()


def test_mean_gain_counts_models_without_a_significant_gain(small_results):
    table = small_results.residual["fmri"]
    second = changed(small_results, residual={"fmri": table.assign(delta=0.0, significant=False)})
    found = misalignment._mean_gain(two_models(small_results, second))
    hits = table[table["significant"]].set_index("unit")["delta"]
    assert found == pytest.approx((hits / 2).to_dict())
    lacking = changed(small_results, residual={})
    assert misalignment._mean_gain(two_models(small_results, lacking)) == {}


def test_map_and_scatter_of_two_models_are_of_the_same_vertices(small_results):
    scores = small_results.scores["fmri"]
    turned = {"fmri": scores.assign(r=scores["r"].isel(layer=slice(None, None, -1)).assign_coords(layer=scores.layer))}
    second = silent(changed(small_results, scores=small_results.scores | turned))
    models = two_models(small_results, second)
    depth = paper_tables.mean_depth_map(models, "activation")
    shown = np.isfinite(depth)
    np.testing.assert_allclose(depth[shown], 0.5)  # depth and 1 − depth
    table = paper_tables.mean_spatial(models, "activation")
    np.testing.assert_allclose(table["best_layer"], 0.5)
    models = two_models(small_results, silent(small_results))
    depth = paper_tables.mean_depth_map(models, "activation")
    roi = small_results.targets("fmri")["roi"].to_numpy()
    table = paper_tables.mean_spatial(models, "activation")
    assert len(table) > 40 and 0 < table.attrs["areas_p"] < table.attrs["p"] < 0.05
    for area, value in table.set_index("roi")["best_layer"].items():
        assert value == pytest.approx(np.nanmean(depth[roi == area]))


# -- one modality -----------------------------------------------------------------------------------------------------

NEEDS_FMRI_B = {"2A", "3A", "3C", "3E", "4A, 4C", "5A", "5C", "5E", "8"}
NEEDS_MEG_B = {"2B", "3B", "3D", "3F", "4B, 4D", "5B", "5D", "5F"}


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_with_one_modality_each_panel_of_study_b_is_drawn_or_says_what_it_lacks(results_maker, modality):
    collection = training(results_maker(every=20, n_sensors=60, n_subjects=2, modalities=(modality,)))
    panels = [panel for panel in convergence_panels(collection) if panel.number[0] not in "67"]
    assert {panel.number for panel in panels} == NEEDS_FMRI_B | NEEDS_MEG_B | {"4E", "Controls"}
    drawn = {panel.number for panel in panels if not panel.missing} - {"Controls"}
    mine = NEEDS_FMRI_B if modality == "fmri" else NEEDS_MEG_B
    assert drawn <= mine
    other = "MEG" if modality == "fmri" else "fMRI"
    for panel in panels:
        if panel.number not in mine | {"8", "Controls"}:
            assert f"Needs {other} responses" in panel.missing
    assert mine - drawn <= {"8", "5C", "5E", "5F"}  # these want maps, or enough units with a half time
    rows = paper_numbers("convergence", collection).groupby("panel")["data"].first()
    lacking, there = ("5E", "5F") if modality == "meg" else ("5F", "5E")
    assert f"Needs {other} responses" in rows[lacking] and "responses" not in rows[there]


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_with_one_modality_each_panel_of_study_a_is_drawn_or_says_what_it_lacks(results_maker, modality):
    results = results_maker(every=20, n_sensors=60, n_subjects=2, modalities=(modality,))
    members = [*training(results), *two_models(results, results)]
    panels = misalignment_panels(Collection(tuple(members)))
    mine, other = {"fmri": ("fMRI", "MEG"), "meg": ("MEG", "fMRI")}[modality]
    state = {(panel.number, panel.title): panel.missing for panel in panels}
    lacking = {number for (number, _), sentence in state.items() if f"Needs {other} responses" in sentence}
    own = {"fmri": {"2A", "2B", "2C", "2D", "6"}, "meg": {"2E", "2F", "7"}}
    both = {"3", "4", "5", "S1"}
    assert lacking == own["meg" if modality == "fmri" else "fmri"] | both | {"Controls"}
    assert not any(f"Needs {mine} responses" in sentence for sentence in state.values())
    drawn = {number for (number, _), sentence in state.items() if not sentence}
    assert own[modality] | both <= drawn
    assert not any("checkpoints" in sentence for sentence in state.values())


def test_too_few_checkpoints_are_counted(results_maker):
    results = results_maker(every=20, n_sensors=60, n_subjects=2)
    two = Collection(training(results).members[:2])
    missing = {panel.number: panel.missing for panel in misalignment_panels(two)}
    assert (
        missing["5"] == "" and "at least three training checkpoints of one model; this run has only 2" in missing["6"]
    )
    assert "at least four training checkpoints" in {p.number: p.missing for p in convergence_panels(two)}["4E"]


def test_one_subject_is_one_subject_and_has_no_spread(results_maker):
    collection = training(results_maker(every=20, n_sensors=60, n_subjects=1))
    panels = [*misalignment_panels(collection), *convergence_panels(collection)]
    captions = " ".join(panel.caption for panel in panels)
    assert "none, there is one subject" in captions and "± SEM over 1" not in captions
    assert "± SEM over subjects" not in captions and "1 subjects" not in captions
    numbers = pd.concat([paper_numbers(name, collection) for name in ("misalignment", "convergence")])
    assert "1 subject" in set(numbers["n"]) and "1 subjects" not in set(numbers["n"])


# -- controls ---------------------------------------------------------------------------------------------------------


def test_every_study_keeps_the_controls_of_its_own_gradients(small_results):
    tables = {
        name: table.assign(r=np.where(table["space"].isin(["gradient norm", "loss"]), 2 * table["r"], table["r"]))
        for name, table in small_results.controls.items()
    }
    models = two_models(small_results, changed(small_results, controls=tables))
    table = controls_table(Collection(tuple(models)), "fmri").set_index(["study", "space"])["r"]
    before = small_results.controls["fmri"].set_index("space")["r"]
    assert table["a", "gradient norm"] == before["gradient norm"]
    assert table["b", "gradient norm"] == 2 * before["gradient norm"]
    assert [space for study, space in table.index if study == ""] == ["pixels", "gabor energy", "category"]
    assert len(table) == 2 * 4 + 3
    panels = [p for p in misalignment_panels(Collection(tuple(models))) if p.number == "Controls"]
    assert [panel.title[-4:] for panel in panels] == ["fMRI", " MEG"]
    ax = panels[0].draw().axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "Pixels", "Gabor energy", "Category labels"]
    dots = [dot for dot in ax.collections if isinstance(dot, PathCollection)]
    x = sorted(float(dot.get_offsets()[0][0]) for dot in dots)
    np.testing.assert_allclose(x, sorted(table))


def test_baselines_of_other_data_are_told_apart(small_results):
    tables = {name: table.assign(r=table["r"] + 0.01) for name, table in small_results.controls.items()}
    models = two_models(small_results, changed(small_results, controls=tables))
    table = controls_table(Collection(tuple(models)), "meg")
    assert table.loc[table["space"] == "pixels", "study"].tolist() == ["a", "b"]


def test_many_studies_are_compared_with_baselines_too(small_results, tmp_path):
    small = changed(small_results, scores={"meg": small_results.scores["meg"]})
    members = tuple(Member(f"m{i}", {"model": f"m{i}"}, small) for i in range(14))
    page = write_comparison(Collection(members), tmp_path / "page.html").read_text()
    assert "Simple feature spaces: MEG" in page and "spaces that know no model" in page
    assert page.count("Star: significant") == 0  # no bars for so many, and no such words elsewhere


# -- the page of comparisons ------------------------------------------------------------------------------------------


def test_where_nothing_is_significant_no_place_and_no_order_is_given(small_results):
    quiet = silent(small_results)
    table = comparison_table(Collection((Member("a", {}, quiet),)))
    assert set(table["where"]) == {"not significant"}
    assert table["order_r"].isna().all() and (table["significant"] == 0).all()
    residual = table[table["signal"] == "Gradients beyond activations"]
    assert len(residual) == 2 and residual[["low", "high"]].isna().all(axis=None) and residual["r"].notna().all()
    told = comparison_table(Collection((Member("a", {}, small_results),)))
    assert told["order_r"].notna().sum() == 4 and told["low"].notna().all()


def test_a_study_without_significant_vertices_does_not_choose_them_all(small_results):
    marks = small_results.significance["fmri"]
    few = marks & (np.arange(marks.sizes["target"]) < 30)
    told = changed(small_results, significance={**small_results.significance, "fmri": few})
    members = two_models(told, silent(small_results))
    mask = few.any([dim for dim in few.dims if dim != "target"]).values
    assert 0 < mask.sum() <= 30
    np.testing.assert_array_equal(significant_with_any([m.results for m in members], "fmri"), mask)
    expected = score_table(small_results, "fmri", layer="best", targets=mask)["r"].to_numpy()
    table = comparison_table(Collection(tuple(members)))
    for name in "ab":
        rows = table[(table["study"] == name) & table["responses"].str.startswith("fMRI")]
        np.testing.assert_allclose(rows["r"], expected)
    bars = collection_tables.models_table(members, "fmri")
    last = score_table(small_results, "fmri", targets=mask)["r"].to_numpy()
    np.testing.assert_allclose(bars["r"], np.tile(last, 2))
    silence = [silent(small_results)] * 2
    assert significant_with_any(silence, "fmri").all()


def test_long_names_of_two_studies_do_not_collide(small_results):
    for length, angle in ((22, 0), (40, 35)):
        members = [Member("", {"model": letter * length}, small_results) for letter in "ab"]
        figure = figures.model_bars(collection_tables.models_table(members, "fmri"))
        figure.draw_without_rendering()
        labels = figure.axes[0].get_xticklabels()
        assert {label.get_rotation() for label in labels} == {angle}
        if not angle:
            left, right = (label.get_window_extent() for label in labels)
            assert left.x1 < right.x0


def test_a_setting_left_open_is_named_for_what_it_means(small_results):
    open_, closed = {"projection": None, "objective": None, "pca": None}, {"projection": 50, "objective": "a", "pca": 9}
    members = (Member("a", open_, small_results), Member("b", closed, small_results))
    row = comparison_table(Collection(members)).iloc[0]
    assert (row["projection"], row["objective"], row["pca"]) == ("none", "the model's own", "all")


# -- figures ----------------------------------------------------------------------------------------------------------


def test_the_scale_of_gains_spans_the_gains():
    scale = gain_scale(np.array([0.184, 0.191, 0.1988]))
    assert (scale.low, scale.high) == pytest.approx((0.18, 0.2))
    one = gain_scale(np.array([0.02]))
    assert one.low == 0 and one.high >= 0.02
    assert gain_scale(np.array([])).low == 0


def test_names_stay_inside_the_axes_and_off_points_and_line(small_results):
    table = small_results.hierarchy["spatial"]["activation"].copy()
    table["best_layer"] = np.clip(0.1 + 1.05 * table["distance_mm"] / table["distance_mm"].max(), 0, 1.2)
    figure = figures.distance_vs_best_layer(table, "activation")
    ax = figure.axes[0]
    figure.draw_without_rendering()
    frame = ax.get_window_extent()
    names = [text for text in ax.texts if text.get_text() in set(table["roi"])]
    assert len(names) > 3
    line = ax.lines[0]
    low, high = ax.get_ylim()
    assert low < min(line.get_ydata()) and max(line.get_ydata()) < high  # not clipped
    points = ax.transData.transform(table[["distance_mm", "best_layer"]].to_numpy())
    for text in names:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 + 1
        assert not any(box.contains(*point) for point in points)


def test_numbers_tell_p_of_random_maps_from_that_of_independent_areas(small_results):
    table = small_results.hierarchy["spatial"]["activation"].copy()
    table.attrs = {"r": 0.5, "low": -0.2, "high": 0.8, "p": 0.21, "rho": 0.4, "rho_p": 0.3, "areas_p": 0.0001}
    words = " ".join(text.get_text() for text in figures.distance_vs_best_layer(table, "activation").axes[0].texts)
    assert "r = .50 [−.20, .80], p = .21" in words and "p < .001" not in words
    results = changed(small_results, hierarchy={"spatial": {"activation": table}})
    member = Member("a", {"model": "a"}, results, {"models": {}})
    rows = paper_numbers("misalignment", Collection((member,))).set_index("panel")["here"]
    assert rows["2C"] == "r = .50 [−.20, .80] (p = .21; areas independent p < .001), ρ = .40 (p = .30)"


def test_the_contact_sheet_keeps_colours(tmp_path):
    """A map of scores must not change hue on the sheet."""
    ramp = colors_and_type.signal_cmap("activation")(np.linspace(0, 1, 400))[None, :, :3]

    def strip() -> object:
        figure = colors_and_type.new_figure(3, 2)
        figure.set_layout_engine("none")
        ax = figure.add_axes((0, 0, 1, 1))
        ax.imshow(np.repeat(ramp, 200, axis=0), aspect="auto")
        ax.set_axis_off()
        return figure

    noise = np.random.default_rng(0).random((20, 20, 3))
    other = colors_and_type.new_figure(3, 2)
    other.add_subplot().imshow(noise)
    save_sheet({"ramp": strip(), "noise": other}, tmp_path / "sheet.png", title="Sheet")
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"), dtype=int)
    assert (tmp_path / "sheet.png").stat().st_size < 2_000_000
    row = picture[picture.shape[0] // 2, 40 : picture.shape[1] // 2 - 40]
    assert np.abs(np.diff(row, axis=0)).max() <= 4  # no bands
    assert len({to_hex(color / 255) for color in row}) > 150
