"""Permutation null of encoding scores that refits: every permutation trains and tests on permuted responses.

Shuffling only the test labels of a finished K-fold cross-validation is anti-conservative (8 % false positives at 5 %,
measured in ``docs/statistics.md``): folds share training data, and that dependence is lost. Refitting restores it, and
is cheap, since everything about X is decomposed once. A fixed penalty that was chosen on the observed responses still
favours them a little (the same page): take it from elsewhere, or let every permutation choose anew (``candidates``).
This module is the test (which orders, p values, stopping early, continuing); scores of permuted responses come from
:mod:`brainmap.encoding.permuted`, and what it takes from :mod:`brainmap.encoding.permutation_cost`.

Whole groups (repeats of an image, crops of a photograph) move together, within strata (sessions) where asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from brainmap.encoding.block_store import BlockStore
from brainmap.encoding.options import RidgeOptions
from brainmap.encoding.prepared import PreparedEncoding
from brainmap.encoding.ridge import EncodingRidgeCV
from brainmap.errors import InputError

FloatArray = NDArray[np.floating]
ORDER_PURPOSE = 41
CHUNK = 50  # permutations scored at a time


@dataclass(frozen=True)
class PermutationOptions:
    """Settings of :func:`permutation_test`.

    Parameters
    ----------
    n_permutations : int
        Number of permutations, at most so many where ``stop_after`` is given.
    cv : int
        Grouped folds, the same as for the scores under test.
    stop_after : int, optional
        Sequential p (Besag and Clifford 1991): a target is settled once so many permutations beat it, and then costs
        nothing any more. The maximum statistic needs all permutations and is then not given.
    candidates : tuple of float, optional
        Penalties to choose from anew in every permutation, the observed order included: the statistic is the largest
        mean r over them. Costs one refit for each. Exact, where fixed penalties are so only if chosen on other data.
    block : int
        Targets held at a time.
    seed : int
        Seed of folds and permutations.
    """

    n_permutations: int = 1000
    cv: int = 5
    stop_after: int | None = None
    candidates: tuple[float, ...] | None = None
    block: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_permutations < 19 or self.block < 1 or (self.stop_after is not None and self.stop_after < 1):
            raise InputError("A permutation test needs ≥ 19 permutations, a block of ≥ 1 target and stop_after ≥ 1.")


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """Result of :func:`permutation_test`.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per target: ``r`` (mean over folds), ``p`` (one-sided), ``n_permutations`` (used) and ``p_fwer``
        (maximum over targets; NaN for sequential tests).
    options : PermutationOptions
        Settings used.
    split_hash : str
        Identifies the folds.
    """

    table: pd.DataFrame
    options: PermutationOptions
    split_hash: str

    def to_frame(self) -> pd.DataFrame:
        """Return the table, settings in ``attrs``."""
        table = self.table.copy()
        table.attrs = {"method": self.method, "split_hash": self.split_hash}
        return table

    @property
    def method(self) -> str:
        """How the p values were made, in words."""
        rule = "" if self.options.stop_after is None else f", stopped after {self.options.stop_after} exceedances"
        chosen = self.options.candidates
        penalty = "fixed penalty" if chosen is None else f"the best of {len(chosen)} penalties for each permutation"
        return f"{self.options.n_permutations} permutations of whole groups with refit at {penalty}{rule}"

    def __repr__(self) -> str:
        hits = int((self.table["p"] <= 0.05).sum())
        return f"<PermutationTest of {len(self.table)} targets: {hits} with p ≤ .05 (uncorrected); {self.method}>"


def permutation_test(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    options: PermutationOptions | None = None,
    checkpoint: str | Path | None = None,
) -> PermutationTest:
    """Test held-out scores of a ridge regression against permuted responses.

    Parameters
    ----------
    X : array-like, (n, d)
        Features; standardised on each train split.
    Y : array-like, (n, n_targets)
        Responses.
    alpha : float or array-like, (n_targets,) or (cv, n_targets)
        Fixed ridge penalties. Give these, or ``options.candidates``.
    groups : array-like, (n,), optional
        Rows that move and are held out together; default: every row for itself.
    strata : array-like, (n,), optional
        Groups are exchanged within strata only, such as sessions.
    options : PermutationOptions, optional
        Settings.
    checkpoint : str or Path, optional
        ``.npz`` file in which finished blocks of targets are kept; the same call again continues there.

    Returns
    -------
    PermutationTest

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, penalties are not positive, or a group lies in two strata.
    """
    setup = options or PermutationOptions()
    x, y, penalty, codes, layers = _check(X, Y, alpha, groups, strata, setup)
    prepared = _prepare(x, codes, penalty, setup)
    store = BlockStore(checkpoint, (x, y, penalty, codes, layers), setup)
    largest = np.full(setup.n_permutations, -np.inf)
    parts = []
    for start in range(0, y.shape[1], setup.block):
        part = slice(start, start + setup.block)
        done = store.load(start)
        if done is None:
            done = _test_block(y[:, part], penalty[..., part], prepared, (codes, layers), setup)
            store.save(start, done)
        largest = np.maximum(largest, done["largest"])
        parts.append(done)
    r, exceeding, used = (np.concatenate([p[name] for p in parts]) for name in ("r", "exceeding", "used"))
    settled = setup.stop_after is not None and exceeding >= setup.stop_after
    p = np.where(settled, exceeding / used, (exceeding + 1) / (used + 1))
    family = np.full(len(r), np.nan)
    if setup.stop_after is None:
        family = (1 + (largest[:, None] >= r).sum(axis=0)) / (1 + setup.n_permutations)
    table = pd.DataFrame({"r": r, "p": np.where(np.isfinite(r), p, np.nan), "p_fwer": family, "n_permutations": used})
    return PermutationTest(table, setup, prepared.problem.plan.hash)


def permutation_null(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    units: ArrayLike,
    groups: ArrayLike | None = None,
    options: PermutationOptions | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray]:
    """Mean score per unit (time, area) with its permutations, for cluster tests and maximum statistics.

    Parameters
    ----------
    X, Y, alpha, groups, options
        As in :func:`permutation_test`.
    units : array-like, (n_targets,)
        Unit of each target; scores are averaged over the targets of a unit. The same permutations are used for all.

    Returns
    -------
    observed : ndarray, (n_units,)
        Mean r.
    null : ndarray, (n_permutations, n_units)
        The same for permuted responses.
    names : ndarray, (n_units,)
        Units, sorted. Average results of several subjects to test the group.

    """
    setup = options or PermutationOptions()
    x, y, penalty, codes, layers = _check(X, Y, alpha, groups, None, setup)
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    if unit.shape != (y.shape[1],):
        raise InputError(f"There are {y.shape[1]} targets but units of shape {unit.shape}.")
    prepared = _prepare(x, codes, penalty, setup)
    sums, counts = np.zeros((setup.n_permutations + 1, len(names))), np.bincount(unit, minlength=len(names))
    for start in range(0, y.shape[1], setup.block):
        part = slice(start, start + setup.block)
        first = 0
        for chunk in _chunks(len(x), (codes, layers), setup):
            for order_scores in _scores(prepared, y[:, part], chunk, penalty[..., part]):
                sums[first] += np.bincount(unit[part], np.nan_to_num(order_scores), minlength=len(names))
                first += 1
    means = sums / counts
    return means[0], means[1:], names


def group_orders(
    groups: ArrayLike, n_orders: int, *, strata: ArrayLike | None = None, seed: int = 0
) -> Iterator[NDArray[np.intp]]:
    """Row orders that permute whole groups.

    Parameters
    ----------
    groups : array-like, (n,)
        Group of each row.
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
    rows = [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)]
    stratum = np.array([layers[members[0]] for members in rows])
    for number in range(n_orders):
        rng = np.random.default_rng([seed, ORDER_PURPOSE, number])
        order = np.empty(len(codes), dtype=np.intp)
        for layer in np.unique(stratum):
            inside = np.flatnonzero(stratum == layer)
            places = np.concatenate([rows[g] for g in inside])
            order[places] = np.concatenate([rows[g] for g in rng.permutation(inside)])
        yield order


