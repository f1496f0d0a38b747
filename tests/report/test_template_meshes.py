"""Maps on the mesh they were measured on: the user's FreeSurfer and HCP files, here subdivided spheres."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from brainmap.common.errors import InputError
from brainmap.report.cortex.template_meshes import template_mesh, where_to_put
from brainmap.report.cortex.values_on_mesh import coarse, cortex_of, drawn_mesh, on_vertices
from brainmap.report.figures.maps import score_map


def icosphere(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """A subdivided icosahedron, 10 · 4^levels + 2 vertices, the first ones those of the coarser spheres."""
    golden = (1 + 5**0.5) / 2
    corners = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    xyz = np.array([np.roll(corner, turn) for corner in corners for turn in range(3)], dtype=float)
    near = np.linalg.norm(xyz[:, None] - xyz, axis=2) < 2.1
    faces = np.array(
        [(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[a, c]]
    )
    outward = np.einsum(
        "ij,ij->i", np.cross(xyz[faces[:, 1]] - xyz[faces[:, 0]], xyz[faces[:, 2]] - xyz[faces[:, 0]]), xyz[faces[:, 0]]
    )
    faces[outward < 0] = faces[outward < 0][:, ::-1]
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    for _ in range(levels):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, place = np.unique(edges, axis=0, return_inverse=True)
        middle = xyz[unique].mean(axis=1)
        a, b, c = len(xyz) + place.reshape(3, -1)
        xyz = np.concatenate([xyz, middle / np.linalg.norm(middle, axis=1, keepdims=True)])
        i, j, k = faces.T
        faces = np.concatenate([np.stack(part, axis=1) for part in ((i, a, c), (a, j, b), (c, b, k), (a, b, c))])
    return 50 * xyz, faces.astype(np.int32)


def write_freesurfer(folder: Path, mesh: str, levels: int) -> None:
    surf = folder / mesh / "surf"
    surf.mkdir(parents=True)
    xyz, faces = icosphere(levels)
    for side in ("lh", "rh"):
        nibabel.freesurfer.write_geometry(surf / f"{side}.inflated", xyz, faces)
        nibabel.freesurfer.write_morph_data(surf / f"{side}.sulc", np.sin(xyz[:, 0]).astype(np.float32))


def write_hcp(folder: Path, levels: int, name: str) -> None:
    xyz, faces = icosphere(levels)
    folder.mkdir(exist_ok=True)
    for side in ("L", "R"):
        parts = [
            nibabel.gifti.GiftiDataArray(xyz.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
            nibabel.gifti.GiftiDataArray(faces, intent="NIFTI_INTENT_TRIANGLE"),
        ]
        nibabel.save(nibabel.gifti.GiftiImage(darrays=parts), folder / name.format(side=side))


def targets(mesh: str, n_vertices: int) -> pd.DataFrame:
    table = pd.DataFrame({"roi": "cortex", "hemisphere": np.repeat(["L", "R"], n_vertices), "vertex": -1, "mesh": mesh})
    return table.assign(mesh_vertex=np.tile(np.arange(n_vertices), 2))


@pytest.mark.parametrize(("mesh", "levels"), [("fsaverage6", 6), ("fsaverage", 7)])
def test_freesurfer_meshes_are_drawn_at_every_vertex(
    mesh: str, levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    monkeypatch.setenv("SUBJECTS_DIR", str(tmp_path / "empty"))
    n_vertices = 10 * 4**levels + 2
    table = targets(mesh, n_vertices)
    assert drawn_mesh(mesh) == "fsaverage5" and cortex_of(table).n_vertices == 10_242
    write_freesurfer(tmp_path / "subjects", mesh, levels)
    for variable, folder in (("SUBJECTS_DIR", tmp_path / "subjects"), ("FREESURFER_HOME", tmp_path)):
        monkeypatch.delenv("SUBJECTS_DIR", raising=False)
        monkeypatch.setenv(variable, str(folder))
        cortex = cortex_of(table)
        assert cortex.mesh == mesh and cortex.n_vertices == n_vertices
    values = np.random.default_rng(0).standard_normal(2 * n_vertices)
    maps = on_vertices(values, table, cortex)
    np.testing.assert_array_equal(np.concatenate([maps["L"], maps["R"]]), values)
    assert np.ptp(cortex.meshes["L"].sulci) > 0
    if mesh == "fsaverage6":
        assert score_map(values, table, "activation").axes


@pytest.mark.parametrize(
    "name", ["S1200.{side}.inflated_MSMAll.164k_fs_LR.surf.gii", "tpl-fsLR_den-164k_hemi-{side}_inflated.surf.gii"]
)
def test_hcp_meshes_by_either_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINMAP_SURFACES", raising=False)
    table = targets("fsLR-164k", 163_842)
    assert cortex_of(table) is None and "BRAINMAP_SURFACES" in where_to_put("fsLR-164k")
    monkeypatch.setenv("BRAINMAP_SURFACES", str(tmp_path))
    write_hcp(tmp_path, 7, name)
    write_hcp(tmp_path, 2, name.replace("164k", "59k"))  # another density does not matter, unless it is asked for
    assert cortex_of(table).mesh == "fsLR-164k"
    with pytest.raises(InputError, match="has 162 vertices, but fsLR-59k has 59,292"):
        template_mesh("fsLR-59k")


def test_a_mesh_that_is_not_what_its_name_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBJECTS_DIR", str(tmp_path))
    write_freesurfer(tmp_path, "fsaverage6", 5)
    with pytest.raises(InputError, match="has 10,242 vertices, but fsaverage6 has 40,962"):
        template_mesh("fsaverage6")
    (tmp_path / "fsaverage6" / "surf" / "rh.inflated").unlink()
    with pytest.raises(InputError, match="right one is not beside it"):
        template_mesh("fsaverage6")
    for side in ("lh", "rh"):
        (tmp_path / "fsaverage6" / "surf" / f"{side}.inflated").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no surface that can be read"):
        template_mesh("fsaverage6")


def test_the_screen_has_fewer_vertices_and_the_same_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBJECTS_DIR", str(tmp_path))
    write_freesurfer(tmp_path, "fsaverage6", 6)
    table = targets("fsaverage6", 40_962)
    table["roi"] = np.where(table["mesh_vertex"] % 2, "V1", "V2")
    cortex = cortex_of(table)
    shown, places = coarse(cortex, 5_000)
    mesh, place = shown.meshes["L"], places["L"]
    assert 2_000 < shown.n_vertices <= 5_000 and mesh.faces.max() < shown.n_vertices and len(place) == 40_962
    assert np.abs(mesh.coordinates[place] - cortex.meshes["L"].coordinates).max() < 5  # of a sphere of 50 mm
    corners = mesh.coordinates[mesh.faces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    assert abs(area / (4 * np.pi * 2500) - 1) < 0.1  # a closed surface: nothing is missing
    same, identity = coarse(cortex)
    assert same is cortex and np.array_equal(identity["L"], np.arange(40_962))
