"""Events of a BIDS run: which rows show an image, each checked and named by file and row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainmap.common.errors import InputError
from brainmap.data.readers.findings import Findings
from brainmap.data.readers.folder_files import entities, read_events
from brainmap.photograph_names import photograph_path


def shown_images(
    file: Path,
    image_column: str,
    findings: Findings,
    *,
    required: Sequence[str] = ("onset",),
    trial_types: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read the rows of an events file that show an image, in order of onset.

    Parameters
    ----------
    file : Path
        ``*_events.tsv``.
    image_column : str
        Column that names the image; rows without one are left out.
    findings : Findings
        Receives the rows that occur twice; they are dropped.
    required : sequence of str
        Further columns the file must have.
    trial_types : sequence of str, optional
        Values of ``trial_type`` to keep; all by default.

    Returns
    -------
    pandas.DataFrame
        The file's columns, and ``row`` (0-based), ``label`` (path of the image), ``session`` and ``run``.

    Raises
    ------
    InputError
        If a column is missing, or two different rows start at the same time.
    """
    table = read_events(file, (*required, image_column)).assign(row=lambda t: np.arange(len(t)))
    repeated = table.drop(columns="row").duplicated().to_numpy()
    for row in table.loc[repeated, "row"]:
        findings.add(file, int(row), "the row occurs twice", "row dropped")
    table = table[~repeated]
    kept = table[image_column].notna()
    if trial_types is not None:
        if "trial_type" not in table:
            raise InputError(f"{file} has no column 'trial_type' to choose rows by.")
        kept &= table["trial_type"].isin(trial_types)
    shown = table[kept].sort_values("onset", kind="stable")
    same = np.flatnonzero(np.diff(shown["onset"]) <= 0)
    if len(same):
        row = int(shown["row"].iloc[same[0] + 1])
        raise InputError(f"Row {row} of {file} starts when another one does; an event is listed twice.")
    parts = entities(file)
    return shown.assign(
        label=[photograph_path(str(name)) for name in shown[image_column]],
        session=parts.get("ses", "1"),
        run=parts.get("run", "1"),
    ).reset_index(drop=True)
