"""Adopt files that are already somewhere on this machine, by link, without copying them."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from brainmap.common.errors import MissingFileError
from brainmap.common.storage.files import file_hash
from brainmap.data.fetching.dataset import Dataset, size_on_disk
from brainmap.data.manifests.file_entries import FileEntry


@dataclass
class Adoption:
    """What was adopted.

    Attributes
    ----------
    linked, present : list of str
        Paths that are linked now, and that were there before.
    refused : dict of str to str
        Path → why the file found for it does not fit.
    """

    linked: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def adopt(dataset: Dataset, source: str | Path, *, check_hashes: bool = False) -> Adoption:
    """Link a dataset's files found below another folder.

    Parameters
    ----------
    dataset : Dataset
        What to complete.
    source : str or Path
        Folder to search. A file fits if its path ends like the one in the manifest, or if its name occurs once in the
        manifest and once below the folder; its size must be the published one.
    check_hashes : bool
        Compare published hashes too.

    Returns
    -------
    Adoption

    Raises
    ------
    MissingFileError
        If there is no such folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset, adopt
    >>> from brainmap.data.manifests import load_manifest
    >>> adopt(Dataset(load_manifest("nsd"), Path("data/nsd")), "photos")  # a folder that holds none of its files
    Adoption(linked=[], present=[], refused={})
    """
    folder = Path(source).expanduser().resolve()
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}; give the folder that holds files of the dataset.")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for parent, _, files in os.walk(folder):
        for name in files:
            by_name[name].append(Path(parent) / name)
    occurrences: dict[str, int] = defaultdict(int)
    for entry in dataset.entries:
        occurrences[Path(entry.path).name] += 1
    result = Adoption()
    for entry in dataset.entries:
        place = dataset.place(entry)
        candidate = _candidate(entry, by_name, occurrences)
        if size_on_disk(place) is not None:
            result.present.append(entry.path)
        elif candidate is not None:
            _link(entry, candidate, place, check_hashes, result)
    return result


def _candidate(entry: FileEntry, by_name: dict[str, list[Path]], occurrences: dict[str, int]) -> Path | None:
    """Choose the file whose path agrees with the manifest's for the most parts from the end; never a guess."""
    wanted = Path(entry.path).parts
    candidates = by_name.get(wanted[-1], [])
    if occurrences[wanted[-1]] == 1 and len(candidates) == 1:
        return candidates[0]
    whole = [path for path in candidates if path.parts[-len(wanted) :] == wanted]
    return whole[0] if len(whole) == 1 else None


def _link(entry: FileEntry, candidate: Path, place: Path, check_hashes: bool, result: Adoption) -> None:
    size = candidate.stat().st_size
    if entry.bytes is not None and size != entry.bytes:
        result.refused[entry.path] = f"{candidate} has {size:,} bytes instead of {entry.bytes:,}"
    elif check_hashes and entry.hash is not None and file_hash(candidate, entry.hash) != entry.digest:
        result.refused[entry.path] = f"{candidate} has another {entry.hash} than the published one"
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()  # a link whose file has gone
        place.symlink_to(candidate)
        result.linked.append(entry.path)
