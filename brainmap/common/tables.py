"""Tables as people have them: one reader for every ``.tsv``, ``.csv`` and ``.txt`` file of the package.

Cells are text, and stay text until a caller asks for numbers: ``007`` is no 7, ``1.10`` no 1.1, and a photograph may be
called ``NA``. Only an empty cell and BIDS's ``n/a`` are missing. Delimiter, encoding and decimal sign are told from the
content, never from the file's name alone; where two readings are possible the table is refused.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.storage.file_errors import reading
from brainmap.common.storage.unpacked import TEXT, gunzipped, refuse_large

DELIMITERS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
MISSING = ("", "n/a")
SNIFFED_LINES = 2000
_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_NO_NUMBER = frozenset({"nan", "na"})  # how MATLAB, Python and R write a missing number


def read_table(
    path: str | Path,
    *,
    required: Sequence[str] = (),
    numbers: Sequence[str] = (),
    synonyms: Mapping[str, Sequence[str]] | None = None,
    encoding: str | None = None,
) -> pd.DataFrame:
    """Read a table with a header line.

    Parameters
    ----------
    path : str or Path
        Text separated by tabs, semicolons or commas, possibly compressed (``.gz``); UTF-8 with or without byte-order
        mark, or UTF-16 with one.
    required : sequence of str
        Columns that must be there.
    numbers : sequence of str
        Columns to turn into float64, where they are there; see :func:`as_numbers`.
    synonyms : mapping of str to sequence of str, optional
        Other names of columns, see :func:`rename_columns`.
    encoding : str, optional
        Encoding of the text, for files that are neither UTF-8 nor marked.

    Returns
    -------
    pandas.DataFrame
        One row per line, cells as text without surrounding blanks, NaN where missing. ``attrs`` holds ``file`` and
        ``notes``, sentences about what was not taken literally.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If it is no such table: the sentence names file and row (counted from 0 below the header, as in all tables).

    Examples
    --------
    >>> table = read_table("events.tsv", required=["stimulus"], numbers=["onset"])  # doctest: +SKIP
    """
    file = Path(path)
    header, rows, notes = read_cells(file, encoding)
    repeated = [name for position, name in enumerate(header) if name in header[:position]]
    if repeated:
        turned = " (or is the table transposed? it needs a column for each variable)" if len(rows) < len(header) else ""
        raise InputError(f"{file} has two columns {repeated[0]!r}; rename one{turned}.")
    again = next((place for place, row in enumerate(rows) if row == header), None)
    if again is not None:
        raise InputError(
            f"Row {again} of {file} repeats the header; are these two tables in one file, or has it no header line?"
        )
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    table = pd.DataFrame(
        {
            name: pd.Series([np.nan if cell in MISSING else cell for cell in cells], dtype=object)
            for name, cells in zip(header, columns, strict=True)
        }
    )
    table.attrs = {"file": str(file), "notes": notes}
    table = rename_columns(table, synonyms or {})
    lacking = [name for name in required if name not in table]
    if lacking:
        raise InputError(f"{file} has no column {lacking[0]!r}; it has {list(table.columns)}{other_delimiter(table)}.")
    return as_numbers(table, numbers)


def read_cells(path: str | Path, encoding: str | None = None) -> tuple[list[str], list[list[str]], list[str]]:
    """First line and the others as text, all of one length, and notes; whether the first is a header is open."""
    file = Path(path)
    header, rows = _rows(file, decoded(file, encoding))
    return _without_row_numbers(header, rows)


def other_delimiter(table: pd.DataFrame) -> str:
    """Hint for a table of one column whose header holds a mark that may separate columns."""
    header = str(table.columns[0]) if table.shape[1] == 1 else ""
    mark = next((mark for mark in ("|", ":", " ") if mark in header.strip()), None)
    return "" if mark is None else f" (separated by {mark!r}? save it with tabs, semicolons or commas)"


def table_name(table: pd.DataFrame, default: str) -> str:
    """What sentences call a table: its file, or ``default`` for one that was made in memory."""
    return str(table.attrs.get("file", default))


def rename_columns(table: pd.DataFrame, synonyms: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Bring other names of columns to the package's own; what was renamed is added to ``attrs["notes"]``.

    Parameters
    ----------
    table : pandas.DataFrame
        Any table.
    synonyms : mapping of str to sequence of str
        Own name → other names. Upper and lower case, blanks, ``-`` and ``_`` make no difference.

    Raises
    ------
    InputError
        If two columns could be meant and neither has the own name.
    """
    where = table_name(table, "the table")
    notes, renamed = list(table.attrs.get("notes", [])), {}
    for name, others in synonyms.items():
        if name in table:
            continue
        known = {_folded(other) for other in others}
        same = [column for column in table if _folded(str(column)) == _folded(name)]
        candidates = same or [column for column in table if _folded(str(column)) in known]
        if len(candidates) > 1:
            raise InputError(
                f"The columns {candidates[0]!r} and {candidates[1]!r} of {where} could both be {name!r}; "
                f"rename the one that is meant to {name!r}."
            )
        if candidates and candidates[0] not in synonyms:
            renamed[candidates[0]] = name
            notes.append(f"column {candidates[0]!r} of {Path(where).name} is read as {name!r}")
    result = table.rename(columns=renamed)
    names = {**table.attrs.get("renamed", {}), **{new: old for old, new in renamed.items()}}
    result.attrs = {**table.attrs, "notes": notes, "renamed": names}
    return result


