"""Scores on disk: a Zarr directory with digests, read and written in blocks of targets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainmap.common.errors import InputError
from brainmap.common.storage.digests import is_sealed, reading
from brainmap.common.storage.files import recover_folder
from brainmap.common.storage.lazy_arrays import verified
from brainmap.common.storage.zarr_stores import TARGETS, in_order_of_names, reserve_checked, write_checked

KIND = "encoding result"
DIMS = ("layer", "split", "target")
PROVENANCE = "brainmap_provenance"


class ScoreFile:
    """Scores written as they come, float32: of each layer, what is not a whole chunk of targets yet waits in memory.

    Parameters
    ----------
    folder : Path
        Empty folder.
    names : sequence of str
        Variables, such as ``r``, ``r2``, ``alpha``.
    coords : xarray.Dataset
        Coordinates ``layer``, ``split``, ``target``, and columns of the targets.
    """

    def __init__(self, folder: Path, names: Sequence[str], coords: xr.Dataset) -> None:
        import zarr

        write_checked(storable(coords.drop_attrs()), folder)
        self._group = zarr.open_group(str(folder), mode="r+")
        self._shape = tuple(coords.sizes[dim] for dim in DIMS)
        chunks = (1, self._shape[1], min(TARGETS, self._shape[2]))
        self.arrays = {name: reserve_checked(self._group, name, self._shape, chunks, DIMS) for name in names}
        self._waiting: dict[int, NDArray[np.float32]] = {}

    def write(self, layer: int, targets: slice, scores: Mapping[str, NDArray[Any]]) -> None:
        """Write a layer's scores, each (n_splits, n_targets of the slice); the slices of a layer come in order."""
        _, n_splits, n_targets = self._shape
        start = targets.start
        while start < targets.stop:
            first = start - start % TARGETS
            last = min(first + TARGETS, n_targets)
            stop = min(targets.stop, last)
            if layer not in self._waiting:
                self._waiting[layer] = np.empty((len(self.arrays), n_splits, last - first), dtype=np.float32)
            for kept, name in zip(self._waiting[layer], self.arrays, strict=True):
                kept[:, start - first : stop - first] = scores[name][:, start - targets.start : stop - targets.start]
            if stop == last:
                for kept, array in zip(self._waiting.pop(layer), self.arrays.values(), strict=True):
                    array[layer, :, first:last] = kept
            start = stop

    def describe(self, attrs: Mapping[str, Any]) -> None:
        """Say how the scores were made."""
        self._group.attrs[PROVENANCE] = json.dumps(attrs, default=jsonable)


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset as Zarr can hold it: fixed-length unicode has no Zarr v3 specification."""
    dataset = dataset.copy()
    for name in list(dataset.variables):
        dataset[name].encoding.clear()
    texts = [name for name in dataset.variables if dataset[name].dtype.kind in "OUT"]
    plain = {
        name: (dataset[name].dims, np.array(dataset[name].values.tolist(), dtype=np.dtypes.StringDType()))
        for name in texts
    }
    return dataset.drop_vars(texts).assign_coords(xr.Coordinates(plain, indexes={}))


def save_scores(dataset: xr.Dataset, folder: Path) -> None:
    """Write scores and provenance into an empty folder."""
    described = dataset.drop_attrs(deep=False)
    described.attrs = {PROVENANCE: json.dumps(dataset.attrs, default=jsonable)}
    write_checked(storable(described), folder)


def load_scores(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """Read scores.

    Parameters
    ----------
    path : Path
        The directory.
    lazy : bool
        Leave scores on disk until some are asked for; each chunk is then compared with its checksum.

    Raises
    ------
    InputError
        If there is no encoding result at `path`.
    DamagedError
        If it is not what was written; names the file.
    """
    recover_folder(path)
    if not path.is_dir():
        raise InputError(f"no encoding result at {path}; give the directory that `EncodingResult.save` wrote.")
    if not (path / "zarr.json").is_file() and not is_sealed(path):
        raise InputError(f"{path} holds no encoding result; give the directory that `EncodingResult.save` wrote.")
    with reading(path, KIND):
        stored = xr.open_dataset(path, engine="zarr", consolidated=False, chunks=None, cache=False)
        dataset = stored.assign_coords({key: stored[key].load() for key in stored.coords})
        dataset = verified(dataset, path, KIND) if lazy else dataset.load()
        for name in list(dataset.coords):
            if dataset[name].dtype.kind in "OT":
                dataset[name] = (dataset[name].dims, np.array(dataset[name].values.tolist(), dtype=str))
        text = dataset.attrs.pop(PROVENANCE, None)
        if text is None:
            raise InputError(f"{path} is a Zarr store but not an encoding result (it holds no provenance).")
        dataset = in_order_of_names(dataset)
        dataset.attrs = json.loads(text)
    return dataset


def jsonable(value: Any) -> Any:
    """Turn numpy values into plain ones."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
