"""Files of BIDS-like folders: names taken apart, tables read as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from brainmap.common.errors import InputError, MissingFileError

ENTITY = re.compile(r"(?:^|_)([a-zA-Z]+)-([A-Za-z0-9]+)")


def entities(path: Path) -> dict[str, str]:
    """Key–value pairs of a BIDS file name: ``sub-01_ses-02_run-03_bold.nii.gz`` → sub, ses, run."""
    return dict(ENTITY.findall(path.name))


def visible(paths: Iterator[Path]) -> list[Path]:
    """Sorted paths without hidden files (``._…`` files that a Mac leaves beside the real ones are no data)."""
    return sorted(path for path in paths if not path.name.startswith("."))


def bare(name: str) -> str:
    """Name of a subject without prefix and leading zeros."""
    return re.sub(r"^(sub-)?(subj|BIGMEG|CSI)?", "", str(name)).lstrip("0") or "0"


def read_events(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    """Read an events table; ``n/a`` is missing.

    Raises
    ------
    InputError
        If a required column or a value in ``onset`` is absent; the sentence names file and row.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no events table {path}; fetch it, or skip the run with --set missing=skip.")
    try:
        table = pd.read_csv(path, sep="," if path.suffix == ".csv" else "\t", na_values=["n/a"])
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}).") from error
    lacking = [column for column in required if column not in table]
    if lacking:
        raise InputError(f"{path} has no column {lacking[0]!r}; it has {list(table.columns)}.")
    if "onset" in table:
        onset = pd.to_numeric(table["onset"], errors="coerce")
        if onset.isna().any():
            row = int(onset.isna().to_numpy().argmax())
            raise InputError(f"Row {row} of {path} has the onset {table['onset'].iloc[row]!r}; it must be seconds.")
        table["onset"] = onset
    return table
