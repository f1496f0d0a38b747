"""Finished blocks of targets on disk, so that a long test continues where it was interrupted."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.storage.files import atomic_path

FIELDS = ("r", "exceeding", "used", "largest")


class BlockStore:
    """Finished blocks in one npz file; each is found again only for the inputs it was made from.

    Parameters
    ----------
    path : str, Path or None
        The file; None keeps nothing.
    inputs : iterable of ndarray
        What all blocks share.
    settings : object
        Its ``repr`` is part of what a block was made from.
    """

    def __init__(self, path: str | Path | None, inputs: Iterable[NDArray[Any]], settings: object) -> None:
        self.path = None if path is None else Path(path)
        self.blocks: dict[str, NDArray[Any]] = {}
        if self.path is None:
            return
        self.shared = _digest(repr(settings).encode(), inputs)
        if self.path.is_file():
            self.blocks = _read(self.path)

    def key(self, number: int, inputs: Iterable[NDArray[Any]]) -> str:
        """Name of a block: its number and a digest of what it is made from."""
        if self.path is None:
            return ""
        return f"{number}-{_digest(self.shared.encode(), inputs)}"

    def load(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return a finished block."""
        if self.path is None or any(f"{key}/{name}" not in self.blocks for name in FIELDS):
            return None
        return {name: self.blocks[f"{key}/{name}"] for name in FIELDS}

    def save(self, key: str, block: dict[str, NDArray[Any]]) -> None:
        """Keep a block; the file is replaced as a whole, so an interruption leaves the earlier one."""
        if self.path is None:
            return
        self.blocks |= {f"{key}/{name}": array for name, array in block.items()}
        with atomic_path(self.path) as partial:
            np.savez(partial, **self.blocks)  # type: ignore[arg-type]


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Finished blocks of a file (every member of an npz carries a CRC-32); none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # numpy itself stops before the end, where the CRC-32 is compared
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        problem = " ".join(str(error).split())
        warnings.warn(f"{path} is damaged ({problem}); its blocks are computed again.", stacklevel=4)
        return {}


def _digest(head: bytes, arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256(head)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
