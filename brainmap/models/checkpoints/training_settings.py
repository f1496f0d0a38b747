"""The arguments a training script keeps with its checkpoints: in the file, or in ``config.yaml`` of its folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from brainmap.common.storage.file_errors import reading
from brainmap.common.yaml_text import parse_value

ABOVE = 3  # a run's config.yaml lies in its output folder, checkpoints up to so many folders below
OF_DINO = {"dino", "ibot", "crops"}  # parts of a config.yaml of DINOv2 and DINOv3


def training_settings(path: Path, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the training that wrote a checkpoint.

    Parameters
    ----------
    path : Path
        The checkpoint file; ``config.yaml`` is looked for beside it and in the folders above.
    found : mapping
        What the file holds beside tensors: ``epoch``, ``iteration``, ``args`` (DINO, iBOT), ``config``.

    Returns
    -------
    dict
        Those of ``epoch``, ``iteration``, ``args`` and ``config`` that there are.

    Raises
    ------
    InputError
        If a ``config.yaml`` is not readable.
    """
    settings: dict[str, Any] = {}
    for name in ("epoch", "iteration"):
        try:
            settings[name] = int(contents[name])
        except (KeyError, TypeError, ValueError):
            continue
    arguments = contents.get("args")
    if isinstance(arguments, argparse.Namespace):
        settings["args"] = vars(arguments)
    elif isinstance(arguments, Mapping):
        settings["args"] = dict(arguments)
    config = contents.get("config", contents.get("cfg"))
    config = config if isinstance(config, Mapping) else _config_above(path)
    if config is not None:
        settings["config"] = dict(config)
    return settings


def _config_above(path: Path) -> dict[str, Any] | None:
    for folder in list(path.resolve().parents)[: ABOVE + 1]:
        file = folder / "config.yaml"
        if not file.is_file():
            continue
        with reading(file):
            config = parse_value(file.read_text(encoding="utf-8"), f"{file}, beside the checkpoint,", yaml.SafeLoader)
        if isinstance(config, dict) and config.keys() >= OF_DINO:
            return config
    return None
