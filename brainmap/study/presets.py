"""The two published studies as study files, to the letter of the papers as far as they state it."""

from __future__ import annotations

from importlib import resources

from brainmap.errors import InputError
from brainmap.study.study_file import GridConfig
from brainmap.study.yaml_text import parse_yaml

FOLDER = "presets"


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that ship with brainmap."""
    files = resources.files("brainmap.study").joinpath(FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def preset_text(name: str) -> str:
    """Return the YAML of a preset: a study file to start one's own from.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    if name not in preset_names():
        raise InputError(f"there is no preset '{name}'; the presets are {', '.join(preset_names())}")
    return resources.files("brainmap.study").joinpath(FOLDER, f"{name}.yaml").read_text(encoding="utf-8")


def load_preset(name: str) -> GridConfig:
    """Return a preset, checked.

    Parameters
    ----------
    name : str
        ``misalignment`` (Raugel et al. 2026) or ``convergence`` (Raugel et al. 2025).

    Raises
    ------
    InputError
        If there is no such preset.
    """
    return GridConfig.from_dict(parse_yaml(preset_text(name), f"preset '{name}'"))
