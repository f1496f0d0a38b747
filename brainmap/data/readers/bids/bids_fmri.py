"""Any BIDS folder with fMRI: single-trial responses by nilearn's GLM, or the BOLD signal at a delay; run by run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality
from brainmap.common.progress import track
from brainmap.data.column_files import zscore_columns
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import Made, content_of, prepared
from brainmap.data.readers.bids.events import shown_images
from brainmap.data.readers.bids.voxels_and_vertices import Places
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities, read_events, visible
from brainmap.data.recordings.single_trials import signal_at_delay, single_trial_betas, trial_design
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 1


class BIDSfMRIOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    task : str, optional
        Task of the runs to use; all runs with events by default.
    image_column : str
        Column of the events tables that names the photograph.
    trial_types : tuple of str, optional
        Rows to use, by ``trial_type``; every row that names a photograph by default.
    derivatives : str, optional
        Folder below the dataset with preprocessed runs (``derivatives/fmriprep``); the raw runs by default.
    space : str, optional
        Space of preprocessed runs: a volume's name, or ``fsaverage`` for GIFTI surfaces.
    mask : Path, optional
        Image whose non-zero voxels are used; by default a brain mask computed from the first run.
    estimate : {"glm", "bold"}
        One amplitude a trial by least squares, or the signal ``delay`` seconds after onset.
    delay, high_pass : float
        In s and Hz.
    hrf : str
        Haemodynamic response model of nilearn.
    confounds : tuple of str
        Columns of fMRIPrep's confounds to regress out.
    zscore : {"run", "none"}
        Standardise every target within each run.
    """

    task: str | None = None
    image_column: str = "stim_file"
    trial_types: tuple[str, ...] | None = None
    derivatives: str | None = None
    space: str | None = None
    mask: Path | None = None
    estimate: Literal["glm", "bold"] = "glm"
    delay: float = 5.5
    high_pass: float = 0.01
    hrf: str = "glover"
    confounds: tuple[str, ...] = ()
    zscore: Literal["run", "none"] = "run"


