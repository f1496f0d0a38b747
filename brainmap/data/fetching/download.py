"""Download files so that an interrupted or corrupted one is never taken for complete.

A file grows as ``<name>.part`` and gets its name only when size and hash are right. A later call continues a part with
a range request, provided the server still serves the same file (its ETag or date is kept beside the part).
"""

from __future__ import annotations

import http.client
import os
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from brainmap.common.errors import BrainmapError, InputError
from brainmap.common.files import file_hash
from brainmap.common.progress import track
from brainmap.data.fetching.dataset import Dataset, FetchPlan
from brainmap.data.fetching.terms import require_terms
from brainmap.data.manifests.file_entries import FileEntry

BLOCK = 2**20
ATTEMPTS = 4
TIMEOUT = 60.0
RETRIED = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(BrainmapError):
    """A file could not be fetched whole; what arrived is kept as ``.part`` where it can be continued."""


def fetch(
    dataset: Dataset,
    *,
    purpose: str | None = None,
    subjects: Sequence[str] | None = None,
    jobs: int = 4,
    opener: Callable[..., Any] = urllib.request.urlopen,
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
        What was planned before fetching.

    Raises
    ------
    InputError
        Without agreement to the terms, without room on the disk, or for files that can only be had by hand.
    DownloadError
        If files could not be fetched; the sentence names the first and says how many.
    """
    require_terms(dataset.manifest)
    plan = dataset.plan(purpose, subjects)
    todo = [*plan.missing, *plan.wrong]
    by_hand = [entry for entry in todo if entry.url is None]
    if by_hand:
        raise InputError(
            f"{len(by_hand)} files of {dataset.manifest.name}, such as {by_hand[0].path}, cannot be fetched by "
            f"brainmap: {' '.join(dataset.manifest.by_hand.split())} Put them below {dataset.root}."
        )
    require_room(dataset, todo)
    _fetch_all(dataset, todo, jobs, opener)
    return plan


def require_room(dataset: Dataset, entries: Sequence[FileEntry]) -> None:
    """Refuse to start a download that the disk cannot hold.

    Raises
    ------
    InputError
        Saying how much is needed and free.
    """
    existing = dataset.root
    while not existing.exists():
        existing = existing.parent
    begun = sum(_size(part_of(dataset.place(entry))) for entry in entries)
    needed = sum(entry.expected_bytes for entry in entries) - begun
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{needed / 1e9:.1f} GB are needed below {dataset.root}, but only {free / 1e9:.1f} GB are free; "
            "fetch fewer subjects, or choose another disk with --data-root."
        )


def _fetch_all(dataset: Dataset, entries: list[FileEntry], jobs: int, opener: Callable[..., Any]) -> None:
    failures: list[str] = []
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures = [pool.submit(fetch_file, entry, dataset.place(entry), opener, stop) for entry in entries]
        try:
            for future in track(as_completed(futures), "fetching", total=len(futures), unit="files"):
                try:
                    future.result()
                except DownloadError as error:
                    failures.append(str(error))
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise DownloadError(
            f"{len(failures)} of {len(entries)} files could not be fetched; the first: {failures[0]} "
            "The same command continues."
        )


def fetch_file(
    entry: FileEntry,
    place: Path,
    opener: Callable[..., Any] = urllib.request.urlopen,
    stop: threading.Event | None = None,
) -> Path:
    """Download one file, continuing a part that is there; it appears under its name only when it is right.

    Raises
    ------
    DownloadError
        If the server refuses, the connection keeps breaking, or size or hash stay wrong.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(place)
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            _continue_part(entry, part, opener, stop or threading.Event())
        except urllib.error.HTTPError as error:
            problem = f"{entry.url} answers {error.code} {error.reason}."
            if error.code == 416:  # the part is longer than the file: what is there is not the beginning of it
                _forget(part)
                continue
            if error.code not in RETRIED:
                raise DownloadError(problem) from error
            continue
        except (urllib.error.URLError, TimeoutError, http.client.HTTPException, ConnectionError) as error:
            problem = f"{entry.url} cannot be read ({getattr(error, 'reason', error)})."
            continue
        wrong = _what_is_wrong(entry, part)
        if not wrong:
            os.replace(part, place)
            _stamp_of(part).unlink(missing_ok=True)
            return place
        problem = f"{entry.path} {wrong}."
        if wrong.startswith("is cut short"):
            continue  # the connection ended early: what arrived is good, the next attempt goes on
        _forget(part)
    raise DownloadError(problem)


def part_of(place: Path) -> Path:
    """Name of a file while it is incomplete."""
    return place.with_name(place.name + ".part")


def _continue_part(entry: FileEntry, part: Path, opener: Callable[..., Any], stop: threading.Event) -> None:
    have = _size(part)
    if entry.bytes is not None and have == entry.bytes:
        return
    headers = {"User-Agent": "brainmap"}
    stamp = _stamp_of(part)
    if have and stamp.is_file():
        headers |= {"Range": f"bytes={have}-", "If-Range": stamp.read_text(encoding="utf-8")}
    request = urllib.request.Request(str(entry.url), headers=headers)
    with opener(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version and not version.startswith("W/"):  # a weak tag does not vouch for the same bytes
            stamp.write_text(version, encoding="utf-8")
        else:
            stamp.unlink(missing_ok=True)
        with part.open("ab" if goes_on else "wb") as stream:
            for block in _blocks(answer, stop):
                stream.write(block)


def _blocks(answer: Any, stop: threading.Event) -> Iterator[bytes]:
    announced = answer.headers.get("Content-Length")
    received = 0
    while block := answer.read(BLOCK):
        received += len(block)
        yield block
        if stop.is_set():
            raise DownloadError("interrupted.")
    if announced is not None and received < int(announced):
        raise ConnectionError(f"the connection ended after {received} of {announced} bytes")


def _what_is_wrong(entry: FileEntry, part: Path) -> str:
    size = _size(part)
    if entry.bytes is not None and size != entry.bytes:
        return f"is {'cut short' if size < entry.bytes else 'too long'}: {size:,} bytes instead of {entry.bytes:,}"
    if entry.hash is not None and file_hash(part, entry.hash) != entry.digest:
        return f"arrived damaged: its {entry.hash} is not the published one"
    return ""


def _stamp_of(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _stamp_of(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
