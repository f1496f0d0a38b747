"""CTF recordings through MNE: sensors by their plain names, triggers, and the files that identify a recording."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brainmap.common.errors import InputError
from brainmap.data.recordings.triggers import rising_edges

TRIGGER_CHANNEL = "UPPT001"
IMAGE_TRIGGER = 64


class Recording:
    """One CTF folder (``.ds``), opened without reading its samples.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    InputError
        If MNE cannot read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def raw(self) -> Any:
        """The recording as ``mne.io.Raw``."""
        import mne

        try:
            return mne.io.read_raw_ctf(self.path, system_clock="truncate", preload=False, verbose="error")
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise InputError(f"{self.path} cannot be read as a CTF recording ({error}); fetch it anew.") from error

    @property
    def files(self) -> list[Path]:
        """Files with samples and header."""
        return sorted(path for path in self.path.glob("*") if path.suffix in (".res4", ".meg4", ".hc"))

    @cached_property
    def channel_of(self) -> dict[str, str]:
        """Channel of each sensor: ``MLC11`` → ``MLC11-1609``. The recording's own types count, not channels.tsv."""
        import mne

        picks = mne.pick_types(self.raw.info, meg=True, ref_meg=False, exclude=())
        return {self.raw.ch_names[pick].split("-")[0]: self.raw.ch_names[pick] for pick in picks}

    @property
    def sensors(self) -> list[str]:
        """Names of the MEG sensors without the dewar's serial number."""
        return list(self.channel_of)

    @property
    def duration(self) -> float:
        """Time of the last sample in s."""
        return float(self.raw.times[-1])

    def has(self, channel: str) -> bool:
        """Whether the recording has a channel, by its plain name."""
        return any(name.split("-")[0] == channel for name in self.raw.ch_names)

    def means(
        self, channels: Mapping[str, str], onsets: np.ndarray, window: tuple[float, float]
    ) -> dict[str, np.ndarray]:
        """Mean of slow channels (gaze, pupil) in a window around each onset.

        Parameters
        ----------
        channels : mapping of str to str
            Name in the result → plain name of the channel; channels that the recording lacks are left out.
        onsets : numpy.ndarray of float, (n_trials,)
            In s.
        window : tuple of float
            Beginning and end in s from onset.

        Returns
        -------
        dict of str to numpy.ndarray, (n_trials,)
        """
        rate = float(self.raw.info["sfreq"])
        bounds = np.round((onsets[:, None] + np.array(window)) * rate).astype(np.int64)
        means = {}
        for name, channel in channels.items():
            present = [full for full in self.raw.ch_names if full.split("-")[0] == channel]
            if present:
                total = np.concatenate([[0.0], np.cumsum(self.raw.get_data(picks=present[:1])[0])])
                edges = np.clip(bounds, 0, len(total) - 1)
                means[name] = (total[edges[:, 1]] - total[edges[:, 0]]) / np.maximum(edges[:, 1] - edges[:, 0], 1)
        return means

    def triggers(self, channel: str = TRIGGER_CHANNEL, value: int = IMAGE_TRIGGER) -> np.ndarray:
        """Times in s at which the trigger channel steps up to the value that marks a photograph.

        Raises
        ------
        InputError
            If the recording has no such channel.
        """
        names = [name for name in self.raw.ch_names if name.split("-")[0] == channel]
        if not names:
            raise InputError(f"{self.path} has no channel {channel}; use the events tables: --set onsets=events")
        samples = rising_edges(self.raw.get_data(picks=names[:1])[0], (value,))
        times: np.ndarray = samples / float(self.raw.info["sfreq"])
        return times
