"""Places on the cortex: areas with distance from V1 and position on the sphere; distances along the mesh."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from brainmap.common.errors import InputError

FloatArray = NDArray[np.float64]


def cortex_areas(reference: str = "V1") -> pd.DataFrame:
    """All HCP-MMP1 areas: distance of their centre from that of a reference area, and their place on the sphere.

    Parameters
    ----------
    reference : str
        Area the distances start from.

    Returns
    -------
    pandas.DataFrame
        ``roi``, ``hemisphere``, ``distance_mm`` (Euclidean, midthickness surface), ``sphere_x``, ``sphere_y``,
        ``sphere_z``; 180 rows per hemisphere.

    Raises
    ------
    InputError
        For an area that HCP-MMP1 does not have.

    Examples
    --------
    >>> from brainmap.hierarchy import cortex_areas
    >>> areas = cortex_areas()
    >>> len(areas), float(areas.set_index("roi").loc["V1", "distance_mm"].iloc[0])
    (360, 0.0)
    """
    from brainmap.data.atlas import load_atlas, load_surface

    parts = []
    for hemisphere, labels in load_atlas().items():
        if reference not in set(labels):
            raise InputError(f"HCP-MMP1 has no area {reference!r}; areas are called V1, FFC, TE2p, 44, …")
        surfaces = [load_surface(hemisphere, kind)[0] for kind in ("midthickness", "sphere")]
        places = pd.DataFrame(np.concatenate(surfaces, axis=1), columns=["x", "y", "z", *_SPHERE])
        centres = places[labels != ""].groupby(labels[labels != ""]).mean()
        offset = centres[["x", "y", "z"]] - centres.loc[reference, ["x", "y", "z"]]
        table = pd.DataFrame({"roi": centres.index, "hemisphere": hemisphere})
        table["distance_mm"] = np.linalg.norm(offset.to_numpy(), axis=1)
        parts.append(table.assign(**{name: centres[name].to_numpy() for name in _SPHERE}))
    return pd.concat(parts, ignore_index=True)


def in_hcp_areas(targets: pd.DataFrame) -> bool:
    """Return whether all named targets lie in areas of HCP-MMP1, V1 among them: :func:`cortex_areas` knows them."""
    from brainmap.data.atlas import load_atlas

    names = set(targets["roi"].astype(str)) - {""}
    return "V1" in names and names <= set(load_atlas()["L"])


def geodesic_distance(vertices: ArrayLike, faces: ArrayLike, sources: ArrayLike) -> FloatArray:
    """Distance along a triangle mesh from a set of vertices.

    Parameters
    ----------
    vertices : array-like, (n, 3)
        Coordinates in mm.
    faces : array-like of int, (m, 3)
        Triangles.
    sources : array-like of int
        Vertices at distance 0.

    Returns
    -------
    ndarray, (n,)
        mm; infinite where the mesh is not connected. Paths follow edges and the shortcut across each pair of triangles
        that share an edge, so distances exceed the true geodesic by a few per cent (edges alone: up to 15 %).

    Raises
    ------
    InputError
        If a face or source names a vertex that is not there, or there is no source.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import geodesic_distance
    >>> square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> geodesic_distance(square, [[0, 1, 2], [0, 2, 3]], [0]).round(2)
    array([0.  , 1.  , 1.41, 1.  ])
    """
    xyz, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.intp)
    start = np.atleast_1d(np.asarray(sources, dtype=np.intp))
    if start.size == 0 or start.min() < 0 or start.max() >= len(xyz) or triangles.max() >= len(xyz):
        raise InputError(f"Sources and faces must name vertices between 0 and {len(xyz) - 1}.")
    pairs = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    pairs = np.unique(np.concatenate([pairs, _shortcuts(xyz, triangles)]), axis=0)
    length = np.linalg.norm(xyz[pairs[:, 0]] - xyz[pairs[:, 1]], axis=1)
    graph = sparse.csr_array((length, (pairs[:, 0], pairs[:, 1])), shape=(len(xyz), len(xyz)))
    return np.asarray(csgraph.dijkstra(graph, directed=False, indices=start, min_only=True), dtype=np.float64)


def geodesic_to_areas(
    targets: pd.DataFrame, surfaces: dict[str, tuple[ArrayLike, ArrayLike]], reference: str = "V1"
) -> pd.Series:
    """Mean distance along the mesh of each area's vertices from the nearest vertex of a reference area.

    Parameters
    ----------
    targets : pandas.DataFrame
        One row per target: ``roi``, ``hemisphere``, ``vertex``.
    surfaces : dict of str to (vertices, faces)
        Mesh of each hemisphere ('L', 'R'), such as ``brainmap.data.atlas.load_surface(side, 'midthickness')``.
    reference : str
        Area the distances start from.

    Returns
    -------
    pandas.Series
        mm by area, mean over hemispheres; the reference itself is 0.

    Raises
    ------
    InputError
        If the reference has no targets.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from brainmap.hierarchy import geodesic_to_areas
    >>> square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> targets = pd.DataFrame({"roi": ["V1", "V2"], "hemisphere": "L", "vertex": [0, 2]})
    >>> geodesic_to_areas(targets, {"L": (square, [[0, 1, 2], [0, 2, 3]])}).round(2).to_dict()
    {'V1': 0.0, 'V2': 1.41}
    """
    parts = []
    for hemisphere, (vertices, faces) in surfaces.items():
        side = targets[targets["hemisphere"] == hemisphere]
        sources = side.loc[side["roi"] == reference, "vertex"].to_numpy()
        if len(sources):
            distance = geodesic_distance(vertices, faces, sources)
            parts.append(
                pd.Series(distance[side["vertex"].to_numpy()]).groupby(side["roi"].astype(str).to_numpy()).mean()
            )
    if not parts:
        raise InputError(f"No target lies in {reference!r}; distances along the mesh need a place to start from.")
    return pd.concat(parts).groupby(level=0).mean().drop(labels=[""], errors="ignore")


_SPHERE = ["sphere_x", "sphere_y", "sphere_z"]


def _shortcuts(xyz: FloatArray, triangles: NDArray[np.intp]) -> NDArray[np.intp]:
    """Opposite corners of the triangles at each edge, where the straight line between them is almost on the surface."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    corners = triangles[:, [2, 0, 1]].reshape(-1)
    order = np.lexsort(np.sort(edges, axis=1).T)
    sorted_edges, sorted_corners = np.sort(edges, axis=1)[order], corners[order]
    twins = np.flatnonzero((sorted_edges[1:] == sorted_edges[:-1]).all(axis=1))
    pairs = np.sort(np.column_stack([sorted_corners[twins], sorted_corners[twins + 1]]), axis=1)
    a, b = xyz[sorted_edges[twins, 0]], xyz[sorted_edges[twins, 1]]
    p, q = xyz[sorted_corners[twins]], xyz[sorted_corners[twins + 1]]
    # The unfolded line must cross the shared edge, and a fold must not make the straight line a tunnel.
    middle = (p + q) / 2
    along = np.einsum("ij,ij->i", middle - a, b - a) / np.maximum(np.einsum("ij,ij->i", b - a, b - a), 1e-30)
    foot = a + np.clip(along, 0.0, 1.0)[:, None] * (b - a)
    over = np.linalg.norm(p - foot, axis=1) + np.linalg.norm(q - foot, axis=1)
    flat = np.linalg.norm(p - q, axis=1) > 0.98 * over
    kept: NDArray[np.intp] = pairs[(along > 0) & (along < 1) & flat]
    return kept
