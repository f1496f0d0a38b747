"""Shares of the images of one extraction, computed by several processes at once and then put together by one.

A share is a store of its own inside the store, ``.shares/2-of-8``. It holds whole batches of those that are missing, so
that each row is computed beside the same others as if one process did it all. Whoever extracts next, under the store's
lock, takes rows from the shares in the order of the images, and computes what they lack.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import DamagedError
from brainmap.features.feature_blocks import ArrayKey, ExtractionPlan
from brainmap.features.store import FeatureArray, FeatureStore

Keys = Mapping[ArrayKey, Mapping[str, Any]]
SHARES = ".shares"


def share_store(store: FeatureStore, share: tuple[int, int]) -> FeatureStore:
    """Store of a share."""
    return FeatureStore(store.path / SHARES / f"{share[0]}-of-{share[1]}")


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
        self._folders: list[Path] = []
        self._shares: list[tuple[dict[int, int], dict[ArrayKey, Any]]] = []
        for folder in [] if store is None else sorted((store.path / SHARES).glob("*-of-*")):
            arrays = {name: FeatureStore(folder).array(key) for name, key in keys.items()}
            self._folders += [array.folder for array in arrays.values() if array.folder.is_dir()]
            if all(map(len, arrays.values())):
                self._shares.append(_complete_rows(arrays, plan))

    def find(self, rows: np.ndarray) -> dict[ArrayKey, np.ndarray] | None:
        """Return all arrays' values of some images, if a share has them sound."""
        for places, values in self._shares:
            if all(int(row) in places for row in rows):
                wanted = np.array([places[int(row)] for row in rows])
                try:
                    return {name: stored[wanted] for name, stored in values.items()}
                except DamagedError:  # is computed again
                    continue
        return None

    def remove(self) -> None:
        """Remove what has been put together."""
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


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
