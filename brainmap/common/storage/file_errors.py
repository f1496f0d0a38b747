"""What the operating system refuses, in a sentence."""

from __future__ import annotations

import errno
import gzip
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmap.common.errors import BrainmapError, InputError, MissingFileError, printable

PROBE = 2**20  # bytes that a disk must hold for anything to begin
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
    """Turn whatever reading a file raises into a sentence: what the system refuses, and what parsers stumble over.

    Raises
    ------
    MissingFileError
        If the file, or one that it needs, has vanished.
    InputError
        For anything else.
    """
    try:
        yield
    except (BrainmapError, MemoryError, ImportError, Warning):
        raise
    except FileNotFoundError as error:
        if path is not None and path.exists() and error.filename not in (None, str(path)):
            raise MissingFileError(
                f"{error.filename} is not there, which {path.name} needs; was it moved, or left behind?"
            ) from error
        if path is not None and path.exists():
            raise MissingFileError(f"A file that {path} needs is not there: {_reason(error).rstrip('.')}.") from error
        raise MissingFileError(_sentence(error, path)) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        where = path or "A file"
        raise InputError(f"{where} is cut short or damaged ({_reason(error)}); fetch or save it anew.") from error
    except OSError as error:
        if error.errno is None:  # raised by a library
            raise InputError(f"{path or 'A file'} cannot be read ({_reason(error)}); fetch or save it anew.") from error
        raise InputError(_sentence(error, path)) from error
    except Exception as error:  # the parsers of a dozen formats raise anything on damaged bytes
        raise InputError(f"{path or 'A file'} cannot be read ({_reason(error)}); fetch or save it anew.") from error


def _sentence(error: OSError, path: Path | None) -> str:
    if error.filename is None and path is not None:
        error.filename = str(path)
    return os_sentence(error)


def _reason(error: Exception) -> str:
    lines = printable(str(error)).splitlines()
    return (lines[0][:200] if lines else "") or type(error).__name__


def require_writable(path: Path, option: str) -> None:
    """Refuse a folder that cannot be made or written to, before anything is loaded or computed for it.

    Parameters
    ----------
    path : Path
        The folder, or where it will be.
    option : str
        How another one is chosen, such as ``--out``.

    Raises
    ------
    InputError
        Saying what stands in the way: permissions, a read-only disk, a full one.
    """
    place = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as probe:  # access rights alone do not know of quotas, or of NFS
            probe.write(bytes(PROBE))
            probe.flush()
    except FileNotFoundError as error:
        raise InputError(
            f"{place} cannot be used: no file can be made in it ({option} names another folder)."
        ) from error
    except OSError as error:
        error.filename = str(place)
        raise InputError(f"{os_sentence(error).rstrip('.')} ({option} names another folder).") from error


def is_writable(path: Path) -> bool:
    """Whether a folder can be made or written to."""
    try:
        require_writable(path, "")
    except InputError:
        return False
    return True
