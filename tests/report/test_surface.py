"""The rasteriser against spheres and planes, smoothing against a loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import Normalize
from scipy.spatial import ConvexHull

from brainmap.common.errors import InputError
from brainmap.report import figures
from brainmap.report.cortex import cortex_of
from brainmap.report.cortex.mesh_raster import HemisphereMesh, fill_gaps, paint, rasterise, smooth
from brainmap.report.cortex.values_on_mesh import load_cortex, on_areas, on_vertices
from brainmap.report.figures import colors_and_type

RADIUS = 40.0


@pytest.fixture(scope="module", params=["L", "R"])
def sphere(request) -> HemisphereMesh:
    n = 2500
    k = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * k / n), np.pi * (1 + 5**0.5) * k
    xyz = RADIUS * np.column_stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)])
    return HemisphereMesh(request.param, xyz, ConvexHull(xyz).simplices, np.zeros(n))


@pytest.mark.parametrize("view", ["lateral", "medial", "ventral", "dorsal", "posterior"])
def test_silhouette_of_a_sphere(sphere, view):
    # ConvexHull does not orient its triangles, so give them one winding first.
    corners = sphere.coordinates[sphere.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normal * corners.mean(axis=1)).sum(axis=1) < 0
    faces = np.where(inward[:, None], sphere.faces[:, ::-1], sphere.faces)
    for winding in (faces, faces[:, ::-1]):  # both windings occur in the wild
        mesh = HemisphereMesh(sphere.hemisphere, sphere.coordinates, winding, sphere.sulci)
        raster = rasterise(mesh, view, pixels_per_mm=2.0)
        assert raster.covered.sum() / 4 == pytest.approx(np.pi * RADIUS**2, rel=0.01)
        np.testing.assert_allclose(raster.weights[raster.covered].sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "view", "seen", "front_on_left"),
    [("L", "lateral", (0, -1), True), ("L", "medial", (0, 1), False), ("R", "lateral", (0, 1), False),
     ("R", "medial", (0, -1), True), ("L", "ventral", (2, -1), True), ("L", "dorsal", (2, 1), True),
     ("R", "ventral", (2, -1), False)],
)  # fmt: skip
def test_views_show_the_right_side(side, view, seen, front_on_left):
    mesh = load_cortex().meshes[side]
    raster = rasterise(mesh, view, pixels_per_mm=0.6)
    corner = raster.vertices[raster.covered][:, 0]
    xyz = mesh.coordinates[corner] - mesh.coordinates.mean(axis=0)
    axis, sign = seen
    assert np.mean(sign * xyz[:, axis] > 0) > 0.6
    column = np.nonzero(raster.covered)[1]
    assert np.sign(np.corrcoef(column, xyz[:, 1])[0, 1]) == (-1 if front_on_left else 1)


def test_values_are_interpolated_between_vertices():
    xyz = np.array([[0.0, 0, 0], [0, 20, 0], [0, 20, 20], [0, 0, 20]])
    mesh = HemisphereMesh("R", xyz, np.array([[0, 1, 2], [0, 2, 3]]), np.zeros(4))
    raster = rasterise(mesh, "lateral", pixels_per_mm=1.0)
    if not raster.covered.any():
        raster = rasterise(mesh, "medial", pixels_per_mm=1.0)
    value = np.einsum("ijk,ijk->ij", raster.weights, xyz[raster.vertices, 1])
    for row in range(3, 18):
        inside = value[row][raster.covered[row]]
        np.testing.assert_allclose(np.abs(np.diff(inside)), 1.0, atol=1e-5)


def test_cortex_without_values_is_grey_and_values_have_their_colour():
    mesh = load_cortex().meshes["L"]
    norm, cmap = Normalize(0, 1), colors_and_type.signal_cmap("gradient")
    nothing = paint(mesh, np.full(len(mesh.coordinates), np.nan), "lateral", cmap=cmap, norm=norm, pixels_per_mm=0.5)
    opaque = nothing[nothing[..., 3] == 1][:, :3]
    assert np.ptp(opaque, axis=1).max() < 0.02
    full = paint(mesh, np.full(len(mesh.coordinates), 0.25), "lateral", cmap=cmap, norm=norm, pixels_per_mm=0.5)
    shown = full[full[..., 3] == 1][:, :3]
    ratio = shown / np.array(cmap(0.25)[:3])
    assert np.ptp(ratio, axis=1).max() < 0.02  # shading changes brightness, not hue
    assert ratio.min() > 0.8


def test_wrong_lengths_are_refused():
    mesh = load_cortex().meshes["L"]
    with pytest.raises(InputError, match="32492 vertices"):
        paint(mesh, np.zeros(10), "lateral", cmap=colors_and_type.depth_cmap(), norm=Normalize(0, 1))
    with pytest.raises(InputError, match="unknown view"):
        rasterise(mesh, "above")


def test_smoothing_is_repeated_mixing_with_neighbours():
    rng = np.random.default_rng(0)
    points = rng.random((60, 3))
    faces = ConvexHull(points - 0.5 + 0.3 * np.sign(points - 0.5)).simplices
    values = rng.standard_normal(60)
    values[rng.permutation(60)[:10]] = np.nan
    neighbours = {v: set(faces[(faces == v).any(axis=1)].ravel()) - {v} for v in range(60)}
    expected = values.copy()
    for _ in range(3):
        previous = expected.copy()
        for v, near in neighbours.items():
            known = [previous[w] for w in near if np.isfinite(previous[w])]
            if np.isfinite(previous[v]) and known:
                expected[v] = 0.7 * previous[v] + 0.3 * np.mean(known)
    np.testing.assert_allclose(smooth(values, faces), expected)
    np.testing.assert_allclose(smooth(np.ones(60), faces), 1.0)


def test_gaps_are_filled_only_where_allowed():
    faces = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]])
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan])
    filled = fill_gaps(values, faces, np.array([0, 1, 0, 1, 1, 0], bool))
    np.testing.assert_allclose(filled[:3], [1, 2, 3])
    assert filled[3] == 3.0
    assert filled[4] == 3.0
    assert np.isnan(filled[5])


def test_targets_and_areas_reach_their_vertices(small_results):
    cortex = load_cortex()
    targets = small_results.targets("fmri")
    values = np.arange(len(targets), dtype=float)
    maps = on_vertices(values, targets, cortex)
    assert set(maps) == {"L"}
    np.testing.assert_array_equal(maps["L"][targets["vertex"]], values)
    filled = np.isfinite(maps["L"])
    names = {cortex.names[number] for number in np.unique(cortex.areas["L"][filled])}
    assert names == set(targets["roi"])  # sparse targets are widened inside their areas and nowhere else
    areas = on_areas({"V1": 2.0, "R_MT": 3.0}, cortex)
    v1 = next(number for number, name in cortex.names.items() if name == "V1")
    assert (areas["L"][cortex.areas["L"] == v1] == 2.0).all()
    assert np.isfinite(areas["L"]).sum() == (cortex.areas["L"] == v1).sum()
    with pytest.raises(InputError, match="one value per target"):
        on_vertices(values[:-1], targets, cortex)


def fsaverage_targets(vertices: np.ndarray, roi: np.ndarray) -> pd.DataFrame:
    table = {"hemisphere": "L", "roi": roi, "mesh": "fsaverage", "mesh_vertex": vertices, "vertex": -1}
    return pd.DataFrame(table)


def test_fsaverage_is_drawn_on_its_first_vertices() -> None:
    vertices = np.array([0, 5, 10_241, 10_242, 163_841])
    targets = fsaverage_targets(vertices, np.array(["V1", "V1", "FFC", "FFC", ""]))
    cortex = cortex_of(targets)
    assert cortex is not None and cortex.mesh == "fsaverage5" and cortex.n_vertices == 10_242
    full = on_vertices(np.arange(1.0, 6.0), targets, cortex)
    assert set(full) == {"L"}
    assert full["L"][[0, 5, 10_241]].tolist() == [1.0, 2.0, 3.0] and np.isfinite(full["L"]).sum() == 3
    areas = on_areas({"V1": 7.0}, cortex, ["L"])["L"]
    assert np.flatnonzero(areas == 7.0).tolist() == [0, 5]
    assert cortex_of(fsaverage_targets(vertices[3:], np.array(["FFC", ""]))) is None  # nothing of it can be drawn
    assert cortex_of(targets.assign(mesh="func1pt8mm")) is None


def test_real_fsaverage_areas_are_patches_on_fsaverage5(shared_data) -> None:
    streams = np.load(shared_data / "nsd_rois_fsaverage/lh.streams_fsaverage_space.npy", allow_pickle=False)
    kept = np.flatnonzero(streams > 0)
    cortex = cortex_of(fsaverage_targets(kept, streams[kept].astype(int).astype(str)))
    assert cortex is not None
    faces, area = cortex.meshes["L"].faces, cortex.areas["L"]
    inside = area[faces[:, 0]] > 0
    alike = (area[faces[:, 0]] == area[faces[:, 1]])[inside].mean()
    assert alike > 0.85  # neighbours share their stream; by chance two in a hundred do


def test_the_cortex_laid_flat_stands_below_the_inflated_views():
    numbers = np.arange(0, 32492, 7)
    targets = pd.DataFrame({"hemisphere": "L", "vertex": numbers, "roi": "V1"})
    values = numbers / numbers.max()
    plain, flat = (
        figures.score_map(values, targets, "activation", hemispheres=("L", "R"), flat=laid) for laid in (False, True)
    )
    assert flat.get_size_inches()[1] > plain.get_size_inches()[1] + 0.5
    picture, short = (np.asarray(figure.axes[0].images[0].get_array()) for figure in (flat, plain))
    assert picture.shape[1] == short.shape[1]
    below = picture[short.shape[0] :]  # both sides are drawn, the one without data in grey
    half = below.shape[1] // 2
    for side in (below[:, :half], below[:, half:]):
        assert (side[..., 3] > 0.5).mean() > 0.2
    color = np.ptp(below[..., :3], axis=-1) * (below[..., 3] > 0.5)
    assert (color[:, :half] > 0.1).any() and not (color[:, half:] > 0.1).any()
