"""THINGS-MEG as most people have it: the authors' preprocessed epochs (``preprocessed_P1-epo.fif``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.progress import track
from brainmap.data.photograph_matching import image_key, open_images
from brainmap.data.prepared_responses import Made, cache_key, content_of, prepared
from brainmap.data.readers.bids.bids_meeg import plain_names
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import visible
from brainmap.data.readers.things.things_labels import kind_of_trial, read_attributes
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 1
FOLDERS = ("derivatives/preprocessed", "preprocessed", ".")
CODE = "BIGMEG"
STIMULUS_DURATION = 0.5  # s
ALREADY = "0.1 to 40 Hz, 200 Hz, z-scored by the baseline of each epoch: the authors' preprocessing"


class ThingsMEGEpochsOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    tmin, tmax : float, optional
        Part of the epochs to use, in s; all (-0.1 to 1.3) by default.
    zscore : {"session", "subject", "none"}
        Over which trials each channel × time is standardised.
    groups : {"concept", "image"}
        What folds keep together: all photographs of a concept (twelve), or each photograph by itself.
    """

    tmin: float | None = None
    tmax: float | None = None
    zscore: Literal["session", "subject", "none"] = "session"
    groups: Literal["concept", "image"] = "concept"


class ThingsMEGEpochsReader(DatasetReader):
    """Reader of the preprocessed epochs. The parameters are those of :class:`DatasetReader`.

    Which photograph a trial showed is read from the epochs' metadata (the log of what was shown); epochs without them
    are paired with ``sourcedata/sample_attributes_P1.csv`` row by row.
    """

    name: ClassVar[str] = "things-meg-epochs"
    measures: ClassVar[Modality] = "meg"
    options_model: ClassVar[type[Options]] = ThingsMEGEpochsOptions

    def _files(self) -> dict[str, Path]:
        for folder in FOLDERS:
            files = visible((self.root / folder).glob("preprocessed_P[0-9]*-epo.fif"))
            if files:
                return {path.name.removeprefix("preprocessed_P").removesuffix("-epo.fif"): path for path in files}
        raise MissingFileError(
            f"There is no {FOLDERS[0]}/preprocessed_P1-epo.fif below {self.root}; fetch the preprocessed epochs of "
            "OpenNeuro ds004212 (all of their parts, -epo-1.fif to -epo-3.fif), or read the recordings with --dataset "
            "things-meg."
        )

    def subjects(self) -> list[str]:
        """Subjects with preprocessed epochs, as the recordings call them."""
        return [f"{CODE}{number}" for number in self._files()]

    def _epochs(self, subject: str) -> Any:
        import mne

        file = self._files()[subject.removeprefix(CODE)]
        try:
            epochs = mne.read_epochs(file, preload=False, proj=False, verbose="error")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"{file} cannot be read ({error}); fetch it and its parts anew.") from error
        if not self._window(epochs).any():
            raise InputError(
                f"tmin = {self.options.tmin}, tmax = {self.options.tmax} do not lie in the epochs of {file} "
                f"({epochs.tmin:g} to {epochs.tmax:g} s)."
            )
        return epochs

    def _window(self, epochs: Any) -> np.ndarray:
        """Samples of the epochs to use, (n_times,) bool."""
        low = -np.inf if self.options.tmin is None else self.options.tmin - 1e-6
        high = np.inf if self.options.tmax is None else self.options.tmax + 1e-6
        window: np.ndarray = (epochs.times >= low) & (epochs.times <= high)
        return window

    def _trials(self, subject: str, epochs: Any) -> pd.DataFrame:
        """One row per epoch: its place, label, kind, session, run; catch trials are left out."""
        number = subject.removeprefix(CODE)
        table, source = epochs.metadata, f"the metadata of {self._files()[number]}"
        if table is None or "image_path" not in table:
            table = read_attributes(self.root, number)
            source = f"sourcedata/sample_attributes_P{number}.csv"
            if table is None:
                raise MissingFileError(
                    f"{self._files()[number]} has no metadata with image_path, and there is no {source}: which "
                    "photograph an epoch shows is unknown. Fetch the table with: brainmap data fetch things-meg "
                    "--for events"
                )
        if len(table) != len(epochs):
            raise InputError(f"{source} lists {len(table)} trials for {len(epochs)} epochs; fetch both anew.")
        lacking = [name for name in ("session_nr", "run_nr") if name not in table]
        if lacking:
            raise InputError(f"{source} has no column {lacking[0]!r}; it has {list(table.columns)}.")
        paths = table["image_path"].astype(str).to_numpy()
        kinds = np.array([kind_of_trial(path) for path in paths])
        trials = pd.DataFrame(
            {
                "place": np.arange(len(table)),
                "label": [image_key(path) for path in paths],
                "trial_type": kinds,
                "session": table["session_nr"].to_numpy(),
                "run": table["run_nr"].to_numpy(),
            }
        )
        if "trial_type" in table:
            catch = table["trial_type"].astype(str).to_numpy() == "catch"
            trials.loc[catch, "trial_type"] = "catch"
        return trials[trials["trial_type"] != "catch"].reset_index(drop=True)

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw; the folder comes from ``images`` or lies in ``stimuli``."""
        subjects = as_names(subjects)
        source = self.stimuli_folder
        trials = pd.concat([self._trials(subject, self._epochs(subject)) for subject in subjects])
        tests = set(trials.loc[trials["trial_type"] == "test", "label"])
        return open_images(
            source, set(trials["label"]), marks={"test": tests}, cache=self.cache, groups=self.options.groups
        )

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs are among the 200 that were repeated in every session."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials without catch trials, and channels × times."""
        epochs = self._epochs(subject)
        return len(self._trials(subject, epochs)), len(self._channels(epochs)) * int(self._window(epochs).sum())

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run and place in the run of each trial."""
        trials = self._trials(subject, self._epochs(subject))
        return trials[["session", "run"]].assign(trial=trials.groupby(["session", "run"]).cumcount())

    def _channels(self, epochs: Any) -> list[str]:
        import mne

        picks = mne.pick_types(epochs.info, meg=True, ref_meg=False, exclude=[])
        return [epochs.ch_names[pick] for pick in picks]

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject, without catch trials; they are rewritten once, a few trials at a time.

        Raises
        ------
        InputError
            If epochs and the log of what was shown do not fit together.
        """
        findings = Findings()
        epochs = self._epochs(subject)
        trials = self._trials(subject, epochs)
        channels, times = self._channels(epochs), epochs.times[self._window(epochs)]
        chunks = self._chunks(trials, len(channels) * len(times))
        parts = [self._prepared(subject, epochs, trials, chunk) for chunk in track(chunks, "preparing", unit="parts")]
        kept, rows = self._matched(trials, stimuli, findings, self._files()[subject.removeprefix(CODE)].name)
        by = {"session": "session", "subject": "trial_type"}.get(self.options.zscore)
        groups = None
        if by is not None:
            first = [trials["session"].iloc[chunk.start] if by == "session" else 0 for chunk in chunks]
            groups = [int(code) for code in pd.factorize(np.array(first))[0]]
        scale = {"parts": [path.name for path in parts], "rows": rows.tolist(), "by": self.options.zscore}
        store = self.cache / self.name / subject / f"scale-{cache_key([], scale)}.npy"
        sensors = plain_names(channels)
        targets = pd.DataFrame({"sensor": np.repeat(sensors, len(times)), "time": np.tile(times, len(sensors))})
        info = {
            "dataset": self.name,
            "sfreq": float(epochs.info["sfreq"]),
            "preprocessing": ALREADY,
            "zscore": self.options.zscore,
            "stimulus_duration": STIMULUS_DURATION,
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        values = self._stacked(parts, groups, rows, store)
        return Responses(values, kept.drop(columns="place"), targets, "meg", subject, info=info)

    def _chunks(self, trials: pd.DataFrame, n_targets: int) -> list[slice]:
        """Consecutive trials of one session that fit into memory together."""
        most = max(1, self.memory // (32 * n_targets))
        sessions = trials["session"].to_numpy()
        edges = [0, *(np.flatnonzero(sessions[1:] != sessions[:-1]) + 1).tolist(), len(sessions)]
        return [
            slice(start, min(start + most, last))
            for first, last in itertools.pairwise(edges)
            for start in range(first, last, most)
        ]

    def _prepared(self, subject: str, epochs: Any, trials: pd.DataFrame, chunk: slice) -> Path:
        file = self._files()[subject.removeprefix(CODE)]
        sources = [file, *visible(file.parent.glob(f"{file.stem}-[0-9]*.fif"))]
        channels, window = self._channels(epochs), self._window(epochs)
        places = trials["place"].to_numpy()[chunk]
        settings = {
            "version": PREPARATION_VERSION,
            "window": np.flatnonzero(window)[[0, -1]].tolist(),
            "places": places.tolist(),
            "channels": channels,
        }

        def make() -> Made:
            return (len(places), len(channels) * int(window.sum())), blocks()

        def blocks() -> Iterator[np.ndarray]:
            values = epochs[places].get_data(picks=channels, copy=False, verbose="error")
            yield values[..., window].astype(np.float32).reshape(len(places), -1)

        return prepared(self.cache / self.name / subject, f"{file.stem}-{chunk.start:05d}", sources, settings, make)
