"""The feature store: Zarr arrays on disk, keyed by everything that could change a number.

Layout, for people who look inside::

    store/
      dino-tiny-6a1f…/                  model and digest of its weights
        writing.lock                    one writing process at a time; others wait
        gradient/block.3-9c0e…/         one array: signal, layer, hash of its key
          key.json                      the key, readable, and the array's metadata
          zarr.json, c/…                (rows, d) in Zarr v3, one shard per block, a CRC-32C in every chunk
          digests/000000.json           size and SHA-256 of shard 0, and of its row keys
          rows/000000.json              row keys of shard 0; its existence says that the shard is complete

A block of rows is written to a fresh shard, and only then its ``rows/`` file appears, by an atomic rename. A process
killed in between leaves a shard nobody refers to, which the next one overwrites. Shards are never rewritten otherwise,
so adding images appends. A shard that was lost or damaged counts as not there: its rows are computed again, and
appended.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainmap.common.errors import BrainmapError, DamagedError, InputError, MissingFileError, NotVerifiedWarning
from brainmap.common.storage.files import file_hash, flush_to_disk, write_atomically
from brainmap.common.storage.locks import file_lock, lock_or_skip
from brainmap.features.shard_files import (
    array_metadata,
    block_of,
    clear_leftovers,
    described,
    digest_file,
    forget_shard,
    rows_file,
    shard_file,
    sound_rows,
    stored_row_keys,
)

CHUNK_BYTES = 2**20


class FeatureStore:
    """Features on disk.

    Parameters
    ----------
    path : str or Path
        Folder; made when first written to.

    Examples
    --------
    >>> import brainmap
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 16, stride=16), nn.ReLU())
    >>> model = brainmap.from_module(network, name="mine", layers=["1"], code_version="1")
    >>> stimuli = brainmap.sample_stimuli().subset(range(8))
    >>> store = brainmap.FeatureStore("features")
    >>> extractor = brainmap.FeatureExtractor(model, store=store)
    >>> features = extractor.extract(stimuli)  # the second time they are read, not computed
    >>> len(store.folders()) > 0
    True
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

    def lock_file(self, identity: Mapping[str, Any]) -> Path:
        """File that stands for the lock on a model's folder."""
        return self.model_folder(identity) / "writing.lock"

    @contextmanager
    def lock(self, identity: Mapping[str, Any], meanwhile: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Lock a model's folder for writing; waits for another process, whose rows are then found finished.

        The lock of a process that died is taken over; see :mod:`brainmap.common.storage.locks`. ``meanwhile`` is called
        while another process holds it, until it returns False: then there is nothing to do but to wait.
        """
        file, purpose = self.lock_file(identity), f"writes features to {self.model_folder(identity)}"
        busy = True
        while busy:
            with lock_or_skip(file, purpose=purpose, wait=False) as held:
                if held:
                    yield
                    return
            busy = meanwhile()
        with file_lock(file, purpose=purpose):
            yield

    def folders(self) -> list[Path]:
        """Folders of all arrays of the store, finished or not."""
        return sorted({file.parent for name in ("key.json", "zarr.json") for file in self.path.glob(f"*/*/*/{name}")})

    def mend(self, file: Path) -> bool:
        """Let a damaged shard count no more, or remove an array whose metadata are damaged; False if neither."""
        for folder in self.folders():
            if not file.is_relative_to(folder):
                continue
            block = block_of(file.relative_to(folder))
            with file_lock(folder.parents[1] / "writing.lock", purpose=f"writes features to {folder.parents[1]}"):
                if block is None:
                    shutil.rmtree(folder)
                else:
                    forget_shard(folder, block)
            return True
        return False

    def clear(self) -> None:
        """Delete all features; files that the store did not write stay where they are."""
        for array in self.folders():
            shutil.rmtree(array, ignore_errors=True)
        for lock in self.path.glob("*/writing.lock"):
            lock.unlink(missing_ok=True)
        for folder in [*self.path.glob("*/*"), *self.path.glob("*"), self.path]:
            with suppress(OSError):  # not empty, or no folder
                folder.rmdir()


def unknown_parts(key: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of ``code`` and ``version`` entries that are None: parts nobody can vouch for."""
    unknown = []
    for name, value in key.items():
        if isinstance(value, Mapping):
            unknown += unknown_parts(value, f"{prefix}{name}.")
        elif value is None and name in ("code", "version"):
            unknown.append(prefix + name)
    return unknown


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
        self._damaged: set[int] = set()  # shards that do not count
        self._shard_rows = 0
        self._opened = False  # for writing
        self._metadata: dict[str, Any] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read again which rows exist; another process may have added some."""
        if not (self.folder / "key.json").exists():
            return
        stored = described(self.folder)
        if stored["key"] != self.key:
            problem = f"{self.folder} holds features of another key; remove that folder, it is made anew."
            raise DamagedError(problem, self.folder / "key.json")
        self._shard_rows, self._metadata = stored["shard_rows"], stored.get("array")
        while rows_file(self.folder, len(self._blocks)).exists():
            block = len(self._blocks)
            names, damaged = sound_rows(self.folder, block, self._metadata is not None)
            self._blocks.append(names)
            if damaged is not None:
                self._damaged.add(block)
                self._blocks[block] = ()
                warnings.warn(f"{damaged[0]} {damaged[1]}: these features are computed again.", stacklevel=3)

    def __len__(self) -> int:
        """Number of finished rows."""
        return sum(len(names) for names in self._blocks)

    def missing(self, row_keys: Sequence[str]) -> set[str]:
        """Those of the row keys that are not finished."""
        return set(row_keys).difference(*self._blocks)

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
        for block in list(self._damaged):
            forget_shard(self.folder, block)
        self._damaged.clear()
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
            written = shard_file(self.folder, len(self._blocks))
            digest = {"bytes": written.stat().st_size, "sha256": file_hash(written)}
            digest["rows"] = hashlib.sha256(text.encode()).hexdigest()
            flush_to_disk(written)
            write_atomically(digest_file(self.folder, len(self._blocks)), json.dumps(digest))
            write_atomically(rows_file(self.folder, len(self._blocks)), text)
            self._blocks.append(stored_row_keys(text))
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
        return StoredRows(self._open(), positions, self.folder)

    def _open(self, mode: Literal["r", "r+"] = "r") -> Any:
        import zarr

        file = self.folder / "zarr.json"
        if self._metadata is None and not file.exists():
            raise MissingFileError(f"There are no features in {self.folder}.")
        if self._metadata is not None and array_metadata(file) != self._metadata:
            raise DamagedError(f"{file} is not what was written; remove {self.folder}, it is made anew.", file)
        if self._metadata is None:
            warnings.warn(
                f"{self.folder.parents[2]} is not verified: features in it were written before brainmap kept digests.",
                NotVerifiedWarning,
                stacklevel=4,
            )
        # a tail of NaN is a chunk as well: one that is left out cannot be told from one that was lost
        with zarr.config.set({"array.write_empty_chunks": True}):  # open_array passes over a setting of its own
            return zarr.open_array(self.folder, mode=mode)

    def _open_for_writing(self, values: np.ndarray, shard_rows: int) -> Any:
        import zarr
        from zarr.codecs import Crc32cCodec

        if not self._opened:
            clear_leftovers(self.folder)
            self._opened = True
        if (self.folder / "key.json").exists():
            array = self._open("r+")
            if array.shape[1] != values.shape[1] or array.dtype != values.dtype:
                given = f"{values.dtype} rows of {values.shape[1]}"
                raise BrainmapError(f"{self.folder} holds {array.dtype} rows of {array.shape[1]}, not {given}.")
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
            config={"write_empty_chunks": True},
            overwrite=self.folder.exists(),  # what a killed process began; nothing refers to it
        )
        self._metadata = array_metadata(self.folder / "zarr.json")
        about = {"key": self.key, "shard_rows": shard, "array": self._metadata}
        write_atomically(self.folder / "key.json", json.dumps(about, indent=1, sort_keys=True))
        return array


class StoredRows:
    """Rows of a stored array in a chosen order: shape, dtype and slicing like an array; read when indexed.

    ``np.asarray`` reads everything; ``rows[10:20]``, ``rows[mask]`` and ``rows[indices]`` read what they name.
    """

    def __init__(self, array: Any, positions: np.ndarray, folder: Path) -> None:
        self._array = array
        self._folder = folder
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
            try:
                result[mine] = self._array[first:last][wanted - first]
            except (ValueError, RuntimeError, TypeError, EOFError, FileNotFoundError) as error:
                file = self._folder / "c" / str(int(shard)) / "0"
                problem = " ".join(str(error).split())
                raise DamagedError(
                    f"{file} is not what was written ({problem}); brainmap verify names all that is damaged, and the "
                    "command that made it computes these rows again.",
                    file,
                ) from error
        return result
