r"""One train set, factorised: from an eigendecomposition to the scores of every alpha, without predictions.

With the train Gram matrix ``G_T = Q diag(λ) Q'``, whitened cross-products ``c = Λ^-½ Q' X_T' y`` and shrinkage
``φ_k(α) = λ_k / (λ_k + α)``, the prediction on a validation set V has, about its mean,

- covariance with the truth ``Σ_k φ_k c_k v_k`` with ``v = Λ^-½ Q' X_V' y``: one thin product for all alphas;
- sum of squares ``f(α) = Σ_kl φ_k φ_l c_k c_l H_kl`` with ``H = Λ^-½ Q' G_V Q Λ^-½``. Written out, d² terms per alpha.

Because ``φ_k φ_l = (λ_l φ_k − λ_k φ_l) / (λ_l − λ_k)``, the double sum separates:

    f(α) = Σ_k φ_k² H_kk c_k² + 2 Σ_k φ_k c_k (M c)_k,      M_kl = H_kl λ_l / (λ_l − λ_k)

and ``M c`` does not depend on alpha: one product of d² per target serves all alphas, *exactly*. Three things keep it
accurate in float32. (i) Pairs with nearly equal eigenvalues, where M would blow up, are left out of M and summed
directly. (ii) ``Σ_k λ_k c_k (M c)_k = 0`` by antisymmetry, so ``φ_k`` may be replaced by ``φ_k − τ(α) λ_k``; τ is
chosen to minimise the rounding error. (iii) Everything is whitened, so that numbers are of order one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.backend import Backend

Float64 = NDArray[np.float64]
NEAR = 1e-3  # relative gap below which a pair of eigenvalues is summed directly: rounding grows as 1 / NEAR
UNSAFE_ENERGY = 1e3  # validation over train energy of a component beyond which float32 cross-products lose digits
VANISHED_ENERGY = 1e-14  # whitened validation energy below which all of it is rounding


@dataclass(frozen=True)
class Coupling:
    """How to get the sum of squares of the prediction for all alphas from whitened cross-products.

    Attributes
    ----------
    diagonal : (n_alphas, rank)
        ``φ² diag(H)``.
    slope, matrix : (n_alphas, rank), (rank, rank)
        ``2 (φ − τ λ)`` and M.
    near : (i, j, weights) or None
        Pairs summed directly, with weights ``2 φ_i φ_j H_ij`` of shape (n_alphas, n_pairs).
    direct : (n_rows or rank, rank) or None
        When set, a matrix B with ``H = B' B``: predictions are formed for each alpha. Used when that is cheaper (few
        alphas, few rows) or when too many eigenvalues coincide (one-hot features).
    """

    diagonal: Any
    slope: Any
    matrix: Any
    near: tuple[Any, Any, Any] | None
    direct: Any


@dataclass(frozen=True)
class Validation:
    """One validation or test set, as seen by one train set.

    Attributes
    ----------
    outer : int
        Outer split whose scores it adds to.
    members : ndarray of bool, shape (n_atoms,)
        Atoms that make up the set.
    n : int
        Number of rows.
    map : (rank, n_inputs) or None
        Gives ``v``. None: the train set's map, minus `gap` times the sum of the responses.
    gap : (rank,)
        Mean of the whitened features over the set, about the train mean; the prediction's mean is ``φ c · gap``.
    gram : (rank, rank) or (n_rows, rank)
        H, or a matrix B with ``H = B' B``, whichever is smaller. Only for test sets.
    coupling : Coupling or None
        Only for inner validation sets.
    """

    outer: int
    members: NDArray[np.bool_]
    n: int
    map: Any
    gap: Any
    gram: Any = None
    coupling: Coupling | None = None


@dataclass(frozen=True)
class Train:
    """One factorised train set and the sets it predicts.

    Attributes
    ----------
    members : ndarray of bool, shape (n_atoms,)
        Atoms that make up the set.
    map : (rank, n_inputs)
        Gives ``c``.
    shrink : (n_alphas, rank)
        ``φ``.
    validations : tuple of Validation
    universe : ndarray of bool or None
        Atoms of the train set and all its validation sets together, when these are disjoint: the train set's statistics
        are then the universe's minus the held-out ones.
    degrees : ndarray, shape (n_alphas,)
        Effective degrees of freedom ``Σ_k φ_k`` (plus one for the intercept).
    """

    members: NDArray[np.bool_]
    map: Any
    shrink: Any
    validations: tuple[Validation, ...]
    universe: NDArray[np.bool_] | None
    degrees: Float64


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (descending, above the null space) and eigenvectors of a symmetric matrix."""

    values: Float64
    vectors: Float64

    @classmethod
    def of(cls, matrix: Float64, tolerance: float) -> Spectrum:
        """Decompose; eigenvalues below `tolerance` times the largest are the null space and are dropped."""
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[::-1], vectors[:, ::-1]
        keep = max(int(np.count_nonzero(values > tolerance * values[0])), 1)
        if values[0] <= 0:  # no variance at all: one harmless component with nothing in it
            return cls(np.ones(1), np.zeros((len(values), 1)))
        return cls(values[:keep], np.ascontiguousarray(vectors[:, :keep]))

    def shrinkage(self, alphas: Float64) -> Float64:
        """Return ``λ / (λ + α)``, shape (n_alphas, rank)."""
        return self.values / (self.values + alphas[:, None])


