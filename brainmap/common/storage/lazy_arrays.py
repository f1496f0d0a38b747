"""Arrays that stay on disk until some of their values are asked for: scores may be larger than memory."""

from __future__ import annotations

from collections.abc import Sequence
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


class StackedArray(BackendArray):
    """Arrays of one shape along a new first axis; only those that are asked for are read.

    Parameters
    ----------
    parts : sequence of xarray.Variable
        The arrays.
    """

    def __init__(self, parts: Sequence[xr.Variable]) -> None:
        self.parts = list(parts)
        self.shape = (len(self.parts), *self.parts[0].shape)
        self.dtype = np.result_type(*(part.dtype for part in self.parts))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read a part."""
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        first, *rest = key
        chosen = np.arange(len(self.parts))[first]
        if np.ndim(chosen) == 0:
            return np.asarray(self.parts[int(chosen)][tuple(rest)].values, dtype=self.dtype)
        return np.stack([np.asarray(self.parts[number][tuple(rest)].values, dtype=self.dtype) for number in chosen])


def stacked(parts: Sequence[xr.Variable], dim: str) -> xr.Variable:
    """Return variables along a new first dimension, unread."""
    return xr.Variable((dim, *parts[0].dims), indexing.LazilyIndexedArray(StackedArray(parts)))


def mean_by_layer(scores: xr.DataArray) -> xr.DataArray:
    """Return the mean over all other dimensions, ``(layer, target)``, float64; one layer is read at a time."""
    others = [dim for dim in scores.dims if dim not in ("layer", "target")]
    kept = {name: scores[name] for name in scores.coords if not set(others) & set(scores[name].dims)}
    shape = (scores.sizes["layer"], scores.sizes["target"])
    mean = xr.DataArray(np.empty(shape), dims=("layer", "target"), coords=kept)
    for layer in range(shape[0]):
        mean[layer] = scores.isel(layer=layer).astype(np.float64).mean(others, skipna=True)
    return mean


def mean_over_targets(scores: xr.DataArray) -> xr.DataArray:
    """Return the mean over targets, float64; one layer is read at a time."""
    layers = [scores.isel(layer=[layer]).astype(np.float64).mean("target", skipna=True)
              for layer in range(scores.sizes["layer"])]  # fmt: skip
    mean: xr.DataArray = xr.concat(layers, "layer")
    return mean
