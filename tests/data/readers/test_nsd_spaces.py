from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from data.nsd_files import N_VERTICES, write_mgh, write_nsd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.column_files import zscore_columns
from brainmap.data.readers import open_dataset

BETAS = "nsddata_betas/ppdata/subj01"


def read(root: Path, **options: object):
    reader = open_dataset("nsd", root, options={"sessions": (1, 2), **options})
    return reader.responses("1", reader.stimuli(["1"]))


def write_own_surface(root: Path, shown: dict[int, np.ndarray], signal: np.ndarray) -> None:
    """Betas as int16 (300 per percent) in HDF5, areas in the subject's own folder."""
    betas, label = root / BETAS / "nativesurface/betas_fithrf_GLMdenoise_RR", root / "nsddata/freesurfer/subj01/label"
    betas.mkdir(parents=True)
    label.mkdir(parents=True)
    for side, columns in (("lh", slice(0, N_VERTICES)), ("rh", slice(N_VERTICES, None))):
        for session, images in shown.items():
            with h5py.File(betas / f"{side}.betas_session{session:02d}.hdf5", "w") as file:
                file["betas"] = np.round(300 * signal[images][:, columns]).astype(np.int16)
        write_mgh(betas / f"{side}.ncsnr.mgh", np.linspace(0, 1, N_VERTICES))
        write_mgh(label / f"{side}.nsdgeneral.mgz", (np.arange(N_VERTICES) % 2 == 0).astype(float))
        write_mgh(label / f"{side}.prf-visualrois.mgz", np.arange(N_VERTICES) % 8)


def test_the_subjects_own_surface_has_its_own_areas(tmp_path):
    planted = write_nsd(tmp_path)
    write_own_surface(tmp_path, planted.shown, planted.signal)
    responses = read(tmp_path, space="nativesurface", atlas="prf-visualrois", zscore="none")
    kept = np.arange(0, N_VERTICES, 2)
    assert responses.targets["vertex"].tolist() == [*kept, *kept]
    assert responses.targets["roi"].tolist()[:4] == ["", "V1", "V2", "V3"]  # 0, 2, 4, 6: V1d, V2d, V3d
    assert responses.info["mesh"] == "nativesurface"
    shown = np.concatenate([planted.shown[1], planted.shown[2]])
    expected = planted.signal[shown][:, np.concatenate([kept, N_VERTICES + kept])]
    assert np.abs(responses.block() - expected).max() < 0.5 / 300 + 1e-5


def test_areas_drawn_per_subject_are_not_sought_on_fsaverage(tmp_path):
    write_nsd(tmp_path)
    for file in (tmp_path / "nsddata/freesurfer/fsaverage/label").glob("*.prf-visualrois.mgz"):
        file.unlink()
    with pytest.raises(MissingFileError, match=r"draws prf-visualrois in each subject .*space=nativesurface"):
        read(tmp_path, atlas="prf-visualrois")


@pytest.mark.parametrize("kind", ["nan", "infinite"])
def test_vertices_without_signal_in_one_session_are_left_out_and_reported(tmp_path, kind):
    planted = write_nsd(tmp_path)
    file = tmp_path / BETAS / "fsaverage/betas_fithrf_GLMdenoise_RR/rh.betas_session02.mgh"
    values = np.asarray(nibabel.load(file).dataobj).reshape(N_VERTICES, -1).copy()
    values[6] = np.nan if kind == "nan" else np.inf
    write_mgh(file, values)
    responses = read(tmp_path)
    kept = np.arange(0, N_VERTICES, 3)
    assert responses.targets["vertex"].tolist() == [*kept, *kept[kept != 6]]
    what = [item["what"] for item in responses.info["findings"]["items"]]
    assert what == ["1 targets hold NaN or infinite betas in session02"]
    right = N_VERTICES + kept[kept != 6]
    first = zscore_columns(planted.signal[planted.shown[1]][:, right])
    assert np.abs(responses.block()[:750, len(kept) :] - first).max() < 1e-3
    again = read(tmp_path)  # from the cache
    assert again.info["findings"]["n"] == 1 and again.n_targets == responses.n_targets


@pytest.mark.parametrize("stored", ["integers", "scaled", "percent"])
def test_volumes_come_as_nifti_too(tmp_path, stored):
    planted = write_nsd(tmp_path)
    folder = tmp_path / BETAS / "func1pt8mm/betas_fithrf_GLMdenoise_RR"
    for file in folder.glob("*.hdf5"):
        with h5py.File(file, "r") as opened:
            numbers = np.asarray(opened["betas"]).transpose(3, 2, 1, 0)  # x, y, z, trials
        values = numbers if stored == "integers" else (numbers / 300).astype(np.float32)
        image = nibabel.Nifti1Image(values, np.eye(4))
        if stored == "scaled":
            image = nibabel.Nifti1Image(numbers / 300, np.eye(4), dtype=np.int16)
        nibabel.save(image, file.with_suffix(".nii.gz"))
        file.unlink()
    responses = read(tmp_path, space="func1pt8mm", zscore="none")
    shown = np.concatenate([planted.shown[1], planted.shown[2]])
    assert np.abs(responses.block() - planted.voxels[shown]).max() < 0.02
    with pytest.raises(InputError, match="sessions 1 to 40"):
        read(tmp_path, sessions=(41,))


def test_captions_are_found_where_the_bucket_has_them(tmp_path):
    write_nsd(tmp_path)
    (tmp_path / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").write_text(
        "cocoId,cocoSplit,nsdId\n" + "\n".join(f"{1000 + row},train2017,{row}" for row in range(400))
    )
    folder = tmp_path / "nsddata_stimuli/stimuli/nsd/annotations"
    folder.mkdir()
    for split, rows in (("train", range(400)), ("val", ())):
        items = [{"image_id": 1000 + row, "caption": f"photograph {row}"} for row in rows]
        (folder / f"captions_{split}2017.json").write_text(json.dumps({"annotations": items}))
    reader = open_dataset("nsd", tmp_path, options={"sessions": (1,)})
    table = reader.stimuli(["1"]).table
    assert table["caption"].tolist() == [f"photograph {row}" for row in table["nsd_id"]]


def test_missing_captions_are_missing_and_damaged_files_are_named(tmp_path):
    write_nsd(tmp_path)
    (tmp_path / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").write_text(
        "cocoId,cocoSplit,nsdId\n" + "\n".join(f"{1000 + row},val2017,{row}" for row in range(400))
    )
    folder = tmp_path / "nsddata_stimuli/stimuli/nsd/annotations"
    folder.mkdir()
    reader = open_dataset("nsd", tmp_path, options={"sessions": (1,)})
    rows = reader.stimuli(["1"]).table["nsd_id"]
    items = [{"image_id": 1000 + int(row), "caption": f"photograph {row}"} for row in rows[1:]]
    (folder / "captions_val2017.json").write_text(json.dumps({"annotations": items}))
    table = open_dataset("nsd", tmp_path, options={"sessions": (1,)}).stimuli(["1"]).table
    assert table["caption"].isna().tolist() == [True] + [False] * (len(rows) - 1)
    for damaged in ('{"annotations": [{"image_id": 1', "[]", '{"annotations": [{"caption": "x"}]}'):
        (folder / "captions_val2017.json").write_text(damaged)
        with pytest.raises(InputError, match=r"captions_val2017\.json is not COCO's file of captions"):
            open_dataset("nsd", tmp_path, options={"sessions": (1,)}).stimuli(["1"])
