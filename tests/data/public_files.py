"""Small copies of other public datasets in their true formats, with planted responses."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
from PIL import Image


def write_images(folder: Path, names: list[str], seed: int = 0, side: int = 6) -> None:
    """One folder per concept, as THINGS has it; pixels depend on name and seed."""
    for name in names:
        place = folder / (name.rpartition("_")[0] or "x")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([seed, *name.encode()]).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{name}.png")


def write_pandas_frame(path: Path, values: np.ndarray, *, table: bool = False) -> None:
    """``DataFrame.to_hdf`` as pandas writes it (fixed or table format), for voxels × (voxel_id + trials)."""
    voxels = np.arange(len(values))
    with h5py.File(path, "w") as file:
        group = file.create_group("ResponseData")
        if table:
            kind = np.dtype(
                [("index", "<i8"), ("values_block_0", "<f4", values.shape[1]), ("values_block_1", "<i8", 1)]
            )
            rows = np.zeros(len(values), dtype=kind)
            rows["index"], rows["values_block_0"], rows["values_block_1"] = voxels, values, voxels[:, None]
            group["table"] = rows
            return
        group["axis1"] = voxels
        group["block0_values"] = values.astype("<f4")
        group["block1_values"] = voxels[:, None]
        group["block1_items"] = np.array([b"voxel_id"])


def write_things_fmri(root: Path, *, table: bool = False, subject: str = "02") -> tuple[np.ndarray, pd.DataFrame]:
    """Three sessions of two runs; session 3 lacks run 7, as the public responses of subject 2 do."""
    rng = np.random.default_rng(0)
    tests = ["candle_14s", "dog_13s"]
    rows = []
    for session in (1, 2, 3):
        for run in (6, 7):
            if (session, run) == (3, 7):
                continue
            names = [f"mango_{10 * session + 3 * (run - 6) + i:02d}s" for i in range(3)]
            rows += [{"trial_type": "train", "session": session, "run": run, "stimulus": f"{n}.jpg"} for n in names]
            rows += [{"trial_type": "test", "session": session, "run": run, "stimulus": f"{n}.jpg"} for n in tests]
    trials = pd.DataFrame(rows)
    trials["trial_id"] = np.arange(len(trials))
    names = [name.removesuffix(".jpg") for name in trials["stimulus"]]
    pattern = {name: rng.standard_normal(9) for name in sorted(set(names))}
    clean = np.stack([pattern[name] for name in names])
    values = clean + 5 * trials["session"].to_numpy()[:, None]
    folder = root / "betas_csv"
    folder.mkdir(parents=True)
    write_pandas_frame(folder / f"sub-{subject}_ResponseData.h5", values.T, table=table)
    trials.to_csv(folder / f"sub-{subject}_StimulusMetadata.csv", index=False)
    voxel = pd.DataFrame({"voxel_id": np.arange(9), "voxel_x": 1.0, "voxel_y": np.arange(9.0), "voxel_z": 0.0})
    voxel["nc_singletrial"] = 20.0
    voxel["splithalf_corrected"] = 1.0  # all 0 or 1, and no area
    voxel["V1"] = [1, 1, 1, 0, 0, 0, 0, 0, 0]  # pRF mapping
    voxel["lFFA"] = [0, 0, 0, 0, 0, 0, 1, 0, 0]
    voxel["glasser-V1"] = [1, 0, 0, 0, 0, 0, 0, 0, 0]
    voxel["glasser-p9-\n46v"] = [0, 0, 0, 0, 1, 0, 0, 0, 0]  # as in the public file
    voxel["glasser-FFC"] = [0, 0, 0, 0, 0, 1, 1, 0, 0]
    voxel.to_csv(folder / f"sub-{subject}_VoxelMetadata.csv", index=False)
    write_images(root / "stimuli", sorted(set(names)))
    return clean, trials


def write_bids_fmri(root: Path, meta: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two runs of subject 1 around the real events tables and sidecar of THINGS-fMRI; BOLD from known amplitudes."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    rng = np.random.default_rng(1)
    real = meta / "ds004192/sub-01/ses-things01/func"
    place = root / "sub-01/ses-things01/func"
    place.mkdir(parents=True)
    shutil.copy(meta / "ds004192/dataset_description.json", root)
    shape, amplitude = (4, 3, 3), {}
    mask = rng.random(shape) < 0.6
    for run in (1, 2):
        stem = f"sub-01_ses-things01_task-things_run-{run:02d}"
        events = pd.read_csv(real / f"{stem}_events.tsv", sep="\t").iloc[:12]
        events.to_csv(place / f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")
        shutil.copy(real / "sub-01_ses-things01_task-things_run-01_bold.json", place / f"{stem}_bold.json")
        times = 1.5 * np.arange(60)
        bold = np.zeros((60, *shape))
        for event in events.itertuples():
            name = Path(event.file_path).stem
            amplitude.setdefault(name, rng.standard_normal(shape))
            one = pd.DataFrame({"onset": [event.onset], "duration": [event.duration], "trial_type": ["one"]})
            column = make_first_level_design_matrix(times, one, hrf_model="glover", drift_model=None)["one"].to_numpy()
            bold += column[:, None, None, None] * amplitude[name]
        drift = np.cos(np.pi * (np.arange(60) + 0.5) / 60)
        bold = 100 + bold + 2 * drift[:, None, None, None]
        image = nibabel.Nifti1Image(bold.transpose(1, 2, 3, 0).astype(np.float32), np.diag([2.0, 2, 2, 1]))
        nibabel.save(image, place / f"{stem}_bold.nii.gz")
    (place / "._sub-01_ses-things01_task-things_run-01_events.tsv").write_bytes(b"\0\5\x16\7AppleDouble")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), np.diag([2.0, 2, 2, 1])), root / "mask.nii.gz")
    write_images(root / "stimuli", sorted(amplitude))
    return {name: values[mask] for name, values in amplitude.items()}, mask


def write_bids_surface(root: Path, meta: Path) -> dict[str, np.ndarray]:
    """One run of fMRIPrep's surfaces (GIFTI): 5 left and 4 right vertices, a bump of the photograph's amplitude."""
    rng = np.random.default_rng(6)
    real = meta / "ds004192/sub-01/ses-things01/func/sub-01_ses-things01_task-things_run-01"
    raw, derived = root / "sub-01/ses-things01/func", root / "derivatives/fmriprep/sub-01/ses-things01/func"
    raw.mkdir(parents=True)
    derived.mkdir(parents=True)
    stem = "sub-01_ses-things01_task-things_run-01"
    events = pd.read_csv(f"{real}_events.tsv", sep="\t").iloc[:10]
    events.to_csv(raw / f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")
    names = [Path(name).stem for name in events["file_path"]]
    amplitude = {name: rng.standard_normal(9) for name in names}
    times = 1.5 * np.arange(50)
    bump = np.exp(-0.5 * ((times[:, None] - events["onset"].to_numpy() - 5.5) / 1.0) ** 2)
    series = (100 + bump @ np.stack([amplitude[name] for name in names])).astype(np.float32)
    for side, part in (("L", series[:, :5]), ("R", series[:, 5:])):
        image = nibabel.gifti.GiftiImage(darrays=[nibabel.gifti.GiftiDataArray(scan) for scan in part])
        nibabel.save(image, derived / f"{stem}_hemi-{side}_space-fsaverage_bold.func.gii")
        note(derived / f"{stem}_hemi-{side}_space-fsaverage_bold.json", RepetitionTime=1.5)
    confounds = pd.DataFrame({"framewise_displacement": ["n/a", *np.round(np.linspace(0, 0.48, 49), 4)]})
    confounds.to_csv(derived / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
    write_images(root / "stimuli", names)
    return amplitude


def write_algonauts(root: Path, n_images: int = 20) -> np.ndarray:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((n_images, 12 + 9)).astype(np.float32)
    folder = root / "subj01"
    (folder / "training_split/training_fmri").mkdir(parents=True)
    (folder / "training_split/training_images").mkdir()
    (folder / "roi_masks").mkdir()
    for side, part, total in (("lh", values[:, :12], 40), ("rh", values[:, 12:], 40)):
        np.save(folder / f"training_split/training_fmri/{side}_training_fmri.npy", part)
        every = np.zeros(total, dtype=int)
        every[3 : 3 + 2 * part.shape[1] : 2] = 1
        np.save(folder / f"roi_masks/{side}.all-vertices_fsaverage_space.npy", every)
        np.save(folder / f"roi_masks/{side}.streams_challenge_space.npy", np.arange(part.shape[1]) % 8)
        (root / "ceilings/subj01").mkdir(parents=True, exist_ok=True)
        np.save(root / f"ceilings/subj01/{side}.npy", np.full(part.shape[1], 60.0, dtype=np.float32))
    for i in range(n_images):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"training_split/training_images/train-{i + 1:04d}_nsd-{7 * i:05d}.png")
    return values


def write_nod(root: Path) -> np.ndarray:
    """Two runs (2 and 10: the order of names is not that of runs) of CIFTI betas on a few vertices."""
    rng = np.random.default_rng(3)
    cortex = nibabel.cifti2.BrainModelAxis.from_surface(np.array([5, 100, 7000]), 32492, "CIFTI_STRUCTURE_CORTEX_LEFT")
    cortex += nibabel.cifti2.BrainModelAxis.from_surface(np.array([8, 90]), 32492, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    values, names = [], []
    for run in (2, 10):
        stem = f"ses-imagenet01_task-imagenet_run-{run}"
        place = root / "derivatives/ciftify/sub-01/results" / stem
        place.mkdir(parents=True)
        betas = rng.standard_normal((6, 5)).astype(np.float32)
        labels = [f"n0{run:04d}_{i}" for i in range(6)]
        axis = nibabel.cifti2.ScalarAxis(labels)
        nibabel.save(nibabel.Cifti2Image(betas, (axis, cortex)), place / f"{stem}_beta.dscalar.nii")
        (place / f"{stem}_label.txt").write_text("\n".join(f"{name}.JPEG" for name in labels) + "\n")
        values.append(betas)
        names += labels
    write_images(root / "stimuli", names)
    return np.concatenate(values)


def write_things_eeg2(root: Path, protocol: int | None = None) -> dict[str, np.ndarray]:
    """Epochs as the authors save them: a pickled dictionary in a ``.npy`` file; with a protocol, a bare pickle."""
    rng = np.random.default_rng(5)
    names = {"training": [f"dog_{i:02d}b" for i in range(6)], "test": ["mug_01s", "pie_02s"]}
    epochs = {"training": rng.standard_normal((6, 4, 3, 8)), "test": rng.standard_normal((2, 10, 3, 8))}
    (root / "sub-01").mkdir(parents=True)
    for part, values in epochs.items():
        content = {
            "preprocessed_eeg_data": values,
            "ch_names": ["O1", "Oz", "O2"],
            "times": np.arange(8) / 100 - 0.02,
        }
        file = root / f"sub-01/preprocessed_eeg_{part}.npy"
        if protocol is None:
            np.save(file, content)  # type: ignore[arg-type]
        else:
            file.write_bytes(pickle.dumps(content, protocol=protocol))
        write_images(root / "image_set" / f"{part}_images", names[part], seed=9)
    return epochs


def note(path: Path, **content: object) -> None:
    path.write_text(json.dumps(content))
