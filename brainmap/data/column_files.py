"""Prepared responses on disk, one file per run or session, read by columns; stacked and z-scored as they are read.

Encoding asks for all trials of some targets. Files therefore keep each target's trials together (a ``.npy`` file in
Fortran order): a block of targets is one short read per file, and only that block is ever in memory.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np

from brainmap.common.errors import DamagedError, InputError
from brainmap.common.storage.digests import checksum_tail, load_array, read_checksum_tail, save_array, warn_not_verified
from brainmap.common.storage.files import atomic_path

DTYPE = np.dtype("<f4")
STATISTICS_BYTES = 32 * 2**20


class ColumnSource(Protocol):
    """Anything (n_rows, n_columns) that hands out all rows of some columns as float32."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all rows of some columns."""
        ...


class ColumnFile:
    """A float32 array in a ``.npy`` file in Fortran order, read by columns without mapping it.

    Parameters
    ----------
    path : Path
        File written by :func:`write_columns`.

    Raises
    ------
    InputError
        If the file is not such an array, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as stream:
            try:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
                shape, fortran, dtype = read(stream)
            except (ValueError, EOFError, TypeError, SyntaxError, TokenError) as error:
                raise DamagedError(
                    f"{path} is not a prepared array ({error}); remove it, it will be made anew.", path
                ) from error
            self._offset = stream.tell()
        if len(shape) != 2 or not fortran or dtype != DTYPE:
            problem = f"{path} is not a prepared array ({dtype}, {shape}); remove it, it will be made anew."
            raise DamagedError(problem, path)
        self.shape: tuple[int, int] = (int(shape[0]), int(shape[1]))
        self._checksums = read_checksum_tail(path, self._offset, self.shape[0] * self.shape[1] * DTYPE.itemsize)
        if self._checksums is None:
            warn_not_verified(path)
        elif len(self._checksums) != self.shape[1]:
            raise DamagedError(f"{path} is damaged (its checksums do not fit); remove it, it will be made anew.", path)

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all rows of some columns, (n_rows, k) float32."""
        if isinstance(chosen, slice):
            start, stop, step = chosen.indices(self.shape[1])
            if step == 1:
                return self._contiguous(start, stop)
        wanted = np.arange(self.shape[1])[chosen]
        unique, inverse = np.unique(wanted, return_inverse=True)
        block = np.empty((self.shape[0], len(unique)), dtype=np.float32, order="F")
        for first, last in _runs(unique):
            block[:, first:last] = self._contiguous(int(unique[first]), int(unique[last - 1]) + 1)
        return (
            block
            if len(wanted) == len(unique) and np.array_equal(inverse, np.arange(len(unique)))
            else block[:, inverse]
        )

    def _contiguous(self, start: int, stop: int) -> np.ndarray:
        count = max(0, stop - start)
        with self.path.open("rb") as stream:
            stream.seek(self._offset + start * self.shape[0] * DTYPE.itemsize)
            values = np.fromfile(stream, dtype=DTYPE, count=count * self.shape[0]).reshape(count, self.shape[0])
        if self._checksums is not None:
            for column, expected in zip(values, self._checksums[start:stop].tolist(), strict=True):
                if zlib.crc32(column.data) != expected:
                    raise DamagedError(
                        f"{self.path} is not what was written (a column's CRC-32 differs); remove it, it will be made "
                        "anew.",
                        self.path,
                    )
        return values.T


def write_columns(path: Path, shape: tuple[int, int], blocks: Iterable[np.ndarray]) -> Path:
    """Write an array column block by column block; it appears under its name only when complete.

    Parameters
    ----------
    path : Path
        File to write.
    shape : tuple of int
        Rows and columns.
    blocks : iterable of numpy.ndarray, (n_rows, k)
        Columns from left to right; together they must be all of them.
    """
    checksums: list[int] = []
    with atomic_path(path) as partial, partial.open("w+b") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(DTYPE), "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        header_size = stream.tell()
        for block in blocks:
            if block.shape[0] != shape[0]:
                raise InputError(f"A block of {block.shape[0]} rows cannot be written to {path}, which has {shape[0]}.")
            values = np.ascontiguousarray(block.T, dtype=DTYPE)
            values.tofile(stream)
            checksums += [zlib.crc32(column) for column in values]
        if len(checksums) != shape[1]:
            raise InputError(f"{len(checksums)} columns were made for {path}, which has {shape[1]}.")
        stream.seek(0)
        start = stream.read(header_size)
        stream.seek(0, os.SEEK_END)
        stream.write(checksum_tail(start, checksums))
    return path


