"""Panels and numbers of the papers: taken from the results they are given, none left out in silence."""

from __future__ import annotations

import copy
import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.text import Text

from brainmap.common.errors import InputError
from brainmap.papers import (
    PaperPanel,
    convergence_panels,
    misalignment_panels,
    paper_numbers,
    paper_tables,
    training_scores,
    write_reproduction,
)
from brainmap.papers.panel_likeness import panel_likeness
from brainmap.papers.paper_panel import absent_panel
from brainmap.papers.paper_tables import stages_of
from brainmap.papers.training_scores import training_half_times
from brainmap.report import figures
from brainmap.report.page.comparison_data import comparison_table
from brainmap.report.page.comparison_page import write_comparison
from brainmap.results import collection_tables, lookups
from brainmap.results.collection import Collection, Member
from brainmap.results.collection_tables import residual_row, score_table, significant_targets
from brainmap.results.study_results import StudyResults

PAPER_A = ["2A", "2B", "2C", "2D", "2E", "2F", "3", "4", "5", "6", "7", "S1", "S2", "Controls"]
PAPER_B = [*("2A", "2B", "3A", "3B", "3C", "3D", "3E", "3F", "4A", "4B", "4C", "4D", "4E")]
PAPER_B += [*("5A", "5B", "5C", "5D", "5E", "5F", "6A", "6B", "6C", "6D", "7A", "7B", "7C", "7D", "8", "Controls")]
STEPS = (0, 100, 400, 1600, 6400)


@pytest.fixture(scope="module")
def training(small_results) -> Collection:
    """Checkpoints whose scores grow along one sigmoid in log step, half of the last value at step 400."""
    members = []
    for step in STEPS:
        gain = 1.0 / (1.0 + np.exp(-2.0 * (np.log(max(step, 50)) - np.log(400.0))))
        results = copy.copy(small_results)
        results.scores = {name: s.assign(r=s["r"] * gain) for name, s in small_results.scores.items()}
        weights = "untrained" if step == 0 else f"step_{step:06d}"
        parts = {"training": {"weights": weights}} | ({"models": {"model": "dino-tiny"}} if step == 6400 else {})
        members.append(Member(f"dino-tiny-{weights}", {"model": "dino-tiny", "weights": weights}, results, parts, step))
    return Collection(tuple(members), title="Training")


def numbers_of(panels: list) -> set[str]:
    return {part for panel in panels for part in panel.number.split(", ")}


def test_no_panel_is_left_out_with_or_without_data(training):
    assert numbers_of(misalignment_panels(training)) == set(PAPER_A)
    assert numbers_of(convergence_panels(training)) == set(PAPER_B)
    nothing = Collection(())
    assert numbers_of(misalignment_panels(nothing)) == set(PAPER_A)
    assert all(panel.missing.startswith("Needs") for panel in misalignment_panels(nothing))
    assert numbers_of(convergence_panels(nothing)) == set(PAPER_B)
    assert all(panel.missing for panel in convergence_panels(nothing))


def test_a_missing_panel_says_what_is_missing(training):
    panels = {panel.number: panel for panel in convergence_panels(training)}
    assert "at least two sizes" in panels["6A"].missing
    figure = panels["6A"].draw()
    words = " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
    assert "data are missing" in words and "by --sizes NAME=FOLDER" in words


def test_lines_and_bars_are_drawn(training):
    wanted = {"2C", "2E", "3", "5", "7"}
    drawn = [panel.draw() for panel in misalignment_panels(training) if panel.number in wanted and not panel.missing]
    drawn += [panel.draw() for panel in convergence_panels(training) if panel.number in {"3C", "3D", "4E", "5A", "5E"}]
    assert len(drawn) >= 10
    assert all(isinstance(figure, Figure) for figure in drawn)


def test_score_table_is_the_papers_definition(small_results):
    meg = small_results.scores["meg"]["r"].sel(signal="gradient").isel(layer=-1).mean("split")
    by_time = meg.groupby("time").mean().transpose("subject", "time").values
    values = by_time[:, by_time.mean(0).argmax()]
    row = score_table(small_results, "meg").set_index("signal").loc["gradient"]
    np.testing.assert_allclose([row.r, row.high - row.r], [values.mean(), values.std(ddof=1) / np.sqrt(2)], rtol=1e-5)

    mask = significant_targets(small_results, "fmri")
    fmri = small_results.scores["fmri"]["r"].sel(signal="activation").isel(layer=-1).mean("split").values
    row = score_table(small_results, "fmri").set_index("signal").loc["activation"]
    np.testing.assert_allclose(row.r, fmri[:, mask].mean(), rtol=1e-5)
    some = np.arange(len(mask)) < 10
    row = score_table(small_results, "fmri", targets=some).set_index("signal").loc["activation"]
    np.testing.assert_allclose(row.r, fmri[:, :10].mean(), rtol=1e-5)


