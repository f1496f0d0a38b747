"""HDF5 files as input: what lies in the file itself, read without following it to other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError

MAX_CHUNK_BYTES = 2**31


def open_hdf5(path: Path) -> Any:
    """Open a file for reading.

    Raises
    ------
    InputError
        If it is no HDF5 file, or a damaged one.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except PermissionError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be opened as HDF5 ({_short(error)}); fetch or save it anew.") from error


def own_dataset(file: Any, name: str) -> Any:
    """Return a dataset whose numbers lie in this very file.

    Parameters
    ----------
    file : h5py.File
        Open file.
    name : str
        Path of the dataset in it.

    Raises
    ------
    InputError
        If there is none, or if it is a link to another file, keeps its numbers in other files, or lacks some of them:
        other files are not what one was given, and chunks that were never written read as zeros.
    """
    import h5py

    where = f"Dataset {name!r} in {file.filename}"
    try:
        place = file
        for part in [part for part in name.split("/") if part]:
            if isinstance(place.get(part, getlink=True), h5py.ExternalLink):
                raise InputError(f"{where} is a link to another file; give the file that holds the numbers.")
            place = place[part]
        if not isinstance(place, h5py.Dataset) or place.file.filename != file.filename:
            raise InputError(f"{where} is no dataset of this file; it has {sorted(file)[:20]}.")
        if place.external or place.is_virtual:
            raise InputError(f"{where} keeps its numbers in other files; copy them into one file.")
        _refuse_gaps(place, where)
        return place
    except InputError:
        raise
    except KeyError:
        raise InputError(f"{file.filename} has no dataset {name!r}; it has {sorted(file)[:20]}.") from None
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, UnicodeError) as error:
        raise InputError(f"{where} cannot be read ({_short(error)}); fetch or save the file anew.") from error


def read_rows(dataset: Any, rows: Any) -> np.ndarray:
    """Read rows of a dataset.

    Raises
    ------
    InputError
        If their bytes are damaged.
    """
    try:
        return np.asarray(dataset[rows])
    except (OSError, RuntimeError, ValueError) as error:
        where = f"Dataset {dataset.name!r} in {dataset.file.filename}"
        raise InputError(f"{where} cannot be read ({_short(error)}); fetch or save the file anew.") from error


def _refuse_gaps(dataset: Any, where: str) -> None:
    if dataset.size and dataset.chunks is None and dataset.id.get_storage_size() == 0:
        raise InputError(f"{where} was never written: all of it would read as zeros.")
    if dataset.chunks is None or not dataset.size:
        return
    refuse_large_chunks(dataset, where)
    expected = int(np.prod([-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]))
    written = dataset.id.get_num_chunks()
    if written < expected:
        raise InputError(f"{where} has {written:,} of {expected:,} chunks: the others would read as zeros.")


def refuse_large_chunks(array: Any, where: str) -> None:
    """Refuse an array, of HDF5 or Zarr, any part of which takes more than 2 GB to read."""
    if int(np.prod(array.chunks, dtype=np.float64)) * array.dtype.itemsize > MAX_CHUNK_BYTES:
        raise InputError(f"{where} has chunks of more than 2 GB; save it with smaller ones.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
