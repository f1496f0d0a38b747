"""Blocks of targets: whole units, their means, and how often permuted ones are as high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.statistics.permutation.pareto_tail import largest_scores
from brainmap.statistics.permutation.permuted_subject import PermutedSubject

FloatArray = NDArray[np.floating]


def blocks_of_units(
    group: Sequence[PermutedSubject], units: ArrayLike | None, size: int
) -> tuple[NDArray[Any], list[tuple[NDArray[np.intp], NDArray[np.intp]]]]:
    """Names of units, and blocks of whole units: their columns, sorted by unit, and the unit of each (from 0)."""
    counts = [subject.n_targets for subject in group]
    if len(set(counts)) != 1:
        raise InputError(f"All subjects must have the same targets; they have {counts} of them.")
    names, code = np.unique(np.arange(counts[0]) if units is None else np.asarray(units), return_inverse=True)
    if code.shape != (counts[0],):
        raise InputError(f"There are {counts[0]} targets but units of shape {code.shape}.")
    order = np.argsort(code, kind="stable")
    last = np.cumsum(np.bincount(code))
    blocks, begin, first = [], 0, 0
    for number, end in enumerate(last):
        following = last[number + 1] if number + 1 < len(last) else None
        if following is None or following - begin > size:
            columns = order[begin:end]
            blocks.append((columns, code[columns] - first))
            begin, first = int(end), number + 1
    return names, blocks


def averaged(scores: Sequence[NDArray[np.float64]], unit: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean over subjects and then over the targets of a unit, (n_orders, n_units); what is NaN does not count."""
    stacked = np.stack(scores)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    mean = np.where(known, stacked, 0.0).sum(axis=0) / np.maximum(count, 1)
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    targets = np.add.reduceat((count > 0).astype(np.float64), starts, axis=1)
    total = np.add.reduceat(np.where(count > 0, mean, 0.0), starts, axis=1)
    means: NDArray[np.float64] = np.divide(total, targets, out=np.full(total.shape, np.nan), where=targets > 0)
    return means


def tested_block(
    group: Sequence[PermutedSubject],
    values: Sequence[FloatArray],
    columns: NDArray[np.intp],
    unit: NDArray[np.intp],
) -> dict[str, NDArray[Any]]:
    """Observed r, exceedances and permutations used per unit; the largest null score of each permutation."""
    options, n_units = group[0].options, int(unit.max()) + 1
    observed = np.full(n_units, np.nan)
    exceeding, used = np.zeros(n_units, dtype=np.int64), np.zeros(n_units, dtype=np.int64)
    largest = np.full(options.n_permutations, -np.inf)
    tail = np.full((0, n_units), -np.inf)
    active, number = np.arange(n_units), -1
    for orders in zip(*(subject.chunks() for subject in group), strict=True):
        if not len(active):
            break
        use = np.isin(unit, active)
        scores = [
            subject.scores(y[:, use], o, columns[use]) for subject, y, o in zip(group, values, orders, strict=True)
        ]
        null = averaged(scores, unit[use])
        if number < 0:
            observed, null, number = null[0], null[1:], 0
            null, active = null[:, np.isfinite(observed)], np.flatnonzero(np.isfinite(observed))
        if options.tails == "pareto":
            spread = np.full((len(null), n_units), -np.inf)
            spread[:, active] = null
            tail = largest_scores(tail, spread)
        counting = np.ones(len(active), dtype=bool)  # a unit that is settled inside a chunk stops counting there
        for row in null:
            exceeding[active[counting]] += row[counting] >= observed[active[counting]]
            used[active[counting]] += 1
            largest[number] = np.nanmax(row, initial=-np.inf)
            number += 1
            if options.stop_after is not None:
                counting &= exceeding[active] < options.stop_after
        active = active[counting]
    return {"r": observed, "exceeding": exceeding, "used": used, "largest": largest, "tail": tail}
