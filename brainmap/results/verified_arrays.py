"""Arrays of stored results that stay on disk: what is damaged is named when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.common import BackendArray
from xarray.core import indexing

from brainmap.common.storage.digests import naming_damage


class VerifiedArray(BackendArray):
    """An array of a Zarr store in a sealed folder, each chunk compared with its checksum as it is read.

    Parameters
    ----------
    variable : xarray.Variable
        As xarray opened it.
    folder : Path
        The sealed folder.
    kind : str
        What the folder holds.
    """

    def __init__(self, variable: xr.Variable, folder: Path, kind: str) -> None:
        self.variable, self.folder, self.kind = variable, folder, kind
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read a part."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        with naming_damage(self.folder, self.kind):
            return np.asarray(self.variable[key].values)


def verified(dataset: xr.Dataset, folder: Path, kind: str) -> xr.Dataset:
    """Return a dataset whose variables are read as :class:`VerifiedArray` says; coordinates are left as they are."""
    lazy = {
        name: xr.Variable(
            array.dims, indexing.LazilyIndexedArray(VerifiedArray(array.variable, folder, kind)), array.attrs
        )
        for name, array in dataset.data_vars.items()
    }
    return dataset.assign(lazy)
