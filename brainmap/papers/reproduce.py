"""A published study, run on whatever data are present: every panel, and the published numbers beside the measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmap.common.errors import InputError
from brainmap.common.yaml_text import read_yaml
from brainmap.papers.property_maps import read_maps
from brainmap.study.declared.level_checkpoints import read_levels
from brainmap.study.declared.presets import preset_names
from brainmap.study.declared.study_file import GridConfig, Part, load_preset
from brainmap.study.grid import Grid

if TYPE_CHECKING:
    from brainmap.papers.panels_on_disk import Reproduction


FACTORS = ("sizes", "types")
PAPERS_MODEL = "dinov3-vits16"  # whose training both papers follow


def reproduction_grid(
    name: str,
    out: str | Path | None = None,
    *,
    study: str | Path | None = None,
    factors: Mapping[str, Sequence[str]] | None = None,
    checkpoints: str | None = None,
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
    checkpoints : str, optional
        ``FOLDER`` or ``MODEL:FOLDER``: checkpoints of one training in place of those of the preset, DINOv3-S by
        default; untrained weights are added where the folder has no step 0.
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
    if checkpoints is not None:
        parts["training"] = _training_of(parts, checkpoints)
    sample = {key: value for key, value in preset.sample.items() if key not in settings}
    update = {"study": {**preset.study, **settings}, "parts": parts, "sample": sample}
    config = preset.model_copy(update=update | ({"data": tuple(map(dict, data))} if data else {}))
    folder = Path(out) if out is not None else Path("brainmap_runs") / name
    return Grid(GridConfig.from_dict(config.model_dump()), folder)


def reproduce(
    name: str,
    out: str | Path | None = None,
    *,
    maps: str | Path | Sequence[str | Path] | None = None,
    study: str | Path | None = None,
    factors: Mapping[str, Sequence[str]] | None = None,
    checkpoints: str | None = None,
    data: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    compute: Callable[[Grid], None] | None = None,
) -> Reproduction:
    """Run the preset of a paper on the data at hand and write all its panels and numbers.

    Parameters
    ----------
    name : str
        ``misalignment`` (Raugel et al. 2026) or ``convergence`` (Raugel et al. 2025).
    out : str or Path, optional
        Folder; ``brainmap_runs/<name>`` by default. Studies finished there are not computed again.
    maps : str, Path or sequence of them, optional
        Cortical maps for figure 8 of ``convergence``: ``KIND=FILE`` or a folder, see
        :func:`brainmap.papers.property_maps.read_maps`.
    study, factors, checkpoints, data
        As in :func:`reproduction_grid`. What was asked for by ``factors`` must be there; the preset's own studies are
        left out where their model or data are not.
    settings : mapping, optional
        Settings that replace those of the preset.
    compute : callable, optional
        Called with the grid once everything is checked: computes its studies on other processes or machines.

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
    from brainmap.papers.numbers.published_numbers import paper_numbers
    from brainmap.papers.panel_likeness import panel_likeness
    from brainmap.papers.panels_on_disk import write_reproduction
    from brainmap.results.joined_modalities import join_modalities

    grid = reproduction_grid(
        name, out, study=study, factors=factors, checkpoints=checkpoints, data=data, **dict(settings or {})
    )
    properties = read_maps(name, maps)
    _check_levels(grid, factors or {})
    if compute is not None:
        compute(grid)
    apart = grid.run(skip_missing=True).check()
    collection = join_modalities(apart)
    draw: dict[str, Callable[[], Any]] = {
        "misalignment": lambda: misalignment_panels(collection),
        "convergence": lambda: convergence_panels(collection, properties),
    }
    panels = draw[name]()
    return write_reproduction(
        panels,
        paper_numbers(name, collection, properties),
        collection,
        grid.out,
        likeness=panel_likeness(name, panels, apart),
        deviations=[item.model_dump() for item in grid.config.deviations],
        citation=grid.config.citation,
    )


def _training_of(parts: Mapping[str, Part], checkpoints: str) -> Part:
    """The part ``training`` with a folder of checkpoints in place of the preset's weights."""
    from brainmap.models import checkpoint_step

    if "training" not in parts:
        raise InputError("--checkpoints replaces the part 'training' of the study file, which has none")
    level = read_levels([f"training={checkpoints}"], "--checkpoints")["training"]
    if level.checkpoints is None:
        raise InputError(f"--checkpoints {checkpoints}: give a folder with the checkpoints of one training")
    studies = [{"model": PAPERS_MODEL, **settings} for settings in level.settings()]
    if all(checkpoint_step(str(each["weights"])) != 0 for each in studies):
        studies = [{"model": studies[0]["model"], "weights": "untrained"}, *studies]
    return parts["training"].model_copy(update={"studies": studies, "sample_studies": [], "grid": {}})


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


def _with(part: Any, settings: Mapping[str, Any]) -> Any:
    """Let settings given by hand win over those of a part, axes of its grid excepted."""
    return part.model_copy(
        update={"study": {**part.study, **{k: v for k, v in settings.items() if k not in part.grid}}}
    )
