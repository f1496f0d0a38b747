"""Draw values on a cortical mesh: a small z-buffer rasteriser.

``nilearn.plotting.plot_surf`` sorts 65,000 triangles per view in matplotlib (seconds each, faceted). Here the geometry
of a view is rasterised once and reused for every map: a report with six maps is a matter of seconds, shading is smooth,
and areas can be outlined. Coordinates are RAS in mm: x to the right, y to the front, z up.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.colors import Colormap, Normalize
from scipy import ndimage, sparse

from brainmap.common.errors import InputError

View = Literal["lateral", "medial", "ventral", "dorsal", "posterior", "flat"]

_OVERSAMPLING = 2
_SMALL = 32  # pixels: triangles up to this size are filled together
_LIGHT = np.array([-0.25, 0.45, 0.86])  # right, up, towards the viewer


@dataclass(frozen=True, eq=False)
class HemisphereMesh:
    """One hemisphere of a cortical mesh.

    Attributes
    ----------
    hemisphere : {"L", "R"}
        Which side.
    coordinates : np.ndarray of shape (n_vertices, 3)
        RAS coordinates in mm, usually of an inflated surface.
    faces : np.ndarray of shape (n_faces, 3)
        Vertex indices of each triangle.
    sulci : np.ndarray of shape (n_vertices,)
        Sulcal depth: positive on gyri (as in HCP files), for the grey background. Zeros if unknown.
    """

    hemisphere: str
    coordinates: np.ndarray
    faces: np.ndarray
    sulci: np.ndarray


@dataclass(frozen=True, eq=False)
class Raster:
    """What each pixel of a view shows: three vertices with weights, and how much light falls on it.

    Attributes
    ----------
    vertices, weights : np.ndarray of shape (height, width, 3)
        Vertices of the triangle in front (−1 where there is none) and the barycentric weights of the pixel in it.
    light : np.ndarray of shape (height, width)
        Brightness in [0, 1].
    """

    vertices: np.ndarray
    weights: np.ndarray
    light: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """Where the mesh is, bool ``(height, width)``."""
        return self.vertices[..., 0] >= 0


def view_axes(hemisphere: str, view: View) -> np.ndarray:
    """Return the right, up and towards-the-viewer directions of a view as rows, ``(3, 3)``.

    Ventral and dorsal views are the lateral view tipped over, so the front of the brain stays on the same side. The
    view ``flat`` is that of a mesh in the plane, see :func:`brainmap.report.cortex.flat_meshes.flat_cortex`.
    """
    outward = -1.0 if hemisphere == "L" else 1.0
    side, front, up = np.eye(3)
    axes = {
        "lateral": (outward * front, up, outward * side),
        "medial": (-outward * front, up, -outward * side),
        "ventral": (outward * front, outward * side, -up),
        "dorsal": (outward * front, -outward * side, up),
        "posterior": (side, up, -front),
        "flat": (side, front, up),  # of a mesh that lies in the plane
    }
    if view not in axes:
        raise InputError(f"unknown view {view!r}; choose one of {', '.join(axes)}")
    return np.array(axes[view])


def rasterise(mesh: HemisphereMesh, view: View, *, pixels_per_mm: float = 2.0) -> Raster:
    """Find what each pixel of an orthographic view shows.

    Parameters
    ----------
    mesh : HemisphereMesh
        The mesh.
    view : str
        ``lateral``, ``medial``, ``ventral``, ``dorsal``, ``posterior``, or ``flat`` for a mesh in the plane.
    pixels_per_mm : float
        Resolution.

    Returns
    -------
    Raster
        Pixels, the first row on top.
    """
    axes = view_axes(mesh.hemisphere, view)
    seen = mesh.coordinates @ axes.T
    low = seen[:, :2].min(axis=0)
    width, height = np.ceil((np.ptp(seen[:, :2], axis=0)) * pixels_per_mm).astype(int) + 3
    xy = (seen[:, :2] - low) * pixels_per_mm + 1.0
    depth = seen[:, 2]

    corners = xy[mesh.faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    # Half of the triangles face away and can never be seen; the sign of the winding differs between meshes.
    normals, winding = _vertex_normals(mesh)
    kept = winding * area > 1e-9
    faces, corners, area = mesh.faces[kept], corners[kept], area[kept]

    pixel, face, weights = _fragments(corners, area, width)
    z = np.einsum("ij,ij->i", weights, depth[faces[face]])
    order = np.lexsort((z, pixel))
    last = np.r_[pixel[order][1:] != pixel[order][:-1], True]  # the nearest fragment of each pixel
    chosen = order[last]

    vertices = np.full((height * width, 3), -1, dtype=np.int32)
    weight_map = np.zeros((height * width, 3), dtype=np.float32)
    vertices[pixel[chosen]] = faces[face[chosen]]
    weight_map[pixel[chosen]] = weights[chosen]
    light = np.zeros(height * width, dtype=np.float32)
    shown = np.einsum("ij,ijk->ik", weights[chosen], (normals @ axes.T)[faces[face[chosen]]])
    light[pixel[chosen]] = _illuminate(shown)
    shape = (height, width)
    return Raster(vertices.reshape(*shape, 3)[::-1], weight_map.reshape(*shape, 3)[::-1], light.reshape(shape)[::-1])


def _fragments(corners: np.ndarray, area: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixel number, face and barycentric weights of every (face, pixel centre inside it) pair."""
    low = np.floor(corners.min(axis=1)).astype(int)
    extent = np.ceil(corners.max(axis=1)).astype(int) - low + 1
    fragments: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def inside(face: np.ndarray, point: np.ndarray) -> None:
        a, b, c = (corners[face, k] - point for k in range(3))
        weights = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1) / area[face, None]
        kept = (weights >= -1e-6).all(axis=1)
        fragments.append((point[kept, 1] * width + point[kept, 0], face[kept], weights[kept]))

    small = extent.max(axis=1) <= _SMALL
    for dy in range(int(extent[small, 1].max(initial=0))):
        for dx in range(int(extent[small, 0].max(initial=0))):
            face = np.flatnonzero(small & (extent[:, 0] > dx) & (extent[:, 1] > dy))
            if len(face):
                inside(face, low[face] + (dx, dy))
    for large in np.flatnonzero(~small):  # few, and each would lengthen the loops of all
        across, down = (axis.reshape(-1) for axis in np.meshgrid(*map(np.arange, extent[large])))
        inside(np.full(len(across), large), low[large] + np.stack([across, down], axis=1))
    pixel, face, weights = (np.concatenate(parts) for parts in zip(*fragments, strict=True))
    return pixel, face, weights


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _vertex_normals(mesh: HemisphereMesh) -> tuple[np.ndarray, float]:
    """Return outward unit normals, and 1 if triangles wind counter-clockwise seen from outside, else −1."""
    corners = mesh.coordinates[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(mesh.coordinates, dtype=float)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], normal)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    outward = mesh.coordinates - mesh.coordinates.mean(axis=0)
    winding = float(np.sign(np.sum(total * outward) or 1.0))
    return total * winding, winding


