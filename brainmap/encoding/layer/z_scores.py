"""Scaling and rotation of features: what z-scoring inside a split needs, in one place.

Two passes over the rows. The first accumulates pooled `Moments`, from which a `Basis` follows: centred (a provisional
mean), scaled and rotated to the eigenvectors of the pooled Gram matrix. The second accumulates `FeatureMoments` per
atom of rows: mean and standard deviation of every train set, from which features are z-scored as scikit-learn's
``StandardScaler`` would on its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from brainmap.encoding.settings import Problem

Float64 = NDArray[np.float64]
ROW_BLOCK = 4096  # rows per float32 product; longer sums are carried on in float64
VANISHED = 1e-12  # share of a feature's variance that float32 leaves when nuisance regressors explain all of it
COARSE_FEATURE = 1e-8  # share of its pooled variance below which float32 coordinates hold too little of a feature


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
    def scatter(self) -> Float64:
        """Gram matrix about the mean."""
        return self.gram - np.outer(self.total, self.total) / self.n

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
            vectors = leading_eigenvectors(about.gram, tolerance)[1]
            return Basis(about.shift, vectors, vectors.T.copy())
        mean = self.shift + self.total / self.n
        scatter = self.gram - np.outer(self.total, self.total) / self.n
        varies = np.flatnonzero(self.low < self.high)
        if len(varies) == 0:
            return Basis(mean, np.zeros((len(mean), 1)), np.zeros((1, len(mean))))
        spread = safe_scale(np.diag(scatter) / self.n, mean, self.n) if scale else np.ones(len(mean))
        spread = spread[varies]
        inside = leading_eigenvectors(scatter[np.ix_(varies, varies)] / np.outer(spread, spread), tolerance)[1]
        directions, back = np.zeros((len(mean), inside.shape[1])), np.zeros((inside.shape[1], len(mean)))
        directions[varies], back[:, varies] = inside / spread[:, None], inside.T * spread
        return Basis(mean, directions, back)


def leading_eigenvectors(matrix: Float64, tolerance: float, most: int | None = None) -> tuple[Float64, Float64]:
    """Return eigenvalues (descending) above `tolerance` times the largest, at least one, and their eigenvectors.

    At most `most`; few of many are computed alone, which takes half the time.
    """
    if most is not None and 3 * most < len(matrix):
        values, vectors = linalg.eigh(matrix, subset_by_index=[len(matrix) - most, len(matrix) - 1])
    else:
        values, vectors = np.linalg.eigh(matrix)  # scipy's is faster, but holds other threads up
    values, vectors = values[::-1], vectors[:, ::-1]
    keep = min(max(int(np.count_nonzero(values > tolerance * values[0])), 1), most or len(values))
    if values[0] <= 0:  # no variance at all: one harmless component with nothing in it
        return np.ones(1), np.zeros((len(matrix), 1))
    return values[:keep], np.ascontiguousarray(vectors[:, :keep])


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


@dataclass(frozen=True)
class GramTable:
    """Augmented Gram matrices per atom, (n_atoms, size, size); weighted ones where rows have weights."""

    plain: Float64
    weighted: Float64 | None
    features: FeatureMoments
    plain_total: Float64 = field(init=False)
    weighted_total: Float64 | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain_total", self.plain.sum(axis=0))
        object.__setattr__(self, "weighted_total", None if self.weighted is None else self.weighted.sum(axis=0))

    def of(self, members: NDArray[np.bool_], *, fit: bool) -> Float64:
        """Return the Gram matrix of a set of atoms; `fit` asks for the weighted one."""
        table = self.weighted if fit and self.weighted is not None else self.plain
        few = members.sum() <= len(members) // 2
        total = np.zeros_like(table[0])
        for atom in np.flatnonzero(members if few else ~members):
            total += table[atom]
        everything = self.weighted_total if fit and self.weighted_total is not None else self.plain_total
        gram: Float64 = total if few else everything - total
        return gram


@dataclass(frozen=True)
class Preparation:
    """Affine map from augmented features to the features that one outer split's ridge sees.

    Attributes
    ----------
    matrix : ndarray, shape (size, n_components)
        Applied as ``[z, nuisance, 1] @ matrix``.
    plain : bool
        Whether the map is the identity on z and zero on nuisance but for its last row (products with it are then free).
    n_constant : int
        Features that are constant in the outer train set and carry nothing there.
    coarse : bool
        Whether a feature varies so little there that float32 coordinates do not hold it.
    """

    matrix: Float64
    plain: bool
    n_constant: int
    coarse: bool

    @classmethod
    def of(cls, table: GramTable, members: NDArray[np.bool_], basis: Basis, problem: Problem) -> Preparation:
        """Compute the map from the statistics of an outer train set."""
        settings, rank = problem.settings, basis.directions.shape[1]
        gram = table.of(members, fit=False)
        spread = table.features.standard_deviations(members)
        pooled = np.sqrt((basis.back**2).sum(axis=0))
        n_constant = int(np.count_nonzero(np.isinf(spread)))
        coarse = settings.scale and bool(np.any(spread / COARSE_FEATURE**0.5 < pooled))
        matrix = np.zeros((len(gram), rank))
        matrix[:rank] = np.eye(rank)
        if problem.n_nuisance:
            outside = slice(rank, None)
            matrix[outside] = -np.linalg.lstsq(gram[outside, outside], gram[outside, :rank], rcond=None)[0]
        elif settings.scale or settings.pca is not None or settings.fit_intercept:
            matrix[-1] = -gram[-1, :rank] / gram[-1, -1]
        else:
            matrix[-1] = basis.shift @ basis.directions
        if problem.plain:
            return cls(matrix, True, n_constant, False)
        if settings.scale:
            if problem.n_nuisance:
                spread = _residual_spread(gram, matrix, basis, spread)
            matrix = matrix @ (basis.back / spread)
        if settings.band_scale is not None:
            used = np.flatnonzero(settings.band_scale)  # a band without share is left out
            matrix = (matrix if settings.scale else matrix @ basis.back)[:, used] * settings.band_scale[used]
        if settings.pca is not None:
            n = round(float(gram[-1, -1]))
            keep = max(1, min(settings.pca, n - 1, len(basis.shift)))
            matrix = matrix @ leading_eigenvectors(matrix.T @ gram @ matrix, 0.0, keep)[1]
        return cls(matrix, False, n_constant, coarse)

    def project(self, gram: Float64) -> tuple[Float64, Float64, float]:
        """Return Gram matrix, sum and count of the prepared features from an augmented Gram matrix."""
        n = float(gram[-1, -1])
        if not self.plain:
            half = gram @ self.matrix
            return self.matrix.T @ half, half[-1], n
        step, total = self.matrix[-1], gram[-1, :-1]
        cross = np.outer(step, total)
        return gram[:-1, :-1] + cross + cross.T + n * np.outer(step, step), total + n * step, n


def _residual_spread(gram: Float64, matrix: Float64, basis: Basis, spread: Float64) -> Float64:
    """Return the standard deviation of what nuisance regressors leave of each feature; infinity where that is rounding.

    `matrix` projects the regressors out; `spread` is the standard deviation before.
    """
    covariance = matrix.T @ gram @ matrix / float(gram[-1, -1])
    variance = np.einsum("kj,kl,lj->j", basis.back, covariance, basis.back, optimize=True)
    left = np.isfinite(spread) & (variance > VANISHED * np.where(np.isfinite(spread), spread, 1.0) ** 2)
    return np.where(left, np.sqrt(np.where(left, variance, 1.0)), np.inf)


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


def gram_product(F: NDArray[Any], rows: slice = slice(None), weight: NDArray[Any] | None = None) -> Float64:
    """Return ``F' diag(weight) F`` of some rows in float64, in row blocks."""
    total, (first, last, _) = np.zeros((F.shape[1], F.shape[1])), rows.indices(len(F))
    for start in range(first, last, ROW_BLOCK):
        block = F[start : min(start + ROW_BLOCK, last)].astype(np.float64)
        if weight is not None:
            block *= np.sqrt(weight[start : min(start + ROW_BLOCK, last), None])
        total += block.T @ block
    return total


