"""Sufficient statistics: what ridge needs to know about images and responses, in a form that adds up.

Two passes over the rows. The first accumulates pooled `Moments`, from which a `Basis` follows: centred (a provisional
mean), scaled and rotated to the eigenvectors of the pooled Gram matrix. The second accumulates, per atom of rows,
`SufficientStatistics` in that basis. Both are plain sums: statistics of blocks of images that live on different
machines merge with ``+``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError

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
        return self.directions.shape[1]

    def transform(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return coordinates of a block of rows; products in float64, result in float32."""
        return ((X.astype(np.float64) - self.shift) @ self.directions).astype(np.float32)

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
    target_total : ndarray, shape (n_targets,)
        Sum of responses (empty where only features were seen).
    """

    n: int
    shift: Float64
    total: Float64
    gram: Float64
    target_total: Float64

    @classmethod
    def of(cls, X: NDArray[Any], Y: NDArray[Any] | None = None, *, shift: ArrayLike | None = None) -> Moments:
        """Accumulate one block of rows; `shift` defaults to the block's own mean."""
        X = np.asarray(X, dtype=np.float64)
        shift = X.mean(axis=0) if shift is None else np.asarray(shift, dtype=np.float64)
        centred = X - shift
        target_total = np.zeros(0) if Y is None else np.asarray(Y).sum(axis=0, dtype=np.float64)
        return cls(len(X), shift, centred.sum(axis=0), centred.T @ centred, target_total)

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
        variance = np.maximum(np.diag(self.scatter) / self.n, 0.0)
        return int(np.count_nonzero(constant_features(variance, self.mean, self.n)))

    def basis(self, *, scale: bool, tolerance: float) -> Basis:
        """Return the basis of the pooled Gram matrix, in scaled features where `scale`.

        Directions whose eigenvalue is below `tolerance` times the largest span nothing that float64 can see; they are
        dropped.
        """
        mean, scatter = self.mean, self.scatter
        spread = safe_scale(np.diag(scatter) / self.n, mean, self.n) if scale else np.ones(len(mean))
        values, vectors = np.linalg.eigh(scatter / np.outer(spread, spread))
        values, vectors = values[::-1], vectors[:, ::-1]
        keep = max(int(np.count_nonzero(values > tolerance * values[0])), 1)
        vectors = vectors[:, :keep]
        return Basis(mean, vectors / spread[:, None], vectors.T * spread)


def constant_features(variance: Float64, mean: Float64, n: int) -> NDArray[np.bool_]:
    """Return which features vary by rounding only (as scikit-learn's StandardScaler decides)."""
    eps = np.finfo(np.float64).eps
    return variance <= n * eps * variance + (n * mean * eps) ** 2


def safe_scale(variance: Float64, mean: Float64, n: int) -> Float64:
    """Return standard deviations, with 1 for constant features."""
    variance = np.maximum(variance, 0.0)
    return np.where(constant_features(variance, mean, n), 1.0, np.sqrt(variance))


def augment(Z: NDArray[np.float32], nuisance: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Append nuisance columns and a column of ones: means and counts then ride along in every product."""
    ones = np.ones((len(Z), 1), dtype=np.float32)
    parts = [Z, ones] if nuisance is None else [Z, nuisance.astype(np.float32), ones]
    return np.concatenate(parts, axis=1)


def gram_product(F: NDArray[np.float32], weight: NDArray[Any] | None = None) -> Float64:
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


@dataclass(frozen=True)
class SufficientStatistics:
    """Everything ridge needs, per atom of rows, in one basis. Add blocks of images with ``+``.

    Attributes
    ----------
    basis : Basis
        Coordinates of the features.
    target_shift : ndarray, shape (n_targets,)
        Constant subtracted from the responses.
    gram : ndarray, shape (n_atoms, rank + 1, rank + 1)
        Products of ``[z, 1]`` with itself, float64; the last entry of the diagonal counts rows.
    cross : ndarray, shape (n_atoms, rank + 1, n_targets)
        Products of ``[z, 1]`` with the shifted responses, float64; the last row sums them.
    power : ndarray, shape (n_atoms, n_targets)
        Sums of squared shifted responses.
    """

    basis: Basis
    target_shift: Float64
    gram: Float64
    cross: Float64
    power: Float64

    @classmethod
    def of(
        cls, X: NDArray[Any], Y: NDArray[Any], atoms: ArrayLike, *, n_atoms: int, basis: Basis, target_shift: ArrayLike
    ) -> SufficientStatistics:
        """Accumulate one block of rows.

        Parameters
        ----------
        X, Y : ndarray
            Features (n_rows, n_features) and responses (n_rows, n_targets) of the block.
        atoms : array-like of int, shape (n_rows,)
            Atom of each row (`SplitPlan.atoms` of these rows).
        n_atoms : int
            Number of atoms of the whole plan.
        basis, target_shift
            The same for every block (`Moments.basis` and mean response of the merged first pass).
        """
        atoms, shift = np.asarray(atoms), np.asarray(target_shift, dtype=np.float64)
        F = augment(basis.transform(X))
        shifted = (np.asarray(Y, dtype=np.float64) - shift).astype(np.float32)
        size, n_targets = F.shape[1], shifted.shape[1]
        gram, cross = np.zeros((n_atoms, size, size)), np.zeros((n_atoms, size, n_targets))
        power = np.zeros((n_atoms, n_targets))
        for atom in np.unique(atoms):
            rows = atoms == atom
            gram[atom] = gram_product(F[rows])
            cross[atom] = cross_product(F[rows], shifted[rows])
            power[atom] = column_power(shifted[rows])
        return cls(basis, shift, gram, cross, power)

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        if not self.basis.matches(other.basis) or not np.array_equal(self.target_shift, other.target_shift):
            raise InputError("statistics in different bases cannot be added; use one basis and one target shift.")
        return replace(
            self, gram=self.gram + other.gram, cross=self.cross + other.cross, power=self.power + other.power
        )

    @property
    def n(self) -> int:
        """Number of rows accumulated."""
        return round(float(self.gram[:, -1, -1].sum()))

    def save(self, path: str | Path) -> Path:
        """Write to a Zarr directory and return its path."""
        import zarr

        group = zarr.open_group(str(path), mode="w", zarr_format=3)
        group.attrs["kind"] = "brainmap sufficient statistics"
        for name, array in self._arrays().items():
            group.create_array(name, data=array)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> SufficientStatistics:
        """Read what `save` wrote."""
        import zarr

        if not Path(path).is_dir():
            raise InputError(f"no statistics at {path}; give the directory that `SufficientStatistics.save` wrote.")
        group = zarr.open_group(str(path), mode="r")
        parts: dict[str, Any] = {name: np.asarray(group[name]) for name in group.array_keys()}
        basis = Basis(parts.pop("shift"), parts.pop("directions"), parts.pop("back"))
        return cls(basis=basis, **parts)

    def _arrays(self) -> dict[str, Float64]:
        return {
            "shift": self.basis.shift,
            "directions": self.basis.directions,
            "back": self.basis.back,
            "target_shift": self.target_shift,
            "gram": self.gram,
            "cross": self.cross,
            "power": self.power,
        }


def column_power(Y: NDArray[Any]) -> Float64:
    """Return the sum of squares of each column in float64."""
    return np.einsum("ij,ij->j", Y, Y, dtype=np.float64)
