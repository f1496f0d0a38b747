"""THINGS-fMRI: the published single-trial responses in table format (``betas_csv``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.blocks import Columns
from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.numeric_tables import read_numeric_table
from brainmap.data.column_files import RowStack, stack_standardised
from brainmap.data.photograph_matching import image_key, open_images
from brainmap.data.prepared_responses import by_rows, cache_key
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import visible
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

FOLDER = "betas_csv"
# Columns of VoxelMetadata that are no areas, by the beginning of their names.
NO_AREAS = ("voxel_", "subject_id", "nc_", "splithalf", "prf-")
# pRF areas have plain names (some say "(prf)"): these are THINGS' own retinotopic maps, not Glasser's areas.
PRF_AREAS = ("V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1", "LO2", "TO1", "TO2", "V3a", "V3b")
VOXEL_MM = 2.0  # the metadata give places as voxel numbers


class ThingsFMRIOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    mask : {"areas", "all"}
        Keep voxels that lie in an area of the atlas, or all.
    atlas : {"all", "prf", "localiser", "glasser"}
        Whose areas become the targets' ``roi``. A voxel can lie in several; with ``all`` it is named by the subject's
        own localiser, else by its pRF map, else by Glasser's atlas, and within one of these by its smallest area.
        Names carry their atlas (``prf:V1``, ``glasser:V1``); the column ``areas`` lists every area of a voxel.
    zscore : {"session", "none"}
        Standardise every voxel within each session.
    groups : {"concept", "image"}
        What folds keep together: all photographs of a concept (twelve), or each photograph by itself.
    """

    mask: Literal["areas", "all"] = "areas"
    atlas: Literal["all", "prf", "localiser", "glasser"] = "all"
    zscore: Literal["session", "none"] = "session"
    groups: Literal["concept", "image"] = "concept"


