"""Prepare responses once: cached by the content of their sources and the settings, complete or absent."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.blocks import read_block
from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import os_sentence
from brainmap.data.column_files import ColumnFile, write_columns

Made = tuple[tuple[int, int], Iterable[np.ndarray]]


def prepared(
    folder: Path, stem: str, sources: Sequence[Path], settings: Mapping[str, Any], make: Callable[[], Made]
) -> Path:
    """Return the file of prepared responses, making it first if it is not there.

    Parameters
    ----------
    folder : Path
        Cache of the dataset and subject.
    stem : str
        Beginning of the file's name.
    sources : sequence of Path
        Files the responses come from; their content is part of the name.
    settings : mapping
        What else decides the numbers.
    make : callable
        Returns shape and blocks of columns; called only if needed.

    Raises
    ------
    InputError
        If the file cannot be written.

    Notes
    -----
    Values that are NaN or infinite are kept as NaN, and their places in a file beside it (:func:`missing_cells`).
    """
    path = folder / f"{stem}-{cache_key(sources, settings)}.npy"
    if not path.is_file():
        shape, blocks = make()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_columns(path, shape, _with_missing_noted(blocks, _missing_file(path)))
        except OSError as error:
            raise InputError(
                f"Prepared responses cannot be written: {os_sentence(error)} Another folder is named with --cache."
            ) from error
    return path


def _missing_file(part: Path) -> Path:
    return part.with_name(f"{part.stem}.missing.npy")


def _with_missing_noted(blocks: Iterable[np.ndarray], file: Path) -> Iterator[np.ndarray]:
    """Hand blocks on with NaN for all that is not finite; write the places to a file if there are any."""
    places, start = [], 0
    for block in blocks:
        finite = np.isfinite(block)
        if not finite.all():
            places.append(np.argwhere(~finite).astype(np.int32) + np.array([0, start], dtype=np.int32))
            block = np.where(finite, block, np.nan)
        start += block.shape[1]
        yield block
    if places:
        np.save(file, np.concatenate(places))


def missing_cells(parts: Sequence[Path], rows: np.ndarray) -> np.ndarray:
    """Places of missing values among the rows kept of stacked parts.

    Parameters
    ----------
    parts : sequence of Path
        Files from :func:`prepared`.
    rows : numpy.ndarray of int
        Rows kept of the stack.

    Returns
    -------
    numpy.ndarray of int, (k, 2)
        Position in ``rows``, and column.
    """
    start, cells = 0, []
    for part in parts:
        file = _missing_file(part)
        if file.is_file():
            cells.append(np.load(file, allow_pickle=False).astype(np.int64) + np.array([start, 0]))
        start += ColumnFile(part).shape[0]
    if not cells:
        return np.zeros((0, 2), dtype=np.int64)
    place = np.full(start, -1)
    place[rows] = np.arange(len(rows))
    everything = np.concatenate(cells)
    everything[:, 0] = place[everything[:, 0]]
    kept: np.ndarray = everything[everything[:, 0] >= 0]
    return kept


class SideBySide:
    """Column-wise arrays next to each other, with the interface of :class:`ColumnFile`.

    Parameters
    ----------
    parts : sequence
        Objects with ``shape`` and ``columns``; all have the same rows.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        self.edges = np.cumsum([0, *(part.shape[1] for part in self.parts)])
        self.shape: tuple[int, int] = (int(self.parts[0].shape[0]), int(self.edges[-1]))

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all rows of some columns."""
        wanted = np.arange(self.shape[1])[chosen]
        out = np.empty((self.shape[0], len(wanted)), dtype=np.float32)
        for part, first, last in zip(self.parts, self.edges[:-1], self.edges[1:], strict=True):
            here = np.flatnonzero((wanted >= first) & (wanted < last))
            if len(here):
                out[:, here] = part.columns(wanted[here] - first)
        return out


class ArrayColumns:
    """A numpy array or memory map (n_rows, n_columns) read by columns."""

    def __init__(self, path: Path) -> None:
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        self.shape: tuple[int, int] = (int(self._array.shape[0]), int(self._array.shape[1]))

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all rows of some columns."""
        return np.asarray(read_block(self._array, None, chosen), dtype=np.float32)


class RowRange:
    """Some consecutive rows of a column-wise array; neighbours share one read."""

    def __init__(self, whole: Remembering, rows: slice) -> None:
        self._whole, self._rows = whole, rows
        self.shape: tuple[int, int] = (rows.stop - rows.start, whole.shape[1])

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read these rows of some columns."""
        return self._whole.columns(chosen)[self._rows]


class Remembering:
    """A column-wise array that keeps the block it read last (sessions of one file are asked for one by one)."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.shape: tuple[int, int] = part.shape
        self._last: tuple[bytes, np.ndarray] | None = None

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all rows of some columns."""
        key = repr(chosen).encode() if isinstance(chosen, slice) else np.asarray(chosen).tobytes()
        if self._last is None or self._last[0] != key:
            self._last = (key, self._part.columns(chosen))
        return self._last[1]


def by_rows(part: Any, labels: np.ndarray) -> tuple[list[RowRange], list[int]]:
    """Cut an array where a label (its session) changes; return the pieces and the group of each."""
    whole = Remembering(part)
    edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
    names = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()))}
    pieces = [RowRange(whole, slice(first, last)) for first, last in itertools.pairwise(edges)]
    return pieces, [names[labels[first]] for first in edges[:-1]]


WHOLE = 8 * 2**20
SAMPLE = 64 * 2**10
N_SAMPLES = 32


def fingerprint(path: Path) -> str:
    """Sixteen hex characters that change with a file's content.

    Files up to 8 MB are read whole. Of larger ones size, beginning, end and 32 evenly spaced samples of 64 kB count:
    enough to tell recordings and versions of them apart; a single flipped byte is ``brainmap data verify --full``'s
    business.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        if size <= WHOLE:
            digest.update(stream.read())
        else:
            for sample in range(N_SAMPLES):
                stream.seek(sample * (size - SAMPLE) // (N_SAMPLES - 1))
                digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:16]


def cache_key(files: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Sixteen hex characters that change with the content of files or with settings (JSON-able)."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(f"{file.name}:{fingerprint(file)}".encode())
    return digest.hexdigest()[:16]


def content_of(parts: Iterable[Path]) -> str:
    """Identity of prepared responses: the keys of their parts, which hold the content of their sources."""
    return hashlib.sha256("\n".join(part.name for part in parts).encode()).hexdigest()[:16]