def test_the_stage_in_between_is_where_the_residual_is_highest(training):
    assert list(stages_of(list(training))) == ["untrained", "step 100", "step 6,400"]  # all alike: the first of them
    members = []
    for member in training:
        results = copy.copy(member.results)
        table = results.residual["meg"]
        results.residual = {"meg": table.assign(delta=table["delta"] * (3.0 if member.step in (1600, 6400) else 1.0))}
        members.append(Member(member.label, member.settings, results, member.parts, member.step))
    assert list(stages_of(members)) == ["untrained", "step 1,600", "step 6,400"]
    panels = {panel.number: panel for panel in misalignment_panels(Collection(tuple(members)))}
    assert all("the residual of figure 5 is highest" in panels[number].caption for number in ("6", "7"))
    assert not stages_of(members[:2])


def test_residual_row_is_read_off_the_table(small_results):
    table = small_results.residual["meg"]
    best = table.loc[table["delta"].idxmax()]
    row = residual_row(small_results, "meg")
    assert (row["r"], row["low"], row["significant"]) == (best["delta"], best["low"], True)
    assert residual_row(small_results, "fmri")["r"] == pytest.approx(small_results.residual["fmri"]["delta"].mean())
    assert row["spread"] == "interval"


@pytest.mark.parametrize("modality", ["fmri", "meg"])
def test_the_residual_has_a_spread_over_subjects(small_results, tmp_path, modality):
    results = copy.copy(small_results)
    table = small_results.residual[modality]
    gains = np.array([-0.004, 0.0, 0.010])
    own = {f"delta {name}": table["delta"] - gains.mean() + gain for name, gain in zip("abc", gains, strict=True)}
    results.residual = {modality: table.assign(**own)}
    results.save(tmp_path / "run")
    for one in (results, StudyResults.load(tmp_path / "run")):
        row = score_table(one, modality).set_index("signal").loc["residual"]
        expected = table["delta"].mean() if modality == "fmri" else table["delta"].max()
        assert row["r"] == pytest.approx(expected) and row["spread"] == "sem"
        sem = gains.std(ddof=1) / np.sqrt(3)
        assert [row["high"] - row["r"], row["r"] - row["low"]] == pytest.approx([sem, sem])


def test_bars_of_the_residual_say_what_their_spread_is(training, small_results):
    captions = [panel.caption for panel in misalignment_panels(training) if panel.number in {"3", "5"}]
    assert len(captions) == 4 and all("activations of all layers, its 95 % interval" in text for text in captions)
    (member,) = [member for member in training if member.step == 6400]
    results = copy.copy(member.results)
    results.residual = {
        name: table.assign(**{f"delta {i}": table["delta"] + 0.001 * i for i in (-1, 1)})
        for name, table in small_results.residual.items()
    }
    one = Collection((dataclasses.replace(member, results=results),))
    figures = {panel.title: panel for panel in misalignment_panels(one) if panel.number == "3"}
    shown = figures["Models, last layer: fMRI"]
    assert "gain of gradients over the activations of all layers, ± SEM over subjects." in shown.caption
    ax = shown.draw().axes[0]
    segment = ax.collections[2].get_segments()[0]
    assert np.ptp(segment[:, 1]) == pytest.approx(2 * 0.001)  # two subjects, 0.001 either side of their mean


def with_scores(results: StudyResults, modality: str, by_layer: dict[str, np.ndarray]) -> StudyResults:
    """The same results with one score per layer (12) for each area or time, the same for all subjects and splits."""
    scores = results.scores[modality]
    by = "roi" if modality == "fmri" else "time"
    names = scores[by].values.astype(str)
    values = np.zeros((12, len(names)))
    for name, layers in by_layer.items():
        values[:, names == name] = np.asarray(layers)[:, None]
    r = xr.DataArray(values, dims=("layer", "target")).broadcast_like(scores["r"]).transpose(*scores["r"].dims)
    changed = copy.copy(results)
    changed.scores = {**results.scores, modality: scores.assign(r=(scores["r"].dims, r.values))}
    return changed


