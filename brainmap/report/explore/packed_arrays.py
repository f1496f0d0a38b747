"""Arrays as a page carries them: whole steps of a stated size, coded so that they compress, gzip, base64."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STEP = 0.001
"""Size of the steps in which r is stored, so that no number is off by more than half of it."""
MISSING = -32768
_BEST, _FAST = 9, 6  # levels of gzip: noise does not get smaller for three times the work


@dataclass(eq=False)
class Payload:
    """What the script of a page reads: a description, and blocks of numbers by name.

    Attributes
    ----------
    meta : dict
        Plain values for JSON.
    blocks : dict of str to str
        Packed bytes.
    """

    meta: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)

    def numbers(self, name: str, values: np.ndarray, step: float = STEP) -> None:
        """Add real numbers as whole steps in 16 bits; along the first axis each row is the difference to the last.

        Parameters
        ----------
        name : str
            Of the block.
        values : ndarray of float, (n_rows, …)
            NaN becomes :data:`MISSING`.
        step : float
            Size of a step.
        """
        with np.errstate(invalid="ignore"):
            steps = np.rint(np.asarray(values, dtype=float) / step)
        steps = np.where(np.isfinite(steps), np.clip(steps, -32767, 32767), MISSING).astype(np.int16)
        rows = steps.reshape(len(steps), -1).view(np.uint16)
        differences = rows.copy()
        differences[1:] -= rows[:-1]  # neighbouring layers resemble each other: small numbers compress
        self.planes(name, differences)

    def planes(self, name: str, values: np.ndarray) -> None:
        """Add whole numbers, all lowest bytes first, then all second bytes, and so on."""
        flat = np.ascontiguousarray(values).reshape(-1)
        raw = flat.astype(flat.dtype.newbyteorder("<")).view(np.uint8)
        self.blocks[name] = pack_bytes(raw.reshape(len(flat), -1).T.tobytes(), _FAST)

    def differences(self, name: str, values: np.ndarray) -> None:
        """Add whole numbers of 32 bits as the difference of each to the one before it."""
        flat = np.asarray(values, dtype=np.int32).reshape(-1)
        self.planes(name, np.diff(flat, prepend=np.int32(0)))

    def bits(self, name: str, values: np.ndarray) -> None:
        """Add yes or no, eight a byte, the first in the highest bit."""
        self.blocks[name] = pack_bytes(np.packbits(np.asarray(values, dtype=bool).reshape(-1)).tobytes())

    @property
    def size(self) -> int:
        """Bytes in the page, without the description."""
        return sum(len(text) for text in self.blocks.values())


def pack_bytes(data: bytes, level: int = _BEST) -> str:
    """Compress bytes for embedding; the browser's ``DecompressionStream`` unpacks them. Reproducible byte for byte."""
    return base64.b64encode(gzip.compress(data, level, mtime=0)).decode("ascii")
