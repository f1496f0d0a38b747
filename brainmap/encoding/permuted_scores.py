"""Scores of permuted responses: everything about the features is reused, only products with responses are made again.

At a fixed alpha nothing has to be chosen, so a permutation costs no inner folds. Two ways, whichever is cheaper:

- *whitened*: cross-products (n·d per target), rotation and the outer sets' variance (3·d² per target and split);
- *hat matrix*: for each outer split and each distinct alpha, ``P = X_test (X_train'X_train + α)⁻¹ X_train'`` is formed
  once; a permutation then costs one product of n_test × n_train per target and split, about n² in all. With few images
  (n below about 3 d) or one alpha per ROI this makes thousands of permutations affordable.

Both refit: permuted responses are used for training and for testing alike. The test made of these scores is
:mod:`brainmap.statistics.permutation.permutation_test`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.encoding.layer.notation import LayerFactors, TargetBatch, TargetBlock, Train
from brainmap.encoding.layer.scores import set_inputs, sorted_block, target_batch, test_scores
from brainmap.encoding.settings import Problem

if TYPE_CHECKING:
    from brainmap.encoding.cross_validation import PreparedEncoding


Float64 = NDArray[np.float64]
MAX_DISTINCT = 12  # alphas per split for which hat matrices are kept
STACK_COLUMNS, STACK_BYTES = 4096, 64 * 2**20  # of permutations computed side by side


def permutation_scores(
    prepared: PreparedEncoding, Y: Any, permutations: ArrayLike, alpha: ArrayLike | float
) -> xr.DataArray:
    """Return held-out r, averaged over outer splits, for permuted responses at fixed penalties.

    Parameters
    ----------
    prepared : PreparedEncoding
        Features and splits; its factorisations are reused.
    Y : array-like, shape (n_rows, n_targets)
        Responses.
    permutations : array-like of int, shape (n_permutations, n_rows)
        Each row is an order: permuted responses are ``Y[permutation]``. Keep repeats of an image together yourself.
    alpha : float or array-like
        One penalty for all, per target (n_targets,), or per split and target (n_splits, n_targets); values must be
        among the estimator's alphas (of that split, where these depend on its features). A penalty shared by an ROI
        (few distinct values) is what makes permutations cheap.

    Returns
    -------
    xarray.DataArray
        Dimensions (permutation, layer, target), float32.

    Raises
    ------
    InputError
        If a permutation is not one, an alpha is not in the grid, or rows are projected or weighted.
    """
    from brainmap.common.array_sources import as_source

    problem = prepared.problem
    responses = as_source(Y, "Y", average=prepared.averaging)
    orders = _checked_permutations(permutations, problem)
    penalties = _penalties(alpha, problem, responses.shape[1])
    if problem.n_nuisance or problem.design.weight is not None:
        raise InputError("permutations with nuisance regressors or weights are not supported; project them out first.")
    names = prepared.layers
    scores = np.full((len(orders), len(names), responses.shape[1]), np.nan, dtype=np.float32)

    def permuted(layer: LayerFactors, block: TargetBlock) -> NDArray[np.float32]:
        own = _grid_positions(penalties[:, block.first : block.first + block.values.shape[1]], layer)
        means = _permuted(layer, block, orders, own, problem)
        return np.stack(list(means), dtype=np.float32, casting="same_kind")

    for layer, part, permuted_r in prepared.engine.results(responses, permuted):
        scores[:, names.index(layer.name), part] = permuted_r
    return xr.DataArray(scores, dims=("permutation", "layer", "target"), coords={"layer": names})


def _permuted(
    layer: LayerFactors, block: TargetBlock, orders: NDArray[np.int64], chosen: NDArray[np.int64], problem: Problem
) -> Iterable[Float64]:
    """Yield the mean r of each permutation for one layer and batch.

    Several permutations side by side are one product with more columns: few targets would otherwise leave the processor
    waiting for Python.
    """
    n_rows, n_targets = block.values.shape
    hats = _hat_matrices(layer, chosen, problem)
    # rows are sorted by atom: translate the permutations into that order
    back = np.argsort(problem.plan.order)
    several = max(1, min(STACK_COLUMNS // n_targets, STACK_BYTES // (block.values.itemsize * n_rows * n_targets)))
    for start in range(0, len(orders), several):
        sorted_orders = [back[order][problem.plan.order] for order in orders[start : start + several]]
        count = len(sorted_orders)
        values = np.concatenate([block.values[order] for order in sorted_orders], axis=1)
        index = np.tile(chosen, (1, count))
        if hats is None:
            shift, scale = np.tile(block.shift, count), np.tile(block.scale, count)
            batch = target_batch(sorted_block(values, shift, scale, problem.plan), layer, problem)
            parts = [_refitted_r(batch, train, index[split]) for split, train in enumerate(layer.outer)]
        else:
            parts = [
                _hat_scores(values, train, matrices, index[split], problem)
                for split, (train, matrices) in enumerate(zip(layer.outer, hats, strict=True))
            ]
        yield from _mean_over_splits(parts).reshape(count, n_targets)


def _refitted_r(batch: TargetBatch, train: Train, chosen: NDArray[np.int64]) -> Float64:
    """Return r on the test set of a train set, each target fitted at its own penalty."""
    white = train.map @ set_inputs(batch, train.members, fit=True)
    white *= train.shrink.T[:, chosen]
    return test_scores(batch, train, white)[0]


def _mean_over_splits(parts: list[Float64]) -> Float64:
    stacked = np.stack(parts)
    count = np.isfinite(stacked).sum(axis=0)
    mean: Float64 = np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), np.nan)
    return mean


def _hat_matrices(
    layer: LayerFactors, chosen: NDArray[np.int64], problem: Problem
) -> list[dict[int, NDArray[Any]]] | None:
    """Return, per split, hat matrices by index of their penalty, or None where the whitened way is cheaper."""
    if layer.backend.uses_torch:
        return None
    n, size = problem.plan.n_rows, int(layer.outer[0].map.shape[1])
    rank = int(layer.outer[0].shrink.shape[1])
    rotated = n * size + 3 * len(layer.outer) * rank * size if layer.form == "cross" else 2 * n * rank
    distinct = max(len(np.unique(row)) for row in chosen)
    hat_cost = sum(len(train) * len(test) for train, test in problem.plan.outer)
    if hat_cost > rotated or distinct > MAX_DISTINCT:
        return None
    hats = []
    for split, train in enumerate(layer.outer):
        design, fit = _designs(layer, train, problem)
        matrices = {int(index): (design * train.shrink[index]) @ fit for index in np.unique(chosen[split])}
        hats.append({index: matrix - matrix.mean(axis=0) for index, matrix in matrices.items()})
    return hats


def _designs(layer: LayerFactors, train: Train, problem: Problem) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return whitened test rows (n_test, rank) and whitened train rows (rank, n_train)."""
    (held,) = train.validations
    if layer.form == "rows":
        return held.map.T, train.map
    rows = problem.plan.rows(held.members)
    return layer.features[rows] @ train.map.T, train.map @ layer.features[problem.plan.rows(train.members)].T


