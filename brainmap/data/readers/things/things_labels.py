"""THINGS: from image numbers (1 to 26,107) to file names, and the log of what was shown beside the events tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.numeric_tables import read_numeric_table
from brainmap.data.photograph_matching import image_key
from brainmap.data.readers.findings import Findings
from brainmap.image_readers import is_image_name

N_IMAGES = 26107
FOLDERS = {"images_meg": "exp", "images_test_meg": "test", "images_catch_meg": "catch"}
ATTRIBUTES = ("image_path", "things_image_nr", "session_nr", "run_nr")


def read_attributes(root: Path, number: str) -> pd.DataFrame | None:
    """Read ``sourcedata/sample_attributes_P<number>.csv``, or None where it is not on disk.

    Raises
    ------
    InputError
        If a column is missing.
    """
    file = root / "sourcedata" / f"sample_attributes_P{number}.csv"
    if not file.is_file():
        return None
    return read_numeric_table(
        file, numbers=("things_image_nr",), whole=("session_nr", "run_nr"), text=("image_path",), required=ATTRIBUTES
    )


def names_by_number(root: Path, images: Path | None) -> dict[int, str]:
    """File name (without folder and suffix) of each THINGS image number that can be told.

    From all logs of what was shown (trials of the main experiment first: their numbers are the surest); else from the
    complete THINGS folder, whose 26,107 files in sorted order are numbered from 1.

    Raises
    ------
    InputError
        If two trials of the main experiment give one number different names.
    MissingFileError
        If neither logs nor the complete folder are on disk.
    """
    names: dict[int, str] = {}
    repeated: dict[int, str] = {}
    for file in sorted((root / "sourcedata").glob("sample_attributes_P?.csv")):
        table = read_attributes(root, file.stem[-1])
        if table is None:
            continue
        shown = table[["things_image_nr", "image_path"]].dropna().drop_duplicates()
        kinds = shown["image_path"].astype(str).map(kind_of_trial)
        shown, tested = shown[kinds != "catch"], kinds[kinds != "catch"] == "test"
        for row, number, path in shown[~tested].itertuples():
            name = image_key(str(path))
            if names.setdefault(int(number), name) != name:
                raise InputError(
                    f"Row {row} of {file} calls image {int(number)} {name!r}, elsewhere it is {names[int(number)]!r}."
                )
        for _, number, path in shown[tested].itertuples():
            repeated.setdefault(int(number), image_key(str(path)))
    names = repeated | names
    if names:
        return names
    files = [] if images is None or not images.is_dir() else list(images.rglob("*.jpg"))
    files = [path for path in files if is_image_name(path.name)]
    if len(files) == N_IMAGES:
        ordered = sorted(files, key=lambda path: (path.parent.name, path.name))
        return {number: path.stem for number, path in enumerate(ordered, start=1)}
    raise MissingFileError(
        f"Which photograph is image number 1? {root} has no sourcedata/sample_attributes_P1.csv, and no folder "
        f"with all {N_IMAGES:,} THINGS images is given; get tables with: brainmap data fetch things-meg --for events"
    )


def check_against_log(
    events: pd.DataFrame, log: pd.DataFrame | None, session: int, run: int, findings: Findings, file: Path
) -> None:
    """Compare the image numbers of a run's events table with the log of what was shown.

    Single disagreements (catch trials, repeats: up to about 20 a run in the public files) are reported by row; the
    events table is believed.

    Raises
    ------
    InputError
        If the table is shifted against the log, belongs to another run, or disagrees in most rows.
    """
    if log is None:
        return
    shown = log.loc[(log["session_nr"] == session) & (log["run_nr"] == run), "things_image_nr"].to_numpy(dtype=float)
    listed = events["value"].to_numpy(dtype=float)
    common = min(len(shown), len(listed))
    if common:
        wrong = _differ(listed[:common], shown[:common])
        if wrong.mean() <= 0.25:
            if len(shown) != len(listed):
                findings.add(
                    file, None, f"{len(listed)} trials, {len(shown)} in the log of what was shown", "both kept"
                )
            for row in np.flatnonzero(wrong):
                what = f"image {_label(listed[row])} in the events, {_label(shown[row])} in the log of what was shown"
                findings.add(file, int(events["row"].iloc[row]), what, "the events table is used")
            return
    for shift in (1, -1, 2, -2):
        first, other = (listed[shift:], shown) if shift > 0 else (listed, shown[-shift:])
        length = min(len(first), len(other))
        if length and (~_differ(first[:length], other[:length])).mean() > 0.75:
            raise InputError(f"{file} is shifted by {shift} rows against the log of what was shown; fetch it anew.")
    for (other_session, other_run), part in log.groupby(["session_nr", "run_nr"]):
        numbers = part["things_image_nr"].to_numpy(dtype=float)
        if len(numbers) == len(listed) and (~_differ(listed, numbers)).mean() > 0.75:
            raise InputError(
                f"{file} lists what the log has under session {other_session}, run {other_run}: files are swapped."
            )
    raise InputError(
        f"{file} and the log of what was shown disagree: {len(listed)} against {len(shown)} trials of session "
        f"{session}, run {run}; fetch the files anew."
    )


def labels_of_log(log: pd.DataFrame | None, session: int, run: int, count: int, file: Path) -> list[str]:
    """Names of the photographs of a run as the log of what was shown has them, row by row; catch trials are empty.

    Raises
    ------
    InputError
        If there is no log, or it has another number of trials.
    """
    if log is None:
        raise InputError(f"There is no log of what was shown for {file}; use the events tables: --set labels=events")
    paths = log.loc[(log["session_nr"] == session) & (log["run_nr"] == run), "image_path"].astype(str)
    if len(paths) != count:
        raise InputError(f"{file} has {count} trials, the log of what was shown {len(paths)}; fetch both anew.")
    return ["" if kind_of_trial(path) == "catch" else image_key(path) for path in paths]


def kind_of_trial(path: str) -> str:
    """``exp``, ``test`` or ``catch``, by the folder of a path in the log (``images_test_meg/dog_12s.jpg``).

    Only the folder counts: ``test_tube`` and ``catcher`` are things that can be photographed.
    """
    for part in path.replace("\\", "/").split("/")[:-1]:
        if part in FOLDERS:
            return FOLDERS[part]
    return "exp"


def _differ(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether numbers differ; two missing ones do not, and neither does a catch trial that one side leaves blank."""
    missing = np.isnan(first) | np.isnan(other)
    differ: np.ndarray = ~missing & (first != other)
    return differ


def _label(number: float) -> str:
    return "n/a" if np.isnan(number) else str(int(number))
