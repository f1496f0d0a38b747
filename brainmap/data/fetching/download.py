"""Download files so that an interrupted or corrupted one is never taken for complete.

A file grows as ``<name>.part`` and gets its name only when size and hash are right. A later call continues a part with
a range request, provided the server still serves the same file (its ETag or date is kept beside the part). A lock
beside the part keeps two downloads of one file apart.
"""

from __future__ import annotations

import http.client
import os
import queue
import shutil
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from brainmap.common.errors import InputError, printable
from brainmap.common.progress import track
from brainmap.common.storage.file_errors import require_writable
from brainmap.common.storage.files import file_hash, flush_to_disk, write_atomically
from brainmap.common.storage.locks import file_lock
from brainmap.data.fetching.dataset import Dataset, FetchPlan, keep_record, size_on_disk
from brainmap.data.fetching.terms import require_terms
from brainmap.data.fetching.transfer import (
    TIMEOUT,
    Answer,
    DownloadError,
    Refused,
    most_bytes,
    open_address,
    pieces,
    read_answer,
    refuse_unsafe_address,
)
from brainmap.data.manifests.file_entries import FileEntry

ATTEMPTS = 4
PROGRESS = 2**20  # bytes that an attempt must bring for the count of attempts to begin again
BACK_OFF = 0.5  # seconds before the second attempt; doubled each time
LONGEST_WAIT = 60.0
RETRIED = (408, 425, 429, 500, 502, 503, 504)
WEB_PAGE = (b"<!doctype html", b"<html")


def fetch(
    dataset: Dataset,
    *,
    purpose: str | None = None,
    subjects: Sequence[str] | None = None,
    jobs: int = 4,
    opener: Callable[..., Any] = open_address,
) -> FetchPlan:
    """Download what is missing of a dataset.

    Parameters
    ----------
    dataset : Dataset
        What, and where to.
    purpose, subjects
        Which files, as in :meth:`Dataset.plan`.
    jobs : int
        Files at once.
    opener : callable
        Opens a request; for tests.

    Returns
    -------
    FetchPlan
        What was planned before fetching. Files that were there and have another hash than the published one are among
        the wrong ones (each file is hashed once, and again only if it changes).

    Raises
    ------
    InputError
        Without agreement to the terms, without room on the disk, or for files that can only be had by hand.
    DownloadError
        If files could not be fetched; the sentence names the first and says how many.

    Examples
    --------
    >>> from pathlib import Path
    >>> from brainmap.data.fetching import Dataset, fetch
    >>> from brainmap.data.manifests import load_manifest
    >>> dataset = Dataset(load_manifest("things-meg"), Path("data/things-meg"))
    >>> fetch(dataset, purpose="fit", subjects=["BIGMEG1"])  # doctest: +SKIP
    >>> len(dataset.plan("fit", ["BIGMEG1"]).missing) > 0  # what that would fetch
    True
    """
    require_terms(dataset.manifest)
    plan = dataset.plan(purpose, subjects, hashes=True)
    todo = [*plan.missing, *plan.wrong]
    by_hand = [entry for entry in todo if entry.url is None]
    if by_hand:
        raise InputError(
            f"{len(by_hand)} files of {dataset.manifest.name}, such as {by_hand[0].path}, cannot be fetched by "
            f"brainmap: {' '.join(dataset.manifest.by_hand.split())} Put them below {dataset.root}."
        )
    for entry in todo:
        refuse_unsafe_address(entry)
    require_room(dataset, todo)
    _fetch_all(dataset, todo, jobs, opener)
    unknown = [entry for entry in todo if entry.hash is None]
    if unknown:
        warnings.warn(
            f"{len(unknown)} files of {dataset.manifest.name}, such as {unknown[0].path}: size and content not "
            "verified: no published hash. What the server says of size and version is kept, and compared by "
            "brainmap data verify --full.",
            stacklevel=2,
        )
    return plan


