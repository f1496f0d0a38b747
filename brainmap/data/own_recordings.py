"""A user's own recordings: ``responses.npy`` with two tables beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmap.common.blocks import Columns
from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.names import Modality
from brainmap.common.tables import as_numbers, read_table
from brainmap.data.responses import Responses
from brainmap.image_readers import without_suffix
from brainmap.stimuli import StimulusSet

TableLike = pd.DataFrame | str | Path
NO_VERTEX = -1  # a target whose place on a mesh is not known cannot be drawn on one


def read_responses(
    responses: str | Path | np.ndarray,
    targets: TableLike,
    events: TableLike,
    stimuli: StimulusSet,
    *,
    subject: str = "01",
    check: bool = True,
) -> Responses:
    """Read recordings kept as one array and two tables, and check that they fit together.

    Parameters
    ----------
    responses : path to a .npy file, or array, (n_trials, n_targets)
        Real numbers; row i is the response to the event in row i. The file is memory-mapped, never loaded whole.
    targets : path to a .tsv or .csv file, or DataFrame
        One row per column of ``responses``. With the columns ``sensor`` and ``time`` (s from onset) it is MEG: every
        sensor needs every time. Otherwise it is fMRI, with ``roi`` (area) and optionally ``hemisphere`` ('L' or 'R'),
        ``x``, ``y``, ``z`` (mm) and ``vertex`` (index in the hemisphere's fsLR-32k mesh; without it there are no maps).
    events : path to a .tsv or .csv file, or DataFrame
        One row per row of ``responses``; column ``stimulus`` names the photograph by its file name (with or without
        suffix) or by its content id. Optional: ``session``, ``run``, ``repeat``.
    stimuli : StimulusSet
        The photographs.
    subject : str
        Name of the subject.
    check : bool
        Whether to go through all values once, see :meth:`Responses.check`.

    Returns
    -------
    Responses
        With MEG targets brought into sensor-by-sensor order.

    Raises
    ------
    InputError, MissingFileError
        One sentence saying what does not fit, in which row or column, and what to do.
    """
    values = _open_array(responses)
    target_table = _read(targets)
    trials = _read(events).reset_index(drop=True)
    _match_lengths(values, trials, target_table)
    trials = _with_repeats(trials.assign(stimulus=_stimulus_ids(trials, stimuli)))
    info = {"dataset": "own arrays", "file": "array" if isinstance(responses, np.ndarray) else Path(responses).name}
    modality, values, target_table = _arranged(values, target_table)
    result = Responses(values, trials, target_table, modality, subject, info=info)
    if check:
        result.check()
    return result


def _arranged(values: Any, targets: pd.DataFrame) -> tuple[Modality, Any, pd.DataFrame]:
    """Tell the modality by the columns; bring MEG into sensor-by-sensor order without moving the values."""
    if not {"sensor", "time"} <= set(targets.columns):
        return "fmri", values, _checked_vertices(targets)
    targets = as_numbers(targets, ["time"])
    order = _sensor_major(targets)
    in_order = np.array_equal(order, np.arange(len(order)))
    return "meg", values if in_order else Columns(values, order), targets.iloc[order].reset_index(drop=True)


def _open_array(source: str | Path | np.ndarray) -> Any:
    if not isinstance(source, str | Path):
        return np.asarray(source)
    path = Path(source)
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}; give the .npy file that holds the responses.")
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)  # an archive (.npz) or text is no array
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read as an array of numbers ({error}); write it with numpy.save from a float32 array."
        ) from error


def _read(table: TableLike) -> pd.DataFrame:
    return read_table(table) if isinstance(table, str | Path) else table.reset_index(drop=True)


def _match_lengths(values: Any, trials: pd.DataFrame, targets: pd.DataFrame) -> None:
    if values.ndim != 2:
        raise InputError(f"The responses have shape {values.shape}; they need two axes, trials × targets.")
    if np.dtype(values.dtype).kind not in "fiu":
        raise InputError(f"The responses are of type {values.dtype}; save them as real numbers, such as float32.")
    for noun, count, table in (("rows", values.shape[0], "event"), ("columns", values.shape[1], "target")):
        expected = len(trials) if table == "event" else len(targets)
        if count != expected:
            few = "too few" if count < expected else "too many"
            raise InputError(
                f"The responses have {few} {noun}: {count} {noun} for {expected} rows in the {table}s table; "
                f"give one {noun[:-1]} per {table}."
            )


def _stimulus_ids(trials: pd.DataFrame, stimuli: StimulusSet) -> np.ndarray:
    """Content id of each event's photograph."""
    if "stimulus" not in trials:
        raise InputError(f"The events table has no column 'stimulus'; it has {list(trials.columns)}.")
    by_name = dict(zip(stimuli.table["name"], stimuli.ids, strict=True))
    by_id = dict(zip(stimuli.ids, stimuli.ids, strict=True))
    ids = []
    for row, label in enumerate(trials["stimulus"]):
        if pd.isna(label):
            raise InputError(f"Row {row} of the events table names no stimulus; fill the cell or remove the trial.")
        identity = by_name.get(without_suffix(str(label))) or by_name.get(str(label)) or by_id.get(str(label))
        if identity is None:
            raise InputError(
                f"Row {row} of the events table names the unknown image {str(label)!r}; "
                f"images are called like {stimuli.table['name'].iloc[0]!r}."
            )
        ids.append(identity)
    return np.array(ids)


def _with_repeats(trials: pd.DataFrame) -> pd.DataFrame:
    counted = trials.groupby("stimulus", sort=False).cumcount()
    if "repeat" not in trials:
        return trials.assign(repeat=counted)
    repeated = trials.duplicated(["stimulus", "repeat", *({"session", "run"} & set(trials.columns))])
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise InputError(
            f"Row {row} of the events table gives the repeat {trials['repeat'].iloc[row]} of its image a second time; "
            "number the repeats of each image, or leave the column out."
        )
    return trials


def _sensor_major(targets: pd.DataFrame) -> np.ndarray:
    """Order of columns that goes sensor by sensor (in order of appearance), times ascending."""
    times = targets["time"].to_numpy(dtype=float)
    if np.isnan(times).any():
        row = int(np.flatnonzero(np.isnan(times))[0])
        raise InputError(f"Row {row} of the targets table has no time; give seconds.")
    if np.abs(times).max() > 30:
        raise InputError(f"The targets table has times up to {np.abs(times).max():g}; give seconds, not milliseconds.")
    _refuse_duplicates(targets, ["sensor", "time"])
    sensors, names = pd.factorize(targets["sensor"])
    n_times = len(np.unique(times))
    lacking = np.flatnonzero(np.bincount(sensors, minlength=len(names)) != n_times)
    if len(lacking):
        raise InputError(
            f"The targets table has {np.sum(sensors == lacking[0])} of {n_times} times "
            f"for the sensor {names[lacking[0]]!r}; give every sensor every time."
        )
    return np.lexsort((times, sensors))


def _checked_vertices(targets: pd.DataFrame) -> pd.DataFrame:
    """Fill in what an fMRI table may leave out."""
    if "roi" not in targets:
        raise InputError(
            f"The targets table has the columns {list(targets.columns)}; "
            "fMRI needs 'roi', MEG needs 'sensor' and 'time'."
        )
    defaults: dict[str, Any] = {
        "hemisphere": "",
        "x": np.nan,
        "y": np.nan,
        "z": np.nan,
        "vertex": NO_VERTEX,
    }
    targets = as_numbers(targets, ["x", "y", "z", "vertex"])
    for name, value in defaults.items():
        if name not in targets:
            targets[name] = value
    wrong = ~targets["hemisphere"].isin(["L", "R", ""])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"Row {row} of the targets table has the hemisphere {targets['hemisphere'].iloc[row]!r}; write 'L' or 'R'."
        )
    if (targets["vertex"] != NO_VERTEX).any():
        _refuse_duplicates(targets, ["hemisphere", "vertex"])
    return targets.assign(roi=targets["roi"].fillna(""))


def _refuse_duplicates(targets: pd.DataFrame, columns: list[str]) -> None:
    repeated = targets.duplicated(columns)
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        label = ", ".join(f"{column} {targets[column].iloc[row]}" for column in columns)
        raise InputError(f"Row {row} of the targets table repeats an earlier one ({label}); keep each target once.")
