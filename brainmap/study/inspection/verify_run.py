"""Verify what runs have written: every file of every store against its digests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from brainmap.common.errors import MissingFileError
from brainmap.common.progress import track
from brainmap.common.storage.digests import damages, is_sealed
from brainmap.features.shard_files import array_damages, listed
from brainmap.features.store import FeatureStore
from brainmap.study.run_folder import IDENTITY, RunFolder


@dataclass
class StoredNumbers:
    """What a verification found.

    Attributes
    ----------
    stores : int
        Stores compared with their digests: results, scores, arrays of features.
    damaged : list of (Path, str)
        Files that are missing or not what was written, and what is wrong with each.
    not_verified : list of Path
        Stores without digests: written before brainmap kept them.

    Examples
    --------
    >>> from brainmap.study import verify_run
    >>> verification = verify_run("brainmap_runs/demo")
    >>> verification.ok, verification.damaged
    (True, [])
    """

    stores: int = 0
    damaged: list[tuple[Path, str]] = field(default_factory=list)
    not_verified: list[Path] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged


def verify_run(path: str | Path) -> StoredNumbers:
    """Read all that a run wrote and compare it with its digests.

    Parameters
    ----------
    path : str or Path
        Folder of a run, of several runs, or of a single store (results, scores, an encoder, features).

    Returns
    -------
    StoredNumbers
        The names of damaged files are also kept in each run's folder: the command that made the run computes exactly
        these anew.

    Raises
    ------
    MissingFileError
        If there is nothing that could be verified.

    Examples
    --------
    >>> from brainmap.study import verify_run
    >>> verify_run("brainmap_runs/demo").stores
    2
    """
    path = Path(path)
    if not path.is_dir():
        raise MissingFileError(f"There is no folder {path}; give the folder of a run.")
    result = StoredNumbers()
    if is_sealed(path):
        result.stores = 1
        result.damaged = list(damages(path, full=True))
        return result
    runs = list(_runs(path))
    for run in runs:
        damage = _verify_one(RunFolder(run), result)
        with suppress(OSError):  # a run that may not be written to is verified all the same
            RunFolder(run).note_damages(file for file, _ in damage)
        result.damaged += damage
    if not runs:
        for folder in FeatureStore(path).folders():
            _verify_array(folder, result, result.damaged)
    if not result.stores and not result.not_verified:
        raise MissingFileError(f"{path} holds nothing that brainmap could verify; give the folder of a run.")
    return result


def _runs(path: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(path):
        if IDENTITY in names:
            below.clear()
            yield Path(folder)
        below[:] = sorted(name for name in below if not name.startswith("."))


def _verify_one(run: RunFolder, result: StoredNumbers) -> list[tuple[Path, str]]:
    damage: list[tuple[Path, str]] = []
    identity = run.damaged_identity()
    result.stores += 1
    if identity is not None:
        damage.append(identity)
    for part in run.sealed_parts():
        if is_sealed(part):
            result.stores += 1
            damage += damages(part, full=True)
        else:
            result.not_verified.append(part)
    for folder in track(FeatureStore(run.features).folders(), "verifying features", unit="arrays"):
        _verify_array(folder, result, damage)
    return damage


def _verify_array(folder: Path, result: StoredNumbers, damage: list[tuple[Path, str]]) -> None:
    problems = list(array_damages(folder, full=True))
    if not problems and not any(listed(folder, "digests")) and any(listed(folder, "rows")):
        result.not_verified.append(folder)
    else:
        result.stores += 1
        damage += problems
