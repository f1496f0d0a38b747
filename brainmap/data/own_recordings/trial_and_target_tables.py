"""The two tables of one's own recordings: what each row and each column of the responses is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.tables import as_numbers, read_table, rename_columns, table_name
from brainmap.data.photograph_matching import match_trials
from brainmap.stimuli import StimulusSet

TableLike = pd.DataFrame | str | Path
NO_VERTEX = -1  # a target whose place on a mesh is not known cannot be drawn on one
LONGEST_EPOCH = 30.0
WHOLE_SECONDS = 5.0  # whole numbers from here on may be milliseconds

EVENT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "stimulus": (
        "stim", "stim_file", "stimulus_file", "stim_name", "stimulus_name", "stimulus_id", "stim_id", "image", "img",
        "image_file", "image_name", "image_path", "image_id", "filename", "file_name", "file", "file_path", "filepath",
        "photograph", "photo", "picture",
    ),
    "session": ("ses", "session_id", "session_nr"),
    "run": ("run_id", "run_nr"),
    "repeat": ("repetition", "showing"),
    "subject": ("sub", "participant", "participant_id", "subject_id", "subj"),
    "onset": ("onset_s", "onset_time"),
    "trial_type": ("condition", "trialtype"),
}  # fmt: skip
TARGET_SYNONYMS: dict[str, tuple[str, ...]] = {
    "sensor": ("channel", "electrode", "ch_name", "channel_name", "sensor_name", "electrode_name"),
    "time": ("latency", "times", "time_s", "time_(s)", "latency_s", "latency_(s)"),
    "time_ms": ("time_(ms)", "latency_ms", "latency_(ms)", "times_ms"),
    "roi": ("region", "area", "label", "parcel", "roi_name", "region_name", "area_name"),
    "hemisphere": ("hemi", "side"),
    "vertex": ("vertex_index", "vertex_id", "vertex_number"),
    "x": ("x_mm", "mni_x"),
    "y": ("y_mm", "mni_y"),
    "z": ("z_mm", "mni_z"),
}
_SIDES = {
    "L": ("l", "lh", "left", "left_hemisphere", "hemi-l", "cortexleft", "cortex_left"),
    "R": ("r", "rh", "right", "right_hemisphere", "hemi-r", "cortexright", "cortex_right"),
}
CATCH_WORDS = frozenset(
    {"catch", "catch_trial", "catch-trial", "blank", "fixation", "rest", "null", "none", "nan", "na"}
)
"""Labels that mean "no photograph" where no photograph is called so."""


def open_table(table: TableLike, synonyms: dict[str, tuple[str, ...]], what: str) -> pd.DataFrame:
    """Read or take a table, with the package's names of columns."""
    if isinstance(table, str | Path):
        return _with_rows(read_table(table, synonyms=synonyms), what)
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"The {what} table is {type(table).__name__}; give a file or a pandas.DataFrame.")
    copy = table.reset_index(drop=True)
    copy.attrs = {"file": f"the {what} table", "notes": []}
    if "file" in table.attrs:  # it has been read from one
        copy.attrs |= {name: value for name, value in table.attrs.items() if name in ("file", "notes", "renamed")}
    return _with_rows(rename_columns(copy, synonyms), what)


def _with_rows(table: pd.DataFrame, what: str) -> pd.DataFrame:
    if not len(table):
        columns = ", ".join(str(name) for name in list(table.columns)[:4])
        raise InputError(
            f"{_capital(table_name(table, f'the {what} table'))} has no rows below its header ({columns} …); it needs "
            f"one row per {'trial' if what == 'events' else 'target'}."
        )
    return table


# -- trials ---------------------------------------------------------------------------------------------------------


