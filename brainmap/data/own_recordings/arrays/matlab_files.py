"""MATLAB files of version 5, of which no part can be read: arrays, and arrays in structs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainmap.common.errors import InputError
from brainmap.common.storage.unpacked import refuse_large
from brainmap.data.own_recordings.arrays.variables import NUMBERS, choose_variable, dotted
from brainmap.data.own_recordings.recording import Recording, flattened

COMPRESSED = 15  # tag of a variable
CLASSES = frozenset({"double", "single", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


def read_matlab(path: Path, variable: str | None) -> Recording:
    """Read an array of a MATLAB file of version 5 or below, which can only be unpacked as a whole."""
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        refuse_large(_largest_element(path), f"A variable of {path}")
        listed = whosmat(path)
        arrays: dict[str, Any] = {name: shape for name, shape, kind in listed if kind in CLASSES}
        other = {name: kind for name, _, kind in listed if kind not in CLASSES}
        top = dotted(variable or "").partition(".")[0]
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


def _largest_element(path: Path) -> int:
    """Bytes of the largest variable of a MATLAB file of version 5, unpacked: the head of each says it."""
    largest = 0
    with path.open("rb") as file:
        order: Literal["little", "big"] = "little" if file.read(128)[126:] == b"IM" else "big"
        while len(tag := file.read(8)) == 8:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            following = file.tell() + size
            if kind == COMPRESSED:
                head = zlib.decompressobj().decompress(file.read(min(size, 64)), 8)
                size = int.from_bytes(head[4:8], order)
            largest = max(largest, size)
            file.seek(following)
    return largest


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