class ThingsFMRIReader(DatasetReader):
    """Reader of ``betas_csv``; raw recordings are the business of ``bids-fmri``."""

    name: ClassVar[str] = "things-fmri"
    measures: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = ThingsFMRIOptions

    @cached_property
    def _folder(self) -> Path:
        for folder in (self.root / FOLDER, self.root / "derivatives" / FOLDER, self.root):
            if any(folder.glob("sub-??_ResponseData.h5")):
                return folder
        raise MissingFileError(
            f"There are no files {FOLDER}/sub-01_ResponseData.h5 below {self.root}; get the single-trial responses in "
            "table format from figshare plus, or read the raw recordings with --dataset bids-fmri."
        )

    def subjects(self) -> list[str]:
        """Subjects with single-trial responses here."""
        return [path.name[4:6] for path in visible(self._folder.glob("sub-??_ResponseData.h5"))]

    def _trials(self, subject: str) -> pd.DataFrame:
        file = self._folder / f"sub-{subject}_StimulusMetadata.csv"
        table = _table(file, required=("trial_type", "stimulus"), whole=("session", "run"))
        shown = table[table["trial_type"].isin(("train", "exp", "test"))]
        if len(shown) < len(table):
            raise InputError(f"{file} lists trials of the kind {set(table['trial_type']) - {'train', 'exp', 'test'}}.")
        doubled = np.flatnonzero(table.duplicated())
        if len(doubled):
            raise InputError(f"Row {int(doubled[0])} of {file} repeats an earlier row; fetch the file anew.")
        _check_order(table, file)
        return pd.DataFrame(
            {
                "label": [image_key(str(name)) for name in table["stimulus"]],
                "session": table["session"],
                "run": table["run"],
                "trial_type": table["trial_type"],
            }
        )

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw."""
        subjects = as_names(subjects)
        source = self.stimuli_folder
        trials = pd.concat([self._trials(subject) for subject in subjects])
        return open_images(
            source,
            set(trials["label"]),
            marks={"test": set(trials.loc[trials["trial_type"] == "test", "label"])},
            cache=self.cache,
            groups=self.options.groups,
        )

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs are among the 100 that were repeated twelve times."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials, and voxels in the mask."""
        return self._open(subject).shape[0], len(self._targets(subject))

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run and place in the run of each trial."""
        trials = self._trials(subject)
        return trials[["session", "run"]].assign(trial=trials.groupby(["session", "run"]).cumcount())

    def _open(self, subject: str) -> ResponseTable:
        return ResponseTable(self._folder / f"sub-{subject}_ResponseData.h5")

    def _targets(self, subject: str) -> pd.DataFrame:
        file = self._folder / f"sub-{subject}_VoxelMetadata.csv"
        table = _table(file, whole=("voxel_id",), numbers=("voxel_x", "voxel_y", "voxel_z"))
        targets = areas_of_voxels(table, self.options.atlas)
        targets[["x", "y", "z"]] = VOXEL_MM * table[["voxel_x", "voxel_y", "voxel_z"]].astype(float)
        targets["vertex"] = table["voxel_id"]
        if "nc_singletrial" in table:
            share = np.clip(table["nc_singletrial"].to_numpy(dtype=float) / 100, 0, 0.9999)
            targets["ncsnr"] = np.sqrt(share / (1 - share))
        return targets[targets["roi"] != ""] if self.options.mask == "areas" else targets

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Single-trial responses of one subject; read from the published file as they are asked for.

        Raises
        ------
        InputError
            If the three files of the subject do not fit together.
        """
        findings = Findings()
        opened, trials, targets = self._open(subject), self._trials(subject), self._targets(subject)
        if opened.shape[0] != len(trials):
            raise InputError(
                f"{opened.path} has {opened.shape[0]} trials, the stimulus metadata {len(trials)} rows; runs are "
                "missing from one of them, fetch both anew."
            )
        if opened.voxels is not None and not np.isin(targets["vertex"], opened.voxels).all():
            raise InputError(f"{opened.path} lacks voxels that the voxel metadata list; fetch both anew.")
        self._report_gaps(trials, findings, subject)
        kept, rows = self._matched(trials, stimuli, findings, f"sub-{subject}_StimulusMetadata.csv")
        pieces: list[Any] = [opened]
        values: RowStack | Columns = RowStack(pieces, keep=rows)
        key = cache_key([opened.path], {"rows": rows.tolist()})
        if self.options.zscore == "session":
            pieces, groups = by_rows(opened, trials["session"].to_numpy())
            values = stack_standardised(
                pieces, groups, keep=rows, store=self.cache / self.name / f"scale-{subject}-{key}.npy"
            )
        if len(targets) < opened.shape[1]:
            values = Columns(values, targets.index.to_numpy())
        info = {
            "dataset": self.name,
            "mesh": "voxels",
            "stimulus_duration": 0.5,
            "content": key,
            "findings": findings.to_info(),
        }
        return Responses(values, kept, targets.reset_index(drop=True), "fmri", subject, info=info)

    def _report_gaps(self, trials: pd.DataFrame, findings: Findings, subject: str) -> None:
        """Say which runs the published responses lack (run 7 of session 3 of subject 2)."""
        present = set(zip(trials["session"], trials["run"], strict=True))
        for session in sorted(set(trials["session"])):
            for run in sorted(set(trials["run"])):
                if (session, run) not in present:
                    file = f"sub-{subject}_StimulusMetadata.csv"
                    findings.add(file, None, f"session {session} lacks run {run}", "the other runs are used")


