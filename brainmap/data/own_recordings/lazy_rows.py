"""Trials × targets that are read when asked for, whatever lies below: more axes, other orders, files without blocks."""

from __future__ import annotations

import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from brainmap.common.blocks import Columns, Selection, file_of, hand_back, positions, read_block
from brainmap.common.errors import BrainmapError, InputError
from brainmap.common.storage.file_errors import reading


class BlockReader:
    """Base of arrays of trials × targets that hand out blocks; subclasses say how."""

    shape: tuple[int, int]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def oindex(self) -> BlockReader:
        """Rows and columns are chosen independently of each other, as in Zarr's ``oindex``."""
        return self

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, None)
        with reading(file_of(getattr(self, "values", None))):
            return self.read(positions(rows, self.shape[0]), positions(columns, self.shape[1]))

    def read(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """Read some rows and columns."""
        raise NotImplementedError


class FlatAxes(BlockReader):
    """An array of two or more axes as trials × everything else, in C order of the axes.

    Parameters
    ----------
    values : array-like
        numpy, HDF5, Zarr or xarray; only slabs of it are read.
    order : tuple of int, optional
        Order to take the axes in, trials first; MATLAB stores them reversed in HDF5.
    """

    def __init__(self, values: Any, *, order: tuple[int, ...] | None = None) -> None:
        self.values = values
        self.order = tuple(range(len(values.shape))) if order is None else order
        self.axes = tuple(int(values.shape[axis]) for axis in self.order)
        self.shape = (self.axes[0], int(np.prod(self.axes[1:], dtype=np.int64)))
        self.dtype = np.dtype(values.dtype)

    def read(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """Read the smallest slab that holds the columns, then choose."""
        wanted, within = np.arange(self.shape[0])[rows], np.arange(self.shape[1])[columns]
        if not len(wanted) or not len(within):
            return np.empty((len(wanted), len(within)), dtype=self.dtype)
        inner = int(np.prod(self.axes[2:], dtype=np.int64))
        first, last = int(within.min()) // inner, int(within.max()) // inner + 1
        low, high = int(wanted.min()), int(wanted.max()) + 1
        key = [slice(None)] * len(self.axes)
        key[self.order[0]], key[self.order[1]] = slice(low, high), slice(first, last)
        slab = np.asarray(self.values[tuple(key)]).transpose(self.order).reshape(high - low, -1)
        block = slab[np.ix_(wanted - low, within - first * inner)]
        if isinstance(self.values, np.ndarray):
            hand_back(self.values)
        return block


class SpooledRows(BlockReader):
    """Trials of a file that cannot be read by targets: read once, trial by trial, into an unnamed temporary file.

    Parameters
    ----------
    shape : tuple of int
        Trials and targets.
    blocks : callable
        Hands out all trials in order, some rows at a time; called when values are first asked for.
    where : str
        What sentences call the file.
    """

    def __init__(self, shape: tuple[int, int], blocks: Callable[[], Iterator[np.ndarray]], where: str) -> None:
        self.shape, self.blocks, self.where, self.dtype = shape, blocks, where, np.dtype(np.float32)
        self._copy: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copy": None}

    def read(self, rows: slice | np.ndarray, columns: slice | np.ndarray) -> np.ndarray:
        """Read from the copy, making it first."""
        if self._copy is None:
            self._copy = self._spooled()
        return read_block(self._copy, rows, columns)

    def _decoded(self) -> Iterator[np.ndarray]:
        """All rows; what a library says of a damaged file becomes a sentence."""
        try:
            yield from self.blocks()
        except (BrainmapError, OSError):
            raise
        except (ValueError, RuntimeError, TypeError, LookupError, EOFError, zlib.error) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"{self.where} cannot be read to its end ({reason}); it may be cut short: copy it again."
            ) from error

    def _spooled(self) -> np.ndarray:
        needed, free = math.prod(self.shape) * self.dtype.itemsize, shutil.disk_usage(tempfile.gettempdir()).free
        if needed > free:
            raise InputError(
                f"{self.where} needs {needed / 1e9:,.1f} GB of {tempfile.gettempdir()} when it is unpacked, and "
                f"{free / 1e9:,.1f} GB are free; choose another folder with TMPDIR, or a smaller mask."
            )
        file = tempfile.TemporaryFile(prefix="brainmap-")  # noqa: SIM115 - lives as long as the map below
        for block in self._decoded():
            # Written, not mapped: a full disk is then an error that can be said, not a signal that kills the process.
            file.write(np.ascontiguousarray(block, dtype=self.dtype).tobytes())
        file.flush()
        return np.memmap(file, dtype=self.dtype, mode="r", shape=self.shape)


class ChosenRows(BlockReader):
    """Some rows of an array, in a chosen order, read when asked for."""

    def __init__(self, values: Any, order: np.ndarray) -> None:
        self.values, self.order = values, np.asarray(order, dtype=np.int64)
        self.shape = (len(self.order), int(values.shape[1]))
        self.dtype = np.dtype(values.dtype)

    def read(self, rows: slice | np.ndarray, columns: Selection) -> np.ndarray:
        """Read some of the rows."""
        return read_block(self.values, self.order[rows], columns)


def source_rows(values: Any) -> np.ndarray:
    """Row of the file that each row of the responses comes from, (n_trials,) int."""
    if isinstance(values, ChosenRows):
        rows: np.ndarray = source_rows(values.values)[values.order]
        return rows
    return source_rows(values.values) if isinstance(values, Columns) else np.arange(values.shape[0])
