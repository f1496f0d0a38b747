"""Paths of a dataset stay inside its folder, whatever a manifest or a list of files says."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from brainmap.errors import InputError


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
