"""A published study, run on whatever data are present: every panel, and the published numbers beside the measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.yaml_text import read_yaml
from brainmap.study.declared.level_checkpoints import read_levels
from brainmap.study.declared.presets import preset_names
from brainmap.study.declared.study_file import GridConfig, Part, load_preset
from brainmap.study.grid import Grid

if TYPE_CHECKING:
    from brainmap.papers.panels_on_disk import Reproduction


MAP_WORDS = {
    "expansion": ("expansion",),
    "thickness": ("thickness",),
    "timescale": ("timescale",),
    "myelin": ("t1t2", "t1wt2w", "myelin"),
}
FACTORS = ("sizes", "types")
WITH_MAPS = "convergence"  # the one study with a panel of cortical properties, figure 8
MAP_FILES = (".dscalar.nii", ".gii", ".mgh", ".npy", ".txt")


def reproduction_grid(
    name: str,
    out: str | Path | None = None,
    *,
    study: str | Path | None = None,
    factors: Mapping[str, Sequence[str]] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
    **settings: Any,
) -> Grid:
    """Return the study file of a paper as a grid in its folder; nothing is computed.

    Parameters
    ----------
    name : str
        ``misalignment`` or ``convergence``.
    out : str or Path, optional
        Folder; ``brainmap_runs/<name>`` by default.
    study : str or Path, optional
        Study file in place of the preset's; it may start from it with ``preset: <name>``.
    factors : mapping of str to sequence of str, optional
        ``sizes`` and ``types`` of ``convergence``: levels as
        :func:`brainmap.study.declared.level_checkpoints.read_levels` takes them.
    data : sequence of mapping, optional
        Data sets in place of the sample, each as settings: ``[{"dataset": "nsd"}, {"dataset": "things-meg"}]``.
    **settings
        Settings of :class:`brainmap.study.StudyConfig` that replace those of the preset, such as ``thin=12``.

    Raises
    ------
    InputError
        If there is no such preset, the study file starts from the other one, or a setting or level is wrong.

    Examples
    --------
    >>> from brainmap.papers import reproduction_grid
    >>> reproduction_grid("convergence", thin=24).out.name
    'convergence'
    """
    if name not in preset_names():
        raise InputError(f"there is no published study '{name}' here; choose {' or '.join(preset_names())}")
    declared = {} if study is None else read_yaml(study)
    preset = load_preset(name) if study is None else GridConfig.from_dict(declared)
    started = declared.get("preset", name)
    if started != name:
        raise InputError(f"{study} starts from the preset '{started}'; say `brainmap reproduce {started}`")
    parts = {key: _with(part, settings) for key, part in preset.parts.items()} | _factor_parts(name, factors or {})
    sample = {key: value for key, value in preset.sample.items() if key not in settings}
    update = {"study": {**preset.study, **settings}, "parts": parts, "sample": sample}
    config = preset.model_copy(update=update | ({"data": tuple(map(dict, data))} if data else {}))
    folder = Path(out) if out is not None else Path("brainmap_runs") / name
    return Grid(GridConfig.from_dict(config.model_dump()), folder)


def reproduce(
    name: str,
    out: str | Path | None = None,
    *,
    maps: str | Path | None = None,
    study: str | Path | None = None,
    factors: Mapping[str, Sequence[str]] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
) -> Reproduction:
    """Run the preset of a paper on the data at hand and write all its panels and numbers.

    Parameters
    ----------
    name : str
        ``misalignment`` (Raugel et al. 2026) or ``convergence`` (Raugel et al. 2025).
    out : str or Path, optional
        Folder; ``brainmap_runs/<name>`` by default. Studies finished there are not computed again.
    maps : str or Path, optional
        Folder with cortical maps (expansion, thickness, timescale, T1w/T2w) on the fsLR-32k mesh, for figure 8 of
        ``convergence``; the file names say which is which.
    study, factors, data
        As in :func:`reproduction_grid`. What was asked for by ``factors`` must be there; the preset's own studies are
        left out where their model or data are not.
    settings : mapping, optional
        Settings that replace those of the preset.

    Returns
    -------
    Reproduction
        Where panels, page and contact sheet lie, which panels lack data, and the table of numbers.

    Raises
    ------
    InputError
        If there is no such preset, none of its studies can be computed, or maps are given where no panel shows them.

    Examples
    --------
    >>> from brainmap.papers import reproduce, reproduction_grid
    >>> reproduction = reproduce("misalignment", settings={"thin": 24})  # doctest: +SKIP
    >>> len(reproduction_grid("misalignment", thin=24).config.cells()) > 10  # the studies that takes
    True
    """
    from brainmap.papers.convergence import convergence_panels
    from brainmap.papers.misalignment import misalignment_panels
    from brainmap.papers.panels_on_disk import write_reproduction
    from brainmap.papers.published_numbers import paper_numbers
    from brainmap.results.joined_modalities import join_modalities

    grid = reproduction_grid(name, out, study=study, factors=factors, data=data, **dict(settings or {}))
    properties = read_maps(name, maps)
    _check_levels(grid, factors or {})
    collection = join_modalities(grid.run(skip_missing=True).check())
    draw: dict[str, Callable[[], Any]] = {
        "misalignment": lambda: misalignment_panels(collection),
        "convergence": lambda: convergence_panels(collection, properties),
    }
    return write_reproduction(
        draw[name](),
        paper_numbers(name, collection, properties),
        collection,
        grid.out,
        deviations=[item.model_dump() for item in grid.config.deviations],
        citation=grid.config.citation,
    )


def read_maps(name: str, folder: str | Path | None) -> dict[str, pd.Series]:
    """Read the cortical maps for a study's panels, see :func:`read_properties`; without a folder, none.

    Raises
    ------
    InputError
        If no panel of the study shows them.
    """
    if folder is None:
        return {}
    if name != WITH_MAPS:
        raise InputError(f"--maps is of no use to '{name}', which has no panel of cortical maps; '{WITH_MAPS}' has one")
    return read_properties(folder)


def read_properties(folder: str | Path) -> dict[str, pd.Series]:
    """Read cortical maps from a folder and average them over HCP-MMP1 areas of the left hemisphere.

    Parameters
    ----------
    folder : str or Path
        Files whose names contain ``expansion``, ``thickness``, ``timescale``, or ``T1T2`` (or ``myelin``).

    Returns
    -------
    dict of str to pandas.Series
        Property → mean by area; only those that have a file.

    Raises
    ------
    InputError
        If there is no such folder, it holds no such map, or one is not on the fsLR-32k mesh.
    """
    from brainmap.data.atlas import load_atlas
    from brainmap.hierarchy import parcel_means, read_map

    path = Path(folder)
    if not path.is_dir():
        raise MissingFileError(f"there is no folder {path} with cortical maps")
    labels = load_atlas()["L"]
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(MAP_FILES))
    maps_by_word = {}
    for key, words in MAP_WORDS.items():
        names = [file for file in files if any(word in _plain(file.name) for word in words)]
        if names:
            means = parcel_means(read_map(names[0], "L"), labels)
            maps_by_word[key] = means[np.isfinite(means)]
    if not maps_by_word:
        raise MissingFileError(
            f"{path} holds no cortical map: a file's name says its property ({', '.join(MAP_WORDS)}) "
            f"and ends in {', '.join(MAP_FILES)}"
        )
    return maps_by_word


def _factor_parts(name: str, factors: Mapping[str, Sequence[str]]) -> dict[str, Part]:
    given = {part: pairs for part, pairs in factors.items() if pairs}
    unknown = [part for part in given if part not in FACTORS]
    if unknown or (given and name != "convergence"):
        raise InputError(f"--{(unknown or list(given))[0]} is no factor of '{name}'; 'convergence' has sizes and types")
    return {part: Part(levels=read_levels(pairs, f"--{part}")) for part, pairs in given.items()}


def _check_levels(grid: Grid, factors: Mapping[str, Sequence[str]]) -> None:
    """Refuse levels given by hand whose weights or data cannot be used: leaving them out would hide a mistake."""
    for cell in grid.cells:
        for part in FACTORS:
            missing = grid.missing(cell) if factors.get(part) and part in cell.parts else []
            if missing:
                level = cell.parts[part]["level"]
                hint = (
                    f" (name its architecture by --{part} {level}=MODEL:FOLDER)" if "do not fit" in missing[0] else ""
                )
                raise InputError(f"level '{level}' of --{part}: {missing[0]}{hint}")


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _with(part: Any, settings: Mapping[str, Any]) -> Any:
    """Let settings given by hand win over those of a part, axes of its grid excepted."""
    return part.model_copy(
        update={"study": {**part.study, **{k: v for k, v in settings.items() if k not in part.grid}}}
    )