def _illuminate(normals: np.ndarray) -> np.ndarray:
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    direction = _LIGHT / np.linalg.norm(_LIGHT)
    diffuse = np.clip(normals @ direction, 0, 1)
    return np.clip(0.30 + 0.52 * diffuse + 0.18 * np.clip(normals[:, 2], 0, 1), 0, 1)


@functools.lru_cache(maxsize=32)
def cached_raster(mesh: HemisphereMesh, view: View, pixels_per_mm: float) -> Raster:
    """Return :func:`rasterise`, remembered: a mesh object is rasterised once per view."""
    return rasterise(mesh, view, pixels_per_mm=pixels_per_mm)


def paint(
    mesh: HemisphereMesh,
    values: np.ndarray,
    view: View,
    *,
    cmap: Colormap,
    norm: Normalize,
    areas: np.ndarray | None = None,
    pixels_per_mm: float = 2.0,
    nearest: bool = False,
    line: float = 1.0,
) -> np.ndarray:
    """Draw one view of one hemisphere.

    Parameters
    ----------
    mesh : HemisphereMesh
        The mesh.
    values : np.ndarray of shape (n_vertices,)
        Values to show; NaN leaves the grey cortex.
    view : str
        See :func:`rasterise`.
    cmap, norm : Colormap, Normalize
        Colours of the values.
    areas : np.ndarray of int of shape (n_vertices,), optional
        Area of each vertex; borders between areas are outlined, 0 means no area.
    pixels_per_mm : float
        Resolution of the result.
    nearest : bool
        Every pixel takes the value of the nearest vertex, for values between which there is nothing, such as names.
    line : float
        Width of outlines in pixels.

    Returns
    -------
    np.ndarray of shape (height, width, 4)
        RGBA in [0, 1], transparent outside the brain.
    """
    if values.shape != (len(mesh.coordinates),):
        raise InputError(
            f"values have shape {values.shape}, the {mesh.hemisphere} mesh has {len(mesh.coordinates)} vertices: "
            "give one value per vertex, NaN where there is none"
        )
    raster = cached_raster(mesh, view, pixels_per_mm * _OVERSAMPLING)
    covered = raster.covered
    corner, weight = raster.vertices[covered], raster.weights[covered]
    color = _grey_cortex(mesh, corner, weight)
    if nearest:
        weight = (weight == weight.max(axis=1, keepdims=True)).astype(weight.dtype)
        weight[:, 1] *= 1 - weight[:, 0]  # a pixel between two vertices is the first one's
        weight[:, 2] *= (1 - weight[:, 0]) * (1 - weight[:, 1])
    known = np.isfinite(values)[corner]
    share = (weight * known).sum(axis=1)
    has_value = share >= 0.5
    mean = (weight * np.where(known, values[corner], 0.0)).sum(axis=1) / np.maximum(share, 1e-9)
    color[has_value] = cmap(norm(mean[has_value]))[:, :3]
    light = raster.light[covered][:, None]
    # Data keep most of their own colour, so that they can still be compared with the colour bar.
    gain = np.where(has_value[:, None], 0.80 + 0.22 * light, 0.62 + 0.42 * light)
    image = np.zeros((*covered.shape, 4))
    image[covered, :3] = np.clip(color * gain, 0, 1)
    image[covered, 3] = 1.0
    if areas is not None:
        _outline(image, _area_of_pixel(raster, areas), round((line - 1) * _OVERSAMPLING / 2))
    return _shrink(image, _OVERSAMPLING)