class BIDSfMRIReader(DatasetReader):
    """Reader of BIDS folders with fMRI. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "bids-fmri"
    modality: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = BIDSfMRIOptions

    def subjects(self) -> list[str]:
        """Subjects that have functional runs with events."""
        return sorted({entities(path)["sub"] for path in visible(self.root.glob("sub-*/**/func/*_events.tsv"))})

    def _events_files(self, subject: str) -> list[Path]:
        task = f"*task-{self.options.task}_" if self.options.task else ""
        files = visible(self.root.glob(f"sub-{subject}/**/func/sub-{subject}_{task}*events.tsv"))
        if not files:
            raise MissingFileError(
                f"There are no events of subject {subject}, task {self.options.task}, in {self.root}."
            )
        return files

    def runs(self, subject: str) -> list[tuple[Path, list[Path]]]:
        """Events table and images (one volume, or two surfaces) of each run, by session and run.

        Raises
        ------
        MissingFileError
            If a run has events but no images, and may not be skipped.
        """
        found: list[tuple[Path, list[Path]]] = []
        absent: list[tuple[Path, list[Path]]] = []
        for events in self._events_files(subject):
            images = self._images_of(events)
            (found if images else absent).append((events, images))
        if absent and (self.options.missing == "error" or not found):
            raise MissingFileError(
                f"{len(absent)} of {len(absent) + len(found)} runs of subject {subject} have events but no images, the "
                f"first is {absent[0][0].name}; fetch them, or go on without: --set missing=skip"
            )
        return found

    def _images_of(self, events: Path) -> list[Path]:
        stem = events.name.removesuffix("_events.tsv")
        if self.options.derivatives is None:
            return [
                path
                for path in (events.with_name(f"{stem}_bold.nii.gz"), events.with_name(f"{stem}_bold.nii"))
                if path.is_file()
            ][:1]
        folder = self.root / self.options.derivatives / events.parent.relative_to(self.root)
        if self.options.space == "fsaverage":
            pair = [folder / f"{stem}_hemi-{side}_space-fsaverage_bold.func.gii" for side in "LR"]
            return pair if all(path.is_file() for path in pair) else []
        space = f"_space-{self.options.space}" if self.options.space else ""
        return visible(folder.glob(f"{stem}{space}*_desc-preproc_bold.nii.gz"))[:1]

    def _events(self, file: Path, findings: Findings) -> pd.DataFrame:
        chosen = self.options
        return shown_images(
            file, chosen.image_column, findings, required=("onset", "duration"), trial_types=chosen.trial_types
        )

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
        labels: set[str] = set()
        for subject in subjects:
            for events, _ in self.runs(subject):
                labels |= set(self._events(events, Findings())["label"])
        return open_images(self.images if self.images is not None else self.root / "stimuli", labels, cache=self.cache)

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and voxels of a whole volume (the mask is not computed to say it)."""
        import nibabel

        runs = self.runs(subject)
        first: Any = nibabel.load(runs[0][1][0])
        count = int(np.prod(first.shape[:3])) if len(first.shape) == 4 else 2 * len(first.darrays[0].data)
        return sum(len(self._events(events, Findings())) for events, _ in runs), count

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run, onset in the run (s) and, where fMRIPrep wrote it, framewise displacement of each trial."""
        tables = []
        for events, images in self.runs(subject):
            table = self._events(events, Findings())[["session", "run", "onset"]]
            confounds = self._confounds_file(events)
            if confounds is not None:
                moved = pd.read_csv(confounds, sep="\t", na_values=["n/a"]).get("framewise_displacement")
                if moved is not None:
                    scans = np.clip((table["onset"] / self._repetition_time(images[0])).astype(int), 0, len(moved) - 1)
                    table = table.assign(framewise_displacement=moved.to_numpy()[scans])
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Single-trial responses; every run is estimated once and kept."""
        findings = Findings()
        runs = self.runs(subject)
        mask = Places.of(runs[0][1], self.options.mask)
        tables = [self._events(events, findings) for events, _ in runs]
        report_gaps([events for events, _ in runs], findings)
        parts = [
            self._prepared(subject, events, images, table, mask)
            for (events, images), table in zip(track(runs, "estimating", unit="runs"), tables, strict=True)
        ]
        columns = ["label", "session", "run", "onset"]
        trials = pd.concat([table[columns] for table in tables], ignore_index=True)
        kept, rows = self._matched(trials, stimuli, findings, "the events tables")
        info = {
            "dataset": self.root.name,
            "mesh": mask.mesh,
            "estimate": self.options.estimate,
            "content": content_of(parts),
            "findings": findings.to_info(),
        }
        return Responses(self._stacked(parts, None, rows), kept, mask.targets(), "fmri", subject, info=info)

    def _prepared(self, subject: str, events: Path, images: list[Path], table: pd.DataFrame, mask: Places) -> Path:
        settings = self.options.model_dump(mode="json", exclude={"missing", "unmatched"}) | {
            "version": PREPARATION_VERSION,
            "mask": mask.digest,
        }
        confounds = self._confounds_file(events)
        sources = [events, *images, *([confounds] if confounds else [])]
        stem = events.name.removesuffix("_events.tsv")

        def make() -> Made:
            blocks = self._estimates(events, images, table, mask)
            scaled = (zscore_columns(block) for block in blocks) if self.options.zscore == "run" else blocks
            return (len(table), mask.count), scaled

        return prepared(self.cache / self.root.name / subject, stem, sources, settings, make)

    def _estimates(self, events: Path, images: list[Path], table: pd.DataFrame, mask: Places) -> Iterator[np.ndarray]:
        series = mask.series(images)
        scan_times = np.arange(len(series)) * self._repetition_time(images[0])
        onsets = table["onset"].to_numpy(dtype=float)
        if onsets[-1] > scan_times[-1]:
            row = int(table["row"].iloc[-1])
            raise InputError(
                f"Row {row} of {events} starts at {onsets[-1]:g} s, after the last scan ({scan_times[-1]:g} s)."
            )
        if self.options.estimate == "bold":
            return signal_at_delay(
                series, onsets, scan_times, delay=self.options.delay, high_pass=self.options.high_pass
            )
        design = trial_design(
            table,
            self._others(events, table),
            scan_times,
            hrf=self.options.hrf,
            high_pass=self.options.high_pass,
            confounds=self._confounds(events),
        )
        return single_trial_betas(series, design, len(table))

    def _others(self, events: Path, table: pd.DataFrame) -> pd.DataFrame:
        """Events that are not used (catch trials, say): their responses must be modelled to be taken out."""
        everything = read_events(events, ("onset", "duration"))
        return everything[~np.isin(everything["onset"], table["onset"])].drop_duplicates("onset")

    def _confounds_file(self, events: Path) -> Path | None:
        if self.options.derivatives is None:
            return None
        folder = self.root / self.options.derivatives / events.parent.relative_to(self.root)
        file = folder / events.name.replace("_events.tsv", "_desc-confounds_timeseries.tsv")
        return file if file.is_file() else None

    def _confounds(self, events: Path) -> pd.DataFrame | None:
        if not self.options.confounds:
            return None
        file = self._confounds_file(events)
        if file is None:
            raise MissingFileError(f"There is no table of confounds for {events.name} in {self.options.derivatives}.")
        table = pd.read_csv(file, sep="\t", na_values=["n/a"])
        lacking = [name for name in self.options.confounds if name not in table]
        if lacking:
            raise InputError(f"{file} has no column {lacking[0]!r}.")
        return table[list(self.options.confounds)].fillna(0.0)

    def _repetition_time(self, image: Path) -> float:
        import nibabel

        stem = image.name.partition("_bold")[0]
        for sidecar in (image.with_name(f"{stem}_bold.json"), *self.root.glob("*_bold.json")):
            if sidecar.is_file():
                found = json.loads(sidecar.read_text(encoding="utf-8")).get("RepetitionTime")
                if found:
                    return float(found)
        opened: Any = nibabel.load(image)
        zooms: tuple[Any, ...] = opened.header.get_zooms() if hasattr(opened.header, "get_zooms") else ()
        if len(zooms) < 4 or zooms[3] <= 0:
            raise InputError(f"The repetition time of {image} is in no sidecar; add RepetitionTime (s) to its .json.")
        return float(zooms[3])


def report_gaps(files: Sequence[Path], findings: Findings) -> None:
    """Say which run numbers a session lacks that other sessions have."""
    runs: dict[str, set[int]] = {}
    for file in files:
        parts = entities(file)
        runs.setdefault(parts.get("ses", "1"), set()).add(int(parts.get("run", "1")))
    everything = set().union(*runs.values())
    for session, present in sorted(runs.items()):
        for run in sorted(everything - present):
            findings.add(files[0].parent, None, f"session {session} lacks run {run}", "the other runs are used")
