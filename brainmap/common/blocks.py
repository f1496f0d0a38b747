"""Reading blocks of 2-D arrays that live in memory, in a memory map, in Zarr or in HDF5, by one rule."""

from __future__ import annotations

from typing import Any

import numpy as np

Selection = slice | np.ndarray | list[int] | None
"""Rows or columns: a slice, integer positions (any order, repeats allowed), a boolean mask, or None for all."""


def positions(selection: Selection, length: int) -> slice | np.ndarray:
    """Bring a selection into the form of a slice or of non-negative integer positions."""
    if selection is None:
        return slice(0, length, 1)
    if isinstance(selection, slice):
        start, stop, step = selection.indices(length)
        return slice(start, stop, step) if step > 0 else np.arange(start, stop, step)
    chosen: np.ndarray = np.arange(length)[np.asarray(selection)]
    return chosen


def read_block(values: Any, rows: Selection, columns: Selection) -> np.ndarray:
    """Read ``values[rows][:, columns]`` without loading the rest, whatever holds the array.

    Parameters
    ----------
    values : array-like, (n, m)
        numpy array or memmap, ``zarr.Array``, ``h5py.Dataset``, :class:`Columns` or :class:`RowMeans`.
    rows, columns : Selection
        What to read.

    Returns
    -------
    numpy.ndarray
        A view for slices of a numpy array, a copy otherwise, in the array's own dtype.
    """
    row, column = positions(rows, values.shape[0]), positions(columns, values.shape[1])
    if isinstance(values, Columns):
        order = values.order[column]
        return read_block(values.values, row, order)
    if isinstance(values, RowMeans):
        return values.means(row, column)
    if isinstance(values, np.ndarray):
        if isinstance(row, np.ndarray) and isinstance(column, np.ndarray):
            return np.asarray(values[np.ix_(row, column)])
        return np.asarray(values[row][:, column] if isinstance(row, slice) else values[row, column])
    if hasattr(values, "oindex"):
        return np.asarray(values.oindex[row, column])
    return _read_increasing(values, row, column)


def _read_increasing(values: Any, row: slice | np.ndarray, column: slice | np.ndarray) -> np.ndarray:
    """Read from HDF5, which takes one list of increasing positions at a time."""
    if isinstance(row, slice):
        if isinstance(column, slice):
            return np.asarray(values[row, column])
        unique, inverse = np.unique(column, return_inverse=True)
        return np.asarray(values[row, unique])[:, inverse]
    unique, inverse = np.unique(row, return_inverse=True)
    block = values[unique, column] if isinstance(column, slice) else np.asarray(values[unique, :])[:, column]
    return np.asarray(block)[inverse]


class Columns:
    """Some columns of a 2-D array, in a chosen order, read only when asked for.

    Parameters
    ----------
    values : array-like, (n, m)
        The array; a ``Columns`` is looked through, not stacked.
    order : numpy.ndarray of int, (k,)
        Columns to keep.
    """

    def __init__(self, values: Any, order: np.ndarray) -> None:
        if isinstance(values, Columns):
            values, order = values.values, values.order[order]
        self.values: Any = values
        self.order: np.ndarray = order

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and kept columns."""
        return int(self.values.shape[0]), len(self.order)

    @property
    def dtype(self) -> np.dtype:
        """Type of the underlying array."""
        dtype: np.dtype = np.dtype(self.values.dtype)
        return dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        return read_block(self, rows, columns)


class RowMeans:
    """Means over sets of rows of a 2-D array, computed only when asked for.

    Parameters
    ----------
    values : array-like, (n, m)
        The array.
    codes : numpy.ndarray of int, (n,)
        Set of each row, 0 … k − 1, none of them empty. Sets of one row each reorder the array.

    Notes
    -----
    Sums run in float64 in the order of the rows; means are float32, whatever part of them is read. NaN
    is a missing value: means are of the others, and NaN where there is none.
    """

    def __init__(self, values: Any, codes: np.ndarray) -> None:
        self.values = values
        self.counts = np.bincount(codes)
        self.order = np.argsort(codes, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts
        self.dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Sets of rows, and columns."""
        return len(self.counts), int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        return read_block(self, rows, columns)

    def means(self, row: slice | np.ndarray, column: slice | np.ndarray) -> np.ndarray:
        """Read some means; only the rows they are made of are touched."""
        chosen = np.arange(len(self))[row]
        sets = [slice(self.starts[i], self.starts[i] + self.counts[i]) for i in chosen]
        everything = isinstance(row, slice) and len(chosen) == len(self)
        rows = self.order if everything else np.concatenate([self.order[part] for part in sets] or [self.order[:0]])
        block = read_block(self.values, None, column)[rows] if everything else read_block(self.values, rows, column)
        if len(rows) == len(chosen):  # one row each: nothing to average
            return np.asarray(block, dtype=np.float32)
        counts = self.counts[chosen]
        starts = np.cumsum(counts) - counts
        missing = np.isnan(block)
        if not missing.any():
            sums = np.add.reduceat(block, starts, axis=0, dtype=np.float64)
            return np.asarray(sums / counts[:, None], dtype=np.float32)
        sums = np.add.reduceat(np.where(missing, 0, block), starts, axis=0, dtype=np.float64)
        known = np.add.reduceat(~missing, starts, axis=0, dtype=np.int64)
        return np.asarray(np.where(known > 0, sums / np.maximum(known, 1), np.nan), dtype=np.float32)


class SortedRows:
    """Some rows of a 2-D array in increasing order, read in blocks of rows when asked for.

    Parameters
    ----------
    values : array-like, (n, m)
        Anything whose rows can be sliced.
    rows : numpy.ndarray of int, (k,)
        Rows to keep, increasing.
    """

    def __init__(self, values: Any, rows: np.ndarray) -> None:
        self.values = values
        self.kept = rows
        self.shape = (len(rows), int(values.shape[1]))
        self.dtype = np.dtype(values.dtype)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        wanted = self.kept[rows]
        if not len(wanted):
            return np.empty((0, self.shape[1]), dtype=self.dtype)[:, columns]
        first, last = int(wanted.min()), int(wanted.max())
        taken: np.ndarray = np.asarray(self.values[first : last + 1])[wanted - first]
        return taken[:, columns]
