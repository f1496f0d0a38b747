"""Cluster-based permutation tests, in time and on the mesh: runs of neighbouring effects against their null."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats

from brainmap.common.errors import InputError
from brainmap.statistics.significance import check_level

FloatArray = NDArray[np.float64]
Alternative = Literal["greater", "less", "two-sided"]
_TAILS = {"greater": 1, "less": -1, "two-sided": 0}


@dataclass(frozen=True, eq=False)
class ClusterTest:
    """Result of a cluster test.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per cluster, by p: ``p``, ``mass`` (sum of the statistic), ``size``, ``first``, ``last`` (smallest and
        largest index).
    labels : ndarray of int, (n_tests,)
        Row of the table for each test, −1 outside all clusters.
    statistic : ndarray, (n_tests,)
        Statistic of each test.
    alpha : float
        Level of ``significant``.
    method : str
        In words. A significant cluster says that there is an effect somewhere; not where exactly it begins or ends.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import cluster_subjects
    >>> rng = np.random.default_rng(0)
    >>> curves = rng.standard_normal((8, 30))
    >>> curves[:, 10:20] += 2
    >>> clusters = cluster_subjects(curves, n_permutations=255)
    >>> int(clusters.table["first"].iloc[0]), bool(clusters.significant[15])
    (10, True)
    """

    table: pd.DataFrame
    labels: NDArray[np.intp]
    statistic: FloatArray
    alpha: float
    method: str

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Tests that belong to a significant cluster."""
        hits = np.flatnonzero(self.table["p"].to_numpy() <= self.alpha)
        return np.isin(self.labels, hits)

    def to_frame(self) -> pd.DataFrame:
        """Return the table of clusters, method in ``attrs``."""
        table = self.table.copy()
        table.attrs = {"method": self.method, "alpha": self.alpha}
        return table

    def __repr__(self) -> str:
        hits = int((self.table["p"] <= self.alpha).sum())
        return f"<ClusterTest: {hits} of {len(self.table)} clusters significant at {self.alpha:g}; {self.method}>"


def cluster_subjects(
    values: ArrayLike,
    *,
    adjacency: Any = None,
    threshold: float | None = None,
    alternative: Alternative = "greater",
    n_permutations: int = 2000,
    seed: int = 0,
    alpha: float = 0.05,
) -> ClusterTest:
    """Cluster test over subjects by sign flips (``mne.stats.permutation_cluster_1samp_test``).

    Parameters
    ----------
    values : array-like, (n_subjects, n_tests)
        Scores, or differences of scores, per subject; tests are times in order, or vertices with an adjacency.
    adjacency : sparse matrix, (n_tests, n_tests), optional
        Neighbours; default: times in order.
    threshold : float, optional
        t above which neighbouring tests join; default that of p = .05 (two-sided: .025 each side).
    alternative : {'greater', 'less', 'two-sided'}
        Direction.
    n_permutations : int
        Sign flips; all of them where there are no more.
    seed : int
        Seed.
    alpha : float
        Level.

    Returns
    -------
    ClusterTest

    Raises
    ------
    InputError
        For fewer than five subjects, two-sided six (sign flips then cannot reach p ≤ .05), fewer than 20 flips, values
        that are not finite, an adjacency that does not fit, or an unknown alternative.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import cluster_subjects
    >>> rng = np.random.default_rng(0)
    >>> curves = rng.standard_normal((8, 30))  # subjects × times
    >>> curves[:, 10:20] += 2
    >>> float(cluster_subjects(curves, n_permutations=255).table["p"].iloc[0]) < 0.05
    True
    """
    from mne.stats import permutation_cluster_1samp_test

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise InputError(f"Cluster tests need a finite (n_subjects, n_tests) array, got {x.shape}.")
    if alternative not in _TAILS:
        raise InputError(f"The alternative {alternative!r} is unknown; choose one of {', '.join(_TAILS)}.")
    check_level(alpha)
    neighbours = None if adjacency is None else _graph(adjacency, x.shape[1]).tocoo()
    tail = _TAILS[alternative]
    flips = 2 ** (len(x) - (tail == 0))  # two-sided, a pattern and its opposite are one
    if flips < 20:
        raise InputError(
            f"Sign flips of {len(x)} subjects cannot reach p < .05 ({alternative}); "
            "use cluster_null with permutations of photographs."
        )
    if n_permutations < 20:
        raise InputError(f"Fewer than 20 sign flips cannot reach p = .05; got {n_permutations}.")
    if threshold is None:
        threshold = float(stats.t.ppf(1 - (0.025 if tail == 0 else 0.05), len(x) - 1)) * (tail or 1)
    # MNE 1.13 renamed the argument; both names are in use among the versions that brainmap allows.
    stream = "rng" if "rng" in inspect.signature(permutation_cluster_1samp_test).parameters else "seed"
    options: dict[str, Any] = {stream: seed}
    t, clusters, p, _ = permutation_cluster_1samp_test(
        x,
        threshold=threshold,
        n_permutations=n_permutations,
        tail=tail,
        adjacency=neighbours,
        **options,
        out_type="indices",
        verbose="error",
    )
    members = [np.asarray(cluster[0]) for cluster in clusters]
    drawn = min(n_permutations, flips)
    method = f"cluster mass over subjects, {drawn} sign flips, t beyond {threshold:.2f}, {alternative}"
    return _result(members, np.asarray(p), np.asarray(t), alpha, method)


