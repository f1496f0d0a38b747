"""Tables of published datasets, whose columns are mostly numbers: read by the same rules, fast where they are large."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.common.tables import MISSING, as_numbers, decoded, opening, read_table

LARGE = 20 * 10**6  # characters; below, rows are taken apart one by one
_MISSING_NUMBERS = [*MISSING, "nan", "NaN", "NAN", "na", "NA"]
_TRUTH = {"true": 1.0, "false": 0.0}


def read_numeric_table(
    path: str | Path,
    *,
    required: Sequence[str] = (),
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    text: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table in which a column is numbers where most of its cells are.

    Parameters
    ----------
    path : str or Path
        As :func:`brainmap.common.tables.read_table` takes it.
    required : sequence of str
        Columns that must be there; those of ``numbers`` and ``whole`` must, too.
    numbers : sequence of str
        Columns of numbers, NaN where a cell is empty.
    whole : sequence of str
        Columns of whole numbers, one in every row; they become int64.
    text : sequence of str
        Columns that stay text (``007`` is no 7).

    Returns
    -------
    pandas.DataFrame
        Other columns are numbers (``True`` and ``False`` are 1 and 0) where more than half of their known cells are
        numbers, else text.

    Raises
    ------
    InputError
        Naming file, row and column of the first cell that does not fit: words among numbers, too.
    """
    file = Path(path)
    needed = [*required, *numbers, *whole]
    table = _read_large(file, (*text,))
    table = read_table(file, required=needed) if table is None else table
    lacking = [name for name in needed if name not in table]
    if lacking:
        raise InputError(f"{file} has no column {lacking[0]!r}; it has {list(table.columns)[:40]}.")
    columns = {str(name): table[name] for name in table}
    for name in columns:
        if name not in text:
            columns[name] = _settled(table[[name]], name, strict=name in (*numbers, *whole), file=file)
    result = pd.DataFrame(columns)
    result.attrs = {"file": str(file), "notes": list(table.attrs.get("notes", []))}
    for name in whole:
        wrong = np.flatnonzero(~np.isfinite(result[name]) | (result[name] != np.round(result[name])))
        if len(wrong):
            cell = result[name].iloc[wrong[0]]
            said = "no value" if pd.isna(cell) else f"{cell:g}"
            raise InputError(f"Row {wrong[0]} of {file} has {said} in {name!r}; it must be a whole number.")
        result[name] = result[name].astype(np.int64)
    return result


def read_number_column(path: str | Path) -> np.ndarray:
    """Read a file that holds one number a line and no header, (n,) float64.

    Raises
    ------
    InputError
        Naming file and line of the first that is none.
    """
    file = Path(path)
    lines = decoded(file).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    numbers = np.empty(len(lines))
    for place, line in enumerate(lines):
        try:
            numbers[place] = float(line)
        except ValueError:
            raise InputError(f"Line {place + 1} of {file} is {line.strip()[:40]!r}, not one number.") from None
    return numbers


def _settled(table: pd.DataFrame, name: str, *, strict: bool, file: Path) -> pd.Series:
    """Column as numbers or as text."""
    column = table[name]
    if pd.api.types.is_bool_dtype(column):
        return column.astype(np.int64)
    if not pd.api.types.is_numeric_dtype(column):
        table.attrs["file"] = str(file)
        known = column.dropna().map(str)
        truth = known.str.casefold().map(_TRUTH)
        if not strict and len(known) and truth.notna().all():
            column = column.map(str).str.casefold().map(_TRUTH)
        else:
            likely = pd.to_numeric(known, errors="coerce").notna().mean() if len(known) else 0.0
            if not strict and likely <= 0.5:
                return column
            column = as_numbers(table, [name])[name]
    infinite = np.flatnonzero(np.isinf(column.to_numpy(dtype=float)))
    if len(infinite) and strict:
        raise InputError(f"Row {infinite[0]} of {file} has an infinite number in {name!r}.")
    values = column.to_numpy(dtype=float)
    is_whole = len(values) and np.isfinite(values).all() and (values == np.round(values)).all()
    return column.astype(np.int64) if is_whole else column.astype(float)


def _read_large(file: Path, text: Sequence[str]) -> pd.DataFrame | None:
    """A large table by pandas' own parser, where nothing in it can be read in two ways; None for others."""
    content = decoded(file)
    if len(content) < LARGE:
        return None
    delimiter, header, lines = opening(file, content)
    body = content.split("\n", lines)[-1].rstrip()
    rows = body.split("\n")
    cut = len(header) - 1
    if (
        '"' in body
        or not all(header)
        or len(set(header)) < len(header)
        or any(row.count(delimiter) != cut for row in rows)
    ):
        return None  # quotes, nameless columns, ragged rows: row by row, with a sentence
    missing = {name: list(MISSING) if name in text else _MISSING_NUMBERS for name in header}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return pd.read_csv(
                io.StringIO(body), sep=delimiter, names=header, index_col=False, keep_default_na=False,
                na_values=missing, dtype=dict.fromkeys(text, str), skipinitialspace=True,
            )  # fmt: skip
    except (ValueError, Warning):
        return None