def cross_products(F: NDArray[Any], Y: NDArray[Any], slices: Sequence[slice]) -> NDArray[Any]:
    """Return ``F' Y`` of some sets of rows, (n_sets, size, n_targets).

    Products are in the precision of Y; where a set has more than one block of rows they are added up in float64.
    """
    products = np.empty((len(slices), F.shape[1], Y.shape[1]), dtype=Y.dtype)
    for product, rows in zip(products, slices, strict=True):
        if rows.stop - rows.start <= ROW_BLOCK:
            np.matmul(F[rows].T, Y[rows], out=product)
            continue
        total = np.zeros(product.shape)
        for start in range(rows.start, rows.stop, ROW_BLOCK):
            stop = min(start + ROW_BLOCK, rows.stop)
            total += F[start:stop].T @ Y[start:stop]
        product[:] = total
    return products


def power_of_two(size: Float64) -> Float64:
    """Return a power of two just above each positive number, 1 for zero: scaling by it costs no digits."""
    _, exponent = np.frexp(np.where(size > 0, size, 0.5))
    return np.ldexp(1.0, exponent)


def column_power(Y: NDArray[Any]) -> Float64:
    """Return the sum of squares of each column in float64."""
    power: Float64 = np.einsum("ij,ij->j", Y, Y, dtype=np.float64)
    return power
