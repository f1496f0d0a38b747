"""A study file of a few seconds, and every number that it writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from study.own_files import write_own

COMMAND = [sys.executable, "-c", "from brainmap.cli import main; main()"]


def write_study(folder: Path, seeds: int = 2) -> Path:
    """Studies of own data with two layers of features that are there already; they differ in their seed."""
    write_own(folder / "own")
    rng = np.random.default_rng(0)
    np.savez(folder / "features.npz", early=rng.standard_normal((40, 6)), late=rng.standard_normal((40, 6)))
    files = {"stimuli": "photos", "responses": "responses.npy", "targets": "targets.tsv", "events": "events.tsv"}
    own = "".join(f"    {name}: own/{file}\n" for name, file in files.items())
    settings = "  dataset: own\n  features: features.npz\n  cv: 4\n"
    file = folder / "study.yaml"
    file.write_text(f"schema: 2\nstudy:\n{settings}  own:\n{own}grid:\n  seed: {list(range(seeds))}\n")
    return file


def numbers(out: Path) -> dict[str, bytes]:
    """Every array that was written, by its place; notes of when and where are no numbers."""
    files = [file for file in sorted(out.rglob("c/*")) if file.is_file()]
    files += [file for file in sorted(out.rglob("c/**/*")) if file.is_file()]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}
