"""Files of functional runs: settings, the folder images come from, runs, sidecars, masks and confounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.tables import read_table
from brainmap.data.readers.bids.events import image_column_of, read_events
from brainmap.data.readers.bids.layout import DERIVED, BIDSFile, BIDSFolder, Entities, parse
from brainmap.data.readers.bids.run_timing import scan_times
from brainmap.data.readers.bids.runs import Run, RunSearch, chosen_recordings, find_runs
from brainmap.data.readers.bids.voxels_and_vertices import count_scans, header_time
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings

IMAGES = (".nii.gz", ".nii", ".func.gii")
MOST_SKIPPED = 0.1  # of the runs


class BIDSfMRIOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    task : str, optional
        Task of the runs to use; all runs with events that name photographs by default.
    image_column : str, optional
        Column of the events tables that names the photograph; ``stim_file``, or the only other usual name, by default.
    trial_types : tuple of str, optional
        Rows to use, by ``trial_type``; every row that names a photograph by default.
    derivatives : str, optional
        Folder below the dataset with preprocessed runs (``derivatives/fmriprep``); by default the raw runs, or, where
        there are none, the only derivative that has runs.
    space : str, optional
        Space of preprocessed runs: a volume's name, ``native`` for files without one, or a surface such as
        ``fsaverage``; fMRIPrep's ``MNI152NLin2009cAsym:res-2`` is understood. Needed where there are several.
    entities : dict
        Further entities that a run's file must have (``echo: 2``, ``run: [1, 2]``; null: must not have).
    mask : Path, optional
        Image whose voxels that are neither 0 nor NaN are used; by default the preprocessing's brain masks, or a mask
        computed from the first run.
    resample : bool
        Resample a mask, or runs, that lie on another grid than the first run, instead of refusing them.
    start_time : float, optional
        Time of the first scan in s; by default ``StartTime`` of the sidecar, or 0.
    estimate : {"glm", "bold"}
        One amplitude a trial by least squares, or the signal ``delay`` seconds after onset.
    delay, high_pass : float
        In s and Hz.
    hrf : str
        Haemodynamic response model of nilearn.
    confounds : tuple of str
        Columns of the tables of confounds (one row a scan) to regress out.
    zscore : {"run", "none"}
        Standardise every target within each run.
    """

    task: str | None = None
    image_column: str | None = None
    trial_types: tuple[str, ...] | None = None
    derivatives: str | None = None
    space: str | None = None
    entities: Entities = Field(default_factory=dict)
    mask: Path | None = None
    resample: bool = False
    start_time: float | None = None
    estimate: Literal["glm", "bold"] = "glm"
    delay: float = 5.5
    high_pass: float = 0.01
    hrf: str = "glover"
    confounds: tuple[str, ...] = ()
    zscore: Literal["run", "none"] = "run"

    @field_validator("hrf")
    @classmethod
    def _one_amplitude(cls, hrf: str) -> str:
        if hrf.partition(" ")[0] not in ("glover", "spm"):
            raise ValueError(
                "single trials need a response model of one amplitude (glover or spm, '+ derivative', '+ dispersion'); "
                "continuous designs (FIR, delays) are not supported"
            )
        return hrf


