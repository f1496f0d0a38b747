"""Cortical properties: values of areas (half time, best layer, …) against thickness, myelin, expansion and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.errors import InputError, MissingFileError
from brainmap.hierarchy.order import agreement
from brainmap.hierarchy.spin import SpinTest, spin_test, spins

FloatArray = NDArray[np.float64]
VERTICES = {32492: "fsLR-32k", 163842: "fsaverage", 40962: "fsaverage6", 10242: "fsaverage5"}


@dataclass(frozen=True)
class SpinOptions:
    """Settings of spin tests against cortical properties.

    Parameters
    ----------
    n_spins : int
        Rotations.
    seed : int
        Seed of rotations and bootstraps.
    """

    n_spins: int = 1000
    seed: int = 0


def read_map(path: str | Path, hemisphere: str = "L") -> FloatArray:
    """Read a cortical map the user has: one value per vertex of one hemisphere.

    Parameters
    ----------
    path : str or Path
        CIFTI (``.dscalar.nii``), GIFTI (``.gii``), FreeSurfer (``.mgh``, ``.mgz`` or a curvature file such as
        ``lh.thickness``), ``.npy`` or one number a line (``.txt``).
    hemisphere : {'L', 'R'}
        Side to take from a CIFTI file; other files hold one side.

    Returns
    -------
    ndarray, (n_vertices,)
        NaN where the file has no value (the medial wall of CIFTI files).

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If it cannot be read as one map, or the side is unknown.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"There is no cortical map {file}; give a .dscalar.nii, .gii, .mgh, .npy or .txt file.")
    if hemisphere not in ("L", "R"):
        raise InputError(f"The hemisphere must be 'L' or 'R', not {hemisphere!r}.")
    try:
        values = _read(file, hemisphere)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{file.name} cannot be read as a cortical map: {error}") from error
    if values.ndim != 1:
        raise InputError(f"{file.name} holds an array of shape {values.shape}; a map has one value per vertex.")
    return values


def parcel_means(values: ArrayLike, labels: ArrayLike) -> pd.Series:
    """Average a map over the vertices of each area.

    Parameters
    ----------
    values : array-like, (n_vertices,)
        Map; NaN is left out.
    labels : array-like of str, (n_vertices,)
        Area of each vertex, '' for none.

    Returns
    -------
    pandas.Series
        Mean by area.

    Raises
    ------
    InputError
        If the two are on different meshes.
    """
    array, names = np.asarray(values, dtype=np.float64), np.asarray(labels).astype(str)
    if array.shape != names.shape:
        meshes = [VERTICES.get(n, "an unknown mesh") for n in (len(array), len(names))]
        raise InputError(
            f"The map has {len(array)} vertices ({meshes[0]}) but the areas {len(names)} ({meshes[1]}); resample one."
        )
    inside = names != ""
    return pd.Series(array[inside]).groupby(names[inside]).mean()


