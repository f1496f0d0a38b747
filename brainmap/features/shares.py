"""Shares of the images of one extraction, computed by several processes at once and then put together by one.

A share is a store of its own inside the store, ``.shares/2-of-8``. It holds whole batches of those that are missing, so
that each row is computed beside the same others as if one process did it all. Whoever extracts, under the store's lock,
takes rows from the shares in the order of the images, also from shares that come while it is at work, and computes what
they lack. Who finds the lock held makes shares of the last images, from which the holder is farthest.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import DamagedError
from brainmap.common.storage.locks import lock_or_skip
from brainmap.features import feature_blocks
from brainmap.features.feature_blocks import ArrayKey, ExtractionPlan
from brainmap.features.store import FeatureArray, FeatureStore

Keys = Mapping[ArrayKey, Mapping[str, Any]]
Fill = Callable[[Mapping[ArrayKey, FeatureArray], Sequence[np.ndarray]], None]
SHARES = ".shares"
HELPED = 4  # batches that one share of the last images holds


def fill_share(store: FeatureStore, keys: Keys, plan: ExtractionPlan, share: tuple[int, int], fill: Fill) -> None:
    """Compute a share of the batches that the store lacks now, but for what shares have already."""
    lacking = plan.batches(_arrays(store, keys))
    mine = lacking[len(lacking) * (share[0] - 1) // share[1] : len(lacking) * share[0] // share[1]]
    side = FeatureStore(store.path / SHARES / f"{share[0]}-of-{share[1]}")
    with side.lock(_model(keys)):
        found = RowsOfShares(store, keys, plan)  # of an earlier attempt
        fill(_arrays(side, keys), [rows for rows in mine if found.find(rows) is None])


def help_out(store: FeatureStore, keys: Keys, plan: ExtractionPlan, fill: Fill) -> bool:
    """Compute some of the last batches that the store lacks and that nobody works on; False if there are none.

    The first of them are left to the process that holds the store's lock: it may have them in memory already.
    """
    lacking = plan.batches(_arrays(store, keys))
    spared = HELPED + math.ceil(feature_blocks.MAX_BLOCK_ROWS / len(lacking[0])) if lacking else 0
    for end in range(len(lacking), spared, -HELPED):
        mine = lacking[max(end - HELPED, spared) : end]
        side = FeatureStore(store.path / SHARES / f"{mine[0][0]}-of-{plan.images}")
        with lock_or_skip(side.lock_file(_model(keys)), purpose="", wait=False) as held:
            arrays = _arrays(side, keys)
            if held and any(array.missing(plan.row_keys(name, np.concatenate(mine))) for name, array in arrays.items()):
                fill(arrays, mine)
                if not plan.batches(_arrays(store, keys)):  # the holder was faster
                    shutil.rmtree(side.path, ignore_errors=True)
                return True
    return False


class RowsOfShares:
    """What the shares of a store hold of some arrays.

    Parameters
    ----------
    store : FeatureStore or None
        The store that the shares are of.
    keys : mapping
        Key of each array.
    plan : ExtractionPlan
        The images.
    """

    def __init__(self, store: FeatureStore | None, keys: Keys, plan: ExtractionPlan) -> None:
        self._folder, self._keys, self._plan = None if store is None else store.path / SHARES, keys, plan
        self._shares: dict[Path, tuple[dict[int, int], dict[ArrayKey, Any]]] = {}
        self._written: set[Path] = set()  # to which nobody adds
        self._look()

    def _look(self) -> bool:
        """Read the shares that are new, or were being written; False if there are none."""
        new = set() if self._folder is None else {*self._folder.glob("*-of-*")} - self._written
        for folder in sorted(new):
            written = not FeatureStore(folder).lock_file(_model(self._keys)).exists()
            arrays = _arrays(FeatureStore(folder), self._keys)
            if all(map(len, arrays.values())):
                self._shares[folder] = _complete_rows(arrays, self._plan)
            if written:
                self._written.add(folder)
        return bool(new)

    def find(self, rows: np.ndarray) -> dict[ArrayKey, np.ndarray] | None:
        """Return all arrays' values of some images, if a share has them sound."""
        found = self._found(rows)
        return self._found(rows) if found is None and self._look() else found

    def _found(self, rows: np.ndarray) -> dict[ArrayKey, np.ndarray] | None:
        for places, values in self._shares.values():
            if all(int(row) in places for row in rows):
                wanted = np.array([places[int(row)] for row in rows])
                with suppress(DamagedError):  # is computed again
                    return {name: stored[wanted] for name, stored in values.items()}
        return None

    def remove(self) -> None:
        """Remove what has been put together, but for shares that are being written still."""
        for folder in [] if self._folder is None else self._folder.glob("*-of-*"):
            side = FeatureStore(folder)
            with lock_or_skip(side.lock_file(_model(self._keys)), purpose="", wait=False) as held:
                for array in _arrays(side, self._keys).values() if held else ():
                    shutil.rmtree(array.folder, ignore_errors=True)


def _model(keys: Keys) -> Mapping[str, Any]:
    return next(iter(keys.values()))["model"]


def _arrays(store: FeatureStore, keys: Keys) -> dict[ArrayKey, FeatureArray]:
    return {name: store.array(key) for name, key in keys.items()}


def _complete_rows(
    arrays: Mapping[ArrayKey, FeatureArray], plan: ExtractionPlan
) -> tuple[dict[int, int], dict[ArrayKey, Any]]:
    """Images of which all arrays have a row: their places among these rows, and the rows."""
    everyone = range(plan.images)
    complete = set(everyone)
    for name, array in arrays.items():
        missing = array.missing(plan.row_keys(name))
        complete -= {row for row, key in zip(everyone, plan.row_keys(name), strict=True) if key in missing}
    rows = sorted(complete)
    values = {name: array.rows(plan.row_keys(name, rows)) for name, array in arrays.items()} if rows else {}
    return {row: place for place, row in enumerate(rows)}, values