def as_numbers(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Turn some columns of text into float64; missing cells become NaN.

    Parameters
    ----------
    table : pandas.DataFrame
        Any table; columns that are numbers already stay as they are.
    columns : iterable of str
        Which; those that the table lacks are passed over.

    Notes
    -----
    A comma is a decimal sign where it cannot separate thousands: ``0,25`` or ``12,5`` anywhere in these columns. Where
    all commas are as in ``1,234`` the table is refused.

    Raises
    ------
    InputError
        Naming the first cell that is no number, or that could be read as two.
    """
    where = table_name(table, "the table")
    text = {name: table[name] for name in columns if name in table and not _is_numeric(table[name])}
    cells = [str(cell).strip() for column in text.values() for cell in column.dropna()]
    commas = [cell for cell in cells if "," in cell]
    decimal = [cell for cell in commas if _COMMA.fullmatch(cell) and not _THOUSANDS.fullmatch(cell)]
    points = [cell for cell in cells if "." in cell]
    if commas and (points or not decimal):
        other = f"beside {points[0]!r} " if points else ""
        raise InputError(
            f"{where} has the number {commas[0]!r} {other}in {', '.join(map(repr, text))}: its comma may be a decimal "
            "sign or separate thousands; write decimal points and no separators."
        )
    result = table.copy()
    for name, column in text.items():
        result[name] = [_number(cell, row, name, where) for row, cell in enumerate(column)]
        result[name] = result[name].astype(np.float64)
    result.attrs = dict(table.attrs)
    if decimal:
        result.attrs["notes"] = [
            *table.attrs.get("notes", []),
            f"commas in numbers of {Path(where).name} are read as decimal signs ({decimal[0]})",
        ]
    return result


# -- from bytes to rows ---------------------------------------------------------------------------------------------


def decoded(file: Path, encoding: str | None = None) -> str:
    """Text of a file, unpacked and without its byte-order mark; what is no text is refused in a sentence."""
    with reading(file):
        if file.is_dir():
            raise InputError(f"{file} is a folder; give a table (.tsv or .csv).")
        if not file.exists():
            raise MissingFileError(f"There is no table {file}; give a .tsv or .csv file.")
        refuse_large(file.stat().st_size, str(file), times=TEXT)
        data = file.read_bytes()
    if file.suffix.lower() == ".gz" or data[:2] == b"\x1f\x8b":
        try:
            data = gunzipped(data, str(file))
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{file} cannot be unpacked ({error}); it may be cut short: copy it again.") from error
    if data[:4] == b"PK\x03\x04" or data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise InputError(f"{file} is a workbook, not text; save the sheet as 'CSV UTF-8' and give that file.")
    name = encoding or next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(name)
    except (UnicodeDecodeError, LookupError) as error:
        place = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else f" ({error})"
        raise InputError(
            f"{file} is not {name.removesuffix('-sig').upper()} text{place}; save it as UTF-8 (in Excel 'CSV UTF-8')."
        ) from error
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:9].casefold().startswith(("<!doctype", "<html")):
        raise InputError(f"{file} is a web page, not a table; fetch or export it anew.")
    if "\0" in text:
        raise InputError(f"{file} holds zero bytes: it is binary, or UTF-16 without a mark; save it as UTF-8 text.")
    return text


def _rows(file: Path, text: str) -> tuple[list[str], list[list[str]]]:
    """Header and cells, every row as long as the header."""
    delimiter = _delimiter(file, text)
    parsed = _parsed(file, text, delimiter)
    if not parsed:
        raise InputError(f"{file} is empty; a table needs a header line with the names of its columns.")
    header = parsed[0][1]
    while len(header) > 1 and not header[-1] and all(not any(cells[len(header) - 1 :]) for _, cells in parsed[1:]):
        header = header[:-1]  # a delimiter at the end of every line
    rows = []
    for row, (line, cells) in enumerate(parsed[1:]):
        surplus = cells[len(header) :]
        if any(surplus) or len(cells) < len(header):
            raise InputError(
                f"Row {row} (line {line}) of {file} has {len(cells)} fields for {len(header)} columns "
                f"({', '.join(header[:6])}{' …' if len(header) > 6 else ''}), separated by {DELIMITERS[delimiter]}; "
                f"{'remove or quote what is too much' if any(surplus) else 'write n/a where a value is missing'}."
            )
        rows.append(cells[: len(header)])
    return header, rows


def opening(file: Path, text: str) -> tuple[str, list[str], int]:
    """Delimiter and header of a table, and how many lines the header takes (names may hold line ends)."""
    delimiter = _delimiter(file, text)
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    return delimiter, header, reader.line_num


def _parsed(file: Path, text: str, delimiter: str, lines: int | None = None) -> list[tuple[int, list[str]]]:
    """Cells of every line that is not blank, with the number of the line."""
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    records: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if cells and (len(cells) > 1 or cells[0].strip()):
                records.append((reader.line_num, [cell.strip() for cell in cells]))
            if lines is not None and reader.line_num >= lines:
                break
    except csv.Error as error:
        raise InputError(
            f"Line {reader.line_num} of {file} cannot be read ({error}); a quotation mark may be open or misplaced."
        ) from error
    while records and not any(records[-1][1]):  # delimiters only, as spreadsheets leave them below a table
        records.pop()
    return records


def _delimiter(file: Path, text: str) -> str:
    """Tell the delimiter: the one that cuts every line into as many fields as the header, and into more than one."""
    widths = {}
    for delimiter in DELIMITERS:
        try:
            lines = _parsed(file, text, delimiter, SNIFFED_LINES)
        except InputError:
            continue
        if lines:
            widths[delimiter] = [len(cells) for _, cells in lines]
    if not widths:  # unbalanced quotation marks, or nothing
        return _by_suffix(file)
    cutting = [delimiter for delimiter, width in widths.items() if width[0] > 1]
    even = [delimiter for delimiter in cutting if len(set(widths[delimiter])) == 1]
    if len(even) > 1:
        numeric = [
            delimiter for delimiter in even if _all_numbers(_parsed(file, text, delimiter, SNIFFED_LINES), delimiter)
        ]
        even = numeric if len(numeric) == 1 else even  # 1,5;2,5 is two numbers with decimal commas
    if len(even) == 1:
        return even[0]
    if len(even) > 1 or len(cutting) > 1:
        candidates = even or cutting
        preferred = _by_suffix(file)
        if preferred in candidates and not even:
            return preferred
        both = " or ".join(DELIMITERS[delimiter] for delimiter in candidates)
        raise InputError(f"{file} could be separated by {both}; save it with tabs, or quote the cells that hold them.")
    if cutting:
        return cutting[0]
    # One column by its header: in a .csv file a delimiter in the rows is one, in others only a tab is.
    inside = [delimiter for delimiter, width in widths.items() if max(width) > 1]
    if _by_suffix(file) == "\t":
        return "\t"
    return "," if "," in inside or not inside else inside[0]


def _all_numbers(records: list[tuple[int, list[str]]], delimiter: str) -> bool:
    """Whether every cell is a number (there is no header), with a decimal comma where that does not separate cells."""
    cells = [cell for _, row in records for cell in row if cell not in MISSING]
    patterns = (_NUMBER,) if delimiter == "," else (_NUMBER, _COMMA)
    return bool(cells) and all(any(pattern.fullmatch(cell) for pattern in patterns) for cell in cells)


def _by_suffix(file: Path) -> str:
    return "," if ".csv" in [suffix.lower() for suffix in file.suffixes] else "\t"


def _without_row_numbers(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Drop a nameless column that is empty or counts the rows; name other nameless ones by their place."""
    notes: list[str] = []
    for position in reversed(range(len(header))):
        if header[position] or len(header) == 1:
            continue
        cells = [row[position] for row in rows]
        counts = [str(number) for number in range(len(rows) + 1)]
        if not any(cells) or cells in (counts[:-1], counts[1:]):
            header = header[:position] + header[position + 1 :]
            rows = [row[:position] + row[position + 1 :] for row in rows]
            notes += ["a column without a name, which counts the rows, is left out"] if any(cells) else []
    return [name or f"column {position}" for position, name in enumerate(header)], rows, notes


# -- from cells to numbers ------------------------------------------------------------------------------------------


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _number(cell: object, row: int, name: str, where: str) -> float:
    if isinstance(cell, float | int) and not isinstance(cell, bool):
        return float(cell)
    if cell is None or cell is pd.NA:
        return np.nan
    text = str(cell).strip().replace("\N{MINUS SIGN}", "-").replace(",", ".")
    if text.casefold() in _NO_NUMBER or text in MISSING:
        return np.nan
    if not _NUMBER.fullmatch(text):
        raise InputError(
            f"Row {row} of {where} has {_short(cell)!r} in the column {_short(name)!r}, which is no number."
        )
    return float(text)


def _short(cell: object) -> str:
    text = str(cell)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-]+", "_", name.strip().casefold())


def spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet takes for a formula: those that begin with ``= + - @`` are quoted.

    Numbers stay numbers, also those written as text (``-0.5``).
    """
    safe = table.copy()
    for number, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(number, [_no_formula(cell) for cell in table.iloc[:, number]])
    safe.columns = pd.Index([_no_formula(column) for column in table.columns])
    return safe


def _no_formula(cell: object) -> object:
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell.strip()):
        return cell
    return f"'{cell}" if cell.lstrip().startswith(("=", "+", "-", "@")) or cell[:1] in ("\t", "\r") else cell
