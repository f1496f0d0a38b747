"""Bring values of targets or areas onto the vertices of the two hemispheres."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.data.meshes import MESH_VERTICES, NATIVE_MESH
from brainmap.report.cortex.mesh_raster import HemisphereMesh, fill_gaps
from brainmap.report.cortex.template_meshes import FSAVERAGE5, template_mesh

HEMISPHERES = ("L", "R")
HEMISPHERE_NAMES = {"L": "Left", "R": "Right"}
FSLR = NATIVE_MESH
SCREEN_VERTICES = 41_000
FSAVERAGE_MESHES = (
    "fsaverage",
    "fsaverage6",
    FSAVERAGE5,
)  # the first vertices of each are those of the next smaller one


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
        Template that is drawn on: ``fsLR-32k``, ``fsaverage5`` …
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
        Vertices of fsLR-32k (``hemisphere``, ``vertex``), or of another template (``hemisphere``, ``mesh``,
        ``mesh_vertex``), which are drawn on their own mesh where it is found, see
        :mod:`brainmap.report.cortex.template_meshes`; vertices of fsaverage else on fsaverage5.

    Returns
    -------
    Cortex or None
        The areas of other templates than fsLR-32k are those that the targets name.

    Examples
    --------
    >>> import brainmap
    >>> from brainmap.report.cortex import cortex_of
    >>> cortex_of(brainmap.open_run("brainmap_runs/demo").targets("fmri")) is not None
    True
    """
    targets = targets[_placed(targets)]  # what lies below the cortex is not drawn on it
    if targets.empty:
        return None
    if "vertex" in targets and targets["vertex"].min() >= 0:
        cortex = load_cortex()
        return cortex if targets["vertex"].max() < 2 * cortex.n_vertices else None
    if {"mesh", "mesh_vertex"} <= set(targets.columns) and targets["mesh"].nunique() == 1:
        mesh = str(targets["mesh"].iloc[0])
        return _template_cortex(targets, mesh) if mesh in MESH_VERTICES else None
    return None


def _placed(targets: pd.DataFrame) -> np.ndarray:
    """Which targets are vertices of a mesh, (n_targets,) bool."""
    column = "mesh_vertex" if {"mesh", "mesh_vertex"} <= set(targets.columns) else "vertex"
    if column not in targets or "hemisphere" not in targets:
        return np.zeros(len(targets), dtype=bool)
    known = pd.to_numeric(targets[column], errors="coerce").to_numpy(dtype=float) >= 0
    return np.asarray(targets["hemisphere"].isin(HEMISPHERES).to_numpy() & known)


def drawn_mesh(mesh: str) -> str | None:
    """Name of the mesh that vertices of another are drawn on: their own, or fsaverage5; None where there is neither.

    Vertices of fsaverage and fsaverage6 are drawn on fsaverage5 where their own mesh is not at hand: its vertices are
    the first 10,242 of theirs.
    """
    if template_mesh(mesh) is not None:
        return mesh
    return FSAVERAGE5 if mesh in FSAVERAGE_MESHES else None


def _template_cortex(targets: pd.DataFrame, mesh: str) -> Cortex | None:
    drawn = drawn_mesh(mesh)
    meshes = None if drawn is None else template_mesh(drawn)
    if drawn is None or meshes is None:
        return None
    n_vertices = len(meshes["L"].coordinates)
    known = targets[(targets["mesh_vertex"] >= 0) & (targets["mesh_vertex"] < n_vertices)]
    if known.empty:
        return None
    roi = known["roi"].astype(str) if "roi" in known else pd.Series("", index=known.index)
    names = ["", *sorted(set(roi) - {""})]
    areas = {side: np.zeros(n_vertices, dtype=np.intp) for side in HEMISPHERES}
    for side in HEMISPHERES:
        mine = (known["hemisphere"] == side).to_numpy()
        areas[side][known["mesh_vertex"].to_numpy()[mine]] = np.searchsorted(names, roi[mine])
    return Cortex(meshes, areas, {number: name for number, name in enumerate(names) if name}, drawn)


def coarse(cortex: Cortex, most: int = SCREEN_VERTICES) -> tuple[Cortex, dict[str, np.ndarray]]:
    """Merge near vertices, for a mesh that a screen turns in real time; figures are drawn from all of them.

    Parameters
    ----------
    cortex : Cortex
        Any.
    most : int
        Vertices of a hemisphere that need no merging.

    Returns
    -------
    cortex : Cortex
        With about ``most`` vertices a hemisphere or fewer, each at the mean place of those it stands for.
    places : dict of str to ndarray of int, (n_vertices,)
        Which of them stands for each vertex, by hemisphere.
    """
    if cortex.n_vertices <= most:
        return cortex, {side: np.arange(cortex.n_vertices) for side in cortex.meshes}
    meshes, areas, places = {}, {}, {}
    for side, mesh in cortex.meshes.items():
        place = _cells(mesh.coordinates, most)
        count = np.bincount(place)
        xyz = np.stack([np.bincount(place, weights=axis) / count for axis in mesh.coordinates.T], axis=1)
        faces = place[mesh.faces]
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
        faces = faces[whole]
        once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)[1]
        sulci = np.bincount(place, weights=mesh.sulci) / count
        meshes[side] = HemisphereMesh(side, xyz, faces[np.sort(once)].astype(np.int32), sulci)
        areas[side] = _most_frequent(place, cortex.areas[side])
        places[side] = place
    return Cortex(meshes, areas, cortex.names, cortex.mesh), places


