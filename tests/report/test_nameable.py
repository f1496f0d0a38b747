"""Headlines name only what is above chance: over noise, over several families, over pages of several studies."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from brainmap.report.page.comparison_data import NOWHERE, comparison_table
from brainmap.report.page.study_page import render_report
from brainmap.report.words import headlines
from brainmap.report.words.answer import few_images_words, plain_answer
from brainmap.results import StudyResults, nameable
from brainmap.results.collection import Collection, Member
from brainmap.statistics.significance import significance
from brainmap.study.analysis.above_chance import corrected_over_all

LAYERS = [f"block.{i}" for i in range(4)]


def study(rng: np.random.Generator, planted: float = 0.0, *, modalities: tuple[str, ...] = ("fmri", "meg")):
    """Results of responses that are noise, or of an effect in area B (fMRI) and at 0.2 s (MEG) in the last layer."""
    scores, marks = {}, {}
    for modality in modalities:
        if modality == "fmri":
            targets = pd.DataFrame({"roi": np.repeat(["A", "B", "C"], 6), "hemisphere": "L"})
            effect = np.where(targets["roi"] == "B", np.arctanh(planted), 0)
        else:
            times = np.round(np.arange(-0.1, 0.5, 0.1), 3)
            targets = pd.MultiIndex.from_product([["s1", "s2"], times]).to_frame(index=False, name=["sensor", "time"])
            effect = np.where(targets["time"] == 0.2, np.arctanh(planted), 0)
        r = 0.1 * rng.standard_normal((2, 2, len(LAYERS), 5, len(targets)))
        r[:, :, -1] += effect
        r = np.tanh(r)
        coords = {"subject": ["a", "b"], "signal": ["activation", "gradient"], "layer": LAYERS, "split": range(5)}
        coords |= {"depth": ("layer", np.linspace(0, 1, 4))} | {c: ("target", targets[c]) for c in targets}
        scores[modality] = xr.Dataset({"r": (("subject", "signal", "layer", "split", "target"), r)}, coords=coords)
        tested = significance(scores[modality]["r"], per="target" if modality == "fmri" else "time")
        marks[modality] = corrected_over_all(tested.significant, tested.p)
    return StudyResults({"simulated": False, "model": "toy"}, scores, significance=marks)


def named_anything(results: StudyResults) -> bool:
    return " best " in plain_answer(results)[0]


def test_noise_is_named_in_one_report_of_twenty_at_most() -> None:
    rng = np.random.default_rng(0)
    named = sum(named_anything(study(rng)) for _ in range(60))
    assert named <= 8  # binomial(60, .05) exceeds 8 once in three hundred


def test_a_page_of_many_noise_studies_names_nothing() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(8):
        members = [Member(str(i), {"model": "toy", "seed": i}, study(rng, modalities=("meg",))) for i in range(6)]
        table = comparison_table(Collection(tuple(members)))
        hits += bool((table["where"] != NOWHERE).any())
        if (table["where"] == NOWHERE).all():
            assert (table["layer"] == NOWHERE).all()
            assert table[["depth", "order_r"]].isna().all().all()
    assert hits <= 2


def test_what_is_planted_is_named_with_its_layer() -> None:
    results = study(np.random.default_rng(2), 0.8)
    text = plain_answer(results)[0]
    assert "fMRI responses best in B (r = .7" in text
    assert "MEG responses best 200 ms after onset" in text
    cards = headlines.headlines(results)
    assert [card.value for card in cards] == ["B", "200 ms"]
    assert all("block 3, the highest of 4 layers" in card.note and not card.muted for card in cards)


def test_nothing_above_chance_is_the_first_sentence_and_grey(tmp_path) -> None:
    results = study(np.random.default_rng(3))
    for marks in results.significance.values():
        marks[:] = False
        marks["q"][:] = 1.0
    assert plain_answer(results) == [
        "What toy computes about a photograph does not predict fMRI responses at any of 18 places, in any of 4 layers, "
        "or MEG responses at any of 6 moments, in any of 4 layers, above chance."
    ]
    cards = headlines.headlines(results)
    assert [card.value for card in cards] == ["none above chance", "none above chance"]
    assert all(card.muted and "r =" not in card.uncertainty for card in cards)
    page = render_report(results)
    assert page.count('class="number quiet"') == 2
    assert "no moment is above chance" in page and "no area is above chance" in page


def test_one_modality_above_chance_and_one_not() -> None:
    both = study(np.random.default_rng(4), 0.8)
    both.significance["meg"][:] = False
    text = plain_answer(both)[0]
    assert "predicts fMRI responses best in B" in text
    assert text.endswith("It does not predict MEG responses at any of 6 moments, in any of 4 layers, above chance.")


def test_what_was_not_tested_is_not_named() -> None:
    results = study(np.random.default_rng(5), 0.8)
    results.significance.clear()
    results.provenance["p_values"] = {"meg": "not computed: 5 subjects are needed, not 2"}
    assert plain_answer(results) == [
        "Whether what toy computes about a photograph predicts fMRI or MEG responses above chance was not tested: "
        "5 subjects are needed, not 2."
    ]
    assert [card.value for card in headlines.headlines(results)] == ["not tested", "not tested"]


def test_families_share_the_level() -> None:
    rng = np.random.default_rng(6)
    studies = [study(rng, modalities=("meg",)) for _ in range(4)]
    for results, q in zip(studies, (0.002, 0.03, 0.9, 0.9), strict=True):
        results.significance["meg"]["q"][:] = 1.0
        results.significance["meg"]["q"][0, 0, 0] = q
    levels = [level["meg"] for level in nameable.naming_levels(studies)]
    assert levels == pytest.approx([0.0125, 0, 0, 0])  # one of four chosen: .002 ≤ .05 / 4, but .03 > .05 × 2 / 4
    assert nameable.naming_levels(studies[1:2]) == [{"meg": 0.05}]


def test_marks_are_saved_with_the_correction_over_all(tmp_path) -> None:
    results = study(np.random.default_rng(7), 0.8)
    again = StudyResults.load(results.save(tmp_path / "results"))
    assert plain_answer(again) == plain_answer(results)
    xr.testing.assert_equal(again.significance["meg"]["q"], results.significance["meg"]["q"])


def test_a_finding_says_whose_it_is() -> None:
    results = study(np.random.default_rng(8), 0.8)
    results.provenance["config"] = {"fmri_test": "folds", "meg_test": "folds"}
    assert plain_answer(results)[-1] == (
        "This holds for these 2 subjects; what holds for people in general takes a test over subjects "
        "(at least 3 subjects and --test subjects)."
    )
    results.provenance["config"] = {"fmri_test": "subjects", "meg_test": "wilcoxon"}
    assert "holds for subjects in general, of whom these 2" in plain_answer(results)[-1]


def test_small_test_folds_are_warned_of() -> None:
    results = study(np.random.default_rng(9), 0.8)
    results.scores["meg"].attrs["n_test"] = [5, 5, 5, 5, 5]
    results.scores["fmri"].attrs["n_test"] = [[60] * 5, [40] * 5]
    assert plain_answer(results)[-1] == few_images_words(5, 25)
    assert "the smallest test fold has 5 photographs, where r of pure noise spreads by ±.50" in few_images_words(5, 25)
    assert "use fewer folds (--cv 2: 12 photographs each)" in few_images_words(5, 25)
    assert few_images_words(5, 5).endswith("; show more photographs.")
    quiet = copy.deepcopy(results)
    quiet.scores["meg"].attrs["n_test"] = [20] * 5
    assert "Caution" not in " ".join(plain_answer(quiet))


def test_what_holds_beyond_nonlinear_features_is_said(results: StudyResults) -> None:
    assert "nonlinear" not in " ".join(plain_answer(results))
    areas = dict(results.residual)
    held = areas["fmri"]["significant"].astype(bool)
    kept = held & (held.cumsum() > 1)  # all but the first
    for mark, ending in ((kept, "it still adds in"), (held & False, "nothing is left above chance")):
        results.residual["fmri"] = areas["fmri"].assign(p_nonlinear=0.5, p_beyond_nonlinear=np.where(mark, 0.01, 0.6))
        said = " ".join(plain_answer(results))
        assert f"Beyond random nonlinear features of the activations {ending}" in said
    results.residual["fmri"] = areas["fmri"]
