"""The hot path: scores of every alpha for a batch of targets, from factorised train sets. numpy or torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.encoding.backend import Backend
from brainmap.encoding.layer.response_batch import Batch, SetMoments
from brainmap.encoding.layer.spectrum import Coupling, Train, Validation

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class TargetScores:
    """Test scores of a batch, each of shape (n_splits, n_targets)."""

    r: Float64
    r2: Float64
    alpha: Float64
    inner: Float64  # mean inner score at the chosen alpha
    candidate: Float64  # weighting of the bands that was chosen (0 where there are no bands)


def choose(scores: Float64, tolerance: float) -> NDArray[np.int64]:
    """Return the index of the largest alpha whose score is within `tolerance` of the best; alphas ascend along axis 0.

    Selection by r has a plateau at large alpha, where shrinkage no longer changes the direction of the weights: without
    a rule the choice there would be rounding.
    """
    eligible = scores >= scores.max(axis=0) - tolerance
    return len(scores) - 1 - eligible[::-1].argmax(axis=0)


def inner_scores(batch: Batch, trains: tuple[Train, ...], n_splits: int) -> tuple[Float64, Float64]:
    """Return summed inner scores, (n_splits, n_alphas, n_targets), and the inner folds summed, (n_splits, n_targets).

    Folds in which a target is constant have no score: they are missing from its sum, not a zero in it.
    """
    n_alphas, n_targets = trains[0].shrink.shape[0], batch.total.shape[1]
    total = np.zeros((n_splits, n_alphas, n_targets))
    count = np.zeros((n_splits, n_targets))
    known: tuple[bytes, Any] | None = None
    for train in trains:
        held = [batch.inputs_of(one.members) for one in train.validations]
        if train.universe is not None and batch.layer.form == "cross" and not batch.heavy:
            key = train.universe.tobytes()
            if known is None or known[0] != key:
                known = key, batch.inputs_of(train.universe)
            inputs = known[1] - held[0]
            for more in held[1:]:
                inputs -= more
        else:
            inputs = batch.inputs_of(train.members, fit=True)
        white = train.map @ inputs
        fitted = batch.moments(train.members, fit=True)
        for one, held_inputs in zip(train.validations, held, strict=True):
            moments = batch.moments(one.members)
            total[one.outer] += _path_scores(batch, train, one, white, held_inputs, (fitted, moments))
            count[one.outer] += ~moments.constant
    return total, count


def _path_scores(
    batch: Batch, train: Train, held: Validation, white: Any, held_inputs: Any, both: tuple[SetMoments, SetMoments]
) -> Float64:
    """Score all alphas on one validation set, shape (n_alphas, n_targets); 0 where the truth is constant."""
    backend = batch.layer.backend
    assert held.coupling is not None
    fitted, moments = both
    other = held_cross(backend, train, held, held_inputs, moments)
    covariance = backend.get(train.shrink @ (white * other)).astype(np.float64)
    energy = path_energy(train, held.coupling, white, backend)
    if batch.problem.settings.scoring == "pearsonr":
        return correlation(covariance, energy, moments, fitted)
    mean = _predicted_mean(batch, (train.shrink * held.gap) @ white, fitted)
    return determination(covariance, energy, mean, moments)


def held_cross(backend: Backend, train: Train, held: Validation, inputs: Any, moments: SetMoments) -> Any:
    """Return ``v``: whitened cross-products of a held-out set about its own mean."""
    if held.map is not None:
        return held.map @ inputs
    other = train.map @ inputs
    other -= held.gap[:, None] * backend.put(moments.total)[None, :]
    return other


def path_energy(train: Train, coupling: Coupling, white: Any, backend: Backend) -> Float64:
    """Return the prediction's sum of squares about its mean for all alphas, shape (n_alphas, n_targets)."""
    if coupling.direct is not None:
        rows = []
        for shrink in train.shrink:
            prediction = coupling.direct @ (shrink[:, None] * white)
            rows.append(backend.column_sum(prediction * prediction))
        return np.stack(rows)
    energy = coupling.diagonal @ (white * white)
    energy += coupling.slope @ (white * (coupling.matrix @ white))
    if coupling.near is not None:
        first, second, weights = coupling.near
        energy += weights @ (white[first] * white[second])
    return backend.get(energy).astype(np.float64)


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


def _predicted_mean(batch: Batch, level: Any, fitted: SetMoments) -> Float64:
    """Return the mean prediction on a held-out set from that of the centred prediction."""
    mean = batch.layer.backend.get(level).astype(np.float64)
    return mean + fitted.mean if batch.problem.settings.fit_intercept else mean


def whitened(batch: Batch, train: Train) -> Any:
    """Return ``c``: whitened cross-products of a train set, (rank, n_targets)."""
    return train.map @ batch.inputs_of(train.members, fit=True)


def gcv_scores(batch: Batch, train: Train, white: Any) -> Float64:
    """Return one minus generalised cross-validation error over variance, for all alphas."""
    explained = batch.layer.backend.get((2 * train.shrink - train.shrink**2) @ (white * white)).astype(np.float64)
    moments = batch.moments(train.members)
    usable = ~moments.constant
    residual = 1.0 - explained / np.where(usable, moments.scatter, 1.0)
    return np.where(usable, 1.0 - residual / (1.0 - train.degrees[:, None] / moments.n) ** 2, 0.0)


def shrunk(batch: Batch, train: Train, white: Any, chosen: NDArray[np.int64]) -> Any:
    """Turn whitened cross-products, in place, into whitened weights ``φ c`` at each target's alpha."""
    white *= train.shrink.T[:, batch.layer.backend.put(chosen)]
    return white


def test_scores(batch: Batch, train: Train, weights: Any) -> tuple[Float64, Float64]:
    """Return r and R² on the test set of an outer train set; NaN where the truth is constant."""
    backend = batch.layer.backend
    (held,) = train.validations
    moments, fitted = batch.moments(held.members), batch.moments(train.members, fit=True)
    other = held_cross(backend, train, held, batch.inputs_of(held.members), moments)
    covariance = backend.column_sum(weights * other)
    if held.gram.shape[0] == held.gram.shape[1]:
        energy = backend.column_sum(weights * (held.gram @ weights))
    else:
        prediction = held.gram @ weights
        energy = backend.column_sum(prediction * prediction)
    r = correlation(covariance, energy, moments, fitted)
    r2 = determination(covariance, energy, _predicted_mean(batch, held.gap @ weights, fitted), moments)
    return np.where(moments.constant, np.nan, r), np.where(moments.constant, np.nan, r2)