class RowStack:
    """Arrays on top of each other, read lazily; optionally each standardised by its own mean and deviation.

    Parameters
    ----------
    parts : sequence of ColumnSource
        Arrays with equal numbers of columns.
    mean, deviation : numpy.ndarray of float32, (n_groups, n_columns), optional
        What to subtract and divide by.
    group : sequence of int, optional
        Row of ``mean`` and ``deviation`` for each part.
    keep : numpy.ndarray of int, optional
        Rows of the stack to keep, in this order; all by default.
    """

    def __init__(
        self,
        parts: Sequence[ColumnSource],
        *,
        mean: np.ndarray | None = None,
        deviation: np.ndarray | None = None,
        group: Sequence[int] | None = None,
        keep: np.ndarray | None = None,
    ) -> None:
        widths = {part.shape[1] for part in parts}
        if len(widths) != 1:
            raise InputError(f"Prepared parts have different numbers of targets: {sorted(widths)}; prepare them anew.")
        self.parts, self.mean, self.deviation = list(parts), mean, deviation
        self.group = list(group) if group is not None else [0] * len(self.parts)
        self._starts = np.cumsum([0, *(part.shape[0] for part in self.parts)])
        self.keep = np.arange(self._starts[-1]) if keep is None else np.asarray(keep, dtype=np.int64)
        self._whole = np.array_equal(self.keep, np.arange(self._starts[-1]))
        self.shape: tuple[int, int] = (len(self.keep), widths.pop())
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def oindex(self) -> RowStack:
        """Rows and columns are chosen independently of each other, as in Zarr's ``oindex``."""
        return self

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        columns = columns if isinstance(columns, slice) else np.asarray(columns)
        wanted = self.keep[rows if isinstance(rows, slice) else np.asarray(rows)]
        if self._whole and isinstance(rows, slice) and len(wanted) == self.shape[0] and rows.step in (None, 1):
            return np.concatenate([self._part(number, columns) for number in range(len(self.parts))])
        width = (
            len(range(*columns.indices(self.shape[1])))
            if isinstance(columns, slice)
            else len(np.arange(self.shape[1])[columns])
        )
        out = np.empty((len(wanted), width), dtype=np.float32)
        home = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(home):
            here = home == number
            out[here] = self._part(int(number), columns)[wanted[here] - self._starts[number]]
        return out

    def _part(self, number: int, columns: slice | np.ndarray) -> np.ndarray:
        block = self.parts[number].columns(columns)
        if self.mean is None or self.deviation is None:
            return block
        row = self.group[number]
        return (block - self.mean[row, columns]) / self.deviation[row, columns]


def stack_standardised(
    parts: Sequence[ColumnSource],
    group: Sequence[int],
    *,
    keep: np.ndarray | None = None,
    store: Path | None = None,
) -> RowStack:
    """Stack parts so that every column has mean 0 and deviation 1 within each group of parts.

    Parameters
    ----------
    parts : sequence of ColumnSource
        Arrays with equal numbers of columns.
    group : sequence of int
        Group of each part (its session, say), 0 … k − 1.
    keep : numpy.ndarray of int, optional
        Rows to keep; statistics come from these rows only.
    store : Path, optional
        File that keeps the statistics (they take one pass over the data).

    Returns
    -------
    RowStack
        A column that is constant in a group is 0 there.
    """
    shape = (2, max(group) + 1, parts[0].shape[1])
    if store is not None and store.is_file():
        stored = load_array(store)
        if stored.shape == shape:
            return RowStack(parts, mean=stored[0], deviation=stored[1], group=group, keep=keep)
    starts = np.cumsum([0, *(part.shape[0] for part in parts)])
    kept = np.ones(starts[-1], dtype=bool) if keep is None else np.isin(np.arange(starts[-1]), keep)
    result = np.zeros(shape, dtype=np.float32)
    for column in range(shape[1]):
        members = [number for number in range(len(parts)) if group[number] == column]
        rows = sum(parts[number].shape[0] for number in members)
        for columns in column_blocks(shape[2], rows):
            block = np.concatenate([parts[n].columns(columns)[kept[starts[n] : starts[n + 1]]] for n in members])
            mean, deviation = mean_and_deviation(block)
            result[0, column, columns] = mean
            result[1, column, columns] = np.where(deviation > 0, deviation, 1.0)
    if store is not None:
        save_array(store, result)
    return RowStack(parts, mean=result[0], deviation=result[1], group=group, keep=keep)


def column_blocks(n_columns: int, n_rows: int, budget: int = STATISTICS_BYTES) -> Iterator[slice]:
    """Cut columns into blocks of at most ``budget`` bytes in float64."""
    width = max(1, budget // (8 * max(1, n_rows)))
    for start in range(0, n_columns, width):
        yield slice(start, min(start + width, n_columns))


def zscore_columns(block: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the rows of each column, float32; constant columns become 0, missing values NaN."""
    mean, deviation = mean_and_deviation(block)
    known = block if np.isfinite(block).all() else np.where(np.isfinite(block), block, np.nan)
    scaled: np.ndarray = ((known - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return scaled


def mean_and_deviation(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the rows of each column, float64; NaN and infinite values don't count.

    A column without any value has mean 0 and deviation 0.
    """
    finite = np.isfinite(block)
    if finite.all():
        return block.mean(axis=0, dtype=np.float64), block.std(axis=0, dtype=np.float64)
    count = np.maximum(finite.sum(axis=0), 1)
    known = np.where(finite, block, 0).astype(np.float64)
    mean = known.sum(axis=0) / count
    centred = np.where(finite, known - mean, 0)
    return mean, np.sqrt((centred**2).sum(axis=0) / count)


def made(path: Path, make: Callable[[], object]) -> Path:
    """Return a file, making it first if it is not there."""
    if not path.is_file():
        make()
    return path


def _runs(increasing: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of consecutive numbers, as positions (first, one past the last)."""
    if not len(increasing):
        return
    breaks = np.flatnonzero(np.diff(increasing) > 1) + 1
    edges = [0, *breaks.tolist(), len(increasing)]
    yield from itertools.pairwise(edges)
