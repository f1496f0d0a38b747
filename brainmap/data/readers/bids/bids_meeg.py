"""Any BIDS folder with MEG or EEG, read with mne-bids: the same epochs as THINGS-MEG's, run by run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality
from brainmap.common.progress import track
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, cache_key, content_of, prepared
from brainmap.data.readers.bids.events import shown_images
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities, visible
from brainmap.data.recordings.epochs import EpochSettings, epoch_blocks, inside
from brainmap.data.responses import Responses
from brainmap.data.sensor_layout import load_sensors
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 1
SUFFIXES = {"meg": (".fif", ".ds", ".sqd", ".con"), "eeg": (".vhdr", ".set", ".edf", ".bdf")}


class BIDSMEEGOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    datatype : {"meg", "eeg"}
        Which recordings.
    task : str, optional
        Task of the runs to use; all by default.
    image_column : str
        Column of the events tables that names the photograph.
    trial_types : tuple of str, optional
        Rows to use, by ``trial_type``; every row that names a photograph by default.
    epochs : EpochSettings
        Band-pass, sampling rate, window, baseline.
    zscore : {"session", "run", "subject", "none"}
        Over which trials each channel × time is standardised.
    """

    datatype: Literal["meg", "eeg"] = "meg"
    task: str | None = None
    image_column: str = "stim_file"
    trial_types: tuple[str, ...] | None = None
    epochs: EpochSettings = EpochSettings()
    zscore: Literal["session", "run", "subject", "none"] = "session"


