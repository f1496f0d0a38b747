"""Checkpoint files: reading them without executing anything, and filling networks strictly."""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from brainmap.common.errors import InputError, MissingFileError

SUFFIXES = {".safetensors", ".pt", ".pth", ".bin", ".tar"}


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint file without executing anything in it.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a torch file that holds tensors only. A dictionary of dictionaries of tensors (as in DINO's
        training checkpoints: ``student``, ``teacher``, …) is flattened with dotted names.

    Returns
    -------
    tensors : dict of str to Tensor
    recipe : dict
        ``step`` and the training settings, where the file's metadata has them.

    Raises
    ------
    MissingFileError, InputError
        If there is no such file, or it cannot be read safely.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no checkpoint file {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    size = path.stat().st_size
    if not size:
        raise InputError(f"{path} is empty: whatever saved it was interrupted; use an earlier checkpoint.")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # DINO keeps its arguments in one: plain values
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise InputError(
            f"{path} cannot be read safely: it holds more than tensors, or is damaged ({_first_line(error)}); "
            "save its state_dict as .safetensors."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        # Whatever an unpickler meets in a file that was cut short or is of another kind.
        raise InputError(
            f"{path} ({size:,} bytes) is no complete checkpoint ({_first_line(error)}): saving it may have been "
            "interrupted; copy it again, or use an earlier one."
        ) from None
    if not isinstance(found, Mapping):
        raise InputError(f"{path} holds a {type(found).__name__}, not tensors by name; save the model's state_dict.")
    for wrapper in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    return _flatten(found), _recipe(found)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def refuse_sharded(folder: Path) -> None:
    """Explain what to do with a checkpoint that torch wrote in shards, as DINOv3's training does.

    Raises
    ------
    InputError
        If the folder holds one: its index is a pickle, which brainmap never opens.
    """
    if next(folder.glob("*.distcp"), None) is not None:
        raise InputError(
            f"{folder} is a sharded training checkpoint, whose index is a pickle; where you trust it, make it one file "
            f"with: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} {folder.name}.pth"
        )


def _recipe(found: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers that DINO's training script keeps beside the tensors: epoch and final teacher temperature."""
    recipe: dict[str, Any] = {}
    if isinstance(found.get("epoch"), int):
        recipe["epoch"] = found["epoch"]
    temperature = getattr(found.get("args"), "teacher_temp", None)
    if isinstance(temperature, float):
        recipe["final_teacher_temperature"] = temperature
    return recipe


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file ({error}); download or copy it again.") from None
    recipe = json.loads(metadata["recipe"]) if "recipe" in metadata else {}
    if "step" in metadata:
        recipe["step"] = int(metadata["step"])
    return tensors, recipe


def _flatten(found: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    tensors = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            tensors.update(_flatten(value, f"{prefix}{name}."))
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
