"""Spin tests: whether two cortical maps agree more than their smoothness makes any two maps agree.

Neighbouring areas resemble one another, so n areas are fewer than n observations. The null distribution rotates one
map on the spherical surface and correlates again (Alexander-Bloch et al. 2018; Markello and Misic 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import SPINS
from brainmap.hierarchy.agreement import correlate

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SpinTest:
    """Result of :func:`spin_test`.

    Attributes
    ----------
    r : float
        Correlation of the maps.
    p : float
        Two-sided: share of rotations (the identity among them) with an absolute correlation at least as large.
    n, n_spins : int
        Places compared, and rotations that left at least three of them with both values.
    null : ndarray, (n_spins,)
        Correlations after rotation.
    method : str
        'pearson' or 'spearman', and how rotated values were assigned.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import spin_test, spins
    >>> places = np.random.default_rng(0).standard_normal((60, 3))
    >>> places /= np.linalg.norm(places, axis=1, keepdims=True)
    >>> test = spin_test(places[:, 0], places[:, 0] + places[:, 1], spins(places, n_spins=99))
    >>> test.n, test.n_spins
    (60, 99)
    """

    r: float
    p: float
    n: int
    n_spins: int
    null: FloatArray
    method: str

    def __repr__(self) -> str:
        return (
            f"<SpinTest over {self.n} places: r = {self.r:.2f}, p = {self.p:.3g} ({self.n_spins} spins, {self.method})>"
        )


def random_rotations(n: int, *, seed: int = 0) -> FloatArray:
    """Draw rotations of the sphere, uniformly (Haar measure).

    Parameters
    ----------
    n : int
        Number of rotations.
    seed : int
        Seed.

    Returns
    -------
    ndarray, (n, 3, 3)
        Orthogonal matrices of determinant 1.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import random_rotations
    >>> np.linalg.det(random_rotations(3)).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    gauss = np.random.default_rng([seed, SPINS]).standard_normal((n, 3, 3))
    q, r = np.linalg.qr(gauss)
    # QR alone is not uniform: signs must follow the diagonal of R (Mezzadri 2007).
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    q[:, :, 0] *= np.linalg.det(q)[:, None]
    return q


def spins(
    positions: ArrayLike,
    reference: ArrayLike | None = None,
    *,
    hemisphere: ArrayLike | None = None,
    reference_hemisphere: ArrayLike | None = None,
    n_spins: int = 1000,
    assign: Literal["nearest", "unique"] = "nearest",
    seed: int = 0,
) -> NDArray[np.intp]:
    """Where each place looks after each rotation.

    Parameters
    ----------
    positions : array-like, (n, 3)
        Places on the sphere (vertices or centres of areas) of any radius, centred on the origin.
    reference : array-like, (m, 3), optional
        Places of the map to be rotated; default ``positions``. Give the whole cortex where the rotated map is known
        there, though the other is not: a rotated place then always finds a value.
    hemisphere, reference_hemisphere : array-like of {'L', 'R'}, optional
        Side of each place; the right side turns as the mirror image of the left. Default: one side.
    n_spins : int
        Rotations.
    assign : {'nearest', 'unique'}
        The nearest reference place, or each reference place once, at the least total distance (needs n = m on each
        side).
    seed : int
        Seed.

    Returns
    -------
    ndarray of int, (n_spins, n)
        Row of ``reference`` for each place.

    Raises
    ------
    InputError
        If shapes disagree or a side is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import spins
    >>> places = np.random.default_rng(0).standard_normal((60, 3))
    >>> spins(places / np.linalg.norm(places, axis=1, keepdims=True), n_spins=5).shape
    (5, 60)
    """
    here = _unit(positions)
    there = here if reference is None else _unit(reference)
    side = np.full(len(here), "L") if hemisphere is None else np.asarray(hemisphere).astype(str)
    if reference_hemisphere is not None:
        other = np.asarray(reference_hemisphere).astype(str)
    else:
        other = side if reference is None else np.full(len(there), "L")
    if len(side) != len(here) or len(other) != len(there) or not set(side) <= set(other):
        raise InputError("Every place needs a hemisphere, and the reference must have places on each of them.")
    rotations = random_rotations(n_spins, seed=seed)
    result = np.empty((n_spins, len(here)), dtype=np.intp)
    mirror = np.diag([-1.0, 1.0, 1.0])
    for name in np.unique(side):
        rows, goals = np.flatnonzero(side == name), np.flatnonzero(other == name)
        if assign == "unique" and len(rows) != len(goals):
            raise InputError(f"Unique assignment needs as many places as reference places on side {name}.")
        turned = mirror @ rotations @ mirror if name == "R" else rotations
        tree = cKDTree(there[goals])
        for number, rotation in enumerate(turned):
            moved = here[rows] @ rotation.T
            if assign == "nearest":
                result[number, rows] = goals[tree.query(moved)[1]]
            else:
                result[number, rows] = goals[linear_sum_assignment(-(moved @ there[goals].T))[1]]
    return result


