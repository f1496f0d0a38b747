"""The solver: scores of every alpha for a batch of targets, from factorised train sets. numpy or torch arrays.

Read with :mod:`brainmap.encoding.layer.factors`, which derives the quantities used here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.layer.factors import Coupling, Train, Validation
from brainmap.encoding.layer.layer_factors import LayerFactors
from brainmap.encoding.layer.nuisance import without_nuisance
from brainmap.encoding.layer.target_block import TargetBatch

Float64 = NDArray[np.float64]
COARSE = 1e5  # mean over spread


@dataclass(frozen=True)
class SetMoments:
    """Count, sum and centred sum of squares of the responses over a set of rows."""

    n: float
    total: Float64
    scatter: Float64
    constant: NDArray[np.bool_]

    @property
    def mean(self) -> Float64:
        """Mean response."""
        return self.total / self.n


def set_inputs(batch: TargetBatch, members: NDArray[np.bool_], *, fit: bool = False) -> Any:
    """Return what a map acts on for a set of atoms: summed cross-products, or rows."""
    source = batch.fit_inputs if fit else batch.inputs
    if batch.layer.form == "rows":
        rows = batch.problem.rows(members)
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return source[int(rows[0]) : int(rows[-1]) + 1]
        return source[rows]
    chosen = np.flatnonzero(members)
    total = source[int(chosen[0])]
    if len(chosen) > 1:
        total = total + source[int(chosen[1])]
        for atom in chosen[2:]:
            total += source[int(atom)]
    return total


def moments(batch: TargetBatch, members: NDArray[np.bool_], *, fit: bool = False) -> SetMoments:
    """Return count, sum and scatter of the responses over a set of atoms (weighted mean where `fit`)."""
    n = float(np.diff(batch.problem.starts)[members].sum())
    total, power = batch.total[members].sum(axis=0), batch.power[members].sum(axis=0)
    scatter = np.maximum(power - total**2 / n, 0.0)
    constant = batch.low[members].min(axis=0) == batch.high[members].max(axis=0)
    if batch.floor is not None:
        constant = constant | (scatter <= batch.floor[members].sum(axis=0))
    weight = batch.problem.design.weight
    if fit and weight is not None:
        mass = float(weight[batch.problem.rows(members)].sum())
        return SetMoments(mass, batch.fit_total[members].sum(axis=0), scatter, constant)
    return SetMoments(n, total, scatter, constant)


@dataclass(frozen=True)
class TargetScores:
    """Test scores of a batch, each of shape (n_splits, n_targets)."""

    r: Float64
    r2: Float64
    alpha: Float64
    inner: Float64  # mean inner score at the chosen alpha
    candidate: Float64  # weighting of the bands that was chosen (0 where there are no bands)
    coarse: NDArray[np.bool_]  # (n_targets,), whether the mean is so large that float32 responses hold few digits


def choose(scores: Float64, tolerance: float) -> NDArray[np.int64]:
    """Return the index of the largest alpha whose score is within `tolerance` of the best; alphas ascend along axis 0.

    Selection by r has a plateau at large alpha, where shrinkage no longer changes the direction of the weights: without
    a rule the choice there would be rounding.
    """
    eligible = scores >= scores.max(axis=0) - tolerance
    last: NDArray[np.int64] = len(scores) - 1 - eligible[::-1].argmax(axis=0)
    return last


def inner_scores(batch: TargetBatch, trains: tuple[Train, ...], n_splits: int) -> tuple[Float64, Float64]:
    """Return summed inner scores, (n_splits, n_alphas, n_targets), and the inner folds summed, (n_splits, n_targets).

    Folds in which a target is constant have no score: they are missing from its sum, not a zero in it.
    """
    n_alphas, n_targets = trains[0].shrink.shape[0], batch.total.shape[1]
    total = np.zeros((n_splits, n_alphas, n_targets))
    count = np.zeros((n_splits, n_targets))
    known: tuple[bytes, Any] | None = None
    for train in trains:
        held = [set_inputs(batch, validation.members) for validation in train.validations]
        if train.universe is not None and batch.layer.form == "cross" and not batch.heavy:
            key = train.universe.tobytes()
            if known is None or known[0] != key:
                known = key, set_inputs(batch, train.universe)
            inputs = known[1] - held[0]
            for more in held[1:]:
                inputs -= more
        else:
            inputs = set_inputs(batch, train.members, fit=True)
        white = train.map @ inputs
        fitted = moments(batch, train.members, fit=True)
        for validation, held_inputs in zip(train.validations, held, strict=True):
            truth = moments(batch, validation.members)
            total[validation.outer] += path_scores(batch, train, validation, white, held_inputs, (fitted, truth))
            count[validation.outer] += ~truth.constant
    return total, count


def path_scores(
    batch: TargetBatch,
    train: Train,
    held: Validation,
    white: Any,
    held_inputs: Any,
    both: tuple[SetMoments, SetMoments],
) -> Float64:
    """Score all alphas on one validation set, shape (n_alphas, n_targets); 0 where the truth is constant."""
    assert held.coupling is not None
    fitted, truth = both
    covariance = float64(train.shrink @ (white * held_cross(train, held, held_inputs, truth)))
    energy = path_energy(train, held.coupling, white)
    if batch.problem.settings.scoring == "pearsonr":
        return correlation(covariance, energy, truth, fitted)
    level = float64((train.shrink * held.gap) @ white) + batch.problem.settings.fit_intercept * fitted.mean
    return determination(covariance, energy, level, truth)


def held_cross(train: Train, held: Validation, inputs: Any, truth: SetMoments) -> Any:
    """Return ``v``: whitened cross-products of a held-out set about its own mean."""
    if held.map is not None:
        return held.map @ inputs
    other = train.map @ inputs
    other -= held.gap[:, None] * like(truth.total, other)[None, :]
    return other


def path_energy(train: Train, coupling: Coupling, white: Any) -> Float64:
    """Return the prediction's sum of squares about its mean for all alphas, shape (n_alphas, n_targets)."""
    if coupling.direct is not None:
        rows = []
        for shrink in train.shrink:
            prediction = coupling.direct @ (shrink[:, None] * white)
            rows.append(column_sum(prediction * prediction))
        return np.stack(rows)
    energy = coupling.diagonal @ (white * white)
    energy += coupling.slope @ (white * (coupling.matrix @ white))
    if coupling.near is not None:
        first, second, weights = coupling.near
        energy += weights @ (white[first] * white[second])
    return float64(energy)