def _check(
    X: ArrayLike,
    Y: ArrayLike,
    alpha: ArrayLike | None,
    groups: ArrayLike | None,
    strata: ArrayLike | None,
    setup: PermutationOptions,
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp], NDArray[np.intp]]:
    x, y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float32)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputError(f"X and Y must be (n, d) and (n, n_targets) with equal n; got {x.shape} and {y.shape}.")
    for name, array in (("X", x), ("Y", y)):
        if not np.isfinite(array).all():
            line, column = np.argwhere(~np.isfinite(array))[0]
            raise InputError(f"{name} is not finite at row {line}, column {column}.")
    penalty = _penalties(alpha, setup, y.shape[1])
    labels = np.arange(len(x)) if groups is None else np.asarray(groups)
    sessions = np.zeros(len(x)) if strata is None else np.asarray(strata)
    if labels.shape != (len(x),) or sessions.shape != (len(x),):
        raise InputError(f"Groups and strata must have one entry per row ({len(x)}).")
    codes, layers = (np.unique(a, return_inverse=True)[1] for a in (labels, sessions))
    pairs = np.unique(np.column_stack([codes, layers]), axis=0)
    if len(pairs) > codes.max() + 1:
        twice = int(pairs[np.flatnonzero(np.diff(pairs[:, 0]) == 0)[0], 0])
        raise InputError(f"Group {np.unique(labels)[twice]!r} lies in two strata; groups can only move within one.")
    return x, y, penalty, codes, layers