def require_room(dataset: Dataset, entries: Sequence[FileEntry]) -> None:
    """Refuse to start a download that the disk cannot hold, or may not.

    Raises
    ------
    InputError
        Saying how much is needed and free, or what stands in the way.
    """
    if entries:
        require_writable(dataset.root, "--data-root")
    existing = next(folder for folder in (dataset.root.absolute(), *dataset.root.absolute().parents) if folder.exists())
    begun = sum(_size(part_of(dataset.place(entry))) for entry in entries)
    needed = sum(entry.expected_bytes for entry in entries) - begun
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{needed / 1e9:.1f} GB are needed below {dataset.root}, but only {free / 1e9:.1f} GB are free; "
            "fetch fewer subjects, or choose another disk with --data-root."
        )


def _fetch_all(dataset: Dataset, entries: list[FileEntry], jobs: int, opener: Callable[..., Any]) -> None:
    """Fetch several files at once; an interrupt is answered at once, whatever the servers do.

    The threads are daemons: one that waits for a silent server cannot keep the process from ending.
    """
    todo: queue.SimpleQueue[FileEntry] = queue.SimpleQueue()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                entry = todo.get_nowait()
            except queue.Empty:
                return
            try:
                fetch_file(entry, dataset.place(entry), opener, stop, record=dataset.record(entry))
                ended.put(None)
            except BaseException as error:
                ended.put(error)

    for entry in entries:
        todo.put(entry)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, min(jobs, len(entries))))]
    for thread in threads:
        thread.start()
    failures: list[str] = []
    try:
        for _ in track(range(len(entries)), "fetching", unit="files"):
            error = _next(ended)
            if isinstance(error, DownloadError):
                failures.append(str(error))
            elif error is not None:
                raise error
    except BaseException:
        stop.set()
        for thread in threads:
            thread.join(0.5 / len(threads))
        raise
    if failures:
        raise DownloadError(
            f"{len(failures)} of {len(entries)} files could not be fetched; the first: {failures[0]} "
            "The same command continues."
        )


def _next(ended: queue.SimpleQueue[BaseException | None]) -> BaseException | None:
    while True:
        try:
            return ended.get(timeout=0.2)
        except queue.Empty:
            continue


def fetch_file(
    entry: FileEntry,
    place: Path,
    opener: Callable[..., Any] = open_address,
    stop: threading.Event | None = None,
    *,
    record: Path | None = None,
) -> Path:
    """Download one file, continuing a part that is there; it appears under its name only when it is right.

    Parameters
    ----------
    entry : FileEntry
        The file.
    place : Path
        Where it goes.
    opener : callable
        Opens a request.
    stop : threading.Event, optional
        Set to interrupt.
    record : Path, optional
        Where to keep what the server said of a file without published hash, and the hash of what arrived.

    Raises
    ------
    DownloadError
        If the server refuses, the connection keeps breaking, or size or hash stay wrong.
    """
    refuse_unsafe_address(entry)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(place)
    before = _state(place)
    with file_lock(part.with_name(part.name + ".lock"), purpose=f"fetches {entry.path}"):
        if _state(place) != before and not _what_is_wrong(entry, place, None):
            return place  # another process has brought it meanwhile
        answer = _bring(entry, part, opener, stop or threading.Event())
        flush_to_disk(part)
        os.replace(part, place)
        flush_to_disk(place.parent)
        _stamp_of(part).unlink(missing_ok=True)
    if record is not None and entry.hash is None:
        keep_record(record, entry, place, None if answer is None else answer.version)
    return place


def _bring(entry: FileEntry, part: Path, opener: Callable[..., Any], stop: threading.Event) -> Answer | None:
    """Fill the part until it is right; return what the server said of it last."""
    problem, attempt, wait = "", 0, 0.0
    while attempt < ATTEMPTS:
        if attempt and stop.wait(min(wait or BACK_OFF * 2 ** (attempt - 1), LONGEST_WAIT)):
            raise DownloadError("interrupted.")
        attempt, wait, had = attempt + 1, 0.0, _size(part)
        try:
            answer = _continue_part(entry, part, opener, stop)
        except urllib.error.HTTPError as error:
            problem = printable(f"{entry.url} answers {error.code} {error.reason}.")
            if error.code == 416:  # the part is longer than the file: what is there is not the beginning of it
                _forget(part)
            elif error.code not in RETRIED:
                raise DownloadError(problem) from error
            wait = _seconds(error.headers.get("Retry-After") if error.headers else None)
            continue
        except Refused:
            _forget(part)
            raise
        except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError, ValueError) as error:
            problem = printable(f"{entry.url} cannot be read ({getattr(error, 'reason', error)}).")
            if _size(part) - had >= PROGRESS:
                attempt = 0
            continue
        wrong = _what_is_wrong(entry, part, answer)
        if not wrong:
            return answer
        problem = f"{entry.path} {wrong}."
        if not wrong.startswith("is cut short"):  # what arrived before the connection ended is good
            _forget(part)
    raise DownloadError(problem)


