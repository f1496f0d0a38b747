"""What the operating system refuses, in a sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmap.common.errors import InputError, MissingFileError

_WHY = {
    errno.ENOSPC: ("the disk is full", "free some space, or write elsewhere"),
    errno.EDQUOT: ("your share of the disk is used up", "free some space, or write elsewhere"),
    errno.EROFS: ("the disk is read-only", "write elsewhere"),
    errno.EACCES: ("there is no permission", "ask for it, or use another place"),
    errno.EPERM: ("there is no permission", "ask for it, or use another place"),
    errno.ENAMETOOLONG: ("the name is too long", "use a shorter one"),
    errno.ELOOP: ("its links lead in a circle", "remove one of them"),
    errno.ENOMEM: ("there is not enough memory", "use fewer data at once"),
    errno.EISDIR: ("it is a folder", "name a file"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "correct the path"),
    errno.EMFILE: ("too many files are open", "close some, or raise the limit (ulimit -n)"),
    errno.EIO: ("the disk reports an error", "copy the file from its source again"),
    errno.ESTALE: ("the network drive has lost it", "connect the drive again"),
}


def os_sentence(error: OSError) -> str:
    """Say in one sentence what the operating system refused, where, and what to do."""
    place = Path(str(error.filename)).as_posix() if error.filename is not None else "a file"
    if len(place) > 200:
        place = f"{place[:80]}…{place[-80:]}"
    if isinstance(error, FileNotFoundError):
        return f"There is no file or folder {place}; it may have been moved or removed."
    why, remedy = _WHY.get(error.errno or 0, (error.strerror or str(error), "check the path and the disk"))
    return f"{place} cannot be used: {why}; {remedy}."


@contextmanager
def reading(path: Path | None = None) -> Iterator[None]:
    """Turn what the operating system refuses while a file is read into a sentence.

    Raises
    ------
    MissingFileError
        If the file has vanished.
    InputError
        For anything else.
    """
    try:
        yield
    except (InputError, UnicodeError):
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path is not None and path.exists():
            absent = error.filename if error.filename not in (None, str(path)) else str(error).rstrip(".")
            raise MissingFileError(f"A file that {path} needs is not there: {absent}.") from error
        if error.filename is None and path is not None:
            error.filename = str(path)
        kind = MissingFileError if isinstance(error, FileNotFoundError) else InputError
        raise kind(os_sentence(error)) from error