def cluster_null(
    observed: ArrayLike,
    null: ArrayLike,
    *,
    adjacency: Any = None,
    threshold: float = 1.645,
    alpha: float = 0.05,
) -> ClusterTest:
    """Cluster test against a given null, such as scores of permuted photographs; one-sided, for any number of subjects.

    Parameters
    ----------
    observed : array-like, (n_tests,)
        Scores over time or vertices.
    null : array-like, (n_permutations, n_tests)
        The same under permutation (see :func:`brainmap.statistics.permutation.permutation_test.permutation_null`).
    adjacency : sparse matrix, (n_tests, n_tests), optional
        Neighbours; default: times in order.
    threshold : float
        Scores are standardised by the null's mean and spread per test; above this they join.
    alpha : float
        Level.

    Returns
    -------
    ClusterTest
        Cluster mass against the largest mass of each permutation.

    Raises
    ------
    InputError
        If shapes disagree, a score is not finite, or the threshold is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.statistics import cluster_null
    >>> rng = np.random.default_rng(0)
    >>> null = 0.02 * rng.standard_normal((200, 30))
    >>> observed = np.where((np.arange(30) >= 10) & (np.arange(30) < 20), 0.1, 0.0)
    >>> clusters = cluster_null(observed, null)
    >>> int(clusters.table["size"].iloc[0])
    10
    """
    x, draws = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if x.ndim != 1 or draws.ndim != 2 or draws.shape[1] != len(x) or len(draws) < 19:
        raise InputError(f"Observed {x.shape} and null {draws.shape} must be (n_tests,) and (≥ 19, n_tests).")
    everything = np.vstack([x, draws])
    check_level(alpha)
    if not threshold > 0:
        raise InputError(f"The threshold {threshold:g} must be above 0, the mean under permutation.")
    graph = _line(len(x)) if adjacency is None else _graph(adjacency, len(x))
    if not np.isfinite(everything).all():
        row, column = np.argwhere(~np.isfinite(everything))[0]
        where = "the observed scores are" if row == 0 else f"permutation {row - 1} is"
        raise InputError(f"Cluster tests need finite scores; {where} not finite at test {column}. Leave this test out.")
    spread = everything.std(axis=0)
    z = (everything - everything.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    members = _clusters(z[0], threshold, graph)
    largest = np.array([max((row[m].sum() for m in _clusters(row, threshold, graph)), default=0.0) for row in z])
    p = np.array([np.mean(largest >= z[0][m].sum() - 1e-9) for m in members])
    method = f"cluster mass against {len(draws)} permutations, z beyond {threshold:.2f}, one-sided"
    return _result(members, p, z[0], alpha, method)


def _graph(adjacency: Any, n: int) -> sparse.csr_array:
    """Check neighbours, (n, n)."""
    shape = tuple(np.shape(adjacency))
    if shape != (n, n):
        raise InputError(f"The adjacency has shape {shape} for {n} tests; it must be ({n}, {n}).")
    return sparse.csr_array(adjacency)


def _line(n: int) -> sparse.csr_array:
    ones = np.ones(n - 1)
    return sparse.csr_array(sparse.diags_array([ones, ones], offsets=[-1, 1]))


def _clusters(z: FloatArray, threshold: float, graph: sparse.csr_array) -> list[NDArray[np.intp]]:
    """Connected sets of tests above the threshold."""
    inside = np.flatnonzero(z > threshold)
    if not len(inside):
        return []
    count, labels = sparse.csgraph.connected_components(graph[inside][:, inside], directed=False)
    return [inside[labels == label] for label in range(count)]


def _result(
    members: list[NDArray[np.intp]], p: FloatArray, statistic: FloatArray, alpha: float, method: str
) -> ClusterTest:
    order = np.argsort(p, kind="stable")
    labels = np.full(len(statistic), -1, dtype=np.intp)
    rows = []
    for row, index in enumerate(order):
        inside = members[index]
        labels[inside] = row
        mass = float(statistic[inside].sum())
        rows.append({"p": p[index], "mass": mass, "size": len(inside), "first": inside.min(), "last": inside.max()})
    table = pd.DataFrame(rows, columns=["p", "mass", "size", "first", "last"])
    return ClusterTest(table, labels, statistic, alpha, method)
