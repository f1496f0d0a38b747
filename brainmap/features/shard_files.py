"""Files of one stored array of features: row keys and digests of its shards, and which of them are damaged."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from brainmap.common.errors import DamagedError
from brainmap.common.storage.files import file_hash, write_atomically

Problem = tuple[Path, str]
MANY = 1000  # files that are named one by one


def array_damages(folder: Path, *, full: bool) -> Iterator[tuple[Path, str]]:
    """Go through the files of one array that are missing or not what was written, with what is wrong.

    Parameters
    ----------
    folder : Path
        Of the array.
    full : bool
        Read the shards, too; else compare their sizes.
    """
    if not (folder / "key.json").is_file():
        if (folder / "rows").is_dir():
            yield folder / "key.json", "is missing"
        return
    try:
        about = described(folder)
    except DamagedError as error:
        yield error.file, "is damaged"
        return
    if "array" in about and array_metadata(folder / "zarr.json") != about["array"]:
        yield folder / "zarr.json", "is not what was written"
    blocks = {int(file.stem) for file in listed(folder, "rows")}
    gaps = (block for block in range(max(blocks, default=0)) if block not in blocks)
    for block in itertools.islice(gaps, MANY):
        yield rows_file(folder, block), "is missing"
    for block in sorted(blocks):
        names, problem = sound_rows(folder, block, "array" in about)
        written = _read_json(digest_file(folder, block)) or {}
        if problem is not None:
            yield problem
        elif full and names and written and file_hash(shard_file(folder, block)) != written.get("sha256"):
            yield shard_file(folder, block), "is not what was written (its SHA-256 differs)"


def forget_shard(folder: Path, block: int) -> None:
    """Let a damaged shard count no more, so that its rows are computed again; call with the store's lock held."""
    empty = b"[]"
    digest = {"bytes": 0, "sha256": "", "rows": hashlib.sha256(empty).hexdigest()}
    write_atomically(digest_file(folder, block), json.dumps(digest))
    write_atomically(rows_file(folder, block), empty)
    shutil.rmtree(shard_file(folder, block).parent, ignore_errors=True)


def shard_file(folder: Path, block: int) -> Path:
    """Where a shard lies."""
    return folder / "c" / str(block) / "0"


def rows_file(folder: Path, block: int) -> Path:
    """Where the row keys of a shard lie; the file's existence says that the shard is complete."""
    return folder / "rows" / f"{block:06d}.json"


def digest_file(folder: Path, block: int) -> Path:
    """Where the digest of a shard lies."""
    return folder / "digests" / f"{block:06d}.json"


def listed(folder: Path, kind: str) -> Iterator[Path]:
    """Go through an array's files of row keys (``rows``) or of digests, but for those that a killed process began."""
    return (file for file in (folder / kind).glob("*.json") if file.stem.isdecimal())


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing; call with the store's lock held."""
    for file in (*folder.glob("*.partial"), *folder.glob(".*.partial*"), *folder.glob("*/.*.partial*")):
        file.unlink(missing_ok=True)


def block_of(inner: Path) -> int | None:
    """Number of the shard that a file inside an array's folder belongs to; None for metadata."""
    first, *rest = inner.parts
    number = rest[0].partition(".")[0] if first in ("c", "rows", "digests") and rest else ""
    return int(number) if number.isdigit() else None


def described(folder: Path) -> dict[str, Any]:
    """Key of an array, rows of a shard and metadata, as they were written."""
    file = folder / "key.json"
    stored = _read_json(file) or {}
    if isinstance(stored.get("key"), dict) and isinstance(stored.get("shard_rows"), int) and stored["shard_rows"] > 0:
        return stored
    raise DamagedError(f"{file} is damaged; remove {folder}, it is made anew.", file)


def sound_rows(folder: Path, block: int, digests: bool) -> tuple[tuple[str, ...], Problem | None]:
    """Row keys of a shard and, if they or the shard are not what was written, what is wrong (cheap: by size)."""
    file, shard = rows_file(folder, block), shard_file(folder, block)
    text = file.read_bytes()
    try:
        names = stored_row_keys(text.decode("utf-8"))
    except (ValueError, TypeError):
        return (), (file, "is damaged")
    written = _read_json(digest_file(folder, block))
    if written is None and digests:
        return names, (digest_file(folder, block), "is missing or damaged")
    if written is None:
        return names, (shard, "is missing") if names and not shard.is_file() else None
    if written.get("rows") != hashlib.sha256(text).hexdigest():
        return (), (file, "is not what was written")
    size = shard.stat().st_size if shard.is_file() else 0
    if size != written.get("bytes"):
        return names, (shard, f"has {size:,} bytes instead of {written.get('bytes')}" if size else "is missing")
    return names, None


def array_metadata(file: Path) -> dict[str, Any] | None:
    """What an array's ``zarr.json`` says but for the number of rows, which grows; None if it is damaged."""
    stored = _read_json(file)
    if stored is None or not isinstance(stored.get("shape"), list) or len(stored["shape"]) != 2:
        return None
    return {**stored, "shape": stored["shape"][1:]}


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        contents = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return contents if isinstance(contents, dict) else None


@lru_cache(maxsize=4096)
def stored_row_keys(text: str) -> tuple[str, ...]:
    """Row keys in a ``rows/`` file; arrays with the same rows share one copy, whatever their number."""
    return tuple(json.loads(text))
