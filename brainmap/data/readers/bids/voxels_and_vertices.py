"""Images of BIDS runs: which voxels or vertices are used, and their time series."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.data.recordings.brain_images import SCANS, Volumes, displacement, gifti_series, load_image
from brainmap.data.recordings.grayordinates import (
    DENSE_SERIES,
    GrayordinateTargets,
    count_dense_scans,
    count_grayordinates,
    series_step,
)

MESHES = {163842: "fsaverage", 40962: "fsaverage6", 10242: "fsaverage5", 32492: "fsLR-32k"}
SPIN_UP = 20  # scans from which a mean is judged


class VoxelTargets:
    """Voxels of one grid, in RAS+ order whatever the files' orientation.

    Parameters
    ----------
    kept : numpy.ndarray of bool, (x, y, z)
        Voxels that are used.
    affine : numpy.ndarray, (4, 4)
        Of the grid, in mm.
    resample : bool
        Whether runs on another grid are resampled to this one; otherwise they are refused.
    """

    mesh = "voxels"

    def __init__(self, kept: np.ndarray, affine: np.ndarray, *, resample: bool = False) -> None:
        self.kept, self.affine, self.resample = kept, affine, resample
        self.count = int(kept.sum())

    @property
    def digest(self) -> str:
        """Changes when other places are used."""
        state = np.packbits(self.kept).tobytes() + np.round(self.affine, 3).tobytes() + bytes([self.resample])
        return hashlib.sha256(state).hexdigest()[:16]

    def series(self, images: Sequence[Path]) -> np.ndarray:
        """Time series of the voxels used, (n_scans, count) float32."""
        volumes = open_series(images[0])
        if not volumes.same_grid(self.kept.shape, self.affine) and not self.resample:
            raise InputError(
                f"{images[0]} lies on another grid than the first run ({grid_difference(volumes, self)}); use "
                "preprocessed runs in one space, or have them resampled: --set resample=true"
            )
        out = np.empty((volumes.n_scans, self.count), dtype=np.float32)
        for start in range(0, volumes.n_scans, SCANS):
            block = volumes.read(start, start + SCANS)
            if not volumes.same_grid(self.kept.shape, self.affine):
                block = on_grid(block, volumes.affine, self.kept.shape, self.affine, "continuous")
            out[start : start + block.shape[-1]] = block[self.kept].T
        return out

    def targets(self) -> pd.DataFrame:
        """One row per voxel, with the columns of fMRI targets; ``vertex`` counts in the RAS+ volume, in C order."""
        ijk = np.argwhere(self.kept)
        table = pd.DataFrame({"roi": ["brain"] * len(ijk), "hemisphere": ""})
        table[["x", "y", "z"]] = ijk @ self.affine[:3, :3].T + self.affine[:3, 3]
        return table.assign(vertex=np.flatnonzero(self.kept))


class VertexTargets:
    """Vertices of two hemispheres.

    Parameters
    ----------
    left, right : numpy.ndarray of bool, (n_vertices,)
        Vertices that are used.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray) -> None:
        self._sides = (left, right)
        self.count = int(left.sum() + right.sum())
        self.mesh = MESHES.get(len(left), f"surface of {len(left)} vertices")

    @property
    def digest(self) -> str:
        """Changes when other places are used."""
        return hashlib.sha256(b"".join(np.packbits(side).tobytes() for side in self._sides)).hexdigest()[:16]

    def series(self, images: Sequence[Path]) -> np.ndarray:
        """Time series of the vertices used, (n_scans, count) float32."""
        sides = [gifti_series(image) for image in images]
        for image, side, kept in zip(images, sides, self._sides, strict=True):
            if side.shape[1] != len(kept):
                raise InputError(
                    f"{image} has {side.shape[1]} vertices, the first run {len(kept)}; their meshes differ."
                )
        if len(sides[0]) != len(sides[1]):
            raise InputError(
                f"{images[0].name} has {len(sides[0])} scans, {images[1].name} {len(sides[1])}; fetch anew."
            )
        return np.concatenate([side[:, kept] for side, kept in zip(sides, self._sides, strict=True)], axis=1)

    def targets(self) -> pd.DataFrame:
        """One row per vertex, with the columns of fMRI targets; ``vertex`` counts within the hemisphere."""
        tables = []
        for name, kept in zip("LR", self._sides, strict=True):
            table = pd.DataFrame({"roi": ["cortex"] * int(kept.sum()), "hemisphere": name})
            table[["x", "y", "z"]] = np.nan
            tables.append(table.assign(vertex=np.flatnonzero(kept)))
        return pd.concat(tables, ignore_index=True)


Targets = VoxelTargets | VertexTargets | GrayordinateTargets


