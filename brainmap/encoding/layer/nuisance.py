"""Nuisance regressors projected out of responses, as fitted on an outer train set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from brainmap.encoding.layer.notation import TargetBatch, Train
from brainmap.encoding.layer.z_scores import column_power

CONSTANT = 1e-12  # share of a target's power that rounding leaves when nuisance regressors explain all of it


def without_nuisance(batch: TargetBatch, train: Train, inside: Any) -> TargetBatch:
    """Return the batch with nuisance regressors projected out; `inside` are its inputs over the train set."""
    return _project_rows(batch, train) if batch.layer.form == "rows" else _project_products(batch, train, inside)


def _project_rows(batch: TargetBatch, train: Train) -> TargetBatch:
    nuisance = batch.problem.design.nuisance
    assert nuisance is not None
    regressors = np.column_stack([nuisance, np.ones(len(nuisance))])
    values = batch.layer.backend.get(batch.inputs).astype(np.float64)
    rows = batch.problem.plan.rows(train.members)
    values = values - regressors @ np.linalg.lstsq(regressors[rows], values[rows], rcond=None)[0]
    slices, weight = batch.problem.plan.slices, batch.problem.design.weight
    total = np.stack([values[part].sum(axis=0) for part in slices])
    power = np.stack([column_power(values[part]) for part in slices])
    fit_total = total if weight is None else np.stack([weight[part] @ values[part] for part in slices])
    moved = batch.layer.backend.put(values)
    floor = CONSTANT * batch.power
    return replace(batch, inputs=moved, fit_inputs=moved, total=total, power=power, fit_total=fit_total, floor=floor)


def _project_products(batch: TargetBatch, train: Train, inside: Any) -> TargetBatch:
    table, backend = batch.layer.table, batch.layer.backend
    assert table is not None
    size = batch.problem.n_nuisance + 1
    outside = slice(table.plain.shape[1] - size, None)
    mine = backend.get(inside).astype(np.float64)
    gram = table.of(train.members, fit=False)[outside, outside]
    weights = np.linalg.lstsq(gram, mine[outside], rcond=None)[0]
    own = np.stack([backend.get(product)[outside].astype(np.float64) for product in batch.inputs])
    block = table.plain[:, outside, outside]
    power = batch.power - 2 * np.einsum("apt,pt->at", own, weights)
    power += np.einsum("pt,apq,qt->at", weights, block, weights, optimize=True)
    inputs = batch.inputs - backend.put(table.plain[:, :, outside]) @ backend.put(weights)
    fit_inputs, fit_table = inputs, table.plain
    if table.weighted is not None:
        fit_table = table.weighted
        fit_inputs = batch.fit_inputs - backend.put(fit_table[:, :, outside]) @ backend.put(weights)
    total = batch.total - table.plain[:, -1, outside] @ weights
    fit_total = batch.fit_total - fit_table[:, -1, outside] @ weights
    kept = {"inputs": inputs, "fit_inputs": fit_inputs, "floor": CONSTANT * batch.power}
    return replace(batch, **kept, total=total, power=power, fit_total=fit_total)
