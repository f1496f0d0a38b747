"""Grayordinates of CIFTI files: vertices of the cortex and voxels below it as targets, and series of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.data.atlas import load_atlas, load_surface
from brainmap.data.meshes import NATIVE_MESH, mesh_of_size
from brainmap.data.recordings.brain_images import load_image

CORTEX = {"CIFTI_STRUCTURE_CORTEX_LEFT": "L", "CIFTI_STRUCTURE_CORTEX_RIGHT": "R"}
DENSE_SERIES = ".dtseries.nii"
UNITS = {"SECOND": "sec"}


def grayordinate_table(axis: Any, where: str, surface: str | None = None) -> tuple[pd.DataFrame, str | None]:
    """One row per grayordinate, and the mesh of its vertices (None where there are only voxels).

    Parameters
    ----------
    axis : nibabel.cifti2.BrainModelAxis
        Of the file.
    where : str
        What sentences call the file.
    surface : str, optional
        The mesh that was named by the user.

    Returns
    -------
    targets : pandas.DataFrame
        ``roi`` (``cortex``, or the structure), ``hemisphere``, ``x``, ``y``, ``z`` (mm, of voxels), ``vertex`` (-1 for
        voxels).
    mesh : str or None
        Its name.
    """
    side = np.array([CORTEX.get(str(name), "") for name in axis.name], dtype=object)
    mesh = None
    for name, count in axis.nvertices.items():
        if name in CORTEX:
            mesh = mesh_of_size(int(count), where, surface)
    xyz = np.full((len(side), 3), np.nan)
    below = np.flatnonzero(side == "")
    if len(below) and axis.affine is not None:
        xyz[below] = axis.voxel[below] @ axis.affine[:3, :3].T + axis.affine[:3, 3]
    structure = [str(name).removeprefix("CIFTI_STRUCTURE_").lower() for name in axis.name]
    targets = pd.DataFrame({"hemisphere": side, **dict(zip("xyz", xyz.T, strict=True))})
    targets["vertex"] = np.where(side != "", axis.vertex, -1).astype(np.int64)
    roi = ["cortex" if letter else name for letter, name in zip(side, structure, strict=True)]
    targets.insert(0, "roi", np.array(roi, dtype=object))
    return targets, mesh


def fill_native_places(targets: pd.DataFrame, *, areas: bool) -> None:
    """Fill in coordinates of vertices of fsLR-32k and, where asked for, their areas of HCP-MMP1."""
    atlas = load_atlas()
    for side in ("L", "R"):
        mine = (targets["hemisphere"] == side).to_numpy()
        if not mine.any():
            continue
        vertex = targets["vertex"].to_numpy()[mine]
        targets.loc[mine, ["x", "y", "z"]] = load_surface(side, "midthickness")[0][vertex].astype(np.float64)
        if areas:
            targets.loc[mine, "roi"] = atlas[side][vertex].astype(object)


class GrayordinateTargets:
    """Grayordinates that vary over the first run.

    Parameters
    ----------
    first : Path
        Dense series of the first run.
    """

    def __init__(self, first: Path) -> None:
        self._first, self._axis = first, _axes(first)[1]
        with np.errstate(invalid="ignore"):  # a grayordinate that is NaN is outside
            self._kept = dense_series(first).std(axis=0) > 0
        self.count = int(self._kept.sum())
        table, mesh = grayordinate_table(self._axis, str(first))
        if mesh == NATIVE_MESH:
            fill_native_places(table, areas=True)
        self.mesh = mesh or "voxels"
        self._table = table[self._kept].reset_index(drop=True)

    @property
    def digest(self) -> str:
        """Changes when other places are used."""
        import hashlib

        state = pd.util.hash_pandas_object(self._table, index=False).to_numpy().tobytes()
        return hashlib.sha256(state).hexdigest()[:16]

    def series(self, images: list[Path] | tuple[Path, ...]) -> np.ndarray:
        """Time series of the grayordinates used, (n_scans, count) float32."""
        axis = _axes(images[0])[1]
        if len(axis) != len(self._axis) or axis != self._axis:
            raise InputError(
                f"{images[0]} has other grayordinates ({len(axis):,}) than the first run ({self._first.name}, "
                f"{len(self._axis):,}); use runs of one resolution (--set entities.den=…)."
            )
        return np.ascontiguousarray(dense_series(images[0])[:, self._kept])

    def targets(self) -> pd.DataFrame:
        """One row per grayordinate, with the columns of fMRI targets."""
        return self._table


def dense_series(path: Path) -> np.ndarray:
    """Time series of all grayordinates, (n_scans, n) float32."""
    _axes(path)
    with reading(path):
        return np.asarray(load_image(path).dataobj, dtype=np.float32)


def series_step(path: Path) -> tuple[float, str]:
    """Repetition time in a file's header and its unit."""
    scans = _axes(path)[0]
    return float(scans.step), UNITS.get(str(scans.unit), "unknown")


def count_dense_scans(path: Path) -> int:
    """Number of scans of a dense series."""
    return len(_axes(path)[0])


def count_grayordinates(path: Path) -> int:
    """Number of grayordinates of a dense series."""
    return len(_axes(path)[1])


def _axes(path: Path) -> tuple[Any, Any]:
    """Scans and grayordinates of a dense series."""
    from nibabel.cifti2 import BrainModelAxis, SeriesAxis

    image = load_image(path)
    with reading(path):
        axes = [image.header.get_axis(number) for number in range(2)] if hasattr(image.header, "get_axis") else []
    if len(axes) != 2 or not isinstance(axes[0], SeriesAxis) or not isinstance(axes[1], BrainModelAxis):
        raise InputError(f"{path} is no dense series of scans (CIFTI, {DENSE_SERIES}); fetch or save it anew.")
    return axes[0], axes[1]
