"""The cortical meshes that recordings come on: their names and sizes."""

from __future__ import annotations

import re

from brainmap.common.errors import InputError

MESH_VERTICES = {
    "fsaverage5": 10242,
    "fsaverage6": 40962,
    "fsaverage": 163842,
    "fsLR-32k": 32492,
    "fsLR-59k": 59292,
    "fsLR-164k": 163842,
}
"""Vertices of one hemisphere."""
NATIVE_MESH = "fsLR-32k"
VOXELS = "voxels"
_ALIASES = {"fsaverage7": "fsaverage", "fslr": "fsLR-32k"}


def mesh_name(name: str) -> str:
    """Name of a mesh as brainmap writes it: ``32k_fs_LR``, ``fslr32k`` and ``fsLR-32k`` are one.

    Raises
    ------
    InputError
        Naming the meshes that are known.
    """
    folded = re.sub(r"[^a-z0-9]", "", str(name).casefold())
    swapped = re.sub(r"^(\d+k)(fslr)$", r"\2\1", folded)
    for known in MESH_VERTICES:
        if swapped == re.sub(r"[^a-z0-9]", "", known.casefold()):
            return known
    if swapped in _ALIASES:
        return _ALIASES[swapped]
    raise InputError(f"There is no mesh {name!r}; choose {', '.join(MESH_VERTICES)}.")


def mesh_of_size(n_vertices: int, where: str, surface: str | None = None, *, freesurfer: bool = False) -> str:
    """Mesh of a hemisphere with so many vertices.

    Parameters
    ----------
    n_vertices : int
        Of one hemisphere.
    where : str
        What sentences call the file.
    surface : str, optional
        The mesh that was named by the user.
    freesurfer : bool
        Whether the file's format is FreeSurfer's own, which the HCP's meshes do not come in.

    Raises
    ------
    InputError
        If the size belongs to no mesh, to another than the one named, or to two.
    """
    if surface is not None:
        named = mesh_name(surface)
        if MESH_VERTICES[named] != n_vertices:
            raise InputError(
                f"{where} has {n_vertices:,} vertices, but {named} has {MESH_VERTICES[named]:,} a hemisphere."
            )
        return named
    fitting = [name for name, count in MESH_VERTICES.items() if count == n_vertices]
    if freesurfer:
        fitting = [name for name in fitting if name.startswith("fsaverage")] or fitting
    if not fitting:
        sizes = ", ".join(f"{name} {count:,}" for name, count in MESH_VERTICES.items())
        raise InputError(
            f"{where} has {n_vertices:,} vertices, as no known mesh has ({sizes}); "
            "bring a subject's own surface to one "
            "of them first (mri_surf2surf, wb_command -metric-resample)."
        )
    if len(fitting) > 1:
        raise InputError(
            f"{where} has {n_vertices:,} vertices, as {' and '.join(fitting)} "
            f"have; say which with --surface {fitting[0]}."
        )
    return fitting[0]
