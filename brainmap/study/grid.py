"""Many studies declared in one file: models × checkpoints × subjects × sites × reductions …, one folder a cell."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainmap.errors import InputError, MissingFileError
from brainmap.progress import track
from brainmap.study.config import StudyConfig
from brainmap.study.inputs import Simulated
from brainmap.study.levels import LEVEL, Level, level_settings
from brainmap.study.run import Study

if TYPE_CHECKING:
    from brainmap.report.collection import Collection

MAX_CELLS = 2000
DEFAULT_PART = "study"


class Part(BaseModel):
    """Some of the cells of a grid.

    Attributes
    ----------
    study : dict
        Settings of these cells, over those of the whole file.
    grid : dict of str to list
        Setting → values; one study for each combination.
    levels : dict of str to Level
        Levels of a factor: each a model, or the checkpoints of a training, at every combination of the grid. The parts
        ``sizes`` (from small to large) and ``types`` are the model sizes and image types of Study B's figures 6 and 7.
    sample : dict
        Settings that replace those above where the data are the simulated sample.
    needs : str
        What must be installed or at hand for these cells, in words; shown where they cannot run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    levels: dict[str, Level] = Field(default_factory=dict)
    sample: dict[str, Any] = Field(default_factory=dict)
    needs: str = ""

    def combinations(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the settings of every study of the part, which is called ``name``, and its level if it has some."""
        for level in level_settings(self.levels, name) if self.levels else [{}]:
            yield from (combination | level for combination in _combinations(self.grid))


class Deviation(BaseModel):
    """Where a preset leaves the sound default, or where what runs here is not what a paper did.

    Attributes
    ----------
    what, paper, default, here : str
        The choice; what the paper states; what brainmap does by default; what this file does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    paper: str
    default: str
    here: str


class GridConfig(BaseModel):
    """A study file; unknown keys are errors.

    Attributes
    ----------
    title, citation : str
        Words for the report.
    preset : str, optional
        Start from this preset: its settings, parts and deviations hold where the file says nothing else.
    study : dict
        Settings of every cell: those of :class:`brainmap.study.StudyConfig`.
    grid : dict of str to list
        Setting → values; one study for each combination. ``{projection: [50, 800], pca: [50, 300]}`` is a robustness
        grid of four.
    parts : dict of str to Part
        Named groups of cells, instead of or beside ``grid``.
    data : list of dict
        Data sets, each as settings (``dataset``, ``subjects``, ``place``, ``own`` …): every study is made with each of
        them. Studies of fMRI and of MEG that differ in nothing else are shown as one.
    sample : dict
        Settings that replace those above where the data are the simulated sample, which is smaller than any real study.
    deviations : tuple of Deviation
        For presets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    citation: str = ""
    preset: str | None = None
    study: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    parts: dict[str, Part] = Field(default_factory=dict)
    data: tuple[dict[str, Any], ...] = ()
    sample: dict[str, Any] = Field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()

    @model_validator(mode="after")
    def _lists_of_values(self) -> GridConfig:
        for where in (self.grid, *(part.grid for part in self.parts.values())):
            for name, values in where.items():
                if not values:
                    raise ValueError(f"the axis '{name}' of the grid needs at least one value")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridConfig:
        """Check plain values, those of every cell included.

        Raises
        ------
        InputError
            One sentence that names the first offending key and value.
        """
        try:
            config = cls(**_wrapped(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise InputError(f"unknown key '{where}' in the study file; known: {', '.join(_KEYS)}") from None
            raise InputError(f"study file, '{where}': {first['msg'].removeprefix('Value error, ')}") from None
        if config.preset is not None:
            config = config._over(read_preset(config.preset))
        config.cells()
        return config

    @classmethod
    def from_yaml(cls, path: str | Path) -> GridConfig:
        """Read a study file.

        Raises
        ------
        InputError
            If the file is missing, is not YAML, or holds an unknown key or a value out of range.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"study file {path} does not exist")
        return cls.from_dict(parse_yaml(path.read_text(), str(path)))

    def cells(self) -> list[Cell]:
        """Return all cells in the order of the file; a study that several parts ask for is one cell.

        Raises
        ------
        InputError
            If the settings of a cell are wrong, or there are too many.
        """
        found: dict[str, Cell] = {}
        for name, part in self._parts():
            for settings in self._with_data(part.combinations(name)):
                declared = {**self.study, **part.study, **settings}
                declared.pop(LEVEL, None)
                if declared.get("dataset", "sample") == "sample":
                    sample = {**self.sample, **part.sample}
                    declared |= {key: value for key, value in sample.items() if key not in settings}
                config = StudyConfig.from_dict(declared)
                cell = found.setdefault(config.digest(), Cell(config, _label(config, settings), part.needs))
                if name in cell.parts and cell.parts[name].get(LEVEL) != settings.get(LEVEL):
                    both = f"'{cell.parts[name][LEVEL]}' and '{settings[LEVEL]}'"
                    raise InputError(f"levels {both} of '{name}' hold the same weights, {config.weights}")
                cell.parts[name] = settings
                if len(found) > MAX_CELLS:
                    raise InputError(f"the study file asks for more than {MAX_CELLS:,} studies; make its grid smaller")
        return list(found.values())

    def _with_data(self, combinations: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield every combination with each of the data sets."""
        for settings in combinations:
            for data in self.data or ({},):
                yield settings | data

    def _parts(self) -> Iterator[tuple[str, Part]]:
        if self.grid or not self.parts:
            yield DEFAULT_PART, Part(grid=self.grid)
        yield from self.parts.items()

    def _over(self, base: GridConfig) -> GridConfig:
        """Lay this file over a preset; its own grid or parts, if any, replace those of the preset."""
        own = bool(self.grid or self.parts)
        return base.model_copy(
            update={
                "title": self.title or base.title,
                "study": {**base.study, **self.study},
                "grid": self.grid if own else base.grid,
                "parts": self.parts if own else base.parts,
                "data": self.data or base.data,
                "sample": {k: v for k, v in {**base.sample, **self.sample}.items() if k not in self.study},
                "preset": None,
            }
        )


_KEYS = tuple(GridConfig.model_fields)


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
    """

    config: StudyConfig
    label: str
    needs: str = ""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the cell's folder: what sets it apart, and the digest of all its settings."""
        return f"{self.label}-{self.config.digest()[:8]}"


class Grid:
    """A study file and the folder it runs in.

    Parameters
    ----------
    config : GridConfig
        What to compute.
    out : str or Path, optional
        Folder; by default ``brainmap_runs/grid-<digest of all cells>``. Every cell is a run of its own in ``cells/``;
        all share one feature store in ``features/``. What is finished is not computed again.
    """

    def __init__(self, config: GridConfig, out: str | Path | None = None) -> None:
        self.config = config
        self.cells = config.cells()
        digest = hashlib.sha256("".join(cell.config.digest() for cell in self.cells).encode()).hexdigest()[:10]
        self.out = Path(out) if out is not None else Path("brainmap_runs") / f"grid-{digest}"
        self._simulated: dict[tuple[int, int], Simulated] = {}

    def study(self, cell: Cell) -> Study:
        """Return one cell as a study in its own folder."""
        study = Study(cell.config, self.out / "cells" / cell.name)
        study.folder.features = self.out / "features"
        study.simulated = self._simulated
        return study

    def missing(self, cell: Cell) -> list[str]:
        """Return what stands in the way of a cell, a sentence each."""
        return [*self.study(cell).plan().missing]

    def plan(self) -> str:
        """Say what would be computed, what is finished and what is missing; nothing is computed."""
        lines = [f"{self.config.title or 'study file'}: {len(self.cells)} studies in {self.out}", ""]
        width = max(len(cell.label) for cell in self.cells)
        for cell in self.cells:
            plan = self.study(cell).plan()
            rows = {stage: (what, state) for stage, what, state in plan.rows}
            finished = [state for stage, (_, state) in rows.items() if stage.endswith("encoding")]
            state = "finished" if self.study(cell).folder.results.is_dir() else ", ".join(finished) or "to do"
            lines.append(f"  {cell.label:<{width}}  {rows['features'][0]}  [{state}]")
            lines += [f"  {'':<{width}}  missing: {sentence}" for sentence in plan.missing]
        if self.config.deviations:
            lines += ["", "  deviations from the sound default, or from the paper:"]
            lines += [f"    - {item.what}: paper {item.paper}; default {item.default}; here {item.here}"
                      for item in self.config.deviations]  # fmt: skip
        return "\n".join(lines)

    def run(self, *, skip_missing: bool = False, reports: bool = False) -> Collection:
        """Compute what is not finished yet.

        Parameters
        ----------
        skip_missing : bool
            Leave out cells whose model or data are not here and say so in ``Collection.absent``; an error otherwise.
        reports : bool
            Write the HTML report of every cell as well.

        Returns
        -------
        Collection
            The results of all cells.
        """
        from brainmap.report.collection import Collection, Member

        members, absent = [], {}
        for cell in track(self.cells, "studies", unit="studies"):
            sentences = self.missing(cell)
            if sentences and skip_missing:
                absent[cell.label] = " ".join(filter(None, (sentences[0].rstrip(".") + ".", cell.needs)))
                continue
            results = self.study(cell).run(report=reports)
            settings = cell.config.describe()
            parts = {name: dict(varied) for name, varied in cell.parts.items()}
            members.append(Member(cell.label, settings, results, parts, training_step(cell.config)))
        return Collection(tuple(members), title=self.config.title, absent=absent)

    def write(self, *, skip_missing: bool = False, reports: bool = False) -> Path:
        """Compute what is not finished yet, and write the page that compares all studies.

        Parameters
        ----------
        skip_missing, reports
            As in :meth:`run`.

        Returns
        -------
        Path
            The page, ``comparison.html`` in the grid's folder.
        """
        from brainmap.report.compare_page import write_comparison

        collection = self.run(skip_missing=skip_missing, reports=reports)
        files = {cell.label: self.study(cell).folder.report for cell in self.cells}
        links = {name: file.relative_to(self.out).as_posix() for name, file in files.items() if file.is_file()}
        deviations = [item.model_dump() for item in self.config.deviations]
        notes = {"citation": self.config.citation, "deviations": deviations}
        return write_comparison(collection, self.out / "comparison.html", links=links, notes=notes)


def training_step(config: StudyConfig) -> int | None:
    """Return the training step of a study's weights: 0 for untrained, None where nothing says it."""
    from brainmap.errors import BrainmapError
    from brainmap.models import available_weights, checkpoint_step

    name = config.weights
    if Path(name).suffix or Path(name).parent.name:  # a file or folder of one's own
        return checkpoint_step(name)
    if name == "untrained":
        return 0
    if name == "trained":  # the last of the checkpoints, where a model has some
        try:
            name = next(iter(reversed(available_weights(config.model))), "")
        except BrainmapError:
            return None
    number = name.removeprefix("step_")
    return int(number) if name.startswith("step_") and number.isdigit() else None


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Read YAML text that must hold keys.

    Raises
    ------
    InputError
        If it is not YAML or does not hold keys.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{where} must hold 'key: value' lines, found {type(values).__name__}")
    return values


def read_preset(name: str) -> GridConfig:
    """Return a preset, see :mod:`brainmap.study.presets`."""
    from brainmap.study.presets import load_preset

    return load_preset(name)


def _wrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the settings of a single study, as ``brainmap fit`` has them, for a file with one cell."""
    settings = set(StudyConfig.model_fields)
    if values and set(values) <= settings:
        return {"study": dict(values)}
    return dict(values)


def _combinations(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _label(config: StudyConfig, settings: Mapping[str, Any]) -> str:
    """Return a readable, file-safe name: model and weights, then whatever else the grid varies."""
    path, own = Path(config.weights), Path(config.model)
    parts = [own.name if own.is_dir() else config.model]
    parts.append(f"{path.parent.name}_{path.stem}" if path.parent.name else path.stem)
    told = ("model", "weights", LEVEL, "own", "place", "reading")  # a level is its model and weights; where data lie
    parts += [f"{name}-{_short(value)}" for name, value in settings.items() if name not in told]
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", "-".join(parts))


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
