"""Checkpoints of one training, in order: a series that training-dynamics analyses run over."""

from __future__ import annotations

import re
from pathlib import Path

from brainmap.common.errors import InputError, MissingFileError
from brainmap.models.checkpoints.tensor_archives import is_sharded
from brainmap.models.checkpoints.weight_files import SUFFIXES

_WHOLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def checkpoint_series(folder: str | Path) -> dict[int, Path]:
    """Checkpoints of one training, by training step.

    Parameters
    ----------
    folder : str or Path
        Holds files whose name ends in the step (``step_000400.safetensors``, ``checkpoint0040.pth``,
        ``model_0012499.rank_0.pth``), or folders whose name does (``training_12499/teacher_checkpoint.pth``,
        ``checkpoint-500/model.safetensors``) with one checkpoint in each. Where a training counts epochs, those.

    Returns
    -------
    dict of int to Path
        In order of steps; pass a path as ``weights`` to :func:`load_model`.

    Raises
    ------
    MissingFileError
        If there are none.
    InputError
        If a step occurs twice.

    Examples
    --------
    >>> from brainmap.models import checkpoint_series
    >>> list(checkpoint_series("checkpoints"))
    [0, 100, 1000]
    """
    by_step: dict[int, Path] = {}
    for entry in sorted(Path(folder).glob("*")):
        step, checkpoint = checkpoint_step(entry), _checkpoint(entry)
        if step is None or checkpoint is None:
            continue
        if step in by_step:
            raise InputError(f"Step {step} occurs twice in {folder}: {by_step[step].name} and {checkpoint.name}.")
        by_step[step] = checkpoint
    if not by_step:
        raise MissingFileError(f"{folder} holds no checkpoints named by their step, such as step_000400.safetensors.")
    return dict(sorted(by_step.items()))


def checkpoint_step(path: str | Path) -> int | None:
    """Training step in the name of a checkpoint's file or folder, or of the folder it is in; None if it has none.

    Examples
    --------
    >>> from brainmap.models import checkpoint_step
    >>> checkpoint_step("runs/S/step_000400.safetensors"), checkpoint_step("final.safetensors")
    (400, None)
    """
    path = Path(path)
    for name in (path.name, path.parent.name):
        digits = re.search(r"(\d+)$", name.split(".")[0])
        if digits:
            return int(digits[1])
        if name == path.name and path.suffix not in SUFFIXES:
            return None  # a folder speaks for itself; only a file may be named by its folder
    return None


def _checkpoint(entry: Path) -> Path | None:
    """The checkpoint an entry of the folder is, or holds."""
    if entry.is_file():
        return entry if entry.suffix in SUFFIXES and re.search(r"\d$", entry.name.split(".")[0]) else None
    if is_sharded(entry):
        return entry
    if any((entry / name).is_file() for name in _WHOLE) and (entry / "config.json").is_file():
        return entry
    inside = [file for file in sorted(entry.glob("*")) if file.suffix in SUFFIXES]
    return inside[0] if len(inside) == 1 else None