def correlation(covariance: Float64, energy: Float64, held: SetMoments, fitted: SetMoments) -> Float64:
    """Return Pearson r; 0 where prediction or truth is constant."""
    scale = np.sqrt(np.maximum(energy, 0.0) * held.scatter)
    usable = (scale > 0) & ~(held.constant | fitted.constant)
    return np.where(usable, covariance / np.where(usable, scale, 1.0), 0.0)


def determination(covariance: Float64, energy: Float64, predicted_mean: Float64, held: SetMoments) -> Float64:
    """Return the coefficient of determination; 0 where the truth is constant."""
    error = held.scatter - 2 * covariance + energy + held.n * (held.mean - predicted_mean) ** 2
    usable = ~held.constant
    return np.where(usable, 1.0 - error / np.where(usable, held.scatter, 1.0), 0.0)


def whitened(batch: TargetBatch, train: Train) -> Any:
    """Return ``c``: whitened cross-products of a train set, (rank, n_targets)."""
    return train.map @ set_inputs(batch, train.members, fit=True)


def gcv_scores(batch: TargetBatch, train: Train, white: Any) -> Float64:
    """Return one minus generalised cross-validation error over variance, for all alphas."""
    explained = float64((2 * train.shrink - train.shrink**2) @ (white * white))
    truth = moments(batch, train.members)
    usable = ~truth.constant
    residual = 1.0 - explained / np.where(usable, truth.scatter, 1.0)
    return np.where(usable, 1.0 - residual / (1.0 - train.degrees[:, None] / truth.n) ** 2, 0.0)


def shrunk(train: Train, white: Any, chosen: NDArray[np.int64]) -> Any:
    """Turn whitened cross-products, in place, into whitened weights ``φ c`` at each target's alpha."""
    white *= train.shrink.T[:, chosen]
    return white


def test_scores(batch: TargetBatch, train: Train, weights: Any) -> tuple[Float64, Float64]:
    """Return r and R² on the test set of an outer train set; NaN where the truth is constant."""
    (held,) = train.validations
    truth, fitted = moments(batch, held.members), moments(batch, train.members, fit=True)
    covariance = column_sum(weights * held_cross(train, held, set_inputs(batch, held.members), truth))
    if held.gram.shape[0] == held.gram.shape[1]:
        energy = column_sum(weights * (held.gram @ weights))
    else:
        prediction = held.gram @ weights
        energy = column_sum(prediction * prediction)
    level = float64(held.gap @ weights) + batch.problem.settings.fit_intercept * fitted.mean
    r = correlation(covariance, energy, truth, fitted)
    r2 = determination(covariance, energy, level, truth)
    return np.where(truth.constant, np.nan, r), np.where(truth.constant, np.nan, r2)


