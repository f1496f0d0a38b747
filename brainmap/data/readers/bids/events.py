"""Events of a BIDS run: which rows show an image, each checked and named by file and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.tables import as_numbers, read_table
from brainmap.data.readers.findings import Findings
from brainmap.photograph_names import photograph_path

IMAGE_COLUMNS = (
    "stim_file", "stimulus", "image", "stimulus_file", "image_file", "image_path", "file_path", "filename", "stim_id",
    "image_id", "image_name", "stimulus_name",
)  # fmt: skip
UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "µs", "microsecond", "microseconds"), 1e-6),
}


def read_events(file: Path, sidecar: Mapping[str, tuple[Any, Path]] | None = None) -> pd.DataFrame:
    """Read an events table as text; onsets and durations become seconds.

    Parameters
    ----------
    file : Path
        ``*_events.tsv``.
    sidecar : mapping, optional
        Keys of the ``*_events.json`` that apply, each with the file that states it: the unit of a column is honoured.

    Returns
    -------
    pandas.DataFrame
        The file's columns as text, and ``row`` (0-based); ``onset`` and ``duration`` are float, NaN where they are
        ``n/a``, empty or no number, with what was written in ``onset_text`` and ``duration_text``.

    Raises
    ------
    InputError
        If it cannot be read or has no column ``onset``.
    """
    if not file.is_file():
        raise MissingFileError(f"There is no events table {file}; fetch it, or skip the run with --set missing=skip.")
    table = read_table(file, required=("onset",), synonyms={"onset": (), "duration": ()})
    if "duration" not in table:
        table["duration"] = np.nan
    for column in ("onset", "duration"):
        seconds = _numbers(table[[column]], column) * _unit(column, sidecar or {})
        table = table.assign(**{f"{column}_text": table[column].fillna("n/a"), column: seconds})
    return table.assign(row=np.arange(len(table)))


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    """Numbers of a column; where it holds other words, too, those are NaN (rows that are not used don't matter)."""
    try:
        numbers = as_numbers(table, (column,))[column]
    except InputError:
        numbers = pd.to_numeric(table[column], errors="coerce")
    seconds = numbers.astype(float)
    return seconds.where(np.isfinite(seconds))


def _unit(column: str, sidecar: Mapping[str, tuple[Any, Path]]) -> float:
    described, file = sidecar.get(column, ({}, Path()))
    unit = described.get("Units") if isinstance(described, dict) else None
    if unit is None:
        return 1.0
    if str(unit).strip().lower() not in UNITS:
        raise InputError(f"{file} says that {column} is in {unit!r}; times must be in s (or ms, or µs).")
    return UNITS[str(unit).strip().lower()]


def image_column_of(table: pd.DataFrame, wanted: str | None, file: Path) -> str:
    """Column that names the photographs: the one asked for, ``stim_file``, or the only other usual name there is.

    Raises
    ------
    InputError
        If there is none, or several.
    """
    known = [str(column) for column in table if str(column) not in ("row", "onset_text", "duration_text")]
    if wanted is not None:
        if wanted not in known:
            raise InputError(
                f"{file} has no column {wanted!r} that names the photographs; it has {known}. Name it with "
                "--set image_column=…"
            )
        return wanted
    usual = [column for column in known if column.lower() in IMAGE_COLUMNS]
    if "stim_file" in usual:
        return "stim_file"
    if len(usual) != 1:
        what = f"several columns that may name the photographs: {usual}" if usual else (
            f"no column 'stim_file' that names the photographs; it has {known}"
        )  # fmt: skip
        raise InputError(f"{file} has {what}. Name the right one with --set image_column=…")
    return usual[0]


def shown_images(
    file: Path,
    image_column: str | None,
    findings: Findings,
    *,
    trial_types: Sequence[str] | None = None,
    sidecar: Mapping[str, tuple[Any, Path]] | None = None,
) -> pd.DataFrame:
    """Read the rows of an events file that show an image, in order of onset.

    Parameters
    ----------
    file : Path
        ``*_events.tsv``.
    image_column : str, optional
        Column that names the image; rows without one (``n/a`` or empty) are left out.
    findings : Findings
        Receives the rows that occur twice; they are dropped.
    trial_types : sequence of str, optional
        Values of ``trial_type`` to keep; all by default.
    sidecar : mapping, optional
        As in :func:`read_events`.

    Returns
    -------
    pandas.DataFrame
        As :func:`read_events`, and ``label`` (path of the image). It may be empty.

    Raises
    ------
    InputError
        If a column is missing, an image has no onset, or two different rows start at the same time.
    """
    table = read_events(file, sidecar)
    column = image_column_of(table, image_column, file)
    kept = table[column].notna()
    if trial_types is not None:
        if "trial_type" not in table:
            raise InputError(f"{file} has no column 'trial_type' to choose rows by.")
        kept &= table["trial_type"].isin(trial_types)
    table = table[kept]
    repeated = table.drop(columns="row").duplicated().to_numpy()
    for row in table.loc[repeated, "row"]:
        findings.add(file, int(row), "the row occurs twice", "row dropped")
    shown = table[~repeated]
    lost = np.flatnonzero(shown["onset"].isna())
    if len(lost):
        first = shown.iloc[lost[0]]
        raise InputError(
            f"Row {first['row']} of {file} shows an image at the onset {first['onset_text']!r}; it must be a number of "
            "seconds (with a point)."
        )
    shown = shown.sort_values("onset", kind="stable")
    same = np.flatnonzero(np.diff(shown["onset"]) <= 0)
    if len(same):
        row = int(shown["row"].iloc[same[0] + 1])
        raise InputError(f"Row {row} of {file} starts when another one does; an event is listed twice.")
    return shown.assign(label=[photograph_path(str(name)) for name in shown[column]]).reset_index(drop=True)


def check_onsets(table: pd.DataFrame, file: Path, duration: float) -> None:
    """Refuse onsets that cannot be seconds: most of them after the end of the recording.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`shown_images`.
    file : Path
        Its file, for the sentence.
    duration : float
        Length of the recording in s.

    Raises
    ------
    InputError
        If more than half of the images are shown after the end.
    """
    late = table["onset"].to_numpy(dtype=float) > duration
    if late.any() and 2 * late.sum() > len(table):
        first = table.iloc[int(late.argmax())]
        raise InputError(
            f"Row {first['row']} of {file} starts at {first['onset']:g} s, {late.sum()} of {len(table)} images after "
            f"the end of the recording ({duration:g} s). Onsets must be in seconds from its beginning: these may be "
            "samples or milliseconds (say so with Units in the events' .json), or belong to another run."
        )


def may_count_scans(onsets: np.ndarray, times: np.ndarray) -> bool:
    """Whether onsets said to be seconds fill the run only as numbers of scans.

    Parameters
    ----------
    onsets : numpy.ndarray, (n_trials,)
        Onsets.
    times : numpy.ndarray, (n_scans,)
        Times of the scans in s.
    """
    if len(onsets) < 3 or len(times) < 2:
        return False
    last, step = float(onsets.max()), float(times[1] - times[0])
    whole = bool((onsets == np.round(onsets)).all())
    return whole and step > 1.2 and last < 0.6 * times[-1] and 0.75 * times[-1] < last * step <= times[-1]
