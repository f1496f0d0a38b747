"""A new user's own files through the command line: a volume with an atlas, features from a file, maps written back."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from study.own_files import run_brainmap, write_own

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def test_a_volume_with_an_atlas_goes_through_a_study(tmp_path: Path):
    own = write_own(tmp_path / "own", modality="fmri")
    responses = np.load(own.folder / "responses.npy")
    volume = np.zeros((3, 3, 3, 80), dtype=np.float32)
    labels = np.zeros((3, 3, 3), dtype=np.int16)
    volume[:2, :3, :3].reshape(18, 80)[:] = responses[:, :18].T
    labels[0], labels[1] = 4, 9
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), own.folder / "betas.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), own.folder / "dseg.nii.gz")
    (own.folder / "dseg.tsv").write_text("index\tname\n4\tV1\n9\tNA\n")
    shown = pd.read_csv(own.folder / "events.tsv", sep="\t")["stimulus"]
    events = pd.DataFrame({"Image": [rf"C:\exp\{name.upper()}" for name in shown]})
    events.to_csv(own.folder / "trials.csv", sep=";", index=False, encoding="utf-16")
    rng = np.random.default_rng(0)
    names = sorted(file.name for file in (own.folder / "photos").iterdir())
    np.savez(own.folder / "alexnet.npz", conv1=rng.random((40, 5)), fc6=rng.random((40, 3)), names=np.array(names))
    files = {"stimuli": "photos", "responses": "betas.nii.gz", "atlas": "dseg.nii.gz", "events": "trials.csv"}
    options = [part for name, file in files.items() for part in (f"--{name}", str(own.folder / file))]
    options += ["--features", str(own.folder / "alexnet.npz"), "--out", "run"]
    wrong = run_brainmap("fit", *options, "--out-space", "cifti", cwd=tmp_path)
    assert wrong.returncode == 2 and "The responses are voxels: their maps are nifti, not cifti" in wrong.stderr
    done = run_brainmap("fit", *options, "--out-space", "nifti", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: column 'Image' of trials.csv is read as 'stimulus'" in done.stderr
    maps = nibabel.load(tmp_path / "run" / "maps" / "sub-01_activation_r.nii.gz")
    np.testing.assert_array_equal(np.isfinite(maps.get_fdata()).all(axis=3), labels > 0)
    np.testing.assert_array_equal(maps.affine, AFFINE)
    assert (tmp_path / "run" / "maps" / "sub-01_activation_r.tsv").read_text().split() == [
        "volume", "layer", "0", "conv1", "1", "fc6"
    ]  # fmt: skip
    assert "the file alexnet.npz holds them" in (tmp_path / "run" / "report.html").read_text()
