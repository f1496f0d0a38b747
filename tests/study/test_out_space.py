"""Scores go back to the space that responses came in: NIfTI, GIFTI and CIFTI, by command line and study file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, Cifti2Header, Cifti2Image, ScalarAxis
from study.film import Film, N, film
from study.own_files import run_brainmap

from brainmap.encoding import EncodingResult

OBLIQUE = np.array([[-2.0, 0.1, 0.0, 31.0], [0.1, 2.0, 0.2, -40.0], [0.0, -0.2, 2.0, 12.0], [0.0, 0.0, 0.0, 1.0]])


def planted(folder: Path, n_targets: int) -> Film:
    """Targets 0, 3, 6 … follow a feature, the others do not."""
    own = film(folder, of_features=0.0, of_noise=0.0, targets=n_targets)
    own.responses[:, ::3] += 3 * own.features[:, :1]
    return own


def nifti(folder: Path) -> tuple[Film, list[str]]:
    own = planted(folder, 24)
    values = own.responses.T.reshape(2, 3, 4, N).astype(np.float32)
    files = own.write()
    nibabel.save(nibabel.Nifti1Image(values, OBLIQUE), folder / "betas.nii.gz")
    inside = np.ones((2, 3, 4), dtype=np.uint8)
    inside[0, 0, 0] = 0
    nibabel.save(nibabel.Nifti1Image(inside, OBLIQUE), folder / "mask.nii.gz")
    return own, [*without(files, "responses", "targets"), "--responses", str(folder / "betas.nii.gz"),
                 "--mask", str(folder / "mask.nii.gz")]  # fmt: skip


def gifti(folder: Path) -> tuple[Film, list[str]]:
    own = planted(folder, 2 * 10_242)
    files = own.write()
    for side, values in zip(("L", "R"), np.split(own.responses.astype(np.float32), 2, axis=1), strict=True):
        arrays = [nibabel.gifti.GiftiDataArray(row, datatype="NIFTI_TYPE_FLOAT32") for row in values]
        nibabel.save(nibabel.gifti.GiftiImage(darrays=arrays), folder / f"betas.{side}.func.gii")
    return own, [*without(files, "responses", "targets"), "--responses", str(folder / "betas.L.func.gii")]


def brain_model() -> BrainModelAxis:
    """Some vertices of both sides, voxels of the thalamus between them."""
    left = BrainModelAxis.from_surface([5, 3, 77, 30_000], 32_492, "CIFTI_STRUCTURE_CORTEX_LEFT")
    voxels = np.zeros((3, 4, 5), dtype=bool)
    voxels[1, 1:3, 2:4] = True
    below = BrainModelAxis.from_mask(voxels, affine=OBLIQUE, name="CIFTI_STRUCTURE_THALAMUS_LEFT")
    right = BrainModelAxis.from_surface([0, 32_491], 32_492, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    axis: BrainModelAxis = left + below + right
    return axis


def cifti(folder: Path) -> tuple[Film, list[str]]:
    axis = brain_model()
    own = planted(folder, len(axis))
    files = own.write()
    header = Cifti2Header.from_axes((ScalarAxis([str(i) for i in range(N)]), axis))
    nibabel.save(Cifti2Image(own.responses.astype(np.float32), header), folder / "betas.dscalar.nii")
    return own, [*without(files, "responses", "targets"), "--responses", str(folder / "betas.dscalar.nii")]


def without(options: list[str], *names: str) -> list[str]:
    pairs = zip(options[::2], options[1::2], strict=True)
    return [part for pair in pairs if pair[0].removeprefix("--") not in names for part in pair]


def scores(run: Path) -> np.ndarray:
    """Mean r of every target, in the order of the responses."""
    r = EncodingResult.load(run / "scores" / "fmri" / "01" / "activation").r
    return np.asarray(r.mean("split").isel(layer=0))


def maps_of(kind: str, run: Path) -> np.ndarray:
    """What was written, in the order of the targets."""
    stem = run / "maps" / "sub-01_activation_r"
    if kind == "nifti":
        image = nibabel.load(f"{stem}.nii.gz")
        np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
        values = image.get_fdata()
        assert values.shape[:3] == (2, 3, 4) and np.isnan(values[0, 0, 0]).all()
        return values[..., 0].ravel()[1:]
    if kind == "gifti":
        return np.concatenate([nibabel.load(f"{stem}.{side}.func.gii").darrays[0].data for side in "LR"])
    image = nibabel.load(f"{stem}.dscalar.nii")
    assert image.header.get_axis(1) == brain_model() and list(image.header.get_axis(0).name) == ["block"]
    return np.asarray(image.get_fdata()[0])


@pytest.mark.parametrize(("kind", "make"), [("nifti", nifti), ("gifti", gifti), ("cifti", cifti)])
def test_what_is_read_is_written_back(kind: str, make, tmp_path: Path) -> None:
    own, options = make(tmp_path / "own")
    ended = run_brainmap("fit", *options, "--out-space", kind, "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    written = maps_of(kind, tmp_path / "run")
    np.testing.assert_allclose(written, scores(tmp_path / "run"), atol=1e-6)
    places = np.arange(own.responses.shape[1])[-len(written) :]  # without the voxel outside the mask
    assert written[places % 3 == 0].min() > 0.5 > np.quantile(np.abs(written[places % 3 > 0]), 0.95)


@pytest.mark.parametrize(("kind", "make"), [("nifti", nifti), ("cifti", cifti)])
def test_the_same_from_a_study_file(kind: str, make, tmp_path: Path) -> None:
    _, options = make(tmp_path / "own")
    own = dict(zip((name.removeprefix("--") for name in options[::2]), options[1::2], strict=True))
    features = own.pop("features")
    text = f"schema: 2\ndataset: own\nfeatures: {features}\nout_space: {kind}\nown:\n"
    (tmp_path / "study.yaml").write_text(text + "".join(f"  {k}: {v}\n" for k, v in own.items()), encoding="utf-8")
    ended = run_brainmap("run", "study.yaml", "--out", "grid", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    run = next((tmp_path / "grid").rglob("maps")).parent
    np.testing.assert_allclose(maps_of(kind, run), scores(run), atol=1e-6)


def test_maps_that_cannot_be_written_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    own = film(tmp_path / "own", targets=4)
    files = own.write()

    def refused(table: pd.DataFrame, kind: str, *more: str) -> str:
        table.to_csv(tmp_path / "own" / "targets.tsv", sep="\t", index=False)
        ended = run_brainmap("fit", *files, "--out-space", kind, *more, "--out", "run", cwd=tmp_path)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr and not (tmp_path / "run").exists()
        return ended.stderr

    areas = pd.DataFrame({"roi": list("abcd")})
    assert "no places" in refused(areas, "gifti")
    placed = areas.assign(vertex=range(4))
    assert "'L' or 'R'" in refused(placed, "gifti")
    sided = placed.assign(hemisphere=["L", "R", "L", "R"])
    assert "gifti, not cifti" in refused(sided, "cifti", "--surface", "fsaverage5")
    assert "gifti or cifti, not nifti" in refused(sided, "nifti")
    sample = run_brainmap("fit", "--out-space", "gifti", "--out", "run", cwd=tmp_path)
    assert sample.returncode == 2 and "of its fMRI alone" in sample.stderr and not (tmp_path / "run").exists()
    sensors = pd.DataFrame({"sensor": ["a", "b", "a", "b"], "time": [0.1, 0.1, 0.2, 0.2]})
    assert "sensors have none" in refused(sensors, "gifti")


def test_vertices_counted_through_both_hemispheres_come_back_as_they_are(tmp_path: Path) -> None:
    own = film(tmp_path / "own", of_features=0.0, of_noise=0.0, targets=6)
    files = own.write()
    table = pd.DataFrame(
        {"roi": list("aabbcc"), "hemisphere": list("LLLRRR"), "vertex": [0, 5, 9, 10_242, 10_250, 20_483]}
    )
    table.to_csv(tmp_path / "own" / "targets.tsv", sep="\t", index=False)
    ended = run_brainmap("fit", *files, "--surface", "fsaverage5", "--out-space", "gifti", "--out", "run", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    right = nibabel.load(tmp_path / "run" / "maps" / "sub-01_activation_r.R.func.gii").darrays[0].data
    assert np.flatnonzero(np.isfinite(right)).tolist() == [0, 8, 10_241]
    np.testing.assert_allclose(right[[0, 8, 10_241]], scores(tmp_path / "run")[3:], atol=1e-6)
    assert "Drawn on fsaverage5" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
