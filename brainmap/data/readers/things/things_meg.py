"""THINGS-MEG (Hebart et al. 2023, OpenNeuro ds004212): CTF recordings to z-scored epochs, run by run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.progress import track
from brainmap.data.column_files import write_columns
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import cache_key, content_of
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Finding, Findings
from brainmap.data.readers.folder_files import entities, read_events, visible
from brainmap.data.readers.things.things_labels import (
    check_against_log,
    labels_of_log,
    names_by_number,
    read_attributes,
)
from brainmap.data.recordings.ctf import IMAGE_TRIGGER, TRIGGER_CHANNEL, Recording
from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks, within_epoch
from brainmap.data.recordings.triggers import align_triggers
from brainmap.data.responses import Responses
from brainmap.data.sensor_layout import load_sensors
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 2  # 2: MRO11 left out, drop-outs bridged
STIMULUS_DURATION = 0.5  # s
# The eye tracker writes volts into the recording; none of them is calibrated.
GAZE_CHANNELS = {"gaze_x": "UADC009", "gaze_y": "UADC010", "pupil": "UADC013"}
RUNS = 10
SESSIONS = 12
# What the authors' preprocessing knows of the recordings: a sensor that failed, and two drop-outs, s from the start.
FAILED_SENSORS = ("MRO11",)
DROP_OUTS = {("BIGMEG1", 11, 5): ((13.4, 13.6),), ("BIGMEG2", 10, 3): ((59.8, 60.0),)}


class ThingsMEGOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    onsets : {"trigger", "events"}
        Onsets from the trigger channel UPPT001, or as the events tables have them.
    trigger_channel, trigger_value : str, int
        Channel whose step up to this value marks a photograph.
    labels : {"events", "log"}
        Which photograph a trial showed: by the number in the events table, or by the path in
        ``sourcedata/sample_attributes_P*.csv``. The two disagree on some repeats; disagreements are reported.
    epochs : EpochSettings
        Band-pass, sampling rate, window, baseline.
    zscore : {"session", "run", "subject", "none"}
        Over which trials each channel × time is standardised.
    sessions, runs : tuple of int, optional
        Which to use; all by default.
    exclude : tuple of str
        Sensors to leave out; by default the one that the authors exclude, too.
    groups : {"concept", "image"}
        What folds keep together: all photographs of a concept (twelve), or each photograph by itself.
    """

    onsets: Literal["trigger", "events"] = "trigger"
    trigger_channel: str = TRIGGER_CHANNEL
    trigger_value: int = IMAGE_TRIGGER
    labels: Literal["events", "log"] = "events"
    epochs: EpochSettings = EpochSettings()
    zscore: Literal["session", "run", "subject", "none"] = "session"
    sessions: tuple[int, ...] | None = None
    runs: tuple[int, ...] | None = None
    exclude: tuple[str, ...] = FAILED_SENSORS
    groups: Literal["concept", "image"] = "concept"