class BIDSMEEGReader(DatasetReader):
    """Reader of BIDS folders with MEG or EEG. The parameters are those of :class:`DatasetReader`.

    EEG channels appear as sensors with times, like MEG's; ``info["measured"]`` says which it is.
    """

    name: ClassVar[str] = "bids-meeg"
    modality: ClassVar[Modality] = "meg"
    options_model: ClassVar[type[Options]] = BIDSMEEGOptions

    def subjects(self) -> list[str]:
        """Subjects that have recordings with events."""
        kind = self.options.datatype
        found = {entities(path)["sub"] for path in visible(self.root.glob(f"sub-*/**/{kind}/*_events.tsv"))}
        return sorted(found - {"emptyroom"})

    def recordings(self, subject: str) -> list[tuple[Path, Path]]:
        """Events table and recording of each run.

        Raises
        ------
        MissingFileError
            If a run has events but no recording, and may not be skipped.
        """
        kind = self.options.datatype
        task = f"*task-{self.options.task}_" if self.options.task else ""
        found, absent = [], []
        for events in visible(self.root.glob(f"sub-{subject}/**/{kind}/sub-{subject}_{task}*events.tsv")):
            stem = events.name.removesuffix("_events.tsv")
            candidates = [events.with_name(f"{stem}_{kind}{suffix}") for suffix in SUFFIXES[kind]]
            present = [path for path in candidates if path.exists()]
            if present:
                found.append((events, present[0]))
            else:
                absent.append(events)
        if not found or (absent and self.options.missing == "error"):
            first = absent[0].name if absent else f"sub-{subject}"
            raise MissingFileError(
                f"{len(absent)} runs of subject {subject} have events but no {kind} recording ({first}); fetch them, "
                "or go on without: --set missing=skip"
            )
        return found

    def _raw(self, path: Path) -> Any:
        """Open a recording with mne-bids, which checks names and sidecars."""
        try:
            import mne_bids
        except ImportError:
            raise InputError(
                "Reading BIDS folders with MEG or EEG needs mne-bids; install it with: pip install brainmap[bids]"
            ) from None
        parts = entities(path)
        place = mne_bids.BIDSPath(
            subject=parts["sub"], session=parts.get("ses"), task=parts.get("task"), run=parts.get("run"),
            root=self.root, datatype=self.options.datatype, suffix=self.options.datatype,
        )  # fmt: skip
        try:
            return mne_bids.read_raw_bids(place, verbose="error")
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}); check it with a BIDS validator.") from error

    def _channels(self, raw: Any) -> list[str]:
        import mne

        picks = mne.pick_types(raw.info, meg=self.options.datatype == "meg", eeg=self.options.datatype == "eeg")
        return [raw.ch_names[pick] for pick in picks]

    def _events(self, file: Path, recording: Path, findings: Findings) -> pd.DataFrame:
        chosen = self.options
        shown = shown_images(file, chosen.image_column, findings, trial_types=chosen.trial_types)
        return shown[["onset", "row", "label", "session", "run"]]

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
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
        return trials, len(channels) * len(self.options.epochs.times)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject; every run is prepared once and kept."""
        findings = Findings()
        runs = self.recordings(subject)
        channels = self._common_channels([path for _, path in runs], findings)
        parts, tables = [], []
        for events, path in track(runs, "preparing", unit="runs"):
            part, table = self._prepared(events, path, channels, findings)
            parts.append(part)
            tables.append(table)
        trials = pd.concat(tables, ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        scale = {"parts": [path.name for path in parts], "rows": rows.tolist(), "by": self.options.zscore}
        store = self.cache / self.root.name / subject / f"scale-{cache_key([], scale)}.npy"
        by = {"session": "session", "run": "run", "subject": None, "none": None}[self.options.zscore]
        names = ["all" if by is None else f"{t['session'].iloc[0]}-{t[by].iloc[0]}" for t in tables]
        groups = None if self.options.zscore == "none" else [int(code) for code in pd.factorize(np.array(names))[0]]
        times = self.options.epochs.times
        sensors = plain_names(channels)
        targets = pd.DataFrame({"sensor": np.repeat(sensors, len(times)), "time": np.tile(times, len(sensors))})
        info = {
            "dataset": self.root.name,
            "measured": self.options.datatype.upper(),
            "sfreq": self.options.epochs.sfreq,
            "epochs": self.options.epochs.model_dump(),
            "zscore": self.options.zscore,
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        values = self._stacked(parts, groups, rows, store)
        return Responses(values, kept.drop(columns="row"), targets, "meg", subject, info=info)

    def _common_channels(self, paths: list[Path], findings: Findings) -> list[str]:
        present = [self._channels(self._raw(path)) for path in paths]
        common = [name for name in present[0] if all(name in other for other in present)]
        for path, names in zip(paths, present, strict=True):
            if len(names) > len(common):
                findings.add(path, None, f"{len(names) - len(common)} channels are not in every run", "left out")
        if not common:
            raise InputError(f"The recordings in {self.root} share no {self.options.datatype} channel.")
        return common

    def _prepared(self, events: Path, path: Path, channels: list[str], findings: Findings) -> tuple[Path, pd.DataFrame]:
        raw = self._raw(path)
        table = self._events(events, path, findings)
        ok = inside(table["onset"].to_numpy(dtype=float), self.options.epochs, float(raw.times[-1]))
        for row in table.loc[~ok, "row"]:
            findings.add(events, int(row), "its epoch reaches beyond the recording", "trial dropped")
        table = table[ok].reset_index(drop=True)
        files = (
            [path] if path.is_file() else sorted(file for file in path.glob("*") if file.suffix in (".res4", ".meg4"))
        )
        settings = json.loads(self.options.model_dump_json(include={"epochs", "image_column", "trial_types"}))
        settings |= {"version": PREPARATION_VERSION, "channels": channels}

        def make() -> Made:
            blocks = epoch_blocks(
                raw, channels, table["onset"].to_numpy(dtype=float), self.options.epochs, memory=self.memory
            )
            return (len(table), len(channels) * len(self.options.epochs.times)), blocks

        folder = self.cache / self.root.name / entities(path)["sub"]
        return prepared(folder, path.name.partition(".")[0], [events, *files], settings, make), table


def plain_names(channels: list[str]) -> list[str]:
    """Names without a CTF dewar's serial number (``MLC11-1609`` → ``MLC11``), if all are sensors of CTF-275."""
    stripped = [name.split("-")[0] for name in channels]
    known = set(load_sensors("ctf-275")["sensor"])
    return stripped if set(stripped) <= known and len(set(stripped)) == len(stripped) else channels
