"""Stored numbers carry digests: a list of files with sizes and hashes in every folder, a checksum in every array file.

A folder is *sealed* when it is complete: ``digests.json`` names every file in it. The list also says that the folder
is brainmap's own, so that it may be replaced. Loading compares the names and sizes of all files and the hashes of all
but the chunks of Zarr arrays, which carry a checksum of their own that is compared when they are read; ``full`` also
reads the chunks.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from brainmap.common.errors import DamagedError, InputError, NotVerifiedWarning
from brainmap.common.storage.files import (
    atomic_folder,
    atomic_path,
    file_hash,
    inside,
    recover_folder,
    write_atomically,
)

LIST = "digests.json"
FORMAT = 1
AGAIN = "the command that made it makes it anew"


@contextmanager
def sealed_folder(path: Path, kind: str) -> Iterator[Path]:
    """Write a folder that is complete, sealed and on the disk, or not there; one of the same kind is replaced.

    Parameters
    ----------
    path : Path
        The folder.
    kind : str
        What it holds, such as ``"encoding result"``.

    Yields
    ------
    Path
        An empty folder to fill.

    Raises
    ------
    InputError
        If ``path`` is a file, or holds anything that brainmap did not write there.
    """
    refuse_foreign(path, kind)
    with atomic_folder(path) as partial:
        yield partial
        seal(partial, kind)


def refuse_foreign(path: Path, kind: str) -> None:
    """Refuse to replace what is not brainmap's own.

    Raises
    ------
    InputError
        Naming the first foreign file.
    """
    while True:
        seen = _identity(path)
        try:
            _refuse_foreign(path, kind)
            return
        except (InputError, FileNotFoundError):
            if _identity(path) == seen:  # else another process has just put its own in that place: look again
                raise


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a folder from the one before it, whose inode a file system gives away again at once."""
    try:
        found = path.lstat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _refuse_foreign(path: Path, kind: str) -> None:
    recover_folder(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path} exists and is no folder of its own; choose another name for the {kind}.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    listed = _read_list(path)
    if listed is None:
        raise InputError(
            f"{path} holds other files (no {LIST} says that brainmap wrote them); choose an empty folder for the "
            f"{kind}, or remove it yourself."
        )
    if listed["brainmap"] != kind:
        raise InputError(f"{path} holds a {listed['brainmap']}; choose another folder for the {kind}.")
    for name in _files_below(path):
        if name != LIST and name not in listed["files"]:
            raise InputError(f"{path / name} was not written by brainmap; move it away before {path} is replaced.")


def seal(folder: Path, kind: str) -> None:
    """Write the list of a folder's files; from then on it is complete and brainmap's own."""
    files = {name: [(folder / name).stat().st_size, file_hash(folder / name)] for name in sorted(_files_below(folder))}
    files.pop(LIST, None)
    text = {"brainmap": kind, "format": FORMAT, "files": files, "digest": _digest_of_list(kind, files)}
    write_atomically(folder / LIST, json.dumps(text, indent=1))


def is_sealed(folder: Path) -> bool:
    """Whether a folder carries a list of digests, readable or not."""
    return (folder / LIST).is_file()


def check_folder(folder: Path, kind: str, *, full: bool = False) -> bool:
    """Compare a folder with its list of digests.

    Parameters
    ----------
    folder : Path
        Written by :func:`sealed_folder`.
    kind : str
        What it must hold.
    full : bool
        Read the chunks of arrays, too.

    Returns
    -------
    bool
        False, after a `NotVerifiedWarning`, if it was written before there were digests.

    Raises
    ------
    DamagedError
        Naming the first file that is missing, or is not what was written.
    """
    recover_folder(folder)
    if not is_sealed(folder):
        warnings.warn(
            f"{folder} is not verified: it has no {LIST} (it was written before brainmap kept digests).",
            NotVerifiedWarning,
            stacklevel=3,
        )
        return False
    for file, problem in damages(folder, kind, full=full):
        raise DamagedError(f"{file} {problem}: the {kind} in {folder} is damaged; {AGAIN}.", file)
    return True


def damages(folder: Path, kind: str | None = None, *, full: bool = True) -> Iterator[tuple[Path, str]]:
    """Go through the files of a sealed folder that are missing or not what was written, with what is wrong."""
    try:
        listed = _read_list(folder)
    except DamagedError as error:
        yield error.file, "is damaged itself"
        return
    if listed is None:
        yield folder / LIST, "is missing"
        return
    if kind is not None and listed["brainmap"] != kind:
        raise InputError(f"{folder} holds a {listed['brainmap']}, not a {kind}; give another folder.")
    for name, (size, digest) in listed["files"].items():
        file = inside(folder, name)
        try:
            size_on_disk = file.stat().st_size if file.is_file() else None
            if size_on_disk is None:
                yield file, "is missing"
            elif size_on_disk != size:
                yield file, f"has {size_on_disk:,} bytes instead of {size:,}"
            elif (full or not _is_chunk(name)) and file_hash(file) != digest:
                yield file, "is not what was written (its SHA-256 differs)"
        except OSError as error:
            yield file, f"cannot be read ({error.strerror})"