def compare_properties(
    values: pd.Series,
    properties: Mapping[str, pd.Series],
    cortex: pd.DataFrame,
    *,
    hemisphere: str = "L",
    options: SpinOptions | None = None,
) -> pd.DataFrame:
    """Correlate a value of areas with cortical properties, with spin tests.

    Parameters
    ----------
    values : pandas.Series
        Value by area (half time, best layer, score …), for some areas or all.
    properties : mapping of str to pandas.Series
        Properties by area, for as much of the cortex as is known: these are the maps that are rotated.
    cortex : pandas.DataFrame
        Areas with their place on the sphere, from :func:`brainmap.hierarchy.areas.cortex_areas`.
    hemisphere : {'L', 'R'}
        Side on whose sphere the areas are rotated.
    options : SpinOptions, optional
        Settings.

    Returns
    -------
    pandas.DataFrame
        One row per property: ``property``, ``r``, ``low``, ``high`` (over areas), ``p`` (parametric, which takes areas
        for independent), ``spin_p``, ``rho``, ``rho_p``, ``spin_rho_p``, ``n``.

    Raises
    ------
    InputError
        If fewer than four areas have both values, or an area is not in the table of the cortex.
    """
    setup = options or SpinOptions()
    whole = cortex[cortex["hemisphere"] == hemisphere].reset_index(drop=True)
    place = pd.Series(whole.index, index=whole["roi"].astype(str))
    absent = [name for name in values.index.astype(str) if name not in place.index]
    if absent:
        raise InputError(f"The area {absent[0]!r} is not in the table of the cortex ({hemisphere} hemisphere).")
    at = place.loc[values.index.astype(str)].to_numpy(dtype=np.intp)
    sphere = whole[["sphere_x", "sphere_y", "sphere_z"]].to_numpy(dtype=float)
    turned = spins(sphere[at], sphere, n_spins=setup.n_spins, seed=setup.seed)
    x = values.to_numpy(dtype=float)
    rows = []
    for name, series in properties.items():
        y = series.reindex(place.index).to_numpy(dtype=float)
        order = agreement(x, y[at], seed=setup.seed)
        pearson = spin_test(x, y, turned, at=at)
        spearman = spin_test(x, y, turned, at=at, method="spearman")
        row: dict[str, Any] = {"property": name, "r": order.r, "low": order.low, "high": order.high, "p": order.p}
        row |= {"spin_p": pearson.p, "rho": order.rho, "rho_p": order.rho_p, "spin_rho_p": spearman.p, "n": order.n}
        rows.append(row)
    return pd.DataFrame(rows)


def compare_vertices(
    x: ArrayLike, y: ArrayLike, sphere: ArrayLike, *, options: SpinOptions | None = None, method: str = "pearson"
) -> SpinTest:
    """Correlate two maps vertex by vertex, with a spin test.

    Parameters
    ----------
    x, y : array-like, (n_vertices,)
        Maps of one hemisphere; NaN where unknown. ``y`` is rotated.
    sphere : array-like, (n_vertices, 3)
        Spherical surface of the mesh.
    options : SpinOptions, optional
        Settings.
    method : {'pearson', 'spearman'}
        Correlation.

    Returns
    -------
    SpinTest
    """
    setup = options or SpinOptions()
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    places = np.asarray(sphere, dtype=np.float64)
    if a.shape != b.shape or len(places) != len(a):
        raise InputError(f"Maps {a.shape}, {b.shape} and sphere {places.shape} must be of the same mesh.")
    known = np.flatnonzero(np.isfinite(a))
    turned = spins(places[known], places, n_spins=setup.n_spins, seed=setup.seed)
    return spin_test(a[known], b, turned, at=known, method="spearman" if method == "spearman" else "pearson")


def _read(file: Path, hemisphere: str) -> FloatArray:
    import nibabel

    name = file.name.lower()
    if name.endswith(".npy"):
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
    if name.endswith((".txt", ".csv")):
        return np.loadtxt(file, dtype=np.float64)
    if name.endswith(".gii"):
        return np.asarray(nibabel.load(file).darrays[0].data, dtype=np.float64)  # type: ignore[attr-defined]
    if name.endswith((".mgh", ".mgz")):
        return np.asarray(nibabel.load(file).dataobj, dtype=np.float64).squeeze()  # type: ignore[attr-defined]
    if not name.endswith(".nii"):
        return np.asarray(nibabel.freesurfer.read_morph_data(file), dtype=np.float64)
    image: Any = nibabel.load(file)
    structure = f"CIFTI_STRUCTURE_CORTEX_{'LEFT' if hemisphere == 'L' else 'RIGHT'}"
    data = np.asarray(image.dataobj, dtype=np.float64)
    for found, rows, model in image.header.get_axis(1).iter_structures():
        if found == structure:
            values = np.full(model.nvertices[found], np.nan)
            values[model.vertex] = data[0, rows]
            return values
    raise ValueError(f"it has no {structure}")
