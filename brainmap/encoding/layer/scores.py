"""The solver: scores of every alpha for a batch of targets, from factorised train sets. numpy or torch arrays.

Read after :mod:`brainmap.encoding.layer.factors`, which derives the quantities used here, with the names of
:mod:`brainmap.encoding.layer.notation`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.array_sources import check_finite
from brainmap.common.errors import InputError
from brainmap.encoding.folds import SplitPlan
from brainmap.encoding.layer.notation import (
    Coupling,
    LayerFactors,
    SetMoments,
    SplitWeights,
    TargetBatch,
    TargetBlock,
    TargetScores,
    Train,
    Validation,
)
from brainmap.encoding.layer.nuisance import without_nuisance
from brainmap.encoding.layer.z_scores import column_power, cross_products, power_of_two
from brainmap.encoding.settings import Problem

Float64 = NDArray[np.float64]
HEAVY = 1e3  # largest power of an atom over the median one, beyond which float32 sums over atoms are not subtracted
WIDE = 1e15  # largest deviation over the median one, beyond which float32 cannot hold the squares
FLOAT32_EXPONENT = 100  # beyond this power of two numbers are scaled in float64
COARSE = 1e5  # mean over spread


# Responses ------------------------------------------------------------------------------------------------------------


def target_block(block: NDArray[Any], problem: Problem, *, name: str, first: int = 0) -> TargetBlock:
    """Sort, shift and scale a block of responses (all rows of some columns).

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    check_finite(block, name, first_column=first)
    plan = problem.plan
    values = np.take(block, plan.order, axis=0)  # C order whatever the storage: the same sums everywhere
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    low, high = np.empty((2, plan.n_atoms, values.shape[1]), values.dtype)
    for atom, rows in enumerate(plan.slices):  # `reduceat` is ten times slower
        values[rows].min(axis=0, out=low[atom])
        values[rows].max(axis=0, out=high[atom])
    if values.dtype == np.float32:  # squares must not leave its range
        size = np.maximum(np.abs(low), np.abs(high)).max(axis=0)
        smallest, largest = np.min(size, where=size > 0, initial=1.0), size.max()
        if smallest < 2.0**-FLOAT32_EXPONENT or largest > 2.0**FLOAT32_EXPONENT:
            values, low, high = values.astype(np.float64), low.astype(np.float64), high.astype(np.float64)
    shift = np.zeros(values.shape[1])
    if problem.settings.fit_intercept:
        # any constant is exact, so quick means will do; without intercept the level of the responses matters
        means = np.empty((plan.n_atoms, values.shape[1]), values.dtype)
        for mean, rows in zip(means, plan.slices, strict=True):
            share = np.full(rows.stop - rows.start, 1.0 / (rows.stop - rows.start), values.dtype)
            np.matmul(share, values[rows], out=mean)
        shift = np.median(means, axis=0).astype(np.float64)
    centre = shift.astype(values.dtype)
    low, high = low - centre, high - centre
    deviation = np.maximum(high, -low).astype(np.float64)
    typical, most = np.median(deviation, axis=0), deviation.max(axis=0)
    typical = np.where(typical > 0, typical, most)
    scale = power_of_two(typical)
    precision = problem.backend.precision
    if np.any(most > WIDE * typical):
        if problem.backend.uses_torch:
            column = first + int(np.argmax(most / np.where(typical > 0, typical, 1.0)))
            raise InputError(f"{name} holds values of more than 15 decades in column {column}; use device='cpu'.")
        precision = "float64"
    factor = (1.0 / scale).astype(values.dtype)
    moved = values if values.dtype == precision else np.empty(values.shape, precision)
    total, power = np.empty((2, plan.n_atoms, values.shape[1]))
    for atom, rows in enumerate(plan.slices):  # one atom at a time stays in the cache
        part = values[rows]
        part -= centre
        part *= factor
        if moved is not values:
            moved[rows] = part
            part = moved[rows]
        total[atom], power[atom] = part.sum(axis=0, dtype=np.float64), column_power(part)
    low, high = (low * factor).astype(moved.dtype), (high * factor).astype(moved.dtype)  # rounding keeps order
    return TargetBlock(moved, shift, scale, total, power, low, high, first)


