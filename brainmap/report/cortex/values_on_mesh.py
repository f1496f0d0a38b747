"""Bring values of targets or areas onto the vertices of the two hemispheres."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.report.cortex.mesh_raster import HemisphereMesh, fill_gaps

HEMISPHERES = ("L", "R")
HEMISPHERE_NAMES = {"L": "Left", "R": "Right"}
FSLR, FSAVERAGE, FSAVERAGE5 = "fsLR-32k", "fsaverage", "fsaverage5"
FSAVERAGE_MESHES = (FSAVERAGE, "fsaverage6", FSAVERAGE5)  # the first vertices of each are those of the next smaller one


@dataclass(frozen=True, eq=False)
class Cortex:
    """A mesh of both hemispheres with the area of each vertex.

    Attributes
    ----------
    meshes : dict of str to HemisphereMesh
        By hemisphere, ``L`` and ``R``.
    areas : dict of str to np.ndarray
        Area number of each vertex, 0 where there is none (medial wall).
    names : dict of int to str
        Name of each area number, the same on both sides (``V1``, ``FFC`` …).
    mesh : str
        ``fsLR-32k`` or ``fsaverage5``.
    """

    meshes: Mapping[str, HemisphereMesh]
    areas: Mapping[str, np.ndarray]
    names: Mapping[int, str]
    mesh: str = FSLR

    @property
    def n_vertices(self) -> int:
        """Vertices of one hemisphere."""
        return len(self.meshes["L"].coordinates)


@functools.cache
def load_cortex(surface: str = "inflated") -> Cortex:
    """Return the fsLR-32k mesh with HCP-MMP1 areas, as a figure needs it.

    Parameters
    ----------
    surface : str
        ``inflated``, ``very_inflated``, ``midthickness`` …; see :func:`brainmap.data.atlas.load_surface`.

    Returns
    -------
    Cortex
        Both hemispheres.
    """
    from brainmap.data.atlas import load_atlas, load_sulcal_depth, load_surface

    atlas = load_atlas()
    names = sorted(set(atlas["L"]) | set(atlas["R"]))  # the empty name of the medial wall sorts first: number 0
    meshes, areas = {}, {}
    for side in HEMISPHERES:
        coordinates, faces = load_surface(side, surface)
        sulci = np.nan_to_num(load_sulcal_depth(side).astype(float))
        meshes[side] = HemisphereMesh(side, coordinates.astype(float), faces, sulci)
        areas[side] = np.searchsorted(names, atlas[side])
    return Cortex(meshes, areas, {number: name for number, name in enumerate(names) if name})


def cortex_of(targets: pd.DataFrame) -> Cortex | None:
    """Return the cortex on which targets can be drawn, or None where they have no place on a mesh.

    Parameters
    ----------
    targets : pd.DataFrame
        Vertices of fsLR-32k (``hemisphere``, ``vertex``), or of fsaverage, fsaverage6 or fsaverage5
        (``hemisphere``, ``mesh``, ``mesh_vertex``), which are drawn on fsaverage5: its vertices are the first 10,242 of
        the larger ones.

    Returns
    -------
    Cortex or None
        The areas of fsaverage5 are those that the targets name.
    """
    if "hemisphere" not in targets or not len(targets) or not targets["hemisphere"].isin(HEMISPHERES).all():
        return None
    if "vertex" in targets and targets["vertex"].min() >= 0:
        cortex = load_cortex()
        return cortex if targets["vertex"].max() < 2 * cortex.n_vertices else None
    if {"mesh", "mesh_vertex"} <= set(targets.columns) and targets["mesh"].isin(FSAVERAGE_MESHES).all():
        return _fsaverage_cortex(targets)
    return None


@functools.cache
def _fsaverage5() -> dict[str, HemisphereMesh]:
    """Inflated fsaverage5 as nilearn ships it; FreeSurfer's sulcal depth is positive in sulci, ours on gyri."""
    from nilearn import datasets, surface

    files = datasets.fetch_surf_fsaverage(FSAVERAGE5)
    meshes = {}
    for side, word in (("L", "left"), ("R", "right")):
        mesh = surface.load_surf_mesh(files[f"infl_{word}"])
        sulci = -surface.load_surf_data(files[f"sulc_{word}"]).astype(float)
        meshes[side] = HemisphereMesh(side, mesh.coordinates.astype(float), mesh.faces.astype(np.int32), sulci)
    return meshes


