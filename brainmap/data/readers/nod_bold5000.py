"""Published betas, one file per run or session: NOD (CIFTI grayordinates) and BOLD5000 (NIfTI volumes)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality, as_names
from brainmap.common.progress import track
from brainmap.data.atlas import MESH_NAME, load_atlas, load_surface
from brainmap.data.column_files import zscore_columns
from brainmap.data.manifests import load_manifest
from brainmap.data.photograph_matching import image_key, open_images
from brainmap.data.prepared_responses import Made, content_of, prepared
from brainmap.data.readers.dataset_reader import DatasetReader, Options
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import visible
from brainmap.data.recordings.brain_images import image_values, load_image
from brainmap.data.responses import Responses
from brainmap.stimuli import StimulusSet

PREPARATION_VERSION = 2
BLOCK = 20000  # targets at once
RUNS_PER_SESSION = 10  # of NOD's ImageNet sessions
TRIALS_PER_RUN = 37  # of BOLD5000
# Below the folder of BOLD5000's photographs as it is published, or one of its parts.
PRESENTED = (
    "BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli", "Scene_Stimuli/Presented_Stimuli", "Presented_Stimuli"
)  # fmt: skip


class BetaOptions(Options):
    """Settings of the readers.

    Attributes
    ----------
    zscore : {"part", "none"}
        Standardise every target within each published file (a run of NOD, a session of BOLD5000).
    """

    zscore: Literal["part", "none"] = "part"


class BetaReader(DatasetReader):
    """What readers of published betas share. The parameters are those of :class:`DatasetReader`."""

    measures: ClassVar[Modality] = "fmri"
    options_model: ClassVar[type[Options]] = BetaOptions
    mesh: ClassVar[str]

    def _parts(self, subject: str) -> list[tuple[Path, list[str], dict[str, Any]]]:
        """Files of betas, the label of each trial in them, and session and run."""
        raise MissingFileError(f"There are no betas of subject {subject} in {self.root}.")

    def _gaps(self, subject: str, findings: Findings) -> None:
        """Report files that should be there and are not; nothing where all are needed."""

    def _targets(self, subject: str, first: Path) -> tuple[pd.DataFrame, np.ndarray]:
        """Table of targets, and their places in a flattened image."""
        raise MissingFileError(f"There are no targets of subject {subject} in {first}.")

    def _read(self, path: Path, places: np.ndarray) -> np.ndarray:
        """Betas of a file, (n_trials, n_places)."""
        raise MissingFileError(f"There is no file {path} with {len(places)} places.")

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw, from ``images`` or the dataset's ``stimuli`` folder."""
        subjects = as_names(subjects)
        labels = {label for subject in subjects for _, names, _ in self._parts(subject) for label in names}
        return open_images(self.stimuli_folder, labels, cache=self.cache)

    def shape(self, subject: str) -> tuple[int, int]:
        """Trials and targets."""
        parts = self._parts(subject)
        return sum(len(names) for _, names, _ in parts), len(self._targets(subject, parts[0][0])[0])

    def responses(self, subject: str, stimuli: StimulusSet) -> Responses:
        """Single-trial betas of one subject; every file is converted once and kept.

        Raises
        ------
        InputError
            If a file holds another number of trials than its list of photographs.
        """
        findings = Findings()
        self._gaps(subject, findings)
        listed = self._parts(subject)
        targets, places = self._targets(subject, listed[0][0])
        parts, tables = [], []
        for path, names, where in track(listed, "preparing", unit="files"):
            parts.append(self._prepared(subject, path, names, places))
            tables.append(pd.DataFrame({"label": names, **where}))
        kept, rows = self._matched(pd.concat(tables, ignore_index=True), stimuli, findings, listed[0][0].name)
        info = {
            "dataset": self.name,
            "mesh": self.mesh,
            "content": content_of(parts),
        }
        result = Responses(self._stacked(parts, None, rows), kept, targets, "fmri", subject, info=info)
        return self._reported(result, parts, rows, findings)

    def _prepared(self, subject: str, path: Path, names: list[str], places: np.ndarray) -> Path:
        settings = {"version": PREPARATION_VERSION, "zscore": self.options.zscore, "n": len(places)}

        def make() -> Made:
            betas = self._read(path, places)
            if len(betas) != len(names):
                raise InputError(f"{path} holds {len(betas)} trials, its list names {len(names)} photographs.")
            return betas.shape, self._blocks(betas)

        return prepared(self.cache / self.name / subject, path.name.partition(".")[0], [path], settings, make)

    def _blocks(self, betas: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, betas.shape[1], BLOCK):
            block = betas[:, start : start + BLOCK]
            yield zscore_columns(block) if self.options.zscore == "part" else block