def spin_test(
    x: ArrayLike,
    y: ArrayLike,
    assignment: NDArray[np.intp],
    *,
    at: ArrayLike | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
) -> SpinTest:
    """Correlate two cortical maps and compare with rotations of the second.

    Parameters
    ----------
    x : array-like, (n,)
        Map at the places that were given to :func:`spins`; NaN is left out.
    y : array-like, (m,)
        Map at the reference places, the one that is rotated. NaN (such as the medial wall) is left out, rotation by
        rotation.
    assignment : ndarray of int, (n_spins, n)
        From :func:`spins`.
    at : array-like of int, (n,), optional
        Row of ``y`` at each place without rotation; default 0 … n − 1, right where places and reference are the same.
    method : {'pearson', 'spearman'}
        Correlation.

    Returns
    -------
    SpinTest

    Raises
    ------
    InputError
        If shapes disagree, or fewer than four places have both values, or fewer than three after every rotation.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.hierarchy import spin_test, spins
    >>> places = np.random.default_rng(0).standard_normal((60, 3))
    >>> places /= np.linalg.norm(places, axis=1, keepdims=True)
    >>> rough = places[:, 0] + 0.1 * np.random.default_rng(1).standard_normal(60)
    >>> round(spin_test(rough, places[:, 0], spins(places, n_spins=99)).r, 1)
    1.0
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    home = np.arange(len(a)) if at is None else np.asarray(at)
    if assignment.ndim != 2 or assignment.shape[1] != len(a) or len(home) != len(a):
        raise InputError(f"Spins of shape {assignment.shape} do not fit a map of {len(a)} places.")
    if int(assignment.max()) >= len(b) or int(home.max()) >= len(b):
        raise InputError(f"Spins point beyond the {len(b)} places of the rotated map.")
    known = np.isfinite(a) & np.isfinite(b[home])
    if known.sum() < 4:
        raise InputError(f"A spin test needs at least 4 places with both values, here are {int(known.sum())}.")
    rows = np.vstack([home, assignment])
    values = np.array([_correlation(a, b[row], method) for row in rows])
    # A rotation that takes all places off the known map says nothing; a correlation of 0 would count for the effect.
    observed, null = values[0], values[1:][np.isfinite(values[1:])]
    if not len(null):
        raise InputError(
            "No rotation leaves three places with both values; give the rotated map for more of the cortex."
        )
    p = (1 + np.sum(np.abs(null) >= abs(observed) - 1e-12)) / (1 + len(null))
    return SpinTest(float(observed), float(p), int(known.sum()), len(null), null, method)


def _unit(positions: ArrayLike) -> FloatArray:
    xyz = np.asarray(positions, dtype=np.float64)
    if xyz.ndim != 2 or xyz.shape[1] != 3 or not np.isfinite(xyz).all():
        raise InputError(f"Positions on the sphere must be a finite (n, 3) array, got {xyz.shape}.")
    length = np.linalg.norm(xyz, axis=1, keepdims=True)
    if (length == 0).any():
        raise InputError("A position on the sphere is its centre; give coordinates of the spherical surface.")
    unit: FloatArray = xyz / length
    return unit


def _correlation(a: FloatArray, b: FloatArray, method: str) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3:
        return np.nan
    pair = (a[known], b[known])
    if method == "spearman":
        pair = (stats.rankdata(pair[0]), stats.rankdata(pair[1]))
    r = float(correlate(*pair))
    return 0.0 if np.isnan(r) else r
