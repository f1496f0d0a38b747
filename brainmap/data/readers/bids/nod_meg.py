"""Natural Object Dataset, MEG: cleaned or raw recordings, with photographs from the authors' detailed events.

Cleaned recordings carry onsets as annotations (``stim_on``) and have no trigger channel; raw ones have ``UPPT001``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.tables import read_table
from brainmap.data.photograph_matching import image_key
from brainmap.data.readers.bids.bids_meeg import BIDSMEEGReader
from brainmap.data.readers.bids.meeg_settings import BIDSMEEGOptions
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities, visible
from brainmap.data.recordings.ctf import TRIGGER_CHANNEL
from brainmap.data.recordings.triggers import rising_edges

RECORDINGS = "derivatives/preprocessed/raw"
EVENTS = "derivatives/detailed_events"
# Cleaned recordings were published under both names.
CLEANED = ("_meg_clean.fif", "_clean_meg.fif")
ONSET_ANNOTATION = "stim_on"
PHOTOGRAPH_ON = 2  # value of the trigger channel; 1 begins and 8 ends a run, 4 is a response


class NODMEGOptions(BIDSMEEGOptions):
    """Settings of the reader: those of ``bids-meeg``.

    Attributes
    ----------
    image_column : str
        Column of the detailed events that names the photograph.
    recordings : {"clean", "raw"}
        The authors' cleaned recordings (250 Hz), or the raw ones.
    annotation : str
        Description of the annotations at the onsets of photographs.
    trigger_value : int
        Value of UPPT001 at the onset of a photograph, for recordings without such annotations.
    """

    datatype: Literal["meg", "eeg", "ieeg"] | None = "meg"
    image_column: str | None = "image_id"
    recordings: Literal["clean", "raw"] = "clean"
    annotation: str = ONSET_ANNOTATION
    trigger_value: int = PHOTOGRAPH_ON


class NODMEGReader(BIDSMEEGReader):
    """Reader of NOD-MEG. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "nod-meg"
    options_model: ClassVar[type[Options]] = NODMEGOptions

    def subjects(self) -> list[str]:
        """Subjects with recordings of the ImageNet task."""
        return sorted({entities(path)["sub"] for path in self._files("*")} - {"emptyroom"})

    def _files(self, subject: str) -> list[Path]:
        """Recordings by session and run.

        Raises
        ------
        InputError
            If one run is there twice (under both names that cleaned files were published with).
        """
        if self.options.recordings == "raw":
            files = visible(self.root.glob(f"sub-{subject}/ses-ImageNet*/meg/sub-*_task-ImageNet_*_meg.fif"))
        else:
            files = visible((self.root / RECORDINGS).glob(f"sub-{subject}_ses-ImageNet*_run-*.fif"))
            files = [path for path in files if path.name.endswith(CLEANED)]
        runs: dict[tuple[str, str, int], Path] = {}
        for path in files:
            parts = entities(path)
            other = runs.setdefault((parts["sub"], parts["ses"], int(parts["run"])), path)
            if other != path and "split-" not in path.name:
                raise InputError(f"{other} and {path} are recordings of one run; keep one of them.")
        return [runs[key] for key in sorted(runs)]

    def recordings(self, subject: str, findings: Findings | None = None) -> list[tuple[Path, Path]]:
        """The subject's table of events, and each recording.

        Raises
        ------
        MissingFileError
            If either is absent.
        """
        table = self.root / EVENTS / f"sub-{subject}_events.csv"
        files = self._files(subject)
        if not files or not table.is_file():
            what = table if files else f"{self.options.recordings} recording of subject {subject} in {self.root}"
            raise MissingFileError(f"There is no {what}; get it with: brainmap data fetch nod-meg --subject {subject}")
        return [(table, file) for file in files]

    def _raw(self, path: Path) -> Any:
        import mne

        try:
            return mne.io.read_raw_fif(path, preload=False, verbose="error")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); fetch it anew.") from error

    def _events(self, file: Path, recording: Path, findings: Findings) -> pd.DataFrame:
        """Photographs in the order of a run's rows, at the onsets of its triggers."""
        parts = entities(recording)
        column = self.options.image_column
        table = read_table(file, required=[name for name in ("session", "run", column) if name is not None])
        table = table.assign(row=np.arange(len(table)))
        _check_runs(table, file)
        if "subject" in table and table["subject"].map(_number).nunique() > 1:
            table = table[table["subject"].map(_number) == int(parts["sub"])]
        session = table[table["session"].astype(str).str.removeprefix("ses-") == parts["ses"]]
        shown = session[session["run"].map(_number) == self._run_in_table(session, recording, file)]
        onsets, mark = self._onsets(recording)
        if len(onsets) != len(shown):
            raise InputError(
                f"{recording.name} has {len(onsets)} {mark}, {file.name} {len(shown)} rows for it (from row "
                f"{shown['row'].iloc[0]}); they cannot be matched. The recording may be cut short: check it with "
                "brainmap data verify nod-meg."
            )
        labels = [image_key(str(name)) for name in shown[column]]
        events = pd.DataFrame({"onset": onsets, "row": shown["row"].to_numpy(), "label": labels})
        return events.assign(session=parts["ses"], run=parts["run"])

    def _run_in_table(self, session: pd.DataFrame, recording: Path, file: Path) -> int:
        """Number of the recording's run in the table: counted within the session, or over all sessions."""
        parts = entities(recording)
        number, runs = int(parts["run"]), sorted(session["run"].map(_number).unique())
        if number in runs:
            return number
        counted_over_all = bool(runs) and runs[0] > 1 and runs == list(range(runs[0], runs[0] + len(runs)))
        if not counted_over_all or number > len(runs):
            raise InputError(f"{file} lists runs {runs} of session {parts['ses']}, but there is {recording.name}.")
        return int(runs[number - 1])

    def _onsets(self, recording: Path) -> tuple[np.ndarray, str]:
        """Onsets of photographs in s from the first sample, and what marked them."""
        import mne

        raw, chosen = self._raw(recording), self.options
        rate = float(raw.info["sfreq"])
        if chosen.annotation in set(raw.annotations.description):
            events, _ = mne.events_from_annotations(raw, {chosen.annotation: 1}, regexp=None, verbose="error")
            annotated: np.ndarray = (events[:, 0] - raw.first_samp) / rate
            return annotated, f"annotations {chosen.annotation!r}"
        names = [name for name in raw.ch_names if name.split("-")[0] == TRIGGER_CHANNEL]
        if not names:
            described = ", ".join(sorted(set(map(str, raw.annotations.description)))) or "none"
            raise InputError(
                f"{recording} has no annotations {chosen.annotation!r} (it has {described}) and no channel "
                f"{TRIGGER_CHANNEL}: onsets are unknown. Name the annotation with --set annotation=…"
            )
        samples = rising_edges(raw.get_data(picks=names[:1])[0], (chosen.trigger_value,))
        onsets: np.ndarray = samples / rate
        return onsets, f"triggers of value {chosen.trigger_value}"


def _check_runs(table: pd.DataFrame, file: Path) -> None:
    """Refuse rows whose run or subject is no number."""
    for name in ("run", "subject"):
        for row, cell in enumerate(table.get(name, ())):
            if not re.search(r"\d", str(cell)):
                raise InputError(f"Row {row} of {file} has {cell!r} in {name!r}; it must hold a number.")


def _number(run: object) -> int:
    digits = re.search(r"\d+", str(run))
    if digits is None:
        raise InputError(f"{run!r} is no number of a run.")
    return int(digits.group())
