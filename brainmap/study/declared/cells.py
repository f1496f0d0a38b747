"""One study of a grid, and what it is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainmap.study.declared.level_checkpoints import LEVEL
from brainmap.study.declared.study_config import StudyConfig

LONGEST_LABEL = 200  # file systems take names of 255 bytes


@dataclass(frozen=True)
class Cell:
    """One study of a grid.

    Attributes
    ----------
    config : StudyConfig
        Its settings.
    label : str
        What sets it apart, as a folder name.
    needs : str
        What must be at hand.
    parts : dict of str to dict
        The parts of the file that asked for it, with the settings they varied.
    spellings : set of str
        How the file names the model.
    places : dict of str to int
        Where it stands in each of these parts, which may share studies and order them differently.
    """

    config: StudyConfig
    label: str
    needs: str = ""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    spellings: set[str] = field(default_factory=set)
    places: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the cell's folder: what sets it apart, and the digest of all its settings."""
        return f"{self.label[:LONGEST_LABEL]}-{self.config.digest()[:8]}"


def cell_label(config: StudyConfig, settings: Mapping[str, Any]) -> str:
    """Return a readable, file-safe name: model and weights, then whatever else the grid varies."""
    own = Path(config.model)
    parts = [own.name if own.is_dir() else config.model_name, _file_words(Path(config.weights))]
    told = ("model", "weights", LEVEL, "own", "place", "reading")  # a level is its model and weights; where data lie
    parts += [f"{name}-{short_value(value)}" for name, value in settings.items() if name not in told]
    if "own" in settings and config.own is not None:  # several recordings of one's own
        parts.append(_file_words(Path(config.own.responses.replace("::", "-"))))
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", "-".join(parts))


def _file_words(path: Path) -> str:
    return f"{path.parent.name}_{path.stem}" if path.parent.name else path.stem


def short_value(value: Any) -> str:
    """A setting in a few characters."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
