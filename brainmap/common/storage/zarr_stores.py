"""How brainmap's Zarr arrays are written: every chunk, each with a checksum, so that none can be mistaken."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

TARGETS = 16_384  # of one chunk
LARGE = 2**25  # bytes of an array that is written in blocks


def checked_compressors() -> list[Any]:
    """Zstandard, then a CRC-32C of the compressed bytes: a flipped bit raises when the chunk is read."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=0), Crc32cCodec()]


def write_checked(dataset: xr.Dataset, folder: Path) -> None:
    """Write a dataset as Zarr v3, all chunks of it; what is large is read and written in blocks.

    Zarr leaves out chunks that equal the fill value; one that was lost would then read as one that was left out.
    """
    import zarr

    large = [name for name, array in dataset.data_vars.items() if array.nbytes > LARGE and array.ndim > 1]
    small = dataset.drop_vars(large)
    encoding = {str(name): {"compressors": checked_compressors()} for name in small.variables}
    small.to_zarr(folder, mode="w", consolidated=False, zarr_format=3, encoding=encoding, write_empty_chunks=True)
    for name in large:
        source = dataset[name].variable
        *outer, rows, width = source.shape
        chunks = (*[1] * len(outer), rows, min(width, TARGETS))
        group = zarr.open_group(str(folder), mode="r+")
        array = reserve_checked(group, str(name), source.shape, chunks, source.dims, dtype=source.dtype)
        for place in itertools.product(*map(range, outer)):
            for first in range(0, width, 8 * TARGETS):
                block = (*place, slice(None), slice(first, first + 8 * TARGETS))
                array[block] = source[block].values


def create_checked(group: Any, name: str, values: np.ndarray) -> None:
    """Write one array into a Zarr group in the same way."""
    group.create_array(name, data=values, compressors=checked_compressors(), config={"write_empty_chunks": True})


def reserve_checked(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dims: Sequence[Any] | None = None,
    *, dtype: Any = np.float32,
) -> Any:  # fmt: skip
    """Create an array, of numbers with NaN where nothing is written yet, whose chunks are written in the same way."""
    empty = float("nan") if np.issubdtype(dtype, np.floating) else None
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, fill_value=empty, compressors=checked_compressors(),
        config={"write_empty_chunks": True}, dimension_names=None if dims is None else list(map(str, dims)),
    )  # fmt: skip


def in_order_of_names(dataset: xr.Dataset) -> xr.Dataset:
    """Sort the coordinates of a loaded dataset, which come as the file system lists them: tables have one order."""
    coords = {name: dataset[name].variable for name in sorted(dataset.coords, key=str)}
    return dataset.drop_vars(list(coords)).assign_coords(coords)
