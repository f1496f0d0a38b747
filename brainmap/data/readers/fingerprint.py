"""Identity of files by content, cheap enough to ask for hundreds of gigabytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
