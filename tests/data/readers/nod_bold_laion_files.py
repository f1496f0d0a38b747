"""Small copies of NOD-MEG, BOLD5000 and LAION-fMRI in their true formats, with planted responses."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import mne
import nibabel
import numpy as np
import pandas as pd
from data.public_files import write_images
from PIL import Image

RATE = 250.0
SENSORS = ["MLO11-4504", "MRO11-4504"]
TIMES = np.arange(4000) / RATE


def wave(times: np.ndarray) -> np.ndarray:
    """Planted time course: a 6-Hz ripple around 200 ms."""
    return np.exp(-0.5 * ((times - 0.2) / 0.07) ** 2) * np.cos(2 * np.pi * 6 * (times - 0.2))


def write_nod_meg(root: Path, *, raw: bool = False, counted_over_all: bool = False, ending: str = "_meg_clean.fif"):
    """Three runs of five photographs: cleaned (annotations, no stimulus channel) or raw (UPPT001).

    Returns the planted amplitude of each photograph and the rows of the detailed events.
    """
    rng, rows = np.random.default_rng(0), []
    (root / "derivatives/preprocessed/raw").mkdir(parents=True)
    (root / "derivatives/detailed_events").mkdir()
    names = [f"n{k:08d}_{k}" for k in range(10)]
    write_images(root / "stimuli", names)
    amplitude = {name: rng.standard_normal(2) for name in names}
    for number, (session, run) in enumerate([("ImageNet01", 1), ("ImageNet01", 2), ("ImageNet02", 1)]):
        order = rng.permutation(names)[:5]
        onsets = np.round((2 + 2.5 * np.arange(5) + rng.uniform(0, 0.3, 5)) * RATE) / RATE
        folder = root / (f"sub-01/ses-{session}/meg" if raw else "derivatives/preprocessed/raw")
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"sub-01_ses-{session}_task-ImageNet_run-{run:02d}{'_meg.fif' if raw else ending}"
        _nod_recording(order, onsets, amplitude, raw).save(file, verbose="error")
        shown_run = number + 1 if counted_over_all else run
        rows += [
            {"subject": 1, "session": session, "run": shown_run, "image_id": name, "stim_is_animate": True}
            for name in order
        ]
    pd.DataFrame(rows).to_csv(root / "derivatives/detailed_events/sub-01_events.csv", index=False)
    return amplitude, rows


def _nod_recording(order, onsets: np.ndarray, amplitude: dict[str, np.ndarray], raw: bool) -> mne.io.BaseRaw:
    data = 1e-12 * sum(np.outer(amplitude[n], wave(TIMES - t)) for n, t in zip(order, onsets, strict=True))
    trigger = np.zeros(len(TIMES))
    for onset in onsets:
        sample = round(float(onset) * RATE)
        trigger[sample : sample + 4], trigger[sample + 90 : sample + 94] = 2, 4
    names = [*SENSORS, "UPPT001"] if raw else SENSORS
    info = mne.create_info(names, RATE, ["mag"] * 2 + ["stim"] * raw)
    # A recording that does not begin at sample 0, as cropped ones don't: annotations count from its time stamp.
    recording = mne.io.RawArray(np.vstack([data, trigger]) if raw else data, info, first_samp=500, verbose="error")
    recording.set_meas_date(1_600_000_000)
    if not raw:
        marks = [0.5, *onsets, *(onsets + 0.36), 15.9]
        what = ["begin", *["stim_on"] * len(onsets), *["resp"] * len(onsets), "end"]
        start = recording.first_time
        recording.set_annotations(
            mne.Annotations(np.array(marks) + start, 0.0, what, orig_time=recording.info["meas_date"])
        )
    return recording


def write_bold5000(root: Path) -> tuple[np.ndarray, list[str]]:
    """Subject 4 with nine sessions of one or two runs of 37 trials; originals and presented photographs."""
    rng = np.random.default_rng(4)
    root.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((3, 3, 2), dtype=np.uint8)
    mask[0] = 1
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), root / "CSI4_brainmask.nii.gz")
    values, names = [], []
    for session in range(1, 10):
        count = 74 if session == 2 else 37
        betas = rng.standard_normal((3, 3, 2, count)).astype(np.float32)
        file = root / f"CSI4_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{session:02d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(betas, np.eye(4)), file)
        values.append(betas[mask > 0].T)
        names += ["rep_laundromat1", *(f"COCO_train2014_{session:03d}{i:03d}" for i in range(count - 1))]
    suffixes = [".jpg", ".JPEG", ".jpeg"]  # mixed in the published lists
    listed = [name + suffixes[i % 3] for i, name in enumerate(names)]
    (root / "CSI4_imgnames.txt").write_text("\n".join(listed) + "\n")
    scenes = root / "stimuli/BOLD5000_Stimuli/Scene_Stimuli"
    write_images(scenes / "Original_Images", sorted(set(names)), seed=1)
    write_images(scenes / "Presented_Stimuli", sorted(set(names)), seed=2)
    return np.concatenate(values), names


def write_laion(root: Path) -> tuple[np.ndarray, list[str]]:
    """Two sessions of subject 3; rows of the tables of trials are not in the order of the volumes."""
    rng = np.random.default_rng(7)
    affine = np.diag([1.8, 1.8, 1.8, 1])
    folder = root / "derivatives/glmsingle-tedana/sub-03"
    names = [f"shared_12rep_LAION_cluster_{i}_i0" for i in range(3)] + [
        f"unique_LAION_cluster_{i}_i1" for i in range(5)
    ]
    fitted = np.zeros((3, 3, 3), dtype=np.float32)
    fitted[:2] = 0.5
    fitted[0, 0, 0] = np.nan
    values, shown = [], []
    for session in ("01", "02"):
        func = folder / f"ses-{session}/func"
        func.mkdir(parents=True)
        stem = f"sub-03_ses-{session}_task-images"
        order = rng.permutation(names)
        betas = rng.standard_normal((3, 3, 3, len(order))).astype(np.float32)
        nibabel.save(
            nibabel.Nifti1Image(betas, affine),
            func / f"{stem}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
        )
        table = pd.DataFrame({"session": f"ses-{session}", "run": "run-01", "beta_index": range(len(order))})
        table["label"] = [f"{name}.jpg" for name in order]
        table.iloc[::-1].to_csv(func / f"{stem}_desc-SingletrialBetas_trials.tsv", sep="\t", index=False)
        values.append(betas)
        shown += order.tolist()
    file = folder / "sub-03_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"
    nibabel.save(nibabel.Nifti1Image(fitted, affine), file)
    for category, label, inside in (("face", "FFA", np.s_[0, 1, :2]), ("visualcat", "visual", np.s_[0, 1:])):
        area = np.zeros((3, 3, 3), dtype=np.uint8)
        area[inside] = 1
        place = root / "derivatives/rois/sub-03" / category
        place.mkdir(parents=True)
        image = nibabel.Nifti1Image(area, affine)
        nibabel.save(image, place / f"sub-03_space-T1w_res-1pt8_label-{label}_mask.nii.gz")
    _write_laion_stimuli(root / "stimuli", names, rng)
    return np.concatenate([betas[0, 1:].reshape(6, -1).T for betas in values]), shown


def _write_laion_stimuli(folder: Path, names: list[str], rng: np.random.Generator) -> None:
    folder.mkdir()
    pd.DataFrame({"image_name": [f"{name}.jpg" for name in names], "dataset": "LAION"}).to_csv(
        folder / "task-images_metadata.csv", index=False
    )
    with h5py.File(folder / "task-images_stimuli.h5", "w") as file:
        images = file.create_dataset("images", (len(names),), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(len(names)):
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(data, format="JPEG")
            images[row] = np.frombuffer(data.getvalue(), dtype=np.uint8)
