"""The yardstick 'permutation' of a study: refits on permuted photographs, told beforehand, continued after a stop."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from scipy import stats
from study.own_files import OwnFiles, run_brainmap, write_own

from brainmap.results import StudyResults
from brainmap.statistics.correction import adjust
from brainmap.statistics.permutation.permutation_test import permutation_test
from brainmap.statistics.permutation.permuted_subject import PermutationOptions, common_penalty
from brainmap.study import StudyConfig
from brainmap.study.analysis import above_chance
from brainmap.study.analysis.encoded_part import Encoded
from brainmap.study.inputs import extractor, load_stimuli

OPTIONS = ("--layers", "block.2,block.11", "--signals", "activation", "--cv", "4", "--test", "permutation")


def many_targets(folder: Path) -> OwnFiles:
    """Own fMRI with 60 targets, a third of which follow the photographs' mean colour."""
    own = write_own(folder, modality="fmri")
    rng = np.random.default_rng(3)
    shown = pd.read_csv(folder / "events.tsv", sep="\t")["stimulus"]
    colour = np.stack([np.asarray(Image.open(folder / "photos" / name)).mean((0, 1)) for name in shown])
    colour = (colour - colour.mean(0)) / colour.std(0)
    responses = rng.standard_normal((80, 60))
    responses[:, :20] += 2.0 * colour @ rng.standard_normal((3, 20))
    np.save(folder / "responses.npy", responses.astype(np.float32))
    areas = np.repeat(["V1", "V2", "V4", "FFC", "MT", "IPS"], 10)
    pd.DataFrame({"roi": areas}).to_csv(folder / "targets.tsv", sep="\t", index=False)
    return own


def test_marks_are_those_of_the_test_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(above_chance, "FEW_TARGETS", 50)
    own, out = many_targets(tmp_path / "own"), tmp_path / "run"
    dry = run_brainmap(
        "fit", *own.options, *OPTIONS, "--permutations", "99", "--out", str(out), "--dry-run", cwd=tmp_path
    )
    assert "99 refits × 1 subjects × 2 maps × 60 targets" in dry.stdout and "about" in dry.stdout
    assert not out.exists()
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--permutations", "99", "--out", str(out), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = StudyResults.load(out / "results")
    marks = results.significance["fmri"]
    assert marks.dims == ("signal", "layer", "target") and marks.shape == (1, 2, 60)
    assert "99 permutations of whole photographs" in results.provenance["p_values"]["fmri"]
    p = np.stack([expected_p(out, tmp_path / "own", results, layer) for layer in ("block.2", "block.11")])
    adjusted = adjust(xr.DataArray(p, dims=("layer", "target")), "bh", over=("target",))
    np.testing.assert_array_equal(marks.values[0], adjusted.values <= 0.05)
    assert marks.values[0, :, :20].mean() > 0.5 > 0.1 > marks.values[0, :, 20:].mean()
    # What is finished is found again.
    kept = sorted((out / "permutations" / "fmri").glob("*/*.npz"))
    before = [file.stat().st_mtime_ns for file in kept]
    assert [file.parent.name for file in kept] == ["activation-block.11", "activation-block.2"]
    shutil.rmtree(out / "results")
    again = run_brainmap("fit", *own.options, *OPTIONS, "--permutations", "99", "--out", str(out), cwd=tmp_path)
    assert again.returncode == 0
    assert [file.stat().st_mtime_ns for file in kept] == before
    xr.testing.assert_identical(StudyResults.load(out / "results").significance["fmri"], marks)


def expected_p(out: Path, files: Path, results: StudyResults, layer: str) -> np.ndarray:
    """Permutation test of one layer from the stored features and scores."""
    config = StudyConfig.from_dict(results.provenance["config"])
    stimuli = load_stimuli(config)
    stored = extractor(config, out / "features").extract(stimuli)
    events = pd.read_csv(files / "events.tsv", sep="\t")["stimulus"].to_numpy()
    names = np.unique(events)
    responses = np.load(files / "responses.npy")
    means = np.stack([responses[events == name].mean(axis=0, dtype=np.float64) for name in names])
    scores = results.scores["fmri"].sel(signal="activation", layer=layer).isel(subject=0)
    penalty = common_penalty(scores["alpha"].values, scores["r"].values)
    options = PermutationOptions(99, cv=4)
    features = np.asarray(stored["activation", layer])
    return (
        permutation_test(features, means, alpha=penalty, groups=stimuli.table["source"], options=options)
        .table["p"]
        .to_numpy()
    )


@pytest.mark.parametrize("permutations", ["5", "many"])
def test_wrong_numbers_of_permutations(own: OwnFiles, tmp_path: Path, permutations: str) -> None:
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--permutations", permutations, cwd=tmp_path)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and "permutations" in ended.stderr