def test_bars_of_areas_are_shares_of_each_layers_own_maximum(small_results):
    depth = np.arange(12.0)
    planted = {"V1": 12 - depth, "FFC": 4 + depth, "44": np.full(12, 3.0), "PH": np.full(12, 99.0)}  # PH: not of the 15
    results = with_scores(small_results, "fmri", planted)
    top = np.maximum(12 - depth, 4 + depth)
    for area in ("V1", "FFC", "44"):
        table = paper_tables.layer_area_bars(results, area)
        np.testing.assert_allclose(table["r"], planted[area] / top, rtol=1e-6)
        np.testing.assert_allclose(table["low"], table["r"])
    results = with_scores(small_results, "fmri", {"V1": np.where(depth == 3, -1.0, 1.0)})
    table = paper_tables.layer_area_bars(results, "V1")  # every other area has 0, so layer 3 has no maximum above it
    assert np.isnan(table["r"]).tolist() == [layer == 3 for layer in range(12)]
    assert isinstance(figures.layer_bars({"V1": table}), Figure)


def test_bars_of_windows_and_curves_are_shares_of_each_layers_maximum_over_time(small_results):
    times = sorted(set(small_results.scores["meg"]["time"].values.tolist()))
    peak, gain = 0.1 + 0.02 * np.arange(12), 1.0 + np.arange(12)  # layers differ in height, which must not be seen
    planted = {str(t): gain * np.exp(-(((t - peak) / 0.1) ** 2)) for t in times}
    results = with_scores(small_results, "meg", planted)
    whole = np.stack(list(planted.values()))
    shares = whole / whole.max(axis=0)
    curves = paper_tables.normalised_courses(results)
    np.testing.assert_allclose(curves.isel(subject=0).transpose("time", "layer").values, shares, rtol=1e-5)
    for low, high in paper_tables.WINDOWS.values():
        inside = [i for i, t in enumerate(times) if low - 1e-9 <= t <= high + 1e-9]
        inside = inside or [int(np.argmin(np.abs(np.array(times) - (low + high) / 2)))]
        table = paper_tables.layer_course_bars(results, (low, high))
        np.testing.assert_allclose(table["r"], shares[inside].mean(axis=0), rtol=1e-5)


