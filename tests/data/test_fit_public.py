"""The command line on public datasets as they lie on disk, small."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from data.nsd_files import write_nsd
from data.things_files import write_things_meg
from study.own_files import run_brainmap

from brainmap.results import StudyResults

MEG = ["--set", "sessions=[1,2]", "--set", "runs=[1,2]", "--set", "epochs.tmin=-0.1", "--set", "epochs.tmax=0.5"]


def scores(run) -> xr.Dataset:
    return next(iter(StudyResults.load(run / "results").scores.values()))


def test_fit_on_nsd_runs_from_files_to_report(tmp_path, monkeypatch):
    write_nsd(tmp_path / "nsd", sessions=(1,))
    monkeypatch.setenv("BRAINMAP_DATA", str(tmp_path))
    options = ["fit", "--dataset", "nsd", "--subject", "1", "--weights", "untrained", "--layers", "block.0,block.5",
               "--signals", "activation", "--cv", "3", "--set", "sessions=[1]", "--out", "run"]  # fmt: skip
    planned = run_brainmap(*options, "--dry-run", cwd=tmp_path)
    assert "1 subjects × 750 trials × 40 targets" in planned.stdout
    assert "missing nothing" in " ".join(planned.stdout.split())
    lacking = run_brainmap(*options[:-4], "--dry-run", cwd=tmp_path)
    assert "39 of 40 sessions of subject 1 have no betas" in lacking.stdout
    assert "files of nsd are not on disk (about 38.4 GB, licence NSD terms and conditions," in lacking.stdout
    done = run_brainmap(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = scores(tmp_path / "run")
    assert found.sizes["target"] == 40 and found["subject"].values.tolist() == ["1"]
    results = StudyResults.load(tmp_path / "run" / "results")
    ncsnr = np.tile(np.linspace(0, 1, 60)[::3], 2)
    expected = np.sqrt(ncsnr**2 / (ncsnr**2 + 1 / 3))  # three showings of each photograph
    assert np.allclose(results.ceilings["fmri"].values[0], expected, atol=1e-6)
    assert not results.provenance["simulated"]
    assert not [note for note in results.provenance["notes"] if "findings in the files" in note]
    assert (tmp_path / "run" / "report.html").is_file()
    again = run_brainmap(*options, cwd=tmp_path)
    assert again.returncode == 0


def test_fit_on_things_meg_runs_from_recordings_to_report(tmp_path, shared_data):
    planted = write_things_meg(tmp_path / "data" / "things-meg", shared_data / "things_meta")
    options = ["fit", "--dataset", "things-meg", "--subject", "BIGMEG1", "--data-root", str(tmp_path / "data"),
               "--stimuli", str(planted.images), "--weights", "untrained", "--layers", "block.0,block.5", "--cv", "3",
               "--signals", "activation", *MEG, "--out", "run"]  # fmt: skip
    done = run_brainmap(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = scores(tmp_path / "run")
    assert found.sizes["target"] == 4 * 19 and found["subject"].values.tolist() == ["BIGMEG1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "nds"], "there is no such dataset; there are sample, own"),
        (["--dataset", "nsd", "--data-root", "nowhere"], "name the folder of nsd with --data-root"),
        (["--dataset", "nsd", "--data-root", ".", "--set", "atlas"], "must be a name and a value"),
    ],
)
def test_wrong_options_are_answered_in_a_sentence(tmp_path, options, message):
    done = run_brainmap("fit", *options, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr
