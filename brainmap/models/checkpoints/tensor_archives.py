"""Tensors of torch archives whose index is a pickle, read without unpickling: files, TorchScript, sharded checkpoints.

``torch.load(weights_only=True)`` refuses files that hold anything besides tensors and plain values, and TorchScript
archives altogether. Their tensors are plain bytes in a zip file, and what the pickle says about them is read by
:mod:`brainmap.models.checkpoints.symbolic_pickle`: nothing in the file is imported, called or executed.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainmap.common.errors import InputError
from brainmap.common.storage.unpacked import refuse_large_member
from brainmap.models.checkpoints.symbolic_pickle import Call, Named, Reference, read_symbols

_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_REBUILD = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_WRAPPED = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_PLAIN = (int, float, str, bool, type(None))


def read_archive(path: Path) -> Any:
    """Tensors and plain values of a zip archive that ``torch.save`` or ``torch.jit.save`` wrote.

    Parameters
    ----------
    path : Path
        File.

    Returns
    -------
    dict, list, Tensor or plain value
        As in the file. Objects become dictionaries of their attributes; what is neither is left out (None).

    Raises
    ------
    InputError
        If the file is no such archive, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                refuse_large_member(member, path)
            index = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            if index is None:
                raise ValueError("there is no data.pkl in it")
            order = index.removesuffix("data.pkl") + "byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise ValueError("its numbers are big-endian")
            symbols = read_symbols(archive.read(index))
            return _Resolver(archive, index.removesuffix("data.pkl") + "data/").value(symbols)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # an index that was tampered with, or bytes that were damaged, raise anything
        raise InputError(
            f"{path} is damaged, or no checkpoint that torch wrote ({error}); download or copy it again."
        ) from None


class _Resolver:
    """Symbols to tensors; each storage is read once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Tensor] = {}

    def value(self, symbol: Any) -> Any:
        """The symbol's tensors and plain values."""
        if isinstance(symbol, _PLAIN):
            return symbol
        if isinstance(symbol, Mapping):
            return {key: self.value(item) for key, item in symbol.items() if isinstance(key, _PLAIN)}
        if isinstance(symbol, list | tuple):
            return [self.value(item) for item in symbol]
        if not isinstance(symbol, Call):
            return None
        if symbol.name in _REBUILD:
            return self._tensor(symbol)
        if symbol.name in _WRAPPED:
            return self.value(symbol.args[0])
        attributes = symbol.state if isinstance(symbol.state, Mapping) else {}
        return self.value({**attributes, **symbol.items})

    def _tensor(self, call: Call) -> Tensor:
        reference, offset, size, stride = call.args[:4]
        if not isinstance(reference, Reference) or len(reference.key) < 3 or not isinstance(reference.key[1], Named):
            raise ValueError("a tensor's storage is described in a way that is not understood")
        kind, key = reference.key[1].name.rpartition(".")[2], str(reference.key[2])
        if kind not in _DTYPES:
            raise ValueError(f"numbers of kind {kind} are not understood")
        if key not in self._storages:
            data = bytearray(self._archive.read(self._folder + key))
            empty = torch.empty(0, dtype=_DTYPES[kind])
            self._storages[key] = torch.frombuffer(data, dtype=_DTYPES[kind]) if data else empty
        storage, size, stride = self._storages[key], list(size), list(stride)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if math.prod(size) else 0
        if min([offset, last, *size, *stride], default=0) < 0 or (math.prod(size) and last >= len(storage)):
            raise ValueError(f"a tensor of shape {tuple(size)} reaches beyond its storage")
        if math.prod(size) > len(storage):
            raise ValueError(f"a tensor of shape {tuple(size)} stands for more numbers than are stored")
        return storage.as_strided(size, stride, offset).clone()


def is_sharded(folder: Path) -> bool:
    """Whether a folder is a checkpoint that ``torch.distributed.checkpoint`` wrote in shards."""
    return next(folder.glob("*.distcp"), None) is not None


def read_shards(folder: Path) -> dict[str, Tensor]:
    """Tensors of a sharded checkpoint (``.metadata`` and ``*.distcp``), put together from their chunks.

    Parameters
    ----------
    folder : Path
        As ``torch.distributed.checkpoint.save`` writes it: its index names, for every chunk of a tensor, the file and
        the bytes of it, which are a torch file of one tensor.

    Raises
    ------
    InputError
        If the index, a shard or a chunk is missing or damaged.
    """
    try:
        index = read_symbols((folder / ".metadata").read_bytes())
        described, stored = index.state["state_dict_metadata"], index.state["storage_data"]
        whole: dict[str, Tensor] = {}
        covered: dict[str, int] = {}
        for key, place in stored.items():
            name = str(key.state["fqn"])
            if described[name].name.rpartition(".")[2] != "TensorStorageMetadata":
                continue  # plain values, such as the step
            chunk = _chunk(folder, place.state)
            offsets = _numbers(key.state.get("offset"))
            if name not in whole:
                whole[name] = torch.zeros(_numbers(described[name].state["size"]), dtype=chunk.dtype)
            where = tuple(slice(o, o + n) for o, n in zip(offsets or [0] * chunk.ndim, chunk.shape, strict=True))
            whole[name][where] = chunk
            covered[name] = covered.get(name, 0) + chunk.numel()
    except (ValueError, OSError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{folder} is not a readable sharded checkpoint ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "copy all its files again, .metadata included."
        ) from None
    gaps = [name for name, tensor in whole.items() if covered[name] != tensor.numel()]
    gaps += [
        name
        for name, note in described.items()
        if note.name.rpartition(".")[2] == "TensorStorageMetadata" and name not in whole
    ]
    if gaps:
        raise InputError(f"The shards in {folder} do not hold the whole of {gaps[0]}; copy all *.distcp files.")
    return whole


def _chunk(folder: Path, place: Mapping[str, Any]) -> Tensor:
    file = folder / Path(str(place["relative_path"])).name
    with file.open("rb") as shard:
        shard.seek(place["offset"])
        data = shard.read(place["length"])
    chunk = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(chunk, Tensor):
        raise ValueError(f"{file.name} holds something else than a tensor")
    return chunk.detach()


def _numbers(note: Any) -> list[int]:
    """The numbers of a ``torch.Size``."""
    values = note.args[0] if isinstance(note, Call) else note
    return [int(value) for value in values or ()]