def sorted_block(values: NDArray[Any], shift: Float64, scale: Float64, plan: SplitPlan) -> TargetBlock:
    """Return a block of shifted and scaled values whose rows are sorted by atom already."""
    total, power = np.empty((2, plan.n_atoms, values.shape[1]))
    low, high = np.empty((2, plan.n_atoms, values.shape[1]), values.dtype)
    for atom, rows in enumerate(plan.slices):
        values[rows].min(axis=0, out=low[atom])
        values[rows].max(axis=0, out=high[atom])
        total[atom], power[atom] = values[rows].sum(axis=0, dtype=np.float64), column_power(values[rows])
    return TargetBlock(values, shift, scale, total, power, low, high)


def target_batch(responses: TargetBlock, layer: LayerFactors, problem: Problem) -> TargetBatch:
    """Move responses to a layer's device; accumulate cross-products per atom where the layer wants them."""
    backend, weight, slices = layer.backend, problem.design.weight, problem.plan.slices
    if backend.uses_torch:
        values = backend.put(responses.values)
    else:
        values = responses.values.astype(backend.precision, copy=False)
    products = backend.cross_products if backend.uses_torch else cross_products
    fit_total = responses.total
    inputs = fit_inputs = values if layer.form == "rows" else products(layer.features, values, slices)
    if weight is not None:
        fit_total = np.stack([weight[rows] @ responses.values[rows] for rows in slices])
        if layer.form == "cross":
            fit_inputs = products(layer.features, values * backend.put(weight[:, None]), slices)
    return TargetBatch(
        layer,
        problem,
        inputs,
        fit_inputs,
        total=responses.total,
        power=responses.power,
        fit_total=fit_total,
        low=responses.low,
        high=responses.high,
        shift=responses.shift,
        scale=responses.scale,
        varies=bool(np.all(responses.low < responses.high)),
    )


def set_inputs(batch: TargetBatch, members: NDArray[np.bool_], *, fit: bool = False) -> Any:
    """Return what a map acts on for a set of atoms: summed cross-products, or rows."""
    source = batch.fit_inputs if fit else batch.inputs
    if batch.layer.form == "rows":
        rows = batch.problem.plan.rows(members)
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


def set_moments(batch: TargetBatch, members: NDArray[np.bool_], *, fit: bool = False) -> SetMoments:
    """Return moments of the responses over a set of atoms (with the weighted mean where `fit`)."""
    plan, weight = batch.problem.plan, batch.problem.design.weight
    n = float(plan.sizes[members].sum())
    inside = members.astype(np.float64)
    total, power = inside @ batch.total, inside @ batch.power
    scatter = np.maximum(power - total**2 / n, 0.0)
    if batch.varies:
        constant = np.zeros(len(total), dtype=bool)
    else:
        constant = batch.low[members].min(axis=0) == batch.high[members].max(axis=0)
    if batch.floor is not None:
        constant = constant | (scatter <= batch.floor[members].sum(axis=0))
    if fit and weight is not None:
        n, total = float(weight[plan.rows(members)].sum()), batch.fit_total[members].sum(axis=0)
    return SetMoments(n, total, total / n, scatter, constant)


# Scores of one train set on one set that it predicts ------------------------------------------------------------------


def path_scores(
    batch: TargetBatch, train: Train, held: Validation, white: Any, inputs: Any, both: tuple[SetMoments, SetMoments]
) -> Float64:
    """Score all alphas on one validation set, shape (n_alphas, n_targets); 0 where the truth is constant."""
    assert held.coupling is not None
    fitted, truth = both
    shared = held_cross(train, held, inputs, truth)
    shared *= white  # in place, here and below: another array of this size costs as much as the product with it
    covariance = to_numpy(train.shrink @ shared)
    energy = path_energy(train, held.coupling, white)
    if batch.problem.settings.scoring == "pearsonr":
        return correlation(covariance, energy, truth, fitted)
    level = to_numpy((train.shrink * held.gap) @ white) + batch.problem.settings.fit_intercept * fitted.mean
    return determination(covariance, energy, level, truth)


def held_cross(train: Train, held: Validation, inputs: Any, truth: SetMoments) -> Any:
    """Return ``v``: whitened cross-products of a held-out set about its own mean."""
    if held.map is not None:
        return held.map @ inputs
    other = train.map @ inputs
    total = truth.total.astype(other.dtype) if isinstance(other, np.ndarray) else other.new_tensor(truth.total)
    other -= held.gap[:, None] * total[None, :]
    return other


