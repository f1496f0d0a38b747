"""Checkpoint files: reading them without executing anything, and filling networks strictly."""

from __future__ import annotations

import argparse
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.unpacked import refuse_large_member
from brainmap.models.checkpoints.tensor_archives import is_sharded, read_archive, read_shards
from brainmap.models.checkpoints.training_settings import training_settings

SUFFIXES = {".safetensors", ".pt", ".pth", ".bin", ".tar", ".ckpt", ".npz"}
MAX_DEPTH = 100  # dots in a name; networks have ten
_OLD_FORMAT = b"\x80\x02"  # a pickle: how torch wrote files before 1.6
_WRAPPERS = ("state_dict_ema", "state_dict", "model_state_dict", "model")  # a moving average is what is released
_NOT_WEIGHTS = ("optimizer", "opt", "optimizer_states", "scaler", "fp16_scaler", "lr_scheduler", "lr_schedulers")
# Wrappers of distributed training and compilation, which stand anywhere in a name and mean nothing.
_INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint without executing anything in it.

    Parameters
    ----------
    path : Path
        ``.safetensors``, a torch file (``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.pth.tar``), a TorchScript archive, a
        ``.npz`` file of arrays (as JAX's models are published), or a folder that ``torch.distributed.checkpoint``
        wrote in shards. A dictionary of dictionaries of tensors (as in DINO's training checkpoints: ``student``,
        ``teacher``, …) is flattened with dotted names; the state of an optimiser is left out.

    Returns
    -------
    tensors : dict of str to Tensor
    settings : dict
        Of the training, where they are stated: in the file, its metadata, or a ``config.yaml`` of the run.

    Raises
    ------
    MissingFileError, InputError
        If there is no such file, it is damaged, or it holds no named tensors.
    """
    if path.is_dir() and is_sharded(path):
        contents: Any = read_shards(path)
    elif not path.is_file():
        raise MissingFileError(f"There is no checkpoint file {path}.")
    elif path.stat().st_size == 0:
        raise InputError(f"{path} is empty: whatever saved it was interrupted; use an earlier checkpoint.")
    elif path.suffix == ".safetensors":
        return _read_safetensors(path)
    else:
        contents = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    return _named_tensors(contents, path)


def _read_torch(path: Path) -> Any:
    """Contents of a torch file: by torch where it deems them safe, else the tensors alone."""
    zipped = zipfile.is_zipfile(path)
    if zipped and _is_torchscript(path):
        return read_archive(path)
    with path.open("rb") as file:
        start = file.read(len(_OLD_FORMAT))
    if start[:2] not in (b"PK", _OLD_FORMAT[:2]):
        raise InputError(
            f"{path} is no complete checkpoint: it begins neither like torch's files nor like a zip archive; copy it "
            "again, or name another file."
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO keeps its arguments in one: plain values
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        if zipped:  # objects besides the tensors, such as settings of a training framework
            return read_archive(path)
        raise InputError(
            f"{path} cannot be read safely: it holds more than tensors{_refused_class(error)}, or is damaged; save "
            "its state_dict as .safetensors."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        # Whatever an unpickler meets in a file that was cut short or is of another kind.
        raise InputError(
            f"{path} ({path.stat().st_size:,} bytes) is no complete checkpoint ({_first_line(error)}): saving it may "
            "have been interrupted; copy it again, or use an earlier one."
        ) from None


def _refused_class(error: Exception) -> str:
    """The class that torch refused to build; not its advice to build it all the same."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" ({named[1]})" if named else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").partition(". ")[0][:160] or type(error).__name__


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _read_npz(path: Path) -> dict[str, Tensor]:
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                refuse_large_member(member, path)
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: arrays[name] for name in arrays.files}
    kinds = {name: values.dtype.kind for name, values in tensors.items()}
    # NumPy has no bfloat16: JAX writes it as two raw bytes a number.
    return {
        name.replace("/", "."): torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
        if kinds[name] == "V" and values.dtype.itemsize == 2
        else torch.from_numpy(values)
        for name, values in tensors.items()
        if kinds[name] in "fiub" or (kinds[name] == "V" and values.dtype.itemsize == 2)
    }


