"""What readers of BIDS folders share: settings, the folder recordings come from, runs, what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.readers.bids.events import image_column_of, read_events
from brainmap.data.readers.bids.layout import BIDSFile, BIDSFolder, Entities, has_entities, parse
from brainmap.data.readers.bids.runs import Run, RunSearch, find_runs
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings

MOST_SKIPPED = 0.1  # of the runs


class BIDSOptions(Options):
    """Settings of all readers of BIDS folders.

    Attributes
    ----------
    task : str, optional
        Task of the runs to use; all runs with events that name photographs by default.
    image_column : str, optional
        Column of the events tables that names the photograph; ``stim_file``, or the only other usual name, by default.
    trial_types : tuple of str, optional
        Rows to use, by ``trial_type``; every row that names a photograph by default.
    derivatives : str, optional
        Folder below the dataset with processed recordings (``derivatives/fmriprep``); by default the raw ones, or,
        where there are none, the only derivative that has some.
    entities : dict
        Further entities that a recording must have (``acq: A``, ``run: [1, 2]``; null: must not have).
    """

    task: str | None = None
    image_column: str | None = None
    trial_types: tuple[str, ...] | None = None
    derivatives: str | None = None
    entities: Entities = Field(default_factory=dict)


class BIDSReader(DatasetReader):
    """Which recordings of a BIDS folder belong to which events. The parameters are those of :class:`DatasetReader`."""

    @property
    def recorded(self) -> str:
        """What sentences call a recording."""
        raise NotImplementedError

    @property
    def datatype(self) -> str:
        """Folder of the recordings: ``func``, ``meg``, ``eeg`` or ``ieeg``."""
        raise NotImplementedError

    def _candidates(self, folder: BIDSFolder, subject: str | None = None) -> list[BIDSFile]:
        """Recordings in a folder, as far as the settings choose among them."""
        raise NotImplementedError

    @cached_property
    def _folder(self) -> BIDSFolder:
        """The folder itself, which holds the events."""
        return BIDSFolder(self.root)

    @cached_property
    def _source(self) -> BIDSFolder:
        """Folder that the recordings come from: the raw data, or a derivative."""
        if self.options.derivatives is not None:
            folder = self.root / self.options.derivatives
            if not folder.is_dir():
                there = ", ".join(str(path.relative_to(self.root)) for path in self._folder.derivatives) or "none"
                raise MissingFileError(f"There is no folder {folder}; there are these derivatives: {there}.")
            return BIDSFolder(folder)
        if self._has_recordings(self._folder):
            return self._folder
        derived = [folder for folder in map(BIDSFolder, self._folder.derivatives) if self._has_recordings(folder)]
        if len(derived) > 1:
            names = ", ".join(str(folder.root.relative_to(self.root)) for folder in derived)
            raise InputError(
                f"{self.root} has no raw runs and several derivatives with runs: {names}; choose one with "
                f"--set derivatives={derived[0].root.relative_to(self.root)}"
            )
        return derived[0] if derived else self._folder

    def _has_recordings(self, folder: BIDSFolder) -> bool:
        raise NotImplementedError

    @property
    def _source_name(self) -> str:
        return "raw" if self._source is self._folder else str(self._source.root.relative_to(self.root))

    def _chosen(self) -> dict[str, Any]:
        """Entities that the settings choose."""
        task = {} if self.options.task is None else {"task": self.options.task}
        return {**self.options.entities, **task}

    def subjects(self) -> list[str]:
        """Subjects that have recordings, or events of recordings."""
        events = self._folder.select("events", (".tsv",), {})
        beside = [file for file in events if file.path.parent.name == self.datatype]
        labels = {file.written["sub"] for file in (*self._candidates(self._source), *beside) if "sub" in file.written}
        return sorted(labels - {"emptyroom"})

    def _search(self, subject: str) -> RunSearch:
        """Runs of a subject.

        Raises
        ------
        MissingFileError
            If a run has events but no recording, and may not be skipped (``missing=skip`` skips a tenth at most).
        InputError
            If there are several versions of one recording; the sentence lists them.
        """
        files = self._candidates(self._source, subject)
        search = find_runs(self._folder, files, subject, self.datatype, self._chosen())
        total = len(search.runs) + len(search.absent)
        chosen = [file for file in files if has_entities(file, self._chosen())]
        if not total and chosen:
            raise MissingFileError(
                f"No events table applies to {chosen[0].path} (no *_events.tsv beside it or above it whose "
                "entities are its own); add one with onset, duration and stim_file."
            )
        if not total:
            raise MissingFileError(
                f"There are no {self.datatype} runs with events of subject {subject}{self._wanted()} in {self.root}"
                f"{self._alternatives(subject)}."
            )
        if search.absent:
            self._refuse_absent(subject, search, total)
        return search

    def _refuse_absent(self, subject: str, search: RunSearch, total: int) -> None:
        count = len(search.absent)
        if self.options.missing == "skip" and search.runs and count <= MOST_SKIPPED * total:
            return
        what = f"{count} of {total} runs of subject {subject} have events but no {self.recorded}{self._wanted()}"
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
        where = "" if self._source is self._folder else f", in {self._source.root}"
        return f" ({chosen or 'any task'}{where})" if chosen or where else ""

    def _alternatives(self, subject: str) -> str:
        """What there is instead, for a sentence about recordings that are not there."""
        words = self._other_versions(subject)
        beside = [f for f in self._source.files if f.path.parent.name == self.datatype]
        files = [f for f in beside if f.entities.get("sub") == subject]
        for key in self._chosen():
            there = sorted({f.entities[key] for f in files if key in f.entities}) if key != "space" else []
            words += [f"{key}: {', '.join(there)}"] if there else []
        if self.options.derivatives is None and self._folder.derivatives:
            words.append(f"derivatives: {', '.join(str(p.relative_to(self.root)) for p in self._folder.derivatives)}")
        unnamed = [path for folder in self._folder.derivatives for path in sorted(folder.rglob("*epo*.fif"))]
        unnamed = [path for path in unnamed if "task" not in getattr(parse(path), "entities", {})]
        if unnamed:
            words.append(
                f"epochs under a name that is no BIDS name ({unnamed[0].name}): call them sub-…_task-…_epo.fif, or "
                "give the file with --responses"
            )
        return f" (there are {'; '.join(words)})" if words else ""

    def _other_versions(self, subject: str) -> list[str]:
        return []

    def _runs(self, subject: str, findings: Findings | None = None) -> list[Run]:
        """Runs whose events name photographs, by session and run; what is left out is added to the findings."""
        search = self._search(subject)
        notes = findings if findings is not None else Findings()
        for file in search.absent:
            notes.add(file.path, None, f"the run has no {self.recorded}", "run left out (missing=skip)")
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

    def _sidecar_of(self, events: Path) -> dict[str, tuple[Any, Path]]:
        """Keys of the sidecars of an events table, each with the file that states it."""
        file = parse(events)
        return {} if file is None else self._folder.metadata(file, self.datatype, suffix="events")

    def _unused_derivatives(self) -> str:
        unused = [folder.name for folder in self._folder.derivatives if folder != self._source.root]
        return f" (also there: {', '.join(unused)}; --set derivatives=…)" if unused else ""

    def _tasks(self, files: Sequence[BIDSFile]) -> str:
        return ", ".join(sorted({file.entities.get("task", "?") for file in files}))
