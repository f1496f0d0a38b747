"""Bare arrays: ``.npy .npz .mat .h5 .zarr .nc`` and tables of numbers; ``file.mat::betas`` names the variable."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.common.tables import as_numbers, read_cells
from brainmap.data.own_recordings.arrays.labelled_axes import read_labelled
from brainmap.data.own_recordings.recording import Recording, flattened

NUMBERS = "fiu"
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
MATLAB_NUMBERS = frozenset(
    {"double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)
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


def choose_variable(path: Path, variable: str | None, arrays: Mapping[str, tuple[int, ...]]) -> tuple[str, list[str]]:
    """Name of the array to read among those that could be responses, and a note where it was not asked for.

    Parameters
    ----------
    arrays : mapping of str to tuple of int
        Shapes of the numeric arrays by name.
    """
    told = ", ".join(f"{name} ({' × '.join(map(str, shape))})" for name, shape in list(arrays.items())[:8])
    if variable is not None:
        wanted = _dotted(variable)
        same = [name for name in arrays if _dotted(name) == wanted]
        inside = [name for name in arrays if _dotted(name).startswith(f"{wanted}.")]  # a struct, or a group
        if not same and len(inside) > 1:
            return choose_variable(path, None, {name: arrays[name] for name in inside})
        if not same and inside:
            return inside[0], [f"the array {inside[0].strip('/')!r} of {path.name} is read"]
        if not same:
            raise InputError(f"{path} has no array of numbers {variable!r}; it has {told or 'none'}.")
        return same[0], []
    large = [name for name, shape in arrays.items() if len(shape) >= 2 and sum(length > 1 for length in shape) >= 1]
    if len(large) != 1:
        if not large:
            raise InputError(f"{path} holds no array of trials × targets; it has {told or 'no arrays of numbers'}.")
        raise InputError(f"{path} holds several arrays: {told}; name one, as in {path.name}::{large[0].strip('/')}.")
    return large[0], [f"the array {large[0].strip('/')!r} of {path.name} is read"] if len(arrays) > 1 else []


def _dotted(name: str) -> str:
    """``results/betas`` of HDF5 and ``results.betas`` of MATLAB are one."""
    return name.strip("/").replace("/", ".")


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

    if h5py.is_hdf5(path):
        return _hdf5(path, variable)
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        listed = whosmat(path)
        arrays: dict[str, Any] = {name: shape for name, shape, kind in listed if kind in MATLAB_NUMBERS}
        other = {name: kind for name, _, kind in listed if kind not in MATLAB_NUMBERS}
        top = _dotted(variable or "").partition(".")[0]
        structs = [name for name, kind in other.items() if kind == "struct" and (name == top or variable is None)]
        fields = _struct_fields(loadmat(path, variable_names=structs), structs) if structs else {}
        if (top in other or not arrays) and other and not fields:
            name = top if top in other else next(iter(other))
            raise InputError(
                f"The variable {name!r} of {path} is a MATLAB {other[name]} without arrays of numbers; in MATLAB: "
                "save('betas.mat', 'betas', '-v7.3') with betas as an array."
            )
        shapes = arrays | {name: field.shape for name, field in fields.items()}
        name, notes = choose_variable(path, variable, shapes)
        if name in fields:
            values = fields[name]
        else:  # v5 is compressed: no part of it can be read
            values = np.asarray(loadmat(path, variable_names=[name])[name])
    except (MatReadError, ValueError, TypeError, NotImplementedError, KeyError, EOFError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as a MATLAB file ({error}); it may be cut short.") from error
    recording = flattened(np.squeeze(values) if values.ndim > 2 else values)
    recording.notes += notes
    return recording


def _struct_fields(content: Mapping[str, Any], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of numbers in the fields of MATLAB structs, by ``struct.field``; lists of structs are passed over."""
    fields: dict[str, np.ndarray] = {}
    for name in names:
        struct = content.get(name)
        if not isinstance(struct, np.ndarray) or struct.dtype.names is None or struct.size != 1:
            continue
        inside = {f"{name}.{field}": struct.ravel()[0][field] for field in struct.dtype.names}
        arrays = {key: value for key, value in inside.items() if isinstance(value, np.ndarray)}
        fields |= {key: value for key, value in arrays.items() if value.dtype.kind in NUMBERS}
        fields |= _struct_fields(inside, inside)
    return fields


def _hdf5(path: Path, variable: str | None) -> Recording:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be opened as HDF5 ({error}); it may be cut short: copy it again.") from error
    arrays: dict[str, tuple[int, ...]] = {}
    objects: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            numeric = item.dtype.kind in NUMBERS and item.attrs.get("MATLAB_class", b"double") not in (b"char", b"cell")
            if numeric:
                matlab = "MATLAB_class" in item.attrs  # which counts axes the other way round
                arrays[_dotted(name) if matlab else name] = item.shape[::-1] if matlab else item.shape
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
    dataset = file[name if name in file else name.replace(".", "/")]
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
        return flattened(opened)
    arrays = {str(name): item for name, item in opened.members(max_depth=None) if isinstance(item, zarr.Array)}
    if any(
        item.metadata.to_dict().get("dimension_names") or "_ARRAY_DIMENSIONS" in item.attrs for item in arrays.values()
    ):
        import xarray as xr

        return _labelled(path, variable, xr.open_zarr(str(path), chunks=None))
    shapes = {name: item.shape for name, item in arrays.items() if item.dtype.kind in NUMBERS}
    name, notes = choose_variable(path, variable, shapes)
    recording = flattened(arrays[name])
    recording.notes += notes
    return recording


def _netcdf(path: Path, variable: str | None) -> Recording:
    import h5py
    import xarray as xr

    try:
        dataset = xr.open_dataset(path, engine="h5netcdf" if h5py.is_hdf5(path) else "scipy", decode_timedelta=False)
    except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
        raise InputError(f"{path} cannot be opened as netCDF ({error}); it may be cut short: copy it again.") from error
    return _labelled(path, variable, dataset)


def _labelled(path: Path, variable: str | None, dataset: Any) -> Recording:
    arrays = {str(name): array.shape for name, array in dataset.data_vars.items() if array.dtype.kind in NUMBERS}
    name, notes = choose_variable(path, variable, arrays)
    recording = read_labelled(dataset[name], str(path))
    recording.notes += notes
    return recording


def _text(path: Path, variable: str | None) -> Recording:
    """Numbers as text: a header is a first line that is not all numbers, or counts the columns."""
    if variable is not None:
        raise InputError(f"{path} is a table of numbers and holds one array; leave out '::{variable}'.")
    header, rows, notes = read_cells(path)
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
