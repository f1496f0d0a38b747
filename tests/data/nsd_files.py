"""A small NSD in the true formats: ``.mat``, ``.mgh``, ``.mgz``, HDF5, with planted responses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import scipy.io

N_VERTICES, N_IMAGES, SHAPE = 60, 400, (5, 4, 6)
TRIALS = 750


@dataclass
class Planted:
    """What was written: the photograph of each trial (0-based row of the brick) and each one's planted response."""

    root: Path
    shown: dict[int, np.ndarray]
    signal: np.ndarray  # (images, left vertices + right vertices)
    voxels: np.ndarray  # (images, voxels in nsdgeneral, C order of x, y, z)


def write_nsd(root: Path, sessions: tuple[int, ...] = (1, 2), *, subject: int = 1) -> Planted:
    rng = np.random.default_rng(0)
    ordering = np.concatenate([rng.permutation(np.tile(np.arange(250), 3)) for _ in range(40)])
    subjectim = np.stack([rng.permutation(N_IMAGES)[:300] for _ in range(8)])
    design = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    design.parent.mkdir(parents=True)
    scipy.io.savemat(
        design,
        {"masterordering": ordering[None] + 1, "subjectim": subjectim + 1, "sharedix": np.arange(1, 31)[None],
         "basiccnt": np.zeros((3, 40))},
    )  # fmt: skip
    shown = {
        session: subjectim[subject - 1][ordering[(session - 1) * TRIALS : session * TRIALS]] for session in sessions
    }
    pd.DataFrame(
        [
            {
                "SUBJECT": subject,
                "SESSION": session,
                "RUN": 1 + trial // 63,
                "TRIAL": 1 + trial % 63,
                "73KID": image + 1,
            }
            for session, images in shown.items()
            for trial, image in enumerate(images)
        ]
    ).to_csv(_folder(root / f"nsddata/ppdata/subj{subject:02d}/behav") / "responses.tsv", sep="\t", index=False)
    with h5py.File(_folder(root / "nsddata_stimuli/stimuli/nsd") / "nsd_stimuli.hdf5", "w") as file:
        file["imgBrick"] = rng.integers(0, 256, (N_IMAGES, 6, 6, 3), dtype=np.uint8)
    signal = rng.standard_normal((N_IMAGES, 2 * N_VERTICES))
    _write_surface(root, subject, shown, signal, rng)
    voxels = _write_volume(root, subject, shown, rng)
    return Planted(root, shown, signal, voxels)


def write_mgh(path: Path, values: np.ndarray) -> None:
    shape = (len(values), 1, 1) + ((values.shape[1],) if values.ndim == 2 else ())
    image = nibabel.MGHImage(values.astype(np.float32).reshape(shape), np.eye(4))
    nibabel.save(image, path)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_surface(root: Path, subject: int, shown: dict[int, np.ndarray], signal: np.ndarray, rng) -> None:
    betas = _folder(root / f"nsddata_betas/ppdata/subj{subject:02d}/fsaverage/betas_fithrf_GLMdenoise_RR")
    label = _folder(root / "nsddata/freesurfer/fsaverage/label")
    for side, columns in (("lh", slice(0, N_VERTICES)), ("rh", slice(N_VERTICES, None))):
        for session, images in shown.items():
            level, scale = rng.standard_normal((2, N_VERTICES))
            clean = signal[images][:, columns] * np.exp(scale) + 10 * level
            write_mgh(betas / f"{side}.betas_session{session:02d}.mgh", clean.T)
        write_mgh(betas / f"{side}.ncsnr.mgh", np.linspace(0, 1, N_VERTICES))
        write_mgh(label / f"{side}.nsdgeneral.mgz", (np.arange(N_VERTICES) % 3 == 0).astype(float))
        write_mgh(label / f"{side}.HCP_MMP1.mgz", np.arange(N_VERTICES) % 5)
        write_mgh(label / f"{side}.streams.mgz", np.arange(N_VERTICES) % 8)
        write_mgh(label / f"{side}.prf-visualrois.mgz", np.arange(N_VERTICES) % 8)


def _write_volume(root: Path, subject: int, shown: dict[int, np.ndarray], rng) -> np.ndarray:
    inside = rng.random(SHAPE) < 0.4
    signal = rng.standard_normal((N_IMAGES, *SHAPE))
    folder = _folder(root / f"nsddata_betas/ppdata/subj{subject:02d}/func1pt8mm/betas_fithrf_GLMdenoise_RR")
    rois = _folder(root / f"nsddata/ppdata/subj{subject:02d}/func1pt8mm/roi")
    left = np.zeros(SHAPE, dtype=bool)
    left[: SHAPE[0] // 2] = True
    for name, labels in (("nsdgeneral", inside.astype(int)), ("HCP_MMP1", np.where(inside, 1, 0))):
        for side, mine in (("lh", left), ("rh", ~left)):
            image = nibabel.Nifti1Image(np.where(mine, labels, -1).astype(np.int16), np.diag([1.8, 1.8, 1.8, 1]))
            nibabel.save(image, rois / f"{side}.{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.float32), np.eye(4)), folder / "ncsnr.nii.gz")
    for session, images in shown.items():
        with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
            file["betas"] = np.round(300 * signal[images]).transpose(0, 3, 2, 1).astype(np.int16)  # (trials, z, y, x)
    return signal.reshape(N_IMAGES, -1)[:, inside.ravel()]
