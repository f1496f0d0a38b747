"""Scaling and rotation of features: what z-scoring inside a split needs, in one place.

Two passes over the rows. The first accumulates pooled `Moments`, from which a `Basis` follows: centred (a provisional
mean), scaled and rotated to the eigenvectors of the pooled Gram matrix. The second accumulates `FeatureMoments` per
atom of rows: mean and standard deviation of every train set, from which features are z-scored as scikit-learn's
``StandardScaler`` would on its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
ROW_BLOCK = 4096  # rows per float32 product; longer sums are carried on in float64


@dataclass(frozen=True)
class Basis:
    """Coordinates in which statistics are accumulated: ``z = (x − shift) @ directions``.

    Attributes
    ----------
    shift : ndarray, shape (n_features,)
        Provisional mean. Any constant is exact; one near the mean removes the cancellation in ``G − n m m'``.
    directions : ndarray, shape (n_features, rank)
        Pooled scaling times the eigenvectors of the pooled Gram matrix, largest eigenvalue first.
    back : ndarray, shape (rank, n_features)
        ``(x − shift) ≈ z @ back`` (exact on the space that the rows span).
    """

    shift: Float64
    directions: Float64
    back: Float64

    @property
    def rank(self) -> int:
        """Number of directions kept."""
        return int(self.directions.shape[1])

    def transform(self, X: NDArray[Any], precision: str = "float32") -> NDArray[Any]:
        """Return coordinates of a block of rows; products in float64, result in `precision`."""
        return ((X.astype(np.float64) - self.shift) @ self.directions).astype(precision, copy=False)

    def matches(self, other: Basis) -> bool:
        """Whether two bases are the same numbers."""
        return np.array_equal(self.shift, other.shift) and np.array_equal(self.directions, other.directions)


@dataclass(frozen=True)
class Moments:
    """Pooled first and second moments of the features, and first moments of the responses.

    Attributes
    ----------
    n : int
        Number of rows.
    shift : ndarray, shape (n_features,)
        Constant subtracted from the features before summing.
    total : ndarray, shape (n_features,)
        Sum of shifted features.
    gram : ndarray, shape (n_features, n_features)
        Sum of outer products of shifted features, float64.
    low, high : ndarray, shape (n_features,)
        Smallest and largest value of each feature: constant means that they are the same number, not that a variance
        rounds to zero.
    target_total : ndarray, shape (n_targets,)
        Sum of responses (empty where only features were seen).
    """

    n: int
    shift: Float64
    total: Float64
    gram: Float64
    low: Float64
    high: Float64
    target_total: Float64

    @classmethod
    def of(cls, X: NDArray[Any], Y: NDArray[Any] | None = None, *, shift: ArrayLike | None = None) -> Moments:
        """Accumulate one block of rows; `shift` defaults to the block's own mean."""
        X = np.asarray(X, dtype=np.float64)
        shift = X.mean(axis=0) if shift is None else np.asarray(shift, dtype=np.float64)
        centred = X - shift
        target_total = np.zeros(0) if Y is None else np.asarray(Y).sum(axis=0, dtype=np.float64)
        ends = X.min(axis=0), X.max(axis=0)
        return cls(len(X), shift, centred.sum(axis=0), centred.T @ centred, *ends, target_total)

    def about(self, shift: Float64) -> Moments:
        """Return the same moments about another constant."""
        step = self.shift - shift
        cross = np.outer(self.total, step)
        gram = self.gram + cross + cross.T + self.n * np.outer(step, step)
        return replace(self, shift=shift, total=self.total + self.n * step, gram=gram)

    def __add__(self, other: Moments) -> Moments:
        if not np.array_equal(self.shift, other.shift):
            other = other.about(self.shift)
        return Moments(
            self.n + other.n,
            self.shift,
            self.total + other.total,
            self.gram + other.gram,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.target_total + other.target_total,
        )

    @property
    def mean(self) -> Float64:
        """Mean of the features."""
        return self.shift + self.total / self.n

    @property
    def scatter(self) -> Float64:
        """Gram matrix about the mean."""
        return self.gram - np.outer(self.total, self.total) / self.n

    @property
    def n_constant(self) -> int:
        """Number of features that do not vary."""
        return int(np.count_nonzero(self.low == self.high))

    def basis(self, *, scale: bool, tolerance: float, centred: bool = True) -> Basis:
        """Return the basis of the pooled Gram matrix.

        Directions whose eigenvalue is below `tolerance` times the largest span nothing that float64 can see; they are
        dropped. Features that do not vary are left out before the decomposition: the eigenvectors would hold rounding
        errors in their place, and scaling inside a split would blow these up to a mixture of all other features.

        Parameters
        ----------
        scale : bool
            Of features with a pooled variance of one.
        tolerance : float
        centred : bool
            About the mean. False for a model without intercept, to which a constant feature is as good as any other.
        """
        if not centred:
            about = self.about(np.zeros_like(self.shift))
            vectors = _leading_eigenvectors(about.gram, tolerance)
            return Basis(about.shift, vectors, vectors.T.copy())
        mean, scatter = self.mean, self.scatter
        varies = np.flatnonzero(self.low < self.high)
        if len(varies) == 0:
            return Basis(mean, np.zeros((len(mean), 1)), np.zeros((1, len(mean))))
        spread = safe_scale(np.diag(scatter) / self.n, mean, self.n) if scale else np.ones(len(mean))
        spread = spread[varies]
        inside = _leading_eigenvectors(scatter[np.ix_(varies, varies)] / np.outer(spread, spread), tolerance)
        directions, back = np.zeros((len(mean), inside.shape[1])), np.zeros((inside.shape[1], len(mean)))
        directions[varies], back[:, varies] = inside / spread[:, None], inside.T * spread
        return Basis(mean, directions, back)


