"""Which rows are computed in which batch, and how finished batches become blocks in memory or in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from brainmap.common.storage.files import short_hash

BLOCK_BYTES = 128 * 2**20  # features held in memory before they are written
MAX_BLOCK_ROWS = 256  # what a killed run loses at most, and has in memory twice while a block is written

ArrayKey = tuple[str, str]  # signal, layer
Loaded = TypeVar("Loaded")


class FeatureSink(Protocol):
    """Where rows go: :class:`MemoryArray`, or the store's ``FeatureArray``."""

    def refresh(self) -> None:
        """Look again which rows exist."""

    def missing(self, row_keys: Sequence[str]) -> set[str]:
        """Those of the row keys that are not finished."""

    def append(self, row_keys: Sequence[str], values: np.ndarray, *, shard_rows: int) -> None:
        """Add rows (n, d)."""

    def rows(self, row_keys: Sequence[str]) -> Any:
        """Rows in the order asked for."""


class ExtractionPlan:
    """Which rows go into which batch, and the row keys of each array.

    Batches of a batch-coupled loss are fixed by the order of the images; a last image that would be alone joins the
    batch before it, because such losses need company.
    """

    def __init__(self, ids: list[str], loss_keys: list[str], batch_size: int, coupled: bool) -> None:
        self._ids = ids
        self._batch_size = batch_size
        self._coupled = coupled
        self._starts = list(range(0, len(ids), batch_size))
        if coupled:  # a row of a batch-coupled loss belongs to the batch it was computed in
            if len(self._starts) > 1 and len(ids) - self._starts[-1] == 1 < batch_size:
                self._starts.pop()
            for rows in self._companies():
                together = slice(rows.start, rows.stop)
                companions = short_hash(loss_keys[together])
                loss_keys[together] = [f"{key}-{companions}" for key in loss_keys[together]]
        self._loss_keys = loss_keys

    @property
    def ids(self) -> list[str]:
        """Ids of the images, in order."""
        return self._ids

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self._ids)

    def composition(self) -> dict[str, Any]:
        """Which images share a batch: sizes of the batches in order, and a hash of the ids in each."""
        batches = [self._ids[rows.start : rows.stop] for rows in self._companies()]
        return {"sizes": [len(batch) for batch in batches], "hash": short_hash([short_hash(part) for part in batches])}

    def _companies(self) -> list[range]:
        """Rows of each batch."""
        ends = [*self._starts[1:], len(self._ids)]
        return [range(start, end) for start, end in zip(self._starts, ends, strict=True)]

    def row_keys(self, array: ArrayKey, rows: Iterable[int] | None = None) -> list[str]:
        """Row keys of an array, of all rows by default."""
        keys = self._ids if _of_image(array) else self._loss_keys
        return keys if rows is None else [keys[row] for row in rows]

    def batches(self, arrays: Mapping[ArrayKey, FeatureSink]) -> list[np.ndarray]:
        """Rows that any array lacks, in order, each distinct image once, cut into batches."""
        images: set[str] = set()
        losses: set[str] = set()
        for name, array in arrays.items():
            (images if _of_image(name) else losses).update(array.missing(self.row_keys(name)))
        missing = []
        for row, (image, loss) in enumerate(zip(self._ids, self._loss_keys, strict=True)):
            if image in images or loss in losses:
                missing.append(row)
                images.discard(image)  # once is enough for an image that occurs twice
                losses.discard(loss)
        if not self._coupled:
            return [np.array(missing[i : i + self._batch_size]) for i in range(0, len(missing), self._batch_size)]
        lacking = set(missing)
        return [np.array(rows) for rows in self._companies() if not lacking.isdisjoint(rows)]


def _of_image(array: ArrayKey) -> bool:
    """Whether rows depend on the image alone, and not on the loss."""
    return array[0].partition("@")[0] == "activation"


class MemoryArray:
    """The store's array, in memory."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._blocks: list[np.ndarray] = []

    def refresh(self) -> None:
        """Nothing to read."""

    def missing(self, row_keys: Sequence[str]) -> set[str]:
        """Those of the row keys that are not finished."""
        return set(row_keys).difference(self._index)

    def append(self, row_keys: Sequence[str], values: np.ndarray, *, shard_rows: int = 0) -> None:
        """Keep a block of rows (n, d)."""
        for name in row_keys:
            self._index[name] = len(self._index)
        self._blocks.append(values)

    def rows(self, row_keys: Sequence[str]) -> np.ndarray:
        """Rows in the order of ``row_keys``."""
        together = np.concatenate(self._blocks)
        self._blocks = [together]
        positions = np.array([self._index[name] for name in row_keys])
        return together if np.array_equal(positions, np.arange(len(together))) else together[positions]


class BlockWriter:
    """Collects batches and writes them as blocks of whole batches, on a thread of its own."""

    def __init__(self, arrays: Mapping[ArrayKey, FeatureSink], plan: ExtractionPlan, batch_size: int) -> None:
        self._arrays = arrays
        self._plan = plan
        self._batch_size = batch_size
        self._rows: list[int] = []
        self._held: list[dict[ArrayKey, np.ndarray]] = []
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self.block_rows = 0

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Write what is held, also after an interruption: those rows are finished."""
        try:
            self._flush()
            self._wait()
        finally:
            self._thread.shutdown()

    def add(self, rows: np.ndarray, values: dict[ArrayKey, np.ndarray]) -> None:
        """Take a batch; the first one decides how many batches make a block."""
        if not self.block_rows:
            row_bytes = sum(array.nbytes for array in values.values()) // len(rows)
            batches = max(1, min(BLOCK_BYTES // max(1, row_bytes), MAX_BLOCK_ROWS) // self._batch_size)
            self.block_rows = batches * self._batch_size
        self._rows += [int(row) for row in rows]
        self._held.append(values)
        if len(self._rows) >= self.block_rows:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        if self._held:
            rows, held = self._rows, self._held
            self._rows, self._held = [], []
            self._pending = self._thread.submit(self._write, rows, held)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _write(self, rows: list[int], held: list[dict[ArrayKey, np.ndarray]]) -> None:
        for name, array in self._arrays.items():
            values = np.concatenate([batch[name] for batch in held])
            keys = self._plan.row_keys(name, rows)
            missing = array.missing(keys)
            fresh = [i for i, key in enumerate(keys) if key in missing]
            if fresh:
                block = values if len(fresh) == len(keys) else values[fresh]
                array.append([keys[i] for i in fresh], block, shard_rows=self.block_rows)


def one_ahead(
    pool: ThreadPoolExecutor, load: Callable[[np.ndarray], Loaded], items: Sequence[np.ndarray]
) -> Iterator[Loaded]:
    """Load items in order on another thread, one ahead of their use."""
    coming = pool.submit(load, items[0])
    for following in items[1:]:
        current, coming = coming, pool.submit(load, following)
        yield current.result()
    yield coming.result()
