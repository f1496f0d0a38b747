"""Bare arrays: ``.npy .npz .mat .h5 .zarr .nc`` and tables of numbers; ``file.mat::betas`` names the variable."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.hdf5_files import open_hdf5, own_dataset, refuse_large_chunks
from brainmap.common.storage.unpacked import refuse_large_member
from brainmap.common.tables import as_numbers, read_cells
from brainmap.data.own_recordings.arrays.labelled_axes import read_labelled
from brainmap.data.own_recordings.arrays.matlab_files import read_matlab
from brainmap.data.own_recordings.arrays.variables import NUMBERS, choose_variable, dotted
from brainmap.data.own_recordings.recording import Recording, flattened

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
MAX_TEXT_COLUMNS = 400_000  # more vertices than any mesh has
_INFINITE = re.compile(r"^[+-]?inf(inity)?$", re.IGNORECASE)


def read_array(path: Path, variable: str | None) -> Recording:
    """Open a file of numbers; values stay on disk where the format allows it.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz``, ``.mat`` (v5 and v7.3), ``.h5``, ``.zarr``, ``.nc``, or numbers as text (``.csv``).
    variable : str, optional
        Name of the array inside the file; needed where there are several.

    Returns
    -------
    Recording
        Axes after the first are flattened, the last one fastest. Labelled axes (netCDF, xarray's Zarr) are told apart
        by their names and become tables.

    Raises
    ------
    InputError
        If the file is damaged, holds no such array, or holds Python or MATLAB objects, which are never unpickled.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = suffixes[-1] if suffixes else ""
    if suffix == ".gz" and len(suffixes) > 1:
        suffix = suffixes[-2]
    readers: dict[str, Callable[[Path, str | None], Recording]] = {
        ".npy": _npy, ".npz": _npz, ".mat": _mat, ".zarr": _zarr, ".nc": _netcdf, ".nc4": _netcdf, ".cdf": _netcdf,
        ".csv": _text, ".tsv": _text, ".txt": _text, **dict.fromkeys(HDF5_SUFFIXES, _hdf5),
    }  # fmt: skip
    with reading(path):
        recording = readers[suffix](path, variable)
    recording.info["file"] = path.name
    return recording


def _npy(path: Path, variable: str | None) -> Recording:
    if variable is not None:
        raise InputError(f"{path} holds one array without a name; leave out '::{variable}'.")
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)  # an archive (.npz) or text is no array
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        why = (
            "it holds Python objects, which are never unpickled"
            if "objects" in str(error).casefold() or "allow_pickle" in str(error)
            else str(error)
        )
        raise InputError(
            f"{path} cannot be read as an array of numbers ({why}); write it with numpy.save from a float32 array."
        ) from error
    return flattened(values)


def _npz(path: Path, variable: str | None) -> Recording:
    try:
        with zipfile.ZipFile(path) as archive:
            arrays, objects = {}, []
            for member in archive.infolist():
                with archive.open(member) as stream:
                    shape, dtype = _npy_header(stream)
                if dtype.kind in NUMBERS:
                    arrays[member.filename.removesuffix(".npy")] = shape
                    if math.prod(shape) * dtype.itemsize > member.file_size:
                        raise InputError(
                            f"{member.filename} in {path} is cut short: its header promises {shape}, which its "
                            f"{member.file_size:,} bytes do not hold; save it anew."
                        )
                elif dtype.kind == "O":
                    objects.append(member.filename.removesuffix(".npy"))
            if variable in objects or (objects and not arrays):
                raise InputError(
                    f"The array {variable or objects[0]!r} of {path} holds Python objects, which are never unpickled; "
                    "save it as an array of numbers (numpy.savez(file, betas=betas.astype('float32')))."
                )
            name, notes = choose_variable(path, variable, arrays)
            member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
            values = _stored_member(path, member) if member.compress_type == zipfile.ZIP_STORED else None
        if values is None:  # compressed: a member can only be unpacked as a whole
            refuse_large_member(member, path)
            with np.load(path, allow_pickle=False) as file:
                values = file[name]
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as an archive of arrays ({error}); it may be cut short: copy it again."
        ) from error
    recording = flattened(values)
    recording.notes += notes
    return recording


