"""The Algonauts 2023 packaging of NSD: repeats averaged, visual vertices of fsaverage, one folder a subject."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.storage.file_errors import reading
from brainmap.data.column_files import RowStack
from brainmap.data.photograph_matching import open_images
from brainmap.data.prepared_responses import ArrayColumns, SideBySide, cache_key
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import bare, visible
from brainmap.data.readers.nsd.nsd_areas import merged, named_areas, read_labels
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

# The last three sessions of every subject were withheld when showings were averaged, so many photographs count fewer
# than three: mean of 1/n over photographs, by subject. NSD's ceiling formula uses it, and so do published ceilings.
MEAN_INVERSE_SHOWINGS = {1: 0.37, 2: 0.37, 3: 0.49, 4: 0.52, 5: 0.37, 6: 0.49, 7: 0.37, 8: 0.52}
MEAN_SHOWINGS = {1: 2.82, 2: 2.82, 3: 2.39, 4: 2.31, 5: 2.82, 6: 2.39, 7: 2.82, 8: 2.31}
OFFICIAL_CEILINGS = "test_split/noise_ceiling"


class AlgonautsOptions(Options):
    """Settings of the reader.

    Attributes
    ----------
    atlas : str
        Whose names become the targets' ``roi``.
    ceilings : Path, optional
        Folder of noise ceilings, one per challenge vertex: ``subj01/test_split/noise_ceiling/lh_noise_ceiling.npy`` as
        the challenge published them (fractions of variance), or ``subj01/lh.npy`` (percent). By default the
        challenge's own files, where they are in the subject's folder.
    """

    atlas: Literal["prf-visualrois", "streams", "floc-faces", "floc-bodies", "floc-places", "floc-words"] = "streams"
    ceilings: Path | None = None


class AlgonautsReader(DatasetReader):
    """Reader of the unpacked archives. The parameters are those of :class:`DatasetReader`."""

    name: ClassVar[str] = "algonauts2023"
    measures: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = AlgonautsOptions

    def subjects(self) -> list[str]:
        """Subjects whose training split is here."""
        folders = visible(self.root.glob("subj??"))
        return [bare(folder.name) for folder in folders if (folder / "training_split").is_dir()]

    def _folder(self, subject: str) -> Path:
        return self.root / f"subj{int(bare(subject)):02d}"

    def _pictures(self, subject: str) -> list[Path]:
        folder = self._folder(subject) / "training_split/training_images"
        pictures = visible(folder.glob("*.png"))
        if not pictures:
            raise MissingFileError(f"There are no photographs in {folder}; unpack the subject's archive anew.")
        return pictures

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Training photographs of some subjects, by their number in NSD (``nsd-00013``)."""
        subjects = as_names(subjects)
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
        number = int(bare(subject))
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
            "averaged": (
                "over the showings of each photograph by the publishers, without each subject's last three sessions "
                f"(mean {MEAN_SHOWINGS[number]} showings)"
            ),
            "content": cache_key(files, {}),
            "findings": findings.to_info(),
        }
        stack = RowStack([values], keep=rows)
        showings = 1 / MEAN_INVERSE_SHOWINGS[number]  # the number that gives the mean of 1/n
        return Responses(stack, kept.assign(n_repeats=showings), targets, "fmri", subject, info=info)

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
            folder = (self.options.ceilings or self.root) / self._folder(subject).name
            if self.options.ceilings is not None or (folder / OFFICIAL_CEILINGS).is_dir():
                table["ncsnr"] = _ncsnr(folder, side, len(vertices), int(bare(subject)))
            tables.append(table)
        return pd.concat(tables, ignore_index=True)


def read_noise_ceilings(folder: Path, hemisphere: str) -> np.ndarray:
    """Published ceilings of one subject's challenge vertices: share of the variance of averaged responses, 0 to 1.

    Parameters
    ----------
    folder : Path
        Of the subject: with ``test_split/noise_ceiling/lh_noise_ceiling.npy`` (or just this file), fractions; or with
        ``lh.npy``, percent.
    hemisphere : {"L", "R"}
        Which.

    Raises
    ------
    MissingFileError, InputError
        If the file is absent or its values do not have the unit that its name says.
    """
    side = f"{hemisphere.lower()}h"
    official = [folder / OFFICIAL_CEILINGS / f"{side}_noise_ceiling.npy", folder / f"{side}_noise_ceiling.npy"]
    file = next((path for path in official if path.is_file()), folder / f"{side}.npy")
    if not file.is_file():
        raise MissingFileError(f"There is no file of noise ceilings {official[0]}, nor {file}.")
    with reading(file):
        values = np.load(file, allow_pickle=False).astype(np.float64)
    unit, most = ("percent", 100.0) if file.name == f"{side}.npy" else ("as a fraction of the variance", 1.0)
    if values.ndim != 1 or not np.isfinite(values).all() or values.min() < 0 or values.max() > most:
        raise InputError(f"{file} must hold one ceiling {unit} per vertex; its values do not lie in 0 to {most:g}.")
    if most > 1 and values.max() <= 1:
        raise InputError(
            f"All ceilings in {file} lie in 0 to 1: percent or fractions? Save percent, or name the file "
            f"{official[1].name} if they are fractions."
        )
    share: np.ndarray = values / most
    return share


def _ncsnr(folder: Path, side: str, count: int, subject: int) -> np.ndarray:
    """Turn ceilings of averages over showings into the ratio of one trial (Allen et al. 2022, noise ceiling)."""
    share = read_noise_ceilings(folder, side)
    if len(share) != count:
        raise InputError(f"{folder} has {len(share)} noise ceilings for {count} vertices of hemisphere {side}.")
    share = np.minimum(share, 0.9999)  # a ceiling of 1 has no finite ratio
    ratio: np.ndarray = np.sqrt(share / (1 - share) * MEAN_INVERSE_SHOWINGS[subject])
    return ratio


def _nsd_number(path: Path | str) -> str:
    match = re.search(r"nsd-(\d+)", str(path))
    if match is None:
        raise InputError(f"{path} is not called like train-0001_nsd-00013.png.")
    return match.group(1)


def _ids_by_number(stimuli: StimulusSet) -> dict[str, str]:
    names = stimuli.table["name"].astype(str)
    return {_nsd_number(name): identity for name, identity in zip(names, stimuli.ids, strict=True) if "nsd-" in name}
