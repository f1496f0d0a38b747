"""What packed files may unpack to: a file of a few kilobytes can stand for gigabytes."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from zipfile import ZIP_STORED, ZipInfo

from brainmap.common.errors import InputError

MAX_UNPACKED = 2_000_000_000
LIMIT = "BRAINMAP_MAX_UNPACKED"
TEXT = 4  # cells of text take several times their size in memory
PACKED_TO = 1032  # no byte of gzip unpacks to more
_PIECE = 2**24


def max_unpacked() -> int:
    """Bytes that a packed array may unpack to: the environment variable ``BRAINMAP_MAX_UNPACKED``, or 2 GB.

    Raises
    ------
    InputError
        If the variable is not a number.
    """
    text = os.environ.get(LIMIT, str(MAX_UNPACKED))
    if not (text.isascii() and text.isdigit()) or not 0 < len(text) < 16:
        raise InputError(f"{LIMIT} is {text!r}; it must be a number of bytes, such as {MAX_UNPACKED}.")
    return int(text)


def refuse_large(size: int, where: str, *, times: int = 1) -> None:
    """Refuse what unpacks to more than is allowed, before it is unpacked.

    Parameters
    ----------
    size : int
        Bytes when unpacked.
    where : str
        What sentences call it.
    times : int
        How many times its size it takes in memory.
    """
    if size * times > max_unpacked():
        raise InputError(_sentence(where, f"{size / 1e9:,.2f} GB", max_unpacked() // times, size * times))


def refuse_large_member(member: ZipInfo, path: Path) -> None:
    """Refuse a packed member of a zip archive that unpacks to more than is allowed; stored ones are what they are."""
    if member.compress_type != ZIP_STORED:
        refuse_large(member.file_size, f"{member.filename} in {path}")


def refuse_impossible(size: int, path: Path, *, packed_to: int = PACKED_TO) -> None:
    """Refuse a file whose header promises more than so few bytes can hold, gzipped by default."""
    packed = path.stat().st_size
    if size > packed_to * packed:
        raise InputError(
            f"{path} is cut short or damaged: its header promises {size / 1e9:,.2f} GB, which its {packed:,} bytes "
            "cannot hold; fetch or save it anew."
        )


def gunzipped(data: bytes, where: str) -> bytes:
    """Unpack gzipped text up to what is allowed.

    Raises
    ------
    InputError
        If it is larger.
    EOFError, OSError, zlib.error
        If it is cut short or damaged.
    """
    allowed = max_unpacked() // TEXT
    said = int.from_bytes(data[-4:], "little")  # gzip keeps the size there, modulo 4 GB
    if allowed < said <= PACKED_TO * len(data):  # else it is cut short
        raise InputError(_sentence(where, f"at least {said / 1e9:,.2f} GB", allowed, None))
    parts, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        while piece := stream.read(_PIECE):
            parts.append(piece)
            size += len(piece)
            if size > allowed:
                raise InputError(_sentence(where, f"more than {size / 1e9:,.2f} GB", allowed, None))
    return b"".join(parts)


def _sentence(where: str, size: str, allowed: int, needed: int | None) -> str:
    lifted = f"{LIMIT}={needed}" if needed is not None else f"{LIMIT} to a larger number of bytes"
    return (
        f"{where} holds {size} when it is unpacked, more than {allowed / 1e9:,.2f} GB; save it unpacked (an array as "
        f".npy, which is read in blocks), or set {lifted}."
    )
