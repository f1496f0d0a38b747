"""Any BIDS folder with MEG or EEG, read with mne-bids: the same epochs as THINGS-MEG's, run by run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import MODALITY_NAMES, Modality, as_names
from brainmap.common.progress import track
from brainmap.common.storage.file_errors import reading as reading_image
from brainmap.data.own_recordings.meeg_objects import sensor_table
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, cache_key, content_of, prepared
from brainmap.data.readers.bids.bids_reader import BIDSReader
from brainmap.data.readers.bids.epoch_files import EventsOfRun, SubjectEpochs, check_taken_as_they_are, is_epochs
from brainmap.data.readers.bids.events import check_onsets, shown_images
from brainmap.data.readers.bids.layout import BIDSFile, BIDSFolder, ambiguous, has_entities, parse
from brainmap.data.readers.bids.meeg_settings import BEFORE, LONGEST, SHORTEST, BIDSMEEGOptions, WindowSettings
from brainmap.data.readers.bids.runs import PreparedRuns, Run, chosen_recordings, distinct_recordings
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities
from brainmap.data.recordings.brain_images import check_content
from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks, within_epoch
from brainmap.data.responses import Responses
from brainmap.data.sensor_layout import load_sensors
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 2
SUFFIXES: dict[Modality, tuple[str, ...]] = {
    "meg": (".fif", ".ds", ".sqd", ".con"),
    "eeg": (".vhdr", ".set", ".edf", ".bdf"),
    "ieeg": (".vhdr", ".set", ".edf", ".nwb", ".mefd"),
}
PROCESSED = ("raw", "epo")  # suffixes of MNE's own files in derivatives


class BIDSMEEGReader(BIDSReader):
    """Reader of BIDS folders with MEG, EEG or iEEG. The parameters are those of :class:`DatasetReader`.

    Sensors have the places that the recordings and ``*_electrodes.tsv`` with ``*_coordsystem.json`` give.
    """

    name: ClassVar[str] = "bids-meeg"
    measures: ClassVar[Modality] = "meg"
    options_model: ClassVar[type[Options]] = BIDSMEEGOptions

    @property
    def modality(self) -> Modality:
        """Kind of the recordings: MEG, EEG or iEEG."""
        return self.datatype

    @cached_property
    def datatype(self) -> Modality:
        """Kind of recordings: the one asked for, or the only one there is.

        Raises
        ------
        InputError
            If there are several kinds.
        """
        if self.options.datatype is not None:
            kind: Modality = self.options.datatype
            return kind
        there: list[Modality] = [kind for kind in SUFFIXES if self._of_kind(self._source, kind)]
        if len(there) > 1:
            raise InputError(
                f"{self.root} has recordings of several kinds: {', '.join(there)}; choose one with "
                f"--set datatype={there[0]}"
            )
        return there[0] if there else "meg"

    @property
    def recorded(self) -> str:
        """What sentences call a recording."""
        return f"{self.datatype} recording"

    def _has_recordings(self, folder: BIDSFolder) -> bool:
        kinds = SUFFIXES if self.options.datatype is None else (self.options.datatype,)
        return any(self._of_kind(folder, kind) for kind in kinds)

    def _of_kind(self, folder: BIDSFolder, kind: Modality, subject: str | None = None) -> list[BIDSFile]:
        """Recordings (calibration files have a recording's suffix, but no task); derivatives hold epochs, too."""
        chosen = chosen_recordings(self._chosen()) | ({} if subject is None else {"sub": subject})
        files = folder.select(kind, SUFFIXES[kind], chosen)
        if folder is not self._folder:
            processed = folder.select(PROCESSED, (".fif", ".fif.gz"), chosen)
            files = [*files, *(file for file in processed if file.path.parent.name == kind)]
        return [f for f in files if {"sub", "task"} <= set(f.entities) and f.entities["sub"] != "emptyroom"]

    def _candidates(self, folder: BIDSFolder, subject: str | None = None) -> list[BIDSFile]:
        return self._of_kind(folder, self.datatype, subject)

    @cached_property
    def epoched(self) -> bool:
        """Whether the recordings are epochs already.

        Raises
        ------
        InputError
            If there are both.
        """
        files = [file for file in self._candidates(self._source) if has_entities(file, self._chosen())]
        if self._source is self._folder or not files:
            return False
        epochs = [file for file in files if is_epochs(file)]
        if epochs and len(epochs) < len(files):
            raise ambiguous([epochs[0], *(file for file in files if file not in epochs)], "the recordings")
        return bool(epochs)

    def recordings(self, subject: str, findings: Findings | None = None) -> list[tuple[Path, Path]]:
        """Events table and recording of each run; what is left out is added to the findings.

        Raises
        ------
        MissingFileError
            If a run has events but no recording, and may not be skipped (``missing=skip`` skips a tenth at most).
        InputError
            If there are several versions of one recording; the sentence lists them.
        """
        return [(run.events.path, run.files[0].path) for run in self._runs(subject, findings)]

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
        """Kind of recordings, where they come from, subjects, tasks and the window of epochs."""
        subjects = as_names(subjects)
        if self.epoched:
            chosen = [self._epoch_files(subject) for subject in subjects]
            files = [file for epochs in chosen for file in epochs.files]
            times = chosen[0].times[chosen[0].window(self.options.epochs.tmin, self.options.epochs.tmax)]
            return [
                f"{self.root.name}: {MODALITY_NAMES[self.modality]}, {len(files)} files of epochs in "
                f"{self._source_name} of {', '.join(subjects)}, task {self._tasks(files)}; "
                f"from {times[0]:g} to {times[-1]:g} s, as they are"
                f"{self._unused_derivatives()}"
            ]
        named = [parse(path) for subject in subjects for _, path in self.recordings(subject)]
        files = [file for file in named if file is not None]
        window = "given" if None not in (self.options.epochs.tmin, self.options.epochs.tmax) else (
            "from the interval between images; --set epochs.tmin=… epochs.tmax=…"
        )  # fmt: skip
        return [
            f"{self.root.name}: {MODALITY_NAMES[self.modality]}, {len(files)} {self._origin()} of "
            f"{', '.join(subjects)}, task {self._tasks(files)}; epochs from {self.epochs.tmin:g} to "
            f"{self.epochs.tmax:g} s ({window}){self._unused_derivatives()}"
        ]

    def _origin(self) -> str:
        return "raw recordings" if self._source is self._folder else f"recordings in {self._source_name}"

    def _raw(self, path: Path) -> Any:
        """Open a recording with mne-bids, which checks names and sidecars."""
        import mne

        try:
            import mne_bids
        except ImportError:
            raise InputError(
                "Reading BIDS folders with MEG or EEG needs mne-bids; install it with: pip install brainmap[bids]"
            ) from None
        with reading_image(path):
            if path.is_file() or path.is_symlink():
                check_content(path)
            if self._source is not self._folder:  # processed files carry no sidecars of channels that must apply
                return mne.io.read_raw(path, preload=False, verbose="error")
            place = mne_bids.get_bids_path_from_fname(path, check=False)
            place.update(root=self.root, datatype=self.datatype)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of events, which are read and checked here
                raw = mne_bids.read_raw_bids(place, verbose="error")
                if not self._channels(raw):  # a channels.tsv with wrong types: the recording's own count
                    own = mne.io.read_raw(path, preload=False, verbose="error")
                    raw = own if self._channels(own) else raw
                return raw

    def _channels(self, raw: Any, *, bads: bool = False) -> list[str]:
        import mne

        kinds: dict[Modality, dict[str, bool]] = {
            "meg": {"meg": True, "ref_meg": False},
            "eeg": {"eeg": True},
            "ieeg": {"ecog": True, "seeg": True, "dbs": True},
        }
        picks = mne.pick_types(raw.info, **kinds[self.datatype], exclude=[] if bads else "bads")
        if not len(picks) and self.datatype == "ieeg":  # formats that know no contacts call them EEG
            picks = mne.pick_types(raw.info, eeg=True, exclude=[] if bads else "bads")
        return [raw.ch_names[pick] for pick in picks]

    def _events(self, file: Path, recording: Path, findings: Findings) -> pd.DataFrame:
        chosen, name = self.options, parse(file)
        shown = shown_images(
            file, chosen.image_column, findings, trial_types=chosen.trial_types, sidecar=self._sidecar_of(file)
        )
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

    def _epoch_files(self, subject: str) -> SubjectEpochs:
        """Files of epochs of a subject, with the events tables that may tell what they show."""
        files = distinct_recordings(self._candidates(self._source, subject), self._chosen())
        if not files:
            raise MissingFileError(f"There are no epochs of subject {subject}{self._wanted()} in {self._source.root}.")
        check_taken_as_they_are(self.options.epochs.model_fields_set, files[0])
        tables = [[self._run_events(events, file) for events in self._events_within(file)] for file in files]
        return SubjectEpochs(files, tables, self.options.image_column, self._channels)

    def _events_within(self, file: BIDSFile) -> list[BIDSFile]:
        """Events tables of the raw runs that a file of epochs may hold, in their order."""
        beside = [
            events
            for events in self._folder.select("events", (".tsv",), {"sub": file.entities["sub"]})
            if events.path.parent.name == self.datatype
            and all(file.entities.get(key, value) == value for key, value in events.entities.items())
        ]
        return beside or self._folder.inherited(file, "events", ".tsv", self.datatype)[-1:]

    def _run_events(self, events: BIDSFile, file: BIDSFile) -> EventsOfRun:
        entities = {**file.written, **events.written}
        shown = shown_images(
            events.path, self.options.image_column, Findings(), trial_types=self.options.trial_types,
            sidecar=self._sidecar_of(events.path),
        )  # fmt: skip
        place = {"session": entities.get("ses", "1"), "run": entities.get("run", "1")}
        return EventsOfRun(shown[["onset", "row", "label"]].assign(**place), events.path)

    def _tables(self, subject: str) -> list[pd.DataFrame]:
        """Trials of each recording, before any is dropped."""
        if self.epoched:
            return self._epoch_files(subject).trials
        return [self._events(events, recording, Findings()) for events, recording in self.recordings(subject)]

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
        subjects = as_names(subjects)
        labels = {label for subject in subjects for table in self._tables(subject) for label in table["label"]}
        return open_images(self.stimuli_folder, labels, cache=self.cache)

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and channels × times."""
        trials = sum(len(table) for table in self._tables(subject))
        if self.epoched:
            files = self._epoch_files(subject)
            window = files.window(self.options.epochs.tmin, self.options.epochs.tmax)
            return trials, len(files.common_channels(Findings())) * int(window.sum())
        channels = self._channels(self._raw(self.recordings(subject)[0][1]))
        return trials, len(channels) * len(self.epochs.times)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject; every run is prepared once and kept."""
        findings = Findings()
        made = self._epoched_parts(subject, findings) if self.epoched else self._continuous_parts(subject, findings)
        if not made.parts:
            why = f": {findings.items[-1].what} ({findings.items[-1].file})" if len(findings) else ""
            raise InputError(f"No run of subject {subject} has a usable trial in {self._source.root}{why}.")
        parts, tables, times = made.parts, made.tables, made.times
        trials = pd.concat(tables, ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        scale = {"parts": [path.name for path in parts], "rows": rows.tolist(), "by": self.options.zscore}
        store = self.cache / self.root.name / subject / f"scale-{cache_key([], scale)}.npy"
        by = {"session": "session", "run": "run", "subject": None, "none": None}[self.options.zscore]
        names = ["all" if by is None else f"{t['session'].iloc[0]}-{t[by].iloc[0]}" for t in tables]
        groups = None if self.options.zscore == "none" else [int(code) for code in pd.factorize(np.array(names))[0]]
        picks = np.array([made.recording["ch_names"].index(name) for name in made.channels])
        targets = sensor_table(made.recording, picks, times, self.root.name)
        targets["sensor"] = np.repeat(plain_names(made.channels), len(times))
        info = {
            "dataset": self.root.name,
            **made.info,
            "zscore": self.options.zscore,
            "content": content_of(parts),
        }
        values = self._stacked(parts, groups, rows, store)
        result = Responses(
            values, kept.drop(columns=["row", "place"], errors="ignore"), targets, self.modality, subject, info=info
        )
        return self._reported(result, parts, rows, findings)

    def _continuous_parts(self, subject: str, findings: Findings) -> PreparedRuns:
        runs = self.recordings(subject, findings)
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
        info = {"sfreq": self.epochs.sfreq, "epochs": self.epochs.described()}
        return PreparedRuns(parts, tables, channels, self.epochs.times, self._raw(runs[0][1]).info, info)

    def _epoched_parts(self, subject: str, findings: Findings) -> PreparedRuns:
        files, given = self._epoch_files(subject), self.options.epochs
        window, channels = files.window(given.tmin, given.tmax), files.common_channels(findings)
        times = files.times[window]
        settings = given.with_window(float(times[0]), float(times[-1]) if len(times) > 1 else float(times[0]) + 1e-3)
        parts, tables = files.prepared(self.cache / self.root.name / subject, channels, settings, window)
        recording = files.epochs(files.files[0]).info
        window_used = {"tmin": float(times[0]), "tmax": float(times[-1])}
        info = {"sfreq": float(recording["sfreq"]), "epochs": window_used, "source": self._source_name}
        return PreparedRuns(parts, tables, channels, times, recording, info)

    def _common_channels(self, paths: list[Path], findings: Findings) -> list[str]:
        recordings = [self._raw(path) for path in paths]
        present = [self._channels(raw) for raw in recordings]
        for path, raw in zip(paths, recordings, strict=True):
            bad = len(self._channels(raw, bads=True)) - len(self._channels(raw))
            if bad:
                findings.add(path, None, f"{bad} channels are marked bad", "left out")
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
        ok = within_epoch(table["onset"].to_numpy(dtype=float), self.epochs, float(raw.times[-1]))
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
            "epochs": self.epochs.described(),
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