def _leading_eigenvectors(gram: Float64, tolerance: float) -> Float64:
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = max(int(np.count_nonzero(values > tolerance * values[0])), 1)
    return np.ascontiguousarray(vectors[:, :keep])


@dataclass(frozen=True)
class FeatureMoments:
    """Per atom of rows: number of rows, and mean, centred sum of squares, smallest and largest value of each feature.

    The standard deviation of every train set follows without cancellation, whatever the features' means.

    Attributes
    ----------
    n : ndarray, shape (n_atoms,)
    mean, scatter, low, high : ndarray, shape (n_atoms, n_features)
    """

    n: Float64
    mean: Float64
    scatter: Float64
    low: Float64
    high: Float64

    @classmethod
    def of(cls, X: NDArray[Any], atoms: NDArray[np.int64], n_atoms: int) -> FeatureMoments:
        """Accumulate one block of rows."""
        X, shape = np.asarray(X, dtype=np.float64), (n_atoms, X.shape[1])
        n, mean, scatter = np.zeros(n_atoms), np.zeros(shape), np.zeros(shape)
        low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
        for atom in np.unique(atoms):
            rows = X[atoms == atom]
            n[atom], mean[atom] = len(rows), rows.mean(axis=0)
            scatter[atom] = column_power(rows - mean[atom])
            low[atom], high[atom] = rows.min(axis=0), rows.max(axis=0)
        return cls(n, mean, scatter, low, high)

    def __add__(self, other: FeatureMoments) -> FeatureMoments:
        n = self.n + other.n
        share = (other.n / np.maximum(n, 1.0))[:, None]
        step = other.mean - self.mean
        return FeatureMoments(
            n,
            self.mean + share * step,
            self.scatter + other.scatter + (self.n[:, None] * share) * step**2,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
        )

    def standard_deviations(self, members: NDArray[np.bool_]) -> Float64:
        """Return what to divide each feature by on a set of atoms; infinity where it is one and the same number there.

        As scikit-learn's ``StandardScaler``: a feature that varies by rounding only is left as it is (1). One that does
        not vary at all has no weight after centring; to divide by infinity says so for held-out rows, too.
        """
        n, weight = float(self.n[members].sum()), self.n[members, None]
        mean = (weight * self.mean[members]).sum(axis=0) / n
        scatter = self.scatter[members].sum(axis=0) + (weight * (self.mean[members] - mean) ** 2).sum(axis=0)
        varies = self.low[members].min(axis=0) < self.high[members].max(axis=0)
        return np.where(varies, safe_scale(scatter / n, mean, round(n)), np.inf)


def constant_features(variance: Float64, mean: Float64, n: int) -> NDArray[np.bool_]:
    """Return which features vary by rounding only (as scikit-learn's StandardScaler decides)."""
    eps = np.finfo(np.float64).eps
    return variance <= n * eps * variance + (n * mean * eps) ** 2


def safe_scale(variance: Float64, mean: Float64, n: int) -> Float64:
    """Return standard deviations, with 1 for constant features."""
    variance = np.maximum(variance, 0.0)
    return np.where(constant_features(variance, mean, n), 1.0, np.sqrt(variance))


def standard_deviations(rows: NDArray[Any]) -> Float64:
    """Return what to divide each feature by, as `FeatureMoments.standard_deviations` does: infinity where constant."""
    spread = safe_scale(rows.var(axis=0), rows.mean(axis=0), len(rows))
    return np.where(rows.min(axis=0) < rows.max(axis=0), spread, np.inf)


def augment(Z: NDArray[Any], nuisance: NDArray[Any] | None = None) -> NDArray[Any]:
    """Append nuisance columns and a column of ones: means and counts then ride along in every product."""
    ones = np.ones((len(Z), 1), dtype=Z.dtype)
    parts = [Z, ones] if nuisance is None else [Z, nuisance.astype(Z.dtype), ones]
    return np.concatenate(parts, axis=1)


def gram_product(F: NDArray[Any], weight: NDArray[Any] | None = None) -> Float64:
    """Return ``F' diag(weight) F`` in float64, in row blocks."""
    total = np.zeros((F.shape[1], F.shape[1]))
    for start in range(0, len(F), ROW_BLOCK):
        block = F[start : start + ROW_BLOCK].astype(np.float64)
        if weight is not None:
            block *= np.sqrt(weight[start : start + ROW_BLOCK, None])
        total += block.T @ block
    return total


def cross_product(F: NDArray[Any], Y: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return ``F' Y``: products in the precision of Y, accumulated in float64 when there is more than one block."""
    out = np.empty((F.shape[1], Y.shape[1]), dtype=Y.dtype) if out is None else out
    if len(F) <= ROW_BLOCK:
        return np.matmul(F.T, Y, out=out)
    total = np.zeros(out.shape)
    for start in range(0, len(F), ROW_BLOCK):
        total += F[start : start + ROW_BLOCK].T @ Y[start : start + ROW_BLOCK]
    out[:] = total
    return out


def power_of_two(size: Float64) -> Float64:
    """Return a power of two just above each positive number, 1 for zero: scaling by it costs no digits."""
    _, exponent = np.frexp(np.where(size > 0, size, 0.5))
    return np.ldexp(1.0, exponent)


def column_power(Y: NDArray[Any]) -> Float64:
    """Return the sum of squares of each column in float64."""
    power: Float64 = np.einsum("ij,ij->j", Y, Y, dtype=np.float64)
    return power
