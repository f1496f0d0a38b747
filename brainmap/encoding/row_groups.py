"""Rows that are no independent draws: which go together, and which lie so near in time that they must not meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.errors import InputError

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RowGroups:
    """Groups of rows with their order in time, wherever ``groups`` are taken.

    Parameters
    ----------
    labels : array-like, (n_rows,)
        Group of each row; a group is never split, permuted or flipped but as a whole.
    place : array-like of int, (n_rows,)
        Place of each row in the order of presentation, each once.
    gap : int
        Rows this near to a held-out row, in time, are left out of training.
    stretch : array-like, (n_rows,), optional
        Recording (session, run) of each row: rows of two recordings are no neighbours.

    Raises
    ------
    InputError
        If lengths differ, a place is given twice, or the gap is negative.

    Examples
    --------
    Ten blocks of 20 rows each, two rows on either side of a test block left out of training:

    >>> import numpy as np
    >>> from brainmap.encoding import time_blocks
    >>> groups = time_blocks(np.arange(200), 10, gap=2)
    >>> len(groups), len(np.unique(np.asarray(groups)))
    (200, 10)
    """

    labels: ArrayLike
    place: ArrayLike
    gap: int = 0
    stretch: ArrayLike | None = None

    def __post_init__(self) -> None:
        labels, place = np.asarray(self.labels), np.asarray(self.place)
        stretch = np.zeros(len(labels), dtype=np.int64) if self.stretch is None else np.asarray(self.stretch)
        if labels.ndim != 1 or place.shape != labels.shape or stretch.shape != labels.shape:
            raise InputError(
                f"groups, places and recordings must be one a row; got {labels.shape}, {place.shape}, {stretch.shape}."
            )
        if len(np.unique(place)) < len(place):
            raise InputError("two rows have the same place in the order of presentation; count each once.")
        if self.gap < 0:
            raise InputError(f"a gap is a number of rows from 0, not {self.gap}.")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "place", np.argsort(np.argsort(place)))
        object.__setattr__(self, "stretch", np.unique(stretch, return_inverse=True)[1].reshape(-1))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(np.asarray(self.labels))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the labels: what knows nothing of time takes these for groups."""
        return np.array(self.labels, dtype=dtype, copy=bool(copy) or None)

    def take(self, rows: ArrayLike) -> RowGroups:
        """Return the groups of some rows, in the given order."""
        chosen = np.asarray(rows)
        parts = (np.asarray(part)[chosen] for part in (self.labels, self.place, self.stretch))
        labels, place, stretch = parts
        return RowGroups(labels, place, self.gap, stretch)

    def near(self, rows: IntArray) -> BoolArray:
        """Mark rows within the gap of any of ``rows``, these themselves included, (n_rows,)."""
        place, stretch = np.asarray(self.place), np.asarray(self.stretch)
        marked = np.zeros(len(place), dtype=bool)
        marked[rows] = True
        if not self.gap:
            return marked
        order = np.argsort(place)
        in_time, kept = marked[order], stretch[order]
        reached = in_time.copy()
        for step in range(1, min(self.gap, len(order) - 1) + 1):
            same = kept[step:] == kept[:-step]
            reached[step:] |= in_time[:-step] & same
            reached[:-step] |= in_time[step:] & same
        result = np.empty_like(marked)
        result[order] = reached
        return result

    def touching(self, codes: IntArray) -> BoolArray:
        """Return which groups, numbered from 0 by row, have rows nearer than the gap, (n_groups, n_groups).

        Without a gap, groups that follow one another are not counted.
        """
        n_groups = int(codes.max()) + 1
        pairs = np.zeros((n_groups, n_groups), dtype=bool)
        order = np.argsort(np.asarray(self.place))
        in_time, kept = codes[order], np.asarray(self.stretch)[order]
        for step in range(1, min(self.gap, len(order) - 1) + 1):
            same = kept[step:] == kept[:-step]
            pairs[in_time[step:][same], in_time[:-step][same]] = True
        pairs |= pairs.T
        np.fill_diagonal(pairs, False)
        return pairs


def time_blocks(place: ArrayLike, n_blocks: int, *, gap: int = 0, stretch: ArrayLike | None = None) -> RowGroups:
    """Cut rows into blocks of equal length in the order of presentation.

    Parameters
    ----------
    place : array-like of int, (n_rows,)
        Place of each row in that order.
    n_blocks : int
        Number of blocks, over all recordings together.
    gap : int
        Rows on either side of a held-out block that are left out of training.
    stretch : array-like, (n_rows,), optional
        Recording (session, run) of each row. A block never spans two of them, so that there may be a few more blocks.

    Returns
    -------
    RowGroups

    Raises
    ------
    InputError
        If there are fewer rows than blocks, or fewer than two blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from brainmap.encoding import cross_val_encode, time_blocks
    >>> rng = np.random.default_rng(0)
    >>> frames = time_blocks(np.arange(100), 5, gap=2)
    >>> cross_val_encode(rng.standard_normal((100, 4)), rng.standard_normal((100, 2)), cv=5, groups=frames).r.shape
    (1, 5, 2)
    """
    places = np.asarray(place)
    if not 2 <= n_blocks <= len(places):
        raise InputError(f"{n_blocks} blocks cannot be made of {len(places)} rows; ask for 2 to {len(places)}.")
    order = np.argsort(places)
    recordings = np.zeros(len(places), dtype=np.int64) if stretch is None else np.asarray(stretch)
    codes = np.unique(recordings, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(codes)
    counts = np.maximum(1, np.round(sizes * n_blocks / len(places)).astype(np.int64))
    labels = np.empty(len(places), dtype=np.int64)
    first = 0
    for recording in dict.fromkeys(codes[order].tolist()):
        rows = order[codes[order] == recording]
        labels[rows] = first + np.arange(len(rows)) * counts[recording] // len(rows)
        first += int(counts[recording])
    return RowGroups(labels, places, gap, recordings)


def without_neighbours(train: IntArray, test: IntArray, groups: Any, index: int) -> IntArray:
    """Leave out of a train set what lies within the gap of its test set.

    Raises
    ------
    InputError
        If nothing is left to train on.
    """
    if not isinstance(groups, RowGroups) or not groups.gap or not len(test):
        return train
    kept = train[~groups.near(test)[train]]
    if len(kept) < 2:
        raise InputError(
            f"with a gap of {groups.gap} rows, {len(kept)} of {len(train)} rows are left to train on in split {index}; "
            "take a smaller gap, or fewer and longer blocks."
        )
    return kept
