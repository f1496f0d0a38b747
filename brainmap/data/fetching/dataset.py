"""A dataset on this disk: its manifest, its folder, what is there and what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError
from brainmap.common.storage.files import file_hash, inside, write_atomically
from brainmap.data.manifests.catalog import dataset_files, load_manifest, manifest_folder
from brainmap.data.manifests.file_entries import FileEntry, chosen_entries
from brainmap.data.manifests.manifest import Manifest

ROOT_VARIABLE = "BRAINMAP_DATA"
OWN_FOLDER = ".brainmap"  # caches live here; no file of the dataset does


@dataclass(frozen=True)
class FetchPlan:
    """Files that are wanted and which of them are missing.

    Attributes
    ----------
    wanted, missing, wrong : list of FileEntry
        All files asked for; those absent; those present with another size than the manifest's.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset
    >>> from brainmap.data.manifests import load_manifest
    >>> plan = Dataset(load_manifest("nsd"), Path("data/nsd")).plan("fit", ["1"])
    >>> plan.missing_bytes > 1e9
    True
    """

    wanted: list[FileEntry]
    missing: list[FileEntry]
    wrong: list[FileEntry]

    @property
    def bytes(self) -> int:
        """Bytes of all wanted files (approximate where the manifest is)."""
        return sum(entry.expected_bytes for entry in self.wanted)

    @property
    def missing_bytes(self) -> int:
        """Bytes still to fetch."""
        return sum(entry.expected_bytes for entry in [*self.missing, *self.wrong])

    @property
    def exact(self) -> bool:
        """Whether every size is the published one."""
        return all(entry.bytes is not None for entry in self.wanted)


@dataclass(frozen=True)
class Dataset:
    """A dataset on this disk.

    Parameters
    ----------
    manifest : Manifest
        What it consists of.
    root : Path
        Its folder; need not exist yet.
    lists : Path
        Where the manifest's ``file_list`` lies.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset
    >>> from brainmap.data.manifests import load_manifest
    >>> dataset = Dataset(load_manifest("things-meg"), Path("data/things-meg"))
    >>> plan = dataset.plan("fit", ["BIGMEG1"])
    >>> len(plan.wanted) == len(plan.missing)
    True
    """

    manifest: Manifest
    root: Path
    lists: Path = field(default_factory=manifest_folder)

    @classmethod
    def open(cls, name: str, data_root: str | Path | None = None) -> Dataset:
        """Find a dataset.

        Parameters
        ----------
        name : str
            Name of a dataset, or path of a manifest of one's own.
        data_root : str or Path, optional
            Folder of the dataset, or the folder that holds its folder; by default the environment variable
            ``BRAINMAP_DATA``.

        Raises
        ------
        InputError
            If the dataset is unknown, or no folder is named.
        """
        manifest = load_manifest(name)
        lists = Path(name).parent if name.endswith((".yaml", ".yml")) else manifest_folder()
        return cls(manifest, find_root(manifest, data_root), lists)

    @cached_property
    def entries(self) -> list[FileEntry]:
        """Every file of the dataset."""
        return dataset_files(self.manifest, self.lists)

    @property
    def cache(self) -> Path:
        """Folder for what brainmap derives from the data."""
        return self.root / OWN_FOLDER

    def place(self, entry: FileEntry) -> Path:
        """Where a file lies, or would lie."""
        return inside(self.root, entry.path)

    def record(self, entry: FileEntry) -> Path:
        """Where what is known of a file that was fetched or hashed is kept: size, time, hash, the server's version."""
        return inside(self.cache / "known", f"{entry.path}.json")

    def plan(
        self, purpose: str | None = None, subjects: Sequence[str] | None = None, *, hashes: bool = False
    ) -> FetchPlan:
        """Say which files are needed and which of them are missing.

        Parameters
        ----------
        purpose : str, optional
            What for, such as ``fit``; the whole dataset by default.
        subjects : sequence of str, optional
            For whom; everybody by default.
        hashes : bool
            Compare published hashes, too: every file is read, unless it was before and has not changed since.
        """
        wanted = chosen_entries(self.entries, self.manifest, purpose, subjects)
        if not wanted:
            raise InputError(f"No file of {self.manifest.name} matches the purpose {purpose!r}.")
        missing, wrong = [], []
        for entry in wanted:
            size = size_on_disk(self.place(entry))
            if size is None:
                missing.append(entry)
            elif (entry.bytes is not None and size != entry.bytes) or self._differs(entry, hashes):
                wrong.append(entry)
        return FetchPlan(wanted, missing, wrong)

    def known(self, entry: FileEntry) -> dict[str, Any] | None:
        """What is kept of a file, or None."""
        try:
            recorded = json.loads(self.record(entry).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return recorded if isinstance(recorded, dict) else None

    def _differs(self, entry: FileEntry, hashes: bool) -> bool:
        """Whether a file of the right size is known to be another one."""
        place, known = self.place(entry), self.known(entry)
        status = place.stat()
        if known is not None and known.get("digest") == (entry.digest or known.get("digest")):
            if (known.get("bytes"), known.get("mtime_ns")) == (status.st_size, status.st_mtime_ns):
                return False
            if entry.hash is None:
                return known.get("bytes") != status.st_size
        if entry.hash is None or not hashes:
            return False
        if file_hash(place, entry.hash) != entry.digest:
            return True
        keep_record(self.record(entry), entry, place)
        return False


def keep_record(record: Path, entry: FileEntry, place: Path, version: str | None = None) -> None:
    """Keep what is known of a file that is right, so that it need not be read again to see that it still is."""
    kind = entry.hash or "sha256"
    status = place.stat()
    digest = entry.digest or file_hash(place, kind)
    known = {
        "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "hash": kind, "digest": digest, "version": version
    }  # fmt: skip
    write_atomically(record, json.dumps(known, indent=1))


def find_root(manifest: Manifest, data_root: str | Path | None = None) -> Path:
    """Folder of a dataset: the folder named, if it holds the dataset, else the dataset's own folder inside it.

    Raises
    ------
    InputError
        If no folder is named here or in ``BRAINMAP_DATA``.
    """
    named = data_root or os.environ.get(ROOT_VARIABLE)
    if not named:
        raise InputError(
            f"Where is {manifest.name}? Give the folder with --data-root, or set {ROOT_VARIABLE} to the folder that "
            f"holds a folder {manifest.name!r}."
        )
    folder = Path(named).expanduser()
    for name in (manifest.name, *manifest.aliases):
        if (folder / name).is_dir():
            return folder / name
    if any((folder / path).exists() for path in manifest.recognise) or folder.name in (
        manifest.name,
        *manifest.aliases,
    ):
        return folder
    return folder / manifest.name


def size_on_disk(path: Path) -> int | None:
    """Size of a file (links followed), or None where there is none."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if path.is_file() else None
