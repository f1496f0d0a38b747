"""Splits: who trains, who is tested, and which groups of images must never be torn apart.

Everything downstream works on *atoms*: the coarsest partition of the rows such that every train, test and inner
validation set of the whole cross-validation is a union of atoms. Five outer by five inner folds need 25 of them.
Statistics are accumulated once per atom; every train set is then total minus held-out (``docs/ridge.md``).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from brainmap.common.errors import InputError
from brainmap.common.random_purposes import INNER_FOLDS, OUTER_FOLDS
from brainmap.encoding.row_groups import BoolArray, IntArray, RowGroups, without_neighbours

Split = tuple[IntArray, IntArray]


@dataclass(frozen=True)
class SplitPlan:
    """All the splits of one nested cross-validation, as sets of rows and as unions of atoms.

    Attributes
    ----------
    outer : tuple of (train rows, test rows)
        Row indices, sorted; a test set may be empty when an estimator is only being fitted.
    inner : tuple of tuple of (train rows, validation rows)
        For each outer split, its inner splits; all rows lie in that split's train set.
    atoms : ndarray of int, shape (n_rows,)
        Atom of each row.
    scheme : str
        How the outer splits were made, in words.
    inner_scheme : str
        How the inner splits were made, in words.
    grouped : bool
        Whether any group holds more than one row.
    hash : str
        Of all the splits (`split_hash`).
    n_rows, n_atoms, largest_train : int
        Numbers of rows, of atoms, and of rows in the largest outer train set.
    order : ndarray of int, shape (n_rows,)
        Rows sorted by atom.
    sorted_atoms : ndarray of int, shape (n_rows,)
        Atom of each of these.
    starts : ndarray of int, shape (n_atoms + 1,)
        First sorted row of each atom, and the number of rows.
    sizes : ndarray of int, shape (n_atoms,)
        Number of rows of each atom.
    slices : tuple of slice
        Sorted rows of each atom.
    """

    outer: tuple[Split, ...]
    inner: tuple[tuple[Split, ...], ...]
    atoms: IntArray
    scheme: str
    inner_scheme: str
    grouped: bool
    hash: str = field(init=False)
    n_rows: int = field(init=False)
    n_atoms: int = field(init=False)
    largest_train: int = field(init=False)
    order: IntArray = field(init=False, repr=False)
    sorted_atoms: IntArray = field(init=False, repr=False)
    starts: IntArray = field(init=False, repr=False)
    sizes: IntArray = field(init=False, repr=False)
    slices: tuple[slice, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        splits, largest = list(self.outer), 0
        for train, _ in self.outer:
            largest = max(largest, len(train))
        for pairs in self.inner:
            splits.extend(pairs)
        n_atoms = int(self.atoms.max()) + 1
        sizes = np.bincount(self.atoms, minlength=n_atoms).astype(np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        derived = {
            "hash": split_hash(splits),
            "n_rows": len(self.atoms),
            "n_atoms": n_atoms,
            "largest_train": largest,
            "order": np.argsort(self.atoms, kind="stable").astype(np.int64),
            "sorted_atoms": np.repeat(np.arange(n_atoms), sizes),
            "starts": starts,
            "sizes": sizes,
            "slices": tuple(map(slice, starts[:-1].tolist(), starts[1:].tolist())),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def members(self, rows: IntArray) -> BoolArray:
        """Return which atoms make up a set of rows, shape (n_atoms,)."""
        mask = np.zeros(self.n_atoms, dtype=bool)
        mask[self.atoms[rows]] = True
        return mask

    def rows(self, members: BoolArray) -> IntArray:
        """Return the indices of a set of atoms among the rows sorted by atom."""
        return members[self.sorted_atoms].nonzero()[0]


def group_kfold(groups: ArrayLike, n_splits: int, seed: int = 0) -> IntArray:
    """Deal groups into balanced folds, the same way every time.

    Parameters
    ----------
    groups : array-like, shape (n_rows,)
        Label of the group of each row; a group is never split.
    n_splits : int
        Number of folds.
    seed : int
        Seed of the shuffle.

    Returns
    -------
    ndarray of int, shape (n_rows,)
        Fold of each row, 0 … n_splits − 1. Largest groups are dealt first, each to the fold that is smallest so far,
        so fold sizes differ by at most the size of one group.

    Raises
    ------
    InputError
        If there are fewer groups than folds.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import group_kfold
    >>> folds = group_kfold(np.repeat(["dog", "tree", "house", "car"], 3), 2)
    >>> np.bincount(folds)
    array([6, 6])
    """
    codes, sizes = _group_codes(groups)
    if n_splits < 2 or len(sizes) < n_splits:
        raise InputError(
            f"{n_splits} folds cannot be made from {len(sizes)} groups of rows; ask for 2 to {len(sizes)} folds."
        )
    order = np.random.default_rng([seed, OUTER_FOLDS]).permutation(len(sizes))
    return _deal(order, sizes, np.zeros(len(sizes), dtype=np.int64), n_splits)[codes]


def splits_from_labels(labels: ArrayLike) -> tuple[Split, ...]:
    """Return one (train rows, test rows) pair per distinct fold label, in sorted order of the labels."""
    labels = np.asarray(labels)
    splits = []
    for label in np.unique(labels):
        splits.append((np.flatnonzero(labels != label), np.flatnonzero(labels == label)))
    return tuple(splits)


def split_hash(splits: Iterable[tuple[ArrayLike, ArrayLike]]) -> str:
    """Return 16 hexadecimal characters that identify a list of (train, test) row indices, order included.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import split_hash
    >>> len(split_hash([(np.arange(4), np.arange(4, 6))]))
    16
    """
    digest = hashlib.sha256()
    for train, test in splits:
        for rows in (train, test):
            index = np.ascontiguousarray(rows, dtype="<i8")
            digest.update(len(index).to_bytes(8, "little") + index.tobytes())
    return digest.hexdigest()[:16]


def plan_splits(
    n_rows: int,
    cv: Any = 5,
    *,
    groups: ArrayLike | RowGroups | None = None,
    inner_cv: Any = 5,
    inner: str = "nested",
    seed: int = 0,
) -> SplitPlan:
    """Lay out outer and inner splits.

    Parameters
    ----------
    n_rows : int
        Number of rows (images or trials).
    cv : int, splitter or iterable of (train, test)
        An int gives grouped K-folds (`group_kfold`); anything with scikit-learn's ``split`` method is asked, with
        `groups`; an iterable of index (or boolean mask) pairs is taken as it is: fixed splits, leave-one-session-out,
        train on one data set and test on another. ``None``: no outer split, all rows train (to fit an estimator).
    groups : array-like, shape (n_rows,), optional
        Rows that must stay together (same image or source photograph). A
        :class:`~brainmap.encoding.row_groups.RowGroups` with a gap also keeps rows that are near in time out of each
        other's train sets, in outer and inner splits.
    inner_cv : int, splitter or iterable
        Inner splits. An int deals the groups of each train set into that many folds, with one fixed label per group.
        Anything else is allowed only when ``cv is None``.
    inner : {'nested', 'shared'}
        'nested': inner folds of their own. 'shared': the inner folds of an outer fold are the other outer folds, which
        needs fewer decompositions; `cv` must then partition the rows.
    seed : int
        Seed of both shuffles.

    Returns
    -------
    SplitPlan

    Raises
    ------
    InputError
        If a split is empty, overlaps itself or leaves the range of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import plan_splits
    >>> plan = plan_splits(12, 3, groups=np.repeat(np.arange(6), 2))
    >>> type(plan).__name__
    'SplitPlan'
    """
    codes, sizes = _group_codes(np.arange(n_rows) if groups is None else groups)
    if len(codes) != n_rows:
        raise InputError(f"`groups` has {len(codes)} entries but there are {n_rows} rows; give one label per row.")
    outer, scheme = _outer_splits(n_rows, cv, codes, seed)
    if not isinstance(cv, int | np.integer):  # folds dealt by group tear none apart
        _warn_about_leaks(outer, codes)
    gap = groups.gap if isinstance(groups, RowGroups) else 0
    if gap and inner == "shared":
        raise InputError("shared inner folds know no gap in time; use inner='nested'.")
    if gap:
        outer = tuple((without_neighbours(train, test, groups, i), test) for i, (train, test) in enumerate(outer))
    membership = _membership(outer, n_rows)
    if inner == "shared":
        labels = _shared_labels(outer, n_rows)
        inner_splits, inner_scheme = _label_splits(outer, labels), "shared (the other outer folds)"
    elif isinstance(inner_cv, int | np.integer):
        labels = _inner_labels(membership[:, ::2], codes, sizes, int(inner_cv), seed)
        inner_splits, inner_scheme = _label_splits(outer, labels), f"nested, {inner_cv} grouped folds, seed {seed}"
    elif cv is not None:
        raise InputError("inner folds must be an int when there are outer splits; pass `cv=5` to the estimator.")
    else:
        pairs, inner_scheme = _outer_splits(n_rows, inner_cv, codes, seed)
        inner_splits, labels = (pairs,), np.zeros(n_rows, dtype=np.int64)
        membership = _membership(pairs, n_rows)
    signature = np.column_stack([membership, labels])
    if gap:
        inner_splits = tuple(
            tuple((without_neighbours(train, held, groups, i), held) for train, held in pairs)
            for i, pairs in enumerate(inner_splits)
        )
        signature = np.column_stack([signature, *(_membership(pairs, n_rows) for pairs in inner_splits)])
        scheme += f", {gap} rows in time around each test set left out"
    atoms = np.unique(signature, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return SplitPlan(outer, inner_splits, atoms, scheme, inner_scheme, bool(sizes.max() > 1) or gap > 0)


def _group_codes(groups: ArrayLike) -> tuple[IntArray, IntArray]:
    """Return codes by first appearance (so that renaming groups changes nothing) and the size of each group."""
    labels = np.asarray(groups)
    if labels.ndim != 1 or labels.size == 0:
        raise InputError(f"`groups` must be one label per row, got an array of shape {labels.shape}.")
    _, first, codes = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    codes = rank[codes.reshape(-1)]
    return codes, np.bincount(codes)


def _deal(order: IntArray, sizes: IntArray, classes: IntArray, n_splits: int) -> IntArray:
    """Give each group a fold, largest first, to the fold with fewest rows of its class, then fewest rows at all."""
    order = order[np.argsort(-sizes[order], kind="stable")]
    total = [0] * n_splits  # plain numbers: ten times faster here than arrays of five
    filled = np.zeros((int(classes.max()) + 1, n_splits), dtype=np.int64).tolist()
    folds = np.empty(len(sizes), dtype=np.int64)
    for group, size, kind in zip(order.tolist(), sizes[order].tolist(), classes[order].tolist(), strict=True):
        rows = list(zip(filled[kind], total, strict=True))
        fold = rows.index(min(rows))
        folds[group] = fold
        filled[kind][fold] += size
        total[fold] += size
    return folds


def _inner_labels(in_train: BoolArray, codes: IntArray, sizes: IntArray, n_splits: int, seed: int) -> IntArray:
    """Give every group one fixed inner label, balanced inside each class of rows that train together."""
    if n_splits < 2:
        raise InputError(f"{n_splits} inner folds were asked for; at least 2 are needed to choose alpha.")
    row_class = np.unique(in_train, axis=0, return_inverse=True)[1].reshape(-1)
    first_row = np.unique(codes, return_index=True)[1]
    order = np.random.default_rng([seed, INNER_FOLDS]).permutation(len(sizes))
    labels = _deal(order, sizes, row_class[first_row].astype(np.int64), n_splits)[codes]
    labels[~in_train.any(axis=1)] = -1  # rows that never train need no inner label: fewer atoms
    return labels


def _label_splits(outer: Sequence[Split], labels: IntArray) -> tuple[tuple[Split, ...], ...]:
    """Return the inner splits of each outer train set, one per label found in it."""
    result = []
    for train, _ in outer:
        inside = labels[train]
        present = np.unique(inside)
        if len(present) < 2:
            raise InputError(
                f"a train set of {len(train)} rows holds fewer than two inner folds; use more rows or groups."
            )
        pairs = []
        for label in present:
            pairs.append((train[inside != label], train[inside == label]))
        result.append(tuple(pairs))
    return tuple(result)


def _warn_about_leaks(outer: Sequence[Split], codes: IntArray) -> None:
    """Fixed splits and splitters may tear groups apart on purpose; say so, because scores are then optimistic."""
    for index, (train, test) in enumerate(outer):
        torn = np.intersect1d(codes[train], codes[test])
        if torn.size:
            warnings.warn(
                f"split {index} has rows of {torn.size} group(s) on both sides (for example row "
                f"{test[np.isin(codes[test], torn)][0]}); scores are optimistic if such rows are alike.",
                UserWarning,
                stacklevel=3,
            )
            return


def _shared_labels(outer: Sequence[Split], n_rows: int) -> IntArray:
    labels = np.full(n_rows, -1, dtype=np.int64)
    for index, (train, test) in enumerate(outer):
        if len(train) + len(test) != n_rows or np.any(labels[test] >= 0):
            raise InputError("shared inner folds need outer folds that partition the rows; use inner='nested'.")
        labels[test] = index
    if np.any(labels < 0):
        raise InputError("shared inner folds need outer folds that partition the rows; use inner='nested'.")
    if len(outer) < 3:
        raise InputError("shared inner folds need at least three outer folds; use inner='nested'.")
    return labels


def _outer_splits(n_rows: int, cv: Any, codes: IntArray, seed: int) -> tuple[tuple[Split, ...], str]:
    if cv is None:
        return ((np.arange(n_rows), np.empty(0, dtype=np.int64)),), "none (all rows train)"
    if isinstance(cv, int | np.integer):
        splits = splits_from_labels(group_kfold(codes, int(cv), seed))
        return splits, f"{int(cv)} grouped folds, seed {seed}"
    if hasattr(cv, "split"):
        pairs, scheme = list(cv.split(np.zeros((n_rows, 1)), None, codes)), type(cv).__name__
    else:
        pairs, scheme = list(cv), "fixed splits"
    if not pairs:
        raise InputError("`cv` holds no split; give an int, a scikit-learn splitter, or (train, test) pairs.")
    return tuple(_checked(pair, n_rows, index) for index, pair in enumerate(pairs)), scheme


def _checked(pair: Any, n_rows: int, index: int) -> Split:
    train, test = (_rows(part, n_rows) for part in pair)
    if len(train) == 0 or len(test) == 0:
        raise InputError(f"split {index} has {len(train)} train and {len(test)} test rows; both must hold some.")
    if (shared := np.intersect1d(train, test)).size:
        raise InputError(f"row {shared[0]} is in both the train and the test set of split {index}.")
    return train, test


def _rows(part: Any, n_rows: int) -> IntArray:
    index = np.asarray(part)
    if index.dtype == bool:
        if index.shape != (n_rows,):
            raise InputError(f"a boolean split must have {n_rows} entries, got shape {index.shape}.")
        return np.flatnonzero(index)
    rows = np.unique(index.astype(np.int64))
    if rows.size and (rows[0] < 0 or rows[-1] >= n_rows):
        raise InputError(
            f"a split names row {rows[0] if rows[0] < 0 else rows[-1]}, but rows run from 0 to {n_rows - 1}."
        )
    return rows


def _membership(splits: Sequence[Split], n_rows: int) -> BoolArray:
    """Return which rows each train and test set holds, (n_rows, 2 n_splits)."""
    masks = np.zeros((n_rows, 2 * len(splits)), dtype=bool)
    for index, (train, test) in enumerate(splits):
        masks[train, 2 * index] = True
        masks[test, 2 * index + 1] = True
    return masks