class ThingsMEGReader(DatasetReader):
    """Reader of THINGS-MEG as it lies on OpenNeuro. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "things-meg"
    measures: ClassVar[Modality] = "meg"
    options_model: ClassVar[type[Options]] = ThingsMEGOptions

    def subjects(self) -> list[str]:
        """Subjects that have recordings here."""
        return [path.name.removeprefix("sub-") for path in visible(self.root.glob("sub-BIGMEG*")) if path.is_dir()]

    def recordings(self, subject: str) -> list[Path]:
        """CTF folders of a subject, by session and run.

        Raises
        ------
        MissingFileError
            If a run is absent and may not be skipped.
        """
        by_run = {
            (int(entities(path)["ses"]), int(entities(path)["run"])): path
            for path in visible(self.root.glob(f"sub-{subject}/ses-*/meg/*_meg.ds"))
            if (path / f"{path.stem}.meg4").is_file()
        }
        sessions = self.options.sessions or range(1, SESSIONS + 1)
        wanted = [(session, run) for session in sessions for run in self.options.runs or range(1, RUNS + 1)]
        absent = [pair for pair in wanted if pair not in by_run]
        if absent and (self.options.missing == "error" or len(absent) == len(wanted)):
            session, run = absent[0]
            raise MissingFileError(
                f"{len(absent)} of {len(wanted)} runs of subject {subject} have no recording below {self.root}; the "
                f"first is session {session}, run {run}. Get them with: brainmap data fetch things-meg --subject "
                f"{subject}, or go on without: --set missing=skip. (The authors' preprocessed epochs are read by "
                "--dataset things-meg-epochs.)"
            )
        return [by_run[pair] for pair in wanted if pair in by_run]

    @cached_property
    def _names(self) -> dict[int, str]:
        return names_by_number(self.root, self._images())

    def _images(self) -> Path | None:
        default = self.root / "stimuli"
        return self.photographs if self.photographs is not None else (default if default.exists() else None)

    def _events(self, recording: Path, findings: Findings) -> pd.DataFrame:
        """Events of a run without catch trials, with the photograph's name, and checked against the log."""
        parts = entities(recording)
        file = recording.with_name(recording.name.replace("_meg.ds", "_events.tsv"))
        table = read_events(file, ("onset", "trial_type", "value"), numbers=("value",))
        table = _without_duplicates(table, findings, file)
        check_against_log(table, self._log(parts["sub"]), int(parts["ses"]), int(parts["run"]), findings, file)
        if self.options.labels == "log":
            place = (int(parts["ses"]), int(parts["run"]))
            table["label"] = labels_of_log(self._log(parts["sub"]), *place, len(table), file)
        else:
            table["label"] = [self._names.get(int(v), "") if np.isfinite(v) else "" for v in table["value"]]
        shown = table["trial_type"].isin(("exp", "test"))
        unnamed = np.flatnonzero(shown & (table["label"] == ""))
        if len(unnamed):
            row, number = table[["row", "value"]].iloc[unnamed[0]]
            raise InputError(
                f"Row {row:.0f} of {file} shows image {number:g}, which no table names; take names from the log of "
                "what was shown with --set labels=log"
            )
        return table

    def _log(self, subject: str) -> pd.DataFrame | None:
        if subject not in self._logs:
            self._logs[subject] = read_attributes(self.root, subject[-1])
        return self._logs[subject]

    @cached_property
    def _logs(self) -> dict[str, pd.DataFrame | None]:
        return {}

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw; the folder comes from ``images`` or lies in ``stimuli``."""
        subjects = as_names(subjects)
        source = self._images()
        if source is None:
            raise MissingFileError(
                "THINGS-MEG comes without photographs: get the THINGS object images (things-initiative.org), unpack "
                f"them, and name the folder with --stimuli, or put it at {self.root / 'stimuli'}."
            )
        labels: set[str] = set()
        tests: set[str] = set()
        for subject in subjects:
            for recording in self.recordings(subject):
                events = self._events(recording, Findings())
                labels |= set(events.loc[events["trial_type"].isin(("exp", "test")), "label"])
                tests |= set(events.loc[events["trial_type"] == "test", "label"])
        return open_images(source, labels, marks={"test": tests}, cache=self.cache, groups=self.options.groups)

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs are among the 200 that were repeated in every session."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials without catch trials, and sensors × times (272 sensors are assumed)."""
        trials = 0
        for recording in self.recordings(subject):
            events = self._events(recording, Findings())
            trials += int(events["trial_type"].isin(("exp", "test")).sum())
        return trials, len(load_sensors()) * len(self.options.epochs.times)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject; every run is prepared once and kept.

        Raises
        ------
        InputError
            If a recording, its events table and the log do not fit together; the sentence names file and row.
        """
        findings = Findings()
        recordings = self.recordings(subject)
        sensors = self._common_sensors(recordings, findings)
        parts = [self._prepared(path, sensors) for path in track(recordings, "preparing", unit="runs")]
        tables = [_read_kept(path.with_suffix(".json"), findings) for path in parts]
        trials = pd.concat(tables, ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        scale = {"parts": [path.name for path in parts], "rows": rows.tolist(), "by": self.options.zscore}
        store = self.cache / self.name / subject / f"scale-{cache_key([], scale)}.npy"
        values = self._stacked(parts, self._groups(recordings), rows, store)
        times = self.options.epochs.times
        targets = pd.DataFrame({"sensor": np.repeat(sensors, len(times)), "time": np.tile(times, len(sensors))})
        lag = 1000 * kept["lag"].to_numpy()
        info = {
            "dataset": self.name,
            "sfreq": self.options.epochs.sfreq,
            "onsets": self.options.onsets,
            "lag_ms": {"median": float(np.nanmedian(lag)), "low": float(np.nanmin(lag)), "high": float(np.nanmax(lag))},
            "zscore": self.options.zscore,
            "epochs": self.options.epochs.described(),
            "stimulus_duration": STIMULUS_DURATION,
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        return Responses(values, kept, targets, "meg", subject, info=info)

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run, onset in the run (s), and mean gaze and pupil size while the photograph was shown (volts).

        One row per trial of the prepared recordings; gaze only where the recordings have the eye tracker's channels.
        """
        recordings = self.recordings(subject)
        sensors = self._common_sensors(recordings, Findings())
        parts = [self._prepared(path, sensors).with_suffix(".json") for path in recordings]
        trials = pd.concat([_read_kept(part, Findings()) for part in parts], ignore_index=True)
        return trials[["session", "run", "onset", *(name for name in GAZE_CHANNELS if name in trials)]]

    def _groups(self, recordings: Sequence[Path]) -> list[int] | None:
        if self.options.zscore == "none":
            return None
        keys = {
            "session": [entities(path)["ses"] for path in recordings],
            "run": [path.name for path in recordings],
            "subject": ["all" for _ in recordings],
        }[self.options.zscore]
        return [int(code) for code in pd.factorize(np.array(keys))[0]]

    def _common_sensors(self, recordings: Sequence[Path], findings: Findings) -> list[str]:
        """Sensors that every recording has, in the order of the CTF-275 layout."""
        layout = load_sensors("ctf-275")["sensor"].tolist()
        common = set(layout)
        for path in recordings:
            present = set(Recording(path).sensors)
            unknown = sorted(present - set(layout))
            for sensor in unknown[:1]:
                findings.add(path, None, f"{len(unknown)} sensors, such as {sensor}, are not in CTF-275", "left out")
            common &= present
        if not common:
            raise InputError(f"The recordings of {recordings[0].parent.parent.parent} share no sensor of CTF-275.")
        for sensor in self.options.exclude:
            if sensor in common:
                findings.add(recordings[0], None, f"sensor {sensor} is on the list of sensors to exclude", "left out")
        kept = [sensor for sensor in layout if sensor in common and sensor not in self.options.exclude]
        if not kept:
            raise InputError(f"No sensor is left: exclude = {list(self.options.exclude)} names all that there are.")
        return kept

    def _prepared(self, path: Path, sensors: list[str]) -> Path:
        """Epochs of a run and the table of its trials, from the cache or made now."""
        recording = Recording(path)
        events_file = path.with_name(path.name.replace("_meg.ds", "_events.tsv"))
        settings = {
            "version": PREPARATION_VERSION,
            "epochs": self.options.epochs.described(),
            "onsets": self.options.onsets,
            "trigger": [self.options.trigger_channel, self.options.trigger_value],
            "labels": self.options.labels,
            "sensors": sensors,
            "drop_outs": drop_outs(path),
        }
        log = self.root / "sourcedata" / f"sample_attributes_P{entities(path)['sub'][-1]}.csv"
        sources = [*recording.files, events_file, *([log] if log.is_file() else [])]
        key = cache_key([file for file in sources if file.is_file()], settings)
        done = self.cache / self.name / entities(path)["sub"] / f"{path.stem}-{key}.npy"
        if not (done.is_file() and done.with_suffix(".json").is_file()):
            self._prepare(recording, events_file, sensors, done)
        return done

    def _prepare(self, recording: Recording, file: Path, sensors: list[str], done: Path) -> None:
        findings = Findings()
        events = self._events(recording.path, findings)
        channel, value = self.options.trigger_channel, self.options.trigger_value
        wanted = self.options.onsets == "trigger" or recording.has(channel)
        triggers = recording.triggers(channel, value) if wanted else np.zeros(0)
        events = _timed(events, triggers, self.options.onsets, findings, file)
        shown = events["trial_type"].isin(("exp", "test")).to_numpy()
        ok = within_epoch(events["onset"].to_numpy(), self.options.epochs, recording.duration)
        for row in events["row"][shown & ~ok & events["onset"].notna().to_numpy()]:
            findings.add(file, int(row), "its epoch reaches beyond the recording", "trial dropped")
        kept = events[shown & ok]
        parts = entities(recording.path)
        table = kept[["label", "trial_type", "onset", "lag"]].assign(session=int(parts["ses"]), run=int(parts["run"]))
        gaze = recording.means(GAZE_CHANNELS, kept["onset"].to_numpy(), (0.0, STIMULUS_DURATION))
        table = table.assign(**gaze)
        shape = (len(kept), len(sensors) * len(self.options.epochs.times))
        channels = [recording.channel_of[sensor] for sensor in sensors]
        lost = drop_outs(recording.path)
        for first, last in lost:
            what = f"the signal is known to be lost from {first:g} to {last:g} s"
            findings.add(recording.path, None, what, "each sensor's median is put there")
        blocks = epoch_blocks(
            recording.raw, channels, kept["onset"].to_numpy(), self.options.epochs, memory=self.memory, bridged=lost
        )
        done.parent.mkdir(parents=True, exist_ok=True)
        text = {"trials": table.to_dict("list"), "findings": [vars(item) for item in findings.items]}
        done.with_suffix(".json").write_text(json.dumps(text), encoding="utf-8")
        write_columns(done, shape, blocks)


