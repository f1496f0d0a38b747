"""How brainmap's Zarr arrays are written: every chunk, each with a checksum, so that none can be mistaken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import xarray as xr


def checked_compressors() -> list[Any]:
    """Zstandard, then a CRC-32C of the compressed bytes: a flipped bit raises when the chunk is read."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    return [ZstdCodec(level=0), Crc32cCodec()]


def write_checked(dataset: xr.Dataset, folder: Path) -> None:
    """Write a dataset as Zarr v3, all chunks of it.

    Zarr leaves out chunks that equal the fill value; one that was lost would then read as one that was left out.
    """
    encoding = {str(name): {"compressors": checked_compressors()} for name in dataset.variables}
    dataset.to_zarr(folder, mode="w", consolidated=False, zarr_format=3, encoding=encoding, write_empty_chunks=True)


def create_checked(group: Any, name: str, values: np.ndarray) -> None:
    """Write one array into a Zarr group in the same way."""
    group.create_array(name, data=values, compressors=checked_compressors(), config={"write_empty_chunks": True})


def reserve_checked(group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
    """Create an array of float32, NaN where nothing is written yet, whose chunks are written in the same way."""
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype="float32", fill_value=float("nan"), compressors=checked_compressors(),
        config={"write_empty_chunks": True},
    )  # fmt: skip


def in_order_of_names(dataset: xr.Dataset) -> xr.Dataset:
    """Sort the coordinates of a loaded dataset, which come as the file system lists them: tables have one order."""
    coords = {name: dataset[name].variable for name in sorted(dataset.coords, key=str)}
    return dataset.drop_vars(list(coords)).assign_coords(coords)
