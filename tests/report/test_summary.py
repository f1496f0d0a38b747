"""The numbers in the report against pandas and by hand; its sentences against what the numbers say."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from brainmap.report.panels.order_gain_controls import map_words, order_words
from brainmap.report.words import headlines, methods, p_and_numbers, planted_and_found
from brainmap.report.words.answer import plain_answer
from brainmap.results import StudyResults, lookups, nameable


@pytest.fixture
def editable(small_results) -> StudyResults:
    return copy.deepcopy(small_results)


@pytest.mark.parametrize(("modality", "by"), [("fmri", "roi"), ("meg", "time"), ("meg", "sensor")])
def test_averages_agree_with_pandas(editable, modality, by):
    editable.scores[modality]["r"][0, 0, 0, :, 3] = np.nan  # a target without a score does not count
    r = editable.mean_r(modality)
    got = lookups.averaged_over(editable, modality, by)
    for signal, layer in ((0, 0), (1, 5)):
        flat = pd.Series(r.values[0, signal, layer].astype(float))
        expected = flat.groupby(editable.scores[modality][by].values).mean()
        np.testing.assert_allclose(got.values[0, signal, layer], expected.loc[got[by].values], rtol=1e-6)


def test_best_layers_against_a_loop(editable):
    r = editable.mean_r("fmri").sel(signal="gradient").mean("subject").values
    editable.significance["fmri"].loc[{"signal": "gradient", "layer": "block.11"}] = False
    best, depth, top = lookups.best_layers(editable, "gradient")
    significant = editable.significance["fmri"].sel(signal="gradient").values
    for target in range(r.shape[1]):
        layer = int(np.argmax(r[:, target]))
        assert best[target] == layer
        if significant[layer, target]:
            assert depth[target] == pytest.approx(layer / 11)
            assert top[target] == pytest.approx(r[layer, target])
        else:
            assert np.isnan(depth[target])
            assert np.isnan(top[target])


def test_runs_of_time():
    assert lookups.time_runs([0.1, 0.2, 0.3, 0.7, 0.9, 1.0], 0.1) == [(0.1, 0.3), (0.7, 0.7), (0.9, 1.0)]
    assert p_and_numbers.format_windows([(0.1, 0.3), (0.7, 0.7)]) == "0.10–0.30 s, 0.70 s"
    assert p_and_numbers.format_windows([]) == "no time"


def test_headlines_carry_uncertainty(small_results):
    cards = {item.question: item for item in headlines.headlines(small_results)}
    assert len(cards) == 6
    area, values, _ = nameable.best_area(small_results, "activation")
    assert cards["Best-predicted area"].value == area
    assert "±" in cards["Best-predicted area"].uncertainty
    sem = values.std(ddof=1) / np.sqrt(len(values))
    assert f"{sem:.3f}"[1:] in cards["Best-predicted area"].uncertainty
    assert cards["Areas where gradients add"].value == "5 of 51"
    assert cards["Times when gradients add"].value == "0.50–1.20 s"
    assert "interval" in cards["Order in space"].uncertainty


def test_planted_and_found(editable):
    verdicts = {check.what: check.verdict for check in planted_and_found.found_and_planted(editable)}
    assert set(verdicts.values()) == {"recovered"}
    table = editable.residual["fmri"]
    table.loc[table["unit"] == "FFC", "significant"] = False
    assert _areas(editable).verdict == "partly"
    table.loc[table["unit"] == "V1", "significant"] = True
    assert _areas(editable).verdict == "differs"
    assert "not planted: V1" in _areas(editable).found
    times = editable.residual["meg"]
    times.loc[times["unit"] < -0.2, "significant"] = True
    window = {check.what: check for check in planted_and_found.found_and_planted(editable)}[
        "Times that only gradients drive"
    ]
    assert window.verdict == "differs"
    editable.truth = None
    assert planted_and_found.found_and_planted(editable) == []


def test_planted_depths_are_compared(editable):
    table = editable.hierarchy["spatial"]["activation"]
    editable.truth["depth_by_area"] = dict(zip(table["roi"], table["best_layer"] * 0.9 + 0.02, strict=True))
    check = next(c for c in planted_and_found.found_and_planted(editable) if c.what == "Depth of each area")
    assert check.verdict == "recovered"
    assert "r = 1.00" in check.found


def _areas(results: StudyResults) -> planted_and_found.Check:
    return next(c for c in planted_and_found.found_and_planted(results) if c.what == "Areas that only gradients drive")


def test_answer_follows_the_numbers(editable):
    text = " ".join(plain_answer(editable))
    assert "simulated fMRI" in text
    assert "the farther from V1" in text
    assert "in 5 of 51 areas" in text
    editable.hierarchy["spatial"]["activation"].attrs.update(r=0.05, p=0.7)
    editable.hierarchy["temporal"]["activation"].attrs.update(r=-0.8, p=0.001)
    editable.residual["fmri"]["significant"] = False
    editable.residual["meg"]["significant"] = False
    editable.provenance.update(simulated=False, exactness="surrogate")
    text = " ".join(plain_answer(editable))
    assert "no reliable relation between the depth of a layer and distance from V1" in text
    assert "the earlier the moments" in text
    assert "adds to that prediction in none of 51 areas and at no time" in text
    assert "surrogate gradients" in text
    assert "imulated" not in text


def test_gradients_add_to_activations_that_predict_nothing(editable):
    marks = editable.significance["fmri"]
    marks.loc[{"signal": "activation"}] = False
    if "q" in marks.coords:
        marks["q"].loc[{"signal": "activation"}] = 1.0
    text = " ".join(plain_answer(editable))
    assert "its gradients, adds to what the activations predict in 5 of 51 areas" in text


def test_methods_are_written_from_the_settings(editable):
    text = methods.methods_paragraph(editable)
    parts = ["no person was measured", "5-fold", "grouped by source photograph", "3f9c2a71", "sign flips"]
    for part in [*parts, "9 values between 1 and 10⁸", "not divided by a noise ceiling"]:
        assert part in text
    editable.provenance.update(exactness="surrogate", ceiling_normalised=True, pca=300)
    text = methods.methods_paragraph(editable)
    assert "surrogate" in text
    assert "divided by the noise ceiling" in text
    assert "300 principal components" in text


def test_provenance_leaves_nothing_out(editable):
    editable.provenance["something_new"] = {"a": [1, 2]}
    rows = dict(methods.provenance_rows(editable))
    assert rows["Responses"] == "SIMULATED"
    assert rows["Something new"] == "a: 1, 2"
    assert rows["Split hash"] == "3f9c2a71"
    assert "exact" in rows["Gradients are"]
    hidden = {"title", "simulated", "citations", "stimulus_duration"}
    assert len(rows) == 1 + len(set(editable.provenance) - hidden) + len(editable.modalities)


def test_a_study_of_one_subject_and_gradients_only(editable):
    scores = {name: data.isel(subject=[0]).sel(signal=["gradient"]) for name, data in editable.scores.items()}
    marks = {name: values.sel(signal=["gradient"]) for name, values in editable.significance.items()}
    alone = StudyResults(editable.provenance, scores, significance=marks)
    assert "its gradients, predicts" in plain_answer(alone)[0]
    cards = headlines.headlines(alone)
    assert [item.signal for item in cards] == ["gradient", "gradient"]
    assert all("one subject" in item.uncertainty and "SEM" not in item.note for item in cards)


def test_a_study_without_any_score_says_so(editable):
    scores = {"meg": editable.scores["meg"].copy(deep=True)}
    scores["meg"]["r"][:] = np.nan
    empty = StudyResults(editable.provenance, scores)
    assert plain_answer(empty) == ["No response could be scored."]
    assert headlines.headlines(empty) == []


def test_tests_of_an_order_in_space_are_told_in_words() -> None:
    table = pd.DataFrame({"roi": ["V1"]})
    assert map_words(table) == ""
    table.attrs = {"p": 0.02, "areas_p": 0.002, "geodesic_r": 0.5, "geodesic_p": 0.04, "p_method": "random maps"}
    table.attrs |= {"unit_r": 0.3, "unit_low": 0.1, "unit_high": 0.45, "unit_p": 0.01, "unit": "subjects", "n_units": 8}
    assert order_words(table) == (
        "Line: least squares. p: random maps. With areas taken for independent p = .002; over 8 subjects, these areas "
        "given, r = .30 [.10, .45], p = .01; distance along the mesh, from the edge of V1, instead: r = .50, "
        "p = .04."
    )


def test_p_of_an_order_is_that_of_the_test_that_knows_its_neighbours() -> None:
    plain = {"r": 0.8, "p": 0.001, "rho_p": 0.002}
    assert p_and_numbers.order_p(plain) == (0.001, "p = .001") and p_and_numbers.order_p(plain, "rho_p") == (
        0.002,
        "p = .002",
    )
    sloped = plain | {"slope_p": 0.2}
    assert p_and_numbers.order_p(sloped) == (0.2, "slope p = .20") and p_and_numbers.order_p(sloped, "rho_p")[1] == ""
    assert np.isnan(p_and_numbers.order_p(plain | {"slope_p": float("nan")})[0])  # one fold of one subject
    assert np.isnan(p_and_numbers.order_p({})[0]) and p_and_numbers.order_p({})[1] == ""
    table = pd.DataFrame({"layer": ["a"]})
    table.attrs = sloped | {"slope": 0.1234, "slope_low": -0.05, "slope_high": 0.3}
    words = order_words(table)
    assert "Tmax changes by 123 ms [-50, 300]" in words and "taken for independent p = .001." in words
