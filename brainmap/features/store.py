"""The feature store: Zarr arrays on disk, keyed by everything that could change a number.

Layout, for people who look inside::

    store/
      dino-tiny-6a1f…/                  model and digest of its weights
        .lock                           one writing process at a time; others wait
        gradient/block.3-9c0e…/         one array: signal, layer, hash of its key
          key.json                      the key, readable
          zarr.json, c/…                (rows, d) in Zarr v3, one shard per block
          rows/000000.json              row keys of shard 0; its existence says that the shard is complete

A block of rows is written to a fresh shard, and only then its ``rows/`` file appears, by an atomic rename. A process
killed in between leaves a shard nobody refers to, which the next one overwrites. Shards are never rewritten otherwise,
so adding images appends.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import BrainmapError, InputError, MissingFileError
from brainmap.common.files import write_atomically

CHUNK_BYTES = 2**20


class FeatureStore:
    """Features on disk.

    Parameters
    ----------
    path : str or Path
        Folder; made when first written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        """Path of the store."""
        return f"FeatureStore({str(self.path)!r})"

    @staticmethod
    def key_hash(key: Mapping[str, Any]) -> str | None:
        """Hash of a key, or None if any part of it is unknown (None), however deeply nested under ``identity``.

        Parameters
        ----------
        key : mapping
            JSON-able. Parts directly named ``code`` or ``version`` must be known.
        """
        if unknown_parts(key):
            return None
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]

    def array(self, key: Mapping[str, Any]) -> FeatureArray:
        """The array of a key; nothing is written until rows are appended.

        Parameters
        ----------
        key : mapping
            With ``signal``, ``layer`` (may be empty) and ``model`` (with ``name`` and ``weights_digest``).

        Raises
        ------
        InputError
            If part of the key is unknown, so that a stale array could not be told from a fresh one.
        """
        name = self.key_hash(key)
        if name is None:
            raise InputError(f"Features cannot be cached: {', '.join(unknown_parts(key))} of the key is unknown.")
        folder = self.model_folder(key["model"]) / key["signal"] / "-".join(filter(None, (key["layer"], name)))
        return FeatureArray(folder, key)

    def model_folder(self, identity: Mapping[str, Any]) -> Path:
        """Folder of a model: its name, made safe for file systems, and the digest of its weights."""
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in identity["name"])
        return self.path / f"{safe}-{identity['weights_digest']}"

    @contextmanager
    def lock(self, identity: Mapping[str, Any]) -> Iterator[None]:
        """Lock a model's folder for writing; waits for another process, whose rows are then found finished.

        The operating system lets go of the lock when its holder dies, however it dies. Waiting is announced by a
        warning: a process that waits without a word looks like one that hangs.
        """
        from filelock import FileLock, Timeout

        folder = self.model_folder(identity)
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock")
        try:
            held.acquire(timeout=0)
        except Timeout:
            warnings.warn(f"Another process writes features to {folder}: waiting until it has finished.", stacklevel=3)
            held.acquire()
        try:
            yield
        finally:
            held.release()

    def clear(self) -> None:
        """Delete the whole store."""
        shutil.rmtree(self.path, ignore_errors=True)


