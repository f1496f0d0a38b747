"""Arrays wherever they live: numpy, memmap, zarr, h5py or dask, read in blocks that fit the memory bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainmap.common.blocks import file_of, mapping_of, read_block
from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ArraySource:
    """A two-dimensional array that is read in blocks.

    Parameters
    ----------
    array : array-like
        Anything with ``shape`` and two-dimensional slicing.
    name : str
        Used in messages.
    average : Averaging, optional
        Rows to average as they are read.
    chosen : ndarray of int, optional
        Columns that make up the source, ascending; all by default.

    Attributes
    ----------
    shape : tuple of int
        Rows (after averaging) and columns.
    in_memory : bool
        Whether slicing costs no reading (a plain numpy array, not a memmap, rows not averaged).
    """

    array: Any
    name: str
    average: Averaging | None = None
    chosen: NDArray[np.int64] | None = None
    shape: tuple[int, int] = field(init=False)
    in_memory: bool = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = self.array.shape
        n_rows = int(rows) if self.average is None else self.average.n_groups
        object.__setattr__(self, "shape", (n_rows, int(columns) if self.chosen is None else len(self.chosen)))
        plain = isinstance(self.array, np.ndarray) and (self.array.base is None or mapping_of(self.array) is None)
        object.__setattr__(self, "in_memory", plain and self.average is None and self.chosen is None)

    @property
    def row_bytes(self) -> int:
        """Bytes read for one column."""
        return int(self.array.shape[0]) * int(np.dtype(self.array.dtype).itemsize)

    @property
    def column_chunk(self) -> int:
        """Columns that one stored chunk spans (1 where any slice is as good as another)."""
        if isinstance(self.array, np.ndarray):
            return 1
        chunks = getattr(self.array, "chunks", None)
        if not chunks or len(chunks) != 2:
            return 1
        width = chunks[1]
        return int(max(width)) if isinstance(width, tuple) else int(width)

    def columns(self, start: int, stop: int) -> FloatArray:
        """Read all rows of some columns, in the stored precision."""
        if self.chosen is None:
            block = self._take((slice(None), slice(start, stop)))
        else:
            wanted = self.chosen[start:stop]
            block = self._take((slice(None), slice(int(wanted[0]), int(wanted[-1]) + 1)))[:, wanted - wanted[0]]
        return block if self.average is None else self.average.apply(block)

    def select(self, columns: ArrayLike | slice | None) -> ArraySource:
        """Return the source restricted to some columns (ascending indices, a boolean mask or a slice)."""
        if columns is None:
            return self
        index = np.arange(self.array.shape[1])[columns if isinstance(columns, slice) else np.asarray(columns)]
        if index.ndim != 1 or index.size == 0 or np.any(np.diff(index) <= 0):
            raise InputError(
                f"columns of {self.name} must be chosen in ascending order, at least one, without repeats."
            )
        return replace(self, chosen=index)

    def rows(self, start: int, stop: int) -> FloatArray:
        """Read all columns of some rows, in the stored precision."""
        if self.average is not None:
            return self.average.apply_rows(self.array, start, stop, self.name)
        if self.in_memory and self.array.dtype.kind == "f":
            stored: FloatArray = self.array[start:stop]
            return stored
        return self._take(slice(start, stop))

    def _take(self, index: Any) -> FloatArray:
        if mapping_of(self.array) is None:
            with reading(file_of(self.array)):
                return _to_numpy(self.array[index], self.name)
        rows, columns = index if isinstance(index, tuple) else (index, None)
        return _to_numpy(read_block(self.array, rows, columns), self.name)


@dataclass(frozen=True)
class Averaging:
    """Average rows that share a label, in the order in which the labels first appear."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def by_label(cls, labels: ArrayLike) -> Averaging:
        """Group rows by label."""
        values = np.asarray(labels)
        _, first, codes = np.unique(values, return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        codes = rank[codes.reshape(-1)]
        counts = np.bincount(codes)
        return cls(np.argsort(codes, kind="stable"), np.cumsum(counts) - counts, counts)

    @property
    def n_groups(self) -> int:
        """Number of rows after averaging."""
        return len(self.counts)

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """Row in which each label first appears."""
        return self.order[self.starts]

    def apply(self, block: FloatArray) -> FloatArray:
        """Average the rows of a block that holds all of them."""
        sums = np.add.reduceat(block[self.order], self.starts, axis=0, dtype=np.float64)
        return (sums / self.counts[:, None]).astype(np.result_type(block.dtype, np.float32), copy=False)

    def apply_rows(self, array: Any, start: int, stop: int, name: str) -> FloatArray:
        """Average the rows of groups ``start … stop − 1`` only."""
        chosen = self.order[self.starts[start] : self.starts[stop - 1] + self.counts[stop - 1]]
        unique = np.unique(chosen)
        block = _to_numpy(array[unique], name)[np.searchsorted(unique, chosen)]
        sums = np.add.reduceat(block, self.starts[start:stop] - self.starts[start], axis=0, dtype=np.float64)
        return (sums / self.counts[start:stop, None]).astype(np.result_type(block.dtype, np.float32), copy=False)


def as_source(array: Any, name: str, *, average: Averaging | None = None) -> ArraySource:
    """Wrap an array, checking shape and type.

    Raises
    ------
    InputError
        If the array is not two-dimensional, empty, sparse, or not of real numbers.
    """
    if hasattr(array, "toarray"):
        raise InputError(f"{name} is sparse; the engine needs a dense array (`array.toarray()`).")
    if not hasattr(array, "shape") or not hasattr(array, "dtype") or hasattr(array, "columns"):
        array = np.asarray(array)
    elif hasattr(array, "dims") and hasattr(array, "data"):
        array = array.data  # xarray: labels are not needed here, and lazy data stay lazy
    if len(array.shape) == 1:
        array = np.asarray(array)[:, None]
    if len(array.shape) != 2 or 0 in array.shape:
        raise InputError(f"{name} must be a rows × columns array with at least one of each, got shape {array.shape}.")
    kind = np.dtype(str(array.dtype).removeprefix("torch.")).kind
    if kind not in "fiub":
        raise InputError(f"{name} holds {array.dtype}; real numbers are needed.")
    return ArraySource(array, name, average)


def as_layers(X: Any) -> dict[str, ArraySource]:
    """Return named sources of features; a single array is called ``'X'``."""
    if not isinstance(X, Mapping):
        return {"X": as_source(X, "X")}
    if not X:
        raise InputError("`X` is an empty mapping; give at least one layer.")
    return {str(name): as_source(array, str(name)) for name, array in X.items()}


def check_finite(block: FloatArray, name: str, *, first_row: int = 0, first_column: int = 0) -> None:
    """Raise an InputError that names the row and column of the first NaN or infinity."""
    if block.dtype.kind != "f" or np.isfinite(block.sum(dtype=np.float64)):
        return  # a sum is finite whenever all terms are, unless it overflows: then the scan below finds nothing
    bad = np.argwhere(~np.isfinite(block))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{name} holds {block[row, column]} at row {first_row + row}, column {first_column + column} "
            f"({len(bad)} such values in this block); remove or impute them first."
        )


def _to_numpy(block: Any, name: str) -> FloatArray:
    if hasattr(block, "compute"):  # dask; worker threads are ours already
        block = block.compute(scheduler="synchronous")
    array = np.asarray(block)
    if array.dtype.kind not in "f":
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return array
