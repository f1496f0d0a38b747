"""Dense CIFTI series, as fMRIPrep and the HCP's pipelines write them, in a BIDS folder."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import cifti2

sys.path.insert(0, str(Path(__file__).parent))
from planted_runs import AFFINE, N_IMAGES, N_SCANS, ONSETS, SHAPE, TR, amplitudes, bold, note
from test_bids_fmri import correlations, one_run, read

from brainmap.common.errors import InputError
from brainmap.data.atlas import load_atlas, load_surface
from brainmap.data.readers import open_dataset

FOLDER = "derivatives/fmriprep/sub-01/func"
STEM = "sub-01_task-x_space-fsLR_den-91k_bold"


def dense(path: Path, *, step: float = TR, unit: str = "SECOND", skipped: int = 0) -> None:
    """The planted run with its first voxels as vertices of the left hemisphere, the rest as voxels of the thalamus."""
    series = bold(ONSETS, amplitudes()).reshape(-1, N_SCANS).T
    below = np.ones(SHAPE, bool)
    below.ravel()[:6] = False
    axis = cifti2.BrainModelAxis.from_surface(np.arange(10, 16), 32492, "CortexLeft")
    axis = axis + cifti2.BrainModelAxis.from_mask(below, "ThalamusRight", AFFINE)
    kept = slice(0, series.shape[1] - skipped)
    header = cifti2.Cifti2Header.from_axes((cifti2.SeriesAxis(0, step, N_SCANS, unit), axis[kept]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(cifti2.Cifti2Image(series[:, kept].astype(np.float32), header), path)


def with_events(root: Path) -> None:
    folder = one_run(root)
    (folder / "sub-01_task-x_bold.nii.gz").unlink()


def test_grayordinates_are_targets_with_areas_and_places(tmp_path):
    with_events(tmp_path)
    dense(tmp_path / FOLDER / f"{STEM}.dtseries.nii")
    responses, shown = read(tmp_path)
    assert correlations(responses, shown).min() > 0.999 and len(shown) == N_IMAGES
    targets = responses.targets
    assert responses.info["mesh"] == "fsLR-32k" and targets["vertex"].tolist()[:7] == [*range(10, 16), -1]
    assert (
        targets["roi"].tolist()[:6] == load_atlas()["L"][10:16].tolist() and targets["roi"].iloc[6] == "thalamus_right"
    )
    assert np.allclose(targets[["x", "y", "z"]].iloc[0], load_surface("L", "midthickness")[0][10])
    place = AFFINE[:3, :3] @ np.argwhere(np.ones(SHAPE))[6] + AFFINE[:3, 3]
    assert np.allclose(targets[["x", "y", "z"]].iloc[6], place)
    (sentence,) = open_dataset("bids-fmri", tmp_path).choices(["01"])
    assert "grayordinates of fmriprep, space fsLR" in sentence
    with pytest.raises(InputError, match="is for volumes"):
        read(tmp_path, mask=tmp_path / "mask.nii.gz")


def test_the_sidecar_of_grayordinates_counts(tmp_path):
    with_events(tmp_path)
    dense(tmp_path / FOLDER / f"{STEM}.dtseries.nii", step=1.0)
    note(tmp_path / FOLDER / f"{STEM}.json", RepetitionTime=TR)
    responses, shown = read(tmp_path)
    assert correlations(responses, shown).min() > 0.999
    assert "1 s" in responses.info["findings"]["items"][0]["what"]


def test_volumes_beside_grayordinates_are_asked_about(tmp_path):
    with_events(tmp_path)
    folder = tmp_path / FOLDER
    dense(folder / f"{STEM}.dtseries.nii")
    nibabel.save(
        nibabel.Nifti1Image(bold(ONSETS, amplitudes()[::-1]).astype(np.float32), AFFINE),
        folder / "sub-01_task-x_space-T1w_desc-preproc_bold.nii.gz",
    )
    with pytest.raises(InputError, match=r"--set space=T1w \(there are T1w, fsLR\)"):
        read(tmp_path)
    responses, shown = read(tmp_path, space="fsLR")
    assert correlations(responses, shown).min() > 0.999


def test_runs_of_other_grayordinates_are_refused(tmp_path):
    one_run(tmp_path, "sub-01_task-x_run-1")
    one_run(tmp_path, "sub-01_task-x_run-2")
    for file in (tmp_path / "sub-01/func").glob("*bold*"):
        file.unlink()
    dense(tmp_path / FOLDER / STEM.replace("space", "run-1_space").__add__(".dtseries.nii"))
    dense(tmp_path / FOLDER / STEM.replace("space", "run-2_space").__add__(".dtseries.nii"), skipped=2)
    with pytest.raises(InputError, match=r"run-2.* has other grayordinates \(34\) than the first run"):
        read(tmp_path)


def test_damaged_series_are_one_sentence(tmp_path):
    with_events(tmp_path)
    file = tmp_path / FOLDER / f"{STEM}.dtseries.nii"
    dense(file)
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"dtseries\.nii"):
        read(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2, 5), np.float32), AFFINE), file)
    with pytest.raises(InputError, match=r"dtseries\.nii is no dense series of scans"):
        read(tmp_path)
