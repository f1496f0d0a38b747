"""The yardstick 'permutation' of a study: refits on permuted photographs, told beforehand, continued after a stop."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from study.own_files import OwnFiles, run_brainmap, write_own

from brainmap.encoding.inference import adjust
from brainmap.encoding.permutation import PermutationOptions, permutation_test
from brainmap.encoding.permutation_input import common_penalty
from brainmap.report import StudyResults
from brainmap.study import StudyConfig, chance
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
    monkeypatch.setattr(chance, "FEW", 50)
    own, out = many_targets(tmp_path / "own"), tmp_path / "run"
    dry = run_brainmap("fit", *own.options, *OPTIONS, "--shuffles", "99", "--out", str(out), "--dry-run", cwd=tmp_path)
    assert "99 refits × 1 subjects × 2 maps × 60 targets" in dry.stdout and "about" in dry.stdout
    assert not out.exists()
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--shuffles", "99", "--out", str(out), cwd=tmp_path)
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
    kept = sorted((out / "permutations" / "fmri").glob("*.npz"))
    before = [file.stat().st_mtime_ns for file in kept]
    assert [file.name for file in kept] == ["activation-block.11.npz", "activation-block.2.npz"]
    shutil.rmtree(out / "results")
    again = run_brainmap("fit", *own.options, *OPTIONS, "--shuffles", "99", "--out", str(out), cwd=tmp_path)
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


@pytest.mark.parametrize("shuffles", ["5", "many"])
def test_wrong_numbers_of_permutations(own: OwnFiles, tmp_path: Path, shuffles: str) -> None:
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--shuffles", shuffles, cwd=tmp_path)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and "shuffles" in ended.stderr


def test_moments_of_meg_are_tested_with_few_targets(own: OwnFiles, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = run_brainmap("fit", *own.options, *OPTIONS, "--shuffles", "119", "--out", str(out), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    results = StudyResults.load(out / "results")
    marks = results.significance["meg"]
    assert marks.dims == ("signal", "layer", "time")
    assert marks.sizes["time"] == len(np.unique(results.scores["meg"]["time"]))
    assert marks.values.any() and "its own best penalty" in results.provenance["p_values"]["meg"]