class ResponseTable:
    """The data frame of ``ResponseData.h5`` (voxels × trials, as pandas writes it), read by voxels.

    Parameters
    ----------
    path : Path
        HDF5 file with one data frame, in pandas' ``fixed`` or ``table`` format.

    Notes
    -----
    Column labels are pickled objects in such files; they are not read. The number blocks are plain arrays.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = path
        if not path.is_file():
            raise MissingFileError(f"There is no file {path}; see brainmap data show things-fmri.")
        self._place: tuple[str, str | None] | None = None
        self.voxels: np.ndarray | None = None
        with h5py.File(path, "r") as file:
            for group in file.values():
                self._look(group)
        if self._place is None:
            raise InputError(f"{path} holds no data frame of voxels × trials; fetch it anew.")

    def _look(self, group: Any) -> None:
        if "table" in group:
            table = group["table"]
            for field in table.dtype.names or ():
                width = int(np.prod(table.dtype[field].shape or (1,)))
                if field.startswith("values_block") and width > 1:
                    self._place = (table.name, field)
                    self.shape: tuple[int, int] = (width, int(table.shape[0]))
                elif field.startswith("values_block"):
                    self.voxels = np.asarray(table[field]).ravel().astype(np.int64)
            return
        for name in group:
            block = group[name]
            if name.startswith("block") and name.endswith("_values") and block.ndim == 2:
                if block.shape[1] > 1:
                    self._place = (block.name, None)
                    self.shape = (int(block.shape[1]), int(block.shape[0]))
                else:
                    self.voxels = np.asarray(block).ravel().astype(np.int64)

    def columns(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Read all trials of some voxels."""
        import h5py

        assert self._place is not None
        wanted = np.arange(self.shape[1])[chosen]
        unique, inverse = np.unique(wanted, return_inverse=True)
        if not len(unique):
            return np.empty((self.shape[0], 0), dtype=np.float32)
        with h5py.File(self.path, "r") as file:
            name, field = self._place
            dense = unique[-1] - unique[0] < 4 * len(unique)
            rows: Any = slice(int(unique[0]), int(unique[-1]) + 1) if dense else unique
            block = file[name][rows] if field is None else file[name][rows][field]
        picked = block[unique - unique[0]] if dense else block
        return np.asarray(picked, dtype=np.float32)[inverse].T


def _table(
    file: Path, *, required: tuple[str, ...] = (), whole: tuple[str, ...] = (), numbers: tuple[str, ...] = ()
) -> pd.DataFrame:
    if not file.is_file():
        raise MissingFileError(f"There is no table {file}; see brainmap data show things-fmri.")
    return read_numeric_table(file, required=required, whole=whole, numbers=numbers, text=("stimulus", "concept"))


def _check_order(table: pd.DataFrame, file: Path) -> None:
    """Trials of the responses are in the order of ``trial_id`` within each run: a table in another order is refused."""
    if "trial_id" not in table:
        return
    numbers = pd.to_numeric(table["trial_id"], errors="coerce")
    falls = table.assign(trial_id=numbers).groupby(["session", "run"], sort=False)["trial_id"].diff() <= 0
    if falls.any():
        raise InputError(
            f"Row {int(np.flatnonzero(falls)[0])} of {file} is out of order: trial_id must rise within a run, as the "
            "responses do; fetch the file anew."
        )


def named_area(column: str) -> tuple[str, str]:
    """Atlas and area of a column of VoxelMetadata: ``V1`` → prf, V1. Some names hold a newline."""
    name = "".join(column.split()) if column.startswith("glasser-") else " ".join(column.split())
    if name.startswith("glasser-"):
        return "glasser", name.removeprefix("glasser-")
    plain = name.removesuffix("(prf)").strip()
    if plain != name or plain.lower() in {area.lower() for area in PRF_AREAS}:
        return "prf", plain
    return "localiser", name


def areas_of_voxels(table: pd.DataFrame, atlas: str) -> pd.DataFrame:
    """Areas of each voxel from the columns of VoxelMetadata that hold 0 and 1.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per voxel.
    atlas : {"all", "prf", "localiser", "glasser"}
        Whose areas name a voxel.

    Returns
    -------
    pandas.DataFrame
        ``roi`` (empty outside all areas of the atlas), ``hemisphere`` (empty: the volume does not say) and ``areas``
        (all areas, of every atlas, joined by ``;``).
    """
    masks: dict[tuple[str, str], np.ndarray] = {}
    for column in map(str, table.columns):
        if column.startswith(NO_AREAS) or not set(pd.unique(table[column].dropna())) <= {0, 1}:
            continue
        inside = (table[column].fillna(0) == 1).to_numpy()
        masks[named_area(column)] = masks.get(named_area(column), False) | inside
    roi = np.full(len(table), "", dtype=object)
    areas = np.full(len(table), "", dtype=object)
    rank = ("localiser", "prf", "glasser")
    for name in sorted(masks, key=lambda name: (rank.index(name[0]), int(masks[name].sum()))):
        label, inside = ":".join(name), masks[name]
        areas[inside] = [f"{before};{label}" if before else label for before in areas[inside]]
        if atlas in ("all", name[0]):
            roi[inside & (roi == "")] = label
    return pd.DataFrame({"roi": roi.astype(str), "hemisphere": "", "areas": areas.astype(str)})