def unknown_parts(key: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of ``code`` and ``version`` entries that are None: parts nobody can vouch for."""
    found = []
    for name, value in key.items():
        if isinstance(value, Mapping):
            found += unknown_parts(value, f"{prefix}{name}.")
        elif value is None and name in ("code", "version"):
            found.append(prefix + name)
    return found


class FeatureArray:
    """One array of the store: rows by row key, appended in blocks.

    Parameters
    ----------
    folder : Path
        Where it is.
    key : mapping
        Its key; compared with the one on disk.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self.folder = folder
        self.key = json.loads(json.dumps(key))
        self._blocks: list[tuple[str, ...]] = []  # row keys of each shard, shared between arrays of the same rows
        self._shard_rows = 0
        self.refresh()

    def refresh(self) -> None:
        """Read again which rows exist; another process may have added some."""
        if not (self.folder / "key.json").exists():
            return
        found = json.loads((self.folder / "key.json").read_text(encoding="utf-8"))
        if found["key"] != self.key:
            raise BrainmapError(f"{self.folder} holds features of another key; delete that folder.")
        self._shard_rows = found["shard_rows"]
        while (file := self._rows_file(len(self._blocks))).exists():
            self._blocks.append(_row_keys(file.read_text(encoding="utf-8")))

    def __len__(self) -> int:
        """Number of finished rows."""
        return sum(len(names) for names in self._blocks)

    def missing(self, row_keys: Sequence[str]) -> set[str]:
        """Those of the row keys that are not finished."""
        return set(row_keys).difference(*self._blocks)

    def _rows_file(self, block: int) -> Path:
        return self.folder / "rows" / f"{block:06d}.json"

    def append(self, row_keys: Sequence[str], values: np.ndarray, *, shard_rows: int = 256) -> None:
        """Write rows (n, d) as one or more new shards; call with the store's lock held.

        Parameters
        ----------
        row_keys : sequence of str
            One per row.
        values : ndarray, (n, d)
            All of one dtype and width for the life of the array.
        shard_rows : int
            Rows of a shard, if the array doesn't exist yet; rounded up to whole chunks.
        """
        if len(row_keys) != len(values):
            raise InputError(f"{len(row_keys)} row keys for {len(values)} rows.")
        array = self._open_for_writing(values, shard_rows)
        shard_rows = array.shards[0]
        for start in range(0, len(values), shard_rows):
            names = list(row_keys[start : start + shard_rows])
            first = len(self._blocks) * shard_rows
            array.resize((first + shard_rows, values.shape[1]))
            shard = np.full((shard_rows, values.shape[1]), np.nan, values.dtype)
            shard[: len(names)] = values[start : start + shard_rows]
            # A shard nobody refers to may be torn, and zarr would read it before writing into it.
            shutil.rmtree(self.folder / "c" / str(len(self._blocks)), ignore_errors=True)
            array[first : first + shard_rows] = shard
            text = json.dumps(names)
            write_atomically(self._rows_file(len(self._blocks)), text)
            self._blocks.append(_row_keys(text))
            self._shard_rows = shard_rows

    def rows(self, row_keys: Sequence[str]) -> StoredRows:
        """Rows in the order of ``row_keys``, read when indexed.

        Raises
        ------
        InputError
            Naming the first row that is not there.
        """
        wanted: dict[str, list[int]] = {}
        for place, name in enumerate(row_keys):
            wanted.setdefault(name, []).append(place)
        positions = np.full(len(row_keys), -1, np.int64)
        for block, names in enumerate(self._blocks):
            for offset, name in enumerate(names):
                for place in wanted.get(name, ()):
                    positions[place] = block * self._shard_rows + offset
        missing = np.flatnonzero(positions < 0)
        if len(missing):
            first = row_keys[int(missing[0])]
            raise InputError(f"The store has no row {first} ({len(missing)} missing); extract these features first.")
        return StoredRows(self._open(), positions)

    def _open(self, mode: str = "r") -> Any:
        import zarr

        if not (self.folder / "zarr.json").exists():
            raise MissingFileError(f"There are no features in {self.folder}.")
        return zarr.open_array(self.folder, mode=mode)

    def _open_for_writing(self, values: np.ndarray, shard_rows: int) -> Any:
        import zarr
        from zarr.codecs import Crc32cCodec

        if (self.folder / "key.json").exists():
            array = self._open("r+")
            if array.shape[1] != values.shape[1] or array.dtype != values.dtype:
                found = f"{values.dtype} rows of {values.shape[1]}"
                raise BrainmapError(f"{self.folder} holds {array.dtype} rows of {array.shape[1]}, not {found}.")
            return array
        row_bytes = max(1, values.shape[1] * values.itemsize)
        chunk = int(np.clip(CHUNK_BYTES // row_bytes, 1, min(64, shard_rows)))
        shard = chunk * -(-shard_rows // chunk)
        array = zarr.create_array(
            self.folder,
            shape=(0, values.shape[1]),
            chunks=(chunk, values.shape[1]),
            shards=(shard, values.shape[1]),
            dtype=values.dtype,
            fill_value=np.nan,
            compressors=[Crc32cCodec()],
            overwrite=True,
        )
        text = json.dumps({"key": self.key, "shard_rows": shard}, indent=1, sort_keys=True)
        write_atomically(self.folder / "key.json", text)
        return array


class StoredRows:
    """Rows of a stored array in a chosen order: shape, dtype and slicing like an array; read when indexed.

    ``np.asarray`` reads everything; ``rows[10:20]``, ``rows[mask]`` and ``rows[indices]`` read what they name.
    """

    def __init__(self, array: Any, positions: np.ndarray) -> None:
        self._array = array
        self._positions = positions
        self.shape: tuple[int, int] = (len(positions), int(array.shape[1]))
        self.dtype = np.dtype(array.dtype)
        self.ndim = 2

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape and dtype."""
        return f"StoredRows(shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read rows; a second index selects columns."""
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        positions = self._positions[rows]
        single = np.ndim(positions) == 0
        values = self._read(np.atleast_1d(positions))
        return values[0][columns] if single else values[:, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read everything."""
        values = self._read(self._positions)
        return values if dtype is None else values.astype(dtype, copy=False)

    def _read(self, positions: np.ndarray) -> np.ndarray:
        """Read shard by shard, which bounds memory and touches each shard once."""
        result = np.empty((len(positions), self.shape[1]), self.dtype)
        shard_rows = self._array.shards[0]
        for shard in np.unique(positions // shard_rows):
            mine = np.flatnonzero(positions // shard_rows == shard)
            wanted = positions[mine]
            first, last = int(wanted.min()), int(wanted.max()) + 1
            result[mine] = self._array[first:last][wanted - first]
        return result


@lru_cache(maxsize=4096)
def _row_keys(text: str) -> tuple[str, ...]:
    """Row keys in a ``rows/`` file; arrays with the same rows share one copy, whatever their number."""
    return tuple(json.loads(text))
