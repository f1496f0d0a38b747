"""Finished blocks of targets on disk, so that a long test continues where it was interrupted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class BlockStore:
    """Finished blocks in one npz file, valid for one set of inputs only."""

    def __init__(self, path: str | Path | None, inputs: tuple[NDArray, ...], settings: object) -> None:
        self.path = None if path is None else Path(path)
        self.blocks: dict[str, NDArray] = {}
        if self.path is None:
            return
        digest = hashlib.sha256(repr(settings).encode())
        for array in inputs:
            digest.update(np.ascontiguousarray(array).tobytes())
        self.key = digest.hexdigest()[:16]
        if self.path.is_file():
            with np.load(self.path, allow_pickle=False) as file:
                self.blocks = {name: file[name] for name in file.files if name.startswith(self.key)}

    def load(self, start: int) -> dict[str, NDArray] | None:
        """Return a finished block."""
        if self.path is None or f"{self.key}/{start}/r" not in self.blocks:
            return None
        return {name: self.blocks[f"{self.key}/{start}/{name}"] for name in ("r", "exceeding", "used", "largest")}

    def save(self, start: int, block: dict[str, NDArray]) -> None:
        """Keep a block; the file is replaced as a whole, so an interruption leaves the earlier one."""
        if self.path is None:
            return
        self.blocks |= {f"{self.key}/{start}/{name}": array for name, array in block.items()}
        partial = self.path.with_suffix(".partial.npz")
        np.savez(partial, **self.blocks)  # type: ignore[arg-type]
        partial.replace(self.path)