def path_energy(train: Train, coupling: Coupling, white: Any) -> Float64:
    """Return the prediction's sum of squares about its mean for all alphas, shape (n_alphas, n_targets)."""
    if coupling.direct is not None:
        if coupling.direct.ndim == 3:
            n_alphas, n_rows, rank = coupling.direct.shape
            predictions = (coupling.direct.reshape(-1, rank) @ white).reshape(n_alphas, n_rows, -1)
            return to_numpy((predictions * predictions).sum(1))
        rows = []
        for shrink in train.shrink:
            prediction = coupling.direct @ (shrink[:, None] * white)
            rows.append(column_sum(prediction * prediction))
        return np.stack(rows)
    mixed = coupling.matrix @ white
    mixed *= white
    energy = coupling.slope @ mixed
    energy += coupling.diagonal @ (white * white)
    if coupling.near is not None:
        first, second, weights = coupling.near
        energy += weights @ (white[first] * white[second])
    return to_numpy(energy)


def test_scores(batch: TargetBatch, train: Train, weights: Any) -> tuple[Float64, Float64]:
    """Return r and R² on the test set of an outer train set; NaN where the truth is constant."""
    (held,) = train.validations
    truth, fitted = set_moments(batch, held.members), set_moments(batch, train.members, fit=True)
    covariance = column_sum(weights * held_cross(train, held, set_inputs(batch, held.members), truth))
    if held.gram.shape[0] == held.gram.shape[1]:
        energy = column_sum(weights * (held.gram @ weights))
    else:
        prediction = held.gram @ weights
        energy = column_sum(prediction * prediction)
    level = to_numpy(held.gap @ weights) + batch.problem.settings.fit_intercept * fitted.mean
    r = correlation(covariance, energy, truth, fitted)
    r2 = determination(covariance, energy, level, truth)
    return np.where(truth.constant, np.nan, r), np.where(truth.constant, np.nan, r2)


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


def to_numpy(array: Any) -> Float64:
    """Bring an array back as numpy, in float64."""
    values: Float64 = np.asarray(array if isinstance(array, np.ndarray) else array.cpu(), dtype=np.float64)
    return values


def column_sum(array: Any) -> Float64:
    """Sum over the first axis in float64, as numpy."""
    if isinstance(array, np.ndarray):
        total: Float64 = array.sum(axis=0, dtype=np.float64)
        return total
    return to_numpy(array.double().sum(0))


# Choice of alpha ------------------------------------------------------------------------------------------------------


def inner_scores(batch: TargetBatch, trains: tuple[Train, ...]) -> Float64:
    """Return mean inner scores of the outer splits, (n_splits, n_alphas, n_targets).

    Folds in which a target is constant have no score: they are missing from its mean, not a zero in it.
    """
    n_splits, n_alphas, n_targets = len(batch.layer.outer), trains[0].shrink.shape[0], batch.total.shape[1]
    total = np.zeros((n_splits, n_alphas, n_targets))
    count = np.zeros((n_splits, n_targets))
    # where a few wild values outweigh the rest of a target, sums without them are not made by subtraction
    power = batch.power / np.maximum(batch.problem.plan.sizes, 1)[:, None]
    subtract = batch.layer.form == "cross" and bool(np.all(power.max(axis=0) <= HEAVY * np.median(power, axis=0)))
    known: tuple[bytes, Any] | None = None
    for train in trains:
        held = []
        for validation in train.validations:
            held.append(set_inputs(batch, validation.members))
        if train.universe is not None and subtract:
            key = train.universe.tobytes()
            if known is None or known[0] != key:
                known = key, set_inputs(batch, train.universe)
            inputs = known[1] - held[0]
            for more in held[1:]:
                inputs -= more
        else:
            inputs = set_inputs(batch, train.members, fit=True)
        white = train.map @ inputs
        fitted = set_moments(batch, train.members, fit=True)
        for validation, held_inputs in zip(train.validations, held, strict=True):
            truth = set_moments(batch, validation.members)
            total[validation.outer] += path_scores(batch, train, validation, white, held_inputs, (fitted, truth))
            count[validation.outer] += ~truth.constant
    mean: Float64 = total / np.where(count > 0, count, np.nan)[:, None]
    return mean


