"""Ways in which bytes and files get damaged, from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One of: a flipped bit, a cut, appended bytes, a stretch of zeros, a stretch of noise, a repeated stretch."""
    kind = rng.integers(8)
    if not content:
        return rng.bytes(5)
    place = int(rng.integers(len(content)))
    length = int(rng.integers(1, 200))
    if kind <= 2:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == 3:
        return content[:place]
    if kind == 4:
        return content + rng.bytes(length)
    if kind == 5:
        return content[:place] + bytes(len(content[place : place + length])) + content[place + length :]
    if kind == 6:
        return content[:place] + rng.bytes(len(content[place : place + length])) + content[place + length :]
    return content[:place] + content[place : place + length] + content[place:]


def damage_a_file(folder: Path, rng: np.random.Generator) -> str:
    """Damage, empty or delete one file below a folder; returns what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = files[int(rng.integers(len(files)))]
    if rng.integers(6) == 0:
        file.unlink()
        return f"{file.relative_to(folder)} deleted"
    content = file.read_bytes()
    file.write_bytes(damaged(content, rng))
    return f"{file.relative_to(folder)} damaged"