def _npy_header(stream: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _stored_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """Map an uncompressed member of an ``.npz`` file, as numpy.savez writes them."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = np.frombuffer(file.read(4), dtype="<u2")  # of the name and the extra field of the local header
        file.seek(member.header_offset + 30 + int(lengths.sum()))
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=shape, order="F" if fortran else "C")


def _mat(path: Path, variable: str | None) -> Recording:
    import h5py

    return _hdf5(path, variable) if h5py.is_hdf5(path) else read_matlab(path, variable)


def _hdf5(path: Path, variable: str | None) -> Recording:
    import h5py

    file = open_hdf5(path)
    arrays: dict[str, tuple[int, ...]] = {}
    objects: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            numeric = item.dtype.kind in NUMBERS and item.attrs.get("MATLAB_class", b"double") not in (b"char", b"cell")
            if numeric:
                matlab = "MATLAB_class" in item.attrs  # which counts axes the other way round
                arrays[dotted(name) if matlab else name] = item.shape[::-1] if matlab else item.shape
            elif item.dtype.kind == "O":
                objects.append(name)

    file.visititems(visit)
    if variable in objects or (objects and not arrays):
        raise InputError(
            f"{variable or objects[0]!r} of {path} holds objects (cells or "
            "references), not numbers; save it as a plain "
            "numeric array."
        )
    name, notes = choose_variable(path, variable, arrays)
    dataset = own_dataset(file, name if name in file else name.replace(".", "/"))
    recording = flattened(dataset, reverse="MATLAB_class" in dataset.attrs)  # MATLAB stores the last axis first
    recording.notes += notes
    return recording


def _zarr(path: Path, variable: str | None) -> Recording:
    import zarr

    try:
        opened = zarr.open(str(path), mode="r")
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise InputError(f"{path} cannot be opened as Zarr ({error}); give the folder of an array or group.") from error
    if isinstance(opened, zarr.Array):
        if opened.dtype.kind not in NUMBERS:
            raise InputError(f"The responses are of type {opened.dtype}; save them as real numbers, such as float32.")
        return _chunked(opened, path)
    arrays = {str(name): item for name, item in opened.members(max_depth=None) if isinstance(item, zarr.Array)}
    if any(
        item.metadata.to_dict().get("dimension_names") or "_ARRAY_DIMENSIONS" in item.attrs for item in arrays.values()
    ):
        import xarray as xr

        recording, name = _labelled(path, variable, xr.open_zarr(str(path), chunks=None))
        recording.notes += _chunk_notes(arrays[name], path)
        return recording
    shapes = {name: item.shape for name, item in arrays.items() if item.dtype.kind in NUMBERS}
    name, notes = choose_variable(path, variable, shapes)
    recording = _chunked(arrays[name], path)
    recording.notes += notes
    return recording


def _chunked(array: Any, path: Path) -> Recording:
    recording = flattened(array)
    recording.notes += _chunk_notes(array, path)
    return recording


def _chunk_notes(array: Any, path: Path) -> list[str]:
    """A note about chunks that are not there: Zarr leaves out those that equal the fill value, and cannot miss one."""
    refuse_large_chunks(array, f"The array {array.name!r} of {path}")
    absent = array.nchunks - array.nchunks_initialized
    if not absent:
        return []
    return [f"{absent:,} of {array.nchunks:,} chunks of {path.name} are not there: they are read as {array.fill_value}"]


def _netcdf(path: Path, variable: str | None) -> Recording:
    import h5py
    import xarray as xr

    try:
        dataset = xr.open_dataset(path, engine="h5netcdf" if h5py.is_hdf5(path) else "scipy", decode_timedelta=False)
    except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
        raise InputError(f"{path} cannot be opened as netCDF ({error}); it may be cut short: copy it again.") from error
    recording, name = _labelled(path, variable, dataset)
    if h5py.is_hdf5(path):
        own_dataset(open_hdf5(path), name)
    return recording


def _labelled(path: Path, variable: str | None, dataset: Any) -> tuple[Recording, str]:
    arrays = {str(name): array.shape for name, array in dataset.data_vars.items() if array.dtype.kind in NUMBERS}
    name, notes = choose_variable(path, variable, arrays)
    recording = read_labelled(dataset[name], str(path))
    recording.notes += notes
    return recording, name


def _text(path: Path, variable: str | None) -> Recording:
    """Numbers as text: a header is a first line that is not all numbers, or counts the columns."""
    if variable is not None:
        raise InputError(f"{path} is a table of numbers and holds one array; leave out '::{variable}'.")
    header, rows, notes = read_cells(path)
    if len(header) > MAX_TEXT_COLUMNS:
        raise InputError(
            f"{path} has {len(header):,} columns, more than numbers as text may have ({MAX_TEXT_COLUMNS:,}); save them "
            "as an array (.npy)."
        )
    if len(header) == 1 and len(header[0].split()) > 1:
        header, rows = _split_at_blanks(path, [header[0], *(row[0] for row in rows)])
    counts = [str(number) for number in range(len(header) + 1)]
    is_header = header in (counts[:-1], counts[1:]) or not _all_numbers(header)
    named = is_header and len(set(header)) == len(header)
    table = pd.DataFrame(rows if is_header else [header, *rows], dtype=object)
    table.columns = pd.Index(header if named else [f"column {number}" for number in range(len(header))])
    table = table.replace(_INFINITE, np.nan, regex=True)  # missing, as NaN is
    table.attrs = {"file": str(path), "notes": []}
    recording = flattened(as_numbers(table, table.columns).to_numpy(dtype=np.float64))
    recording.notes += notes
    return recording


def _all_numbers(cells: list[str]) -> bool:
    names = pd.DataFrame([cells], dtype=object).replace(_INFINITE, np.nan, regex=True)
    try:
        as_numbers(names, names.columns)
    except InputError:
        return False
    return True


def _split_at_blanks(path: Path, lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """Numbers that blanks separate, as numpy.savetxt writes them."""
    cells = [line.split() for line in lines]
    wrong = next((place for place, row in enumerate(cells) if len(row) != len(cells[0])), None)
    if wrong is not None:
        raise InputError(
            f"Line {wrong + 1} of {path} has {len(cells[wrong])} numbers, the first {len(cells[0])}; separate them "
            "with tabs, and write n/a where one is missing."
        )
    return cells[0], cells[1:]
