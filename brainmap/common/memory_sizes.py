"""Sizes of memory as people write them, and the threads of this process."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from brainmap.common.errors import InputError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@lru_cache(typed=True)
def parse_memory(memory: str | float) -> int:
    """Return a number of bytes from ``"8GB"`` (8 × 10⁹), ``"8 GiB"`` (8 × 2³⁰), ``".5GB"`` or a plain number of bytes.

    Raises
    ------
    InputError
        If the text cannot be read, or the size is not positive.
    """
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([kmgt]i?)?b?\s*", str(memory).lower())
    if isinstance(memory, bool) or (isinstance(memory, str) and match is None):
        raise InputError(f"Memory {memory!r} is not a size such as 8GB, 8GiB or 500MB.")
    size = float(match[1]) * UNITS[match[2] or ""] if isinstance(memory, str) and match else float(memory)
    if not 1 <= size < float("inf"):
        raise InputError(f"Memory {memory!r} is not a size such as 8GB, 8GiB or 500MB: it must be positive.")
    return int(size)


def available_threads() -> int:
    """Return the number of CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