def _cells(xyz: np.ndarray, most: int) -> np.ndarray:
    """Number of the cube that holds each vertex, cubes being just large enough that there are at most so many."""
    low, width = xyz.min(axis=0), float(np.ptp(xyz, axis=0).max()) / 200
    while True:
        cube = np.floor((xyz - low) / width).astype(np.int64)
        code = (cube * (1, 10**4, 10**8)).sum(axis=1)
        place = np.unique(code, return_inverse=True)[1].reshape(-1)
        if int(place.max()) < most:
            return place
        width *= 1.1


def _most_frequent(place: np.ndarray, areas: np.ndarray) -> np.ndarray:
    pairs, counts = np.unique(np.stack([place, areas]), axis=1, return_counts=True)
    order = np.lexsort((counts, pairs[0]))
    last = np.flatnonzero(np.diff(pairs[0][order], append=-1))
    result: np.ndarray = pairs[1][order][last]
    return result


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
    values = np.asarray(values)
    maps = {}
    for side, (rows, index) in vertices_of(targets, cortex).items():
        maps[side] = np.full(cortex.n_vertices, np.nan)
        maps[side][index] = values[rows]
        if cortex.mesh == FSLR:
            maps[side] = _widen(maps[side], index, cortex, side)
    return maps


def vertices_of(targets: pd.DataFrame, cortex: Cortex) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the targets that a mesh shows and their vertices.

    Parameters
    ----------
    targets : pd.DataFrame
        One row per target, as :func:`cortex_of` takes them.
    cortex : Cortex
        Of these targets.

    Returns
    -------
    dict of str to (rows, vertices)
        By hemisphere that has targets: numbers of rows of ``targets``, and the vertex of each, both ``(n_shown,)``.
    """
    placed = np.flatnonzero(_placed(targets))
    sides = targets["hemisphere"].to_numpy()[placed]
    if cortex.mesh == FSLR:
        vertex = targets["vertex"].to_numpy()[placed]
        # One common numbering counts through both hemispheres, the other starts anew on the right.
        offset = cortex.n_vertices if vertex.max() >= cortex.n_vertices else 0
        vertex = vertex - np.where(sides == "R", offset, 0)
    else:
        vertex = targets["mesh_vertex"].to_numpy()[placed]
    drawn = (vertex >= 0) & (vertex < cortex.n_vertices)
    found = {}
    for side in HEMISPHERES:
        mine = sides == side
        if mine.any():
            found[side] = placed[mine & drawn], vertex[mine & drawn].astype(np.intp)
    return found


def nearest_targets(targets: pd.DataFrame, cortex: Cortex, *, steps: int = 8) -> dict[str, np.ndarray]:
    """Return the target that each vertex shows: its own, or in areas sampled sparsely the nearest of the same area.

    Parameters
    ----------
    targets : pd.DataFrame
        One row per target, as :func:`cortex_of` takes them.
    cortex : Cortex
        Of these targets.
    steps : int
        Largest distance to a target, in edges of the mesh.

    Returns
    -------
    dict of str to ndarray of int, (n_vertices,)
        Rows of ``targets``, −1 where there is none; by hemisphere that has targets.
    """
    found = {}
    for side, (rows, vertices) in vertices_of(targets, cortex).items():
        shown = np.full(cortex.n_vertices, -1, dtype=np.int64)
        shown[vertices] = rows
        if cortex.mesh == FSLR:
            gaps = _gaps(vertices, cortex, side)
            faces, areas = cortex.meshes[side].faces, cortex.areas[side]
            edges = np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
            edges = np.concatenate([edges, edges[:, ::-1]])
            edges = edges[areas[edges[:, 0]] == areas[edges[:, 1]]]
            for _ in range(steps if gaps.any() else 0):
                reach = edges[(shown[edges[:, 0]] >= 0) & (shown[edges[:, 1]] < 0) & gaps[edges[:, 1]]]
                if not len(reach):
                    break
                first = np.full(cortex.n_vertices, np.iinfo(np.int64).max)
                np.minimum.at(first, reach[:, 1], shown[reach[:, 0]])
                shown[reach[:, 1]] = first[reach[:, 1]]
        found[side] = shown
    return found


def _gaps(index: np.ndarray, cortex: Cortex, side: str) -> np.ndarray:
    """Vertices between the targets of areas that are sampled sparsely, bool ``(n_vertices,)``."""
    areas = cortex.areas[side]
    sampled = np.zeros(cortex.n_vertices, dtype=bool)
    sampled[index] = True
    mine: np.ndarray = np.isin(areas, np.setdiff1d(np.unique(areas[index]), [0]))
    return np.zeros_like(mine) if not mine.any() or sampled[mine].mean() > 0.9 else mine & ~sampled


def _widen(full: np.ndarray, index: np.ndarray, cortex: Cortex, side: str) -> np.ndarray:
    faces, gaps = cortex.meshes[side].faces, _gaps(index, cortex, side)
    if not gaps.any():
        return full
    sampled = np.zeros(cortex.n_vertices, dtype=bool)
    sampled[index] = True
    # A vertex between targets takes the mean of those shown, and is grey where most targets around it are grey: what is
    # not significant must not be painted over.
    shown = np.where(sampled, np.isfinite(full).astype(float), np.nan)
    share = fill_gaps(shown, faces, gaps)
    values = fill_gaps(full, faces, gaps | sampled)
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