def drop_outs(path: Path) -> tuple[tuple[float, float], ...]:
    """Intervals of a recording in which the signal was lost, in s, as the authors' preprocessing has them."""
    parts = entities(path)
    return DROP_OUTS.get((parts["sub"], int(parts["ses"]), int(parts["run"])), ())


def _timed(events: pd.DataFrame, triggers: np.ndarray, onsets: str, findings: Findings, file: Path) -> pd.DataFrame:
    """Add the lag between table and trigger channel; take onsets from where they are wanted."""
    listed = events["onset"].to_numpy(dtype=float)
    if not len(triggers) and onsets == "events":
        findings.add(file, None, "the recording has no triggers", "onsets of the events table, lag unknown")
        return events.assign(lag=np.nan)
    alignment = align_triggers(triggers, listed, str(file))
    for row in events["row"][np.isnan(alignment.onset)]:
        done = "trial dropped" if onsets == "trigger" else "onset of the events table"
        findings.add(file, int(row), "no trigger within 60 ms of the expected time", done)
    if len(alignment.unused):
        what = f"{len(alignment.unused)} triggers belong to no row, the first at {alignment.unused[0]:.3f} s"
        findings.add(file, None, what, "not used")
    return events.assign(lag=alignment.lag, onset=alignment.onset if onsets == "trigger" else listed)


def _without_duplicates(table: pd.DataFrame, findings: Findings, file: Path) -> pd.DataFrame:
    """Drop rows that repeat an earlier one in every cell; ``row`` keeps each row's place in the file."""
    repeated = table.duplicated().to_numpy()
    for row in np.flatnonzero(repeated):
        findings.add(file, int(row), "the row occurs twice", "row dropped")
    return table.assign(row=np.arange(len(table)))[~repeated].reset_index(drop=True)


def _read_kept(file: Path, findings: Findings) -> pd.DataFrame:
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    findings.items.extend(Finding(**item) for item in kept["findings"])
    return pd.DataFrame(kept["trials"])