def photograph_trials(
    trials: pd.DataFrame, stimuli: StimulusSet, catch: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Replace names of photographs by their content ids and leave out catch trials.

    Parameters
    ----------
    trials : pandas.DataFrame
        With a column ``stimulus``.
    stimuli : StimulusSet
        The photographs.
    catch : tuple of str
        Values of ``stimulus`` or ``trial_type`` that mark catch trials.

    Returns
    -------
    trials : pandas.DataFrame
        The trials that showed a photograph, with ``repeat``.
    rows : numpy.ndarray of int
        Their rows.
    notes : list of str
        How many catch trials were left out, and why.
    """
    where = table_name(trials, "the events table")
    if "stimulus" not in trials:
        raise InputError(f"{_capital(where)} has no column 'stimulus'; it has {list(trials.columns)}.")
    labels = stimulus_labels(trials["stimulus"])
    shown = np.array([label != "" for label in labels], dtype=bool)
    named = set(catch)
    kinds = trials["trial_type"].astype(str) if "trial_type" in trials else pd.Series([""] * len(trials))
    marked = np.array([label in named or kind in named for label, kind in zip(labels, kinds, strict=True)], dtype=bool)
    unused = named - set(labels) - set(kinds)
    if unused:
        raise InputError(f"{_capital(where)} has no trial {sorted(unused)[0]!r} to leave out as a catch trial.")
    rows = np.flatnonzero(shown & ~marked)
    match = match_trials([labels[row] for row in rows], stimuli)
    words = np.array([labels[row].casefold().replace(" ", "_") in CATCH_WORDS for row in rows], dtype=bool)
    lost = ~match.found & ~words
    if lost.any():
        _refuse_unknown(labels, rows[lost], match.unmatched, trials)
    kept = rows[match.found]
    if not len(kept):
        raise InputError(f"No row of {where} names a photograph; fill the column 'stimulus'.")
    table = trials.iloc[kept].assign(stimulus=match.ids[match.found]).reset_index(drop=True)
    for column in ("session", "run", "subject"):
        if column in table and table[column].map(_missing).any():
            row = int(kept[np.flatnonzero(table[column].map(_missing))[0]])
            raise InputError(f"Row {row} of {where} has no {column!r}; fill the cell or remove the column.")
    left_out = len(trials) - len(kept)
    notes = (
        [f"{left_out} of {len(trials)} trials in {Path(where).name} show no photograph and are left out"]
        if left_out
        else []
    )
    return table, kept, notes


def stimulus_labels(column: pd.Series) -> list[str]:
    """Names of photographs as text, empty where there is none; whole numbers that a gap made floats are whole again."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() == column.dropna().round()).all():
        return ["" if _missing(label) else str(int(label)) for label in column]
    return ["" if _missing(label) else str(label) for label in column]


def _refuse_unknown(labels: list[str], rows: np.ndarray, unmatched: pd.DataFrame, trials: pd.DataFrame) -> None:
    label = labels[int(rows[0])]
    why = str(unmatched.loc[unmatched["label"] == label, "why"].iloc[0])
    hint = str(trials.attrs.get("hint", ""))
    if re.fullmatch(r"\d+(\.0+)?", label) and not hint:
        hint = "numbers are not counted as positions, and 7, 007 and 7.0 differ: write file names"
    more = f" ({len(rows)} of {len(trials)} trials are unknown)" if len(rows) > 1 else ""
    where = table_name(trials, "the events table")
    raise InputError(
        f"Row {int(rows[0])} of {where} names the unknown image {label!r}{more}: {why}{'; ' if hint else ''}{hint}."
    )


def with_repeats(trials: pd.DataFrame) -> pd.DataFrame:
    """Number the showings of each photograph from 0, or check the numbers given."""
    within = ["stimulus", *({"subject"} & set(trials.columns))]
    counted = trials.groupby(within, sort=False).cumcount()
    if "repeat" not in trials:
        return trials.assign(repeat=counted)
    where = table_name(trials, "the events table")
    repeated = trials.duplicated([*within, "repeat", *({"session", "run"} & set(trials.columns))])
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise InputError(
            f"Row {row} of {where} gives the repeat {trials['repeat'].iloc[row]} of its image a second time; "
            "number the repeats of each image, or leave the column out."
        )
    return trials


# -- targets --------------------------------------------------------------------------------------------------------


def is_sensor_table(targets: pd.DataFrame) -> bool:
    """Whether targets are sensors at times rather than voxels or vertices."""
    timed = {"time", "time_ms"} & set(targets.columns)
    if timed and "sensor" not in targets and "roi" in targets:
        raise InputError(
            f"{_capital(table_name(targets, 'the targets table'))} has areas and times; rename 'roi' to 'sensor' where "
            "they are parcels over time, or remove the column of times."
        )
    return bool(timed) and "sensor" in targets


def sensor_targets(targets: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Check sensors × times.

    Returns
    -------
    targets : pandas.DataFrame
        Sensor by sensor (in order of appearance), times ascending, in s.
    order : numpy.ndarray of int
        Column of each.
    """
    where = table_name(targets, "the targets table")
    if "time_ms" in targets and "time" not in targets:
        targets = as_numbers(targets, ["time_ms"]).rename(columns={"time_ms": "time"})
        targets["time"] = targets["time"] / 1000
    targets = as_numbers(targets, ["time", "x", "y", "z"])
    times = targets["time"].to_numpy(dtype=float)
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        raise InputError(f"Row {row} of {where} has no time; give seconds.")
    if np.abs(times).max() > LONGEST_EPOCH:
        raise InputError(
            f"{_capital(where)} has times up to {np.abs(times).max():g}; give seconds, not milliseconds "
            "(or call the column 'time_ms')."
        )
    unit_said = str(targets.attrs.get("renamed", {}).get("time", "time")).casefold() not in ("time", "times", "latency")
    if not unit_said and np.abs(times).max() >= WHOLE_SECONDS and (times == np.round(times)).all():
        raise InputError(
            f"{_capital(where)} has whole numbers up to {np.abs(times).max():g} as times, which may be seconds or "
            "milliseconds; call the column 'time_s' or 'time_ms'."
        )
    if targets["sensor"].map(_missing).any():
        row = int(np.flatnonzero(targets["sensor"].map(_missing))[0])
        raise InputError(f"Row {row} of {where} names no sensor; fill the cell.")
    targets = targets.assign(sensor=targets["sensor"].map(str))
    _refuse_duplicates(targets, ["sensor", "time"])
    sensors, names = pd.factorize(targets["sensor"])
    n_times = len(np.unique(times))
    lacking = np.flatnonzero(np.bincount(sensors, minlength=len(names)) != n_times)
    if len(lacking):
        raise InputError(
            f"{_capital(where)} has {np.sum(sensors == lacking[0])} of {n_times} times "
            f"for the sensor {names[lacking[0]]!r}; give every sensor every time."
        )
    order = np.lexsort((times, sensors))
    return targets.iloc[order].reset_index(drop=True), order


def place_targets(targets: pd.DataFrame, vertices: int | None) -> pd.DataFrame:
    """Check voxels or vertices, and fill in what their table may leave out.

    Parameters
    ----------
    targets : pandas.DataFrame
        ``roi``, and optionally ``hemisphere``, ``x``, ``y``, ``z``, ``vertex``.
    vertices : int, optional
        Vertices of one hemisphere's mesh; None where ``vertex`` counts voxels.
    """
    where = table_name(targets, "the targets table")
    if "roi" not in targets:
        raise InputError(
            f"{_capital(where)} has the columns {list(targets.columns)}; fMRI "
            "needs 'roi', MEG needs 'sensor' and 'time'."
        )
    targets = as_numbers(targets, ["x", "y", "z", "vertex"])
    defaults: dict[str, Any] = {"hemisphere": "", "x": np.nan, "y": np.nan, "z": np.nan, "vertex": NO_VERTEX}
    targets = targets.assign(**{name: value for name, value in defaults.items() if name not in targets})
    targets["roi"] = ["" if _missing(cell) else str(cell) for cell in targets["roi"]]
    targets["hemisphere"] = [_side(cell, row, where) for row, cell in enumerate(targets["hemisphere"])]
    targets["vertex"] = _whole(targets["vertex"], where)
    if (targets["vertex"] != NO_VERTEX).any():
        if vertices is not None:
            _refuse_beyond(targets, vertices, where)
        placed = targets[targets["vertex"] != NO_VERTEX]
        _refuse_duplicates(placed, ["hemisphere", "vertex"], placed.index.to_numpy())
    return targets


def _whole(column: pd.Series, where: str) -> np.ndarray:
    values = column.to_numpy(dtype=float)
    values = np.where(np.isnan(values), NO_VERTEX, values)
    wrong = (values != np.round(values)) | (values < NO_VERTEX) | ~np.isfinite(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"Row {row} of {where} has the vertex {values[row]:g}; a vertex is a whole number from 0.")
    return values.astype(np.int64)


def _refuse_beyond(targets: pd.DataFrame, vertices: int, where: str) -> None:
    """Vertices count from 0 in each hemisphere, or through both of them, left first."""
    vertex, side = targets["vertex"].to_numpy(), targets["hemisphere"].to_numpy()
    right = (side == "R") & (vertex != NO_VERTEX)
    through = bool(right.any()) and bool((vertex[right] >= vertices).all())
    limit = np.where(right & through, 2 * vertices, vertices)
    wrong = vertex >= limit
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"Row {row} of {where} has the vertex {vertex[row]}, but a hemisphere of the mesh has {vertices:,}; "
            "count from 0, or name the mesh that was used with --surface."
        )


def _side(cell: object, row: int, where: str) -> str:
    if _missing(cell):
        return ""
    word = str(cell).strip().casefold().replace(" ", "_")
    for side, words in _SIDES.items():
        if word in words:
            return side
    raise InputError(f"Row {row} of {where} has the hemisphere {cell!r}; write 'L' or 'R'.")


def _refuse_duplicates(targets: pd.DataFrame, columns: list[str], rows: np.ndarray | None = None) -> None:
    repeated = targets.duplicated(columns).to_numpy()
    if repeated.any():
        place = int(np.flatnonzero(repeated)[0])
        label = ", ".join(f"{column} {targets[column].iloc[place]}" for column in columns)
        row = place if rows is None else int(rows[place])
        where = table_name(targets, "the targets table")
        raise InputError(f"Row {row} of {where} repeats an earlier one ({label}); keep each target once.")


def _missing(cell: object) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)) or cell in ("", "n/a")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith("the ") else text
