"""Any BIDS folder with MEG or EEG, read with mne-bids: the same epochs as THINGS-MEG's, run by run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.progress import track
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, cache_key, content_of, prepared
from brainmap.data.readers.bids.events import check_onsets, shown_images
from brainmap.data.readers.bids.layout import BIDSFile, BIDSFolder, Entities, parse
from brainmap.data.readers.bids.runs import Run, chosen_recordings, find_runs
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities
from brainmap.data.recordings.brain_images import check_content
from brainmap.data.recordings.brain_images import reading as reading_image
from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks, inside
from brainmap.data.responses import Responses
from brainmap.data.sensor_layout import load_sensors
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 2
SUFFIXES = {
    "meg": (".fif", ".ds", ".sqd", ".con"),
    "eeg": (".vhdr", ".set", ".edf", ".bdf"),
    "ieeg": (".vhdr", ".set", ".edf", ".nwb", ".mefd"),
}
BEFORE = 0.2  # s of an epoch before onset
SHORTEST, LONGEST = 0.6, 2.0  # s of an epoch after onset, where the data choose it
MOST_SKIPPED = 0.1  # of the runs


class WindowSettings(BaseModel):
    """How epochs are made; the window comes from the data where it is not given.

    Attributes
    ----------
    l_freq, h_freq, sfreq, baseline
        As in :class:`brainmap.data.recordings.epochs.EpochSettings`.
    tmin, tmax : float, optional
        Beginning and end of an epoch in s from onset. By default an epoch begins 0.2 s before onset (0.1 s where images
        follow each other within 0.7 s) and ends where that of the next image begins, 0.6 s after onset at the earliest
        and 2 s at the latest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    l_freq: float | None = 0.1
    h_freq: float | None = 20.0
    sfreq: float = 30.0
    tmin: float | None = None
    tmax: float | None = None
    baseline: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _possible(self) -> WindowSettings:
        self.with_window(-BEFORE, LONGEST)
        return self

    def with_window(self, tmin: float, tmax: float) -> EpochSettings:
        """Fill in what is not given."""
        own = self.model_dump()
        own["tmin"] = tmin if self.tmin is None else self.tmin
        own["tmax"] = tmax if self.tmax is None else self.tmax
        return EpochSettings(**own)


class BIDSMEEGOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    datatype : {"meg", "eeg", "ieeg"}, optional
        Which recordings; needed only where there are several kinds.
    task : str, optional
        Task of the runs to use; all by default.
    image_column : str, optional
        Column of the events tables that names the photograph; ``stim_file``, or the only other usual name, by default.
    trial_types : tuple of str, optional
        Rows to use, by ``trial_type``; every row that names a photograph by default.
    entities : dict
        Further entities that a recording must have (``acq: A``, ``run: [1, 2]``; null: must not have).
    epochs : WindowSettings
        Band-pass, sampling rate, window, baseline.
    zscore : {"session", "run", "subject", "none"}
        Over which trials each channel × time is standardised.
    """

    datatype: Literal["meg", "eeg", "ieeg"] | None = None
    task: str | None = None
    image_column: str | None = None
    trial_types: tuple[str, ...] | None = None
    entities: Entities = Field(default_factory=dict)
    epochs: WindowSettings = WindowSettings()
    zscore: Literal["session", "run", "subject", "none"] = "session"


class BIDSMEEGReader(DatasetReader):
    """Reader of BIDS folders with MEG, EEG or iEEG. The parameters are those of :class:`DatasetReader`.

    EEG and iEEG channels appear as sensors with times, like MEG's; ``info["measured"]`` says which it is.
    """

    name: ClassVar[str] = "bids-meeg"
    modality: ClassVar[Modality] = "meg"
    options_model: ClassVar[type[Options]] = BIDSMEEGOptions

    @cached_property
    def _folder(self) -> BIDSFolder:
        return BIDSFolder(self.root)

    @cached_property
    def _left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """By subject: files of runs that are not read, and why; filled as runs are looked for."""
        return {}

    @cached_property
    def datatype(self) -> str:
        """Kind of recordings: the one asked for, or the only one there is.

        Raises
        ------
        InputError
            If there are several kinds.
        """
        if self.options.datatype is not None:
            return str(self.options.datatype)
        there = [kind for kind in SUFFIXES if self._candidates(kind)]
        if len(there) > 1:
            raise InputError(
                f"{self.root} has recordings of several kinds: {', '.join(there)}; choose one with "
                f"--set datatype={there[0]}"
            )
        return there[0] if there else "meg"

    def _chosen(self) -> dict[str, Any]:
        task = {} if self.options.task is None else {"task": self.options.task}
        return {**self.options.entities, **task}

    def _candidates(self, kind: str, subject: str | None = None) -> list[BIDSFile]:
        """Recordings (calibration files have a recording's suffix, but no task)."""
        chosen = chosen_recordings(self._chosen()) | ({} if subject is None else {"sub": subject})
        files = self._folder.select(kind, SUFFIXES[kind], chosen)
        return [f for f in files if {"sub", "task"} <= set(f.entities) and f.entities["sub"] != "emptyroom"]

    def subjects(self) -> list[str]:
        """Subjects that have recordings, or events of recordings."""
        kind = self.datatype
        events = [file for file in self._folder.select("events", (".tsv",)) if file.path.parent.name == kind]
        labels = {file.written["sub"] for file in (*self._candidates(kind), *events) if "sub" in file.written}
        return sorted(labels - {"emptyroom"})

    def recordings(self, subject: str) -> list[tuple[Path, Path]]:
        """Events table and recording of each run.

        Raises
        ------
        MissingFileError
            If a run has events but no recording, and may not be skipped (``missing=skip`` skips a tenth at most).
        InputError
            If there are several versions of one recording; the sentence lists them.
        """
        return [(run.events.path, run.files[0].path) for run in self._runs(subject)]

    def _runs(self, subject: str) -> list[Run]:
        kind, chosen = self.datatype, self._chosen()
        files = self._candidates(kind, subject)
        search = find_runs(self._folder, files, subject, kind, chosen)
        total, absent = len(search.runs) + len(search.absent), len(search.absent)
        if not total and files:
            raise MissingFileError(
                f"No events table applies to {files[0].path} (no *_events.tsv beside it or above it whose entities are "
                "its own); add one with onset, duration and stim_file."
            )
        if not total:
            raise MissingFileError(f"There are no {kind} recordings of subject {subject} in {self.root}.")
        if absent and (not search.runs or self.options.missing == "error" or absent > MOST_SKIPPED * total):
            remedy = "fetch them, or go on without: --set missing=skip" if self.options.missing == "error" else (
                "more than a tenth is not skipped; name the runs to use: --set entities.run=[…]"
            )  # fmt: skip
            raise MissingFileError(
                f"{absent} of {total} runs of subject {subject} have events but no {kind} recording "
                f"({search.absent[0].path.name}); {remedy}"
            )
        left_out = [(file.path, "the run has no recording") for file in search.absent]
        left_out += [(file.path, "no events table applies to it") for file in search.unexplained]
        self._left_out[subject] = left_out
        return search.runs

    @cached_property
    def epochs(self) -> EpochSettings:
        """How epochs are made; a window that is not given comes from the first subject's events."""
        given: WindowSettings = self.options.epochs
        if given.tmin is not None and given.tmax is not None:
            return given.with_window(given.tmin, given.tmax)
        intervals = []
        for events, path in self.recordings(self.subjects()[0]):
            intervals += np.diff(self._events(events, path, Findings())["onset"].to_numpy(dtype=float)).tolist()
        between = float(np.quantile(intervals, 0.1)) if intervals else LONGEST
        before = BEFORE if between >= SHORTEST + BEFORE / 2 else BEFORE / 2
        return given.with_window(-before, float(np.clip(between - before, SHORTEST, LONGEST)))

    def choices(self, subjects: Sequence[str]) -> list[str]:
        """Kind of recordings, subjects, tasks and the window of epochs."""
        subjects = as_names(subjects)
        files = [parse(path) for subject in subjects for _, path in self.recordings(subject)]
        tasks = sorted({file.entities.get("task", "?") for file in files if file is not None})
        window = "given" if None not in (self.options.epochs.tmin, self.options.epochs.tmax) else (
            "from the interval between images; --set epochs.tmin=… epochs.tmax=…"
        )  # fmt: skip
        return [
            f"{self.root.name}: {self.datatype.upper()}, {len(files)} recordings of {', '.join(subjects)}, task "
            f"{', '.join(tasks)}; epochs from {self.epochs.tmin:g} to {self.epochs.tmax:g} s ({window})"
        ]

    def _raw(self, path: Path) -> Any:
        """Open a recording with mne-bids, which checks names and sidecars."""
        try:
            import mne_bids
        except ImportError:
            raise InputError(
                "Reading BIDS folders with MEG or EEG needs mne-bids; install it with: pip install brainmap[bids]"
            ) from None
        with reading_image(path):
            if path.is_file() or path.is_symlink():
                check_content(path)
            place = mne_bids.get_bids_path_from_fname(path, check=False)
            place.update(root=self.root, datatype=self.datatype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of events, which are read and checked here
                return mne_bids.read_raw_bids(place, verbose="error")

    def _channels(self, raw: Any) -> list[str]:
        import mne

        kinds: dict[str, dict[str, bool]] = {
            "meg": {"meg": True, "ref_meg": False},
            "eeg": {"eeg": True},
            "ieeg": {"ecog": True, "seeg": True, "dbs": True},
        }
        picks = mne.pick_types(raw.info, **kinds[self.datatype])
        return [raw.ch_names[pick] for pick in picks]

    def _events(self, file: Path, recording: Path, findings: Findings) -> pd.DataFrame:
        chosen, name = self.options, parse(file)
        sidecar = {} if name is None else self._folder.metadata(name, self.datatype, suffix="events")
        shown = shown_images(file, chosen.image_column, findings, trial_types=chosen.trial_types, sidecar=sidecar)
        entities = {**getattr(parse(recording), "written", {}), **getattr(name, "written", {})}
        number = self._numbers.get(recording, entities.get("run", "1"))
        return shown[["onset", "row", "label"]].assign(session=entities.get("ses", "1"), run=number)

    @cached_property
    def _numbers(self) -> dict[Path, str]:
        """Number of each run, told apart where two runs of a session have one."""
        return {run.files[0].path: run.number for subject in self.subjects() for run in self._runs_or_none(subject)}

    def _runs_or_none(self, subject: str) -> list[Run]:
        try:
            return self._runs(subject)
        except InputError:  # said when that subject is asked for
            return []

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
        subjects = as_names(subjects)
        labels: set[str] = set()
        for subject in subjects:
            for events, recording in self.recordings(subject):
                labels |= set(self._events(events, recording, Findings())["label"])
        return open_images(self.images if self.images is not None else self.root / "stimuli", labels, cache=self.cache)

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and channels × times."""
        runs = self.recordings(subject)
        channels = self._channels(self._raw(runs[0][1]))
        trials = sum(len(self._events(events, recording, Findings())) for events, recording in runs)
        return trials, len(channels) * len(self.epochs.times)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject; every run is prepared once and kept."""
        findings = Findings()
        runs = self.recordings(subject)
        for file, what in self._left_out.get(subject, []):
            findings.add(file, None, what, "run left out")
        channels = self._common_channels([path for _, path in runs], findings)
        parts, tables = [], []
        for events, path in track(runs, "preparing", unit="runs"):
            raw = self._raw(path)
            table = self._trials(raw, events, path, findings)
            if not len(table):
                findings.add(events, None, "no epoch lies inside the recording", "run left out")
                continue
            parts.append(self._prepared(raw, events, path, channels, table))
            tables.append(table)
        if not parts:
            raise InputError(f"No run of subject {subject} has a usable trial; the first events table is {runs[0][0]}.")
        trials = pd.concat(tables, ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        scale = {"parts": [path.name for path in parts], "rows": rows.tolist(), "by": self.options.zscore}
        store = self.cache / self.root.name / subject / f"scale-{cache_key([], scale)}.npy"
        by = {"session": "session", "run": "run", "subject": None, "none": None}[self.options.zscore]
        names = ["all" if by is None else f"{t['session'].iloc[0]}-{t[by].iloc[0]}" for t in tables]
        groups = None if self.options.zscore == "none" else [int(code) for code in pd.factorize(np.array(names))[0]]
        times = self.epochs.times
        sensors = plain_names(channels)
        targets = pd.DataFrame({"sensor": np.repeat(sensors, len(times)), "time": np.tile(times, len(sensors))})
        info = {
            "dataset": self.root.name,
            "measured": self.datatype.upper(),
            "sfreq": self.epochs.sfreq,
            "epochs": self.epochs.model_dump(),
            "zscore": self.options.zscore,
            "content": content_of(parts),
        }
        values = self._stacked(parts, groups, rows, store)
        result = Responses(values, kept.drop(columns="row"), targets, "meg", subject, info=info)
        return self._reported(result, parts, rows, findings)

    def _common_channels(self, paths: list[Path], findings: Findings) -> list[str]:
        present = [self._channels(self._raw(path)) for path in paths]
        common = [name for name in present[0] if all(name in other for other in present)]
        for path, names in zip(paths, present, strict=True):
            if len(names) > len(common):
                findings.add(path, None, f"{len(names) - len(common)} channels are not in every run", "left out")
        if not common:
            raise InputError(f"The recordings in {self.root} share no {self.datatype} channel.")
        return common

    def _trials(self, raw: Any, events: Path, path: Path, findings: Findings) -> pd.DataFrame:
        """Trials whose epochs lie inside the recording."""
        table = self._events(events, path, findings)
        check_onsets(table, events, float(raw.times[-1]))
        ok = inside(table["onset"].to_numpy(dtype=float), self.epochs, float(raw.times[-1]))
        for row in table.loc[~ok, "row"]:
            findings.add(events, int(row), "its epoch reaches beyond the recording", "trial dropped")
        return table[ok].reset_index(drop=True)

    def _prepared(self, raw: Any, events: Path, path: Path, channels: list[str], table: pd.DataFrame) -> Path:
        own = [path] if path.is_file() else [file for file in path.glob("*") if file.suffix in (".res4", ".meg4")]
        files = sorted({*own, *(Path(name) for name in raw.filenames if name is not None and Path(name).is_file())})
        settings = json.loads(self.options.model_dump_json(include={"image_column", "trial_types"}))
        settings |= {
            "version": PREPARATION_VERSION,
            "channels": channels,
            "epochs": self.epochs.model_dump(mode="json"),
            "rows": table["row"].tolist(),
        }

        def make() -> Made:
            blocks = self._blocks(raw, path, channels, table["onset"].to_numpy(dtype=float))
            return (len(table), len(channels) * len(self.epochs.times)), blocks

        folder = self.cache / self.root.name / entities(path)["sub"]
        return prepared(folder, path.name.partition(".")[0], [events, *files], settings, make)

    def _blocks(self, raw: Any, path: Path, channels: list[str], onsets: np.ndarray) -> Iterator[np.ndarray]:
        with reading_image(path):
            yield from epoch_blocks(raw, channels, onsets, self.epochs, memory=self.memory)


def plain_names(channels: list[str]) -> list[str]:
    """Names without a CTF dewar's serial number (``MLC11-1609`` → ``MLC11``), if all are sensors of CTF-275."""
    stripped = [name.split("-")[0] for name in channels]
    known = set(load_sensors("ctf-275")["sensor"])
    return stripped if set(stripped) <= known and len(set(stripped)) == len(stripped) else channels
