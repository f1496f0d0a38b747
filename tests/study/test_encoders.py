"""Encoders that a run keeps: they reproduce its scores, know new photographs, and are what was written."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from study.own_files import run_brainmap, write_own

import brainmap
from brainmap.common.errors import InputError, MissingFileError
from brainmap.encoding.any_estimator import pearson
from brainmap.study import FinishedRun, Study, StudyConfig, verify_run
from brainmap.study.encoders.keeping import EQUAL, fold_weights, targets_of_layers

SHOWN = 32


def declared(folder: Path, **more: object) -> StudyConfig:
    files = {name: str(folder / file) for name, file in FILES.items()}
    few = {"layers": ("block.0", "block.5"), "cv": 4, "flips": 100, "controls": ("pixels",), "signals": ("activation",)}
    return StudyConfig.from_dict({**files, **few, **more})


FILES = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, np.ndarray, Path]:
    """A run in which eight of forty photographs were never shown, and the noiseless responses to all of them."""
    folder = tmp_path_factory.mktemp("kept")
    write_own(folder)
    events = pd.read_csv(folder / "events.tsv", sep="\t")
    number = events["stimulus"].str.extract(r"(\d+)")[0].astype(int).to_numpy()
    stimuli = brainmap.StimulusSet.from_folder(folder / "photos")
    colour = np.stack([image.reshape(-1, 3).mean(0) for image in stimuli]) / 30.0
    truth = colour @ np.random.default_rng(1).standard_normal((3, 18))
    seen = number < SHOWN
    noise = np.random.default_rng(2).standard_normal((int(seen.sum()), 18))
    np.save(folder / "responses.npy", (truth[number[seen]] + 0.3 * noise).astype(np.float32))
    events[seen].to_csv(folder / "events.tsv", sep="\t", index=False)
    Study(declared(folder, keep="encoders"), folder / "run").run(report=False)
    return brainmap.open_run(folder / "run"), truth, folder


def test_new_photographs_are_predicted(kept: tuple[FinishedRun, np.ndarray, Path]) -> None:
    run, truth, folder = kept
    encoder = run.encoder("meg")
    predicted = encoder.predict(folder / "photos")
    assert predicted.dims == ("subject", "stimulus", "target") and predicted.shape == (1, 40, 18)
    new = pearson(predicted.values[0, SHOWN:].astype(float), truth[SHOWN:])
    assert np.median(new) > 0.8
    assert predicted.attrs["fitted_on"] == f"all {SHOWN} photographs of the study (refit)" and predicted.attrs["unit"]
    said = encoder.describe()
    assert f"all {SHOWN} photographs" in said and "Unit: " in said and "18 targets" in said


def test_folds_encoders_reproduce_the_stored_scores(kept: tuple[FinishedRun, np.ndarray, Path]) -> None:
    run, _, _ = kept
    encoder = run.encoder("meg")
    assert encoder.about["reproduced_to"] <= EQUAL / 2
    assert encoder.about["split_hash"] == run.scores["meg"].attrs["split_hash"]
    (folder,) = encoder.folders.values()
    best = targets_of_layers(run.scores["meg"]["r"].load().isel(subject=0, signal=0), None)
    assert sorted(np.concatenate(list(best.values()))) == list(range(18))
    for layer, targets in best.items():
        assert np.array_equal(np.load(folder / layer / "targets.npy"), targets)
        coef, intercept = fold_weights(folder / layer / "folds")
        assert coef.shape[:2] == (4, len(targets)) == intercept.shape


def test_command_line_predicts_and_shows_what_drives_each_place(kept: tuple[FinishedRun, np.ndarray, Path]) -> None:
    run, _, folder = kept
    out, sheets = folder / "responses.zarr", folder / "sheets"
    ended = run_brainmap(
        "predict", str(run.folder), str(folder / "photos"), "--out", str(out), "--sheets", str(sheets), cwd=folder
    )
    assert ended.returncode == 0, ended.stderr
    assert "1 subject × 40 stimuli × 18 targets" in ended.stdout and "Refit on all" in ended.stdout
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing for a reader to wonder at
        written = xr.open_zarr(out)["response"].load()
    assert np.array_equal(written.values, run.encoder("meg").predict(folder / "photos").values)
    table = pd.read_csv(sheets / "drivers.csv")
    assert set(table["sensor"]) == {"MLO11", "MRO11", "MZO01"} and len(list(sheets.glob("*.png"))) == 3
    mean = written.mean("subject").groupby("sensor").mean()
    for sensor, rows in table.groupby("sensor"):
        assert rows["row"].iloc[0] == int(mean.sel(sensor=sensor).argmax("stimulus"))


def test_keeping_later_changes_no_score_and_chosen_layers_are_kept(
    kept: tuple[FinishedRun, np.ndarray, Path], tmp_path: Path
) -> None:
    run, _, folder = kept
    again = shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(again / "encoders")
    with pytest.raises(MissingFileError, match="--keep encoders"):
        brainmap.open_run(again).encoder("meg")
    before = json.loads((again / "results" / "results.json").read_text())
    Study(declared(folder, keep="encoders:block.5"), again).run(report=False)
    assert json.loads((again / "results" / "results.json").read_text()) == before
    encoder = brainmap.open_run(again).encoder("meg")
    assert encoder.layers == ["block.5"] and encoder.predict(folder / "photos", layer="block.5").notnull().all()
    with pytest.raises(InputError, match=r"keep encoders:block\.0"):
        encoder.predict(folder / "photos", layer="block.0")
    with pytest.raises(InputError, match="asked for"):
        Study(declared(folder, keep="encoders"), again).run(report=False)
    assert verify_run(again).ok
    weights = next(file for file in (again / "encoders").rglob("coef/c/**/*") if file.is_file())
    weights.write_bytes(weights.read_bytes()[:-1])
    assert not verify_run(again).ok


@pytest.mark.parametrize("keep", ["weights", "encoders:", "encoders: ,"])
def test_nothing_else_is_kept(keep: str) -> None:
    with pytest.raises(InputError, match="what can be kept is 'encoders'"):
        StudyConfig.from_dict({"keep": keep})


def test_a_plan_counts_the_encoders(kept: tuple[FinishedRun, np.ndarray, Path]) -> None:
    _, _, folder = kept
    plans = [Study(declared(folder, keep=keep), folder / "planned").plan() for keep in ("encoders", None)]
    (row,) = [what for stage, what, _ in plans[0].rows if stage == "encoders"]
    assert "the best layer of each target" in row and plans[0].disk_bytes > plans[1].disk_bytes
    assert not [stage for stage, _, _ in plans[1].rows if stage == "encoders"]
