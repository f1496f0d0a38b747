"""Epochs in the derivatives of a BIDS folder (``…_epo.fif``, epoched ``….set``): which photograph each one shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.storage.file_errors import reading
from brainmap.data.own_recordings.meeg_files import is_epoched_set
from brainmap.data.prepared_responses import Made, prepared
from brainmap.data.readers.bids.events import IMAGE_COLUMNS, image_column_of
from brainmap.data.readers.bids.layout import BIDSFile
from brainmap.data.readers.findings import Findings
from brainmap.data.recordings.brain_images import check_content
from brainmap.data.recordings.epochs import EpochSettings
from brainmap.photograph_names import photograph_path

BLOCK_BYTES = 64 * 2**20
PREPARATION_VERSION = 1
SAME_INTERVAL = 0.03  # relative difference of intervals between epochs and between their events


@dataclass(frozen=True)
class EventsOfRun:
    """Photographs of a run that epochs may have been cut around.

    Attributes
    ----------
    table : pandas.DataFrame
        ``onset``, ``row``, ``label``, ``session``, ``run``.
    path : Path
        Its file.
    """

    table: pd.DataFrame
    path: Path


def is_epochs(file: BIDSFile) -> bool:
    """Whether a file holds epochs rather than a continuous recording."""
    return file.suffix == "epo" or (file.extension == ".set" and _is_epoched(file.path))


def _is_epoched(path: Path) -> bool:
    with reading(path):
        check_content(path)
        return is_epoched_set(path)


def open_epochs(path: Path) -> Any:
    """Open epochs without loading them."""
    import mne

    with reading(path):
        check_content(path)
        if path.suffix == ".set":
            return mne.read_epochs_eeglab(path, verbose="error")
        epochs = mne.read_epochs(path, preload=False, proj=False, verbose="error").drop_bad(verbose="error")
        if not len(epochs):
            raise InputError(f"{path} holds no epochs; all were rejected. Leave the file out, or make it anew.")
        return epochs


def epoch_trials(epochs: Any, file: BIDSFile, events: Sequence[EventsOfRun], column: str | None) -> pd.DataFrame:
    """Which photograph each epoch shows: from the metadata, from the events tables, or from the names of events.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        From :func:`open_epochs`.
    file : BIDSFile
        Their file.
    events : sequence of EventsOfRun
        Tables of all runs that the file may hold, in their order.
    column : str, optional
        Column of the metadata that names the photograph.

    Returns
    -------
    pandas.DataFrame
        ``place`` (of the epoch in the file), ``label``, ``session``, ``run``; epochs without a photograph are left out.

    Raises
    ------
    InputError
        If neither tells which photographs were shown.
    """
    own = {"session": file.written.get("ses", "1"), "run": file.written.get("run", "1")}
    if epochs.metadata is not None:
        table = epochs.metadata.reset_index(drop=True)
        if column is not None or any(str(name).lower() in IMAGE_COLUMNS for name in table):
            named = image_column_of(table, column, file.path)
            runs = {key: table[key].map(_plain) if key in table else own[key] for key in own}
            trials = pd.DataFrame({"place": np.arange(len(table)), "label": table[named].map(_label), **runs})
            return trials[trials["label"] != ""].reset_index(drop=True)
    if events:
        return _from_tables(epochs, file, events)
    names = {code: name for name, code in epochs.event_id.items()}
    labels = [photograph_path(names.get(code, str(code))) for code in epochs.events[:, 2]]
    return pd.DataFrame({"place": np.arange(len(labels)), "label": labels, **own})


def _label(cell: object) -> str:
    missing = cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell))
    text = "" if missing else str(cell)
    return "" if text in ("", "n/a") else photograph_path(text)


def _plain(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _from_tables(epochs: Any, file: BIDSFile, events: Sequence[EventsOfRun]) -> pd.DataFrame:
    """Rows of the events tables that epochs were cut around, told by their number and checked by their times."""
    shown = pd.concat([run.table.assign(table=number) for number, run in enumerate(events)], ignore_index=True)
    where = events[0].path.name + (f" and {len(events) - 1} more" if len(events) > 1 else "")
    if len(epochs) == len(shown):
        rows = np.arange(len(shown))
    elif len(epochs.drop_log) == len(shown):
        rows = np.asarray(epochs.selection)
    else:
        raise InputError(
            f"{file.path} has {len(epochs)} epochs (of {len(epochs.drop_log)} before rejection) and no metadata that "
            f"name photographs; {where} lists {len(shown)} photographs. Save the epochs with metadata (a column "
            "'stim_file')."
        )
    chosen = shown.iloc[rows].reset_index(drop=True)
    apart = np.diff(chosen["onset"].to_numpy(dtype=float))
    within = (np.diff(chosen["table"]) == 0) & (apart > 0)
    if within.any():
        rate = np.diff(epochs.events[:, 0])[within] / apart[within]
        if not np.allclose(rate, np.median(rate), rtol=SAME_INTERVAL) or np.median(rate) <= 0:
            raise InputError(
                f"The epochs of {file.path} do not lie where {where} has its photographs: intervals between them "
                "differ. Save the epochs with metadata (a column 'stim_file')."
            )
    return chosen.assign(place=np.arange(len(chosen)))[["place", "label", "session", "run"]]


def epoch_values(
    epochs: Any, path: Path, channels: Sequence[str], places: np.ndarray, window: np.ndarray,
    baseline: np.ndarray | None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Values of some epochs, channel by channel, a few channels at a time.

    Parameters
    ----------
    epochs : mne.BaseEpochs
        From :func:`open_epochs`.
    path : Path
        Their file.
    channels : sequence of str
        Channels, in the order wanted.
    places : numpy.ndarray of int, (n_trials,)
        Which epochs.
    window : numpy.ndarray of bool, (n_times,)
        Samples to use.
    baseline : numpy.ndarray of bool, (n_times,), optional
        Samples whose mean is subtracted.

    Yields
    ------
    numpy.ndarray of float32, (n_trials, k × n_window)
    """
    width = max(1, BLOCK_BYTES // max(8 * len(places) * len(window), 1))
    for start in range(0, len(channels), width):
        picked = list(channels[start : start + width])
        with reading(path):
            block = epochs[places].get_data(picks=picked, copy=False, verbose="error")
        if baseline is not None:
            block = block - block[..., baseline].mean(axis=-1, keepdims=True)
        yield block[..., window].astype(np.float32).reshape(len(places), -1)


@dataclass
class SubjectEpochs:
    """Epoch files of one subject.

    Attributes
    ----------
    files : list of BIDSFile
        Each holds other trials.
    tables : list of list of EventsOfRun
        By file, the events tables of the runs that it may hold.
    column : str, optional
        Column of the metadata that names the photograph.
    channels_of : callable
        Names of an object's channels of the datatype.
    """

    files: list[BIDSFile]
    tables: list[list[EventsOfRun]]
    column: str | None
    channels_of: Callable[[Any], list[str]]
    _opened: dict[Path, Any] = field(default_factory=dict)

    def epochs(self, file: BIDSFile) -> Any:
        """Epochs of a file, not loaded."""
        if file.path not in self._opened:
            self._opened[file.path] = open_epochs(file.path)
        return self._opened[file.path]

    @cached_property
    def trials(self) -> list[pd.DataFrame]:
        """Trials of each file, see :func:`epoch_trials`."""
        return [
            epoch_trials(self.epochs(file), file, tables, self.column)
            for file, tables in zip(self.files, self.tables, strict=True)
        ]

    @property
    def times(self) -> np.ndarray:
        """Times of the samples in s from onset; those of all files are equal."""
        first = np.asarray(self.epochs(self.files[0]).times, dtype=float)
        for file in self.files[1:]:
            other = np.asarray(self.epochs(file).times, dtype=float)
            if len(other) != len(first) or not np.allclose(other, first, atol=1e-6):
                raise InputError(
                    f"{file.path} has epochs from {other[0]:g} to {other[-1]:g} s ({len(other)} samples), "
                    f"{self.files[0].path.name} from {first[0]:g} to {first[-1]:g} s ({len(first)}); make them equal."
                )
        return np.round(first, 9)

    def window(self, tmin: float | None, tmax: float | None) -> np.ndarray:
        """Samples to use, (n_times,) bool."""
        times = self.times
        low, high = (-np.inf if tmin is None else tmin - 1e-6), (np.inf if tmax is None else tmax + 1e-6)
        window: np.ndarray = (times >= low) & (times <= high)
        if not window.any():
            raise InputError(
                f"epochs.tmin = {tmin}, epochs.tmax = {tmax} do not lie in the epochs of {self.files[0].path} "
                f"({times[0]:g} to {times[-1]:g} s)."
            )
        return window

    def common_channels(self, findings: Findings) -> list[str]:
        """Channels that every file has."""
        present = [self.channels_of(self.epochs(file)) for file in self.files]
        common = [name for name in present[0] if all(name in other for other in present)]
        for file, names in zip(self.files, present, strict=True):
            if len(names) > len(common):
                findings.add(file.path, None, f"{len(names) - len(common)} channels are not in every file", "left out")
        if not common:
            raise InputError(f"{self.files[0].path} has no channels of this kind that every file has.")
        return common

    def prepared(
        self, folder: Path, channels: list[str], settings: EpochSettings, window: np.ndarray
    ) -> tuple[list[Path], list[pd.DataFrame]]:
        """Files of prepared responses, one for each run of each file, and their trials."""
        parts, tables = [], []
        for file, trials in zip(self.files, self.trials, strict=True):
            labels = (trials["session"] + "\n" + trials["run"]).to_numpy()
            edges = [0, *(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), len(labels)]
            for start, stop in itertools.pairwise(edges):
                if stop > start:
                    chunk = trials.iloc[start:stop].reset_index(drop=True)
                    parts.append(self._part(folder, file, chunk, channels, settings, window))
                    tables.append(chunk)
        return parts, tables

    def _part(
        self, folder: Path, file: BIDSFile, trials: pd.DataFrame, channels: list[str], settings: EpochSettings,
        window: np.ndarray,
    ) -> Path:  # fmt: skip
        epochs, places = self.epochs(file), trials["place"].to_numpy()
        quiet = None
        if settings.baseline is not None:
            quiet = (self.times >= settings.baseline[0] - 1e-9) & (self.times <= settings.baseline[1] + 1e-9)
            if not quiet.any():
                raise InputError(f"The baseline {settings.baseline} holds no sample of the epochs of {file.path}.")
        key = {
            "version": PREPARATION_VERSION, "channels": channels, "places": places.tolist(),
            "window": np.flatnonzero(window)[[0, -1]].tolist(), "baseline": settings.baseline,
        }  # fmt: skip

        def make() -> Made:
            return (len(places), len(channels) * int(window.sum())), epoch_values(
                epochs, file.path, channels, places, window, quiet
            )

        stem = f"{file.path.name.partition('.')[0]}-{int(places[0]):05d}"
        beside = sorted(path for path in file.path.parent.glob(f"{file.path.stem}-[0-9]*.fif") if path.is_file())
        return prepared(folder, stem, [file.path, *beside], key, make)


def check_taken_as_they_are(given: set[str], file: BIDSFile) -> None:
    """Refuse settings that epochs cannot follow any more."""
    late = sorted(given & {"l_freq", "h_freq", "sfreq"})
    if late:
        raise InputError(
            f"{file.path} holds epochs, which are filtered and sampled already; leave out --set epochs.{late[0]}, or "
            "read the continuous recordings."
        )