def _grey_cortex(mesh: HemisphereMesh, corner: np.ndarray, weight: np.ndarray) -> np.ndarray:
    spread = np.std(mesh.sulci) or 1.0
    gyrus = (weight * mesh.sulci[corner]).sum(axis=1) / spread
    grey = 0.845 + 0.075 * np.tanh(2.0 * gyrus)
    return np.repeat(grey[:, None], 3, axis=1) * np.array([0.992, 0.997, 1.0])


def _area_of_pixel(raster: Raster, areas: np.ndarray) -> np.ndarray:
    nearest = np.take_along_axis(raster.vertices, raster.weights.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.where(raster.covered, areas[nearest], 0)


def _outline(image: np.ndarray, label: np.ndarray, wider: int) -> None:
    border = np.zeros(label.shape, dtype=bool)
    covered = image[..., 3] > 0
    for shift in ((0, 1), (1, 0)):
        a = (slice(None, -shift[0] or None), slice(None, -shift[1] or None))
        b = (slice(shift[0], None), slice(shift[1], None))
        differs = (label[a] != label[b]) & covered[a] & covered[b]
        border[a] |= differs
        border[b] |= differs
    if wider > 0:
        border = ndimage.binary_dilation(border, iterations=wider) & covered
    image[border, :3] = image[border, :3] * 0.35 + np.array([0.10, 0.12, 0.15]) * 0.65


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of pixels, weighting colours by coverage so that the rim does not darken."""
    height, width = (size // factor * factor for size in image.shape[:2])
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor, 4)
    alpha = blocks[..., 3:].sum(axis=(1, 3))
    color = (blocks[..., :3] * blocks[..., 3:]).sum(axis=(1, 3)) / np.maximum(alpha, 1e-9)
    return np.concatenate([color, alpha / factor**2], axis=2)


def mesh_adjacency(n_vertices: int, faces: np.ndarray) -> sparse.csr_array:
    """Return the binary adjacency matrix of a mesh, ``(n_vertices, n_vertices)``."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    matrix = sparse.coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(n_vertices, n_vertices)).tocsr()
    matrix.data[:] = 1.0
    return matrix


def smooth(values: np.ndarray, faces: np.ndarray, *, passes: int = 3, weight: float = 0.3) -> np.ndarray:
    """Smooth values over a mesh as in Study A, figure 2: repeated mixing with the mean of the neighbours.

    Parameters
    ----------
    values : np.ndarray of shape (n_vertices,)
        Values; NaN stays NaN and does not take part.
    faces : np.ndarray of shape (n_faces, 3)
        Triangles.
    passes : int
        Number of repetitions.
    weight : float
        Share of the neighbours' mean in each pass.

    Returns
    -------
    np.ndarray of shape (n_vertices,)
        Smoothed values.
    """
    adjacency = mesh_adjacency(len(values), faces)
    known = np.isfinite(values)
    count = adjacency @ known.astype(float)
    current = np.where(known, values, 0.0)
    for _ in range(passes):
        mean = np.divide(adjacency @ current, count, out=current.copy(), where=count > 0)
        current = np.where(known, (1 - weight) * current + weight * mean, 0.0)
    return np.where(known, current, np.nan)


def fill_gaps(values: np.ndarray, faces: np.ndarray, allowed: np.ndarray, *, steps: int = 8) -> np.ndarray:
    """Give vertices without a value the mean of their neighbours, ring by ring.

    Meant for data on a subset of an area's vertices, so that the area is drawn as a surface and not as freckles.

    Parameters
    ----------
    values : np.ndarray of shape (n_vertices,)
        Values, NaN where there is none.
    faces : np.ndarray of shape (n_faces, 3)
        Triangles.
    allowed : np.ndarray of bool of shape (n_vertices,)
        Vertices that may be filled.
    steps : int
        Largest number of rings.

    Returns
    -------
    np.ndarray of shape (n_vertices,)
        Values with gaps filled; measured values are unchanged.
    """
    adjacency = mesh_adjacency(len(values), faces)
    filled = values.astype(float).copy()
    for _ in range(steps):
        known = np.isfinite(filled)
        count = adjacency @ known.astype(float)
        target = ~known & allowed & (count > 0)
        if not target.any():
            break
        filled[target] = (adjacency @ np.where(known, filled, 0.0))[target] / count[target]
    return filled
