"""The Algonauts 2023 packaging of NSD: repeats averaged, visual vertices of fsaverage, one folder a subject."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality
from brainmap.data.column_files import RowStack
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import ArrayColumns, SideBySide, cache_key
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import bare, visible
from brainmap.data.readers.nsd.nsd_areas import NAMES, merged, named_areas, read_labels
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

REPEATS = 3  # showings averaged in the published responses, for nearly all photographs


class AlgonautsOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    atlas : str
        Whose names become the targets' ``roi``.
    ceilings : Path, optional
        Folder with ``subj01/lh.npy`` …: noise ceilings in percent of variance, one per challenge vertex.
    """

    atlas: Literal["prf-visualrois", "streams", "floc-faces", "floc-bodies", "floc-places", "floc-words"] = "streams"
    ceilings: Path | None = None


class AlgonautsReader(DatasetReader):
    """Reader of the unpacked archives. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "algonauts2023"
    modality: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = AlgonautsOptions

    def subjects(self) -> list[str]:
        """Subjects whose training split is here."""
        folders = visible(self.root.glob("subj??"))
        return [bare(folder.name) for folder in folders if (folder / "training_split").is_dir()]

    def _folder(self, subject: str) -> Path:
        return self.root / f"subj{int(bare(subject)):02d}"

    def _pictures(self, subject: str) -> list[Path]:
        folder = self._folder(subject) / "training_split/training_images"
        found = visible(folder.glob("*.png"))
        if not found:
            raise MissingFileError(f"There are no photographs in {folder}; unpack the subject's archive anew.")
        return found

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Training photographs of some subjects, by their number in NSD (``nsd-00013``)."""
        numbers: dict[str, Path] = {}
        for subject in subjects:
            for path in self._pictures(subject):
                numbers.setdefault(_nsd_number(path), path)
        # A photograph that several subjects saw lies in each one's folder under another name; its content is the same.
        keys = {path.stem for path in numbers.values()}
        folders = [self._folder(subject) for subject in subjects]
        source = folders[0] if len(folders) == 1 else self.root
        return open_images(
            source / "training_split/training_images" if len(folders) == 1 else source, keys, cache=self.cache
        )

    def shape(self, subject: str) -> tuple[int, int]:
        """Photographs, and vertices of both hemispheres."""
        return self._columns(subject).shape

    def _columns(self, subject: str) -> SideBySide:
        parts = []
        for side in "lr":
            file = self._folder(subject) / "training_split/training_fmri" / f"{side}h_training_fmri.npy"
            if not file.is_file():
                raise MissingFileError(f"There is no file {file}; unpack the subject's archive anew.")
            parts.append(ArrayColumns(file))
        if parts[0].shape[0] != parts[1].shape[0]:
            raise InputError(
                f"The hemispheres of subject {subject} have {parts[0].shape[0]} and {parts[1].shape[0]} photographs."
            )
        return SideBySide(parts)

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Responses to the training photographs, averaged over showings by the publishers.

        Raises
        ------
        InputError
            If photographs, responses, areas and vertices do not have matching counts.
        """
        findings = Findings()
        pictures, values = self._pictures(subject), self._columns(subject)
        if len(pictures) != values.shape[0]:
            raise InputError(f"Subject {subject} has {len(pictures)} photographs and {values.shape[0]} responses.")
        ids = _ids_by_number(stimuli)
        trials = pd.DataFrame({"label": [ids.get(_nsd_number(path), path.stem) for path in pictures]})
        trials["nsd_id"] = [int(_nsd_number(path)) for path in pictures]
        kept, rows = self._matched(trials, stimuli, findings, "training_images")
        targets = self._targets(subject, values)
        files = sorted((self._folder(subject) / "training_split/training_fmri").glob("*.npy"))
        info = {
            "dataset": self.name,
            "mesh": "fsaverage",
            "atlas": self.options.atlas,
            "stimulus_duration": 3.0,
            "averaged": f"over the showings of each photograph by the publishers ({REPEATS} in most cases)",
            "content": cache_key(files, {}),
            "findings": findings.to_info(),
        }
        stack = RowStack([values], keep=rows)
        return Responses(stack, kept.assign(n_repeats=REPEATS), targets, "fmri", subject, info=info)

    def _targets(self, subject: str, values: SideBySide) -> pd.DataFrame:
        tables = []
        for side, part in zip("LR", values.parts, strict=True):
            masks = self._folder(subject) / "roi_masks"
            stem = f"{side.lower()}h."
            vertices = np.flatnonzero(read_labels(masks / f"{stem}all-vertices_fsaverage_space.npy"))
            if len(vertices) != part.shape[1]:
                raise InputError(
                    f"{masks / (stem + 'all-vertices_fsaverage_space.npy')} marks {len(vertices)} vertices, the "
                    f"responses have {part.shape[1]}; unpack the subject's archive anew."
                )
            numbers = read_labels(masks / f"{stem}{self.options.atlas}_challenge_space.npy")
            if len(numbers) != len(vertices):
                raise InputError(
                    f"{self.options.atlas} of hemisphere {side} has {len(numbers)} of {len(vertices)} vertices."
                )
            table = pd.DataFrame({"roi": merged(named_areas(numbers, self.options.atlas)), "hemisphere": side})
            table[["x", "y", "z"]] = np.nan
            table["vertex"] = vertices
            if self.options.ceilings is not None:
                table["ncsnr"] = _ncsnr(self.options.ceilings / f"subj{int(bare(subject)):02d}", side, len(vertices))
            tables.append(table)
        return pd.concat(tables, ignore_index=True)


def read_noise_ceilings(folder: Path, hemisphere: str) -> np.ndarray:
    """Published ceilings of one subject's challenge vertices: share of the variance of averaged responses, 0 to 1.

    Raises
    ------
    MissingFileError, InputError
        If the file is absent or does not hold percent.
    """
    file = folder / f"{hemisphere.lower()}h.npy"
    if not file.is_file():
        raise MissingFileError(f"There is no file of noise ceilings {file}.")
    percent = np.load(file, allow_pickle=False).astype(np.float64)
    if percent.ndim != 1 or not np.isfinite(percent).all() or percent.min() < 0 or percent.max() > 100:
        raise InputError(f"{file} must hold one ceiling in percent per vertex.")
    share: np.ndarray = percent / 100
    return share


def _ncsnr(folder: Path, side: str, count: int) -> np.ndarray:
    """Turn ceilings of averages over three showings into the ratio of one trial."""
    share = read_noise_ceilings(folder, side)
    if len(share) != count:
        raise InputError(f"{folder} has {len(share)} noise ceilings for {count} vertices of hemisphere {side}.")
    ratio: np.ndarray = np.sqrt(share / (1 - share) / REPEATS)
    return ratio


def _nsd_number(path: Path | str) -> str:
    found = re.search(r"nsd-(\d+)", str(path))
    if found is None:
        raise InputError(f"{path} is not called like train-0001_nsd-00013.png.")
    return found.group(1)


def _ids_by_number(stimuli: StimulusSet) -> dict[str, str]:
    names = stimuli.table["name"].astype(str)
    return {_nsd_number(name): identity for name, identity in zip(names, stimuli.ids, strict=True) if "nsd-" in name}


ATLAS_NAMES = tuple(NAMES)
