"""Confounds of one's own: a table with a row per trial, whose columns are projected out inside each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.tables import as_numbers, table_name
from brainmap.data.own_recordings.trial_and_target_tables import EVENT_SYNONYMS, TableLike, open_table
from brainmap.data.responses import CONFOUND

LABELS = ("stimulus", "subject", "session", "run")  # say which trial a row is; are no confounds themselves
FLAT = 1e-9  # of a column's size: what varies less is constant


def with_confounds(
    trials: pd.DataFrame, table: TableLike, n_events: int | None, kept: np.ndarray | None
) -> pd.DataFrame:
    """Put the columns of a table of confounds beside the trials.

    Parameters
    ----------
    trials : pandas.DataFrame
        One row per trial of the responses.
    table : path to a table, or DataFrame
        One row per trial, in the same order. Columns that name the trial (``stimulus``, ``session`` …) must agree with
        those of the trials; all others are numbers.
    n_events : int, optional
        Events of the recording before some were rejected; a table with so many rows loses the same ones.
    kept : numpy.ndarray of int, optional
        Which of them are left.

    Raises
    ------
    InputError
        If rows are too many or too few, name other trials, or the table holds no column of confounds.
    """
    opened = open_table(table, {name: EVENT_SYNONYMS[name] for name in LABELS}, "confounds")
    where = table_name(opened, "the table of confounds")
    if kept is not None and len(opened) == n_events and n_events != len(trials):
        opened = opened.iloc[kept].reset_index(drop=True)
    if len(opened) != len(trials):
        raise InputError(
            f"{where} has {len(opened):,} rows for {len(trials):,} trials; give one row per trial, in the order of the "
            "events (confounds of scans belong to a first-level model: --dataset bids-fmri)."
        )
    labels = [name for name in LABELS if name in opened]
    for name in labels:
        _check_same(opened[name], trials, name, where)
    columns = [name for name in opened if name not in LABELS]
    if not columns:
        raise InputError(f"{where} has no column of confounds; it has {', '.join(map(str, opened.columns))}.")
    added = opened[columns].rename(columns={name: f"{CONFOUND}{name}" for name in columns})
    result = pd.concat([trials.reset_index(drop=True), added], axis=1)
    notes = [*trials.attrs.get("notes", []), *opened.attrs.get("notes", [])]
    if labels:
        notes.append(f"{Path(where).name}: {', '.join(labels)} say which trial a row is and are not projected out")
    result.attrs = {**trials.attrs, "confounds": where, "notes": notes}
    return result


def as_confounds(trials: pd.DataFrame, rows: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """Make numbers of the confounds of the trials that are used.

    Parameters
    ----------
    trials : pandas.DataFrame
        The trials that are used; rows that are not need no numbers.
    rows : numpy.ndarray of int
        Their rows in the tables.

    Returns
    -------
    trials : pandas.DataFrame
        Without confounds that never change.
    notes : list of str
        What is projected out, and what was left out.

    Raises
    ------
    InputError
        At the first cell that is no finite number, with its row and column, and where no column varies.
    """
    columns = [name for name in trials if str(name).startswith(CONFOUND)]
    if not columns:
        return trials, []
    where = str(trials.attrs.get("confounds", "the table of confounds"))
    numbers = trials[columns].rename(columns=lambda name: str(name).removeprefix(CONFOUND))
    numbers.attrs = {"file": where}
    for name in numbers:
        _check_numbers(numbers[name], rows, str(name), where)
    numbers = as_numbers(numbers, list(numbers.columns)).astype(float)
    values = numbers.to_numpy()
    varies = np.ptp(values, axis=0) > FLAT * np.maximum(np.abs(values).max(axis=0), 1e-300)
    names = [str(name) for name in numbers.columns]
    flat = [name for name, kept in zip(names, varies, strict=True) if not kept]
    used = [name for name, kept in zip(names, varies, strict=True) if kept]
    if not used:
        raise InputError(f"No column of {where} changes from trial to trial ({', '.join(names)}); leave the table out.")
    notes = [f"{len(used)} confounds are projected out inside each split: {', '.join(used)}"]
    if flat:
        notes.append(f"{Path(where).name}: {', '.join(flat)} never changes and is left out")
    rank = np.linalg.matrix_rank(np.column_stack([np.ones(len(values)), _scaled(values[:, varies])]), tol=None) - 1
    if rank < len(used):
        notes.append(f"{Path(where).name}: {len(used)} confounds span {rank} dimensions (some are sums of others)")
    kept = numbers[used].rename(columns=lambda name: f"{CONFOUND}{name}")
    result = pd.concat([trials.drop(columns=columns), kept], axis=1).copy()  # hundreds of columns stay one block
    result.attrs = trials.attrs
    return result, notes


def _scaled(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    scaled: np.ndarray = centred / centred.std(axis=0)
    return scaled


def _check_numbers(column: pd.Series, rows: np.ndarray, name: str, where: str) -> None:
    for place, cell in enumerate(column):
        text = str(cell).strip()
        if cell is None or cell is pd.NA or text.casefold() in ("", "n/a", "nan", "na"):
            raise InputError(
                f"Row {int(rows[place])} of {where} has no value in the column {name!r}; fill it in (its mean, say), "
                "or leave the trial or the column out."
            )
        try:
            finite = np.isfinite(float(text.replace(",", ".")))
        except ValueError:
            raise InputError(
                f"Row {int(rows[place])} of {where} has {cell!r} in the column {name!r}; confounds are numbers (for "
                "categories: a column of 0 and 1 for each)."
            ) from None
        if not finite:
            raise InputError(f"Row {int(rows[place])} of {where} is infinite in the column {name!r}; correct the cell.")


def _check_same(own: pd.Series, trials: pd.DataFrame, name: str, where: str) -> None:
    """Rows that name other trials than the events do are in another order."""
    if name not in trials:
        return
    here, there = (column.map(_name) for column in (own, trials[name]))
    differ = np.flatnonzero(here.to_numpy() != there.to_numpy())
    if len(differ):
        row = int(differ[0])
        raise InputError(
            f"Row {row} of {where} is of {name} {own.iloc[row]!r}, but trial {row} is of {trials[name].iloc[row]!r}; "
            "put its rows in the order of the events."
        )


def _name(cell: object) -> str:
    text = str(cell).replace("\\", "/").rsplit("/", 1)[-1]
    return text.rsplit(".", 1)[0] if "." in text else text
