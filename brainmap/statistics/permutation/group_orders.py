"""Orders of rows that permute whole groups of images: what a permutation test is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import GROUP_ORDERS
from brainmap.encoding.row_groups import RowGroups


def group_orders(
    groups: ArrayLike, n_orders: int, *, strata: ArrayLike | None = None, seed: int = 0
) -> Iterator[NDArray[np.intp]]:
    """Row orders that permute whole groups.

    Parameters
    ----------
    groups : array-like, (n,)
        Group of each row. Rows of a :class:`~brainmap.encoding.row_groups.RowGroups` are in sequence as they were
        presented, others as they stand.
    n_orders : int
        Number of permutations.
    strata : array-like, (n,), optional
        Groups are exchanged within strata only.
    seed : int
        Seed; the orders do not depend on how many are drawn.

    Yields
    ------
    ndarray of int, (n,)
        ``Y[order]`` holds, at the rows of the groups in sorted order, the rows of the groups in random order. Groups of
        unequal size keep their rows together and in sequence, but may straddle the places of two groups.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    layers = np.zeros(len(codes), dtype=np.intp) if strata is None else np.unique(strata, return_inverse=True)[1]
    sequence = np.argsort(groups.place) if isinstance(groups, RowGroups) else np.arange(len(codes))
    rows = [sequence[codes[sequence] == code] for code in range(int(codes.max()) + 1)]
    stratum = np.array([layers[members[0]] for members in rows])
    for number in range(n_orders):
        rng = np.random.default_rng([seed, GROUP_ORDERS, number])
        order = np.empty(len(codes), dtype=np.intp)
        for layer in np.unique(stratum):
            inside = np.flatnonzero(stratum == layer)
            places = np.concatenate([rows[g] for g in inside])
            order[places] = np.concatenate([rows[g] for g in rng.permutation(inside)])
        yield order


def order_chunks(orders: Iterator[NDArray[np.intp]], n_rows: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Yield orders of rows, some at a time, (≤ size, n_rows); the very first is the one that was observed."""
    everything = itertools.chain([np.arange(n_rows)], orders)
    while chunk := list(itertools.islice(everything, size)):
        yield np.stack(chunk)


def check_strata(labels: NDArray[Any], strata: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number groups and strata from 0.

    Raises
    ------
    InputError
        If a group lies in two strata, or every stratum holds a single group: nothing could then be exchanged.
    """
    codes, layers = (np.unique(a, return_inverse=True)[1] for a in (labels, strata))
    pairs = np.unique(np.column_stack([codes, layers]), axis=0)
    if len(pairs) > codes.max() + 1:
        twice = int(pairs[np.flatnonzero(np.diff(pairs[:, 0]) == 0)[0], 0])
        raise InputError(f"Group {np.unique(labels)[twice]!r} lies in two strata; groups can only move within one.")
    if len(pairs) > 1 and len(pairs) == layers.max() + 1:
        raise InputError(
            f"Each of the {len(pairs)} strata holds one group only: nothing can be exchanged. Take wider strata."
        )
    return codes, layers
