"""Manifold capacity: how many category manifolds a linear readout could separate, per feature dimension.

Mean-field theory of Chung, Lee & Sompolinsky 2018 [1]_, for manifolds given by points (the images of a category).

References
----------
.. [1] Chung, Lee & Sompolinsky 2018, *Classification and geometry of general perceptual manifolds*, Phys. Rev. X 8.
.. [2] Chung, Lee & Sompolinsky 2016, *Linear readout of object manifolds*, Phys. Rev. E 93 (balls in closed form).
.. [3] Cohen, Chung, Lee & Sompolinsky 2020, *Separability and geometry of object manifolds in deep neural networks*,
   Nature Communications 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from brainmap.common.errors import InputError
from brainmap.common.progress import track
from brainmap.comparison.representations import category_rows

RANK_TOLERANCE = 1e-8
"""Directions in which a manifold extends less than this, relative to its largest extent, are rounding."""


@dataclass(frozen=True)
class ManifoldCapacity:
    """Capacity and geometry of a set of manifolds.

    Attributes
    ----------
    capacity : float
        Manifolds per feature dimension that a linear readout can sort into two arbitrary halves: the harmonic mean over
        manifolds. 2 for points, less for anything that extends.
    radius, dimension : float
        Gaussian-anchored radius (relative to the distance of the centre from the centre of all) and dimension: means
        over manifolds of R_M and D_M.
    centre_correlation : float
        Mean absolute cosine between centres. The theory takes centres for uncorrelated: large values mean that the
        true capacity is lower.
    table : pandas.DataFrame
        One row per manifold: ``manifold``, ``n_points``, ``capacity``, ``standard_error`` (of 1 / capacity, from the
        Gaussian draws), ``radius``, ``dimension``.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import manifold_capacity
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["dog", "tree", "house", "car"], 10)
    >>> centres = 10 * rng.standard_normal((4, 30))
    >>> manifolds = manifold_capacity(np.repeat(centres, 10, axis=0) + rng.standard_normal((40, 30)), labels)
    >>> manifolds.table.columns.tolist()
    ['manifold', 'n_points', 'capacity', 'standard_error', 'radius', 'dimension']
    """

    capacity: float
    radius: float
    dimension: float
    centre_correlation: float
    table: pd.DataFrame


def manifold_capacity(
    values: np.ndarray, labels: Any, *, margin: float = 0.0, n_draws: int = 300, seed: int = 0
) -> ManifoldCapacity:
    """Mean-field capacity of the manifolds formed by the images of each category.

    Parameters
    ----------
    values : array, (images, features)
        One feature space.
    labels : array-like, (images,)
        Category of each image; at least two categories.
    margin : float
        Margin κ ≥ 0 of the readout, in units of the distance of a manifold's centre from the origin.
    n_draws : int
        Gaussian vectors per manifold; the relative error of a capacity is about 2 / √n_draws.
    seed : int
        Seed of the draws; each manifold has its own stream.

    Returns
    -------
    ManifoldCapacity

    Raises
    ------
    InputError
        If labels and values disagree, there are fewer than two categories or draws, or a centre coincides with the
        common one.

    Notes
    -----
    Values are shifted so that the mean of the centres is the origin. Each manifold is expressed in an orthonormal basis
    of its own span, divided by the length of its centre.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.comparison import manifold_capacity
    >>> rng = np.random.default_rng(0)
    >>> labels, noise = np.repeat(np.arange(4), 10), rng.standard_normal((40, 30))
    >>> centres = np.repeat(rng.standard_normal((4, 30)), 10, axis=0)
    >>> tight, wide = (manifold_capacity(centres + size * noise, labels).capacity for size in (0.1, 1.0))
    >>> tight > wide
    True
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"The values have shape {values.shape}; they need two axes, images and features.")
    groups = category_rows(labels, len(values))
    if n_draws < 2:
        raise InputError(f"n_draws is {n_draws}; at least 2 Gaussian vectors are needed, 300 are usual.")
    if not np.isfinite(values).all() or not 0 <= margin < np.inf:
        raise InputError("Values must be finite and the margin at least 0.")
    names, points = list(groups), [values[rows] for rows in groups.values()]
    centres = np.stack([cloud.mean(axis=0) for cloud in points])
    origin = centres.mean(axis=0)
    lengths = np.linalg.norm(centres - origin, axis=1)
    rounding = max(RANK_TOLERANCE * np.abs(values - origin).max(), 1e-12 * np.abs(values).max())
    if lengths.min() <= rounding:
        name = str(names[lengths.argmin()])
        raise InputError(f"The centre of {name!r} is the centre of all; its capacity is undefined.")
    rows = []
    for i, name in enumerate(track(names, "manifold capacity", total=len(names), unit="manifolds")):
        shape = manifold_coordinates(points[i] - origin)
        capacity = point_manifold_capacity(shape, margin=margin, n_draws=n_draws, seed=[seed, i])
        rows.append({"manifold": name, "n_points": len(points[i]), **capacity})
    table = pd.DataFrame(rows)
    cosines = (centres - origin) @ (centres - origin).T / np.outer(lengths, lengths)
    return ManifoldCapacity(
        capacity=float(1 / (1 / table["capacity"]).mean()),
        radius=float(table["radius"].mean()),
        dimension=float(table["dimension"].mean()),
        centre_correlation=float(np.abs(cosines[np.triu_indices(len(names), 1)]).mean()),
        table=table,
    )


