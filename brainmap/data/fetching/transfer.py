"""One request, and what of its answer may be believed: addresses, redirections, lengths, ranges, kinds of content."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from brainmap.common.errors import BrainmapError, printable
from brainmap.data.manifests.file_entries import FileEntry

PIECE = 2**16
TIMEOUT = 60.0
# A size that is only said to be "about" so much bounds the bytes, too, more loosely.
LOOSELY, SLACK = 4, 2**20


class DownloadError(BrainmapError):
    """A file could not be fetched whole; what arrived is kept as ``.part`` where it can be continued."""


class Refused(DownloadError):
    """What the server sends is not the file; asking again would not help."""


class OnlyOnwardToHttps(urllib.request.HTTPRedirectHandler):
    """Follow redirections to https only, so that nobody on the way can put another file in the place of this one."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Refuse any other address."""
        if urlsplit(newurl).scheme != "https" and not _is_this_machine(newurl):
            raise Refused(printable(f"{req.full_url} redirects to {newurl[:200]}, which is not https; not followed."))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_address(request: urllib.request.Request, timeout: float = TIMEOUT) -> Any:
    """Open a request; the proxies of the environment are used, files and other schemes are not."""
    return urllib.request.build_opener(OnlyOnwardToHttps).open(request, timeout=timeout)


def refuse_unsafe_address(entry: FileEntry) -> None:
    """Refuse addresses whose bytes anybody on the way could change unnoticed, and such as are not of the web.

    Raises
    ------
    Refused
        Naming the address.
    """
    scheme = urlsplit(str(entry.url)).scheme
    if scheme not in ("https", "http", "ftp"):
        raise Refused(printable(f"{entry.url} is not an address of the web; a manifest needs https://."))
    if scheme != "https" and entry.hash is None and not _is_this_machine(str(entry.url)):
        raise Refused(
            printable(
                f"{entry.url} is not https and the manifest has no hash of {entry.path}: nobody could tell if it was "
                "changed on the way. Fetch it by hand, or add its hash to the manifest."
            )
        )


def _is_this_machine(address: str) -> bool:
    return urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Answer:
    """What a server says about the bytes it is going to send.

    Attributes
    ----------
    goes_on : bool
        Whether they continue the part that is there.
    total : int, optional
        Size of the whole file.
    version : str, optional
        Strong ETag, or date, that names this version of the file.
    md5 : str, optional
        MD5 of the whole file, where the server publishes it.
    """

    goes_on: bool
    total: int | None
    version: str | None
    md5: str | None


def read_answer(answer: Any, entry: FileEntry, have: int, version: str | None) -> Answer:
    """Judge the head of an answer before any of its body is kept.

    Parameters
    ----------
    answer : http.client.HTTPResponse
        Open answer.
    entry : FileEntry
        The file asked for.
    have : int
        Bytes that are there, if the rest was asked for; else 0.
    version : str, optional
        The version they are of.

    Raises
    ------
    Refused
        If the body cannot be the file.
    """
    headers, status = answer.headers, getattr(answer, "status", None)
    coding = (headers.get("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        raise Refused(printable(f"{entry.url} sends {entry.path} packed ({coding}), although it was asked not to."))
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") and not entry.path.lower().endswith((".html", ".htm", ".xhtml")):
        raise Refused(
            f"{printable(str(entry.url))} answers with a web page, not with {entry.path}: it may want you to log in; "
            "fetch it by hand."
        )
    length = _number(headers.get("Content-Length"))
    tag = headers.get("ETag") or headers.get("Last-Modified")
    strong = tag if tag and not tag.startswith("W/") and len(tag) < 500 else None
    goes_on = status == 206
    total = length
    if goes_on:
        total = _total_of_range(headers.get("Content-Range"), entry, have)
        if not have or (strong is not None and strong != version):
            raise Refused(printable(f"{entry.url} sends a range of another version of {entry.path}."))
    _check_size(entry, total)
    return Answer(goes_on, total, strong, _published_md5(headers))


def _total_of_range(text: str | None, entry: FileEntry, have: int) -> int | None:
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text or "")
    if match is None or int(match[1]) != have or int(match[2]) < have:
        raise Refused(printable(f"{entry.url} sends another range of {entry.path} than was asked for ({text})."))
    if match[3] == "*":
        return None
    if int(match[2]) + 1 > int(match[3]):
        raise Refused(printable(f"{entry.url} sends a range beyond the end of {entry.path} ({text})."))
    return int(match[3])


def _check_size(entry: FileEntry, total: int | None) -> None:
    if total is None:
        return
    if entry.bytes is not None and total != entry.bytes:
        raise Refused(f"{printable(str(entry.url))} has {total:,} bytes instead of the published {entry.bytes:,}.")
    bound = most_bytes(entry, None)
    if bound is not None and total > bound:
        raise Refused(f"{printable(str(entry.url))} has {total:,} bytes; about {entry.about:,} were expected.")


def most_bytes(entry: FileEntry, total: int | None) -> int | None:
    """Bytes that may arrive for a file: its published size, that of the server, or a multiple of an estimate."""
    if entry.bytes is not None:
        return entry.bytes
    if total is not None:
        return total
    return None if entry.about is None else LOOSELY * entry.about + SLACK


def _published_md5(headers: Any) -> str | None:
    """MD5 that an object store publishes: S3's ETag of an object that was sent in one piece and is not encrypted."""
    tag = (headers.get("ETag") or "").strip('"')
    of_s3 = headers.get("Server") == "AmazonS3" and "kms" not in (headers.get("x-amz-server-side-encryption") or "")
    return tag if of_s3 and re.fullmatch("[0-9a-f]{32}", tag) else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text) else None


def pieces(answer: Any, length: int | None, stop: threading.Event) -> Iterator[bytes]:
    """Body of an answer as it comes, so that a server that dribbles can be interrupted.

    Raises
    ------
    DownloadError
        When ``stop`` is set.
    ConnectionError
        If the connection ends before the announced length.
    """
    read: Callable[[int], bytes] = getattr(answer, "read1", answer.read)
    received = 0
    while piece := read(PIECE):
        received += len(piece)
        yield piece
        if stop.is_set():
            raise DownloadError("interrupted.")
    if length is not None and received < length:
        raise ConnectionError(f"the connection ended after {received} of {length} bytes")
