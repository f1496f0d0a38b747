"""Natural Object Dataset, MEG: the authors' cleaned recordings, with photographs from their detailed events."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.data.photograph_matching import image_key
from brainmap.data.readers.bids.bids_meeg import BIDSMEEGOptions, BIDSMEEGReader
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities, visible
from brainmap.data.recordings.ctf import TRIGGER_CHANNEL
from brainmap.data.recordings.triggers import rising_edges

RECORDINGS = "derivatives/preprocessed/raw"
EVENTS = "derivatives/detailed_events"
PHOTOGRAPH_ON = 2  # value of the trigger channel; 1 begins and 8 ends a run, 4 is a response


class NODMEGOptions(BIDSMEEGOptions):
    """Settings of the reader: those of ``bids-meeg``.

    Attributes
    ----------
    image_column : str
        Column of the detailed events that names the photograph.
    trigger_value : int
        Value of UPPT001 at the onset of a photograph.
    """

    datatype: Literal["meg", "eeg", "ieeg"] | None = "meg"
    image_column: str | None = "image_id"
    trigger_value: int = PHOTOGRAPH_ON


class NODMEGReader(BIDSMEEGReader):
    """Reader of NOD-MEG's cleaned recordings. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "nod-meg"
    options_model: ClassVar[type[Options]] = NODMEGOptions

    def subjects(self) -> list[str]:
        """Subjects with cleaned recordings of the ImageNet task."""
        return sorted({entities(path)["sub"] for path in self._files("*")})

    def _files(self, subject: str) -> list[Path]:
        return visible((self.root / RECORDINGS).glob(f"sub-{subject}_ses-ImageNet*_run-*_meg_clean.fif"))

    def recordings(self, subject: str) -> list[tuple[Path, Path]]:
        """The subject's table of events, and each recording.

        Raises
        ------
        MissingFileError
            If either is absent.
        """
        table = self.root / EVENTS / f"sub-{subject}_events.csv"
        files = self._files(subject)
        if not files or not table.is_file():
            what = table if files else f"sub-{subject}_ses-ImageNet01_task-ImageNet_run-01_meg_clean.fif"
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
        table = pd.read_csv(file).assign(row=lambda t: np.arange(len(t)))
        lacking = [name for name in ("session", "run", column) if name not in table]
        if lacking:
            raise InputError(f"{file} has no column {lacking[0]!r}; it has {list(table.columns)}.")
        session = table[table["session"].astype(str).str.removeprefix("ses-") == parts["ses"]]
        runs = np.sort(session["run"].map(_number).unique())  # counted within the session or over all sessions
        place = int(parts["run"]) - 1
        if place >= len(runs):
            raise InputError(f"{file} lists {len(runs)} runs of session {parts['ses']}, but there is {recording.name}.")
        shown = session[session["run"].map(_number) == runs[place]]
        onsets = self._onsets(recording)
        if len(onsets) != len(shown):
            raise InputError(
                f"{recording.name} has {len(onsets)} triggers of value {self.options.trigger_value}, {file.name} "
                f"{len(shown)} rows for it (from row {shown['row'].iloc[0]}); they cannot be matched."
            )
        labels = [image_key(str(name)) for name in shown[column]]
        found = pd.DataFrame({"onset": onsets, "row": shown["row"].to_numpy(), "label": labels})
        return found.assign(session=parts["ses"], run=parts["run"])

    def _onsets(self, recording: Path) -> np.ndarray:
        raw = self._raw(recording)
        names = [name for name in raw.ch_names if name.split("-")[0] == TRIGGER_CHANNEL]
        if not names:
            raise InputError(f"{recording} has no channel {TRIGGER_CHANNEL}; read the raw recordings with bids-meeg.")
        samples = rising_edges(raw.get_data(picks=names[:1])[0], (self.options.trigger_value,))
        onsets: np.ndarray = samples / float(raw.info["sfreq"])
        return onsets


def _number(run: object) -> int:
    found = re.search(r"\d+", str(run))
    if found is None:
        raise InputError(f"{run!r} is no number of a run.")
    return int(found.group())