def test_moments_of_meg_are_tested_with_few_targets(own: OwnFiles, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--permutations", "119", "--out", str(out), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = StudyResults.load(out / "results")
    marks = results.significance["meg"]
    assert marks.dims == ("signal", "layer", "time")
    assert marks.sizes["time"] == len(np.unique(results.scores["meg"]["time"]))
    assert marks.values.any() and "its own best penalty" in results.provenance["p_values"]["meg"]


def shown(sessions: list[str], groups: list[str] | None = None, rows: np.ndarray | None = None) -> Encoded:
    """A subject who saw photographs p0, p1, …, each in the sessions that a word names by its letters."""
    trials = [(f"p{i}", letter) for i, word in enumerate(sessions) for letter in word]
    table = pd.DataFrame(trials, columns=["stimulus", "session"])
    shown_once = pd.DataFrame({"stimulus": [f"p{i}" for i in range(len(sessions))]})
    averaged: Any = SimpleNamespace(trials=shown_once, confounds=None)
    responses: Any = SimpleNamespace(trials=table)
    names = np.array(groups or [f"g{i}" for i in range(len(sessions))])
    where = np.arange(len(sessions)) if rows is None else rows
    return Encoded(responses, averaged, where, names)


@pytest.mark.parametrize(
    ("sessions", "groups", "strata", "words"),
    [
        (["a", "a", "b", "b", "b"], None, [0, 0, 1, 1, 1], " within sessions"),
        (["a", "ab", "b", "ba", "a", "b"], None, [0, 1, 2, 1, 0, 2], " within sessions"),  # repeated ones apart
        (["ab", "ab", "ba", "ab"], None, None, ""),  # every session shows everything
        (["aa", "a", "a", "a"], None, None, ""),  # one session
        (["ab", "ac", "bc", "b"], None, None, ", exchanged across sessions (too few were shown in the same ones)"),
        (["a", "b"] * 3 + ["b", "b"] * 2, [*"uuvvwwxxyy"], [0] * 6 + [1] * 4, " within sessions"),  # crops of u: a, b
    ],
)
def test_photographs_are_exchanged_within_sessions(
    sessions: list[str], groups: list[str] | None, strata: list[int] | None, words: str
) -> None:
    (found,), said = above_chance.session_strata([shown(sessions, groups)])
    assert said == words
    if strata is None:
        assert found is None
    else:
        assert (pd.Series(found).groupby(strata).nunique() == 1).all() and len(set(found)) == len(set(strata))


def test_subjects_who_are_permuted_alike_have_common_strata() -> None:
    first, second = shown(["a"] * 4 + ["b"] * 4), shown(["a", "a", "b", "b"] * 2)
    strata, _ = above_chance.session_strata([first, second])
    assert strata[0].tolist() == strata[1].tolist() and len(set(strata[0])) == 4
    other = shown(["a", "a", "b", "b"] * 2, rows=np.arange(8) + 1)  # other photographs: strata of its own
    strata, _ = above_chance.session_strata([first, other])
    assert [len(set(labels)) for labels in strata] == [2, 2]
    none, _ = above_chance.session_strata([first, shown(["a", "b"] * 3 + ["a", "c"])])
    assert none == [None, None]


def test_strata_reach_the_test() -> None:
    one = shown(["a"] * 6 + ["b"] * 6)
    one.averaged.values = np.zeros((12, 3))
    config = StudyConfig(fmri_test="permutation")
    labels = np.repeat([0, 1], 6)
    features = {("activation", "block.0"): np.zeros((12, 2))}
    space = ("activation", "block.0", [labels])
    (found,) = above_chance._inputs([one], None, features, config, space, fixed=False)  # type: ignore[arg-type, list-item]
    assert found.strata is labels and found.groups is one.groups


def test_level_and_signed_ranks_can_be_set() -> None:
    rng = np.random.default_rng(0)
    r = xr.DataArray(
        rng.normal(np.linspace(0, 0.012, 40), 0.01, (9, 1, 1, 4, 40)),
        dims=("subject", "signal", "layer", "split", "target"),
    )
    subjects = [SimpleNamespace(responses=SimpleNamespace(modality="fmri"))]
    p = stats.wilcoxon(r.mean("split").values[:, 0, 0], alternative="greater", axis=0).pvalue
    adjusted = stats.false_discovery_control(p)
    counts = []
    for level in (0.05, 0.01):
        config = StudyConfig(fmri_test="wilcoxon", fmri_level=level)
        marks, method = above_chance.above_chance(r, subjects, None, None, config)  # type: ignore[arg-type]
        assert "Wilcoxon signed-rank test over subjects" in method
        assert method.endswith("of each map" if level == 0.05 else "of each map, p ≤ .01")
        np.testing.assert_array_equal(marks.values[0, 0], adjusted <= level)
        counts.append(int(marks.sum()))
    assert counts[0] > counts[1] > 0