def _hat_scores(
    values: NDArray[Any], train: Train, matrices: dict[int, NDArray[Any]], chosen: NDArray[np.int64], problem: Problem
) -> Float64:
    (held,) = train.validations
    inside, outside = values[problem.plan.rows(train.members)], values[problem.plan.rows(held.members)]
    truth = outside - outside.mean(axis=0)
    prediction = np.empty_like(truth)
    for index, matrix in matrices.items():
        targets = slice(None) if len(matrices) == 1 else chosen == index
        prediction[:, targets] = matrix @ inside[:, targets]
    covariance = np.einsum("ij,ij->j", prediction, truth, dtype=np.float64)
    energy = np.einsum("ij,ij->j", prediction, prediction, dtype=np.float64)
    power = np.einsum("ij,ij->j", truth, truth, dtype=np.float64)
    scale = np.sqrt(energy * power)
    r = np.where(scale > 0, covariance / np.where(scale > 0, scale, 1.0), 0.0)
    return np.where(power > 0, r, np.nan)


def _checked_permutations(permutations: ArrayLike, problem: Problem) -> NDArray[np.int64]:
    orders = np.atleast_2d(np.asarray(permutations, dtype=np.int64))
    if orders.shape[1] != problem.plan.n_rows or not np.array_equal(
        np.sort(orders, axis=1), np.broadcast_to(np.arange(problem.plan.n_rows), orders.shape)
    ):
        raise InputError(f"each permutation must hold every row from 0 to {problem.plan.n_rows - 1} exactly once.")
    return orders


def _penalties(alpha: ArrayLike | float, problem: Problem, n_targets: int) -> Float64:
    shape = (len(problem.plan.outer), n_targets)
    values = np.asarray(alpha, dtype=np.float64)
    if values.shape not in ((), (1,), (n_targets,), shape, (shape[0], 1)):
        raise InputError(f"`alpha` of shape {values.shape} does not fit {shape[0]} splits × {shape[1]} targets.")
    return np.broadcast_to(values, shape)


def _grid_positions(penalties: Float64, layer: LayerFactors) -> NDArray[np.int64]:
    """Return where penalties, (n_splits, n_targets), are in the grid of their split."""
    grids = layer.info["alphas"]
    index: NDArray[np.int64] = np.abs(np.log(grids)[:, :, None] - np.log(penalties)[:, None]).argmin(axis=1)
    if not np.allclose(np.take_along_axis(grids, index, axis=1), penalties, rtol=1e-6):
        raise InputError("`alpha` must be among the estimator's alphas; pass that grid to the estimator.")
    return index
