"""The two published studies as study files, to the letter of the papers as far as they state it."""

from __future__ import annotations

from importlib import resources

from brainmap.common.errors import InputError

FOLDER = "presets"
HYPOTHESES = "-hypotheses"


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets that ship with brainmap.

    Examples
    --------
    >>> from brainmap.study import preset_names
    >>> preset_names()
    ('convergence', 'misalignment')
    """
    files = resources.files("brainmap.study.declared").joinpath(FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def preset_text(name: str) -> str:
    """Return the YAML of a preset: a study file to start one's own from.

    ``misalignment-hypotheses`` is the file of hypotheses of that study.

    Raises
    ------
    InputError
        If there is no such preset.

    Examples
    --------
    >>> from brainmap.study import preset_text
    >>> preset_text("convergence").splitlines()[0][:30]
    '# Study B: Raugel et al. 2025,'
    """
    folder = resources.files("brainmap.study.declared").joinpath(FOLDER)
    if name.endswith(HYPOTHESES) and folder.joinpath("hypotheses", f"{name.removesuffix(HYPOTHESES)}.yaml").is_file():
        folder, name = folder.joinpath("hypotheses"), name.removesuffix(HYPOTHESES)
    elif name not in preset_names():
        raise InputError(f"there is no preset '{name}'; the presets are {', '.join(preset_names())}")
    return folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
