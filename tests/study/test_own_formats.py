"""A new user's own files through the command line: a volume with an atlas, features from a file, maps written back."""

from __future__ import annotations

from pathlib import Path

import mne
import nibabel
import numpy as np
import pandas as pd
from PIL import Image
from study.own_files import run_brainmap, write_own

N_IMAGES, RATE = 24, 100.0
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


def photographs_and_features(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Photographs, and one feature of each that responses are made of; returns it and the order of two showings."""
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    names = [f"photo_{number:02d}.png" for number in range(N_IMAGES)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "photos" / name)
    feature = rng.standard_normal(N_IMAGES)
    np.savez(
        folder / "net.npz", layer=np.stack([feature, rng.standard_normal(N_IMAGES)], axis=1), names=np.array(names)
    )
    return feature, rng.permutation(np.repeat(np.arange(N_IMAGES), 2))


def fit(folder: Path, *options: str) -> pd.DataFrame:
    """Scores of a study from the command line, one row a target."""
    import brainmap

    done = run_brainmap(
        "fit", "--stimuli", "photos", "--features", "net.npz", "--out", "run", *options, cwd=folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "report.html").is_file()
    return brainmap.open_run(folder / "run").to_frame()


def test_epochs_cut_from_a_raw_recording_with_triggers_go_to_a_report(tmp_path: Path):
    feature, order = photographs_and_features(tmp_path)
    onsets = 1.0 + 0.9 * np.arange(len(order))
    rng = np.random.default_rng(1)
    data = np.zeros((4, int((onsets[-1] + 2) * RATE)))
    data[:3] = 1e-6 * rng.standard_normal((3, data.shape[1]))
    for onset, shown in zip(np.round(onsets * RATE).astype(int), order, strict=True):
        data[3, onset : onset + 3] = 1 + shown % 3
        data[:2, onset + 10 : onset + 20] += 5e-6 * feature[shown]
    info = mne.create_info(["Oz", "Pz", "Cz", "STI 014"], RATE, ["eeg"] * 3 + ["stim"])
    mne.io.RawArray(data, info, verbose="error").save(tmp_path / "x_raw.fif", verbose="error")
    raw = mne.io.read_raw_fif(tmp_path / "x_raw.fif", verbose="error")
    events = mne.find_events(raw, verbose="error")
    metadata = pd.DataFrame({"image": [f"photo_{shown:02d}.png" for shown in order], "response_time": 0.4})
    epochs = mne.Epochs(raw, events, tmin=-0.05, tmax=0.25, baseline=None, metadata=metadata, verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    scores = fit(tmp_path, "--responses", "x-epo.fif")
    scores = scores.groupby(["sensor", "time"])["r"].mean().unstack()
    assert scores.loc[["Oz", "Pz"], 0.15].min() > 0.9 and scores.loc[:, -0.05].max() < 0.5 > scores.loc["Cz", 0.15]


def test_a_volume_on_the_template_of_nilearn_goes_to_maps_and_back(tmp_path: Path):
    from nilearn.datasets import load_mni152_gm_mask, load_mni152_wm_mask

    feature, order = photographs_and_features(tmp_path)
    grey, white = load_mni152_gm_mask(resolution=24), load_mni152_wm_mask(resolution=24)  # shipped with nilearn
    labels = np.zeros(grey.shape, dtype=np.int16)
    labels[np.asarray(white.dataobj) > 0] = 2
    labels[np.asarray(grey.dataobj) > 0] = 1
    betas = np.random.default_rng(1).standard_normal((*labels.shape, len(order))).astype(np.float32)
    betas[labels == 1] += 3 * feature[order]
    nibabel.save(nibabel.Nifti1Image(betas, grey.affine), tmp_path / "betas.nii.gz")
    turned = nibabel.Nifti1Image(labels[::-1], grey.affine @ _mirror(len(labels)))
    nibabel.save(turned, tmp_path / "tissue.nii.gz")
    (tmp_path / "tissue.tsv").write_text("index\tname\n0\tBackground\n1\tgrey\n2\twhite\n")
    trials = pd.DataFrame({"stim_file": [f"photo_{shown:02d}" for shown in order]})
    trials.to_csv(tmp_path / "trials.tsv", sep="\t", index=False)
    scores = fit(
        tmp_path, "--responses", "betas.nii.gz", "--atlas", "tissue.nii.gz", "--events", "trials.tsv", "--out-space",
        "nifti",
    )  # fmt: skip
    by_area = scores.groupby("roi")["r"].mean()
    assert by_area["grey"] > 0.9 and abs(by_area["white"]) < 0.2
    maps = nibabel.load(tmp_path / "run/maps/sub-01_activation_r.nii.gz")
    values = maps.get_fdata()[..., 0]
    np.testing.assert_array_equal(np.isfinite(values), labels > 0)
    np.testing.assert_allclose(maps.affine, grey.affine)
    assert np.nanmean(values[labels == 1]) > 0.9 > 0.2 > abs(np.nanmean(values[labels == 2]))


def _mirror(length: int) -> np.ndarray:
    """The x axis counted from the other end."""
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = length - 1
    return mirror