class FunctionalFiles(DatasetReader):
    """Which files of a BIDS folder belong to which run. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "bids-fmri"
    modality: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = BIDSfMRIOptions

    @cached_property
    def _raw(self) -> BIDSFolder:
        return BIDSFolder(self.root)

    @cached_property
    def _source(self) -> BIDSFolder:
        """Folder that the images come from: the raw data, or a derivative."""
        if self.options.derivatives is not None:
            folder = self.root / self.options.derivatives
            if not folder.is_dir():
                there = ", ".join(str(path.relative_to(self.root)) for path in self._raw.derivatives) or "none"
                raise MissingFileError(f"There is no folder {folder}; there are these derivatives: {there}.")
            return BIDSFolder(folder)
        if self._raw.select("bold", IMAGES):
            return self._raw
        derived = [folder for folder in map(BIDSFolder, self._raw.derivatives) if folder.select("bold", IMAGES)]
        if len(derived) > 1:
            names = ", ".join(str(folder.root.relative_to(self.root)) for folder in derived)
            raise InputError(
                f"{self.root} has no raw runs and several derivatives with runs: {names}; choose one with "
                f"--set derivatives={derived[0].root.relative_to(self.root)}"
            )
        return derived[0] if derived else self._raw

    def _chosen(self) -> dict[str, Any]:
        chosen: dict[str, Any] = dict(self.options.entities)
        if self.options.task is not None:
            chosen["task"] = self.options.task
        if self.options.space is not None:
            space, *modifiers = self.options.space.split(":")
            chosen["space"] = None if space in ("native", "func") else space
            chosen |= {key: value for key, _, value in (part.partition("-") for part in modifiers)}
        return chosen

    def subjects(self) -> list[str]:
        """Subjects that have functional runs."""
        files = [*self._source.select("bold", IMAGES), *self._raw.select("events", (".tsv",))]
        return sorted({file.written["sub"] for file in files if "sub" in file.written and self._functional(file)})

    @staticmethod
    def _functional(file: BIDSFile) -> bool:
        return file.path.parent.name == "func"

    def _search(self, subject: str) -> RunSearch:
        chosen = self._chosen()
        files = self._source.select("bold", IMAGES, {"sub": subject, **chosen_recordings(chosen)})
        search = find_runs(self._raw, files, subject, "func", chosen)
        total = len(search.runs) + len(search.absent)
        if not total:
            raise MissingFileError(
                f"There are no runs with events of subject {subject}{self._wanted()} in {self.root}."
            )
        if search.absent:
            self._refuse_absent(subject, search, total)
        return search

    def _refuse_absent(self, subject: str, search: RunSearch, total: int) -> None:
        count = len(search.absent)
        if self.options.missing == "skip" and search.runs and count <= MOST_SKIPPED * total:
            return
        what = f"{count} of {total} runs of subject {subject} have events but no images{self._wanted()}"
        first = search.absent[0].path.name
        if self.options.missing == "skip":
            raise MissingFileError(
                f"{what}, the first is {first}; more than a tenth is not skipped. Name the runs to use instead: "
                "--set entities.run=[…], or entities.ses"
            )
        raise MissingFileError(
            f"{what}, the first is {first}{self._alternatives(subject)}; fetch them, or go on without: "
            "--set missing=skip"
        )

    def _wanted(self) -> str:
        chosen = ", ".join(f"{key} {value}" for key, value in self._chosen().items())
        where = "" if self._source is self._raw else f", in {self._source.root}"
        return f" ({chosen or 'any task'}{where})" if chosen or where else ""

    def _alternatives(self, subject: str) -> str:
        """What there is instead, for a sentence about images that are not there."""
        spaces = {f.entities.get("space", "native") for f in self._source.select("bold", IMAGES, {"sub": subject})}
        words = []
        if self._source.select("bold", (".dtseries.nii",), {"sub": subject}):
            words.append("CIFTI files, which this reader does not take: it reads NIfTI and GIFTI")
        if self.options.space is not None and spaces:
            words.append(f"spaces: {', '.join(sorted(spaces))}")
        if self.options.derivatives is None and self._raw.derivatives:
            words.append(f"derivatives: {', '.join(str(p.relative_to(self.root)) for p in self._raw.derivatives)}")
        return f" (there are {'; '.join(words)})" if words else ""

    def _runs(self, subject: str, findings: Findings | None = None) -> list[Run]:
        """Runs whose events name photographs, by session and run."""
        search = self._search(subject)
        notes = findings if findings is not None else Findings()
        for file in search.absent:
            notes.add(file.path, None, "the run has no images", "run left out (missing=skip)")
        for file in search.unexplained:
            notes.add(file.path, None, "no events table applies to it", "run left out")
        if self.options.image_column is not None or self.options.task is not None:
            return search.runs
        naming, refused = [], []
        for run in search.runs:
            try:
                image_column_of(read_events(run.events.path), None, run.events.path)
                naming.append(run)
            except InputError as reason:
                refused.append((run, reason))
        tasks = {run.files[0].entities.get("task") for run in naming}
        for run, error in refused:
            if not naming or run.files[0].entities.get("task") in tasks:
                raise error
            notes.add(run.events.path, None, "no column of the task's events names photographs", "run left out")
        return naming

    def choices(self, subjects: Sequence[str]) -> list[str]:
        """Source of the images, space, subjects and tasks, and which derivatives there are."""
        subjects = as_names(subjects)
        runs = [run for subject in subjects for run in self._runs(subject)]
        tasks = sorted({run.files[0].entities.get("task", "?") for run in runs})
        space = runs[0].files[0].entities.get("space", "native")
        source = "raw images" if self._source is self._raw else f"images of {self._source.root.name}, space {space}"
        unused = [folder.name for folder in self._raw.derivatives if folder != self._source.root]
        there = f" (also there: {', '.join(unused)}; --set derivatives=…)" if unused else ""
        return [
            f"{self.root.name}: fMRI, {len(runs)} runs of {', '.join(subjects)}, task {', '.join(tasks)}; "
            f"{source}{there}"
        ]

    def runs(self, subject: str) -> list[tuple[Path, list[Path]]]:
        """Events table and images (one volume, or two surfaces) of each run, by session and run.

        Raises
        ------
        MissingFileError
            If a run has events but no images, and may not be skipped (``missing=skip`` skips a tenth at most).
        InputError
            If there are several versions of one run; the sentence lists them.
        """
        return [(run.events.path, [file.path for file in run.files]) for run in self._runs(subject)]

    def _sidecar_of(self, events: Path) -> dict[str, tuple[Any, Path]]:
        file = parse(events)
        return {} if file is None else self._raw.metadata(file, "func", suffix="events")

    def _times(self, run: Run, findings: Findings) -> np.ndarray:
        """Time of each scan in s."""
        image = run.files[0]
        sidecar = self._source.metadata(image, "func")
        if self._source is not self._raw:
            stated = self._raw.metadata(image, "func", suffix="bold")
            if not {"RepetitionTime", "VolumeTiming"} & set(sidecar):
                sidecar |= {key: stated[key] for key in ("RepetitionTime", "VolumeTiming") if key in stated}
        return scan_times(
            image.path, count_scans(image.path), sidecar, header_time(image.path), findings,
            start_time=self.options.start_time,
        )  # fmt: skip

    def _brain_masks(self, runs: list[Run]) -> list[Path]:
        """The preprocessing's brain mask of each run; none if a run has none."""
        masks: list[Path] = []
        if self._source is not self._raw:
            for run in runs:
                entities: dict[str, Any] = {**run.files[0].without("desc", "echo", "part"), "desc": "brain"}
                mask_files = self._source.select("mask", (".nii.gz", ".nii"), entities)
                masks += [file.path for file in mask_files if set(file.entities) == set(entities)]
        return masks if len(masks) == len(runs) else []

    def _confounds_file(self, run: Run) -> Path | None:
        """Table of confounds of a run (``…_desc-confounds_timeseries.tsv``), from where its images are."""
        wanted = run.files[0].without(*DERIVED, "echo", "part")
        for suffix in ("timeseries", "regressors"):
            tables = [
                file
                for file in self._source.select(suffix, (".tsv",), {**wanted, "desc": "confounds"})
                if set(file.entities) == {*wanted, "desc"}
            ]
            if len(tables) > 1:
                raise InputError(f"{tables[0].path} and {tables[1].path} are confounds of one run; keep one of them.")
            if tables:
                return tables[0].path
        return None

    def _confounds(self, run: Run, n_scans: int) -> pd.DataFrame | None:
        if not self.options.confounds:
            return None
        file = self._confounds_file(run)
        if file is None:
            raise MissingFileError(
                f"There is no table of confounds for {run.files[0].path.name} in {self._source.root} (one row a scan, "
                "named like the run, …_desc-confounds_timeseries.tsv)."
            )
        table = confound_table(file, n_scans)
        lacking = [name for name in self.options.confounds if name not in table]
        if lacking:
            raise InputError(f"{file} has no column {lacking[0]!r}; it has {list(table.columns)[:40]}.")
        chosen = table[list(self.options.confounds)]
        for name in chosen:
            late = np.flatnonzero(chosen[name].isna().to_numpy()[1:])
            if len(late):  # the first row of a derivative is n/a by nature, others are not
                raise InputError(f"Row {late[0] + 1} of {file} has no number in {name!r}; fill it in.")
        return chosen.fillna(0.0)


def confound_table(file: Path, n_scans: int) -> pd.DataFrame:
    """Confounds, one row a scan; what is no number is NaN."""
    table = read_table(file)
    if len(table) != n_scans:
        raise InputError(f"{file} has {len(table)} rows, the run has {n_scans} scans; confounds need one row a scan.")
    return table.apply(pd.to_numeric, errors="coerce")