def _penalties(alpha: ArrayLike | None, setup: PermutationOptions, n_targets: int) -> FloatArray:
    """Penalties to score with, (n_candidates, cv, n_targets); one candidate where they are fixed."""
    if (alpha is None) == (setup.candidates is None):
        raise InputError("Give either fixed penalties `alpha`, or `candidates` to choose from in every permutation.")
    given = [alpha] if setup.candidates is None else list(setup.candidates)
    shape = (setup.cv, n_targets)
    try:
        penalty = np.stack([np.broadcast_to(np.asarray(value, dtype=np.float32), shape) for value in given])
    except ValueError:
        raise InputError(
            f"alpha of shape {np.asarray(given[0]).shape} fits neither ({n_targets},) nor ({setup.cv}, {n_targets})."
        ) from None
    if not (np.isfinite(penalty) & (penalty > 0)).all():
        raise InputError("Ridge penalties must be positive and finite; a score without a penalty cannot be refitted.")
    return penalty


def _prepare(
    x: FloatArray, codes: NDArray[np.intp], penalty: FloatArray, setup: PermutationOptions
) -> PreparedEncoding:
    """Decompose the features once; nothing is chosen any more, so the inner folds do not matter."""
    ridge = EncodingRidgeCV(alphas=np.unique(penalty), cv=2, options=RidgeOptions(seed=setup.seed))
    return PreparedEncoding(x, estimator=ridge, cv=setup.cv, groups=codes)


def _chunks(
    n_rows: int, labels: tuple[NDArray[np.intp], NDArray[np.intp]], setup: PermutationOptions
) -> Iterator[NDArray[np.intp]]:
    """Yield orders of rows, some at a time; the very first is the one that was observed."""
    orders = group_orders(labels[0], setup.n_permutations, strata=labels[1], seed=setup.seed)
    everything = itertools.chain([np.arange(n_rows)], orders)
    while chunk := list(itertools.islice(everything, CHUNK)):
        yield np.stack(chunk)


def _scores(
    prepared: PreparedEncoding, y: FloatArray, orders: NDArray[np.intp], penalty: FloatArray
) -> NDArray[np.float64]:
    """Mean over folds of the held-out r, (n_orders, n_targets); NaN for targets constant in every test set.

    Of several candidates (first axis of the penalties) the best counts.
    """
    found = [prepared.permutation_scores(y, orders, one).isel(layer=0).values.astype(np.float64) for one in penalty]
    best: NDArray[np.float64] = np.fmax.reduce(found)
    return best


def _test_block(
    y: FloatArray,
    penalty: FloatArray,
    prepared: PreparedEncoding,
    labels: tuple[NDArray[np.intp], NDArray[np.intp]],
    setup: PermutationOptions,
) -> dict[str, NDArray]:
    """Observed r, exceedances and permutations used per target; the largest null score of each permutation."""
    n_targets = y.shape[1]
    observed = np.full(n_targets, np.nan)
    exceeding, used = np.zeros(n_targets, dtype=np.int64), np.zeros(n_targets, dtype=np.int64)
    largest = np.full(setup.n_permutations, -np.inf)
    active, number = np.arange(n_targets), -1
    for chunk in _chunks(len(y), labels, setup):
        if not len(active):
            break
        null = _scores(prepared, y[:, active], chunk, penalty[..., active])
        if number < 0:
            observed, null, number = null[0], null[1:], 0
            null, active = null[:, np.isfinite(observed)], np.flatnonzero(np.isfinite(observed))
        counting = np.ones(len(active), dtype=bool)  # a target that is settled inside a chunk stops counting there
        for row in null:
            exceeding[active[counting]] += row[counting] >= observed[active[counting]]
            used[active[counting]] += 1
            largest[number] = np.nanmax(row, initial=-np.inf)
            number += 1
            if setup.stop_after is not None:
                counting &= exceeding[active] < setup.stop_after
        active = active[counting]
    return {"r": observed, "exceeding": exceeding, "used": used, "largest": largest}
