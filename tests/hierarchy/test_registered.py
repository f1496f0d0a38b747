"""Registered hypotheses: the file, its outcomes on planted and null scores, and the correction over all of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from brainmap.common.errors import InputError, MissingFileError
from brainmap.hierarchy import RegisteredHypotheses, evaluate_registered
from brainmap.hierarchy.registered.outcomes import corrected
from brainmap.study import preset_text

DEPTH = np.linspace(0, 1, 6)
TIMES = np.round(np.arange(-0.1, 0.8, 0.03), 3)
HEAD = "hypotheses:\n  - {id: A, statement: s, effect: score, modality: meg, of: {signal: gradient}, "


def one(effect: str, more: str = "", *, direction: str = "positive", smallest: float = 0.01) -> str:
    return (
        f"  - {{id: {effect}{direction}, statement: s, effect: {effect}, modality: meg, of: {{signal: gradient}}, "
        f"direction: {direction}, smallest: {smallest}{more}}}\n"
    )


def study(rng: np.random.Generator, level: float, *, lag: float = 0.0, subjects: int = 3, noise: float = 0.02):
    """Scores of both signals with peaks along the depth; ``level`` is the height of those of gradients."""
    peak = 0.12 + 0.28 * DEPTH
    curves = [np.exp(-(((TIMES - at[:, None]) / 0.1) ** 2)) for at in (peak, peak + lag)]
    both = np.stack([0.1 * curves[0], level * curves[1]])[:, None, :, None]
    shape = (2, subjects, len(DEPTH), 5, len(TIMES))
    common = rng.standard_normal((2, 1, 1, 5, len(TIMES)))  # photographs of a fold are the same for all
    values = both + noise * (rng.standard_normal(shape) + common) / np.sqrt(2)
    coords = {"depth": ("layer", DEPTH), "time": ("target", TIMES), "sensor": ("target", np.full(len(TIMES), "a"))}
    coords |= {"signal": ["activation", "gradient"], "layer": [f"block.{i}" for i in range(len(DEPTH))]}
    return xr.DataArray(values, dims=("signal", "subject", "layer", "split", "target"), coords=coords)


FILE = (
    "hypotheses:\n"
    + one("score")
    + one("difference", ", minus: {signal: activation}", direction="negative")
    + one("lag", ", minus: {signal: activation}", smallest=0.02)
    + one("order in time", smallest=0.02)
)


def test_the_shipped_file_holds_the_three_hypotheses_of_study_a() -> None:
    registered = RegisteredHypotheses.from_text(preset_text("misalignment-hypotheses"))
    assert {each.id[0] for each in registered.hypotheses} == {"1", "2", "3"}
    assert registered.sha256 == hashlib.sha256(preset_text("misalignment-hypotheses").encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "direction: up, smallest: 0.1}", "direction"),
        (HEAD + "direction: positive, smallest: 0}", "smallest"),
        (HEAD + "direction: positive, smallest: 1.5}", "no correlation"),
        (HEAD + "direction: positive, smallest: 0.1, minus: {signal: activation}}", "no 'minus'"),
        (HEAD + "direction: positive, smallest: 0.1, test: maps}", "random maps"),
        (HEAD + "direction: positive, smallest: 0.1, colour: red}", "colour"),
        (HEAD, "YAML"),
        ("hypotheses: []", "at least 1"),
        (HEAD + "direction: positive, smallest: 0.1}\n" + one("score").replace("scorepositive", "A"), "two"),
        ("sha256: 12\n" + FILE, "computed of the file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        RegisteredHypotheses.from_text(text, "mine.yaml")
    assert "mine.yaml" in str(error.value) and "\n" not in str(error.value)


def test_an_absent_file(tmp_path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        RegisteredHypotheses.from_yaml(tmp_path / "none.yaml")


def test_planted_effects_have_their_words() -> None:
    registered = RegisteredHypotheses.from_text(FILE)
    words = {}
    for name, values in {
        "later": study(np.random.default_rng(0), 0.1, lag=0.1),
        "earlier": study(np.random.default_rng(1), 0.1, lag=-0.1),
        "same": study(np.random.default_rng(2), 0.1, noise=0.002),
        "weaker": study(np.random.default_rng(3), 0.03, noise=0.01),
        "nothing": study(np.random.default_rng(4), 0.0),
    }.items():
        table = evaluate_registered(registered, {"meg": values}).set_index("hypothesis")
        words[name] = table["verdict"]
        assert (table["p_corrected"] >= table["p"]).all() or table["p"].isna().any()
    assert words["later"]["scorepositive"] == words["later"]["lagpositive"] == "confirmed"
    assert words["later"]["order in timepositive"] == "confirmed"
    assert words["earlier"]["lagpositive"] == "refuted"
    assert words["same"]["differencenegative"] == words["same"]["lagpositive"] == "equivalent"
    assert words["weaker"]["differencenegative"] == "confirmed"
    assert words["nothing"]["lagpositive"] == "inconclusive"  # what predicts nothing has no peak


def test_interval_and_corrected_p_say_the_same() -> None:
    registered = RegisteredHypotheses.from_text(FILE)
    for seed in range(30):
        table = evaluate_registered(registered, {"meg": study(np.random.default_rng(seed), 0.02, noise=0.05)})
        table = table[table["note"] == ""]
        outside = (table["low"] > 0) | (table["high"] < 0)
        assert (outside == (table["p_corrected"] <= 0.05)).all()


def test_other_units_layers_and_places() -> None:
    r = study(np.random.default_rng(0), 0.1, subjects=4)
    text = "hypotheses:\n" + one("score", ", test: subjects").replace(
        "{signal: gradient}", "{signal: gradient, layers: block.2, time: [0.1, 0.3]}"
    )
    row = evaluate_registered(RegisteredHypotheses.from_text(text), {"meg": r}).iloc[0]
    part = r.sel(signal="gradient", layer="block.2")
    part = part[..., (TIMES >= 0.1) & (TIMES <= 0.3)].mean(("split", "target"))
    assert row["effect"] == pytest.approx(float(part.mean()))
    assert row["p"] <= 10 * stats.ttest_1samp(part.values, 0).pvalue and "over 4 subjects" in row["how"]
    absent = RegisteredHypotheses.from_text(text.replace("block.2", "block.99"))
    row = evaluate_registered(absent, {"meg": r}).iloc[0]
    assert row["verdict"] == "inconclusive" and row["note"] == "there is no layer 'block.99'"
    row = evaluate_registered(RegisteredHypotheses.from_text(text.replace("meg", "fmri")), {"meg": r}).iloc[0]
    assert row["note"] == "there are no scores of fmri" and row["p_corrected"] == 1


def test_corrections_over_all_claims() -> None:
    p, equivalent = np.array([0.01, 0.5, np.nan]), np.array([0.9, 0.012, np.nan])
    assert corrected(p, equivalent, "bonferroni")[0] == pytest.approx([0.03, 1, 1])
    assert corrected(p, equivalent, "holm")[0][0] == pytest.approx(0.06)
    assert corrected(p, equivalent, "fdr")[1][1] == pytest.approx(0.036)


def test_false_words_stay_below_the_level_at_every_truth() -> None:
    """Families of three on the t scale, at zero, inside and exactly at the smallest effect of interest."""
    text = "hypotheses:\n" + "".join(one("score").replace("scorepositive", f"H{i}") for i in range(3))
    registered = RegisteredHypotheses.from_text(text)
    rng = np.random.default_rng(0)
    wrong = np.zeros(3)
    n = 150
    for _ in range(n):
        for i, truth in enumerate((0.0, 0.01, -0.01)):
            values = np.full((2, 1, 1, 5, 1), truth) + 0.01 * rng.standard_normal((2, 1, 1, 5, 1))
            r = xr.DataArray(
                values,
                dims=("signal", "subject", "layer", "split", "target"),
                coords={"signal": ["activation", "gradient"], "time": ("target", [0.1])},
            )
            said = set(evaluate_registered(registered, {"meg": r})["verdict"])
            false = {0.0: {"confirmed", "refuted"}, 0.01: {"equivalent", "refuted"}, -0.01: {"equivalent", "confirmed"}}
            wrong[i] += bool(said & false[truth])
    low = [stats.binomtest(int(k), n).proportion_ci(0.99, "exact").low for k in wrong]
    assert max(low) <= 0.05