def couple(
    spectrum: Spectrum,
    energy: Float64,
    alphas: Float64,
    *,
    backend: Backend,
    rows: Float64 | None = None,
) -> Coupling:
    """Prepare the sum of squares of the prediction for all alphas.

    Parameters
    ----------
    spectrum : Spectrum
        Of the train Gram matrix.
    energy : ndarray, shape (rank, rank)
        H, the whitened Gram matrix of the validation set about its mean.
    alphas : ndarray, shape (n_alphas,)
    backend : Backend
    rows : ndarray, shape (n_rows, rank), optional
        B with ``H = B' B`` where the caller has it.
    """
    values, shrink = spectrum.values, spectrum.shrinkage(alphas)
    energy = without_rounding(energy)
    rank, n_alphas = len(values), len(alphas)
    diagonal = backend.put(shrink**2 * np.diag(energy))
    width = rank if rows is None else min(rank, len(rows))
    gaps = values[None, :] - values[:, None]
    close = np.abs(gaps) <= NEAR * np.maximum(values[None, :], values[:, None])
    first, second = np.nonzero(np.triu(close, 1))
    if n_alphas * width <= 2 * rank or len(first) > max(n_alphas * rank * width // 128, rank):
        factor = rows if rows is not None and len(rows) < rank else square_root(energy)
        return Coupling(diagonal, None, None, None, backend.put(factor))
    gaps[close] = 1.0
    matrix = energy * values[None, :] / gaps
    matrix[close] = 0.0
    slope = 2.0 * _recentred(shrink, values, (matrix**2).sum(axis=1))
    near = None
    if len(first):
        pair_weights = 2.0 * shrink[:, first] * shrink[:, second] * energy[first, second]
        near = backend.put(first), backend.put(second), backend.put(pair_weights)
    return Coupling(diagonal, backend.put(slope), backend.put(matrix), near, None)


def _recentred(shrink: Float64, values: Float64, weight: Float64) -> Float64:
    """Return ``φ_k − τ λ_k``, τ the mean of ``φ_j / λ_j`` that least amplifies rounding errors of M c.

    Written as ``φ_k Σ_j w_j (φ_j / λ_j) (λ_j − λ_k)``, which does not cancel when alpha dwarfs the eigenvalues.
    """
    share = values**2 * weight
    share = share / max(float(share.sum()), np.finfo(float).tiny)
    return shrink * ((shrink @ share)[:, None] - (shrink / values @ share)[:, None] * values)


def without_rounding(energy: Float64) -> Float64:
    """Return H, or zeros where nothing of the train set's directions varies in the validation set (unseen categories).

    The prediction is then constant, and its correlation would be one of rounding errors.
    """
    return energy if np.diag(energy).max(initial=0.0) > VANISHED_ENERGY else np.zeros_like(energy)


def square_root(energy: Float64) -> Float64:
    """Return B with ``B' B`` equal to a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(energy)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
