"""Beyond one machine: statistics of blocks of images are summed wherever the images are, and solved in one place.

Two map-reduces over row blocks: pooled `Moments` (which fix the basis), then `SufficientStatistics` per atom. What
travels is d × d and d × targets per block, never images' features or responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from brainmap.common.errors import InputError
from brainmap.encoding.cross_validation import encoding_provenance
from brainmap.encoding.encoding_result import EncodingResult, warn_about
from brainmap.encoding.engine import MAX_BATCH, make_problem, make_settings
from brainmap.encoding.folds import SplitPlan, plan_splits
from brainmap.encoding.layer.factors import factorise_table
from brainmap.encoding.layer.notation import LayerFactors, TargetBatch
from brainmap.encoding.layer.scores import score_batch
from brainmap.encoding.layer.sufficient_statistics import SufficientStatistics
from brainmap.encoding.layer.z_scores import GramTable, Moments, power_of_two
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.encoding.settings import CheckedRows, Problem


def encode_statistics(
    statistics: SufficientStatistics, plan: SplitPlan, *, estimator: EncodingRidgeCV | None = None, name: str = "X"
) -> EncodingResult:
    """Score an encoding analysis from merged statistics alone.

    Parameters
    ----------
    statistics : SufficientStatistics
        Of all rows of the plan, accumulated with ``atoms=plan.atoms`` of each block's rows.
    plan : SplitPlan
        From `plan_splits`.
    estimator : EncodingRidgeCV, optional
        The model; its `scale` must be the one the basis was made with.
    name : str
        Of the layer.

    Returns
    -------
    EncodingResult

    Raises
    ------
    InputError
        If rows are missing from the statistics or the plan has other atoms.
    """
    estimator = estimator or EncodingRidgeCV()
    settings = make_settings(estimator)
    if len(statistics.gram) != plan.n_atoms or statistics.n != len(plan.atoms):
        raise InputError(
            f"the statistics hold {statistics.n} rows in {len(statistics.gram)} atoms but the plan has "
            f"{len(plan.atoms)} rows in {plan.n_atoms}; accumulate every block exactly once, with the plan's atoms."
        )
    if not settings.fit_intercept or (settings.options.mode == "gcv" and plan.grouped):
        raise InputError("merged statistics support models with an intercept, and mode 'gcv' only without groups.")
    problem = make_problem(plan, settings, CheckedRows())
    table = GramTable(statistics.gram, None, statistics.features)
    with threadpool_limits(limits=1, user_api="blas"):
        layer = factorise_table(name, table, statistics.basis, problem, backend=problem.backend)
        if layer.info["unsafe"]:
            backend = replace(problem.backend, precision="float64")
            layer = factorise_table(name, table, statistics.basis, problem, backend=backend)
        scores = _solve(statistics, layer, problem)
    notes = warn_about({name: layer.info}, scores, settings, n_rows=len(plan.atoms))
    attrs = {
        **encoding_provenance(estimator, problem),
        "n_features": {name: layer.info["n_features"]},
        "warnings": notes,
    }
    return EncodingResult.from_arrays(scores, layers=[name], attrs=attrs)


def _solve(statistics: SufficientStatistics, layer: LayerFactors, problem: Problem) -> dict[str, Any]:
    n_targets, n_splits = statistics.power.shape[1], len(problem.plan.outer)
    scores = {key: np.full((1, n_splits, n_targets), np.nan) for key in ("r", "r2", "alpha")}
    for start in range(0, n_targets, MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        power, shift = statistics.power[:, part], statistics.target_shift[part]
        scale = power_of_two(np.sqrt(np.median(power, axis=0)))
        cross = statistics.cross[:, :, part] / scale
        inputs, total, power = layer.backend.put(cross), cross[:, -1], power / scale**2
        ends = statistics.low[:, part], statistics.high[:, part]
        batch = TargetBatch(layer, problem, inputs, inputs, total, power, total, *ends, shift, scale)
        found, _ = score_batch(batch)
        for key, values in scores.items():
            values[0, :, part] = getattr(found, key)
    return scores


def merge(parts: Sequence[Any]) -> Any:
    """Add statistics pairwise (a balanced tree: the order of summation does not depend on who finished first)."""
    items = list(parts)
    while len(items) > 1:
        pairs = [items[i] + items[i + 1] for i in range(0, len(items) - 1, 2)]
        items = pairs + ([items[-1]] if len(items) % 2 else [])
    return items[0]


def encode_dask(
    X: Any, Y: Any, *, estimator: EncodingRidgeCV | None = None, cv: Any = 5, groups: ArrayLike | None = None
) -> EncodingResult:
    """Run a cross-validated encoding analysis as a dask map-reduce over blocks of rows.

    Parameters
    ----------
    X, Y : dask.array.Array
        Features and responses, chunked along rows. Runs on the active ``dask.distributed`` client, or locally.
    estimator, cv, groups
        As in `cross_val_encode`.

    Returns
    -------
    EncodingResult
        Equal to that of `cross_val_encode` up to the order of summation.
    """
    import dask

    estimator = estimator or EncodingRidgeCV()
    options = make_settings(estimator).options
    plan = plan_splits(X.shape[0], cv, groups=groups, inner_cv=estimator.cv, inner=options.inner, seed=options.seed)
    X = X.rechunk({1: -1})
    Y = Y.rechunk({0: X.chunks[0], 1: -1})
    blocks = list(zip(X.to_delayed().ravel(), Y.to_delayed().ravel(), strict=True))
    shift = np.asarray(X.blocks[0].mean(axis=0).compute(), dtype=np.float64)
    first = [dask.delayed(Moments.of)(x, y, shift=shift) for x, y in blocks]
    moments: Moments = merge(first).compute()
    basis = moments.basis(scale=bool(estimator.scale), tolerance=options.rank_tolerance)
    target_shift = moments.target_total / moments.n
    edges = np.concatenate([[0], np.cumsum(X.chunks[0])])
    second = [
        dask.delayed(SufficientStatistics.of)(
            x, y, plan.atoms[start:stop], n_atoms=plan.n_atoms, basis=basis, target_shift=target_shift
        )
        for (x, y), start, stop in zip(blocks, edges[:-1], edges[1:], strict=True)
    ]
    return encode_statistics(merge(second).compute(), plan, estimator=estimator)