class NODReader(BetaReader):
    """Natural Object Dataset, fMRI: ``derivatives/ciftify`` with one CIFTI file of betas and one list a run."""

    name: ClassVar[str] = "nod-fmri"
    mesh: ClassVar[str] = MESH_NAME

    def subjects(self) -> list[str]:
        """Subjects with betas of the ImageNet task."""
        files = visible(self.root.glob("derivatives/ciftify/sub-*/results/*imagenet*/*_beta.dscalar.nii"))
        return sorted({path.parents[2].name.removeprefix("sub-") for path in files})

    def _parts(self, subject: str) -> list[tuple[Path, list[str], dict[str, Any]]]:
        folder = self.root / "derivatives/ciftify" / f"sub-{subject}" / "results"
        parts = []
        for path in sorted(visible(folder.glob("*imagenet*/*_beta.dscalar.nii")), key=_natural):
            labels = path.with_name(path.name.replace("_beta.dscalar.nii", "_label.txt"))
            if not labels.is_file():
                raise MissingFileError(f"There is no list of photographs {labels}; fetch it anew.")
            names = [
                image_key(line.strip()) for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
            session = re.search(r"ses-([A-Za-z0-9]+)", path.name)
            run = re.search(r"run-(\d+)", path.name)
            where = {"session": session.group(1) if session else "1", "run": run.group(1) if run else "1"}
            parts.append((path, names, where))
        if not parts:
            raise MissingFileError(f"There are no betas of subject {subject} below {folder}.")
        return parts

    def _gaps(self, subject: str, findings: Findings) -> None:
        """Say which of a session's ten runs, and which sessions, are not on disk."""
        present: dict[str, set[int]] = {}
        for _, _, where in self._parts(subject):
            present.setdefault(where["session"], set()).add(int(where["run"]))
        facts = load_manifest(self.name).subjects.get(subject)
        for session in (f"imagenet{number:02d}" for number in range(1, (facts.sessions if facts else 0) + 1)):
            absent = sorted(set(range(1, RUNS_PER_SESSION + 1)) - present.get(session, set()))
            if absent:
                runs = ", ".join(map(str, absent))
                findings.add(self.root, None, f"session {session} of subject {subject} lacks runs {runs}", "not used")

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session, run and place in the run of each trial."""
        tables = [pd.DataFrame({**where, "trial": range(len(names))}) for _, names, where in self._parts(subject)]
        return pd.concat(tables, ignore_index=True)

    def _targets(self, subject: str, first: Path) -> tuple[pd.DataFrame, np.ndarray]:

        image: Any = load_image(first)
        axis = image.header.get_axis(1)
        tables, places = [], []
        for name, rows, model in axis.iter_structures():
            side = {"CIFTI_STRUCTURE_CORTEX_LEFT": "L", "CIFTI_STRUCTURE_CORTEX_RIGHT": "R"}.get(name)
            if side is None:
                continue
            table = pd.DataFrame({"roi": load_atlas()[side][model.vertex], "hemisphere": side})
            table[["x", "y", "z"]] = load_surface(side, "midthickness")[0][model.vertex]
            tables.append(table.assign(vertex=model.vertex))
            places.append(np.arange(len(axis))[rows])
        if not tables:
            raise InputError(f"{first} holds no cortex; it is not one of NOD's files of betas.")
        return pd.concat(tables, ignore_index=True), np.concatenate(places)

    def _read(self, path: Path, places: np.ndarray) -> np.ndarray:

        image: Any = load_image(path)
        return np.asarray(image_values(image), dtype=np.float32)[:, places]


class BOLD5000Reader(BetaReader):
    """BOLD5000, release 2.0: one NIfTI file of betas a session, one list of photographs a subject.

    The affine of release 2.0 is not documented, so targets have voxel numbers and no place in mm. Photographs are those
    that were presented: ``Scene_Stimuli/Presented_Stimuli``; the originals have the same names and other pixels.
    """

    name: ClassVar[str] = "bold5000"
    mesh: ClassVar[str] = "voxels"

    def subjects(self) -> list[str]:
        """Subjects whose list of photographs is here."""
        return [path.name.removesuffix("_imgnames.txt") for path in visible(self.root.glob("CSI?_imgnames.txt"))]

    @property
    def _photographs(self) -> Path:
        """Folder of the photographs as they were presented, wherever in the published folder the user points."""
        given = self.stimuli_folder
        return next((given / place for place in PRESENTED if (given / place).is_dir()), given)

    def stimuli(self, subjects: Sequence[str]) -> StimulusSet:
        """Photographs that some subjects saw; the table's ``test`` marks those shown several times."""
        subjects = as_names(subjects)
        counts = Counter(label for subject in subjects for label in self._names(subject))
        repeated = {label for label, count in _most_showings(map(self._names, subjects)).items() if count > 1}
        return open_images(self._photographs, counts, marks={"test": repeated}, cache=self.cache)

    def test_images(self, stimuli: StimulusSet) -> np.ndarray | None:
        """Which photographs a subject saw several times (113 of them): the test split that is used with BOLD5000."""
        return stimuli.table["test"].to_numpy(dtype=bool) if "test" in stimuli.table else None

    def nuisance(self, subject: str) -> pd.DataFrame:
        """Session of each trial, and run and place in the run where sessions consist of whole runs of 37 trials."""
        tables = [pd.DataFrame(where, index=range(len(names))) for _, names, where in self._parts(subject)]
        return pd.concat(tables, ignore_index=True)

    def _names(self, subject: str) -> list[str]:
        lines = (self.root / f"{subject}_imgnames.txt").read_text(encoding="utf-8-sig").splitlines()
        return [image_key(line.strip()) for line in lines if line.strip()]

    def _parts(self, subject: str) -> list[tuple[Path, list[str], dict[str, Any]]]:
        names = self._names(subject)
        parts: list[tuple[Path, list[str], dict[str, Any]]] = []
        start = 0
        sessions = load_manifest(self.name).subjects[subject].sessions
        for session in range(1, sessions + 1):
            path = self.root / f"{subject}_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{session:02d}.nii.gz"
            if not path.is_file():
                # The list runs over all sessions: without one of them the others cannot be told apart.
                raise MissingFileError(
                    f"There is no file {path}; the list of photographs needs all {sessions} sessions."
                )
            count = _shape(path)[3]
            where: dict[str, Any] = {"session": str(session)}
            if count % TRIALS_PER_RUN == 0:
                places = np.arange(count)
                where |= {"run": places // TRIALS_PER_RUN + 1, "trial": places % TRIALS_PER_RUN}
            parts.append((path, names[start : start + count], where))
            start += count
        if start != len(names):
            raise InputError(
                f"{subject}_imgnames.txt names {len(names)} photographs, the sessions hold {start} trials; fetch anew."
            )
        return parts

    def _targets(self, subject: str, first: Path) -> tuple[pd.DataFrame, np.ndarray]:

        file = self.root / f"{subject}_brainmask.nii.gz"
        if not file.is_file():
            raise MissingFileError(f"There is no brain mask {file}; it comes with the betas.")
        mask: Any = load_image(file)
        if mask.shape[:3] != _shape(first)[:3]:
            raise InputError(
                f"{file} has shape {mask.shape[:3]}, the betas in {first.name} {_shape(first)[:3]}; they are not of "
                "one release, fetch both anew."
            )
        values = np.nan_to_num(image_values(mask)).reshape(mask.shape[:3])
        places = np.flatnonzero(values.ravel() != 0)
        table = pd.DataFrame({"roi": ["brain"] * len(places), "hemisphere": ""})
        table[["x", "y", "z"]] = np.nan
        table[["i", "j", "k"]] = np.stack(np.unravel_index(places, mask.shape[:3]), axis=1)
        return table.assign(vertex=places), places

    def _read(self, path: Path, places: np.ndarray) -> np.ndarray:

        image: Any = load_image(path)
        out = np.empty((image.shape[3], len(places)), dtype=np.float32)
        for start in range(0, image.shape[3], 20):
            block = np.asarray(image_values(image, np.s_[..., start : start + 20]), dtype=np.float32)
            out[start : start + 20] = block.reshape(-1, block.shape[-1])[places].T
        return out


def _most_showings(lists: Iterable[list[str]]) -> Counter[str]:
    """How often a photograph was shown to the subject that saw it most often."""
    most: Counter[str] = Counter()
    for names in lists:
        most |= Counter(names)
    return most


def _shape(path: Path) -> tuple[int, ...]:

    image: Any = load_image(path)
    if len(image.shape) != 4:
        raise InputError(f"{path} has shape {image.shape}; betas have four axes, the last one trials. Fetch it anew.")
    return tuple(int(size) for size in image.shape)


def _natural(path: Path) -> list[Any]:
    """Sort ``run-10`` after ``run-2``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
