"""NSD's design: which photograph was shown in which trial, checked against the behavioural log; captions of COCO."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.numeric_tables import read_numeric_table
from brainmap.data.readers.findings import Findings

TRIALS_PER_SESSION = 750
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULUS_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
# NSD's bucket has COCO's annotations beside the photographs; COCO's own archive may lie in the dataset's folder.
ARCHIVE = "annotations_trainval2017.zip"
CAPTIONS = ("nsddata_stimuli/stimuli/nsd/annotations", "annotations")


@dataclass(frozen=True)
class NSDDesign:
    """Order of the photographs.

    Attributes
    ----------
    ordering : numpy.ndarray of int, (n_trials,)
        For each trial the 0-based position in the subject's own list of photographs; the same for all subjects.
    images : numpy.ndarray of int, (n_subjects, n_images)
        Each subject's list: 0-based rows of the stimulus brick.
    shared : numpy.ndarray of int
        Rows of the photographs that all subjects saw.
    """

    ordering: np.ndarray
    images: np.ndarray
    shared: np.ndarray

    def shown(self, subject: int, session: int) -> np.ndarray:
        """Rows of the stimulus brick (0-based) shown in a session (1-based) of a subject (1-based), in order."""
        trials = slice((session - 1) * TRIALS_PER_SESSION, session * TRIALS_PER_SESSION)
        rows: np.ndarray = self.images[subject - 1][self.ordering[trials]]
        return rows


def read_design(root: Path) -> NSDDesign:
    """Read ``nsd_expdesign.mat``.

    Raises
    ------
    MissingFileError, InputError
        If it is absent, or its arrays do not have the published form.
    """
    import scipy.io

    file = root / DESIGN
    if not file.is_file():
        raise MissingFileError(f"There is no design {file}; get it with: brainmap data fetch nsd")
    try:
        design = scipy.io.loadmat(file, variable_names=["masterordering", "subjectim", "sharedix"])
        ordering = design["masterordering"].ravel().astype(np.int64) - 1
        images = design["subjectim"].astype(np.int64) - 1
        shared = design["sharedix"].ravel().astype(np.int64) - 1
    except (KeyError, ValueError, NotImplementedError) as error:
        raise InputError(f"{file} is not NSD's design ({error}); fetch it anew.") from error
    if ordering.min() < 0 or ordering.max() >= images.shape[1] or images.min() < 0:
        raise InputError(f"{file}: 'masterordering' points outside 'subjectim' {images.shape}; fetch the file anew.")
    return NSDDesign(ordering, images, shared)


def check_behaviour(root: Path, code: str, number: int, design: NSDDesign, findings: Findings) -> pd.DataFrame | None:
    """Compare the behavioural log with the design.

    Returns
    -------
    pandas.DataFrame or None
        The log (``SESSION``, ``RUN``, ``TRIAL``, ``73KID``), or None where there is none.

    Raises
    ------
    InputError
        If the log and the design disagree; the sentence names file, row and, where it is one, the shift or the swap.
    """
    file = root / "nsddata/ppdata" / code / "behav/responses.tsv"
    if not file.is_file():
        findings.add(file, None, "the behavioural log is not on disk", "the design was not cross-checked; no runs")
        return None
    log = read_numeric_table(file, whole=("SESSION", "RUN", "TRIAL", "73KID"))
    for session, part in log.groupby("SESSION"):
        logged = part["73KID"].to_numpy(dtype=np.int64) - 1
        _compare(file, number, int(str(session)), logged, part.index.to_numpy(), design)
    return log


def _compare(file: Path, number: int, session: int, logged: np.ndarray, rows: np.ndarray, design: NSDDesign) -> None:
    shown = design.shown(number, session)
    if len(logged) == len(shown) and np.array_equal(logged, shown):
        return
    if len(logged) != len(shown):
        repeated = np.flatnonzero(logged[1:] == logged[:-1])
        where = f"; row {rows[repeated[0] + 1]} repeats the one before" if len(repeated) else ""
        raise InputError(
            f"{file} has {len(logged)} trials in session {session}, the design {len(shown)}{where}; fetch it anew."
        )
    row = int(rows[np.flatnonzero(logged != shown)[0]])
    for shift in (1, -1):
        kept = slice(shift, None) if shift > 0 else slice(None, shift)
        other = slice(None, -shift) if shift > 0 else slice(-shift, None)
        if np.mean(logged[kept] == shown[other]) > 0.9:
            raise InputError(f"Session {session} of {file} is shifted by one trial from row {row} on; fetch it anew.")
    for swapped in range(1, len(design.ordering) // TRIALS_PER_SESSION + 1):
        if np.array_equal(logged, design.shown(number, swapped)):
            raise InputError(f"{file} lists under session {session} what the design shows in session {swapped}.")
    raise InputError(f"Row {row} of {file} names another photograph than the design; fetch the file anew.")


def read_captions(root: Path, rows: np.ndarray) -> list[str | None] | None:
    """COCO captions of rows of the stimulus brick: the first of each; None for a photograph, or all, without them.

    Raises
    ------
    InputError
        If a file of captions is damaged.
    """
    info = root / STIMULUS_INFO
    annotations = _annotations(root)
    if not info.is_file() or annotations is None:
        return None
    table = read_numeric_table(info, required=("cocoSplit",), whole=("cocoId", "nsdId"))
    coco = table.set_index("nsdId")["cocoId"].to_dict()
    first: dict[int, str] = {}
    for item in annotations:
        first.setdefault(int(item["image_id"]), " ".join(str(item["caption"]).split()))
    return [first.get(int(coco.get(int(row), -1))) for row in rows]


def _annotations(root: Path) -> list[dict[str, Any]] | None:
    annotations: list[dict[str, Any]] = []
    for split in ("train", "val"):
        annotations += next(filter(None, (_captions(root / folder, split) for folder in CAPTIONS)), [])
    return annotations or None


def _captions(folder: Path, split: str) -> list[dict[str, Any]]:
    """COCO's captions of a split from a folder or the archive in it; empty where there are none."""
    name = f"captions_{split}2017.json"
    file = next((path for path in (folder / name, folder / ARCHIVE) if path.is_file()), None)
    if file is None:
        return []
    try:
        if file.name == name:
            text = file.read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(file) as opened:
                text = opened.read(f"annotations/{name}").decode("utf-8")
        annotations = json.loads(text)["annotations"]
        return [{"image_id": int(item["image_id"]), "caption": str(item["caption"])} for item in annotations]
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{file} is not COCO's file of captions, or is damaged ({type(error).__name__}: {error}); fetch it again."
        ) from None
