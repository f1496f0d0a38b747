"""Files of BIDS-like folders: names taken apart, tables read as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from brainmap.common.errors import InputError, MissingFileError
from brainmap.common.tables import read_table

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


def read_events(path: Path, required: tuple[str, ...], numbers: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read an events table: text, but ``onset``, ``duration`` and the further columns named in ``numbers``.

    Raises
    ------
    InputError
        If a required column or a value in ``onset`` is absent; the sentence names file and row.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no events table {path}; fetch it, or skip the run with --set missing=skip.")
    table = read_table(path, required=required, numbers=("onset", "duration", *numbers))
    if "onset" in table and table["onset"].isna().any():
        row = int(table["onset"].isna().to_numpy().argmax())
        raise InputError(f"Row {row} of {path} has no onset; it must be seconds.")
    return table
