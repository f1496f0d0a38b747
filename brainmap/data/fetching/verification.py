"""Compare a dataset on disk with its manifest: fast by size, full by hash; every bad file is named."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from brainmap.common.progress import track
from brainmap.common.storage.files import file_hash
from brainmap.data.fetching.dataset import OWN_FOLDER, Dataset
from brainmap.data.manifests.file_entries import FileEntry, chosen_entries


@dataclass
class Verification:
    """What a comparison found.

    Attributes
    ----------
    checked : int
        Files compared.
    missing, wrong_size, damaged, extra, incomplete : list of str
        Paths: absent; of another size; of right size but another hash; not part of the dataset (photographs
        put there by hand are not counted); parts of downloads.
    unhashed : list of str
        Files without published hash in a full comparison: only their size was compared.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset, verify
    >>> from brainmap.data.manifests import load_manifest
    >>> verification = verify(Dataset(load_manifest("algonauts2023"), Path("data/algonauts")))
    >>> verification.ok, verification.checked
    (False, 288)
    """

    checked: int = 0
    missing: list[str] = field(default_factory=list)
    wrong_size: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    unhashed: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is there and right; extra files do no harm."""
        return not (self.missing or self.wrong_size or self.damaged or self.incomplete)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Go through all findings as (what, path)."""
        for what in ("missing", "wrong_size", "damaged", "incomplete", "extra"):
            for path in getattr(self, what):
                yield what.replace("_", " "), path


def verify(
    dataset: Dataset,
    *,
    purpose: str | None = None,
    subjects: Sequence[str] | None = None,
    full: bool = False,
    only: str | None = None,
) -> Verification:
    """Compare files with the manifest.

    Parameters
    ----------
    dataset : Dataset
        What to compare.
    purpose, subjects
        Which files, as in :meth:`Dataset.plan`.
    full : bool
        Read every file and compare hashes; else compare sizes only.
    only : str, optional
        Pattern (``fnmatch``) of paths to look at.

    Returns
    -------
    Verification

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset, verify
    >>> from brainmap.data.manifests import load_manifest
    >>> len(verify(Dataset(load_manifest("algonauts2023"), Path("data/algonauts"))).missing) > 0
    True
    """
    chosen = chosen_entries(dataset.entries, dataset.manifest, purpose, subjects)
    if only is not None:
        chosen = [entry for entry in chosen if fnmatch.fnmatchcase(entry.path, only)]
    on_disk = dict(_walk(dataset.root))
    result = Verification(checked=len(chosen))
    for entry in track(chosen, "verifying", unit="files") if full else chosen:
        _compare(entry, on_disk, dataset, full, result)
    known = {entry.path for entry in dataset.entries}
    photographs = None if dataset.manifest.stimuli.included else dataset.manifest.stimuli.path
    for path in sorted(set(on_disk) - known):
        if photographs is not None and path.startswith(f"{photographs}/"):
            continue  # put there by hand, as the manifest asks
        if only is not None and not fnmatch.fnmatchcase(path, only):
            continue
        (result.incomplete if path.removesuffix(".part") in known else result.extra).append(path)
    beside = (".part.version", ".part.lock")
    result.extra = [path for path in result.extra if not path.endswith(beside)]
    return result


def _compare(entry: FileEntry, on_disk: dict[str, int], dataset: Dataset, full: bool, result: Verification) -> None:
    size = on_disk.get(entry.path)
    if size is None:
        result.missing.append(entry.path)
    elif entry.bytes is not None and size != entry.bytes:
        result.wrong_size.append(entry.path)
    elif full and entry.hash is None:
        known = dataset.known(entry)  # what the server sent, where brainmap fetched it
        if known is None or known.get("hash") != "sha256":
            result.unhashed.append(entry.path)
        elif file_hash(dataset.place(entry)) != known.get("digest"):
            result.damaged.append(entry.path)
        else:
            result.unhashed.append(entry.path)
    elif full and entry.hash is not None and file_hash(dataset.place(entry), entry.hash) != entry.digest:
        result.damaged.append(entry.path)


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    """Paths below a folder and their sizes; links are followed for sizes, never into folders outside."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(root / folder))
        except FileNotFoundError:
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if path != OWN_FOLDER:
                    pending.append(path)
            elif entry.is_file():
                yield path, entry.stat().st_size
            elif entry.is_symlink() and entry.is_dir():
                yield from _walk_linked(Path(entry.path), path, root)


def _walk_linked(link: Path, path: str, root: Path) -> Iterator[tuple[str, int]]:
    """Go into a linked folder if it stays inside the dataset."""
    if link.resolve().is_relative_to(root.resolve()):
        for inner, size in _walk(link):
            yield f"{path}/{inner}", size
