"""A study file: models × checkpoints × subjects × sites × reductions …, declared once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from brainmap.common.errors import InputError
from brainmap.common.yaml_text import parse_yaml, read_yaml
from brainmap.study.declared.cells import Cell, cell_label, short_value
from brainmap.study.declared.command_words import WORDS
from brainmap.study.declared.job_settings import checked_jobs
from brainmap.study.declared.level_checkpoints import LEVEL, Level, level_settings
from brainmap.study.declared.presets import preset_text
from brainmap.study.declared.schema import current
from brainmap.study.declared.study_config import StudyConfig

MAX_CELLS = 2000
WHERE_AND_HOW = (
    *("model", "weights", "dataset", "own", "place", "reading", "modality", "subjects"),
    *("batch_size", "device", "memory", "out_space", "hypotheses", "keep"),
)
DEFAULT_PART, SAMPLE = "study", "sample"
WHERE_NEEDED = ("studies", "sample_studies", "levels", "sample_levels")


def single_values(grid: Any) -> Any:
    """Take a single value on an axis of a grid for a list of one."""
    if not isinstance(grid, Mapping):
        return grid
    return {name: [value] if isinstance(value, str | int | float) else value for name, value in grid.items()}


class Part(BaseModel):
    """Some of the cells of a grid.

    Attributes
    ----------
    study : dict
        Settings of these cells, over those of the whole file.
    grid : dict of str to list
        Setting → values; one study for each combination.
    studies : list of dict
        Studies that differ in several settings at once (``[{model: clip}, {model: mae, pooling: cls}]``), each at every
        combination of the grid.
    sample_studies : list of dict
        What stands in their place where the data are the simulated sample.
    levels : dict of str to Level
        Levels of a factor: each a model, or the checkpoints of a training, at every combination of the grid. The parts
        ``sizes`` (from small to large) and ``types`` are the model sizes and image types of Study B's figures 6 and 7.
    sample_levels : dict of str to Level
        What stands in their place where the data are the simulated sample. Without ``levels`` there are no studies of
        this part on other data.
    sample : dict
        Settings that replace those above where the data are the simulated sample.
    needs : str
        What must be installed or at hand for these cells, in words; shown where they cannot run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    studies: list[dict[str, Any]] = Field(default_factory=list)
    sample_studies: list[dict[str, Any]] = Field(default_factory=list)
    levels: dict[str, Level] = Field(default_factory=dict)
    sample_levels: dict[str, Level] = Field(default_factory=dict)
    sample: dict[str, Any] = Field(default_factory=dict)
    needs: str = ""

    @field_validator("grid", mode="before")
    @classmethod
    def _single_values(cls, value: Any) -> Any:
        return single_values(value)

    @field_validator("levels", "sample_levels")
    @classmethod
    def _some_levels(cls, value: dict[str, Level]) -> dict[str, Level]:
        if not value:
            raise ValueError("a factor needs at least two levels; leave 'levels' out where nothing is compared")
        return value

    @model_serializer(mode="wrap")
    def _as_written(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the levels and studies of a part that has none, as a file does."""
        return {name: value for name, value in plain(self).items() if name not in WHERE_NEEDED or value}

    @model_validator(mode="after")
    def _either(self) -> Part:
        if (self.levels or self.sample_levels) and (self.studies or self.sample_studies):
            raise ValueError("'levels' and 'studies' of a part exclude one another; give one of them")
        if self.sample_studies and not self.studies:
            raise ValueError("'sample_studies' stand in place of 'studies', and there are none; use 'sample' or a grid")
        return self

    def combinations(self, name: str) -> Iterator[tuple[dict[str, Any], bool | None]]:
        """Yield the settings of every study of the part, which is called ``name``, and its level if it has some.

        Yields
        ------
        settings : dict
        of_sample : bool or None
            True for studies of the simulated sample only, False for those of other data only.
        """
        for level, of_sample in self._levels(name):
            for each, of in self._each():
                only = of if of_sample is None else of_sample
                yield from ((combination | level | each, only) for combination in self._grid())

    def _levels(self, name: str) -> Iterator[tuple[dict[str, Any], bool | None]]:
        if not (self.levels or self.sample_levels):
            yield {}, None
        for levels, of_sample in ((self.levels, False if self.sample_levels else None), (self.sample_levels, True)):
            if levels:
                yield from ((level, of_sample) for level in level_settings(levels, name))

    def _each(self) -> Iterator[tuple[dict[str, Any], bool | None]]:
        if not self.sample_studies:
            yield from ((each, None) for each in self.studies or [{}])
            return
        yield from ((each, False) for each in self.studies)
        yield from ((each, True) for each in self.sample_studies)

    def _grid(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


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
    datasets : dict of str to dict
        The same for other data sets, by name: ``{things-meg: {reading: {zscore: subject}}}``.
    deviations : tuple of Deviation
        For presets.
    cluster : dict
        What the jobs of a queue ask for, over the user's own ``cluster.yaml``: partition, account, walltime, cores,
        memory, gpus, environment … (:class:`brainmap.study.declared.job_settings.JobSettings`).

    Examples
    --------
    >>> from brainmap.study import GridConfig
    >>> grid = {"weights": ["trained", "untrained"], "site": ["block", "mlp"]}
    >>> len(GridConfig.from_dict({"schema": 2, "study": {"thin": 24}, "grid": grid}).cells())
    4
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
    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    cluster: dict[str, Any] = Field(default_factory=dict)

    @field_validator("grid", mode="before")
    @classmethod
    def _single_values(cls, value: Any) -> Any:
        return single_values(value)

    @model_validator(mode="after")
    def _lists_of_values(self) -> GridConfig:
        parts = self.parts.values()
        for grid in (self.grid, *(part.grid for part in parts)):
            for name, values in grid.items():
                if not values:
                    raise ValueError(f"the axis '{name}' of the grid needs at least one value")
        samples = (
            self.sample,
            *(part.sample for part in parts),
            *self.datasets.values(),
        )  # of other data: not looked at
        studies = [each for part in parts for each in (*part.studies, *part.sample_studies)]
        samples += tuple(studies)
        levelled = [*self.data, self.grid, *(part.grid for part in parts), *studies]  # 'levels' alone give levels
        unknown = [name for sample in samples for name in sample if name not in (*StudyConfig.model_fields, *WORDS)]
        unknown += [LEVEL for settings in levelled if LEVEL in settings]
        if unknown:
            raise ValueError(f"unknown setting '{unknown[0]}'; known settings: {', '.join(StudyConfig.model_fields)}")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridConfig:
        """Check plain values, those of every cell included.

        Raises
        ------
        InputError
            One sentence that names the first offending key and value.
        """
        if "schema" in values:
            values = current(values)
        try:
            config = cls(**_wrapped(values))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise InputError(f"unknown key '{where}' in the study file; known: {', '.join(_KEYS)}") from None
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"study file, '{where}': {message}" if where else f"study file: {message}") from None
        if config.preset is not None:
            config = config._over(load_preset(config.preset))
        checked_jobs(config.cluster, "study file, 'cluster'")
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
        return cls.from_dict(current(read_yaml(path), str(path)))

    def cells(self) -> list[Cell]:
        """Return all cells in the order of the file; a study that several parts ask for is one cell.

        Raises
        ------
        InputError
            If the settings of a cell are wrong, or there are too many.
        """
        by_digest: dict[str, Cell] = {}
        for name, part in self._parts():
            for place, (settings, of_sample) in enumerate(self._with_data(part.combinations(name))):
                declared = {**self.study, **part.study}
                declared |= {key: value for key, value in settings.items() if key != LEVEL}
                dataset = declared.get("dataset", SAMPLE)
                if of_sample not in (None, dataset == SAMPLE):
                    continue
                replaced = {**self.sample, **part.sample} if dataset == SAMPLE else self.datasets.get(dataset, {})
                declared |= {key: value for key, value in replaced.items() if key not in settings}
                config = StudyConfig.from_dict(declared)
                cell = by_digest.setdefault(config.digest(), Cell(config, cell_label(config, settings), part.needs))
                cell.spellings.add(str(declared.get("model", config.model)))
                if name in cell.parts and cell.parts[name].get(LEVEL) != settings.get(LEVEL):
                    both = f"'{cell.parts[name][LEVEL]}' and '{settings[LEVEL]}'"
                    raise InputError(f"levels {both} of '{name}' hold the same weights, {config.weights}")
                cell.parts[name] = settings
                cell.places.setdefault(name, place)
                if len(by_digest) > MAX_CELLS:
                    raise InputError(f"the study file asks for more than {MAX_CELLS:,} studies; make its grid smaller")
        return list(by_digest.values())

    def _with_data(
        self, combinations: Iterator[tuple[dict[str, Any], bool | None]]
    ) -> Iterator[tuple[dict[str, Any], bool | None]]:
        """Yield every combination with each of the data sets."""
        for settings, of_sample in combinations:
            for data in self.data or ({},):
                yield settings | data, of_sample

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
                "citation": self.citation or base.citation,
                "study": {**base.study, **self.study},
                "grid": self.grid if own else base.grid,
                "parts": self.parts if own else base.parts,
                "data": self.data or base.data,
                "sample": {k: v for k, v in {**base.sample, **self.sample}.items() if k not in self.study},
                "datasets": {**base.datasets, **self.datasets},
                "deviations": (*base.deviations, *self._changed(base), *self.deviations),
                "cluster": {**base.cluster, **self.cluster},
                "preset": None,
            }
        )

    def _changed(self, base: GridConfig) -> Iterator[Deviation]:
        """Yield the settings by which this file leaves the preset: what the preset says of itself no longer holds."""
        for name, value in self.study.items():
            if name in StudyConfig.model_fields and name not in WHERE_AND_HOW:
                default = StudyConfig.model_fields[name].default
                before = {**base.sample, **base.study}.get(name, default)
                if value != before:
                    told = (f"preset: {short_value(before)}", short_value(default), short_value(value))
                    yield Deviation(what=f"Setting '{name}'", paper=told[0], default=told[1], here=told[2])


_KEYS = tuple(GridConfig.model_fields)


def _wrapped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the settings of a single study, as ``brainmap fit`` has them, for a file with one cell."""
    settings = {name: value for name, value in values.items() if name != "cluster"}
    if settings and set(settings) <= {*StudyConfig.model_fields, *WORDS}:
        return {"study": settings, **({"cluster": values["cluster"]} if "cluster" in values else {})}
    return dict(values)


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

    Examples
    --------
    >>> from brainmap.study import load_preset
    >>> len(load_preset("misalignment").cells()) > 10
    True
    """
    return GridConfig.from_dict(current(parse_yaml(preset_text(name), f"preset '{name}'"), f"preset '{name}'"))