def test_scores_over_training_run_from_0_to_1():
    steps = np.array([0, 100, 1000, 10_000])
    values = np.array([[[0.2, 0.3, 0.4, 0.6], [0.4, 0.5, 0.6, 0.8]], [[0.5, 0.4, 0.2, 0.1], [np.nan] * 4]])
    scores = xr.DataArray(
        values,
        dims=("score", "subject", "step"),
        coords={"score": ["up", "down"], "subject": ["a", "b"], "step": steps},
    )
    fits = training_scores.score_half_times(scores)
    table, curves = training_scores.normalised_scores(scores, fits)
    up, down = (table[table["score"] == name] for name in ("up", "down"))
    np.testing.assert_allclose(up["value"], [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(down["value"], [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(up["step"], [0, 1, 10, 100])
    np.testing.assert_allclose(up["high"] - up["low"], 2 * 0.1 / 0.4)  # two subjects 0.1 either side of their mean
    assert curves["up"]["level"] == pytest.approx(0.5, abs=0.03) and 1 < curves["up"]["half_time"] < 30
    up = curves["up"]  # its sigmoid, drawn over the checkpoints, has half at the half time
    assert up["steps"][[0, -1]] == pytest.approx([1, 100])
    assert np.interp(np.log(up["half_time"]), np.log(up["steps"]), up["values"]) == pytest.approx(up["level"], abs=1e-3)
    assert fits["down"].gain < 0 and not fits["down"].failure and curves["down"]["level"] == pytest.approx(0.5, abs=0.1)
    cells = scores.sel(score="up").expand_dims(unit=["V1"], split=[0])
    shares = training_scores.normalised(cells)
    np.testing.assert_allclose(shares["value"], [0, 0.25, 0.5, 1])


def test_half_times_recover_the_planted_step(training):
    cells = training_scores.cells_over_training(list(training), "fmri", "roi", ["V1", "V2", "FFC"])
    table = training_half_times(cells, "first")
    curve = 1.0 / (1.0 + np.exp(-2.0 * (np.log([50, 100, 400, 1600, 6400]) - np.log(400.0))))
    np.testing.assert_allclose(table["half_time"], 400.0, rtol=0.02)  # the curve ends at 0.996 of its ceiling
    assert curve[-1] > 0.99
    np.testing.assert_allclose(training_half_times(cells)["half_time"], 400.0, rtol=0.02)  # it starts near 0
    shares = training_scores.normalised(cells)
    assert shares.loc[shares["step"] == 6400, "value"].tolist() == [1.0] * 3
    np.testing.assert_allclose(table["percent"], 100 * table["half_time"] / 6400)
    assert (table["percent_low"] <= table["percent"]).all() and (table["percent"] <= table["percent_high"]).all()


def test_half_times_of_noise_do_not_count():
    rng = np.random.default_rng(3)
    curve = 0.1 / (1.0 + np.exp(-2.0 * (np.log([50, 100, 400, 1600, 6400]) - np.log(400.0))))
    planted = np.concatenate([np.outer([1.0, 0.8, 0.05], curve), np.full((3, 5), 0.03)])
    values = planted[:, None, None] + 0.01 * rng.standard_normal((6, 3, 5, 5))
    coords = {"unit": ["V1", "V2", "low", "n1", "n2", "n3"], "step": list(STEPS)}
    cells = xr.DataArray(values, dims=("unit", "subject", "split", "step"), coords=coords)
    table = training_half_times(cells).set_index("unit")
    assert table.index[table["percent"].notna()].tolist() == ["V1", "V2"]
    np.testing.assert_allclose(table["half_time"].iloc[:2], 400.0, rtol=0.3)
    low, high = table.loc["V1", ["percent_low", "percent_high"]]
    assert low < 6.25 < high < 12
    assert table.loc["low", "failure"] == "the final score is below a tenth of the highest"
    assert (table["failure"].iloc[3:] != "").all() and table["percent_low"].iloc[2:].isna().all()


def test_numbers_are_those_of_the_results(training, small_results):
    table = paper_numbers("misalignment", training).set_index("quantity")
    attrs = small_results.hierarchy["spatial"]["activation"].attrs
    row = table.loc["fMRI forward: distance to V1 and best layer"]
    assert row["paper"] == "r = .35 (p = .005), ρ = .27 (p = .03)"
    assert row["here"].startswith(f"r = {attrs['r']:.2f}".replace("0.", "."))
    assert set(table["data"]) == {"simulated"}
    other = paper_numbers("convergence", training).set_index("quantity")
    for words in ("half of the gain, as the figures are normalised", "half of the final value, as the text says"):
        here = other.loc[f"Half time, encoding score ({words})", "here"]
        assert re.fullmatch(r"6\.[23] % \[6\.\d, 6\.\d\]", here)  # step 400 of 6,400
    assert other.loc["Size G / L / B / S", "data"].startswith("absent: Needs models of at least two sizes")
    with pytest.raises(InputError, match="no table of numbers for 'x'"):
        paper_numbers("x", training)


def test_everything_is_written(training, tmp_path):
    panels = [panel for panel in convergence_panels(training) if panel.number in {"2B", "6A", "3C"}]
    table = paper_numbers("convergence", training)
    likeness = panel_likeness("convergence", panels, training)
    found = write_reproduction(panels, table, training, tmp_path, citation="A paper", likeness=likeness)
    files = {path.name for path in (tmp_path / "panels").iterdir()}
    assert len(files) == 2 * len(panels) and {name[-4:] for name in files} == {".png", ".pdf"}
    assert (len(found.drawn), len(found.missing)) == (2, 1)
    page = found.page.read_text()
    assert page.count("<img") == 3 and "Simulated data" in page and "1 without data" in page
    assert set(re.findall(r'src="panels/([^"]+)"', page)) == {name for name in files if name.endswith("png")}
    assert pd.read_csv(tmp_path / "numbers.csv")["paper"].tolist() == table["paper"].tolist()
    text = (tmp_path / "numbers.md").read_text()
    assert text.count("\n") == len(table) + 2 + 3 + 3 + 2  # a heading between blank lines, and three rows
    assert "## What each panel has in common with the paper's" in text and found.likeness is likeness
    assert found.sheet.stat().st_size < 2_000_000
    headings = re.findall(r"<h3[^>]*>(.*?)</h3>", page)  # the pictures hold the titles
    assert headings == [panel.number for panel in panels] and f'<h3 aria-label="2B: {panels[0].title}">' in page


def test_panels_of_an_earlier_run_leave_no_files(training, tmp_path):
    numbers = paper_numbers("convergence", training)
    old, same, new = (absent_panel("2B", title, "No data.") for title in ("Earlier <title>", "The same", "Later"))
    write_reproduction([old, same], numbers, training, tmp_path)
    (tmp_path / "panels" / "2B-mine.png").write_text("of the user")
    (tmp_path / "notes.png").write_text("of the user")
    write_reproduction([same, new], numbers, training, tmp_path)
    mine = {"2B-mine.png"}
    written = {f"2B-{title}.{suffix}" for title in ("the-same", "later") for suffix in ("png", "pdf")}
    assert {path.name for path in (tmp_path / "panels").iterdir()} == written | mine
    foreign = tmp_path / "index.html"  # a page of someone else says nothing about what may go
    foreign.write_text('<img src="panels/2B-mine.png"><a href="panels/../../notes.png">')
    write_reproduction([new], numbers, training, tmp_path)
    assert {path.name for path in (tmp_path / "panels").iterdir()} == written | mine
    assert (tmp_path / "notes.png").is_file()


def test_a_panel_that_cannot_be_drawn_does_not_take_the_others_with_it(training, tmp_path):
    def refuse() -> Figure:
        raise InputError("targets have no place")

    good = next(panel for panel in convergence_panels(training) if panel.number == "3C")
    panels = [PaperPanel("2A", "A map", "A caption", refuse), good]
    found = write_reproduction(panels, paper_numbers("convergence", training), training, tmp_path)
    assert (found.drawn, found.missing) == (("3C-layers-in-three-areas",), ("2A-a-map",))
    assert "Cannot be drawn: targets have no place." in found.page.read_text()


def test_comparison_table_and_names(training):
    table = comparison_table(training)
    assert len(table) == 5 * 2 * 3
    assert table["study"].nunique() == 5
    assert set(table["responses"]) == {"fMRI (simulated)", "MEG (simulated)"}
    mask = np.any([significant_targets(member.results, "fmri") for member in training], axis=0)
    last = training.members[-1].results
    expected = score_table(last, "fmri", layer="best", targets=mask).set_index("signal").loc["activation", "r"]
    row = table[(table["study"] == "dino-tiny-step_006400") & (table["signal"] == "Activations")].iloc[0]
    assert row["r"] == pytest.approx(expected)


def test_robustness_takes_studies_that_differ_in_nothing_else(small_results):
    def member(projection: int, pca: int, seed: int, gain: float) -> Member:
        results = copy.copy(small_results)
        results.scores = {name: s.assign(r=s["r"] * gain) for name, s in small_results.scores.items()}
        return Member(f"{projection}-{pca}", {"projection": projection, "pca": pca, "site": seed}, results)

    grid = [(50, 10, 1.0), (50, 20, 0.9), (80, 10, 0.8), (80, 20, 0.7)]
    members = [member(a, b, 0, gain) for a, b, gain in grid] + [member(50, 10, 1, 5.0)]
    found = collection_tables.robustness(Collection(tuple(members)), "meg")
    assert isinstance(found, xr.DataArray)
    expected = np.array([[1.0, 0.8], [0.9, 0.7]])
    np.testing.assert_allclose(found.values / found.values[0, 0], expected, rtol=1e-5)
    sem = [score_table(member.results, "meg").set_index("signal").loc["gradient"] for member in members[:4]]
    np.testing.assert_allclose(found["sem"].values.T.ravel(), [row["high"] - row["r"] for row in sem], rtol=1e-5)
    text = [t.get_text() for t in figures.grid_heatmap(found, labels=("PCA", "Projection")).axes[0].texts]
    assert len(text) == 4 and all("\n±." in words for words in text)
    assert collection_tables.robustness(Collection(tuple(members[:2])), "meg") is None
    more = (*members[:4], member(20, 20, 0, 1.0), member(20, 50, 0, 1.0))
    impossible = collection_tables.robustness(Collection(more), "meg")
    assert impossible.sizes == {"pca": 2, "projection": 3}  # 50 components of 20 dimensions do not exist
    assert np.isnan(impossible.sel(pca=10, projection=20)) and np.isfinite(impossible.sel(pca=20, projection=20))


def test_comparison_needs_a_study(tmp_path):
    with pytest.raises(InputError, match="it asks for none"):
        write_comparison(Collection(()), tmp_path / "page.html")
    with pytest.raises(InputError, match="could be computed: no weights"):
        write_comparison(Collection((), absent={"a": "no weights"}), tmp_path / "page.html")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_comparison_in_a_browser(training, chromium, tmp_path, width):
    page = write_comparison(training, tmp_path / "page.html")
    assert page.stat().st_size < 6e6
    chromium.open(page, width)
    assert chromium.curves_drawn("meg-plot", "fmri-plot", least=10) == 10
    assert chromium.run("document.documentElement.scrollWidth") == width
    chromium.run("[...document.querySelectorAll('th button')].find(b => b.textContent === 'r').click()")
    cells = (
        "[...document.querySelectorAll('#studies tbody tr')]"
        ".map(r => Number(r.querySelector('td.number[data-label=r]').textContent))"
    )
    shown = chromium.run(cells)
    assert shown == sorted(shown, reverse=True)
    signal = "[...document.querySelectorAll('th button')].find(b => b.textContent === 'Signal')"
    for direction in ("ascending", "descending"):
        chromium.run(f"{signal}.click()")
        assert chromium.run(f"{signal}.closest('th').getAttribute('aria-sort')") == direction
        words = chromium.run(
            "[...document.querySelectorAll('#studies tbody td[data-label=Signal]')].map(c => c.innerText)"
        )
        assert words == sorted(words, reverse=direction == "descending") and len(set(words)) == 3
    chromium.run(
        "const f = document.querySelector('#filter'); f.value = 'MEG gradients'; f.dispatchEvent(new Event('input'))"
    )
    assert chromium.run("document.querySelector('#shown').textContent") == "10 of 30 rows"
    chromium.run("document.querySelector('#meg-studies input').click()")
    assert (
        chromium.run("new Promise(d => setTimeout(() => d(document.querySelectorAll('#meg-plot .trace').length), 500))")
        == 4
    )
    assert chromium.problems() == []


@pytest.mark.browser
def test_csv_of_curves_says_whose_and_of_which_layer(training, chromium, tmp_path):
    chromium.open(write_comparison(training, tmp_path / "page.html"), 1280)
    assert chromium.curves_drawn("meg-plot", "fmri-plot", least=10) == 10
    chromium.run(
        "window.saved = []; const url = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { saved.push(blob); return url.call(URL, blob); };"
        "document.querySelector('#meg-csv').click(); const who = document.querySelector('#fmri-subject');"
        "who.value = 'sim-02'; who.dispatchEvent(new Event('change'))"
    )
    chromium.run("new Promise(d => setTimeout(d, 500)).then(() => document.querySelector('#fmri-csv').click())")
    meg, fmri = (pd.read_csv(io.StringIO(chromium.run(f"saved[{number}].text()"))) for number in (0, 1))
    assert list(meg) == ["study", "signal", "subject", "layer", "depth", "time", "r"]
    assert list(fmri) == ["study", "signal", "subject", "area", "layer", "depth", "r"]
    results = training.members[-1].results
    meg, fmri = (table[table["study"] == training.names()[-1]] for table in (meg, fmri))
    assert set(meg["subject"]) == {"mean of all"} and set(meg["layer"]) == {"block 11"} and set(meg["depth"]) == {1.0}
    scores = lookups.averaged_over(results, "meg", "time").sel(signal="activation", layer="block.11")
    np.testing.assert_allclose(meg["time"], scores["time"], atol=1e-4)
    np.testing.assert_allclose(meg["r"], scores.mean("subject"), atol=2e-5)
    assert set(fmri["subject"]) == {"sim-02"} and set(fmri["area"]) == {"mean of all"}
    assert fmri["layer"].tolist() == [f"block {i}" for i in range(12)]
    np.testing.assert_allclose(fmri["depth"], results.depths("fmri"), atol=1e-4)
    scores = lookups.averaged_over(results, "fmri", "roi").sel(signal="activation", subject="sim-02")
    np.testing.assert_allclose(fmri["r"], scores.mean("roi"), atol=2e-5)


@pytest.mark.browser
def test_nothing_can_be_chosen_where_there_are_no_scores(small_results, chromium, tmp_path):
    only = StudyResults(small_results.provenance, {"fmri": small_results.scores["fmri"]})
    chromium.open(write_comparison(Collection((Member("one", {}, only),)), tmp_path / "p.html"), 1280)
    assert chromium.curves_drawn("fmri-plot") == 1
    assert chromium.run("document.querySelectorAll('#curves select, #curves input, #curves button').length") == 0
    assert chromium.run("document.querySelectorAll('#layers select').length") == 3
    assert chromium.problems() == []


def test_results_without_a_modality_are_compared_too(small_results, tmp_path):
    only = StudyResults(small_results.provenance, {"meg": small_results.scores["meg"]})
    page = write_comparison(Collection((Member("one", {"model": "dino-tiny"}, only),)), tmp_path / "p.html")
    assert "1 study side by side" in page.read_text()
