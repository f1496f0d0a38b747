"""Finished blocks of targets on disk, so that a long test continues where it was interrupted."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmap.common.storage.files import atomic_path
from brainmap.common.storage.locks import lock_or_skip

FIELDS = ("r", "exceeding", "used", "largest", "tail")


class BlockStore:
    """Finished blocks in a folder, a file each; a block is found again only for the inputs it was made from.

    Any number of processes may fill one folder: each block has a lock.

    Parameters
    ----------
    path : str, Path or None
        The folder; None keeps nothing.
    inputs : iterable of ndarray
        What all blocks share.
    settings : object
        Its ``repr`` is part of what a block was made from.
    """

    def __init__(self, path: str | Path | None, inputs: Iterable[NDArray[Any]], settings: object) -> None:
        self.path = None if path is None else Path(path)
        if self.path is not None:
            self.shared = _digest(repr(settings).encode(), inputs)

    def key(self, number: int, inputs: Iterable[NDArray[Any]]) -> str:
        """Name of a block: its number and a digest of what it is made from."""
        if self.path is None:
            return ""
        return f"{number}-{_digest(self.shared.encode(), inputs)}"

    def load(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return a finished block; one that is damaged is not finished."""
        if self.path is None:
            return None
        block = _read(self._file(key)) if self._file(key).is_file() else {}
        return {name: block[name] for name in FIELDS} if set(FIELDS) <= set(block) else None

    def save(self, key: str, block: dict[str, NDArray[Any]]) -> None:
        """Keep a block; its file appears when it is whole."""
        if self.path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._file(key)) as partial:
            np.savez(partial, **block)  # type: ignore[arg-type]

    def held(self, key: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Hold a block while it is computed; gives False where another process does, with ``wait=False``."""
        if self.path is None:
            return nullcontext(True)
        return lock_or_skip(self.path / f"{key}.lock", purpose=f"permutes for {self.path.name}", wait=wait)

    def _file(self, key: str) -> Path:
        assert self.path is not None
        return self.path / f"{key}.npz"


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a file (every member of an npz carries a CRC-32); none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # numpy itself stops before the end, where the CRC-32 is compared
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        problem = " ".join(str(error).split())
        warnings.warn(f"{path} is damaged ({problem}); it is computed again.", stacklevel=4)
        return {}


def _digest(head: bytes, arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256(head)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