def targets_of(images: Sequence[Path], mask: Path | None, brain_masks: Sequence[Path], *, resample: bool) -> Targets:
    """Decide what is used.

    Parameters
    ----------
    images : sequence of Path
        First run: one volume series, or left and right surface.
    mask : Path, optional
        The user's mask: voxels that are neither 0 nor NaN.
    brain_masks : sequence of Path
        The preprocessing's own brain masks of all runs, used where there is no other; a voxel must be in all of them.
    resample : bool
        Whether masks on another grid are resampled (nearest neighbour); otherwise they are refused.

    Raises
    ------
    InputError
        If a mask lies on another grid or is empty, or none can be computed.
    """
    if mask is not None and images[0].name.endswith((".gii", DENSE_SERIES)):
        raise InputError(f"The runs are surfaces; the mask {mask} is for volumes. Leave it out.")
    if images[0].name.endswith(DENSE_SERIES):
        return GrayordinateTargets(images[0])
    if images[0].name.endswith(".gii"):
        with np.errstate(invalid="ignore"):  # a vertex that is NaN is outside
            left, right = (gifti_series(image).std(axis=0) > 0 for image in images)
        return VertexTargets(left, right)
    first = open_series(images[0])
    if mask is not None:
        kept = _mask_on_grid(mask, first, resample)
    elif brain_masks:
        kept = np.logical_and.reduce([_mask_on_grid(path, first, resample) for path in brain_masks])
    else:
        kept = _computed_mask(first)
    if not kept.any():
        raise InputError(f"The mask {mask or 'of the brain'} holds no voxel of {images[0]}; give another: --set mask=…")
    return VoxelTargets(kept, first.affine, resample=resample)


def open_series(path: Path) -> Volumes:
    """Open a run, which must be a series of volumes."""
    volumes = Volumes(path)
    if volumes.n_scans < 2:
        raise InputError(
            f"{path} is a single volume of {volumes.shape} voxels, not a run; single-trial estimates need its scans "
            "(4 axes). Fetch or export it anew."
        )
    return volumes


def _mask_on_grid(path: Path, like: Volumes, resample: bool) -> np.ndarray:
    """Whether each voxel of a run is in a mask, (x, y, z) bool; NaN is outside."""
    mask = Volumes(path)
    if mask.n_scans != 1:
        raise InputError(f"{path} holds {mask.n_scans} volumes; a mask is one.")
    values = mask.read()
    values = np.where(np.isfinite(values), values, 0)
    if not like.same_grid(mask.shape, mask.affine):
        if not resample:
            raise InputError(
                f"The mask {path} lies on another grid than {like.path} ({grid_difference(mask, like)}); give one in "
                "the runs' space and resolution, or have it resampled: --set resample=true"
            )
        values = on_grid((values != 0).astype(np.float32), mask.affine, like.shape, like.affine, "nearest")
    inside: np.ndarray = values[..., 0] != 0
    return inside


def _computed_mask(first: Volumes) -> np.ndarray:
    """Brain mask from the mean of the first scans."""
    import nibabel
    from nilearn.masking import compute_epi_mask

    scans = first.read(0, SPIN_UP)
    mean = scans.mean(axis=-1)
    spread = float(np.nanstd(scans - mean[..., None]))
    if not np.isfinite(mean).any() or float(np.nanpercentile(np.abs(mean), 98)) <= spread / 2:
        raise InputError(
            f"A brain mask cannot be computed from {first.path}: its mean was removed. Give one: --set mask=…"
        )
    image: Any = nibabel.Nifti1Image(np.nan_to_num(mean), first.affine)
    with reading(first.path):
        mask: Any = compute_epi_mask(image)
    kept: np.ndarray = np.asarray(mask.dataobj) != 0
    return kept


def on_grid(block: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray, how: str) -> np.ndarray:
    """Resample volumes (x, y, z, n) to another grid with nilearn; outside of them it is 0."""
    import nibabel
    from nilearn.image import resample_img

    image: Any = nibabel.Nifti1Image(block, affine)
    turned: Any = resample_img(
        image, target_affine=target, target_shape=shape[:3], interpolation=how, force_resample=True, copy_header=True
    )
    result: np.ndarray = np.asarray(turned.dataobj, dtype=np.float32)
    return result


def grid_difference(first: Volumes, other: Volumes | VoxelTargets) -> str:
    """How two grids differ, in words."""
    shape = other.shape if isinstance(other, Volumes) else other.kept.shape
    if first.shape != tuple(shape):
        return f"{_by(first.shape)} voxels, {_by(shape)} there"
    voxels = displacement(first.affine, other.affine, first.shape)
    side = float(np.sqrt((other.affine[:3, :3] ** 2).sum(axis=0)).min())
    return f"its voxels lie up to {voxels * side:.3g} mm from there"


def _by(shape: Sequence[int]) -> str:
    return " × ".join(str(size) for size in shape)


def count_places(images: Sequence[Path]) -> int:
    """Number of vertices, grayordinates, or voxels of whole volumes."""
    if images[0].name.endswith(DENSE_SERIES):
        return count_grayordinates(images[0])
    if images[0].name.endswith(".gii"):
        return sum(gifti_series(image).shape[1] for image in images)
    return int(np.prod(open_series(images[0]).shape))


def header_time(image: Path) -> tuple[float, str] | None:
    """Repetition time in an image's header and its unit, as it is written there."""
    if image.name.endswith(DENSE_SERIES):
        return series_step(image)
    if image.name.endswith(".gii"):
        loaded = load_image(image)
        step = loaded.darrays[0].meta.get("TimeStep") if loaded.darrays else None
        return (float(step), "msec") if step else None
    header = open_series(image).header
    zooms = header.get_zooms()
    unit = header.get_xyzt_units()[1] if hasattr(header, "get_xyzt_units") else "unknown"
    return (float(zooms[3]), str(unit)) if len(zooms) > 3 else None


def count_scans(image: Path) -> int:
    """Number of scans of a run."""
    if image.name.endswith(DENSE_SERIES):
        return count_dense_scans(image)
    return len(gifti_series(image)) if image.name.endswith(".gii") else open_series(image).n_scans