def manifold_coordinates(points: np.ndarray) -> np.ndarray:
    """Coordinates of a manifold's points around its centre, in units of the centre's length.

    Parameters
    ----------
    points : array, (points, features)
        Relative to the common origin.

    Returns
    -------
    numpy.ndarray, (points, D)
        In an orthonormal basis of the D directions in which the manifold extends; D = 0 for a single point.
    """
    centre = points.mean(axis=0)
    extent = (points - centre) / np.linalg.norm(centre)
    left, singular, _ = np.linalg.svd(extent, full_matrices=False)
    kept = singular > RANK_TOLERANCE * max(1.0, float(singular.max(initial=0.0)))
    return left[:, kept] * singular[kept]


def point_manifold_capacity(shape: np.ndarray, *, margin: float, n_draws: int, seed: Any) -> dict[str, float]:
    """Capacity, radius and dimension of one manifold.

    Parameters
    ----------
    shape : array, (points, D)
        From :func:`manifold_coordinates`.
    margin : float
        κ.
    n_draws : int
        Gaussian vectors T.
    seed : int or sequence of int
        Of the draws.

    Returns
    -------
    dict
        ``capacity``, ``standard_error`` of its inverse, ``radius``, ``dimension``.

    Notes
    -----
    1 / α = ⟨min ‖V − T‖²⟩ over V with V · S ≥ κ for all points S = (s, 1) ([1]_, equations 16 and 17). The solution is
    V = T + λ S̃(T) with the anchor point S̃ = (s̃, 1), a mean of points weighted by their multipliers; where T itself
    satisfies the constraints, the anchor is the point closest to violating them. R_M² = ⟨‖s̃‖²⟩ and
    D_M = ⟨(t · s̃ / ‖s̃‖)²⟩, t the part of T along the manifold (equations 26 and 27).
    """
    augmented = np.hstack([shape, np.ones((len(shape), 1))])
    draws = np.random.default_rng(seed).standard_normal((n_draws, augmented.shape[1]))
    solver = _Projection(augmented, margin)
    distances, anchors = np.empty(n_draws), np.empty((n_draws, shape.shape[1]))
    for i, draw in enumerate(draws):
        multipliers = solver(draw)
        total = multipliers.sum()
        if total > 0:
            step = multipliers @ augmented
            distances[i], anchors[i] = step @ step, step[:-1] / total
        else:
            distances[i], anchors[i] = 0.0, shape[(augmented @ draw).argmin()]
    lengths = np.linalg.norm(anchors, axis=1)
    along = np.einsum("nd,nd->n", draws[:, :-1], anchors) / np.where(lengths > 0, lengths, 1.0)
    inverse = distances.mean()
    return {
        "capacity": float(1 / inverse) if inverse > 0 else float("inf"),
        "standard_error": float(distances.std(ddof=1) / np.sqrt(n_draws)),
        "radius": float(np.sqrt((lengths**2).mean())),
        "dimension": float((along**2).mean()),
    }


class _Projection:
    """Multipliers λ ≥ 0 of: minimise ½ ‖V − T‖² subject to S V ≥ κ, one Clarabel solver for all T."""

    def __init__(self, points: np.ndarray, margin: float) -> None:
        self._points, self._margin = points, margin
        self._solver = self._new_solver(np.zeros(points.shape[1]))

    def __call__(self, draw: np.ndarray) -> np.ndarray:
        if (self._points @ draw).min() >= self._margin:
            return np.zeros(len(self._points))
        self._solver.update(q=-draw)
        solution = self._solver.solve()
        if not _is_solved(solution):
            # The scaling fixed by the first T can, rarely, be a bad one for another T.
            solution = self._new_solver(-draw).solve()
        if not _is_solved(solution):
            raise InputError(
                f"The quadratic program of a manifold with {len(self._points)} points ended as '{solution.status}'; "
                "its points may be extremely far from its centre."
            )
        return np.clip(np.asarray(solution.z), 0.0, None)

    def _new_solver(self, linear: np.ndarray) -> Any:
        import clarabel

        count, size = self._points.shape
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.presolve_enable = False  # a presolved problem cannot be given a new T
        settings.direct_solve_method = "qdldl"  # one thread: the same numbers everywhere
        return clarabel.DefaultSolver(
            sparse.eye(size, format="csc"),
            linear,
            sparse.csc_matrix(-self._points),
            np.full(count, -self._margin),
            [clarabel.NonnegativeConeT(count)],
            settings,
        )


def _is_solved(solution: Any) -> bool:
    return str(solution.status) in ("Solved", "AlmostSolved")
