"""GIFTI files, looked through before they are read: what they unpack to, and which other files they name."""

from __future__ import annotations

import base64
import math
import zlib
from pathlib import Path
from typing import Any
from xml.parsers import expat

from brainmap.common.errors import InputError
from brainmap.common.storage.files import inside
from brainmap.common.storage.unpacked import PACKED_TO, max_unpacked, refuse_large

LARGEST_VALUE = 16  # bytes, of the types that NIfTI knows
_PIECE = 2**24


def check_gifti(path: Path) -> None:
    """Refuse a GIFTI file that unpacks to more than is allowed, or takes its numbers from outside its folder.

    nibabel reads all arrays at once, unpacks whatever they hold, and opens any file that they name.

    Parameters
    ----------
    path : Path
        File that exists.

    Raises
    ------
    InputError
        Naming what it holds; what is no XML is left to the reader.
    """
    arrays = _Arrays(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = arrays.begin, arrays.end
    parser.CharacterDataHandler, parser.EntityDeclHandler = arrays.text, arrays.entity
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
    except InputError:
        raise
    except (expat.ExpatError, ValueError, zlib.error):
        return


class _Arrays:
    """What the arrays of one file promise and hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packed: list[str] | None = None  # text of the array that is being read
        self._is_packed = False
        self._may_explode = path.stat().st_size * PACKED_TO > max_unpacked()
        self._promised = 0
        self._total = 0

    def entity(self, *_: Any) -> None:
        raise InputError(
            f"{self.path} defines words of its own (XML entities), which no GIFTI file needs; save it anew."
        )

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        if name == "DataArray":
            self._is_packed = attributes.get("Encoding", "").lower().startswith("gzip")
            sizes = [int(size) for key, size in attributes.items() if key.startswith("Dim") and key[3:].isdecimal()]
            self._promised = math.prod(sizes) * LARGEST_VALUE
            if sizes and attributes.get("Encoding", "").lower().startswith("external"):
                inside(self.path.parent, attributes.get("ExternalFileName", ""))
                refuse_large(math.prod(sizes), f"{self.path}")
        elif name == "Data" and self._is_packed and self._may_explode:
            self._packed = []

    def text(self, data: str) -> None:
        if self._packed is not None:
            self._packed.append(data)

    def end(self, name: str) -> None:
        if name != "Data" or self._packed is None:
            return
        packed = base64.b64decode("".join(self._packed).encode("ascii"))
        self._packed = None
        size = _unpacked_size(packed, self._promised)
        if size > self._promised:
            raise InputError(
                f"{self.path} is damaged: an array holds more numbers than it says; fetch or save it anew."
            )
        self._total += size
        refuse_large(self._total, f"{self.path}")


def _unpacked_size(packed: bytes, promised: int) -> int:
    """Bytes that zlib unpacks to, counted in pieces; counting ends where more than is allowed is found."""
    enough = min(promised, max_unpacked())
    unpacking, size = zlib.decompressobj(), 0
    piece = unpacking.decompress(packed, _PIECE)
    while piece:
        size += len(piece)
        if size > enough:
            break
        piece = unpacking.decompress(unpacking.unconsumed_tail, _PIECE)
    return size
