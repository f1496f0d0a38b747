"""Factorisation from Gram matrices: the form for many rows, where responses enter through ``X'Y`` per atom.

Preprocessing inside a split (nuisance projection, centring, scaling, PCA) is an affine map of the augmented features
``[z, nuisance, 1]``, computed from the outer train set's statistics; it never touches the rows again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.spectrum import UNSAFE_ENERGY, Spectrum, Train, Validation, couple, without_rounding
from brainmap.encoding.layer.z_scores import Basis, FeatureMoments, Float64
from brainmap.encoding.settings import Problem, TrainSet

VANISHED = 1e-12  # share of a feature's variance that float32 leaves when nuisance regressors explain all of it
COARSE_FEATURE = 1e-8  # share of its pooled variance below which float32 coordinates hold too little of a feature


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
        return total if few else self._total(fit) - total

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
    train_set: TrainSet, table: GramTable, preparation: Preparation, problem: Problem, backend: Backend
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
    settings, weighted = problem.settings, table.weighted is not None
    held = [table.of(members, fit=False) for _, members in train_set.validations]
    fit_gram = table.of(train_set.members, fit=True)
    gram, total, n = preparation.project(fit_gram)
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
    for (outer, members), held_gram in zip(train_set.validations, held, strict=True):
        if not members.any():
            continue
        scatter, held_total, n_held = preparation.project(held_gram)
        held_mean = held_total / n_held
        energy = whiten.T @ (scatter - np.outer(held_mean, held_total)) @ whiten
        ratio = np.diag(energy) * shrink[0] ** 2 * (n / n_held)
        unsafe = unsafe or bool(ratio.max() > UNSAFE_ENERGY)
        gap = backend.put((held_mean - mean) @ whiten)
        validations.append(
            Validation(
                outer,
                members,
                round(n_held),
                None,
                gap,
                gram=backend.put(without_rounding(energy)) if train_set.final else None,
                coupling=None if train_set.final else couple(spectrum, energy, settings.alphas, backend=backend),
            )
        )
    degrees = shrink.sum(axis=1) + settings.fit_intercept
    universe = None if weighted else train_set.universe
    train = Train(train_set.members, backend.put(columns.T), backend.put(shrink), tuple(validations), universe, degrees)
    return train, unsafe
