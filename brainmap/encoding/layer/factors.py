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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.layer.z_scores import Basis, FeatureMoments
from brainmap.encoding.settings import Problem, TrainSet

Float64 = NDArray[np.float64]
Place = Callable[..., Any]  # moves an array to where, and into the precision in which, responses come
NEAR = 1e-3  # relative gap below which a pair of eigenvalues is summed directly: rounding grows as 1 / NEAR
UNSAFE_ENERGY = 1e3  # validation over train energy of a component beyond which float32 cross-products lose digits
VANISHED_ENERGY = 1e-14  # whitened validation energy below which all of it is rounding
VANISHED = 1e-12  # share of a feature's variance that float32 leaves when nuisance regressors explain all of it
COARSE_FEATURE = 1e-8  # share of its pooled variance below which float32 coordinates hold too little of a feature


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


def couple(spectrum: Spectrum, energy: Float64, alphas: Float64, *, rows: Float64 | None = None) -> Coupling:
    """Prepare the sum of squares of the prediction for all alphas.

    Parameters
    ----------
    spectrum : Spectrum
        Of the train Gram matrix.
    energy : ndarray, shape (rank, rank)
        H, the whitened Gram matrix of the validation set about its mean.
    alphas : ndarray, shape (n_alphas,)
    rows : ndarray, shape (n_rows, rank), optional
        B with ``H = B' B`` where the caller has it.
    """
    values, shrink = spectrum.values, spectrum.shrinkage(alphas)
    energy = without_rounding(energy)
    rank, n_alphas = len(values), len(alphas)
    diagonal = shrink**2 * np.diag(energy)
    width = rank if rows is None else min(rank, len(rows))
    gaps = values[None, :] - values[:, None]
    close = np.abs(gaps) <= NEAR * np.maximum(values[None, :], values[:, None])
    first, second = np.nonzero(np.triu(close, 1))
    if n_alphas * width <= 2 * rank or len(first) > max(n_alphas * rank * width // 128, rank):
        factor = rows if rows is not None and len(rows) < rank else square_root(energy)
        return Coupling(diagonal, None, None, None, factor)
    gaps[close] = 1.0
    matrix = energy * values[None, :] / gaps
    matrix[close] = 0.0
    slope = 2.0 * _recentred(shrink, values, (matrix**2).sum(axis=1))
    near = None
    if len(first):
        pair_weights = 2.0 * shrink[:, first] * shrink[:, second] * energy[first, second]
        near = first, second, pair_weights
    return Coupling(diagonal, slope, matrix, near, None)


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
    root: Float64 = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return root


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
        gram: Float64 = total if few else self._total(fit) - total
        return gram

    def _total(self, fit: bool) -> Float64:
        return self.weighted_total if fit and self.weighted_total is not None else self.plain_total


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
        settings, rank = problem.settings, basis.rank
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
        if settings.plain and not problem.n_nuisance:
            return cls(matrix, True, n_constant, False)
        if settings.scale:
            if problem.n_nuisance:
                spread = _residual_spread(gram, matrix, basis, spread)
            matrix = matrix @ (basis.back / spread)
        if settings.band_scale is not None:
            matrix = (matrix if settings.scale else matrix @ basis.back) * settings.band_scale
        if settings.pca is not None:
            n = round(float(gram[-1, -1]))
            keep = max(1, min(settings.pca, n - 1, len(basis.shift)))
            matrix = matrix @ Spectrum.of(matrix.T @ gram @ matrix, 0.0).vectors[:, :keep]
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


def factorise_cross(
    train_set: TrainSet, table: GramTable, preparations: Sequence[Preparation], problem: Problem, place: Place
) -> tuple[Train, bool]:
    """Factorise one train set; also say whether float32 cross-products are unsafe for it.

    Returns
    -------
    Train
        With ``map`` of shape (rank, size) acting on augmented cross-products.
    bool
        True when some component carries far more energy in a validation set than in the train set although no alpha
        shrinks it away: its cross-product is then a small difference of large numbers.
    """
    settings, preparation = problem.settings, preparations[train_set.outer]
    gram, total, n = preparation.project(table.of(train_set.members, fit=True))
    mean = total / n if settings.fit_intercept else np.zeros_like(total)
    centred = gram - np.outer(mean, total) if settings.fit_intercept else gram
    spectrum = Spectrum.of(centred, settings.options.rank_tolerance)
    whiten = spectrum.vectors / np.sqrt(spectrum.values)
    shrink = spectrum.shrinkage(settings.alphas)
    if preparation.plain:
        columns = np.concatenate([whiten, ((preparation.matrix[-1] - mean) @ whiten)[None]])
    else:
        columns = preparation.matrix @ whiten
        columns[-1] -= mean @ whiten
    validations, unsafe = [], False
    for outer, members in train_set.validations:
        if not members.any():
            continue
        scatter, held_total, n_held = preparation.project(table.of(members, fit=False))
        held_mean = held_total / n_held
        energy = whiten.T @ (scatter - np.outer(held_mean, held_total)) @ whiten
        ratio = np.diag(energy) * shrink[0] ** 2 * (n / n_held)
        unsafe = unsafe or bool(ratio.max() > UNSAFE_ENERGY)
        gap = (held_mean - mean) @ whiten
        held = Validation(outer, members, round(n_held), None, gap)
        if train_set.final:
            validations.append(replace(held, gram=without_rounding(energy)))
        else:
            validations.append(replace(held, coupling=couple(spectrum, energy, settings.alphas)))
    degrees = shrink.sum(axis=1) + settings.fit_intercept
    universe = None if table.weighted is not None else train_set.universe
    train = Train(train_set.members, columns.T, shrink, tuple(validations), universe, degrees)
    return placed(train, place), unsafe


def placed(train: Train, place: Place) -> Train:
    """Return a train set with the arrays that meet responses where and in the precision in which these come."""
    validations = []
    for held in train.validations:
        moved = {name: _move(getattr(held, name), place) for name in ("map", "gap", "gram")}
        coupling = held.coupling
        if coupling is not None:
            parts = {name: _move(getattr(coupling, name), place) for name in ("diagonal", "slope", "matrix", "direct")}
            if coupling.near is not None:
                parts["near"] = (*coupling.near[:2], place(coupling.near[2]))
            coupling = replace(coupling, **parts)
        validations.append(replace(held, **moved, coupling=coupling))
    return replace(train, map=place(train.map), shrink=place(train.shrink), validations=tuple(validations))


def _move(array: Float64 | None, place: Place) -> Any:
    return None if array is None else place(array)
