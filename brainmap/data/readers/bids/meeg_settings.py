"""Settings of the reader of BIDS folders with MEG, EEG or iEEG."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from brainmap.data.readers.bids.bids_reader import BIDSOptions
from brainmap.data.recordings.epochs import EpochSettings

BEFORE = 0.2  # s of an epoch before onset
SHORTEST, LONGEST = 0.6, 2.0  # s of an epoch after onset, where the data choose it


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


class BIDSMEEGOptions(BIDSOptions):
    """Settings of the reader, beside those of :class:`BIDSOptions`.

    Attributes
    ----------
    datatype : {"meg", "eeg", "ieeg"}, optional
        Which recordings; needed only where there are several kinds.
    epochs : WindowSettings
        Band-pass, sampling rate, window, baseline. Epochs of a derivative are taken as they are, but for the window.
    zscore : {"session", "run", "subject", "none"}
        Over which trials each channel × time is standardised.
    """

    datatype: Literal["meg", "eeg", "ieeg"] | None = None
    epochs: WindowSettings = WindowSettings()
    zscore: Literal["session", "run", "subject", "none"] = "session"