def float64(array: Any) -> Float64:
    """Bring an array back as numpy, in float64."""
    values: Float64 = np.asarray(array if isinstance(array, np.ndarray) else array.cpu(), dtype=np.float64)
    return values


def column_sum(array: Any) -> Float64:
    """Sum over the first axis in float64, as numpy."""
    if isinstance(array, np.ndarray):
        total: Float64 = array.sum(axis=0, dtype=np.float64)
        return total
    return float64(array.double().sum(0))


def like(values: Float64, array: Any) -> Any:
    """Return numpy values where, and in the precision in which, an array is."""
    return values.astype(array.dtype) if isinstance(array, np.ndarray) else array.new_tensor(values)


@dataclass(frozen=True)
class SplitWeights:
    """Whitened weights ``φ c`` of some targets of a batch in one outer split, (rank, n_targets), on the device."""

    layer: LayerFactors
    targets: Any
    values: Any


def score_batch(batch: TargetBatch) -> tuple[TargetScores, list[list[SplitWeights]]]:
    """Choose alpha per target by inner cross-validation and score the outer test sets.

    Returns
    -------
    TargetScores
    list of list of SplitWeights
        For each outer split the weights of all targets (in several parts where a banded ridge chose differently).
    """
    settings, n_targets = batch.problem.settings, batch.total.shape[1]
    batches = [replace(batch, layer=layer) for layer in batch.layer.candidates or (batch.layer,)]
    n_splits = len(batch.layer.outer)
    r, r2, alpha, inner, candidate = np.full((5, n_splits, n_targets), np.nan)
    scores = TargetScores(r, r2, alpha, inner, candidate, np.abs(batch.shift) > COARSE * batch.scale)
    weights: list[list[SplitWeights]] = []
    paths = [_paths(candidate) for candidate in batches]
    for split in range(n_splits):
        own = [_in_split(candidate, split) for candidate in batches]
        whites = [whitened(candidate, candidate.layer.outer[split]) for candidate in own]
        path = np.stack([_path(*each, split) for each in zip(own, whites, paths, strict=True)])
        best = path.max(axis=1).argmax(axis=0)
        path = path[best, :, np.arange(n_targets)].T
        single = path.shape[0] == 1
        chosen = np.zeros(n_targets, np.int64) if single else choose(path, settings.options.tie_tolerance)
        scores.alpha[split], scores.candidate[split] = settings.alphas[chosen], best
        scores.inner[split] = np.take_along_axis(path, chosen[None], axis=0)[0]
        parts = []
        for index in np.unique(best):
            targets: Any = slice(None) if len(own) == 1 else np.flatnonzero(best == index)
            part = own[index] if len(own) == 1 else own[index].select(targets)
            train = part.layer.outer[split]
            white = shrunk(train, whites[index][:, targets], chosen[targets])
            parts.append(SplitWeights(part.layer, targets, white))
            if train.validations:
                scores.r[split, targets], scores.r2[split, targets] = test_scores(part, train, white)
        weights.append(parts)
    return scores, weights


def _paths(batch: TargetBatch) -> NDArray[np.float64] | None:
    """Return mean inner scores of all splits, (n_splits, n_alphas, n_targets), where one pass gives them all."""
    if not batch.layer.inner or batch.problem.n_nuisance:
        return None
    n_splits = len(batch.layer.outer)
    summed, count = inner_scores(batch, batch.layer.inner, n_splits)
    return summed / np.where(count > 0, count, np.nan)[:, None]


def _in_split(batch: TargetBatch, split: int) -> TargetBatch:
    """Return the batch as one outer split sees it."""
    train = batch.layer.outer[split]
    return without_nuisance(batch, train, set_inputs(batch, train.members)) if batch.problem.n_nuisance else batch


def _path(batch: TargetBatch, white: Any, known: NDArray[np.float64] | None, split: int) -> NDArray[np.float64]:
    """Return the criterion that chooses alpha in one outer split, (n_alphas, n_targets)."""
    if known is not None:
        own: Float64 = known[split]
        return own
    if batch.problem.settings.options.mode == "gcv":
        return gcv_scores(batch, batch.layer.outer[split], white)
    if not batch.layer.inner:
        return np.full((1, batch.total.shape[1]), np.nan)
    inner = tuple(train for train in batch.layer.inner if train.validations[0].outer == split)
    summed, count = inner_scores(batch, inner, len(batch.layer.outer))
    mean: Float64 = summed[split] / np.where(count[split] > 0, count[split], np.nan)
    return mean
