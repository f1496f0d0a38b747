"""Single files of a dataset: from patterns and compressed lists to entries, and the choice of those one needs."""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import itertools
import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import quote

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import as_names
from brainmap.common.storage.files import HASH_LENGTHS, HashKind, checked_relative
from brainmap.data.manifests.manifest import FileGroup, Manifest, filled

MAX_LIST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class FileEntry:
    """One file of a dataset.

    Attributes
    ----------
    path : str
        Below the dataset's folder.
    bytes : int, optional
        Exact size.
    about : int, optional
        Approximate size, where the exact one is not known.
    hash, digest : str, optional
        Kind (``sha256``, ``sha256-128``, its first 128 bits, ``md5``, ``git-sha1``, of a git blob) and value.
    url : str, optional
        Where it is to be had.

    Examples
    --------
    >>> from brainmap.data.manifests import FileEntry
    >>> FileEntry("betas/session01.hdf5", about=2_000_000_000).expected_bytes
    2000000000
    """

    path: str
    bytes: int | None = None
    about: int | None = None
    hash: HashKind | None = None
    digest: str | None = None
    url: str | None = None

    @property
    def expected_bytes(self) -> int:
        """Size for plans: exact, else approximate, else 0."""
        return self.bytes if self.bytes is not None else (self.about or 0)


def all_entries(manifest: Manifest, folder: Path) -> list[FileEntry]:
    """Every file of a dataset.

    Parameters
    ----------
    manifest : Manifest
        The dataset.
    folder : Path
        Where the manifest lies, for its ``file_list``.

    Raises
    ------
    InputError
        If a list names a path twice, leads outside or holds a malformed row.
    """
    listed = [] if manifest.file_list is None else list(_listed(folder / manifest.file_list, manifest.base_url))
    entries = [*listed, *itertools.chain.from_iterable(_expanded(group, manifest) for group in manifest.files)]
    seen: set[str] = set()
    for entry in entries:
        if entry.path in seen:
            raise InputError(f"The manifest of {manifest.name} names {entry.path!r} twice; keep one.")
        seen.add(entry.path)
    return entries


def chosen_entries(
    entries: Sequence[FileEntry], manifest: Manifest, purpose: str | None, subjects: Sequence[str] | None = None
) -> list[FileEntry]:
    """Entries that a purpose needs for some subjects.

    Parameters
    ----------
    entries : sequence of FileEntry
        All files.
    manifest : Manifest
        The dataset.
    purpose : str, optional
        A key of ``manifest.purposes``; everything by default.
    subjects : sequence of str, optional
        Names of subjects; all by default.

    Raises
    ------
    InputError
        For an unknown purpose or subject.
    """
    names = (
        list(manifest.subjects)
        if subjects is None
        else [resolve_subject(manifest, name) for name in as_names(subjects)]
    )
    if purpose is None:
        others = {f.code for name, f in manifest.subjects.items() if name not in names}
        return [entry for entry in entries if not any(_mentions(entry.path, code) for code in others)]
    if purpose not in manifest.purposes:
        known = ", ".join(manifest.purposes) or "none"
        raise InputError(f"{manifest.name} has no list of files for {purpose!r}; there are: {known}.")
    patterns = {
        filled(pattern, {"subject": name, "code": manifest.subjects[name].code})
        for pattern in manifest.purposes[purpose]
        for name in names
    }
    match = re.compile("|".join(fnmatch.translate(pattern) for pattern in sorted(patterns))).match
    return [entry for entry in entries if match(entry.path)]


def resolve_subject(manifest: Manifest, name: str) -> str:
    """Name of a subject as the manifest writes it: ``1``, ``01``, ``sub-01`` and ``subj01`` are one.

    Raises
    ------
    InputError
        If there is no such subject.
    """
    wanted = _bare(name)
    for known, facts in manifest.subjects.items():
        if wanted in (_bare(known), _bare(facts.code)):
            return known
    raise InputError(f"{manifest.name} has no subject {name!r}; its subjects are {', '.join(manifest.subjects)}.")


def _bare(name: str) -> str:
    return re.sub(r"^(sub-)?(subj|BIGMEG|CSI)?", "", name).lstrip("0") or "0"


def _mentions(path: str, code: str) -> bool:
    return code in re.split(r"[/_]", path) or f"sub-{code}" in re.split(r"[/_]", path)


def _expanded(group: FileGroup, manifest: Manifest) -> Iterator[FileEntry]:
    names = list(group.each)
    for values in itertools.product(*group.each.values()):
        further = dict(zip(names, values, strict=True))
        for place in _places(group, manifest):
            path = checked_relative(filled(group.path, {**further, **place}))
            base = None if group.by_hand else manifest.base_url
            url = filled(group.url, {**further, **place}) if group.url else _address(base, path)
            yield FileEntry(path, group.bytes, group.about, group.hash, group.digest, url)


def _places(group: FileGroup, manifest: Manifest) -> Iterator[dict[str, str | int]]:
    if not group.per:
        yield {}
        return
    for name, facts in manifest.subjects.items():
        for session in range(1, facts.sessions + 1) if "session" in group.per else [0]:
            yield {"subject": name, "code": facts.code, "session": session}


def _address(base: str | None, path: str) -> str | None:
    return None if base is None else f"{base.rstrip('/')}/{quote(path)}"


@functools.lru_cache(maxsize=4)
def _rows(file: Path, changed: int) -> tuple[tuple[str, str, str, str], ...]:
    try:
        with lzma.open(file) as stream:
            content = stream.read(MAX_LIST_BYTES + 1)
        text = content.decode("utf-8")
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged ({error}); a list of files is xz-compressed text in UTF-8.") from error
    if len(content) > MAX_LIST_BYTES:
        raise InputError(f"{file} unpacks to more than {MAX_LIST_BYTES:,} bytes; a list of files has fewer.")
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or rows[0] != ["path", "bytes", "hash", "digest"]:
        raise InputError(f"{file} must have the columns path, bytes, hash, digest; found {rows[0] if rows else []}.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 4 or not re.fullmatch("[0-9]{1,16}", row[1]) or HASH_LENGTHS.get(row[2]) != len(row[3]):
            raise InputError(f"Line {number} of {file} is malformed: {row}; it needs path, bytes, hash kind, digest.")
    return tuple((row[0], row[1], row[2], row[3]) for row in rows[1:])


def _listed(file: Path, base: str | None) -> Iterator[FileEntry]:
    if not file.is_file():
        raise MissingFileError(f"There is no list of files {file}; reinstall brainmap.")
    for path, size, kind, digest in _rows(file, file.stat().st_mtime_ns):
        checked_relative(path)
        yield FileEntry(path, int(size), None, cast(HashKind, kind), digest, _address(base, path))
