"""LAION-fMRI: single-trial betas in BIDS derivative form, one NIfTI file and one table of trials a session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.tables import read_table
from brainmap.data.photograph_matching import image_key, open_images
from brainmap.data.readers.dataset_reader import Options
from brainmap.data.readers.folder_files import visible
from brainmap.data.readers.nod_bold5000 import BetaOptions, BetaReader
from brainmap.data.recordings.brain_images import image_values, load_image
from brainmap.image_readers import EncodedHDF5Reader, SubsetReader
from brainmap.stimuli import StimulusSet

BETAS = "derivatives/glmsingle-tedana"
ROIS = "derivatives/rois"
PHOTOGRAPHS = ("stimuli/task-images_stimuli.h5", "stimuli/task-images_metadata.csv")
SHARED = "shared_"  # what the names of photographs begin with that all subjects saw


class LAIONOptions(BetaOptions):
    """Settings of the reader: those of published betas.

    Attributes
    ----------
    mask : {"areas", "all"}
        Keep voxels that lie in an area of the subject's ``derivatives/rois``, or all that the GLM was fitted in.
    sessions : tuple of str, optional
        Sessions to use (``01``); all by default.
    """

    mask: Literal["areas", "all"] = "areas"
    sessions: tuple[str, ...] | None = None


class LAIONReader(BetaReader):
    """Reader of ``derivatives/glmsingle-tedana``. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "laion-fmri"
    mesh: ClassVar[str] = "voxels"
    options_model: ClassVar[type[Options]] = LAIONOptions
    measures: ClassVar[Modality] = "fmri"

    def subjects(self) -> list[str]:
        """Subjects with single-trial betas."""
        files = visible((self.root / BETAS).glob("sub-*/ses-*/func/*_desc-SingletrialBetas_statmap.nii.gz"))
        return sorted({path.parents[2].name.removeprefix("sub-") for path in files})

    def _parts(self, subject: str) -> list[tuple[Path, list[str], dict[str, Any]]]:
        folder = self.root / BETAS / f"sub-{subject}"
        parts: list[tuple[Path, list[str], dict[str, Any]]] = []
        for path in visible(folder.glob(f"ses-*/func/sub-{subject}_ses-*_desc-SingletrialBetas_statmap.nii.gz")):
            session = path.parents[1].name.removeprefix("ses-")
            if self.options.sessions is not None and session not in self.options.sessions:
                continue
            file = path.with_name(f"sub-{subject}_ses-{session}_task-images_desc-SingletrialBetas_trials.tsv")
            table = _trials(file)
            parts.append((path, table["label"].tolist(), {"session": session, "run": table["run"].tolist()}))
        absent = set(self.options.sessions or ()) - {where["session"] for _, _, where in parts}
        if absent or not parts:
            what = f"session {sorted(absent)[0]} of subject {subject}" if absent else f"subject {subject}"
            raise MissingFileError(f"There are no single-trial betas of {what} below {folder}.")
        return parts

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the published archive (HDF5 of JPEG files)."""
        subjects = as_names(subjects)
        labels = {label for subject in subjects for _, names, _ in self._parts(subject) for label in names}
        tests = {label for label in labels if label.startswith(SHARED)}
        archive, table = (self.root / place for place in PHOTOGRAPHS)
        if self.photographs is not None or not archive.is_file():
            source = self.stimuli_folder
            return open_images(source, labels, marks={"test": tests}, cache=self.cache)
        names = [image_key(name) for name in read_table(table, required=("image_name",))["image_name"]]
        reader = EncodedHDF5Reader(archive, "images")
        if len(names) != len(reader):
            raise InputError(f"{archive} holds {len(reader)} photographs, {table} names {len(names)}; fetch both anew.")
        wanted = np.array([row for row, name in enumerate(names) if name in labels], dtype=np.int64)
        chosen = pd.DataFrame({"name": [names[row] for row in wanted]})
        chosen["test"] = chosen["name"].isin(tests)
        return StimulusSet(SubsetReader(reader, wanted), chosen, allow_duplicates=True)

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs all subjects saw (their names begin with ``shared_``)."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run and place in the session of each trial."""
        tables = [pd.DataFrame({**where, "trial": range(len(names))}) for _, names, where in self._parts(subject)]
        return pd.concat(tables, ignore_index=True)

    def _targets(self, subject: str, first: Path) -> tuple[pd.DataFrame, np.ndarray]:

        file = self.root / BETAS / f"sub-{subject}"
        file /= f"sub-{subject}_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"
        if not file.is_file():
            raise MissingFileError(f"There is no {file}, which says in which voxels the GLM was fitted; fetch it.")
        fitted: Any = load_image(file)
        betas: Any = load_image(first)
        _check_grid(fitted, betas, file, first)
        areas, listed = self._areas(subject, betas, first)
        inside = np.nan_to_num(image_values(fitted)).reshape(-1) > 0
        places = np.flatnonzero(
            inside & (areas != "") if self.options.mask == "areas" and (areas != "").any() else inside
        )
        ijk = np.stack(np.unravel_index(places, betas.shape[:3]), axis=1)
        table = pd.DataFrame({"roi": areas[places].astype(str), "hemisphere": "", "areas": listed[places].astype(str)})
        table[["x", "y", "z"]] = ijk @ betas.affine[:3, :3].T + betas.affine[:3, 3]
        return table.assign(vertex=places), places

    def _areas(self, subject: str, betas: Any, first: Path) -> tuple[np.ndarray, np.ndarray]:
        """Smallest area of each voxel (``face:FFA``), and all of them joined by ``;``; flat, C order."""
        count = int(np.prod(betas.shape[:3]))
        areas, listed = np.full(count, "", dtype=object), np.full(count, "", dtype=object)
        masks: dict[str, np.ndarray] = {}
        for file in visible((self.root / ROIS / f"sub-{subject}").glob("*/*_space-T1w_*label-*_mask.nii.gz")):
            image: Any = load_image(file)
            _check_grid(image, betas, file, first)
            label = file.name.partition("_label-")[2].removesuffix("_mask.nii.gz")
            masks[f"{file.parent.name}:{label}"] = np.nan_to_num(image_values(image)).reshape(-1) > 0
        for name in sorted(masks, key=lambda name: (int(masks[name].sum()), name)):
            inside = masks[name]
            areas[inside & (areas == "")] = name
            listed[inside] = [f"{before};{name}" if before else name for before in listed[inside]]
        return areas, listed

    def _read(self, path: Path, places: np.ndarray) -> np.ndarray:

        image: Any = load_image(path)
        if len(image.shape) != 4:
            raise InputError(f"{path} has shape {image.shape}; betas have four axes, the last one trials.")
        out = np.empty((image.shape[3], len(places)), dtype=np.float32)
        for start in range(0, image.shape[3], 20):
            block = np.asarray(image_values(image, np.s_[..., start : start + 20]), dtype=np.float32)
            out[start : start + 20] = block.reshape(-1, block.shape[-1])[places].T
        return out


def _trials(file: Path) -> pd.DataFrame:
    """Trials in the order of the volumes (``beta_index`` counts them from 0)."""
    if not file.is_file():
        raise MissingFileError(f"There is no table of trials {file}; fetch it.")
    table = read_table(file, required=("run", "beta_index", "label"), numbers=("beta_index",))
    table = table.sort_values("beta_index")
    if table["beta_index"].tolist() != list(range(len(table))):
        raise InputError(f"{file}: beta_index must count the volumes from 0 to {len(table) - 1}; fetch it anew.")
    return table.assign(label=[image_key(str(label)) for label in table["label"]])


def _check_grid(image: Any, betas: Any, file: Path, first: Path) -> None:
    if image.shape[:3] != betas.shape[:3] or not np.allclose(image.affine, betas.affine, atol=1e-3):
        raise InputError(
            f"{file} ({image.shape[:3]}) and {first} ({betas.shape[:3]}) do not lie on one grid (shape or affine)."
        )
