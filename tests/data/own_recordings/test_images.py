"""NIfTI with mask and atlas, CIFTI, GIFTI and FreeSurfer files with planted values."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel import cifti2

from brainmap import read_responses
from brainmap.common.errors import InputError, ReadingNote
from brainmap.data.atlas import load_atlas, load_surface
from brainmap.stimuli import StimulusSet

GRID, N = (4, 3, 5), 6
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 2, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1]])
DATA = (1 + np.random.default_rng(0).random((*GRID, N))).astype(np.float32)
EVENTS = pd.DataFrame({"stimulus": ["a", "b", "c"] * 2})
LABELS = np.zeros(GRID, dtype=np.int16)
LABELS[1, :, 2], LABELS[3, 1, 4], LABELS[0, 0, 0] = 7, 12, 99
pytestmark = pytest.mark.filterwarnings("ignore::brainmap.common.errors.ReadingNote")


@pytest.fixture
def stimuli() -> StimulusSet:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return StimulusSet.from_arrays(images, pd.DataFrame({"name": [*"abc"]}))


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("how", ["mask", "atlas", "neither"])
def test_volumes_are_trials(stimuli: StimulusSet, tmp_path: Path, suffix: str, how: str):
    values = DATA.copy()
    values[0, 0, 1] = 0  # outside the brain
    options: dict = {}
    if how == "mask":
        options["mask"] = save(tmp_path / "mask.nii.gz", (LABELS > 0).astype(np.float32))
    elif how == "atlas":
        options["atlas"] = save(tmp_path / f"dseg{suffix}", LABELS)
        (tmp_path / "dseg.tsv").write_text("index\tname\n7\tV1\n12\tNA\n99\tBackground\n")
    responses = read_responses(save(tmp_path / f"b{suffix}", values), events=EVENTS, stimuli=stimuli, **options)
    inside = {"mask": LABELS > 0, "atlas": np.isin(LABELS, [7, 12]), "neither": values[..., 0] != 0}[how]
    np.testing.assert_allclose(responses.block(), values[inside].T, rtol=1e-6)
    places = nibabel.affines.apply_affine(AFFINE, np.argwhere(inside))
    np.testing.assert_allclose(responses.targets[["x", "y", "z"]], places)
    np.testing.assert_array_equal(responses.targets["vertex"], np.flatnonzero(inside))
    expected = {7: "V1", 12: "NA"} if how == "atlas" else {}
    assert responses.targets["roi"].tolist() == [expected.get(label, "") for label in LABELS[inside]]


@pytest.mark.parametrize("slope", [1e36, -1e38, 1e-44])
def test_a_header_that_scales_beyond_32_bits_is_refused(stimuli: StimulusSet, tmp_path: Path, slope: float):
    image = nibabel.Nifti1Image(np.arange(60 * N, dtype=np.int16).reshape(*GRID, N), AFFINE)
    image.header.set_slope_inter(slope, 0)
    nibabel.save(image, tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match="scl_slope"):
        read_responses(tmp_path / "b.nii.gz", events=EVENTS, stimuli=stimuli)


TABLES = {
    "a.csv": "Label;Region\n7;V1\n12;V2\n99;V3\n",
    "a.txt": "7\tV1\t120\t18\t131\t0\n12\tV2\t1\t2\t3\t0\n99\tV3\t4\t5\t6\t0\n",  # as Schaefer's atlas has it
    "a.lut": "#No. Label Name: R G B A\n0 Unknown 0 0 0 0\n7 V1 1 2 3 0\n12 V2 1 2 3 0\n99 V3 1 2 3 0\n",  # FreeSurfer
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_atlases_come_in_many_forms(stimuli: StimulusSet, tmp_path: Path, name: str):
    atlas, betas = save(tmp_path / "a.nii.gz", LABELS), save(tmp_path / "b.nii", DATA)
    (tmp_path / name).write_text(TABLES[name])
    responses = read_responses(betas, events=EVENTS, stimuli=stimuli, atlas=atlas)
    expected = {7: "V1", 12: "V2", 99: "V3"}
    assert responses.targets["roi"].tolist() == [expected[label] for label in LABELS[LABELS > 0]]


def test_atlases_as_nilearn_fetches_them(stimuli: StimulusSet, tmp_path: Path):
    betas = save(tmp_path / "b.nii", DATA)
    image = nibabel.Nifti1Image(np.minimum(LABELS, 2).astype(np.int16), AFFINE)
    by_list = SimpleNamespace(maps=image, labels=["Background", "one", "two"])
    table = pd.DataFrame({"index": [0, 1, 2], "name": ["Background", "one", "two"]})
    for atlas in (by_list, SimpleNamespace(maps=image, lut=table)):
        assert set(read_responses(betas, events=EVENTS, stimuli=stimuli, atlas=atlas).targets["roi"]) == {"two"}


def test_grids_must_be_equal_or_are_resampled_when_asked(stimuli: StimulusSet, tmp_path: Path):
    betas = save(tmp_path / "b.nii.gz", DATA)
    mirror = np.array([[-1.0, 0, 0, GRID[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    flipped = save(tmp_path / "mask.nii.gz", (LABELS > 0)[::-1].astype(np.int16), AFFINE @ mirror)
    for resample in (False, True):  # how a file stores its axes is no property of the brain
        responses = read_responses(betas, events=EVENTS, stimuli=stimuli, mask=flipped, resample=resample)
        np.testing.assert_allclose(responses.block(), DATA[LABELS > 0].T, rtol=1e-6)
    shift = np.zeros((4, 4))
    shift[:3, 3] = 9
    moved = save(tmp_path / "moved.nii.gz", LABELS, AFFINE + shift)
    with pytest.raises(InputError, match=r"moved\.nii\.gz has another position or orientation .* resample=true"):
        read_responses(betas, events=EVENTS, stimuli=stimuli, mask=moved)
    small = save(tmp_path / "small.nii.gz", np.ones((2, 2, 2), dtype=np.int16))
    with pytest.raises(InputError, match=r"has \(2, 2, 2\) voxels, not \(4, 3, 5\)"):
        read_responses(betas, events=EVENTS, stimuli=stimuli, mask=small)


def test_images_that_do_not_fit_are_refused_in_one_sentence(stimuli: StimulusSet, tmp_path: Path):
    betas, atlas = save(tmp_path / "b.nii.gz", DATA), save(tmp_path / "a.nii.gz", LABELS)
    (tmp_path / "a.tsv").write_text("index\tname\n7\tV1\n")
    with pytest.raises(InputError, match="has the label 12, which its table does not name"):
        read_responses(betas, events=EVENTS, stimuli=stimuli, atlas=atlas)
    (tmp_path / "a.tsv").write_text("number_of\tname\n7\tV1\n")
    with pytest.raises(InputError, match="has no column 'index'"):
        read_responses(betas, events=EVENTS, stimuli=stimuli, atlas=atlas)
    with pytest.raises(InputError, match="is 4 × 3 × 5; responses are one volume a trial"):
        read_responses(save(tmp_path / "3d.nii", DATA[..., 0]), events=EVENTS, stimuli=stimuli)
    with pytest.raises(InputError, match="a mask has one volume"):
        read_responses(betas, events=EVENTS, stimuli=stimuli, mask=betas)
    (tmp_path / "annex.nii.gz").write_text("/annex/objects/MD5E-s1--x.nii.gz")
    with pytest.raises(InputError, match="is a pointer of git-annex"):
        read_responses(tmp_path / "annex.nii.gz", events=EVENTS, stimuli=stimuli)
    with pytest.raises(InputError, match="too many rows: 6 rows for 5 rows"):
        read_responses(betas, events=EVENTS.iloc[:5], stimuli=stimuli)


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
def test_images_that_were_cut_are_refused_in_one_sentence(stimuli: StimulusSet, tmp_path: Path, share: float):
    betas = save(tmp_path / "b.nii.gz", DATA)
    betas.write_bytes(betas.read_bytes()[: int(share * betas.stat().st_size)])
    with pytest.raises(InputError, match=r"b\.nii\.gz") as caught:
        read_responses(betas, events=EVENTS, stimuli=stimuli)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["dscalar", "dtseries"])
def test_cifti_rows_are_trials(stimuli: StimulusSet, tmp_path: Path, kind: str):
    left = cifti2.BrainModelAxis.from_surface(np.array([5, 9, 700]), 32492, "CortexLeft")
    below = cifti2.BrainModelAxis.from_mask(LABELS == 12, "ThalamusRight", AFFINE)
    columns = left + below
    values = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    names = [f"stim/{name}.jpg" for name in EVENTS["stimulus"]]
    rows = cifti2.ScalarAxis(names) if kind == "dscalar" else cifti2.SeriesAxis(0, 1, 6)
    path = tmp_path / f"x.{kind}.nii"
    nibabel.save(cifti2.Cifti2Image(values, cifti2.Cifti2Header.from_axes((rows, columns))), path)
    responses = read_responses(path, events=None if kind == "dscalar" else EVENTS, stimuli=stimuli)
    np.testing.assert_array_equal(responses.block(), values)
    targets = responses.targets
    assert targets["vertex"].tolist() == [5, 9, 700, -1]
    assert targets["hemisphere"].tolist() == ["L", "L", "L", ""]
    assert targets["roi"].tolist() == [*load_atlas()["L"][[5, 9, 700]], "thalamus_right"]
    np.testing.assert_allclose(targets[["x", "y", "z"]].iloc[0], load_surface("L", "midthickness")[0][5])
    np.testing.assert_array_equal(responses.trials["stimulus"], stimuli.ids[[0, 1, 2] * 2])


def surfaces(folder: Path, kind: str, n_vertices: int = 10242) -> tuple[Path, np.ndarray]:
    values = np.random.default_rng(2).standard_normal((6, 2 * n_vertices)).astype(np.float32)
    for number, side in enumerate(("lh", "rh")):
        half = values[:, number * n_vertices : (number + 1) * n_vertices]
        if kind == "gii":
            arrays = [nibabel.gifti.GiftiDataArray(row, datatype="NIFTI_TYPE_FLOAT32") for row in half]
            name = f"sub-01_hemi-{side[0].upper()}_betas.func.gii"
            nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), folder / name)
        else:
            image = nibabel.MGHImage(np.ascontiguousarray(half.T).reshape(n_vertices, 1, 1, 6), np.eye(4))
            nibabel.save(image, folder / f"{side}.betas.{kind}")
    first = "sub-01_hemi-L_betas.func.gii" if kind == "gii" else f"lh.betas.{kind}"
    return folder / first, values


@pytest.mark.parametrize("kind", ["gii", "mgh", "mgz"])
def test_surfaces_come_in_pairs(stimuli: StimulusSet, tmp_path: Path, kind: str):
    path, values = surfaces(tmp_path, kind)
    with pytest.warns(ReadingNote, match="is read as the other hemisphere of"):
        responses = read_responses(path, events=EVENTS, stimuli=stimuli)
    np.testing.assert_array_equal(responses.block(), values)
    assert responses.info["mesh"] == "fsaverage5"
    assert responses.targets["hemisphere"].value_counts().to_dict() == {"L": 10242, "R": 10242}
    right = path.with_name(path.name.replace("lh", "rh").replace("hemi-L", "hemi-R"))
    np.testing.assert_array_equal(read_responses(right, events=EVENTS, stimuli=stimuli).block(), values)
    np.testing.assert_array_equal(read_responses([right, path], events=EVENTS, stimuli=stimuli).block(), values)
    right.unlink()
    with pytest.warns(ReadingNote, match="only the left hemisphere is read"):
        assert read_responses(path, events=EVENTS, stimuli=stimuli).n_targets == 10242


def test_surfaces_whose_mesh_is_not_clear_ask_for_it(stimuli: StimulusSet, tmp_path: Path):
    path, _ = surfaces(tmp_path, "gii", 163842)
    with pytest.raises(InputError, match="as fsaverage and fsLR-164k have; say which with --surface fsaverage"):
        read_responses(path, events=EVENTS, stimuli=stimuli, check=False)
    responses = read_responses(path, events=EVENTS, stimuli=stimuli, check=False, surface="fsLR_164k")
    assert responses.info["mesh"] == "fsLR-164k"
    with pytest.raises(InputError, match="has 163,842 vertices, but fsaverage5 has 10,242"):
        read_responses(path, events=EVENTS, stimuli=stimuli, check=False, surface="fsaverage5")


def test_surfaces_take_areas_from_annotations(stimuli: StimulusSet, tmp_path: Path):
    path, _ = surfaces(tmp_path, "mgh")
    for side in ("lh", "rh"):
        labels = np.where(np.arange(10242) < 10, 1, 0)
        colours = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 0, 0]])
        colours[:, 4] = colours[:, 0] + 256 * colours[:, 1] + 65536 * colours[:, 2]
        nibabel.freesurfer.write_annot(tmp_path / f"{side}.x.annot", labels, colours, [b"unknown", b"NA"], False)
    responses = read_responses(path, events=EVENTS, stimuli=stimuli, atlas=tmp_path / "lh.x.annot")
    assert responses.targets["roi"].value_counts().to_dict() == {"": 2 * 10232, "NA": 20}