@contextmanager
def reading(folder: Path, kind: str) -> Iterator[None]:
    """Check a folder, then turn whatever its readers stumble over into the sentence that names the damaged file."""
    check_folder(folder, kind)
    with naming_damage(folder, kind):
        yield


@contextmanager
def naming_damage(folder: Path, kind: str) -> Iterator[None]:
    """Turn whatever readers of a folder that has been checked stumble over into the sentence that names the file.

    Raises
    ------
    DamagedError
        In place of any error but those that are sentences already.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".*{LIST}", category=UserWarning)  # zarr: not one of its files
            yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zarr, xarray, json and pandas each have errors of their own for damaged bytes
        if is_sealed(folder):
            check_folder(folder, kind, full=True)
        problem = " ".join(str(error).split())
        raise DamagedError(f"{folder} cannot be read as a {kind} ({problem}); {AGAIN}.", folder) from error


def _read_list(folder: Path) -> dict[str, Any] | None:
    file = folder / LIST
    if not file.is_file():
        return None
    try:
        listed: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kind, files = listed["brainmap"], listed["files"]
        sound = listed["digest"] == _digest_of_list(kind, files) and listed["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DamagedError(f"{file} is damaged, so nothing beside it can be verified; {AGAIN}.", file)
    return listed


def _digest_of_list(kind: str, files: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([FORMAT, kind, files], sort_keys=True).encode()).hexdigest()


def _is_chunk(name: str) -> bool:
    return "c" in name.split("/")[:-1] or name.endswith("/c")


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield (Path(parent) / name).relative_to(folder).as_posix()


# -- single arrays ---------------------------------------------------------------------------------------------------

# numpy reads a .npy file up to the end of its array: what follows is brainmap's. Checksums are CRC-32, one a piece of
# the array, so that a reader of some columns need not read the whole file.
_MAGIC = b"brainmap-crc32-1"
_TAIL = struct.Struct("<16sQII")  # magic, number of checksums, CRC-32 of the checksums, CRC-32 of the header


def checksum_tail(header: bytes, checksums: Iterable[int]) -> bytes:
    """Bytes that follow the array in a ``.npy`` file: a CRC-32 for each piece of it, and their own."""
    sums = np.fromiter(checksums, dtype="<u4").tobytes()
    return sums + _TAIL.pack(_MAGIC, len(sums) // 4, zlib.crc32(sums), zlib.crc32(header))


def read_checksum_tail(path: Path, header_size: int, array_size: int) -> np.ndarray | None:
    """Checksums of the pieces of an array, or None for a file from before there were any.

    Raises
    ------
    DamagedError
        If the file is cut short or too long, or its header or its checksums are damaged.
    """
    size = path.stat().st_size
    end = header_size + array_size
    if size == end:
        return None
    if size < end + _TAIL.size:
        raise DamagedError(f"{path} is cut short or was appended to; remove it, {AGAIN}.", path)
    with path.open("rb") as stream:
        header = stream.read(header_size)
        stream.seek(end)
        tail = stream.read()
    magic, count, own, of_header = _TAIL.unpack(tail[-_TAIL.size :])
    sums = tail[: -_TAIL.size]
    if magic != _MAGIC or len(sums) != 4 * count or zlib.crc32(sums) != own or zlib.crc32(header) != of_header:
        raise DamagedError(f"{path} is cut short or damaged (its checksums do not fit); remove it, {AGAIN}.", path)
    return np.frombuffer(sums, dtype="<u4")


def warn_not_verified(path: Path) -> None:
    """Warn, once a folder, that files in it were written before there were checksums."""
    warnings.warn(
        f"Files in {path.parent} are not verified: they were written before brainmap kept checksums.",
        NotVerifiedWarning,
        stacklevel=3,
    )


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file with a checksum, whole or not at all; numpy reads it like any other."""
    values = np.ascontiguousarray(array)
    with atomic_path(path) as partial, partial.open("wb") as stream:
        np.lib.format.write_array(stream, values, allow_pickle=False)
        header_size = stream.tell() - values.nbytes
        stream.flush()
        with partial.open("rb") as written:
            header = written.read(header_size)
        stream.write(checksum_tail(header, [zlib.crc32(values.tobytes())]))


def load_array(path: Path) -> np.ndarray:
    """Read what :func:`save_array` wrote; one from before there were checksums is read with a `NotVerifiedWarning`.

    Raises
    ------
    DamagedError
        If it is not what was written.
    """
    try:
        with path.open("rb") as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            header_size = stream.tell() - array.nbytes
    except (ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError, OverflowError) as error:
        raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())}); remove it, {AGAIN}.", path) from error
    sums = read_checksum_tail(path, header_size, array.nbytes)
    if sums is None:
        warn_not_verified(path)
    elif len(sums) != 1 or zlib.crc32(array.tobytes()) != sums[0]:
        raise DamagedError(f"{path} is not what was written (its CRC-32 differs); remove it, {AGAIN}.", path)
    return array
