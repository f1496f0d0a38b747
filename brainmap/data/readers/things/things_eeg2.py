"""THINGS-EEG2 (Gifford et al. 2022): the authors' preprocessed epochs, all repetitions of every photograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, content_of, prepared
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import visible
from brainmap.data.recordings.numpy_dict import read_numpy_dict
from brainmap.data.responses import Responses
from brainmap.image_readers import is_image_name
from brainmap.stimuli import StimulusSet

PARTS = {"training": "training_images", "test": "test_images"}
PREPARATION_VERSION = 1
SHUFFLED = "sessions are lost in the published epochs: repetitions were shuffled over the sessions before saving"


class ThingsEEG2Options(Options):
    """Settings of the reader.

    Attributes
    ----------
    parts : tuple of {"training", "test"}
        Which epochs to read.
    zscore : {"part", "none"}
        Standardise every channel × time within each part.
    groups : {"concept", "image"}
        What folds keep together. There are ten training photographs a concept, and no concept of the test part is
        among them: predictions are meant for concepts that were not seen.
    """

    parts: tuple[Literal["training", "test"], ...] = ("training", "test")
    zscore: Literal["part", "none"] = "part"
    groups: Literal["concept", "image"] = "concept"


class ThingsEEG2Reader(DatasetReader):
    """Reader of the preprocessed files. The parameters are those of :class:`DatasetReader`.

    Files of 17 channels at 100 Hz (``numpy.save``) and of 63 channels at 250 Hz (bare pickles under the same name) are
    read alike; nothing in them is executed. Neither says in which session a repetition was recorded.

    The photographs are scaled versions of THINGS-MEG's under the same names; their content ids differ.
    """

    name: ClassVar[str] = "things-eeg2"
    measures: ClassVar[Modality] = "eeg"
    options_model: ClassVar[type[Options]] = ThingsEEG2Options

    def subjects(self) -> list[str]:
        """Subjects with preprocessed training epochs."""
        return [
            path.parent.name.removeprefix("sub-")
            for path in visible(self.root.glob("sub-*/preprocessed_eeg_training.npy"))
        ]

    def _pictures(self, part: str) -> list[str]:
        """Names of a part's photographs in the order of the epochs: sorted by concept folder, then file."""
        folder = (self.photographs or self.root / "image_set") / PARTS[part]
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if is_image_name(path.name)]
        if not names:
            raise MissingFileError(f"There are no photographs in {folder}; unpack the image set there.")
        return [Path(name).stem for name in sorted(names)]

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Training and test photographs."""
        subjects = as_names(subjects)
        keys = {part: set(self._pictures(part)) for part in self.options.parts}
        wanted = set().union(*keys.values())
        return open_images(
            self.photographs or self.root / "image_set",
            wanted,
            marks={"test": keys.get("test", set())},
            cache=self.cache,
            groups=self.options.groups,
        )

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs are among the 200 of the test part."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and channels × times, from the files' dictionaries."""
        epochs = [self._open(subject, part)["preprocessed_eeg_data"].shape for part in self.options.parts]
        return sum(shape[0] * shape[1] for shape in epochs), epochs[0][2] * epochs[0][3]

    def _open(self, subject: str, part: str) -> dict[str, Any]:
        file = self.root / f"sub-{subject}" / f"preprocessed_eeg_{part}.npy"
        content = read_numpy_dict(file)
        for key in ("preprocessed_eeg_data", "ch_names", "times"):
            if key not in content:
                raise InputError(f"{file} has no entry {key!r}; it has {sorted(content)}.")
        return content

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Epochs of one subject, one row per repetition of a photograph.

        Raises
        ------
        InputError
            If epochs and photographs differ in number, or the parts in channels or times.
        """
        findings = Findings()
        parts, tables, described = [], [], []
        for part in self.options.parts:
            content = self._open(subject, part)
            described.append(([str(name) for name in content["ch_names"]], np.asarray(content["times"], dtype=float)))
            epochs, pictures = content["preprocessed_eeg_data"], self._pictures(part)
            self._check_shape(subject, part, epochs, *described[-1])
            if len(epochs) != len(pictures):
                file = f"sub-{subject}/preprocessed_eeg_{part}.npy"
                raise InputError(f"{file} has {len(epochs)} photographs, the folder {len(pictures)}.")
            parts.append(self._prepared(subject, part, epochs))
            repeats = epochs.shape[1]
            tables.append(pd.DataFrame({"label": np.repeat(pictures, repeats), "part": part}))
        findings.add(f"preprocessed_eeg_{self.options.parts[0]}.npy", None, SHUFFLED, "trials carry no session")
        channels, times = described[0]
        if any(names != channels or not np.allclose(other, times) for names, other in described):
            raise InputError(f"The parts of subject {subject} have different channels or times; fetch them anew.")
        kept, rows = self._matched(pd.concat(tables, ignore_index=True), stimuli, findings, "image_set")
        groups = None if self.options.zscore == "none" else list(range(len(parts)))
        targets = pd.DataFrame({"sensor": np.repeat(channels, len(times)), "time": np.tile(times, len(channels))})
        info = {
            "dataset": self.name,
            "sfreq": float(1 / np.median(np.diff(times))),
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        return Responses(self._stacked(parts, groups, rows), kept, targets, self.modality, subject, info=info)

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Part (training or test) of each trial; session and order are not in the files."""
        tables = []
        for part in self.options.parts:
            images, repeats = self._open(subject, part)["preprocessed_eeg_data"].shape[:2]
            tables.append(pd.DataFrame({"part": [part] * (images * repeats)}))
        return pd.concat(tables, ignore_index=True)

    def _check_shape(self, subject: str, part: str, epochs: np.ndarray, channels: list[str], times: np.ndarray) -> None:
        expected = (len(channels), len(times))
        if epochs.ndim != 4 or epochs.shape[2:] != expected:
            raise InputError(
                f"The epochs of sub-{subject}/preprocessed_eeg_{part}.npy have shape {epochs.shape}; they must be "
                f"photographs × repetitions × {expected[0]} channels × {expected[1]} times."
            )

    def _prepared(self, subject: str, part: str, epochs: np.ndarray) -> Path:
        file = self.root / f"sub-{subject}" / f"preprocessed_eeg_{part}.npy"

        def make() -> Made:
            images, repeats, channels, times = epochs.shape
            blocks = (epochs[:, :, channel].reshape(images * repeats, times) for channel in range(channels))
            return (images * repeats, channels * times), blocks

        return prepared(self.cache / self.name / subject, part, [file], {"version": PREPARATION_VERSION}, make)