def part_of(place: Path) -> Path:
    """Name of a file while it is incomplete."""
    return place.with_name(place.name + ".part")


def _continue_part(entry: FileEntry, part: Path, opener: Callable[..., Any], stop: threading.Event) -> Answer | None:
    have = _size(part)
    if entry.bytes is not None and have == entry.bytes:
        return None
    headers = {"User-Agent": "brainmap", "Accept-Encoding": "identity"}
    stamp = _stamp_of(part)
    version = stamp.read_text(encoding="utf-8") if have and stamp.is_file() and not stamp.is_symlink() else None
    if version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    request = urllib.request.Request(str(entry.url), headers=headers)
    with opener(request, timeout=TIMEOUT) as stream:
        answer = read_answer(stream, entry, have if version else 0, version)
        most = most_bytes(entry, answer.total)
        _require_room_for(part, answer.total, have)
        if answer.version is None:
            stamp.unlink(missing_ok=True)
        elif not answer.goes_on:
            write_atomically(stamp, answer.version)
        size = have if answer.goes_on else 0
        announced = None if answer.total is None else answer.total - size
        with _open_part(part, goes_on=answer.goes_on) as out:
            for piece in pieces(stream, announced, stop):
                size += len(piece)
                if most is not None and size > most:
                    raise Refused(f"{printable(str(entry.url))} sends more than the {most:,} bytes of {entry.path}.")
                out.write(piece)
    return answer


def _open_part(part: Path, *, goes_on: bool) -> Any:
    """Open a part without following a link that somebody may have put there, and without buffer: a kill loses nothing.

    Raises
    ------
    Refused
        If it is a link.
    """
    if part.is_symlink():
        raise Refused(f"{part} is a link; remove it, brainmap writes no file through a link.")
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | (os.O_APPEND if goes_on else os.O_TRUNC)
    return os.fdopen(os.open(part, flags, 0o644), "ab" if goes_on else "wb", buffering=0)


def _require_room_for(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise InputError(f"{(total - have) / 1e9:.1f} GB are needed for {part}, but only {free / 1e9:.1f} GB are free.")


def _what_is_wrong(entry: FileEntry, part: Path, answer: Answer | None) -> str:
    size = _size(part)
    if entry.bytes is not None and size != entry.bytes:
        return f"is {'cut short' if size < entry.bytes else 'too long'}: {size:,} bytes instead of {entry.bytes:,}"
    if entry.hash is not None:
        right = file_hash(part, entry.hash) == entry.digest
        return "" if right else f"arrived damaged: its {entry.hash} is not the published one"
    if answer is not None and answer.md5 is not None and file_hash(part, "md5") != answer.md5:
        return "arrived damaged: its md5 is not the server's"
    with part.open("rb") as stream:
        begins = stream.read(256).lstrip().lower()
    if begins.startswith(WEB_PAGE) and not entry.path.lower().endswith((".html", ".htm", ".xhtml", ".svg")):
        _forget(part)
        raise Refused(
            f"{printable(str(entry.url))} sends a web page, not {entry.path}: it may want you to log in; fetch it by "
            "hand."
        )
    return ""


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdigit() and len(text) < 6 else 0.0


def _state(place: Path) -> tuple[int, int] | None:
    if size_on_disk(place) is None:
        return None
    status = place.stat()
    return status.st_mtime_ns, status.st_ino


def _stamp_of(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _forget(part: Path) -> None:
    if not part.is_symlink():
        part.unlink(missing_ok=True)
    _stamp_of(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