def _named_tensors(contents: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    recipe = training_settings(path, contents) if isinstance(contents, Mapping) else {}
    inside = contents
    for wrapper in _WRAPPERS:
        if isinstance(inside, Mapping) and isinstance(inside.get(wrapper), Mapping):
            inside = inside[wrapper]
    if not isinstance(inside, Mapping):
        raise InputError(f"{path} holds a {type(inside).__name__}, not tensors by name; save the model's state_dict.")
    tensors = _flatten({key: value for key, value in inside.items() if key not in _NOT_WEIGHTS}, path)
    if not tensors:
        raise InputError(f"{path} holds no tensors; save the model's state_dict.")
    _check_numbers(tensors, path)
    for inserted in _INSERTED:
        tensors = {name.replace(inserted, ""): tensor for name, tensor in tensors.items()}
    return tensors, recipe


def check_weights_folder(folder: Path) -> list[Path]:
    """Files of weights in a folder; a folder without any is refused.

    Raises
    ------
    MissingFileError
        Saying what is in it.
    """
    inside = sorted(entry.name for entry in folder.iterdir())
    files = [folder / name for name in inside if Path(name).suffix in SUFFIXES]
    if files or any(name.endswith(".index.json") for name in inside):
        return files
    what = f"holds {', '.join(inside[:3])}" + (" …" if len(inside) > 3 else "") if inside else "is empty"
    raise MissingFileError(
        f"The folder {folder} {what}: weights are a model.safetensors (or pytorch_model.bin) with its config.json, as "
        "save_pretrained writes them, or the path of one checkpoint file."
    )


def check_finite(module: nn.Module, source: str) -> None:
    """Refuse weights that training has driven to NaN or infinity.

    Raises
    ------
    InputError
        Naming the first such tensor.
    """
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"Weights {source}: {bad} of {tensor.numel()} numbers of {name} are NaN or infinite; the training "
                "diverged or the file is damaged: use an earlier checkpoint."
            )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError, RuntimeError, UnicodeError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); download or copy it again.") from None
    _check_numbers(tensors, path)
    return tensors, _stated_recipe(metadata, path)


def _stated_recipe(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Settings of the training in a file's metadata, or beside the file."""
    try:
        recipe = json.loads(metadata["recipe"]) if "recipe" in metadata else training_settings(path, {})
        if not isinstance(recipe, dict):
            raise ValueError(f"it is a {type(recipe).__name__}, not names and values")
        return recipe | ({"step": int(metadata["step"])} if "step" in metadata else {})
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"The recipe of the training in {path} is damaged ({_first_line(error)}).") from None


def _check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are no real numbers of at least 16 bits: they would be taken for what they are not."""
    for name, tensor in tensors.items():
        if name.rpartition(".")[2] not in ("weight", "bias", "gamma", "kernel"):
            continue  # counters, masks and positions are whole numbers
        if not tensor.is_floating_point() or tensor.element_size() < 2:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(
                f"{path}: {name} holds numbers of type {kind}, as quantised or damaged files do; save the model's "
                "weights as float32 or a half precision."
            )


def _flatten(contents: Mapping[str, Any], path: Path, prefix: str = "") -> dict[str, Tensor]:
    if prefix.count(".") > MAX_DEPTH:
        raise InputError(f"{path} holds dictionaries within dictionaries without end; save the model's state_dict.")
    tensors = {}
    for name, value in contents.items():
        if isinstance(value, Mapping):
            tensors.update(_flatten(value, path, f"{prefix}{name}."))
        elif isinstance(value, Tensor):
            tensors[prefix + str(name)] = value
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
    """Load tensors into a module of the same names and shapes.

    Raises
    ------
    InputError
        Naming a missing, unexpected or misshapen tensor.
    """
    wanted = module.state_dict()
    missing, unexpected = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"{what} {', '.join(names[:3])}" for what, names in (("lacks", missing), ("has", unexpected)) if names]
        counts = f"in all {len(missing)} missing, {len(unexpected)} unexpected"
        raise InputError(f"Weights {source} do not fit: the file {' and '.join(parts)} ({counts}).")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise InputError(f"Weights {source} do not fit: {name} is {shapes}.")
    module.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})
    return module


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the library's progress bars and load reports; brainmap raises its own errors."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
