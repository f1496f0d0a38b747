"""Files of functional runs: settings, the folder images come from, runs, sidecars, masks and confounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import field_validator

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.tables import read_table
from brainmap.data.readers.bids.bids_reader import BIDSOptions, BIDSReader
from brainmap.data.readers.bids.layout import DERIVED, BIDSFile, BIDSFolder
from brainmap.data.readers.bids.run_timing import scan_times
from brainmap.data.readers.bids.runs import Run, chosen_recordings
from brainmap.data.readers.bids.voxels_and_vertices import count_scans, header_time
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.findings import Findings

KIND_OF_IMAGE = {
    ".nii.gz": "volumes", ".nii": "volumes", ".func.gii": "surfaces", ".dtseries.nii": "grayordinates",
}  # fmt: skip
IMAGES = tuple(KIND_OF_IMAGE)


class BIDSfMRIOptions(BIDSOptions):
    """Settings of the reader, beside those of :class:`BIDSOptions`.

    Attributes
    ----------
    space : str, optional
        Space of preprocessed runs: a volume's name, ``native`` for files without one, or a surface such as
        ``fsaverage``; fMRIPrep's ``MNI152NLin2009cAsym:res-2`` is understood. Needed where there are several.
    mask : Path, optional
        Image whose voxels that are neither 0 nor NaN are used; by default the preprocessing's brain masks, or a mask
        computed from the first run.
    resample : bool
        Resample a mask, or runs, that lie on another grid than the first run, instead of refusing them.
    start_time : float, optional
        Time of the first scan in s; by default ``StartTime`` of the sidecar, or 0.
    estimate : {"glm", "bold"}
        One amplitude a trial by least squares, or the signal ``delay`` seconds after onset.
    delay, high_pass : float
        In s and Hz.
    hrf : str
        Haemodynamic response model of nilearn.
    confounds : tuple of str
        Columns of the tables of confounds (one row a scan) to regress out.
    zscore : {"run", "none"}
        Standardise every target within each run.
    """

    space: str | None = None
    mask: Path | None = None
    resample: bool = False
    start_time: float | None = None
    estimate: Literal["glm", "bold"] = "glm"
    delay: float = 5.5
    high_pass: float = 0.01
    hrf: str = "glover"
    confounds: tuple[str, ...] = ()
    zscore: Literal["run", "none"] = "run"

    @field_validator("hrf")
    @classmethod
    def _one_amplitude(cls, hrf: str) -> str:
        if hrf.partition(" ")[0] not in ("glover", "spm"):
            raise ValueError(
                "single trials need a response model of one amplitude (glover or spm, '+ derivative', '+ dispersion'); "
                "continuous designs (FIR, delays) are not supported"
            )
        return hrf


class FunctionalFiles(BIDSReader):
    """Which files of a BIDS folder belong to which run. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "bids-fmri"
    measures: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = BIDSfMRIOptions

    @property
    def recorded(self) -> str:
        """What sentences call a recording."""
        return "images"

    @property
    def datatype(self) -> str:
        """Folder of functional runs."""
        return "func"

    def _has_recordings(self, folder: BIDSFolder) -> bool:
        return bool(folder.select("bold", IMAGES))

    def _candidates(self, folder: BIDSFolder, subject: str | None = None) -> list[BIDSFile]:
        chosen = chosen_recordings(self._chosen()) | ({} if subject is None else {"sub": subject})
        return [file for file in folder.select("bold", IMAGES, chosen) if file.path.parent.name == "func"]

    def _chosen(self) -> dict[str, Any]:
        chosen = super()._chosen()
        if self.options.space is not None:
            space, *modifiers = self.options.space.split(":")
            chosen["space"] = None if space in ("native", "func") else space
            chosen |= {key: value for key, _, value in (part.partition("-") for part in modifiers)}
        return chosen

    def _other_versions(self, subject: str) -> list[str]:
        spaces = {f.entities.get("space", "native") for f in self._source.select("bold", IMAGES, {"sub": subject})}
        return [f"spaces: {', '.join(sorted(spaces))}"] if self.options.space is not None and spaces else []

    def choices(self, subjects: Sequence[str]) -> list[str]:
        """Source of the images, space, subjects and tasks, and which derivatives there are."""
        subjects = as_names(subjects)
        runs = [run for subject in subjects for run in self._runs(subject)]
        first = runs[0].files[0]
        kind, space = KIND_OF_IMAGE[first.extension], first.entities.get("space", "native")
        source = f"{kind} of {self._source.root.name}, space {space}"
        source = "raw images" if self._source is self._folder else source
        return [
            f"{self.root.name}: fMRI, {len(runs)} runs of {', '.join(subjects)}, task "
            f"{self._tasks([run.files[0] for run in runs])}; {source}{self._unused_derivatives()}"
        ]

    def runs(self, subject: str) -> list[tuple[Path, list[Path]]]:
        """Events table and images (one volume, or two surfaces) of each run, by session and run.

        Raises
        ------
        MissingFileError
            If a run has events but no images, and may not be skipped (``missing=skip`` skips a tenth at most).
        InputError
            If there are several versions of one run; the sentence lists them.
        """
        return [(run.events.path, [file.path for file in run.files]) for run in self._runs(subject)]

    def _times(self, run: Run, findings: Findings) -> np.ndarray:
        """Time of each scan in s."""
        image = run.files[0]
        sidecar = self._source.metadata(image, "func")
        if self._source is not self._folder:
            stated = self._folder.metadata(image, "func", suffix="bold")
            if not {"RepetitionTime", "VolumeTiming"} & set(sidecar):
                sidecar |= {key: stated[key] for key in ("RepetitionTime", "VolumeTiming") if key in stated}
        return scan_times(
            image.path, count_scans(image.path), sidecar, header_time(image.path), findings,
            start_time=self.options.start_time,
        )  # fmt: skip

    def _brain_masks(self, runs: list[Run]) -> list[Path]:
        """The preprocessing's brain mask of each run; none if a run has none."""
        masks: list[Path] = []
        if self._source is not self._folder:
            for run in runs:
                entities: dict[str, Any] = {**run.files[0].without("desc", "echo", "part"), "desc": "brain"}
                mask_files = self._source.select("mask", (".nii.gz", ".nii"), entities)
                masks += [file.path for file in mask_files if set(file.entities) == set(entities)]
        return masks if len(masks) == len(runs) else []

    def _confounds_file(self, run: Run) -> Path | None:
        """Table of confounds of a run (``…_desc-confounds_timeseries.tsv``), from where its images are."""
        wanted = run.files[0].without(*DERIVED, "echo", "part")
        for suffix in ("timeseries", "regressors"):
            tables = [
                file
                for file in self._source.select(suffix, (".tsv",), {**wanted, "desc": "confounds"})
                if set(file.entities) == {*wanted, "desc"}
            ]
            if len(tables) > 1:
                raise InputError(f"{tables[0].path} and {tables[1].path} are confounds of one run; keep one of them.")
            if tables:
                return tables[0].path
        return None

    def _confounds(self, run: Run, n_scans: int) -> pd.DataFrame | None:
        if not self.options.confounds:
            return None
        file = self._confounds_file(run)
        if file is None:
            raise MissingFileError(
                f"There is no table of confounds for {run.files[0].path.name} in {self._source.root} (one row a scan, "
                "named like the run, …_desc-confounds_timeseries.tsv)."
            )
        table = confound_table(file, n_scans)
        lacking = [name for name in self.options.confounds if name not in table]
        if lacking:
            raise InputError(f"{file} has no column {lacking[0]!r}; it has {list(table.columns)[:40]}.")
        chosen = table[list(self.options.confounds)]
        for name in chosen:
            late = np.flatnonzero(chosen[name].isna().to_numpy()[1:])
            if len(late):  # the first row of a derivative is n/a by nature, others are not
                raise InputError(f"Row {late[0] + 1} of {file} has no number in {name!r}; fill it in.")
        return chosen.fillna(0.0)


def confound_table(file: Path, n_scans: int) -> pd.DataFrame:
    """Confounds, one row a scan; what is no number is NaN."""
    table = read_table(file)
    if len(table) != n_scans:
        raise InputError(f"{file} has {len(table)} rows, the run has {n_scans} scans; confounds need one row a scan.")
    return table.apply(pd.to_numeric, errors="coerce")
