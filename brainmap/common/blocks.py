"""Reading blocks of 2-D arrays that live in memory, in a memory map, in Zarr or in HDF5, by one rule."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.storage.file_errors import reading

STRIP_BYTES = 64 * 2**20
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
        A view for slices of a numpy array in memory, a copy otherwise, in the array's own dtype.
    """
    row, column = positions(rows, values.shape[0]), positions(columns, values.shape[1])
    if isinstance(values, Columns):
        order = values.order[column]
        return read_block(values.values, row, order)
    if isinstance(values, RowMeans):
        return values.means(row, column)
    if isinstance(values, np.ndarray):
        if mapping_of(values) is not None:
            return _copied(values, row, column)
        return _taken(values, row, column)
    with reading(file_of(values)):
        if hasattr(values, "oindex"):
            return np.asarray(values.oindex[row, column])
        return _read_increasing(values, row, column)


def _taken(values: np.ndarray, row: slice | np.ndarray, column: slice | np.ndarray) -> np.ndarray:
    if isinstance(row, np.ndarray) and isinstance(column, np.ndarray):
        return np.asarray(values[np.ix_(row, column)])
    return np.asarray(values[row][:, column] if isinstance(row, slice) else values[row, column])


def _copied(values: np.ndarray, row: slice | np.ndarray, column: slice | np.ndarray) -> np.ndarray:
    """Copy a block out of a memory map, a strip at a time, so that hardly any of the map is in memory at once.

    Mapped pages count as ours, and the system maps the neighbours of every page that is touched: a strip's pages are
    handed back to the page cache before the next one is read.
    """
    if abs(values.strides[0]) < abs(values.strides[1]):
        return _copied(values.T, column, row).T
    wanted = np.arange(len(values))[row]
    out = np.empty((len(wanted), len(np.arange(values.shape[1])[column])), dtype=values.dtype)
    step = max(1, STRIP_BYTES // max(1, abs(values.strides[0])))
    for start in range(0, len(wanted), step):
        part = wanted[start : start + step]
        consecutive = len(part) == part[-1] - part[0] + 1 and (np.diff(part) == 1).all()
        rows = slice(int(part[0]), int(part[-1]) + 1) if consecutive else part
        out[start : start + step] = _taken(values, rows, column)
        hand_back(values)
    return out


class Mapped:
    """A memory map (n, m) of which every block is copied out, so that hardly any of it is in memory at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = (int(values.shape[0]), int(values.shape[1]))
        self.dtype: np.dtype = np.dtype(values.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        return read_block(self.values, rows, columns)


def hand_back(array: np.ndarray) -> None:
    """Hand the pages of a memory map back to the page cache.

    Not where the map can be written to: a private copy of a page would be lost.
    """
    mapped = mapping_of(array)
    if mapped is not None and not array.flags.writeable and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


def mapping_of(array: Any) -> mmap.mmap | None:
    """Return the memory map behind a numpy array, if its data live in a file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None


def file_of(values: Any) -> Path | None:
    """File or folder that an array of HDF5 or Zarr lies in; None for others."""
    name = getattr(getattr(values, "file", None), "filename", None)
    if name is None and hasattr(values, "store_path"):
        name = getattr(values.store_path.store, "root", None)
    return None if name is None else Path(str(name))


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
        """Read some means; only the rows they are made of are touched, and few columns of them at once."""
        chosen, columns = np.arange(len(self))[row], np.arange(self.values.shape[1])[column]
        width = max(1, STRIP_BYTES // (16 * max(1, int(self.counts[chosen].sum()))))
        if len(columns) <= width:
            return self._means(chosen, column)
        out = np.empty((len(chosen), len(columns)), dtype=np.float32)
        for start in range(0, len(columns), width):
            part = columns[start : start + width]
            consecutive = isinstance(column, slice) and column.step in (None, 1)
            out[:, start : start + width] = self._means(
                chosen, slice(int(part[0]), int(part[-1]) + 1) if consecutive else part
            )
        return out

    def _means(self, chosen: np.ndarray, column: slice | np.ndarray) -> np.ndarray:
        sets = [slice(self.starts[i], self.starts[i] + self.counts[i]) for i in chosen]
        everything = np.array_equal(chosen, np.arange(len(self)))
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