def gcv_scores(batch: TargetBatch, train: Train, white: Any) -> Float64:
    """Return one minus generalised cross-validation error over variance, for all alphas."""
    explained = to_numpy((2 * train.shrink - train.shrink**2) @ (white * white))
    truth = set_moments(batch, train.members)
    usable = ~truth.constant
    residual = 1.0 - explained / np.where(usable, truth.scatter, 1.0)
    return np.where(usable, 1.0 - residual / (1.0 - train.degrees[:, None] / truth.n) ** 2, 0.0)


def choose(scores: Float64, tolerance: float) -> NDArray[np.int64]:
    """Return the index of the largest alpha whose score is within `tolerance` of the best; alphas ascend along axis 0.

    Selection by r has a plateau at large alpha, where shrinkage no longer changes the direction of the weights: without
    a rule the choice there would be rounding.
    """
    eligible = scores >= scores.max(axis=0) - tolerance
    last: NDArray[np.int64] = len(scores) - 1 - eligible[::-1].argmax(axis=0)
    return last


def score_batch(batch: TargetBatch) -> tuple[TargetScores, list[list[SplitWeights]]]:
    """Choose alpha per target by inner cross-validation and score the outer test sets.

    Returns
    -------
    TargetScores
    list of list of SplitWeights
        For each outer split the weights of all targets (in several parts where a banded ridge chose differently).
    """
    problem, settings, n_targets = batch.problem, batch.problem.settings, batch.total.shape[1]
    batches, paths = [], []
    for layer in batch.layer.candidates or (batch.layer,):
        batches.append(replace(batch, layer=layer))
        paths.append(inner_scores(batches[-1], layer.inner) if layer.inner and not problem.n_nuisance else None)
    n_splits = len(batch.layer.outer)
    r, r2, alpha, inner, candidate = np.full((5, n_splits, n_targets), np.nan)
    scores = TargetScores(r, r2, alpha, inner, candidate, np.abs(batch.shift) > COARSE * batch.scale)
    weights: list[list[SplitWeights]] = []
    for split in range(n_splits):
        own, whites, path = [], [], []
        for each, known in zip(batches, paths, strict=True):
            train = each.layer.outer[split]
            if problem.n_nuisance:
                each = without_nuisance(each, train, set_inputs(each, train.members))
            own.append(each)
            whites.append(train.map @ set_inputs(each, train.members, fit=True))
            path.append(known[split] if known is not None else _path_of_split(each, whites[-1], split))
        criterion = np.stack(path)
        best = criterion.max(axis=1).argmax(axis=0)
        criterion = criterion[best, :, np.arange(n_targets)].T
        single = criterion.shape[0] == 1
        chosen = np.zeros(n_targets, np.int64) if single else choose(criterion, settings.tie_tolerance)
        scores.alpha[split], scores.candidate[split] = batch.layer.info["alphas"][split][chosen], best
        scores.inner[split] = np.take_along_axis(criterion, chosen[None], axis=0)[0]
        parts = []
        for index in np.unique(best):
            targets: Any = slice(None) if len(own) == 1 else np.flatnonzero(best == index)
            part = own[index] if len(own) == 1 else own[index].select(targets)
            train, white = part.layer.outer[split], whites[index][:, targets]
            white *= train.shrink.T[:, chosen[targets]]  # φ c, in place
            parts.append(SplitWeights(part.layer, targets, white))
            if train.validations:
                scores.r[split, targets], scores.r2[split, targets] = test_scores(part, train, white)
        weights.append(parts)
    return scores, weights


def _path_of_split(batch: TargetBatch, white: Any, split: int) -> Float64:
    """Return the criterion that chooses alpha in one outer split alone, (n_alphas, n_targets)."""
    if batch.problem.settings.options.mode == "gcv":
        return gcv_scores(batch, batch.layer.outer[split], white)
    if not batch.layer.inner:
        return np.full((1, batch.total.shape[1]), np.nan)
    inner = tuple(train for train in batch.layer.inner if train.validations[0].outer == split)
    own: Float64 = inner_scores(batch, inner)[split]
    return own