def _fsaverage_cortex(targets: pd.DataFrame) -> Cortex | None:
    meshes = _fsaverage5()
    n_vertices = len(meshes["L"].coordinates)
    known = targets[targets["mesh_vertex"] < n_vertices]
    if known.empty:
        return None
    roi = known["roi"].astype(str) if "roi" in known else pd.Series("", index=known.index)
    names = ["", *sorted(set(roi) - {""})]
    areas = {side: np.zeros(n_vertices, dtype=np.intp) for side in HEMISPHERES}
    for side in HEMISPHERES:
        mine = (known["hemisphere"] == side).to_numpy()
        areas[side][known["mesh_vertex"].to_numpy()[mine]] = np.searchsorted(names, roi[mine])
    return Cortex(meshes, areas, {number: name for number, name in enumerate(names) if name}, FSAVERAGE5)


def on_vertices(values: np.ndarray, targets: pd.DataFrame, cortex: Cortex) -> dict[str, np.ndarray]:
    """Spread one value per target over the mesh.

    Targets that sample an area sparsely are widened within that area, so that the area reads as a surface.

    Parameters
    ----------
    values : np.ndarray of shape (n_targets,)
        Values; NaN leaves the cortex grey.
    targets : pd.DataFrame
        One row per target, as :func:`cortex_of` takes them.
    cortex : Cortex
        Of these targets.

    Returns
    -------
    dict of str to np.ndarray
        One value per vertex for each hemisphere that has targets.

    Raises
    ------
    InputError
        If lengths differ or vertices do not belong to the mesh.
    """
    if len(values) != len(targets):
        raise InputError(f"{len(values)} values for {len(targets)} targets: give one value per target")
    own = cortex_of(targets)
    if own is None or own.mesh != cortex.mesh:
        raise InputError(
            f"targets have no 'hemisphere' and 'vertex' of the {cortex.mesh} mesh: a surface map needs them"
        )
    if cortex.mesh == FSAVERAGE5:
        return _on_fsaverage5(values, targets, cortex)
    vertex = targets["vertex"].to_numpy()
    # One common numbering counts through both hemispheres, the other starts anew on the right.
    offset = cortex.n_vertices if vertex.max() >= cortex.n_vertices else 0
    maps = {}
    for side in HEMISPHERES:
        mine = (targets["hemisphere"] == side).to_numpy()
        if not mine.any():
            continue
        index = vertex[mine] - (offset if side == "R" else 0)
        full = np.full(cortex.n_vertices, np.nan)
        full[index] = values[mine]
        maps[side] = _widen(full, index, cortex, side)
    return maps


def _on_fsaverage5(values: np.ndarray, targets: pd.DataFrame, cortex: Cortex) -> dict[str, np.ndarray]:
    vertex = targets["mesh_vertex"].to_numpy()
    maps = {}
    for side in HEMISPHERES:
        mine = (targets["hemisphere"] == side).to_numpy()
        if mine.any():
            drawn = mine & (vertex < cortex.n_vertices)
            maps[side] = np.full(cortex.n_vertices, np.nan)
            maps[side][vertex[drawn]] = values[drawn]
    return maps


def _widen(full: np.ndarray, index: np.ndarray, cortex: Cortex, side: str) -> np.ndarray:
    areas, faces = cortex.areas[side], cortex.meshes[side].faces
    sampled = np.zeros(cortex.n_vertices, dtype=bool)
    sampled[index] = True
    mine = np.isin(areas, np.setdiff1d(np.unique(areas[index]), [0]))
    if sampled[mine].mean() > 0.9:
        return full
    # A vertex between targets takes the mean of those shown, and is grey where most targets around it are grey: what is
    # not significant must not be painted over.
    shown = np.where(sampled, np.isfinite(full).astype(float), np.nan)
    share = fill_gaps(shown, faces, mine & ~sampled)
    values = fill_gaps(full, faces, mine)
    return np.where(share >= 0.5, values, np.nan)


def on_areas(
    values: Mapping[str, float], cortex: Cortex, hemispheres: Sequence[str] = HEMISPHERES
) -> dict[str, np.ndarray]:
    """Give every vertex the value of its area.

    Parameters
    ----------
    values : mapping of str to float
        Area name (``V1``, or ``L_V1`` for one side only) to value.
    cortex : Cortex
        The mesh.
    hemispheres : sequence of str
        Sides to fill.

    Returns
    -------
    dict of str to np.ndarray
        One value per vertex and hemisphere, NaN in areas without a value.
    """
    maps = {}
    for side in as_names(hemispheres):
        lookup = np.full(max(cortex.names) + 1, np.nan)
        for number, name in cortex.names.items():
            lookup[number] = values.get(f"{side}_{name}", values.get(name, np.nan))
        maps[side] = lookup[cortex.areas[side]]
    return maps


def area_borders(names: set[str], cortex: Cortex) -> dict[str, np.ndarray]:
    """Return area numbers with all areas not in ``names`` set to 0, for outlines."""
    wanted = [number for number, name in cortex.names.items() if name in names]
    return {side: np.where(np.isin(area, wanted), area, 0) for side, area in cortex.areas.items()}
